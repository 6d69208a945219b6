# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of servers, drives, folders and resources as tables (elastichosts-api 2.1, 3)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..errors import Usage
from ..state.objects import DEVICES, MAX_CORES, MOUNTS, NICS, config_size
from . import values
from .formats import Given
from .values import Kept, Kind


@dataclass(frozen=True)
class Key:
    """A key. One without a kind is read-only: it is accepted and ignored, since clients send whole objects back.

    live: may change while a server is active. at_create: may be given in a create call only. alias: stored under this
    name. secret: error messages do not show the value.
    """

    kind: Kind | None = None
    live: bool = False
    at_create: bool = False
    alias: str = ""
    secret: bool = False


MIB = 1 << 20
DRIVE_MULTIPLE = 4 * MIB
DRIVE_LIMIT = 2 << 40
CPU_RANGE = (500, 20000)
MEM_RANGE = (256, 32768)
OBJECT_KEYS = 600
OBJECT_SIZE = 128 << 10

_READ_ONLY = Key()
_NAME = Key(values.text(80), live=True)
_TAGS = Key(values.words(4096), live=True)
_USER = Key(values.text(65536), live=True)
_USER_KEY = "user:"

DEVICE_COUNTERS = ("read:bytes", "read:requests", "write:bytes", "write:requests")


def _smp(given: str) -> Kept:
    return "auto" if given.strip() == "auto" else values.integer(1, MAX_CORES)(given)


def _boot(given: str) -> Kept:
    devices = given.replace(",", " ").split()
    for device in devices:
        if device not in DEVICES:
            raise values.BadValue("a device like ide:0:0, or several separated by spaces, is expected")
    return " ".join(devices) or None


def _nic(number: int) -> dict[str, Key]:
    nic = f"nic:{number}"
    keys = {
        f"{nic}:model": Key(values.choice("e1000", "rtl8139", "virtio")),
        f"{nic}:mac": Key(values.mac) if number else _READ_ONLY,
        f"{nic}:ip": _READ_ONLY,
        f"{nic}:dhcp:ip": _READ_ONLY,
        f"{nic}:block": _READ_ONLY,
        f"{nic}:firewall:policy": Key(values.choice("accept", "reject")),
        f"{nic}:firewall:accept": Key(values.words(4096)),
        f"{nic}:firewall:reject": Key(values.words(4096)),
        **{f"{nic}:{way}:{unit}": _READ_ONLY for way in ("rx", "tx") for unit in ("bytes", "packets")},
    }
    keys |= {f"{nic}:vlan": Key(values.uuid)} if number else {f"{nic}:dhcp": Key(values.dhcp)}
    return keys


def _device(device: str) -> dict[str, Key]:
    return {
        device: Key(values.uuid),
        f"{device}:media": Key(values.choice("disk", "cdrom")),
        **{f"{device}:{counter}": _READ_ONLY for counter in DEVICE_COUNTERS},
    }


SERVER_KEYS: Mapping[str, Key] = {
    "name": _NAME,
    "type": Key(values.choice("vm", "container"), at_create=True),
    "cpu": Key(values.integer(*CPU_RANGE, " MHz"), live=True),
    "mem": Key(values.integer(*MEM_RANGE, " MB")),
    "smp": Key(_smp),
    "persistent": Key(values.flag, live=True),
    "boot": Key(_boot),
    "vnc": Key(values.choice("auto")),
    "vnc:ip": Key(values.vnc_address, alias="vnc"),
    "password": Key(values.text(8), live=True, secret=True),
    "vnc:password": Key(values.text(8), live=True, secret=True, alias="password"),
    "vnc:tls": Key(values.choice("on")),
    "avoid:drives": Key(values.uuids),
    "avoid:servers": Key(values.uuids),
    "tags": _TAGS,
    "parent": Key(values.text(80)),
    "ssh:0:key": Key(values.text(65536)),
    **{mount: Key(values.folder) for mount in MOUNTS},
    **{f"{mount}:mount": Key(values.mount_point) for mount in MOUNTS},
    **{key: value for device in DEVICES for key, value in _device(device).items()},
    **{key: value for number in range(NICS) for key, value in _nic(number).items()},
    **dict.fromkeys(("server", "user", "status", "started", "smp:cores", "vnc:port"), _READ_ONLY),
    **dict.fromkeys(("rx", "rx:packets", "tx", "tx:packets"), _READ_ONLY),
}

DRIVE_KEYS: Mapping[str, Key] = {
    "name": _NAME,
    "size": Key(values.size(DRIVE_LIMIT, DRIVE_MULTIPLE, ignore_zero=True), live=True),
    "claim:type": Key(values.choice("exclusive", "shared"), live=True),
    "readers": Key(values.uuids, live=True),
    "tags": _TAGS,
    "avoid": Key(values.uuids, at_create=True),
    "encryption:cipher": Key(values.choice("aes-xts-plain", "none"), at_create=True),
    "tier": Key(values.choice("disk", "ssd"), at_create=True),
    **dict.fromkeys(("drive", "user", "status", "claimed", "imaging", "licenses", *DEVICE_COUNTERS), _READ_ONLY),
}

FOLDER_KEYS: Mapping[str, Key] = {
    "name": _NAME,
    "tags": _TAGS,
    "tier": Key(values.choice("disk", "ssd"), at_create=True),
    **dict.fromkeys(("folder", "user", "used", "syncing", "claimed"), _READ_ONLY),
}

RESOURCE_KEYS: Mapping[str, Key] = {
    "name": _NAME,
    **dict.fromkeys(("type", "resource", "user", "gateway", "netmask", "nameserver"), _READ_ONLY),
}


def changes(
    table: Mapping[str, Key],
    given: Given,
    current: Mapping[str, Kept] | None,
    *,
    live: bool,
    absent: Collection[str] = (),
) -> dict[str, Kept]:
    """Return the changes that a body asks for, by the stored name of each key; None for a key to remove.

    current: the object as it is, None when it is being created. live: only live keys may change. absent: keys that
    this generation of the API does not have. A key with the value that it already has is always accepted. Raises Usage.
    """
    wanted: dict[str, Kept] = {}
    for name, text in given.items():
        key = _find(table, name, absent)
        if key.kind is None:
            continue
        value = None if not text else values.take(name, key.kind, text, secret=key.secret)
        kept = key.alias or name
        if value == values.IGNORED or (current is not None and current.get(kept) == value):
            continue
        if current is not None and key.at_create:
            raise Usage(f"{name}: invalid change: it is given when the object is created, and stays")
        if live and not key.live:
            raise Usage(f"{name}: invalid change: the server is active, stop it first")
        wanted[kept] = value
    return wanted


def _find(table: Mapping[str, Key], name: str, absent: Collection[str]) -> Key:
    if name in table and name not in absent:
        return table[name]
    if name.startswith(_USER_KEY) and len(name) > len(_USER_KEY):
        if " " in name or len(name) > 256 or not name.isprintable():
            raise Usage(f"{name[:60]!r}: invalid key: printable characters without spaces, at most 256, are possible")
        return _USER
    raise Usage(f"invalid key {name[:60]!r}: this API does not know it")


def merged(current: Mapping[str, Kept], wanted: Mapping[str, Kept]) -> dict[str, str | int]:
    """Return the keys after a change. Raises Usage when they would be too many or too large."""
    after = {key: value for key, value in {**current, **wanted}.items() if value is not None}
    if len(after) > OBJECT_KEYS:
        raise Usage(f"invalid request: an object has at most {OBJECT_KEYS} keys, and this would make {len(after)}")
    size = config_size(after)
    if size > max(OBJECT_SIZE, config_size(current)):
        raise Usage(
            f"invalid request: the keys and values of an object have at most {OBJECT_SIZE} bytes in JSON, "
            f"and this would make {size}"
        )
    return after
