# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs guests with libvirt, as transient domains, which libvirt forgets when they power off."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..hypervisor import Adopted, Console, Counters, Guest, HypervisorError
from ..state.addresses import AddressPool
from . import domain_xml
from .connection import CannotUse, Connection
from .networks import Networks
from .process_watch import ProcessWatch, processes
from .trial import is_active, tried

LOG = logging.getLogger("eh_endpoint")
STATS_SECONDS = 0.5
"""Time that a listing waits for counters before it shows the last known values: libvirt may take seconds while it
cleans up after a guest."""
CLEARED_SECONDS = 15.0
"""Time that libvirt may take to clean up after a guest."""
RESUME_BYTES = 64 << 20
"""Free bytes on the disk that are needed to resume a guest that was paused on a full disk."""
RESUME_SECONDS = 2.0
"""Interval between two checks of the free space."""


class LibvirtHypervisor:
    """Runs the guests of a zone as domains of the libvirt at a URI. Raises CannotUse.

    folders: of drive files, those of users first; QEMU of a system-wide libvirt runs as another user and gets access
    through the group of these folders. pool: the addresses of the zone. forward: `nat` or `route`. console: address on
    which VNC listens. noticed: called in the event loop when guests have powered off on their own.
    """

    def __init__(
        self,
        uri: str,
        state: Path,
        folders: Sequence[Path],
        pool: AddressPool,
        forward: str,
        console: str,
        noticed: Callable[[], None],
    ) -> None:
        self._noticed = noticed
        self._drives = folders[0]
        self._zone = _zone(state)
        self._guests: dict[str, Guest] = {}
        self._consoles: dict[str, Console] = {}
        self._counted: dict[str, Counters] = {}
        self._off: list[str] = []
        self._paused: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch = ProcessWatch(self._ended)
        self._connection = Connection(uri, self._changed, self._returned)
        self._api = self._connection.api
        self._networks = Networks(self._api, self._zone, pool, forward)
        try:
            offer = domain_xml.offer(self._connection.now(lambda connection: connection.getCapabilities()))
            self._group = offer.group
            _open_to(offer.group, state, folders)
            self._machine = tried(self._connection, offer, self._zone, console)
            self._connection.now(lambda conn: self._networks.have_own(conn, guests_run=bool(self._domains(conn))))
        except BaseException:
            self._connection.close()
            raise

    @property
    def type(self) -> str:
        """The type of the guests: `kvm`, or `qemu` if KVM does not work."""
        return self._machine.type

    # ---- the protocol Hypervisor

    async def start(self, guest: Guest) -> None:
        if guest.container:
            raise HypervisorError("containers do not run on this hypervisor: create it with type vm")
        _check_password(guest)
        try:
            self._share_files(guest)
        except OSError as error:
            raise HypervisorError(f"the file of a drive cannot be opened to guests: {error.strerror}") from error
        self._guests[guest.uuid] = guest
        try:
            xml = await self._connection.work(lambda conn: self._run(conn, guest))
            found = await self._connection.work(lambda _link: processes())
        except BaseException:
            self._guests.pop(guest.uuid, None)
            await self._quietly(self._destroy(guest.uuid))
            await self._leave(guest)
            raise
        self._remember(guest.uuid, xml, found)

    async def adopt(self, running: Iterable[Adopted]) -> None:
        self._connection.listen()
        expected = {one.guest.uuid: one.guest for one in running}
        domains = await self._connection.work(self._domains)
        found = await self._connection.work(lambda _link: processes())
        for uuid, xml in domains.items():
            if uuid in expected:
                self._guests[uuid] = expected.pop(uuid)
                self._remember(uuid, xml, found)
                self._later(self._see(uuid))
        await self._end_orphans(domains)
        self._off += expected
        used = self._networks.vlans(self._guests.values())
        await self._connection.work(partial(self._networks.tidy, used=used))

    async def stop(self, uuid: str) -> None:
        guest = self._guests.pop(uuid, None)
        self._watch.forget(uuid)
        try:
            await self._destroy(uuid)
        except HypervisorError:
            if guest is not None:
                self._guests[uuid] = guest
            raise
        if guest is not None:
            await self._leave(guest)

    async def shutdown(self, uuid: str) -> None:
        def job(conn: Any) -> None:
            domain = conn.lookupByUUIDString(uuid)
            try:
                domain.shutdownFlags(self._api.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
            except self._api.libvirtError as error:
                if error.get_error_code() not in (self._api.VIR_ERR_INVALID_ARG, self._api.VIR_ERR_NO_SUPPORT):
                    raise
                domain.shutdown()  # the driver cannot choose the kind of shutdown

        await self._connection.work(job)

    async def reset(self, uuid: str) -> None:
        await self._connection.work(lambda conn: conn.lookupByUUIDString(uuid).reset(0))

    async def update(self, guest: Guest) -> None:
        before = self._guests.get(guest.uuid)
        if before is None:
            return
        _check_password(guest)
        await self._connection.work(lambda conn: self._alter(conn.lookupByUUIDString(guest.uuid), before, guest))
        self._guests[guest.uuid] = guest

    async def stats(self, uuids: Iterable[str]) -> Mapping[str, Counters]:
        wanted = {uuid: self._guests[uuid] for uuid in uuids if uuid in self._guests}
        if not wanted:
            return {}
        asked = asyncio.ensure_future(self._count(wanted))
        # The query continues after the timeout; the next listing uses its result.
        await asyncio.wait([asked], timeout=STATS_SECONDS)
        return {uuid: self._counted[uuid] for uuid in wanted if uuid in self._counted}

    async def _count(self, wanted: Mapping[str, Guest]) -> None:
        """Query the counters of guests and keep them for listings."""
        try:
            records = await self._connection.work(lambda conn: self._records(conn, wanted))
        except HypervisorError as error:
            # A listing with older counters is better than an error.
            LOG.error("no counters: %s", error)
            return
        for uuid, record in records.items():
            if uuid in self._guests:
                self._counted[uuid] = domain_xml.counters(self._guests[uuid], record)

    def powered_off(self) -> Iterable[str]:
        powered_off, self._off = self._off, []
        return powered_off

    def console(self, uuid: str) -> Console | None:
        return self._consoles.get(uuid)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._watch.close()
        await asyncio.get_running_loop().run_in_executor(None, self._connection.close)

    def paused(self, uuid: str) -> bool:
        return uuid in self._paused

    # ---- events, in the event loop

    def _changed(self, uuid: str) -> None:
        if uuid in self._guests:
            self._later(self._see(uuid))

    async def _see(self, uuid: str) -> None:
        """Update the state of a guest after an event; the state is queried, since the event may be outdated."""
        try:
            state, reason = await self._connection.work(lambda conn: self._state(conn, uuid))
        except HypervisorError as error:
            LOG.error("domain %s: %s", uuid, error)
            return
        if state == self._api.VIR_DOMAIN_SHUTOFF:
            self._ended(uuid)
        elif state != self._api.VIR_DOMAIN_PAUSED or reason == self._api.VIR_DOMAIN_PAUSED_STARTING_UP:
            self._paused.discard(uuid)
        elif uuid not in self._paused and uuid in self._guests:
            self._paused.add(uuid)
            if reason == self._api.VIR_DOMAIN_PAUSED_IOERROR:
                LOG.error("guest %s is paused: the disk under its drives has no space left, or is broken", uuid)
                await self._resume_with_space(uuid)

    async def _resume_with_space(self, uuid: str) -> None:
        """Resume a guest that was paused on a full disk as soon as there is space; QEMU repeats the write."""
        while uuid in self._paused:
            await asyncio.sleep(RESUME_SECONDS)
            if uuid in self._paused and shutil.disk_usage(self._drives).free >= RESUME_BYTES:
                self._paused.discard(uuid)
                await self._quietly(self._connection.work(lambda conn: conn.lookupByUUIDString(uuid).resume()))
                await self._see(uuid)

    def _ended(self, uuid: str) -> None:
        guest = self._guests.pop(uuid, None)
        if guest is not None:
            self._watch.forget(uuid)
            self._off.append(uuid)
            self._noticed()
            self._later(self._leave(guest))

    def _returned(self) -> None:
        for uuid in list(self._guests):
            self._changed(uuid)
        self._later(self._quietly(self._find_orphans()))

    async def _find_orphans(self) -> None:
        await self._end_orphans(await self._connection.work(self._domains))

    async def _end_orphans(self, domains: Iterable[str]) -> None:
        """End domains of the zone without a server: the endpoint did not learn that their start succeeded."""
        for uuid in domains:
            if uuid not in self._guests:
                LOG.error("domain %s belongs to no server of this zone any more: it is ended", uuid)
                await self._quietly(self._destroy(uuid))

    def _later(self, job: Any) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- guests

    def _remember(self, uuid: str, xml: str, running: Mapping[str, int]) -> None:
        """Watch the process of a domain and keep its console. running: process IDs by the domain's name."""
        if uuid in self._guests:
            self._watch.watch(uuid, running.get(f"{self._zone}-{uuid}"))
        found = domain_xml.console(xml)
        if found is not None:
            self._consoles[uuid] = Console(*found)

    def _run(self, conn: Any, guest: Guest) -> str:
        self._networks.have_for(conn, guest)
        # libvirt may still be cleaning up after a process of this guest that has just ended.
        limit = time.monotonic() + CLEARED_SECONDS
        while is_active(self._api, conn, guest.uuid) and time.monotonic() < limit:
            time.sleep(0.05)
        return str(conn.createXML(domain_xml.domain(guest, self._machine), 0).XMLDesc(0))

    async def _destroy(self, uuid: str) -> None:
        def job(conn: Any) -> None:
            try:
                conn.lookupByUUIDString(uuid).destroy()
            except self._api.libvirtError as error:
                if error.get_error_code() not in (self._api.VIR_ERR_NO_DOMAIN, self._api.VIR_ERR_OPERATION_INVALID):
                    raise

        await self._connection.work(job)

    def _state(self, conn: Any, uuid: str) -> tuple[int, int]:
        """Return libvirt's numbers of a domain's state and reason; a domain that does not exist is off."""
        try:
            state, reason = conn.lookupByUUIDString(uuid).state(0)
        except self._api.libvirtError as error:
            if error.get_error_code() != self._api.VIR_ERR_NO_DOMAIN:
                raise
            return self._api.VIR_DOMAIN_SHUTOFF, 0
        return state, reason

    def _domains(self, conn: Any) -> dict[str, str]:
        """Return the XML of the zone's running domains by UUID."""
        found = {}
        for domain in conn.listAllDomains(self._api.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
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

    def _records(self, conn: Any, wanted: Mapping[str, Guest]) -> dict[str, Mapping[str, int | str]]:
        """Return statistics by UUID, with one call to libvirt."""
        # NOWAIT skips guests that are being started or cleaned up, which would delay the whole listing.
        now = self._api.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        kinds = self._api.VIR_DOMAIN_STATS_BLOCK | self._api.VIR_DOMAIN_STATS_INTERFACE
        if len(wanted) == 1:
            records = conn.domainListGetStats([conn.lookupByUUIDString(next(iter(wanted)))], kinds, now)
        else:
            records = conn.getAllDomainStats(kinds, self._api.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | now)
        return {domain.UUIDString(): record for domain, record in records}

    def _share_files(self, guest: Guest) -> None:
        """Give the group of QEMU's user, and no others, access to the drive files of a guest."""
        if self._group is None:
            return
        for disk in guest.disks:
            found = disk.path.stat()
            if found.st_gid != self._group:
                os.chown(disk.path, -1, self._group)
            if stat.S_IMODE(found.st_mode) != 0o660:
                disk.path.chmod(0o660)

    # ---- cleaning up

    async def _leave(self, guest: Guest) -> None:
        """Clean up after a guest: its records, and the networks of VLANs without other guests."""
        self._consoles.pop(guest.uuid, None)
        self._counted.pop(guest.uuid, None)
        self._paused.discard(guest.uuid)
        for name in self._networks.vlans([guest]):
            if name not in self._networks.vlans(list(self._guests.values())):
                await self._quietly(self._connection.work(partial(self._networks.drop, name=name)))

    async def _quietly(self, job: Any) -> None:
        """Await a clean-up job; log its failure."""
        try:
            await job
        except HypervisorError as error:
            LOG.error("cleaning up: %s", error)


def _check_password(guest: Guest) -> None:
    if not domain_xml.can_say(guest.password):
        raise HypervisorError("password: a character of it cannot be given to libvirt, choose another one")


def _zone(state: Path) -> str:
    """Return the zone's name in libvirt, short enough for a network interface. Raises CannotUse."""
    file = state / "zone"
    if not file.exists():
        # Written under another name first, so that a killed process leaves no incomplete file.
        new = state / "zone.new"
        try:
            new.write_text(f"eh{uuid4().hex[:8]}\n")
            new.rename(file)
        except OSError as error:
            raise CannotUse(f"{new} cannot be written: {error.strerror}") from None
    zone = file.read_text(errors="replace").strip()
    if not re.fullmatch(r"eh[0-9a-f]{8}", zone):
        raise CannotUse(
            f"{file} does not hold the name of a zone, like eh01234567: libvirt's guests of it are named so"
        )
    return zone


def _open_to(group: int | None, state: Path, folders: Iterable[Path]) -> None:
    """Give the group of QEMU's user access to the folders of drive files. Raises CannotUse."""
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
