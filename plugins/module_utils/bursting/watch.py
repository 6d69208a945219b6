# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One OpenNebula host under onemonitord (I4): what is to be said when (opennebula-drivers 3.4, 3.5, 9.4).

A small state machine: ``advance`` looks at the clock, asks for a listing when one is due, and returns the lines to
write and the seconds until it wants to be called again. It starts no thread and writes nothing itself.
"""

from __future__ import annotations

from typing import Callable, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Set, Tuple

from ..elastichosts.clock import Clock
from ..elastichosts.errors import ElasticHostsError
from ..elastichosts.servers import Server
from ..opennebula.messages import (
    ImRequest,
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
from .journal import Entry, Journal, JournalError
from .mapping import Facts, elsewhere, host_facts, import_template, state_of, vm_facts
from .settings import HostSettings, Settings, SettingsError
from .zones import ListingLate, Snapshot, Zones

TICK = 1.0
"""seconds between two looks at the journal"""
LONGEST_PERIOD = 30.0
LISTING_WAIT = 10.0
REPEAT = 60.0
"""seconds for which a change is told again: the core ignores states for 30 s after a VM started or stopped (9.4)"""
UNMONITORED = (0, 3, 5, 6)
"""host states INIT, ERROR, MONITORING_ERROR, MONITORING_INIT: a failure takes nothing away"""
CAPACITY = ("TOTALCPU", "TOTALMEMORY")
HOST_LOAD = ("USEDCPU", "FREECPU", "USEDMEMORY", "FREEMEMORY", "CPUSPEED")
HOST_SELF = ("HYPERVISOR", "HOSTNAME", "ARCH", "CPUSPEED", *CAPACITY)


class Advance(NamedTuple):
    """What to write now, and when to come again (seconds)."""

    lines: List[bytes]
    pause: float


class Seen(NamedTuple):
    """What the core was last told about a VM, and since when (monotonic seconds)."""

    deploy_id: str
    state: str
    since: float


class HostWatch:
    """A host between START_MONITOR and STOP_MONITOR."""

    def __init__(
        self,
        request: ImRequest,
        settings: Settings,
        zones: Zones,
        journal: Journal,
        clock: Clock,
        neighbours: Callable[[], FrozenSet[str]] = frozenset,
    ) -> None:
        self._neighbours = neighbours
        self.id = request.id
        self._settings = settings
        self._zones = zones
        self._journal = journal
        self._clock = clock
        self._stamps: Dict[str, int] = {}
        self._seen: Dict[int, Seen] = {}
        self._addresses: Dict[int, Tuple[str, ...]] = {}
        self._facts: Optional[Facts] = None
        self._strangers: FrozenSet[str] = frozenset()
        self._bad_since: Optional[float] = None
        self._failed = False
        self._news = 0
        self._next = 0.0
        self._due: Dict[str, float] = {}
        self.restart(request)

    def restart(self, request: ImRequest) -> None:
        """START_MONITOR, for the first time or again: everything is due now."""
        self.host = request.host
        self._periods = request.periods
        self._heartbeat = min(self._periods["MONITOR_HOST"], request.interval / 2)
        state = request.document.get("HOST", {}).get("STATE", 2)
        self._unmonitored = state in UNMONITORED
        self._failed = False
        self._due = {}
        self._next = 0.0

    def started(self) -> bytes:
        """The answer to START_MONITOR."""
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
            snapshot = self._zones.of(settings).listing.since(fresh, LISTING_WAIT)
            lines = self._speak(snapshot, settings, cloud)
        except (SettingsError, ElasticHostsError, ListingLate) as error:
            lines = self._be_silent(error)
        self._next = self._clock.monotonic() + period
        return Advance(lines, min(TICK, period))

    def _period(self, settings: HostSettings) -> float:
        least = settings.number("LISTING_PERIOD")
        return max(least, min(float(self._periods["STATE_VM"]), LONGEST_PERIOD))

    def _journal_has_news(self) -> bool:
        """Whether the VM driver has written since the last look: an action began or ended."""
        try:
            version = self._journal.version()
        except JournalError:
            return False
        news, self._news = version != self._news and self._news != 0, version
        return news

    # --- good news

    def _speak(self, snapshot: Snapshot[Server], settings: HostSettings, cloud: str) -> List[bytes]:
        facts = host_facts(self.host, snapshot.things, settings)
        recovered = self._bad_since is not None
        self._bad_since = None
        self._failed = False
        self._unmonitored = False
        wild = snapshot.wild(cloud)
        strangers = frozenset(server.uuid for server in wild)
        changed = self._facts is None or any(facts[key] != self._facts[key] for key in CAPACITY)
        self._facts = facts
        if strangers != self._strangers:
            self._due.pop("SYSTEM_HOST", None)
        self._strangers = strangers
        if recovered or changed:
            self._due.pop("SYSTEM_HOST", None)
            self._due.pop("SYNC", None)
        lines: List[bytes] = []
        if recovered:
            lines.append(self._log("I", "The cloud answers again."))
        if self._is_due("SYSTEM_HOST", self._periods["SYSTEM_HOST"]):
            lines.append(self._system_host(facts, wild))
        if self._is_due("MONITOR_HOST", self._heartbeat):
            lines.append(self._monitor_host(facts))
        return lines + self._about_vms(snapshot, settings, cloud)

    def _about_vms(self, snapshot: Snapshot[Server], settings: HostSettings, cloud: str) -> List[bytes]:
        own = self._own(snapshot, cloud)
        outdated = self._outdated(snapshot)
        clear = {vm: found[0] for vm, found in own.items() if len(found) == 1 and vm not in outdated}
        states = {vm: VmState(vm, server.uuid, state_of(server).word) for vm, server in clear.items()}
        states = {vm: state for vm, state in states.items() if state.state}
        changed = self._remember(states)
        lines: List[bytes] = []
        # A VM that is left out of a sync counts as missing: the sync waits until every VM is clear (9.4).
        if not outdated and len(states) == len(own) and self._is_due("SYNC", self._periods["SYNC_STATE_VM"]):
            lines.append(self._message("STATE_VM", True, vm_state_text(states.values(), sync=True)))
        elif changed:
            lines.append(self._message("STATE_VM", True, vm_state_text(states[vm] for vm in sorted(changed))))
        moved = {vm for vm, server in clear.items() if self._addresses.get(vm) != server.addresses}
        self._addresses = {vm: server.addresses for vm, server in clear.items()}
        told = set(clear) if self._is_due("MONITOR_VM", self._periods["MONITOR_VM"]) else moved
        if told:
            facts = [VmFacts(vm, clear[vm].uuid, vm_facts(clear[vm], settings)) for vm in sorted(told)]
            lines.append(self._message("MONITOR_VM", True, monitor_vm_text(facts)))
        return lines

    def _own(self, snapshot: Snapshot[Server], cloud: str) -> Dict[int, List[Server]]:
        """This host's servers: another host may have the same account."""
        neighbours = self._neighbours()
        found: Dict[int, List[Server]] = {}
        for vm, servers in snapshot.of(cloud).items():
            here = [server for server in servers if not elsewhere(server, self.host, neighbours)]
            if here:
                found[vm] = here
        return found

    def _outdated(self, snapshot: Snapshot[Server]) -> Set[int]:
        """VMs about which the listing may be older than what the VM driver did (opennebula-drivers 7.5)."""
        try:
            entries: Mapping[int, Entry] = self._journal.entries()
        except JournalError:
            return set()
        return {vm for vm, entry in entries.items() if entry.host == self.host and entry.outdates(snapshot.begun)}

    def _remember(self, states: Mapping[int, VmState]) -> Set[int]:
        """The VMs whose state is to be told outside a sync: changed, or changed a short time ago."""
        now = self._clock.monotonic()
        seen: Dict[int, Seen] = {}
        for vm, state in states.items():
            before = self._seen.get(vm)
            same = before is not None and (before.deploy_id, before.state) == (state.deploy_id, state.state)
            seen[vm] = before if same and before is not None else Seen(state.deploy_id, state.state, now)
        self._seen = seen
        return {vm for vm, what in seen.items() if now - what.since < REPEAT}

    # --- bad news

    def _be_silent(self, error: Exception) -> List[bytes]:
        """No listing: nothing is said about VMs. The host keeps its heartbeat for a while, then fails."""
        now = self._clock.monotonic()
        sentence = str(error) or "The cloud did not answer in time: look whether the endpoint is up."
        lines: List[bytes] = []
        if self._bad_since is None:
            self._bad_since = now
            lines.append(self._log("E", sentence))
        over = now - self._bad_since >= self._grace()
        if not self._failed and (over or self._unmonitored):
            self._failed = True
            lines.append(self._message("SYSTEM_HOST", False, sentence))
        elif not self._failed and self._facts is not None and self._is_due("MONITOR_HOST", self._heartbeat):
            lines.append(self._monitor_host(self._facts))
        return lines

    def _grace(self) -> float:
        try:
            return self._settings.host(self.host).number("GRACE")
        except SettingsError:
            return 0.0

    # --- messages

    def _system_host(self, facts: Facts, wild: List[Server]) -> bytes:
        strangers = [WildVm(server.uuid, server.name, import_template(server, self.host)) for server in wild]
        return self._message(
            "SYSTEM_HOST", True, template_text({key: facts[key] for key in HOST_SELF}) + wild_text(strangers)
        )

    def _monitor_host(self, facts: Facts) -> bytes:
        return self._message("MONITOR_HOST", True, template_text({key: facts[key] for key in HOST_LOAD}))

    def _message(self, kind: str, ok: bool, text: str) -> bytes:
        return im_message(kind, ok, self.id, self._stamp(kind), text)

    def _log(self, level: str, text: str) -> bytes:
        return im_log("I4", level, self.id, f"Host {self.host}: {text}", self._stamp("LOG"))

    def _stamp(self, kind: str) -> int:
        """Epoch seconds that never go back: the core drops what seems older than the last (3.4)."""
        self._stamps[kind] = max(int(self._clock.now()), self._stamps.get(kind, 0))
        return self._stamps[kind]

    def _is_due(self, what: str, period: float) -> bool:
        now = self._clock.monotonic()
        if now < self._due.get(what, now):
            return False
        self._due[what] = now + period
        return True
