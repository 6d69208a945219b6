# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Periodic check of the accounts for changes that the core does not report to the VM driver (opennebula-drivers 4, 10).

* Servers and drives whose VM has ended, or runs on a host of another driver, are destroyed. ``leftovers`` decides.
* Copies of IMAGE that another driver has made and given up are destroyed when no attempt takes so long.
* Servers that ``onehost importvm`` has taken over without a DEPLOY (4.14 to 6.10) get their VM's ownership keys.

Both query the core by XML-RPC in a separate thread. Changes are made by a job in the VM's queue, which checks again
first. Without credentials for the core, neither the core nor the cloud is queried.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Callable, Collection, Dict, Iterable, List, Mapping, Optional, Protocol, Set, Tuple, Union

from ..elastichosts.clock import Clock
from ..elastichosts.drives import Drive
from ..elastichosts.errors import ElasticHostsError
from ..elastichosts.servers import Server, attached_drives, number
from ..opennebula.driver_requests import VmmRequest
from ..opennebula.vm import ACTIVE, VirtualMachine
from .accounts import CloudAccount, CloudAccounts
from .action_context import KNOWN_ERRORS, ActionContext, ContextFactory
from .actions import end, take_over
from .core_api import CoreHost, CoreRefused, CoreSilent
from .core_version import IMPORTABLE, Version
from .driver_log import log_exception
from .image_drives import drop_copy
from .job_queue import Job, JobQueue, job_without_reply
from .journal import Journal
from .leftovers import (
    RUNNING,
    Evidence,
    OwnedObject,
    Reason,
    Sighting,
    by_vm,
    evidence,
    is_elsewhere,
    leftovers,
    overdue,
    spare_copies,
)
from .listing_cache import ListingLate, Snapshot
from .processes import is_alive
from .settings import NUMBERS, HostSettings, Settings, SettingsError
from .translate import CLOUD_KEY, HOST_KEY, SEQ_KEY, VM_KEY, owner

logger = logging.getLogger(__name__)

PERIOD = 4
"""listing periods between two checks: a minute by default"""
ACTIVE_PERIOD = 10
"""checks between two queries about a VM whose server runs, and between two listings of the drives"""
GRACE: Mapping[Reason, int] = {Reason.ENDED: 1, Reason.MOVED: 4}
"""listing periods between the first sighting and the destruction"""
HIGH_AVAILABILITY: Version = (5, 4)
"""From this release on, a front-end that is cut off from its Raft leader may hold outdated VM records for long: that a
VM has moved is then no reason to destroy anything, while the state DONE is final."""
ATTEMPT_MARGIN = 2
"""how much longer than an attempt to create a server may take, the second create call included, a copy is left alone"""
AT_MOST = 100
"""VMs that the core is queried about in one check; the others are left to the next"""
LISTING_WAIT = 60.0
"""seconds"""
IMPORT_SENDS_DEPLOY: Version = (7, 0)
ON = (RUNNING, 16)
"""LCM_STATEs RUNNING and UNKNOWN of an ACTIVE VM"""
OFF = (4, 5, 8, 9)
"""VM states STOPPED, SUSPENDED, POWEROFF, UNDEPLOYED"""
NOTICES: Mapping[Reason, str] = {
    Reason.MOVED: "VM {vm} runs on host {host}, which has another VM driver, and has left {things} at ElasticHosts. ",
    Reason.UNCLEAR: "{things} at ElasticHosts has the keys of VM {vm}, which has ended or runs on host {host}, but "
    "OpenNebula's record of this VM names another server. ",
}
"""warnings in oned.log, for an administrator to prevent the destruction or to look at objects that are kept"""
WARNING = "It is destroyed if that is still so in {seconds:g} s."
KEPT = "Nothing was destroyed: destroy it by hand if it is not needed."
KNOWN = (*KNOWN_ERRORS, ListingLate, CoreSilent)


class CoreQueries(Protocol):
    """The part of :class:`~.core_api.CoreApi` that the sweep needs."""

    def check(self) -> None:
        """:raises CoreSilent: there is no session"""

    def vm(self, vm_id: int) -> VirtualMachine: ...

    def deploy_ids(self, first: int) -> List[Tuple[int, str]]: ...

    def hosts(self) -> List[CoreHost]: ...


@dataclass
class SweptAccount:
    """An account that OpenNebula hosts use, and the findings of the last checks."""

    settings: HostSettings
    """settings of one of these hosts"""
    account: CloudAccount
    sightings: Dict[int, Sighting] = field(default_factory=dict)
    queried: Dict[int, float] = field(default_factory=dict)
    """when the core was last queried about a VM (monotonic seconds)"""
    spares: Dict[str, float] = field(default_factory=dict)
    """when spare copies were first listed, by UUID (monotonic seconds)"""
    logged: Set[Tuple[int, Evidence]] = field(default_factory=set)
    """(VM id, evidence) of the warnings that were written"""

    @property
    def cloud(self) -> str:
        return self.settings.cloud


class Sweep:
    """Checks the accounts periodically, and queues jobs that make the changes.

    :param core: the core's XML-RPC interface
    :param release: returns the core's release; None: unknown
    :param say: logs (level letter, VM id or -1 for oned.log, sentence for the administrator)
    """

    def __init__(
        self,
        settings: Settings,
        accounts: CloudAccounts,
        journal: Journal,
        queue: JobQueue,
        clock: Clock,
        core: CoreQueries,
        release: Callable[[], Optional[Version]],
        say: Callable[[str, int, str], None],
    ) -> None:
        self._settings = settings
        self._accounts = accounts
        self._journal = journal
        self._queue = queue
        self._clock = clock
        self._core = core
        self._release = release
        self._say = say
        self._contexts = ContextFactory(settings, accounts, journal, clock, say, core.hosts)
        self._swept: Dict[Tuple[str, str, str], SweptAccount] = {}
        self._imports: Dict[str, int] = {}
        """VM id by deploy id, of the VMs that the core has listed so far"""
        self._first_new = 0
        """the lowest VM id that the core has not listed yet"""
        self._trouble = ""

    def run(self, stopping: threading.Event) -> None:
        """Check all accounts periodically until ``stopping`` is set."""
        while not stopping.wait(self._pause()):
            self.look()

    def _pause(self) -> float:
        """Return the seconds until the next check: fewer while a finding has to be confirmed."""
        try:
            period = self._settings.host("").number("LISTING_PERIOD")
        except SettingsError:
            period = NUMBERS["LISTING_PERIOD"].default
        waiting = self._destructive() if self._swept else []
        seen = [sighting for swept in self._swept.values() for sighting in swept.sightings.values()]
        return period if any(sighting.evidence.reason in waiting for sighting in seen) else PERIOD * period

    def look(self) -> None:
        """Check every account once."""
        try:
            self._core.check()
            accounts = self._current_accounts()
        except KNOWN as error:
            self._note(str(error))
            return
        troubles: List[str] = []
        for swept in accounts:
            try:
                self._check(swept)
            except KNOWN as error:
                troubles.append(
                    str(error) or f"{swept.settings.endpoint} did not list what it has in time: look whether it is up."
                )
            except Exception as error:
                log_exception(logger, error)
        self._note(" ".join(troubles))

    def _note(self, trouble: str) -> None:
        """Log a problem, unless it was the last one logged."""
        if trouble and trouble != self._trouble:
            logger.warning("sweep: %s", trouble)
        self._trouble = trouble

    def _current_accounts(self) -> List[SweptAccount]:
        """Return the accounts of the current settings, with their earlier findings."""
        found: Dict[Tuple[str, str, str], SweptAccount] = {}
        for settings in self._settings.all_hosts():
            with contextlib.suppress(SettingsError, ElasticHostsError):
                known = self._swept.get(_key(settings))
                found.setdefault(
                    _key(settings),
                    SweptAccount(settings, self._accounts.of(settings))
                    if known is None
                    else replace(known, settings=settings, account=self._accounts.of(settings)),
                )
        self._swept = found
        return list(found.values())

    def _check(self, swept: SweptAccount) -> None:
        """Compare one account with the core's VMs, and queue the jobs that follow.

        :raises ElasticHostsError: the account cannot be listed
        :raises ListingLate: the listing takes longer than LISTING_WAIT
        :raises CoreSilent: the core cannot be queried
        """
        now = self._clock.monotonic()
        period = swept.settings.number("LISTING_PERIOD")
        servers = swept.account.servers.since(now - period, LISTING_WAIT)
        drives = swept.account.drives.since(now - ACTIVE_PERIOD * PERIOD * period, LISTING_WAIT)
        things = [_owned_object(server, servers.begun) for server in servers.things]
        things += [_owned_object(drive, drives.begun) for drive in _unattached(drives.things, servers.things)]
        own = by_vm(things, swept.cloud)
        swept.queried = {vm_id: when for vm_id, when in swept.queried.items() if vm_id in own}
        answers = self._query(swept, self._due(swept, own, self._settled(swept, servers), PERIOD * period))
        moving = any(is_elsewhere(own[vm_id], vm) for vm_id, vm in answers.items())
        drivers = self._vm_drivers() if moving else {}
        grace = {reason: GRACE[reason] * period for reason in self._destructive()}
        findings = leftovers(
            things,
            swept.cloud,
            answers,
            self._acted(),
            swept.sightings,
            self._clock.monotonic(),
            grace=grace,
            drivers=drivers,
        )
        swept.sightings = findings.sightings
        self._warn(swept, grace)
        for vm_id, seen in findings.due.items():
            self._submit(vm_id, partial(self._destroy, swept, vm_id, own[vm_id][0].host, seen))
        self._look_for_spares(swept, drives, servers)
        self._look_for_imports(swept, servers)

    # --- queries to the core

    def _due(self, swept: SweptAccount, own: Collection[int], settled: Set[int], period: float) -> List[int]:
        """Return the ids of at most AT_MOST VMs to query the core about now, the longest overdue first.

        :param settled: VMs to query every ACTIVE_PERIOD periods only
        :param period: seconds between two queries about each other VM
        """
        now, destructive = self._clock.monotonic(), self._destructive()

        def periods_waited(vm_id: int) -> float:
            sighting = swept.sightings.get(vm_id)
            if vm_id not in swept.queried or (sighting is not None and sighting.evidence.reason in destructive):
                return math.inf
            return (now - swept.queried[vm_id]) / (period * (ACTIVE_PERIOD if vm_id in settled else 1))

        due = {vm_id: periods_waited(vm_id) for vm_id in own}
        ordered = sorted(due, key=lambda vm_id: (-due[vm_id], vm_id in settled))
        return [vm_id for vm_id in ordered if due[vm_id] >= 1][:AT_MOST]

    def _settled(self, swept: SweptAccount, listing: Snapshot[Server]) -> Set[int]:
        """Return the VMs whose servers run and have no unresolved attempt."""
        unresolved = {attempt.vm for attempt in self._journal.all_unresolved()}
        own = listing.of(swept.cloud).items()
        return {vm_id for vm_id, servers in own if all(server.status == "active" for server in servers)} - unresolved

    def _query(self, swept: SweptAccount, vm_ids: Collection[int]) -> Dict[int, VirtualMachine]:
        """Return the VMs that the core knows, by VM id.

        :raises CoreSilent: the core cannot be queried
        """
        answers: Dict[int, VirtualMachine] = {}
        for vm_id in vm_ids:
            swept.queried[vm_id] = self._clock.monotonic()
            try:
                answers[vm_id] = self._core.vm(vm_id)
            except CoreRefused as refusal:
                logger.warning("sweep: %s What has the keys of VM %s is left as it is.", refusal, vm_id)
        return answers

    def _vm_drivers(self) -> Dict[str, str]:
        """Return the name of the VM driver of each host, by the host's name."""
        return {host.name: host.vm_driver for host in self._core.hosts()}

    def _acted(self) -> Dict[int, float]:
        """Return when the last action of each VM ended (monotonic seconds); infinity while it is under way."""
        return {
            vm_id: record.ended if record.ended is not None else math.inf if is_alive(record.process) else record.begun
            for vm_id, record in self._journal.last_actions().items()
        }

    def _destructive(self) -> List[Reason]:
        """Return the reasons to destroy something that hold in the core's release."""
        release = self._release()
        return [Reason.ENDED, Reason.MOVED] if release and release < HIGH_AVAILABILITY else [Reason.ENDED]

    def _warn(self, swept: SweptAccount, grace: Mapping[Reason, float]) -> None:
        """Warn once about each finding that an administrator has to know of.

        :param grace: seconds until the destruction, by reason; a reason that is missing destroys nothing
        """
        for vm_id, (seen, _first, _times) in swept.sightings.items():
            if seen.reason in NOTICES and (vm_id, seen) not in swept.logged:
                swept.logged.add((vm_id, seen))
                notice = NOTICES[seen.reason] + (WARNING if seen.reason in grace else KEPT)
                things, seconds = " ".join(sorted(seen.things)), grace.get(seen.reason)
                self._say("W", -1, notice.format(vm=vm_id, host=seen.host, things=things, seconds=seconds))

    # --- imported servers

    def _look_for_imports(self, swept: SweptAccount, listing: Snapshot[Server]) -> None:
        """Queue a job for each VM whose server was imported and has no ownership keys yet.

        The core lists only VMs that are new since the last check, and only while there are servers without keys.
        """
        wild = {server.uuid for server in listing.things if not {CLOUD_KEY, VM_KEY} & server.properties.keys()}
        release = self._release()
        if not wild or (release is not None and not IMPORTABLE <= release < IMPORT_SENDS_DEPLOY):
            return
        for vm_id, deploy_id in self._core.deploy_ids(self._first_new):
            self._first_new = max(self._first_new, vm_id + 1)
            if deploy_id:
                self._imports[deploy_id] = vm_id
        for uuid in wild & self._imports.keys():
            self._submit(self._imports[uuid], partial(self._take_over, swept, uuid, self._imports[uuid]))

    def _take_over(self, swept: SweptAccount, uuid: str, vm_id: int, job: Job) -> None:
        """Set the VM's ownership keys on the server ``uuid``, if the core still has it as an imported VM."""
        vm = self._core.vm(vm_id)
        is_there = vm.lcm_state in ON if vm.state == ACTIVE else vm.state in OFF
        if not (vm.imported and vm.deploy_id == uuid and is_there):
            return
        context = self._context(swept, vm.history_host, vm, job)
        if context.host != vm.history_host:
            return  # the VM's host has another account
        server = context.recorded()
        if server is not None and not context.owns(server):
            take_over(context, server)
            self._say("I", vm_id, f"Server {uuid} was imported as this VM and is marked as its own now.")

    # --- leftovers

    def _destroy(self, swept: SweptAccount, vm_id: int, host: str, expected: Evidence, job: Job) -> None:
        """Destroy the servers and drives of a VM, if core and cloud still give the evidence ``expected``."""
        vm = self._core.vm(vm_id)
        drivers = self._vm_drivers() if expected.reason is Reason.MOVED else {}
        # Without a deploy id the servers are found by their keys: the core's may name a server elsewhere.
        context = self._context(swept, host, replace(vm, deploy_id=""), job)
        now = self._clock.monotonic()
        servers = context.own_now()
        found = servers or _unattached(context.own_drives(), context.servers(since=now))
        things = [_owned_object(one, now) for one in found]
        if self._acted().get(vm_id) == math.inf or not things or evidence(things, vm, drivers) != expected:
            return
        with self._journal.action(vm_id, "SWEEP", context.host):
            end(context, servers)
        uuids, reason = " ".join(sorted(expected.things)), expected.reason.value
        self._say("W", -1, f"What VM {vm_id} had left at ElasticHosts ({uuids}) was destroyed: {reason}.")

    def _look_for_spares(self, swept: SweptAccount, drives: Snapshot[Drive], servers: Snapshot[Server]) -> None:
        owners = spare_copies(drives.things, servers.things, swept.cloud)
        swept.spares = {uuid: swept.spares.get(uuid, drives.begun) for uuid in owners}
        number_of = swept.settings.number
        longest = ATTEMPT_MARGIN * (number_of("IMAGE_TIMEOUT") + 2 * number_of("ACTION_TIMEOUT"))
        for uuid in overdue(swept.spares, drives.begun, longest):
            self._submit(owners[uuid], partial(self._destroy_spare, swept, owners[uuid], uuid))

    def _destroy_spare(self, swept: SweptAccount, vm_id: int, uuid: str, job: Job) -> None:
        """Destroy a spare copy if it still is one."""
        context = self._contexts.make(VmmRequest("CLEANUP", vm_id, "", host=swept.settings.host), None, job)
        if uuid in spare_copies(context.own_drives(), context.own_now(), swept.cloud) and drop_copy(context, uuid):
            self._say("W", -1, f"Drive {uuid}, which was copied for VM {vm_id} and never used, was destroyed.")

    # --- jobs

    def _submit(self, vm_id: int, work: Callable[[Job], None]) -> None:
        """Queue ``work`` behind the actions of the same VM."""

        def safely(job: Job) -> None:
            try:
                work(job)
            except KNOWN as error:
                logger.warning("sweep: VM %s: %s", vm_id, error)

        self._queue.submit(vm_id, job_without_reply(safely))

    def _context(self, swept: SweptAccount, host: str, vm: VirtualMachine, job: Job) -> ActionContext:
        """Return a context for ``host``, or, if that was removed or renamed, for another host with this account."""
        if _key(self._settings.host(host)) != _key(swept.settings):
            host = swept.settings.host
        return self._contexts.make(VmmRequest("CLEANUP", vm.id, "", host=host), vm, job)


def _key(settings: HostSettings) -> Tuple[str, str, str]:
    return settings.endpoint, settings.auth, settings.cloud


def _owned_object(thing: Union[Server, Drive], listed: float) -> OwnedObject:
    """Return the ownership keys of a server or drive.

    :param listed: monotonic seconds: when the listing was begun
    """
    keys = thing.properties
    cloud = keys.get(CLOUD_KEY, "")
    host, seq = keys.get(HOST_KEY, ""), number(keys.get(SEQ_KEY)) or 0
    return OwnedObject(thing.uuid, cloud, owner(thing, cloud), host, seq, listed, is_server=isinstance(thing, Server))


def _unattached(drives: Iterable[Drive], servers: Iterable[Server]) -> List[Drive]:
    """Return the drives that are attached to none of the servers."""
    attached = attached_drives(servers)
    return [drive for drive in drives if drive.uuid not in attached]
