# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Monitors one OpenNebula host for onemonitord, 5.12 and later (opennebula-drivers 3.4, 3.5, 9.4).

A small state machine: ``advance`` looks at the clock, asks for a listing when one is due, and returns the lines to
write and the seconds until it wants to be called again. It starts no thread and writes nothing itself.
"""

from __future__ import annotations

from typing import Callable, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Set, Tuple

from ..elastichosts.clock import Clock
from ..elastichosts.errors import ElasticHostsError
from ..elastichosts.servers import Server
from ..opennebula.driver_replies import (
    VmFacts,
    VmState,
    WildVm,
    im_log,
    im_message,
    monitor_vm_text,
    template_text,
    vm_state_text,
    wild_text,
)
from ..opennebula.driver_requests import ImRequest
from ..opennebula.protocol_versions import IM_5_12
from .accounts import CloudAccounts
from .answers import internal_error
from .core_version import GUARDED, Version
from .journal import ActionRecord, Journal, JournalError
from .listing_cache import ListingLate, Snapshot
from .monitoring_facts import NOTICE, Facts, elsewhere, host_facts, import_template, state_of, vm_facts
from .settings import HostSettings, Settings, SettingsError

TICK = 1.0
"""seconds between two looks at the journal"""
LONGEST_PERIOD = 30.0
LISTING_WAIT = 10.0
GUARD = 32.0
"""seconds for which a state is kept back after the VM may have begun or ended running for the core: it ignores states
for 30 s then, and writes a line into the VM's log for each (opennebula-drivers 9.4); its clock shows whole seconds"""
SYNC_PATIENCE = 60.0
"""seconds that a sync waits for VMs whose states are kept back: it has to list them, or they count as missing"""
FAULT_PAUSE = 5.0
"""seconds until the next try after an unexpected exception"""
NEVER = float("-inf")
UNMONITORED = (0, 3, 5, 6)
"""host states INIT, ERROR, MONITORING_ERROR, MONITORING_INIT: a failure takes nothing away"""
CAPACITY = ("TOTALCPU", "TOTALMEMORY")
HOST_LOAD = ("USEDCPU", "FREECPU", "USEDMEMORY", "FREEMEMORY", "CPUSPEED")
HOST_SELF = (NOTICE, "HYPERVISOR", "HOSTNAME", "ARCH", "CPUSPEED", *CAPACITY)


class Advance(NamedTuple):
    """The lines to write now, and the seconds until the next call."""

    lines: List[bytes]
    pause: float


class Reported(NamedTuple):
    """The state of a VM that was last reported to the core. Times are monotonic seconds."""

    deploy_id: str
    state: str
    at: float
    changed: float
    """when it was told something new, which may have made the VM begin or end running"""


class HostMonitor:
    """Monitors one host from START_MONITOR to STOP_MONITOR."""

    def __init__(
        self,
        request: ImRequest,
        settings: Settings,
        accounts: CloudAccounts,
        journal: Journal,
        clock: Clock,
        *,
        is_another: Callable[[str], bool] = lambda _name: False,
        release: Callable[[], Optional[Version]] = lambda: None,
    ) -> None:
        """Watch the host of ``request``.

        :param is_another: tells of a name whether another host has it, see :func:`.translate.elsewhere`
        :param release: of the core; None: not known
        """
        self.id = request.id
        self._is_another = is_another
        self._release = release
        self._settings = settings
        self._accounts = accounts
        self._journal = journal
        self._clock = clock
        self._stamps: Dict[str, int] = {}
        self._told: Dict[int, Reported] = {}
        self._sync_kept_back: Optional[float] = None
        self._addresses: Dict[int, Tuple[str, ...]] = {}
        self._facts: Optional[Facts] = None
        self._strangers: FrozenSet[str] = frozenset()
        self._bad_since: Optional[float] = None
        self._fault = ""
        self._failed = False
        self._listed: Optional[float] = None
        """when the last listing was begun, if it had no server of this host"""
        self._news = 0
        self._next = 0.0
        self._due: Dict[str, float] = {}
        self.restart(request)

    def restart(self, request: ImRequest) -> None:
        """Begin with START_MONITOR, for the first time or again: every message is due now."""
        self.host = request.host
        self._periods = request.periods
        self._heartbeat = min(self._periods["MONITOR_HOST"], request.interval / 2)
        state = request.document.get("HOST", {}).get("STATE", 2)
        self._unmonitored = state in UNMONITORED
        self._failed = False
        self._due = {}
        self._next = 0.0
        self._tell_again()

    def started(self) -> bytes:
        """Return the answer to START_MONITOR."""
        return self._message("START_MONITOR", True, "")

    def advance(self) -> Advance:
        now = self._clock.monotonic()
        news = self._journal_has_news()
        if now < self._next and not news:
            return Advance([], min(TICK, self._next - now))
        period = LONGEST_PERIOD / 2
        try:
            settings = self._settings.host(self.host)
            period = self._period(settings)
            cloud = settings.cloud
            fresh = now if news or self._facts is None else now - period / 2
            snapshot = self._accounts.of(settings).servers.since(fresh, LISTING_WAIT)
            lines = self._speak(snapshot, settings, cloud)
        except (SettingsError, ElasticHostsError, ListingLate) as error:
            lines = self._be_silent(error)
        self._next = self._clock.monotonic() + period
        return Advance(lines, min(TICK, period))

    def _period(self, settings: HostSettings) -> float:
        least = settings.number("LISTING_PERIOD")
        return max(least, min(float(self._periods["STATE_VM"]), LONGEST_PERIOD))

    def _journal_has_news(self) -> bool:
        """Return whether an action has begun or ended since the last call, by the journal."""
        try:
            version = self._journal.version()
        except JournalError:
            return False
        news, self._news = version != self._news and self._news != 0, version
        return news

    def fault(self, error: Exception) -> Advance:
        """Return what to say when ``advance`` raised an unexpected exception.

        The host fails if no VM of it runs. Else a line in the core's log has to do, since sites have hooks that make
        the VMs of a failed host anew.
        """
        sentence = internal_error(error)
        lines = [self._log("E", sentence)] if sentence != self._fault else []
        self._fault = sentence
        if self._bad_since is None:
            self._bad_since = self._clock.monotonic()
        return Advance(lines + self._without_listing(sentence, fails=self._has_no_vm()), FAULT_PAUSE)

    def _has_no_vm(self) -> bool:
        """Return whether the last listing had no server of this host, and no action has begun since."""
        try:
            records = self._journal.last_actions().values()
            return self._listed is not None and not any(
                record.host == self.host and record.outdates(self._listed) for record in records
            )
        except Exception:  # this may be the fault itself
            return False

    # --- good news

    def _speak(self, snapshot: Snapshot[Server], settings: HostSettings, cloud: str) -> List[bytes]:
        facts = host_facts(self.host, snapshot.things, settings)
        recovered = self._bad_since is not None
        wild = snapshot.wild(cloud)
        strangers = frozenset(server.uuid for server in wild)
        changed = self._facts is None or any(facts.get(key) != self._facts.get(key) for key in (*CAPACITY, NOTICE))
        self._facts = facts
        if strangers != self._strangers:
            self._due.pop("SYSTEM_HOST", None)
        self._strangers = strangers
        if recovered or changed:
            self._due.pop("SYSTEM_HOST", None)
            self._due.pop("SYNC", None)
            self._tell_again()
        lines: List[bytes] = []
        if recovered:
            lines.append(self._log("I", "The host is monitored again." if self._fault else "The cloud answers again."))
        if self._is_due("SYSTEM_HOST", self._periods["SYSTEM_HOST"]):
            lines.append(self._system_host(facts, wild))
        if self._is_due("MONITOR_HOST", self._heartbeat):
            lines.append(self._monitor_host(facts))
        lines += self._about_vms(snapshot, settings, cloud)
        self._bad_since, self._fault, self._failed, self._unmonitored = None, "", False, False
        return lines

    def _about_vms(self, snapshot: Snapshot[Server], settings: HostSettings, cloud: str) -> List[bytes]:
        own = self._own(snapshot, cloud)
        self._listed = None if own else snapshot.begun
        records = self._entries()
        outdated = self._outdated(records, snapshot)
        clear = {vm: found[0] for vm, found in own.items() if len(found) == 1 and vm not in outdated}
        lines: List[bytes] = []
        lines += self._states(clear, own, records, complete=not outdated)
        moved = {vm for vm, server in clear.items() if self._addresses.get(vm) != server.addresses}
        self._addresses = {vm: server.addresses for vm, server in clear.items()}
        told = set(clear) if self._is_due("MONITOR_VM", self._periods["MONITOR_VM"]) else moved
        if told:
            facts = [VmFacts(vm, clear[vm].uuid, vm_facts(clear[vm], settings)) for vm in sorted(told)]
            lines.append(self._message("MONITOR_VM", True, monitor_vm_text(facts)))
        return lines

    def _own(self, snapshot: Snapshot[Server], cloud: str) -> Dict[int, List[Server]]:
        """Return this host's servers by VM id; another host may have the same account."""
        found: Dict[int, List[Server]] = {}
        for vm, servers in snapshot.of(cloud).items():
            here = [server for server in servers if not elsewhere(server, self.host, self._is_another)]
            if here:
                found[vm] = here
        return found

    def _entries(self) -> Mapping[int, ActionRecord]:
        try:
            return self._journal.last_actions()
        except JournalError:
            return {}

    def _outdated(self, records: Mapping[int, ActionRecord], snapshot: Snapshot[Server]) -> Set[int]:
        """Return the VMs whose state in the listing may be older than their last action (opennebula-drivers 7.5)."""
        return {vm for vm, record in records.items() if record.host == self.host and record.outdates(snapshot.begun)}

    # --- states of VMs

    def _states(
        self,
        clear: Mapping[int, Server],
        own: Mapping[int, List[Server]],
        records: Mapping[int, ActionRecord],
        *,
        complete: bool,
    ) -> List[bytes]:
        """Return the STATE_VM message: of all VMs if a sync is due, else of those whose state is new.

        What is new is told at once, and again when the core surely listens. Right after an action, or a change that
        was told, it does not: the state is kept back until it does. A later change replaces it, so none gets lost.
        """
        states = {vm: VmState(vm, server.uuid, state_of(server).word) for vm, server in clear.items()}
        states = {vm: state for vm, state in states.items() if state.state}
        self._told = {vm: told for vm, told in self._told.items() if vm in own}
        turned = {vm: self._turned(vm, records) for vm in states}
        ignored = {vm for vm, moment in turned.items() if self._clock.monotonic() < moment + self._guard()}
        news = [vm for vm, state in sorted(states.items()) if vm not in ignored and self._is_news(state, turned[vm])]
        # A VM that is left out of a sync counts as missing: the sync waits until every VM is clear
        # (opennebula-drivers 9.4).
        if complete and len(states) == len(own) and self._is_sync_due(bool(ignored)):
            self._note_told(state for vm, state in states.items() if vm not in ignored)
            return [self._message("STATE_VM", True, vm_state_text(states.values(), sync=True))]
        self._note_told(states[vm] for vm in news)
        return [self._message("STATE_VM", True, vm_state_text(states[vm] for vm in news))] if news else []

    def _turned(self, vm: int, records: Mapping[int, ActionRecord]) -> float:
        """Return when the VM may last have begun or ended running for the core, by an action or by a report."""
        record = records.get(vm)
        acted = record.ended if record is not None and record.ended is not None else NEVER
        return max(acted, self._told[vm].changed if vm in self._told else NEVER)

    def _guard(self) -> float:
        release = self._release()
        return 0.0 if release is not None and release < GUARDED else GUARD

    def _is_news(self, state: VmState, turned: float) -> bool:
        told = self._told.get(state.id)
        return told is None or told.at <= turned or (told.deploy_id, told.state) != (state.deploy_id, state.state)

    def _is_sync_due(self, ignored: bool) -> bool:
        """Return whether to send a sync now. VMs that come and go all the time do not keep it back for ever."""
        now = self._clock.monotonic()
        if now < self._due.get("SYNC", now):
            return False
        if self._sync_kept_back is None:
            self._sync_kept_back = now
        if ignored and now - self._sync_kept_back < SYNC_PATIENCE:
            return False
        self._sync_kept_back = None
        return self._is_due("SYNC", self._periods["SYNC_STATE_VM"])

    def _note_told(self, states: Iterable[VmState]) -> None:
        now = self._clock.monotonic()
        for state in states:
            before = self._told.get(state.id)
            changed = NEVER if before is None else before.changed
            if before is not None and (before.deploy_id, before.state) != (state.deploy_id, state.state):
                changed = now
            self._told[state.id] = Reported(state.deploy_id, state.state, now, changed)

    def _tell_again(self) -> None:
        """Make every state news, because the core may have forgotten what was reported."""
        self._told = {vm: told._replace(at=NEVER) for vm, told in self._told.items()}

    # --- bad news

    def _be_silent(self, error: Exception) -> List[bytes]:
        """Report the host without a listing: no VM; a heartbeat for the time of GRACE, then a failure."""
        now = self._clock.monotonic()
        sentence = str(error) or "The cloud did not answer in time: look whether the endpoint is up."
        lines: List[bytes] = []
        if self._bad_since is None:
            self._bad_since = now
            lines.append(self._log("E", sentence))
        return lines + self._without_listing(sentence, fails=now - self._bad_since >= self._grace())

    def _without_listing(self, sentence: str, *, fails: bool) -> List[bytes]:
        """Return the failure of the host, once, if it ``fails`` or is not monitored yet; else a heartbeat."""
        if self._failed:
            return []
        if fails or self._unmonitored:
            self._failed = True
            return [self._message("SYSTEM_HOST", False, sentence)]
        if self._facts is not None and self._is_due("MONITOR_HOST", self._heartbeat):
            return [self._monitor_host(self._facts)]
        return []

    def _grace(self) -> float:
        try:
            return self._settings.host(self.host).number("GRACE")
        except SettingsError:
            return 0.0

    # --- messages

    def _system_host(self, facts: Facts, wild: List[Server]) -> bytes:
        strangers = [WildVm(server.uuid, server.name, import_template(server, self.host)) for server in wild]
        return self._message(
            "SYSTEM_HOST",
            True,
            template_text({key: facts[key] for key in HOST_SELF if key in facts}) + wild_text(strangers),
        )

    def _monitor_host(self, facts: Facts) -> bytes:
        return self._message("MONITOR_HOST", True, template_text({key: facts[key] for key in HOST_LOAD}))

    def _message(self, kind: str, ok: bool, text: str) -> bytes:
        return im_message(kind, ok, self.id, self._stamp(kind), text)

    def _log(self, level: str, text: str) -> bytes:
        return im_log(IM_5_12, level, self.id, f"Host {self.host}: {text}", self._stamp("LOG"))

    def _stamp(self, kind: str) -> int:
        """Return epoch seconds that never go back: the core drops what seems older than the last.

        See opennebula-drivers 3.4.
        """
        self._stamps[kind] = max(int(self._clock.now()), self._stamps.get(kind, 0))
        return self._stamps[kind]

    def _is_due(self, what: str, period: float) -> bool:
        now = self._clock.monotonic()
        if now < self._due.get(what, now):
            return False
        self._due[what] = now + period
        return True
