# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks now and then for what no request of the core tells the VM driver (opennebula-drivers 4, 10).

* Servers and drives whose VM has ended, or runs on a host of another driver, are destroyed. ``leftovers`` decides.
* Servers that ``onehost importvm`` has taken over without a DEPLOY (4.14 to 6.10) get their VM's ownership keys.

Both ask the core by XML-RPC, in a thread of their own; what is changed is changed by a job in the VM's lane, which
looks again first. Without a session for the core nothing is asked, of the core or of the cloud.
"""

from __future__ import annotations

import contextlib
import math
import threading
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Callable, Collection, Dict, Iterable, List, Mapping, Optional, Protocol, Set, Tuple, Union

from ..elastichosts.clock import Clock
from ..elastichosts.drives import Drive
from ..elastichosts.errors import ElasticHostsError
from ..elastichosts.servers import Server, number
from ..opennebula.messages import VmmRequest
from ..opennebula.vm import ACTIVE, Purpose, VirtualMachine
from .core_api import CoreHost, CoreRefused, CoreSilent
from .daemon import Job, Lanes, Ticket, log, log_exception
from .journal import Journal
from .leftovers import RUNNING, Evidence, Reason, Sighting, Thing, by_vm, evidence, is_elsewhere, leftovers
from .mapping import CLOUD_KEY, HOST_KEY, SEQ_KEY, VM_KEY, owner
from .orders import KNOWN_ERRORS, Desk, Order
from .processes import is_alive
from .release import IMPORTABLE, Number
from .settings import NUMBERS, HostSettings, Settings, SettingsError
from .steps import take_over
from .verbs import Verbs
from .zones import ListingLate, Snapshot, Zone, Zones

PERIOD = 4
"""listing periods between two looks: a minute by default"""
ACTIVE_PERIOD = 10
"""looks after which the core is asked again about a VM whose server runs, and the drives are listed again"""
GRACE: Mapping[Reason, int] = {Reason.ENDED: 1, Reason.MOVED: 4}
"""listing periods between the first and the last sighting"""
HIGH_AVAILABILITY: Number = (5, 4)
"""From this release on, a front-end that is cut off from its leader may believe for long what was so: that a VM has
moved is then no reason to destroy anything, while no VM comes back from its end."""
AT_MOST = 100
"""VMs that the core is asked about in one look; the others come next"""
LISTING_WAIT = 60.0
IMPORT_SENDS_DEPLOY: Number = (7, 0)
ON = (RUNNING, 16)
"""LCM_STATEs RUNNING and UNKNOWN of an ACTIVE VM"""
OFF = (4, 5, 8, 9)
"""VM states STOPPED, SUSPENDED, POWEROFF, UNDEPLOYED"""
NOTICES: Mapping[Reason, str] = {
    Reason.MOVED: "VM {vm} runs on host {host}, which has another VM driver, and has left {things} at ElasticHosts. ",
    Reason.UNCLEAR: "{things} at ElasticHosts has the keys of VM {vm}, which has ended or runs on host {host}, but "
    "OpenNebula's record of this VM names another server. ",
}
"""what an administrator may want to prevent, or has to look at"""
LATE = "{endpoint} did not list what it has in time: look whether it is up."
WARNING = "It is destroyed if that is still so in {seconds:g} s."
KEPT = "Nothing was done: destroy it when nothing of it is needed."
KNOWN = (*KNOWN_ERRORS, ListingLate, CoreSilent)


class Core(Protocol):
    """What is asked of :class:`~.core_api.CoreApi`."""

    def check(self) -> None:
        """:raises CoreSilent: there is no session"""

    def vm(self, vm_id: int) -> VirtualMachine: ...

    def deploy_ids(self, first: int) -> List[Tuple[int, str]]: ...

    def hosts(self) -> List[CoreHost]: ...


@dataclass
class Account:
    """An account that OpenNebula hosts use, and what was seen of it so far."""

    settings: HostSettings
    """of one of these hosts"""
    zone: Zone
    sightings: Dict[int, Sighting] = field(default_factory=dict)
    asked: Dict[int, float] = field(default_factory=dict)
    """when the core was last asked about a VM (monotonic seconds)"""
    told: Set[Tuple[int, Evidence]] = field(default_factory=set)
    """what the log has about VMs"""

    @property
    def cloud(self) -> str:
        return self.settings.cloud


class Sweep:
    """The looks, and the jobs that come of them.

    :param core: the core's XML-RPC interface
    :param release: the core's release, as far as anything tells it
    :param say: takes a level letter, a VM id (-1: for oned.log) and a sentence for the administrator
    """

    def __init__(
        self,
        settings: Settings,
        zones: Zones,
        journal: Journal,
        lanes: Lanes,
        verbs: Verbs,
        clock: Clock,
        core: Core,
        release: Callable[[], Optional[Number]],
        say: Callable[[str, int, str], None],
    ) -> None:
        self._settings = settings
        self._zones = zones
        self._journal = journal
        self._lanes = lanes
        self._verbs = verbs
        self._clock = clock
        self._core = core
        self._release = release
        self._say = say
        self._desk = Desk(settings, zones, clock)
        self._accounts: Dict[Tuple[str, str, str], Account] = {}
        self._imports: Dict[str, int] = {}
        """VM id by deploy id, of the VMs that the core has listed so far"""
        self._first_new = 0
        self._trouble = ""

    def run(self, stopping: threading.Event) -> None:
        """Look until the driver stops."""
        while not stopping.wait(self._pause()):
            self.look()

    def _pause(self) -> float:
        """What was seen once is looked at again as soon as it may be."""
        try:
            period = self._settings.host("").number("LISTING_PERIOD")
        except SettingsError:
            period = NUMBERS["LISTING_PERIOD"].default
        waiting = self._destructive() if self._accounts else []
        seen = [sighting for account in self._accounts.values() for sighting in account.sightings.values()]
        return period if any(sighting.evidence.reason in waiting for sighting in seen) else PERIOD * period

    def look(self) -> None:
        """One look at every account."""
        try:
            self._core.check()
            accounts = self._refreshed()
        except KNOWN as error:
            self._note(str(error))
            return
        troubles: List[str] = []
        for account in accounts:
            try:
                self._look_at(account)
            except KNOWN as error:
                troubles.append(
                    str(error)
                    or f"{account.settings.endpoint} did not list what it has in time: look whether it is up."
                )
            except Exception as error:
                log_exception(error)
        self._note(" ".join(troubles))

    def _note(self, trouble: str) -> None:
        """Into the driver's own log, once until it changes."""
        if trouble and trouble != self._trouble:
            log(f"sweep: {trouble}")
        self._trouble = trouble

    def _refreshed(self) -> List[Account]:
        """The accounts by the settings as they are now, each once, with what was seen of them before."""
        found: Dict[Tuple[str, str, str], Account] = {}
        for settings in self._settings.all_hosts():
            with contextlib.suppress(SettingsError, ElasticHostsError):
                known = self._accounts.get(_key(settings))
                found.setdefault(
                    _key(settings),
                    Account(settings, self._zones.of(settings))
                    if known is None
                    else replace(known, settings=settings, zone=self._zones.of(settings)),
                )
        self._accounts = found
        return list(found.values())

    def _look_at(self, account: Account) -> None:
        now = self._clock.monotonic()
        period = account.settings.number("LISTING_PERIOD")
        servers = account.zone.listing.since(now - period, LISTING_WAIT)
        drives = account.zone.drives.since(now - ACTIVE_PERIOD * PERIOD * period, LISTING_WAIT)
        things = [_thing(server, servers.begun) for server in servers.things]
        things += [_thing(drive, drives.begun) for drive in _unnamed(drives.things, servers.things)]
        own = by_vm(things, account.cloud)
        account.asked = {vm_id: when for vm_id, when in account.asked.items() if vm_id in own}
        answers = self._ask(account, self._due(account, own, self._undoubted(account, servers), PERIOD * period))
        moving = any(is_elsewhere(own[vm_id], vm) for vm_id, vm in answers.items())
        drivers = self._vm_drivers() if moving else {}
        grace = {reason: GRACE[reason] * period for reason in self._destructive()}
        findings = leftovers(
            things,
            account.cloud,
            answers,
            self._acted(),
            account.sightings,
            self._clock.monotonic(),
            grace=grace,
            drivers=drivers,
        )
        account.sightings = findings.sightings
        self._tell(account, grace)
        for vm_id, seen in findings.due.items():
            self._submit(vm_id, partial(self._destroy, account, vm_id, own[vm_id][0].host, seen))
        self._look_for_imports(account, servers)

    # --- asking

    def _due(self, account: Account, own: Collection[int], undoubted: Set[int], period: float) -> List[int]:
        """The VMs to ask about now: those that wait longest, measured by how often each is to be asked about."""
        now, destructive = self._clock.monotonic(), self._destructive()

        def waiting(vm_id: int) -> float:
            sighting = account.sightings.get(vm_id)
            if vm_id not in account.asked or (sighting is not None and sighting.evidence.reason in destructive):
                return math.inf
            return (now - account.asked[vm_id]) / (period * (ACTIVE_PERIOD if vm_id in undoubted else 1))

        due = {vm_id: waiting(vm_id) for vm_id in own}
        order = sorted(due, key=lambda vm_id: (-due[vm_id], vm_id in undoubted))
        return [vm_id for vm_id in order if due[vm_id] >= 1][:AT_MOST]

    def _undoubted(self, account: Account, listing: Snapshot[Server]) -> Set[int]:
        """VMs whose servers run, as one expects."""
        doubtful = {doubt.vm for doubt in self._journal.doubts()}
        own = listing.of(account.cloud).items()
        return {vm_id for vm_id, found in own if all(one.status == "active" for one in found)} - doubtful

    def _ask(self, account: Account, vm_ids: Collection[int]) -> Dict[int, VirtualMachine]:
        """The answers for those VMs that the core tells of.

        :raises CoreSilent: the core cannot be asked
        """
        answers: Dict[int, VirtualMachine] = {}
        for vm_id in vm_ids:
            account.asked[vm_id] = self._clock.monotonic()
            try:
                answers[vm_id] = self._core.vm(vm_id)
            except CoreRefused as refusal:
                log(f"sweep: {refusal} What has the keys of VM {vm_id} is left as it is.")
        return answers

    def _vm_drivers(self) -> Dict[str, str]:
        """Name of the VM driver of each host, by the host's name."""
        return {host.name: host.vm_driver for host in self._core.hosts()}

    def _acted(self) -> Dict[int, float]:
        """When the last action of each VM ended (monotonic seconds); infinity while a driver that lives is at it."""
        return {
            vm_id: entry.ended if entry.ended is not None else math.inf if is_alive(entry.process) else entry.begun
            for vm_id, entry in self._journal.entries().items()
        }

    def _destructive(self) -> List[Reason]:
        """What is a reason to destroy something under this release."""
        release = self._release()
        return [Reason.ENDED, Reason.MOVED] if release and release < HIGH_AVAILABILITY else [Reason.ENDED]

    def _tell(self, account: Account, grace: Mapping[Reason, float]) -> None:
        for vm_id, (seen, _first, _times) in account.sightings.items():
            if seen.reason in NOTICES and (vm_id, seen) not in account.told:
                account.told.add((vm_id, seen))
                notice = NOTICES[seen.reason] + (WARNING if seen.reason in grace else KEPT)
                things, seconds = " ".join(sorted(seen.things)), grace.get(seen.reason)
                self._say("W", -1, notice.format(vm=vm_id, host=seen.host, things=things, seconds=seconds))

    # --- imported servers

    def _look_for_imports(self, account: Account, listing: Snapshot[Server]) -> None:
        """Only VMs that are new since the last look are asked for, and only while there are servers of nobody."""
        wild = {one.uuid for one in listing.things if not {CLOUD_KEY, VM_KEY} & one.properties.keys()}
        release = self._release()
        if not wild or (release is not None and not IMPORTABLE <= release < IMPORT_SENDS_DEPLOY):
            return
        for vm_id, deploy_id in self._core.deploy_ids(self._first_new):
            self._first_new = max(self._first_new, vm_id + 1)
            if deploy_id:
                self._imports[deploy_id] = vm_id
        for uuid in wild & self._imports.keys():
            self._submit(self._imports[uuid], partial(self._take_over, account, uuid, self._imports[uuid]))

    def _take_over(self, account: Account, uuid: str, vm_id: int, job: Job) -> None:
        vm = self._core.vm(vm_id)
        is_there = vm.lcm_state in ON if vm.state == ACTIVE else vm.state in OFF
        if not (vm.imported and vm.deploy_id == uuid and is_there):
            return
        order = self._order(account, vm.history_host, vm, job)
        if order.host != vm.history_host:
            return  # its host has another account
        server = order.recorded()
        if server is not None and not order.owns(server):
            take_over(order, server)
            self._say("I", vm_id, f"Server {uuid} was imported as this VM and is marked as its own now.")

    # --- leftovers

    def _destroy(self, account: Account, vm_id: int, host: str, expected: Evidence, job: Job) -> None:
        """Look again, now that no action of this VM runs here; destroy only if everything is as it was."""
        vm = self._core.vm(vm_id)
        drivers = self._vm_drivers() if expected.reason is Reason.MOVED else {}
        # Found by keys, since the core's deploy id may be that of a server elsewhere.
        order = self._order(account, host, replace(vm, deploy_id=""), job)
        now = self._clock.monotonic()
        servers = order.own_now()
        found = servers or _unnamed(order.own_drives(), order.servers(since=now))
        things = [_thing(one, now) for one in found]
        if self._acted().get(vm_id) == math.inf or not things or evidence(things, vm, drivers) != expected:
            return
        with self._journal.action(vm_id, "SWEEP", order.host):
            self._verbs.end(order, servers)
        uuids, reason = " ".join(sorted(expected.things)), expected.reason.value
        self._say("W", -1, f"What VM {vm_id} had left at ElasticHosts ({uuids}) was destroyed: {reason}.")

    # --- jobs

    def _submit(self, vm_id: int, work: Callable[[Job], None]) -> None:
        """In the VM's lane: actions of the same VM come before or after."""

        def safely(job: Job) -> None:
            try:
                work(job)
            except KNOWN as error:
                log(f"sweep: VM {vm_id}: {error}")

        self._lanes.submit(vm_id, Job(Ticket(lambda _line: None, lambda _ok, _text: b""), safely))

    def _order(self, account: Account, host: str, vm: VirtualMachine, job: Job) -> Order:
        """For ``host``, if it has this account; else for another host that has it: hosts are removed and renamed."""
        if _key(self._settings.host(host)) != _key(account.settings):
            host = account.settings.host
        return self._desk.order(VmmRequest("CLEANUP", vm.id, "", host=host), Purpose.DESTROY, vm, job)


def _key(settings: HostSettings) -> Tuple[str, str, str]:
    return settings.endpoint, settings.auth, settings.cloud


def _thing(thing: Union[Server, Drive], listed: float) -> Thing:
    marks = thing.properties
    cloud = marks.get(CLOUD_KEY, "")
    host, seq = marks.get(HOST_KEY, ""), number(marks.get(SEQ_KEY)) or 0
    return Thing(thing.uuid, cloud, owner(thing, cloud), host, seq, listed, is_server=isinstance(thing, Server))


def _unnamed(drives: Iterable[Drive], servers: Iterable[Server]) -> List[Drive]:
    """The drives that no server has, whoever's it is."""
    named = {uuid for server in servers for uuid in server.drives.values()}
    return [drive for drive in drives if drive.uuid not in named]
