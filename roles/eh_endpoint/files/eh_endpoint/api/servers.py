# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server calls (elastichosts-api 2.2) and the info object of a server (elastichosts-api 3, 8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple
from uuid import uuid4
from weakref import WeakKeyDictionary

from ..errors import Busy, Failed, Missing, Usage, about
from ..hypervisor import Adopted, Console, Counters, Disk, Guest, Hypervisor, HypervisorError
from ..state.objects import ADDRESSES_KEPT, DEVICES, MOUNTS, Server
from ..state.state import State
from ..testing.clock import monotonic_of
from .api_platform import Platform
from .drives import Drives
from .folders import Folders
from .formats import Given, Properties, Value, words
from .properties import DEVICE_COUNTERS, SERVER_KEYS, changes
from .quotas import Quotas
from .resources import Resources

_DEFAULTS = {"smp": "auto", "type": "vm"}


class InfoFrame(NamedTuple):
    """An info object without counters. counters: key, name at the hypervisor, whether JSON has it as a string."""

    properties: Properties
    counters: tuple[tuple[str, str, bool], ...]


class Servers:
    """The server calls. address_delay: seconds from the start until info shows the address (elastichosts-api 7.17)."""

    def __init__(
        self,
        state: State,
        drives: Drives,
        folders: Folders,
        resources: Resources,
        hypervisor: Hypervisor,
        quotas: Quotas,
        platform: Platform,
        address_delay: float = 0.0,
    ) -> None:
        self._state = state
        self._drives = drives
        self._folders = folders
        self._quotas = quotas
        self._resources = resources
        self._hypervisor = hypervisor
        self._platform = platform
        self._address_delay = address_delay
        self._changing: set[str] = set()
        self._started: dict[str, float] = {}
        self._frames: WeakKeyDictionary[Server, InfoFrame] = WeakKeyDictionary()

    async def adopt(self) -> None:
        """Give the hypervisor the servers that were active when the endpoint ended."""
        running = [server for server in self._state.servers if server.active]
        self._started |= {server.uuid: monotonic_of(self._state.clock, server.started or 0.0) for server in running}
        await self._hypervisor.adopt(
            Adopted(self._guest(server), server.started or 0.0, server.asked_off) for server in running
        )

    def advance(self) -> None:
        """Update the servers whose guests have powered off."""
        for uuid in self._hypervisor.powered_off():
            server = self._state.servers.get(uuid)
            if server is not None and server.active:
                self._power_went(server)

    # ---- reads

    def uuids(self, user: str) -> list[str]:
        return [server.uuid for server in self._state.servers.of(user)]

    async def every(self, user: str) -> list[Properties]:
        servers = self._state.servers.of(user)
        stats = await self._hypervisor.stats([server.uuid for server in servers if server.active])
        return [self._describe(server, stats.get(server.uuid, {})) for server in servers]

    async def info(self, user: str, uuid: str) -> Properties:
        return await self._shown(self._own(user, uuid))

    async def _shown(self, server: Server) -> Properties:
        stats = await self._hypervisor.stats([server.uuid]) if server.active else {}
        return self._describe(server, stats.get(server.uuid, {}))

    def console(self, user: str, uuid: str) -> Console | None:
        """Return the address of the VNC server of a guest, if there is one. Raises Missing."""
        return self._hypervisor.console(self._own(user, uuid).uuid)

    def _own(self, user: str, uuid: str) -> Server:
        server = self._state.servers.get(uuid.lower())
        if server is None or server.user != user:
            raise Missing(f"Server {uuid[:60]} not found")
        return server

    # ---- changes

    async def create(self, user: str, given: Given) -> Properties:
        """Create a server and start it."""
        server = self._configured(user, given)
        # The record comes first, so that no guest ever runs without a server.
        starting = self._ready(server)
        with self._change(starting):
            self._state.commit(starting)
            try:
                await self._power_on(starting)
            except BaseException:
                self._state.commit(remove=[one for one in [self._state.servers.get(starting.uuid)] if one is not None])
                raise
        return await self._shown(starting)

    async def create_stopped(self, user: str, given: Given) -> Properties:
        server = self._configured(user, given)
        self._state.commit(server)
        return await self._shown(server)

    def _configured(self, user: str, given: Given) -> Server:
        wanted = changes(SERVER_KEYS, given, None, live=False, absent=self._platform.absent)
        config = {**_DEFAULTS, **self._quotas.config(user, {}, wanted)}
        server = Server(str(uuid4()), user, config)
        _check(config)
        self._find_named(user, config)
        self._quotas.check_servers(user)
        return server

    async def set(self, user: str, uuid: str, given: Given) -> Properties:
        server = self._own(user, uuid)
        self._unchanging(server)
        with about(f"Server {server.uuid}"):
            given = self._changed(server, given)
            wanted = changes(SERVER_KEYS, given, server.config, live=server.active, absent=self._platform.absent)
            after = replace(server, config=_without_orphans(self._quotas.config(user, server.config, wanted), wanted))
            _check(after.config)
        self._find_named(user, wanted)
        if wanted:
            if after.active and "cpu" in wanted:
                self._quotas.check_power(after)
            if after.active and wanted.keys() & {"cpu", "password"}:
                with self._change(server):
                    await self._hypervisor.update(self._guest(after))
                after = replace(self._own(user, uuid), config=after.config)  # it may have powered off meanwhile
            self._state.commit(after)
        return await self._shown(after)

    def _changed(self, server: Server, given: Given) -> Given:
        """Return the keys of a body that differ from info: clients send whole objects back (elastichosts-api 3).

        In `nic:0:dhcp`, where old clients send it back, the address of this or an earlier start becomes `auto`.
        """
        shown: dict[str, Value] = {**self._describe(server, {})}
        for nic in server.nics[1:]:
            shown.setdefault(f"nic:{nic.number}:dhcp", "auto")  # jclouds adds it to each NIC without an address
        if server.active:  # what is in use, where info shows the configuration or nothing: jclouds sends it too
            shown |= {"smp": server.cores, **{f"nic:{nic.number}:model": nic.model for nic in server.nics}}
            shown = {**{f"{device}:media": "disk" for device in server.drives}, **shown}
        changed = {key: text for key, text in given.items() if key not in shown or text != words(shown[key])}
        address = changed.get("nic:0:dhcp")
        static = self._state.resources.get(address or "")
        own = static is not None and static.user == server.user
        if address and address in (server.address, *server.past_addresses) and not own:
            changed["nic:0:dhcp"] = "auto"
        return changed

    def _find_named(self, user: str, config: Mapping[str, object]) -> None:
        """Check that the drives, folders, VLANs and the address in a configuration exist. Raises Missing."""
        for key, value in config.items():
            if key in DEVICES and value is not None:
                self._drives.usable(user, str(value))
            elif key in MOUNTS and value is not None:
                self._folders.own(user, str(value).partition("/")[0])
            elif key.endswith(":vlan") and value is not None:
                self._resources.own(user, "vlan", str(value))
            elif key == "nic:0:dhcp" and value not in (None, "auto"):
                self._resources.own(user, "ip", str(value))

    async def start(self, user: str, uuid: str) -> Properties:
        server = self._own(user, uuid)
        if server.active:
            raise Busy(f"Server {server.uuid} is active already")
        try:
            starting = self._ready(server)
        except Missing as error:
            raise Failed(f"Server {server.uuid} failed to start: {error.message}") from None
        with self._change(server):
            self._state.commit(starting)
            try:
                await self._power_on(starting)
            except BaseException:
                self._state.commit(server)
                raise
        return await self._shown(starting)

    async def stop(self, user: str, uuid: str) -> None:
        server = self._active(user, uuid, "stop")
        with self._change(server):
            await self._hypervisor.stop(server.uuid)
            self._settle(server, None)

    async def shutdown(self, user: str, uuid: str) -> None:
        server = self._active(user, uuid, "shutdown")
        with self._change(server):
            self._state.commit(replace(server, asked_off=self._state.clock.now()))
            await self._hypervisor.shutdown(server.uuid)

    def shutdown_ignored(self, user: str, uuid: str) -> None:
        """Press the power button of a guest that ignores it."""
        self._active(user, uuid, "shutdown")

    async def reset(self, user: str, uuid: str) -> None:
        server = self._active(user, uuid, "reset")
        with self._change(server):
            await self._hypervisor.reset(server.uuid)
            self._settle(server, replace(server, asked_off=None))

    async def destroy(self, user: str, uuid: str) -> None:
        server = self._own(user, uuid)
        with self._change(server):
            if server.active:
                await self._hypervisor.stop(server.uuid)
            if self._state.servers.get(server.uuid) is not None:
                self._state.commit(remove=[server])
            self._started.pop(server.uuid, None)

    def _settle(self, server: Server, after: Server | None) -> None:
        """Commit the result of a power call (None: powered off), unless the guest has powered off meanwhile."""
        now = self._state.servers.get(server.uuid)
        if now is not None and now.active:
            self._power_went(now) if after is None else self._state.commit(after)

    def _active(self, user: str, uuid: str, verb: str) -> Server:
        server = self._own(user, uuid)
        if not server.active:
            raise Busy(f"Server {server.uuid}: {verb} is not possible, it is {server.status}")
        return server

    @contextmanager
    def _change(self, server: Server) -> Iterator[None]:
        """Mark a server as being changed by a call; a second call gets Busy. An error of the hypervisor is Failed."""
        self._unchanging(server)
        self._changing.add(server.uuid)
        try:
            yield
        except HypervisorError as error:
            raise Failed(f"Server {server.uuid}: {error}") from error
        finally:
            self._changing.discard(server.uuid)

    def _unchanging(self, server: Server) -> None:
        if server.uuid in self._changing:
            raise Busy(f"Server {server.uuid} is being changed by another call")

    # ---- power

    def _ready(self, server: Server) -> Server:
        """Return the server as it is when it runs, after all checks. Raises Missing, Busy, Billing, Full."""
        self._quotas.check_power(server)
        for folder in server.folders:
            self._folders.ready(server.user, folder)
        for drive_uuid in server.drives.values():
            drive = self._drives.usable(server.user, drive_uuid)
            self._drives.idle(drive)
            claims = self._state.claims(drive_uuid)
            if claims and not drive.shared:
                raise Busy(f"Drive {drive_uuid} is claimed by {' '.join(claims)}")
        address, past = self._address(server), server.past_addresses
        if address and server.config["nic:0:dhcp"] == "auto":
            past = (*[one for one in past if one != address], address)[-ADDRESSES_KEPT:]
        self._started[server.uuid] = self._state.clock.monotonic()
        now = self._state.clock.now()
        return replace(server, status="active", started=now, address=address, past_addresses=past, asked_off=None)

    def _address(self, server: Server) -> str | None:
        wanted = server.config.get("nic:0:dhcp")
        if wanted is None:
            return None
        if wanted == "auto":
            return self._state.addresses.free()
        self._resources.own(server.user, "ip", str(wanted))
        for other in self._state.servers.of(server.user):
            if other.address == wanted:
                raise Busy(f"Address {wanted} is in use by server {other.uuid}")
        return str(wanted)

    async def _power_on(self, server: Server) -> None:
        try:
            await self._hypervisor.start(self._guest(server))
        except HypervisorError as error:
            raise Failed(f"Server {server.uuid} failed to start: {error}") from error
        # The address of the console was not known before.
        self._frames.pop(server, None)

    def _power_went(self, server: Server) -> None:
        """Record that a guest is off: a persistent server is stopped, another one is removed without its drives."""
        if server.persistent:
            off = replace(server, status="stopped", started=None, address=None, asked_off=None)
            self._state.commit(off)
        else:
            self._state.commit(remove=[server])
        self._started.pop(server.uuid, None)

    def _guest(self, server: Server) -> Guest:
        config = server.config
        return Guest(
            uuid=server.uuid,
            name=str(config.get("name", server.uuid)),
            cpu=int(config["cpu"]),
            mem=int(config["mem"]),
            cores=server.cores,
            boot=tuple(str(config.get("boot", "")).split()),
            disks=tuple(
                Disk(device, self._drives.path(drive), str(config.get(f"{device}:media", "disk")))
                for device, drive in server.drives.items()
            ),
            nics=server.nics,
            vnc=self._console(server),
            password=str(config["password"]) if "password" in config else None,
            container=config.get("type") == "container",
        )

    def _console(self, server: Server) -> str | None:
        if "vnc" not in server.config or "password" not in server.config:
            return None
        return server.address or self._state.addresses.console

    # ---- info

    def _describe(self, server: Server, counters: Counters) -> Properties:
        frame = self._frames.get(server)
        if frame is None:
            frame = self._frames[server] = self._frame(server)
        found = dict(frame.properties)
        for key, source, as_text in frame.counters:
            found[key] = str(counters.get(source, 0)) if as_text else counters.get(source, 0)
        if server.active and self._hypervisor.paused(server.uuid):
            found["status"] = "paused"
        if self._address_delay:
            self.hide_address(found, self._address_delay)
        return found

    def hide_address(self, found: dict[str, Value], delay: float) -> None:
        """Remove the address from an info object until `delay` seconds after the start of its server."""
        server = self._state.servers.get(str(found.get("server")))
        if server is None or self._state.clock.monotonic() >= self._started.get(server.uuid, 0.0) + delay:
            return
        for key in (*self._platform.address_keys, "vnc:ip"):
            if server.address and found.get(key) == server.address:
                if key in server.config:
                    found[key] = server.config[key]
                else:
                    del found[key]

    def _frame(self, server: Server) -> InfoFrame:
        """Return the part of an info object that is the same until the server changes, with counters of 0."""
        counters = tuple(self._counters(server)) if server.active else ()
        found: dict[str, Value] = {**server.config, **{key: 0 for key, _source, _text in counters}}
        found |= {"server": server.uuid, "status": server.status, "user": server.user}
        boot = str(found.get("boot", ""))
        if " " in boot:
            found["boot"] = boot.split()
        if "vnc" in found:
            found["vnc:ip"] = "auto"
        if server.active:
            found |= self._running(server)
        if "password" in found:
            found |= dict.fromkeys(self._platform.password_keys, found["password"])
        return InfoFrame(self._platform.shown(found), counters)

    def _running(self, server: Server) -> dict[str, Value]:
        found: dict[str, Value] = {"started": int(server.started or 0)}
        found["smp:cores" if self._platform.cores else "smp"] = server.cores
        console = self._console(server)
        own = self._hypervisor.console(server.uuid)
        if own is not None:
            found |= {"vnc:ip": own.address, "vnc:port": own.port}
        elif console:
            found["vnc:ip"] = console
        if server.address:
            found |= dict.fromkeys(self._platform.address_keys, server.address)
        return found | {f"nic:{nic.number}:mac": nic.mac for nic in server.nics}

    def _counters(self, server: Server) -> Iterator[tuple[str, str, bool]]:
        """Yield the counters of a server as InfoFrame has them (elastichosts-api 1.5)."""
        for device in server.drives:
            for counter in DEVICE_COUNTERS:
                yield f"{device}:{counter}", f"{device}:{counter}", True
        for nic in server.nics:
            for key, counter in self._platform.counters:
                yield key.format(nic=nic.number), f"nic:{nic.number}:{counter}", False


def _check(config: Mapping[str, str | int]) -> None:
    """Check a whole configuration. Raises Usage."""
    for key in ("cpu", "mem"):
        if key not in config:
            raise Usage(f"{key}: invalid configuration: a server needs a value")
    container = config.get("type") == "container"
    for key in config:
        if (key in DEVICES) if container else (key in MOUNTS):
            raise Usage(f"{key}: invalid configuration: a server of type {config.get('type')} has no such key")
    for mount in MOUNTS:
        if f"{mount}:mount" in config and mount not in config:
            raise Usage(f"{mount}:mount: invalid configuration: {mount} names no folder")
    used: dict[str, str] = {}
    for device in DEVICES:
        if device not in config:
            if f"{device}:media" in config:
                raise Usage(f"{device}:media: invalid configuration: {device} names no drive")
            continue
        drive = str(config[device])
        if drive in used:
            raise Usage(f"{device}: invalid configuration: {used[drive]} names drive {drive} already")
        used[drive] = device
    for device in str(config.get("boot", "")).split():
        if device not in config:
            raise Usage(f"boot: invalid value {device!r}: this device names no drive")


_PARTS = (*((device, "media") for device in DEVICES), *((mount, "mount") for mount in MOUNTS))


def _without_orphans(config: dict[str, str | int], wanted: Mapping[str, object]) -> dict[str, str | int]:
    """Remove the media of devices, and the mount points of folders, that the change removes."""
    gone = {f"{key}:{part}" for key, part in _PARTS if key in wanted and wanted[key] is None}
    return {key: value for key, value in config.items() if key not in gone}
