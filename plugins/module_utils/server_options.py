# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Converts the options of a server to API properties, and a server to the result of modules and inventory.

Pure functions; the keys and ranges are those of elastichosts-api 3.
"""

from __future__ import annotations

import re
from typing import Any, Collection, Dict, Iterable, List, Mapping, Optional, Tuple

from .elastichosts.properties import SERVER
from .elastichosts.servers import Server
from .elastichosts.values import DEVICE, device, dhcp_address, joined, mac_address, uuid, verbatim
from .options import (
    Desired,
    Field,
    InvalidOption,
    arguments_of,
    encode_extra,
    encode_fields,
    encode_user_keys,
    fields_of,
)

_NIC_KEY = re.compile(r"nic:(\d+):(model|dhcp|vlan|mac|firewall:policy|firewall:accept|firewall:reject)")
_FOLDER_KEY = re.compile(r"fs:\d(:mount)?")
NICS = 4
FOLDERS = 8

COMMON_ARGUMENTS: Dict[str, Any] = {
    **arguments_of(SERVER, single=False),
    "nics": {
        "type": "list",
        "elements": "dict",
        "options": {
            "model": {"type": "str", "choices": ["e1000", "rtl8139", "virtio"], "default": "e1000"},
            "dhcp": {"type": "str"},
            "vlan": {"type": "str"},
            "mac": {"type": "str"},
            "firewall_policy": {"type": "str", "choices": ["accept", "reject"]},
            "firewall_accept": {"type": "list", "elements": "str"},
            "firewall_reject": {"type": "list", "elements": "str"},
        },
    },
    "user_keys": {"type": "dict", "no_log": False},
    "avoid": {
        "type": "dict",
        "options": {
            "drives": {"type": "list", "elements": "str"},
            "servers": {"type": "list", "elements": "str"},
        },
    },
    "extra": {"type": "dict"},
    "restart": {"type": "bool", "default": False},
}
"""argument spec shared by the modules server and burst (doc_fragments/server_options.py)"""


def _folder(value: Any) -> str:
    folder, slash, path = str(value).partition("/")
    if slash and (not path or ".." in path.split("/") or re.search(r"\s", path)):
        raise ValueError(f"{str(value)!r} is not a folder with a path in it, give UUID/path")
    return uuid(folder) + slash + path


def _mount(value: Any) -> str:
    if not re.fullmatch(r"/\S*", str(value)):
        raise ValueError(f"{str(value)!r} is not a mount point such as /srv")
    return str(value)


SERVER_FIELDS = fields_of(SERVER)
FOLDER_FIELDS = (
    Field("folder", "", _folder),
    Field("mount", ":mount", _mount),
)
AVOID_FIELDS = (
    Field("drives", "avoid:drives", joined(uuid)),
    Field("servers", "avoid:servers", joined(uuid)),
)
NIC_FIELDS = (
    Field("model", "model", verbatim),
    Field("dhcp", "dhcp", dhcp_address),
    Field("vlan", "vlan", uuid),
    Field("mac", "mac", mac_address),
    Field("firewall_policy", "firewall:policy", verbatim),
    Field("firewall_accept", "firewall:accept", joined()),
    Field("firewall_reject", "firewall:reject", joined()),
)
# NIC options of the first interface only, and of all others only (elastichosts-api 3).
_ONLY_FIRST = ("dhcp", "firewall_policy", "firewall_accept", "firewall_reject")
_NEVER_FIRST = ("vlan", "mac")

# Sent with a create call for options that are not given, since the platform refused some servers without them.
CREATION_DEFAULTS = {"smp": "auto", "persistent": "true"}
CREATION_NIC = {"nic:0:model": "e1000", "nic:0:dhcp": "auto"}
_OWN_OPTION = {**{field.key: field.option for field in SERVER_FIELDS + AVOID_FIELDS}, "vnc:password": "password"}


def named_drives(params: Mapping[str, Any]) -> Tuple[str, ...]:
    """Return the UUIDs and names of drives in the option `drives`."""
    return tuple(str(item["drive"]) for item in params.get("drives") or ())


def server_desired(
    params: Mapping[str, Any],
    given: Collection[str],
    current: Optional[Mapping[str, str]],
    drive_uuids: Mapping[str, str],
    reserved: Optional[Mapping[str, str]] = None,
) -> Desired:
    """Return the properties for the options that are given; None unsets a property.

    The options ``drives``, ``nics`` and ``folders`` are complete lists: other devices of the server are unset.

    :param given: names of the options in the task
    :param current: properties of the existing server, or None
    :param drive_uuids: UUIDs by the names from :func:`named_drives`
    :param reserved: user keys that the task cannot set -> the reason
    :raises InvalidOption: an option has a wrong value
    """
    have = current or {}
    desired = encode_fields(SERVER_FIELDS, params, given)
    avoid = params.get("avoid")
    if "avoid" in given:
        desired.update(encode_fields(AVOID_FIELDS, avoid or {}, ("drives", "servers"), "avoid."))
    if "drives" in given:
        desired.update(_drive_properties(params.get("drives") or (), have, drive_uuids))
    if "nics" in given:
        desired.update(_nic_properties(params.get("nics") or (), have))
    if "folders" in given:
        desired.update(_folder_properties(params.get("folders") or (), have))
    desired.update(encode_user_keys(params.get("user_keys"), reserved or {}))
    desired.update(encode_extra(params.get("extra"), _OWN_OPTION, desired))
    return desired


def check_server(params: Mapping[str, Any], given: Collection[str]) -> None:
    """Check the options as far as possible before the first call.

    :raises InvalidOption: an option has a wrong value
    """
    server_desired(params, given, None, {name: name for name in named_drives(params)})


def check_console(params: Mapping[str, Any], desired: Desired, have: Mapping[str, str]) -> None:
    """Check that ``vnc: true`` comes with a password, without which VNC stays off (elastichosts-api 3).

    :param have: properties of the existing server
    :raises InvalidOption: neither the task nor the server has a password
    """
    current = have.get("password") or have.get("vnc:password")
    if params.get("vnc") and desired.get("password", current) is None:
        raise InvalidOption("vnc", "true needs a password, without one the console stays off; give password as well")


def with_creation_defaults(desired: Desired, params: Mapping[str, Any], given: Collection[str]) -> Desired:
    """Return ``desired``, completed with the defaults of a new server."""
    complete: Desired = dict(CREATION_DEFAULTS)
    if "nics" not in given:
        complete.update(CREATION_NIC)
    if params.get("drives"):
        complete["boot"] = str(params["drives"][0]["device"])
    return {**complete, **desired}


def _drive_properties(
    wanted: Iterable[Mapping[str, Any]], have: Mapping[str, str], drive_uuids: Mapping[str, str]
) -> Desired:
    desired: Desired = {}
    for position, item in enumerate(wanted):
        try:
            key = device(item["device"])
        except ValueError as error:
            raise InvalidOption(f"drives[{position}].device", str(error)) from None
        if key in desired:
            raise InvalidOption(f"drives[{position}].device", f"{key} is used twice")
        desired[key] = drive_uuids[str(item["drive"])]
        media = key + ":media"
        if item.get("media") == "cdrom":
            desired[media] = "cdrom"
        elif have.get(media, "disk") != "disk":
            desired[media] = None  # a device without the key is a disk
    for attached in filter(DEVICE.fullmatch, have):
        if attached not in desired:
            desired[attached] = None
            if attached + ":media" in have:
                desired[attached + ":media"] = None
    return desired


def _folder_properties(wanted: Iterable[Mapping[str, Any]], have: Mapping[str, str]) -> Desired:
    desired: Desired = {}
    for position, item in enumerate(wanted):
        if position >= FOLDERS:
            raise InvalidOption("folders", f"more than {FOLDERS} folders, the API knows fs:0 to fs:{FOLDERS - 1}")
        for key, value in encode_fields(FOLDER_FIELDS, item, (), f"folders[{position}].").items():
            desired[f"fs:{position}{key}"] = value
    desired.update({key: None for key in have if _FOLDER_KEY.fullmatch(key) and key not in desired})
    return desired


def _nic_properties(wanted: Iterable[Mapping[str, Any]], have: Mapping[str, str]) -> Desired:
    desired: Desired = {}
    count = 0
    for position, item in enumerate(wanted):
        where = f"nics[{position}]."
        if position >= NICS:
            raise InvalidOption("nics", f"more than {NICS} interfaces, the API knows nic:0 to nic:{NICS - 1}")
        for option in _NEVER_FIRST if position == 0 else _ONLY_FIRST:
            if item.get(option) is not None:
                place = "every interface but the first" if position == 0 else "the first interface"
                raise InvalidOption(where + option, f"possible on {place} only")
        values = {"dhcp": "auto", **{k: v for k, v in item.items() if v is not None}} if position == 0 else item
        for key, value in encode_fields(NIC_FIELDS, values, (), where).items():
            desired[f"nic:{position}:{key}"] = value
        count = position + 1
    for key in have:
        match = _NIC_KEY.fullmatch(key)
        if match and key not in desired and (int(match.group(1)) >= count or match.group(2) == "vlan"):
            desired[key] = None
    return desired


def server_view(server: Server, show_secrets: bool = False) -> Dict[str, Any]:
    """Return a server as shown in all results and in the inventory, in JSON types.

    :param show_secrets: whether ``properties`` contains passwords
    """
    properties = dict(sorted(server.properties.items())) if show_secrets else server.public()
    return {
        "uuid": server.uuid,
        "name": server.name,
        "status": server.status,
        "cpu": server.cpu,
        "mem": server.mem,
        "smp": properties.get("smp"),
        "persistent": server.persistent,
        "started": server.started,
        "boot": properties.get("boot", "").split(),
        "address": server.address,
        "addresses": list(server.addresses),
        "drives": _drive_views(server),
        "nics": [dict(nic) for nic in server.nics],
        "tags": list(server.tags),
        "user_keys": dict(server.user_keys),
        "properties": properties,
    }


def _drive_views(server: Server) -> List[Dict[str, str]]:
    return [
        {"device": device, "drive": drive, "media": server.properties.get(device + ":media", "disk")}
        for device, drive in sorted(server.drives.items())
    ]
