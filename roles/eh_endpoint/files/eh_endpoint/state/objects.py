# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of the cloud: drives, folders, servers and resources. They are immutable."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address
from typing import TypedDict, Union
from uuid import UUID

from ..hypervisor import Nic

UUID_FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
EVERYONE = "ffffffff-ffff-ffff-ffff-ffffffffffff"
"""As a reader of a drive: all users."""
MAX_CORES = 8
NICS = 4
ADDRESSES_KEPT = 16
DEVICES = (
    *(f"ide:{bus}:{unit}" for bus in range(2) for unit in range(2)),
    *(f"scsi:0:{unit}" for unit in range(8)),
    *(f"ata:0:{unit}" for unit in range(6)),
    *(f"block:{number}" for number in range(8)),
)
MOUNTS = tuple(f"fs:{number}" for number in range(8))
Config = Mapping[str, Union[str, int]]
_MHZ_PER_CORE = 2500


def config_size(config: Mapping[str, Union[str, int, None]]) -> int:
    """Return the size of keys and values in bytes, as a listing in JSON has them."""
    return len(json.dumps(config))


class ImagingRequest(TypedDict):
    """A copy onto a drive. source: UUID; conversion: `gunzip`, `gzip` or empty; asked: epoch seconds of the call."""

    source: str
    conversion: str
    asked: float


@dataclass(frozen=True, eq=False)
class Drive:
    """A drive of a user. size in bytes; config: the keys that were given or have defaults."""

    uuid: str
    user: str
    size: int
    config: Config
    counters: Mapping[str, int] = field(default_factory=dict)
    imaging: ImagingRequest | None = None

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
    """A server of a user. started and asked_off (the shutdown call) in epoch seconds.

    past_addresses: its addresses from the pool, of this and earlier starts, the newest last, at most ADDRESSES_KEPT.
    """

    uuid: str
    user: str
    config: Config
    status: str = "stopped"
    started: float | None = None
    address: str | None = None
    asked_off: float | None = None
    past_addresses: Sequence[str] = ()

    @property
    def active(self) -> bool:
        return self.status != "stopped"

    @property
    def persistent(self) -> bool:
        return "persistent" in self.config

    @cached_property
    def cores(self) -> int:
        """The number of cores that was given, or that the MHz require."""
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
        """The static address and the VLANs of the configuration."""
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
    """Return the MAC address of a NIC, from its IP address or from the server's UUID and the NIC's number."""
    if server.address and not number:
        return mac_of(server.address)
    return _octets(0x6A, *UUID(server.uuid).bytes[:4], number)


def mac_of(address: str) -> str:
    """Return the MAC address that belongs to an IPv4 address.

    The DHCP server's hosts are therefore constant, and no lease of an earlier guest blocks an address.
    """
    return _octets(0x6A, 0, *IPv4Address(address).packed)


def _octets(*octets: int) -> str:
    return ":".join(f"{octet:02x}" for octet in octets)
