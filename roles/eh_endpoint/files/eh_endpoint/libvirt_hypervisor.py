# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real guests, by libvirt. Domains are transient: a guest that is off leaves nothing in libvirt."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from . import domain_xml
from .addresses import AddressPool
from .domain_xml import Machine
from .hypervisor import Adopted, Console, Counters, Guest, HypervisorError
from .libvirt_link import CannotUse, Link
from .process_watch import ProcessWatch, processes

LOG = logging.getLogger("eh_endpoint")
TRIAL_SECONDS = {"kvm": 3.0, "qemu": 30.0}
"""By type of guest, how long a BIOS without a disk may take. Emulation needs a third of a second on an idle machine;
KVM that needs ten times as long is emulated itself, and there emulation at first hand is faster."""


STATS_SECONDS = 0.5
"""How long a listing waits for counters before it shows the last known ones: libvirt can hold them back for seconds
while it clears up after a single guest."""
CLEARED_SECONDS = 15.0
"""How long libvirt may take to clear up after a guest."""


class LibvirtHypervisor:
    """Guests of one zone as domains of the libvirt at a URI.

    folders: where the files of drives are; guests of a system-wide libvirt run as another user, who gets at them by
    the group of these folders. pool: the addresses of the zone. forward: `nat` or `route`.
    noticed: called in the event loop when guests went off by themselves. Raises CannotUse.
    """

    def __init__(
        self,
        uri: str,
        state: Path,
        folders: Iterable[Path],
        pool: AddressPool,
        forward: str,
        console: str,
        noticed: Callable[[], None],
    ) -> None:
        self._noticed = noticed
        self._pool = pool
        self._forward = forward
        self._zone = _zone(state)
        self._guests: dict[str, Guest] = {}
        self._consoles: dict[str, Console] = {}
        self._counted: dict[str, Counters] = {}
        self._off: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch = ProcessWatch(self._ended)
        self._link = Link(uri, self._stopped, self._returned)
        self._api = self._link.api
        try:
            offer = domain_xml.offer(self._link.now(lambda connection: connection.getCapabilities()))
            self._group = offer.group
            _open_to(offer.group, state, folders)
            self._machine = self._tried(offer, console)
            self._link.now(self._have_network)
        except BaseException:
            self._link.close()
            raise

    @property
    def type(self) -> str:
        """What runs the guests: `kvm`, or `qemu` where that does not work."""
        return self._machine.type

    # ---- the protocol

    async def start(self, guest: Guest) -> None:
        if guest.container:
            raise HypervisorError("containers do not run on this hypervisor: create it with type vm")
        try:
            self._share_files(guest)
        except OSError as error:
            raise HypervisorError(f"the file of a drive cannot be opened to guests: {error.strerror}") from error
        self._guests[guest.uuid] = guest
        try:
            xml = await self._link.work(lambda link: self._run(link, guest))
            found = await self._link.work(lambda _link: processes())
        except BaseException:
            self._guests.pop(guest.uuid, None)
            await self._quietly(self._cut(guest.uuid))
            await self._leave(guest)
            raise
        self._remember(guest.uuid, xml, found)

    async def adopt(self, running: Iterable[Adopted]) -> None:
        self._link.listen()
        expected = {one.guest.uuid: one.guest for one in running}
        domains = await self._link.work(self._domains)
        found = await self._link.work(lambda _link: processes())
        for uuid, xml in domains.items():
            if uuid in expected:
                self._guests[uuid] = expected.pop(uuid)
                self._remember(uuid, xml, found)
            else:
                LOG.error("domain %s belongs to no server of this zone any more: it is ended", uuid)
                await self._quietly(self._cut(uuid))
        self._off += expected
        await self._link.work(self._tidy)

    async def stop(self, uuid: str) -> None:
        guest = self._guests.pop(uuid, None)
        self._watch.forget(uuid)
        try:
            await self._cut(uuid)
        except HypervisorError:
            if guest is not None:
                self._guests[uuid] = guest
            raise
        if guest is not None:
            await self._leave(guest)

    async def shutdown(self, uuid: str) -> None:
        button = self._api.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN
        await self._link.work(lambda link: link.lookupByUUIDString(uuid).shutdownFlags(button))

    async def reset(self, uuid: str) -> None:
        await self._link.work(lambda link: link.lookupByUUIDString(uuid).reset(0))

    async def update(self, guest: Guest) -> None:
        before = self._guests.get(guest.uuid)
        if before is None:
            return
        await self._link.work(lambda link: self._alter(link.lookupByUUIDString(guest.uuid), before, guest))
        self._guests[guest.uuid] = guest

    async def stats(self, uuids: Iterable[str]) -> Mapping[str, Counters]:
        wanted = {uuid: self._guests[uuid] for uuid in uuids if uuid in self._guests}
        if not wanted:
            return {}
        asked = asyncio.ensure_future(self._count(wanted))
        # It goes on beyond the limit, for the next listing.
        await asyncio.wait([asked], timeout=STATS_SECONDS)
        return {uuid: self._counted[uuid] for uuid in wanted if uuid in self._counted}

    async def _count(self, wanted: Mapping[str, Guest]) -> None:
        try:
            records = await self._link.work(lambda link: self._records(link, wanted))
        except HypervisorError as error:
            # A listing with the counters of before is worth more than none.
            LOG.error("no counters: %s", error)
            return
        for uuid, record in records.items():
            if uuid in self._guests:
                self._counted[uuid] = domain_xml.counters(self._guests[uuid], record)

    def powered_off(self) -> Iterable[str]:
        gone, self._off = self._off, []
        return gone

    def console(self, uuid: str) -> Console | None:
        return self._consoles.get(uuid)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._watch.close()
        await asyncio.get_running_loop().run_in_executor(None, self._link.close)

    # ---- events, in the event loop

    def _stopped(self, uuid: str) -> None:
        if uuid in self._guests:
            self._later(self._see(uuid))

    async def _see(self, uuid: str) -> None:
        """A guest that is said to have stopped may have been started again since: look."""
        try:
            active = await self._link.work(lambda link: self._active(link, uuid))
        except HypervisorError as error:
            LOG.error("domain %s: %s", uuid, error)
            return
        if not active:
            self._ended(uuid)

    def _ended(self, uuid: str) -> None:
        guest = self._guests.pop(uuid, None)
        if guest is not None:
            self._watch.forget(uuid)
            self._off.append(uuid)
            self._noticed()
            self._later(self._leave(guest))

    def _returned(self) -> None:
        for uuid in list(self._guests):
            self._stopped(uuid)

    def _later(self, job: Any) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- guests

    def _remember(self, uuid: str, xml: str, running: Mapping[str, int]) -> None:
        if uuid in self._guests:
            self._watch.watch(uuid, running.get(f"{self._zone}-{uuid}"))
        found = domain_xml.console(xml)
        if found is not None:
            self._consoles[uuid] = Console(*found)

    def _run(self, link: Any, guest: Guest) -> str:
        for name in self._vlans(guest):
            self._have_isolated(link, name)
        # A guest whose process has just ended may be cleared up by libvirt still.
        limit = time.monotonic() + CLEARED_SECONDS
        while self._active(link, guest.uuid) and time.monotonic() < limit:
            time.sleep(0.05)
        return str(link.createXML(domain_xml.domain(guest, self._machine), 0).XMLDesc(0))

    async def _cut(self, uuid: str) -> None:
        def job(link: Any) -> None:
            try:
                link.lookupByUUIDString(uuid).destroy()
            except self._api.libvirtError as error:
                if error.get_error_code() not in (self._api.VIR_ERR_NO_DOMAIN, self._api.VIR_ERR_OPERATION_INVALID):
                    raise

        await self._link.work(job)

    def _active(self, link: Any, uuid: str) -> bool:
        try:
            return bool(link.lookupByUUIDString(uuid).isActive())
        except self._api.libvirtError as error:
            if error.get_error_code() == self._api.VIR_ERR_NO_DOMAIN:
                return False
            raise

    def _domains(self, link: Any) -> dict[str, str]:
        """The zone's domains that are running, by UUID."""
        found = {}
        for domain in link.listAllDomains(self._api.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            if domain.name().startswith(f"{self._zone}-"):
                xml = domain.XMLDesc(0)
                if domain_xml.zone_of(xml) == self._zone:
                    found[domain.UUIDString()] = xml
        return found

    def _alter(self, domain: Any, before: Guest, after: Guest) -> None:
        live = self._api.VIR_DOMAIN_AFFECT_LIVE
        if after.cpu != before.cpu and self._machine.weights:
            domain.setSchedulerParametersFlags({"cpu_shares": domain_xml.shares(after.cpu)}, live)
        if after.password != before.password and after.password is not None:
            secure = self._api.VIR_DOMAIN_XML_SECURE
            graphics = domain_xml.with_password(domain.XMLDesc(secure), after.password)
            if graphics:
                domain.updateDeviceFlags(graphics, live)

    def _records(self, link: Any, wanted: Mapping[str, Guest]) -> dict[str, Mapping[str, int | str]]:
        """Statistics by UUID: one call to libvirt, for one guest as for all."""
        # A guest that is being started or cleared up is passed over: it would hold up the listing of all others.
        now = self._api.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        kinds = self._api.VIR_DOMAIN_STATS_BLOCK | self._api.VIR_DOMAIN_STATS_INTERFACE
        if len(wanted) == 1:
            records = link.domainListGetStats([link.lookupByUUIDString(next(iter(wanted)))], kinds, now)
        else:
            records = link.getAllDomainStats(kinds, self._api.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | now)
        return {domain.UUIDString(): record for domain, record in records}

    def _share_files(self, guest: Guest) -> None:
        """Let the user that QEMU runs as open the files of the drives, which nobody else may."""
        if self._group is None:
            return
        for disk in guest.disks:
            found = disk.path.stat()
            if found.st_gid != self._group:
                os.chown(disk.path, -1, self._group)
            if stat.S_IMODE(found.st_mode) != 0o660:
                disk.path.chmod(0o660)

    # ---- networks

    @property
    def _network(self) -> str:
        return self._zone

    async def _leave(self, guest: Guest) -> None:
        """Undo what a guest needed beside itself."""
        self._consoles.pop(guest.uuid, None)
        self._counted.pop(guest.uuid, None)
        for name in self._vlans(guest):
            if not any(name in self._vlans(other) for other in list(self._guests.values())):
                await self._quietly(self._drop_network(name))

    def _vlans(self, guest: Guest) -> frozenset[str]:
        return frozenset(domain_xml.vlan_network(self._zone, nic.vlan) for nic in guest.nics if nic.vlan)

    def _have_network(self, link: Any) -> None:
        """The zone's network, with an entry for every address that a guest can get."""
        wanted = domain_xml.zone_network(self._zone, self._network, self._pool, self._forward)
        if self._network in link.listNetworks():
            present = link.networkLookupByName(self._network)
            if domain_xml.same_network(present.XMLDesc(0), wanted):
                return
            if self._domains(link):
                raise CannotUse(
                    f"guests are running on network {self._network}, which was made with other --addresses or another "
                    "--forward: give the same ones, or stop the guests first"
                )
            present.destroy()
        link.networkCreateXML(wanted)

    def _have_isolated(self, link: Any, name: str) -> None:
        try:
            link.networkLookupByName(name)
        except self._api.libvirtError:
            try:
                link.networkCreateXML(domain_xml.isolated_network(name))
            except self._api.libvirtError:
                link.networkLookupByName(name)  # another guest was faster

    async def _drop_network(self, name: str) -> None:
        await self._link.work(lambda link: link.networkLookupByName(name).destroy())

    def _tidy(self, link: Any) -> None:
        """After a restart: VLANs that no running guest needs."""
        guests = list(self._guests.values())
        used = {name for guest in guests for name in self._vlans(guest)}
        for name in link.listNetworks():
            if name.startswith(f"{self._zone}-vlan-") and name not in used:
                link.networkLookupByName(name).destroy()

    async def _quietly(self, job: Any) -> None:
        """Clearing up: what does not work is said, and stops nothing."""
        try:
            await job
        except HypervisorError as error:
            LOG.error("clearing up: %s", error)

    # ---- what this machine can do

    def _tried(self, offer: domain_xml.Offer, console: str) -> Machine:
        """The first type of guest that is seen to run, with CPU shares if these work."""
        said = "it offers no type of guest"
        for kind in offer.types:
            for weights in (True, False):
                machine = Machine(kind, offer.arch, self._zone, self._network, console, weights, offer.labelled)
                if kind not in TRIAL_SECONDS:
                    return machine._replace(weights=False)
                said = self._trial(machine)
                if not said:
                    return machine
                LOG.warning("guests of type %s do not run here: %s", kind, said)
                if not said.startswith(_REFUSED):
                    break
        raise CannotUse(f"no guest runs on this libvirt: {said}")

    def _trial(self, machine: Machine) -> str:
        """Run a guest to its end; what went wrong, or nothing."""
        try:
            return self._link.now(lambda link: self._run_trial(link, machine))
        except CannotUse as error:
            return f"{_REFUSED}{error}"

    def _run_trial(self, link: Any, machine: Machine) -> str:
        domain = link.createXML(domain_xml.trial(machine), self._api.VIR_DOMAIN_START_AUTODESTROY)
        uuid, seconds = domain.UUIDString(), TRIAL_SECONDS[machine.type]
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if not self._active(link, uuid):
                return ""
            time.sleep(0.05)
        domain.destroy()
        return f"its BIOS took more than {seconds:g} seconds"


_REFUSED = "refused: "


def _zone(state: Path) -> str:
    """The name under which libvirt knows what belongs to this state folder; short enough for a network interface."""
    file = state / "zone"
    if not file.exists():
        file.write_text(f"eh{uuid4().hex[:8]}\n")
    return file.read_text().strip()


def _open_to(group: int | None, state: Path, folders: Iterable[Path]) -> None:
    """Let the group of QEMU's user find files that it knows of in these folders. Raises CannotUse."""
    if group is None:
        return
    try:
        state.chmod(0o711)
        for folder in folders:
            os.chown(folder, -1, group)
            folder.chmod(0o2770)
    except OSError as error:
        raise CannotUse(
            f"the folders of drives below {state} cannot be given to group {group}, as which QEMU runs: "
            f"{error.strerror}; make the endpoint's user a member of it"
        ) from None
