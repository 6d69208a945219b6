# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Converts a server to a host: name, variables and groups. Pure functions; plain JSON without secrets."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Callable, Collection, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ..module_utils.elastichosts.drives import Drive
from ..module_utils.elastichosts.identifiers import is_address, is_uuid
from ..module_utils.elastichosts.servers import Server
from ..module_utils.server_options import server_view

Identity = Tuple[str, str]
"""Zone and UUID."""

ALL_SERVERS = "elastichosts"
BURST = "opennebula_burst"
OWN_GROUPS = (ALL_SERVERS, ALL_SERVERS + "_active", ALL_SERVERS + "_stopped", BURST)
# A host of this name would replace the controller, or a group that every play has.
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1", "all", "ungrouped"})
VLAN_ADDRESS = "vlan-address"
# Of a name that begins with a dot, `..` above all, fetch and others would make a path; with a dash, ssh an option.
_NOT_IN_HOST = re.compile(r"^[.-]|[^\w.-]")
_NOT_IN_VARIABLE = re.compile(r"[^A-Za-z0-9_]")
_NOT_IN_GROUP = re.compile(r"\W")


def host_names(wishes: Mapping[Identity, str], taken: Collection[str]) -> Dict[Identity, str]:
    """Return a unique name for each server, independent of the order of the listing.

    `wishes`: the names that the servers should have. `taken`: names that no host may have.
    """
    plain = {identity: _NOT_IN_HOST.sub("_", wish) for identity, wish in wishes.items()}
    names = dict(plain)
    longer: Sequence[Callable[[Identity], str]] = (
        lambda identity: plain[identity] and f"{plain[identity]}-{identity[1][:8]}",
        lambda identity: _NOT_IN_HOST.sub("_", identity[1]),
        lambda identity: _NOT_IN_HOST.sub("_", f"{identity[1]}-{identity[0]}"),
    )
    for level, lengthen in enumerate(longer):
        count = Counter(names.values())
        for identity, name in names.items():
            if not name or count[name] > 1 or name in taken or (level == 0 and is_uuid(name[:36])):
                names[identity] = lengthen(identity)
    return names


def server_facts(server: Server, zone: str, drives: Optional[Mapping[str, Drive]]) -> Dict[str, Any]:
    """Return a server in the form of the module server_info, with its zone, and details of its drives if given."""
    view = server_view(server)
    view["zone"] = zone
    if drives is not None:
        for item in view["drives"]:
            drive = drives.get(item["drive"])
            if drive is not None:
                item.update(name=drive.name, size=drive.size, tier=drive.tier, tags=list(drive.tags))
    return view


def host_variables(view: Mapping[str, Any], connect_with: Iterable[str] = ("public",)) -> Dict[str, Any]:
    """Return the variables of a host. `view`: its facts; `connect_with`: kinds of ansible_host, the best first."""
    properties: Mapping[str, str] = view["properties"]
    variables: Dict[str, Any] = {_variable(key): properties[key] for key in sorted(properties)}
    variables.update(("eh_" + key, value) for key, value in view.items() if key != "properties")
    variables["eh_one_cloud"] = properties.get("user:one-cloud")
    variables["eh_one_vm"] = properties.get("user:one-vm")
    address = next(filter(None, (ADDRESSES[kind](view) for kind in connect_with)), None)
    if address:
        variables["ansible_host"] = address
    return variables


def _variable(key: str) -> str:
    return "eh_" + _NOT_IN_VARIABLE.sub("_", key)


def _public(view: Mapping[str, Any]) -> Optional[str]:
    address: Optional[str] = view["address"]
    return address


def _static(view: Mapping[str, Any]) -> Optional[str]:
    """Return the static address of the first interface."""
    bound = view["properties"].get("nic:0:dhcp", "")
    return bound if is_address(bound) else None


def _vlan(view: Mapping[str, Any]) -> Optional[str]:
    """Return the address on a VLAN. The API assigns none there: a user key has it, or the API shows it anyway."""
    for nic in view["nics"]:
        address = nic.get("ip", "")
        if "vlan" in nic and is_address(address):
            return str(address)
    noted = view["user_keys"].get(VLAN_ADDRESS, "")
    return noted if is_address(noted) else None


ADDRESSES: Mapping[str, Callable[[Mapping[str, Any]], Optional[str]]] = {
    "public": _public,
    "static": _static,
    "vlan": _vlan,
}


def host_groups(variables: Mapping[str, Any]) -> Tuple[str, ...]:
    """Return the groups by status, tag and owner. The caller adds the group of the zone."""
    groups: List[str] = [ALL_SERVERS, f"{ALL_SERVERS}_{_word(variables['eh_status'])}"]
    groups += [f"{ALL_SERVERS}_tag_{_word(tag)}" for tag in variables["eh_tags"]]
    if variables["eh_one_vm"] is not None:
        groups.append(BURST)
    if variables["eh_one_cloud"]:
        groups.append(f"opennebula_cloud_{_word(variables['eh_one_cloud'])}")
    return tuple(dict.fromkeys(groups))


def _word(text: str) -> str:
    return _NOT_IN_GROUP.sub("_", text)
