# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Converts the options of a group of servers to API properties and a plan's input, and a group to results and diff."""

from __future__ import annotations

from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence, Tuple

from .check_mode import placeholder, predicted
from .drive_options import drive_desired, source_for
from .elastichosts.drive_copy import check_unused
from .elastichosts.drives import Drive
from .elastichosts.group_apply import Recipe
from .elastichosts.group_plan import Group, GroupPlan, marks, member_name, number_of
from .elastichosts.properties import hidden
from .elastichosts.servers import Server
from .elastichosts.values import device, line
from .module import Task
from .options import Desired, InvalidOption
from .server_options import check_console, server_desired, server_view, with_creation_defaults

MOST_MEMBERS = 1000
MOST_AT_A_TIME = 64
_OWN = "the module recognises the members of a group by it"
RESERVED = {"burst": _OWN, "burst-number": _OWN}
_FIRST_DHCP = "nic:0:dhcp"


def group_name(params: Mapping[str, Any]) -> str:
    """Check `name`, `device` and `concurrency`, and return the name of the group. Raises InvalidOption."""
    checks = (("name", _word), ("device", device), ("concurrency", _concurrency))
    for option, check in checks:
        try:
            check(params[option])
        except ValueError as error:
            raise InvalidOption(option, str(error)) from None
    return str(params["name"])


def _word(value: Any) -> Optional[str]:
    if not str(value) or str(value).split() != [str(value)]:
        raise ValueError(f"{str(value)!r} must be one word, the names of the members begin with it")
    return line(1, 70)(value)


def _concurrency(value: Any) -> None:
    if not 1 <= value <= MOST_AT_A_TIME:
        raise ValueError(f"{value} is out of range, give 1 to {MOST_AT_A_TIME}")


def wanted_count(params: Mapping[str, Any]) -> Tuple[int, bool]:
    """Return (number of members, whether more are too many). Raises InvalidOption."""
    exact = params["exact_count"] is not None
    option = "exact_count" if exact else "count"
    count = int(params[option])
    if not 0 <= count <= MOST_MEMBERS:
        raise InvalidOption(option, f"{count} is out of range, give 0 to {MOST_MEMBERS}")
    return count, exact


def group_desired(params: Mapping[str, Any], given: Collection[str], current: Mapping[str, str]) -> Desired:
    """Return the properties that all members have. `current`: properties of the member to compare with."""
    own = {"nic:0:dhcp": "address", "boot": "device", "name": "name"}
    for key in params.get("extra") or {}:
        if key in own or key == params["device"]:
            raise InvalidOption("extra", f"{key!r} has an option of its own, use {own.get(key, 'image')}")
    named = [name for name in given if name not in ("name", "device", "count", "size", "tier")]
    desired = server_desired({**params, "name": None}, named, current, {}, RESERVED)
    if params["address"] == "static" or "address" in given:
        desired.pop(_FIRST_DHCP, None)
    if "address" in given and params["address"] != "static":
        desired[_FIRST_DHCP] = "auto" if params["address"] == "auto" else None
    return desired


def member_drive(params: Mapping[str, Any]) -> Desired:
    """Return the properties of a member's own drive. Raises InvalidOption."""
    drive = drive_desired({"size": params["size"], "tier": params["tier"], "tags": params["tags"]}, ("tags",))
    return {key: value for key, value in drive.items() if value is not None}


def group_recipe(task: Task, desired: Desired, drive: Desired, plan: GroupPlan, own_drives: Sequence[Drive]) -> Recipe:
    """Return what new members are made of. Looks for the image only if there are new members.

    Raises InvalidOption, Refused and NotUnique, before anything is created.
    """
    params = task.params
    properties = with_creation_defaults(desired, {}, task.given)
    if params["address"] != "auto" and _FIRST_DHCP not in desired:
        properties.pop(_FIRST_DHCP, None)
    if plan.make:
        _must_have(params)
        check_console(params, desired, {})
    source = None
    if params["image"] is not None:
        properties["boot"] = params["device"]
        if plan.make:
            source = source_for(task, params["image"], list(own_drives))
            check_unused(task.client, source)
            if int(drive.get("size") or source.size) < source.size:
                raise InvalidOption("size", f"{drive['size']} bytes are less than the {source.size} of the image")
    return Recipe(params["name"], properties, source, params["device"], drive, params["address"] == "static")


def _must_have(params: Mapping[str, Any]) -> None:
    for option, unit in (("cpu", "MHz"), ("mem", "MB")):
        if params[option] is None:
            raise InvalidOption(option, f"needed for new members, give it in {unit}")


def member_view(server: Server) -> Dict[str, Any]:
    """Return a member as results show it: a server with its number."""
    return {"number": number_of(server), **server_view(server)}


def members_after(group: Group, plan: GroupPlan, recipe: Recipe) -> List[Dict[str, Any]]:
    """Return the members as they would be after `plan`, for check mode."""
    staying = [Server(predicted(step, member.server.properties, {})) for member, step in plan.keep]
    coming = [Server(_coming(group.name, number, recipe)) for number in plan.make]
    coming = [Server({"server": placeholder("server", server.name), **server.properties}) for server in coming]
    return sorted(map(member_view, [*staying, *coming]), key=lambda view: (view["number"], view["uuid"]))


def _coming(group: str, number: int, recipe: Recipe) -> Dict[str, str]:
    """Return the properties of a new member that are known before it is created."""
    properties = {key: value for key, value in recipe.properties.items() if value is not None}
    return {**hidden(properties), "name": member_name(group, number), **marks(group, number), "status": "active"}


def group_differences(group: str, plan: GroupPlan, recipe: Recipe) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """Return (before, after) of the diff, by the names of the members that are new, destroyed or changed."""
    before: Dict[str, Any] = {}
    after: Dict[str, Any] = {}
    for member, step in plan.keep:
        if step.changed:
            before[member.server.name], after[member.server.name] = dict(step.before), dict(step.after)
    for member in plan.remove:
        gone = [*(drive.uuid for drive in member.drives), *(one.resource for one in member.resources)]
        before[member.server.name] = {"uuid": member.server.uuid, "status": member.server.status, "destroyed": gone}
    for number in plan.make:
        coming = _coming(group, number, recipe)
        if recipe.source is not None:
            coming["image"] = recipe.source.drive.uuid
        if recipe.static:
            coming["address"] = "static"
        after[coming.pop("name")] = coming
    for thing in plan.leftovers:
        before[f"left by an earlier run: {thing.identity}"] = {"name": thing.name}
    return before, after
