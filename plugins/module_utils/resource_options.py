# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The common part of the modules ip and vlan: options to API properties, execution, and result."""

from __future__ import annotations

import ipaddress
from typing import Any, Collection, Dict, Iterable, Mapping, NamedTuple, Optional

from .check_mode import ADDRESS, placeholder, predicted, stand_in
from .elastichosts.apply import apply_resource
from .elastichosts.identifiers import is_address, is_uuid
from .elastichosts.plan import plan_resource
from .elastichosts.properties import RESOURCE
from .elastichosts.resources import Resource
from .elastichosts.single_name import single_resource, until_settled
from .elastichosts.values import Encoder, uuid
from .module import Outcome, Task
from .options import Desired, InvalidOption, arguments_of, encode_fields, encode_user_keys, fields_of


def address(value: Any) -> str:
    try:
        return str(ipaddress.ip_address(str(value)))
    except ValueError:
        raise ValueError(f"{str(value)!r} is not an IP address such as 192.0.2.77") from None


class ResourceKind(NamedTuple):
    """A type of resource, and the option that identifies a resource besides ``name``."""

    type: str
    option: str
    encode: Encoder
    noun: str


IP = ResourceKind("ip", "address", address, "static address")
VLAN = ResourceKind("vlan", "uuid", uuid, "VLAN")

RESOURCE_FIELDS = fields_of(RESOURCE)
RESOURCE_ARGUMENTS: Dict[str, Any] = {
    **arguments_of(RESOURCE),
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "user_keys": {"type": "dict", "no_log": False},
}


def resource_desired(params: Mapping[str, Any], given: Collection[str]) -> Desired:
    """Return the properties for the options that are given; None unsets a property.

    :raises InvalidOption: an option has a wrong value
    """
    desired = encode_fields(RESOURCE_FIELDS, params, given)
    desired.update(encode_user_keys(params.get("user_keys"), {}))
    return desired


def resource_wanted(kind: ResourceKind, params: Mapping[str, Any]) -> str:
    """Return the address or UUID or, without one, the name to look up.

    :raises InvalidOption: the address or UUID is none, or the name is one
    """
    if params.get(kind.option) is not None:
        try:
            return str(kind.encode(params[kind.option]))
        except ValueError as error:
            raise InvalidOption(kind.option, str(error)) from None
    name = str(params["name"])
    if is_address(name) or is_uuid(name):
        raise InvalidOption("name", f"{name!r} is no name, give it as {kind.option}")
    return name


def perform_resource(task: Task, kind: ResourceKind) -> Outcome:
    """Bring an address or VLAN into the task's state, or in check mode predict the result."""
    return until_settled(lambda: _perform_once(task, kind))


def _perform_once(task: Task, kind: ResourceKind) -> Outcome:
    params, state = task.params, task.params["state"]
    desired = resource_desired(params, task.given) if state == "present" else {}
    named = resource_wanted(kind, params)
    single = single_resource(task.client, kind.type, named, task.deadline) if task.makes_by_name else None
    current = single.look_up() if single else task.client.resources.find(kind.type, named)
    stands_for = {"type": kind.type, "resource": str(params[kind.option])}
    current = current or stand_in(task, params[kind.option], Resource(stands_for))
    if state == "present" and current is None and params[kind.option] is not None:
        problem = f"the account has no {kind.noun} {params[kind.option]}; correct it, or give only a name for a new one"
        raise InvalidOption(kind.option, problem)
    servers = task.client.servers.info() if current is not None else []
    users = current.users(servers) if current is not None else ()
    plan = plan_resource(desired, state, current, users, kind=kind.type)
    if task.check_mode:
        new = {"resource": ADDRESS if kind == IP else placeholder(kind.type, params["name"])}
        expected = predicted(plan, current.properties if current else {}, new)
        resource: Optional[Resource] = Resource({"type": kind.type, **expected}) if expected else None
    else:
        resource = apply_resource(task.client, plan, current, task.deadline, kind=kind.type, single=single)
    view = resource_view(resource, users) if resource else {}
    subject = f"{kind.type} {params['name'] or params[kind.option]}"
    return Outcome({kind.type: view}, plan.changed, plan.before, plan.after, subject)


def resource_view(resource: Resource, users: Iterable[str]) -> Dict[str, Any]:
    """Return an address or VLAN as shown in all results, in JSON types.

    :param users: UUIDs of the servers that use the address or VLAN
    """
    return {
        "type": resource.type,
        "resource": resource.resource,
        "name": resource.name,
        "servers": sorted(users),
        "user_keys": dict(resource.user_keys),
        "properties": resource.public(),
    }
