# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All objects of the cloud in memory, and the one place that changes them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from ipaddress import IPv4Address
from typing import Generic, TypedDict, TypeVar, Union
from uuid import UUID

from ..api.properties import DEVICES, MAX_CORES, MOUNTS, NICS
from ..errors import Full, SystemFault
from ..hypervisor import Nic
from ..testing.clock import Clock
from .addresses import AddressPool
from .store import Row, Store

_MHZ_PER_CORE = 2500
Config = Mapping[str, Union[str, int]]


class Imaging(TypedDict):
    """What is being copied onto a drive: the source drive, `gunzip`, `gzip` or nothing, epoch seconds of the call."""

    source: str
    conversion: str
    asked: float


@dataclass(frozen=True, eq=False)
class Drive:
    """A drive of a user. size in bytes; config holds the keys that were given or have defaults."""

    uuid: str
    user: str
    size: int
    config: Config
    counters: Mapping[str, int] = field(default_factory=dict)
    imaging: Imaging | None = None

    @property
    def shared(self) -> bool:
        return self.config.get("claim:type") == "shared"


@dataclass(frozen=True, eq=False)
class Folder:
    """A folder of a user, for containers. used in bytes; cloned in epoch seconds."""

    uuid: str
    user: str
    config: Config
    used: int = 0
    cloned: float = 0.0


@dataclass(frozen=True, eq=False)
class Server:
    """A server of a user. started and asked_off (the ACPI button) in epoch seconds."""

    uuid: str
    user: str
    config: Config
    status: str = "stopped"
    started: float | None = None
    address: str | None = None
    asked_off: float | None = None

    @property
    def active(self) -> bool:
        return self.status != "stopped"

    @property
    def persistent(self) -> bool:
        return "persistent" in self.config

    @cached_property
    def cores(self) -> int:
        """As many as were asked for, or as many as the MHz need."""
        smp = self.config.get("smp")
        return smp if isinstance(smp, int) else max(1, min(MAX_CORES, -(-int(self.config["cpu"]) // _MHZ_PER_CORE)))

    @cached_property
    def drives(self) -> Mapping[str, str]:
        """Drive UUIDs by device."""
        return {device: str(self.config[device]) for device in DEVICES if device in self.config}

    @cached_property
    def folders(self) -> frozenset[str]:
        """UUIDs of the folders that a container mounts."""
        return frozenset(str(self.config[key]).partition("/")[0] for key in MOUNTS if key in self.config)

    @cached_property
    def resources(self) -> frozenset[str]:
        """The static address and the VLANs that the configuration names."""
        keys = ("nic:0:dhcp", *(f"nic:{number}:vlan" for number in range(NICS)))
        return frozenset(str(self.config[key]) for key in keys if key in self.config) - {"auto"}

    @cached_property
    def nics(self) -> tuple[Nic, ...]:
        return tuple(_nic(self, number) for number in range(NICS) if _NIC_MAKERS[number] & self.config.keys())


@dataclass(frozen=True, eq=False)
class Resource:
    """A static IP address (its uuid is the address) or a VLAN of a user."""

    uuid: str
    user: str
    type: str
    config: Config


_NIC_MAKERS = tuple({f"nic:{number}:{part}" for part in ("model", "dhcp", "vlan")} for number in range(NICS))


def _nic(server: Server, number: int) -> Nic:
    config = server.config
    vlan = config.get(f"nic:{number}:vlan")
    return Nic(
        number,
        model=str(config.get(f"nic:{number}:model", "e1000")),
        mac=str(config.get(f"nic:{number}:mac") or _mac(server, number)),
        address=None if number else server.address,
        vlan=None if vlan is None else str(vlan),
    )


def _mac(server: Server, number: int) -> str:
    """A MAC address: four random bytes of the server's UUID and the NIC's number, but that of its address if it has
    one."""
    if server.address and not number:
        return mac_of(server.address)
    return _octets(0x6A, *UUID(server.uuid).bytes[:4], number)


def mac_of(address: str) -> str:
    """The MAC address of the NIC that has an IPv4 address: so DHCP servers need not be told who has it, and no guest
    is refused an address for the lease of the one before."""
    return _octets(0x6A, 0, *IPv4Address(address).packed)


def _octets(*octets: int) -> str:
    return ":".join(f"{octet:02x}" for octet in octets)


Thing = Union[Drive, Folder, Server, Resource]
KINDS: dict[str, type[Thing]] = {"drive": Drive, "folder": Folder, "server": Server, "resource": Resource}
T = TypeVar("T", Drive, Folder, Server, Resource)


class Shelf(Generic[T]):
    """Objects of one kind by UUID, and by user in the order of their creation."""

    def __init__(self) -> None:
        self._all: dict[str, T] = {}
        self._of: dict[str, dict[str, None]] = {}

    def get(self, uuid: str) -> T | None:
        return self._all.get(uuid)

    def of(self, user: str) -> list[T]:
        return [self._all[uuid] for uuid in self._of.get(user, ())]

    def put(self, thing: T) -> None:
        self._all[thing.uuid] = thing
        self._of.setdefault(thing.user, {})[thing.uuid] = None

    def remove(self, thing: T) -> None:
        del self._all[thing.uuid]
        del self._of[thing.user][thing.uuid]

    def __iter__(self) -> Iterator[T]:
        return iter(self._all.values())

    def __len__(self) -> int:
        return len(self._all)


class Cloud:
    """The state. Objects are immutable: a change is a new object, first in the store, then here."""

    def __init__(self, store: Store, clock: Clock, addresses: AddressPool) -> None:
        self.clock = clock
        self.addresses = addresses
        self.drives: Shelf[Drive] = Shelf()
        self.folders: Shelf[Folder] = Shelf()
        self.servers: Shelf[Server] = Shelf()
        self.resources: Shelf[Resource] = Shelf()
        self._claims: dict[str, dict[str, None]] = {}
        self._store = store
        for row in store.rows():
            self._enter(KINDS[row.kind](**row.document))

    def commit(self, *put: Thing, remove: Iterable[Thing] = ()) -> None:
        """Put and remove objects, all or none, durably before it returns. Raises Full or SystemFault."""
        remove = tuple(remove)
        try:
            self._store.commit([_row(thing) for thing in put], [thing.uuid for thing in remove])
        except sqlite3.Error as error:
            if "full" in str(error):
                raise Full("The state folder of the endpoint has no space left") from error
            raise SystemFault("The state of the endpoint cannot be written, see its log") from error
        for thing in remove:
            self._leave(thing)
        for thing in put:
            self._enter(thing)

    def claims(self, uuid: str) -> tuple[str, ...]:
        """What uses a drive or folder: UUIDs of active servers (elastichosts-api 7.4: a stopped one holds no claim),
        and of the drive at the other end of an imaging."""
        return tuple(self._claims.get(uuid, ()))

    def _enter(self, thing: Thing) -> None:
        if isinstance(thing, Drive):
            before = self.drives.get(thing.uuid)
            if before is not None:
                self._release(_ends(before))
            self.drives.put(thing)
            self._claim(_ends(thing))
        elif isinstance(thing, Folder):
            self.folders.put(thing)
        elif isinstance(thing, Resource):
            self.resources.put(thing)
            if thing.type == "ip":
                self.addresses.claim(thing.uuid)
        else:
            known = self.servers.get(thing.uuid)
            if known is not None:
                self._power_down(known)
            self.servers.put(thing)
            if thing.address:
                self.addresses.claim(thing.address)
            self._claim(_uses(thing))

    def _leave(self, thing: Thing) -> None:
        if isinstance(thing, Drive):
            self._release(_ends(thing))
            self.drives.remove(thing)
        elif isinstance(thing, Folder):
            self.folders.remove(thing)
        elif isinstance(thing, Resource):
            self.resources.remove(thing)
            self.addresses.release(thing.uuid)
        else:
            self._power_down(thing)
            self.servers.remove(thing)

    def _power_down(self, server: Server) -> None:
        if server.address and self.resources.get(server.address) is None:
            self.addresses.release(server.address)
        self._release(_uses(server))

    def _claim(self, pairs: Iterable[tuple[str, str]]) -> None:
        for used, user in pairs:
            self._claims.setdefault(used, {})[user] = None

    def _release(self, pairs: Iterable[tuple[str, str]]) -> None:
        for used, user in pairs:
            holders = self._claims.get(used, {})
            holders.pop(user, None)
            if not holders:
                self._claims.pop(used, None)


def _uses(server: Server) -> list[tuple[str, str]]:
    """What an active server claims, and by which UUID."""
    return [(used, server.uuid) for used in (*server.drives.values(), *server.folders)] if server.active else []


def _ends(drive: Drive) -> list[tuple[str, str]]:
    """Both ends of an imaging claim each other (elastichosts-api 2.1)."""
    if drive.imaging is None:
        return []
    return [(drive.uuid, drive.imaging["source"]), (drive.imaging["source"], drive.uuid)]


def _row(thing: Thing) -> Row:
    return Row(thing.uuid, type(thing).__name__.lower(), asdict(thing))
