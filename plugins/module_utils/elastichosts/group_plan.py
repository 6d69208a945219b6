# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups of equal servers: finds the members and plans which to create and to remove. Pure functions.

A server, drive or static address belongs to a group by the key ``user:burst`` (the group's name), set at creation, and
to a member by ``user:burst-number`` (1, 2, ...). Member 3 of group ``web`` is called ``web-3``. A new member gets the
lowest number whose name no server has. Members that do not run are removed first, then those with the highest numbers.
"""

from __future__ import annotations

from collections import Counter
from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from .drives import Drive
from .plan import Plan, plan_server
from .resources import Resource
from .servers import Server, attached_drives, number

GROUP_KEY = "user:burst"
NUMBER_KEY = "user:burst-number"
Owned = Union[Server, Drive, Resource]


class Listing(NamedTuple):
    """All servers, drives and resources of an account."""

    servers: Sequence[Server]
    drives: Sequence[Drive]
    resources: Sequence[Resource]


class Member(NamedTuple):
    """A member, with the drives and addresses that were created for it and that no other server uses."""

    server: Server
    drives: Tuple[Drive, ...]
    resources: Tuple[Resource, ...]

    @property
    def number(self) -> int:
        return number_of(self.server)


class Group(NamedTuple):
    """The current state of a group."""

    name: str
    members: Tuple[Member, ...]
    leftovers: Tuple[Union[Drive, Resource], ...]
    """drives and addresses whose member does not exist, from an interrupted run"""
    taken_names: frozenset[str]
    """names of all servers of the account"""


class GroupPlan(NamedTuple):
    """The changes of a group."""

    keep: Tuple[Tuple[Member, Plan], ...]
    """(member, changes of its server)"""
    make: Tuple[int, ...]
    """numbers of the members to create"""
    remove: Tuple[Member, ...]
    leftovers: Tuple[Union[Drive, Resource], ...]
    """drives and addresses to destroy"""

    @property
    def changed(self) -> bool:
        return bool(self.make or self.remove or self.leftovers or any(plan.changed for _member, plan in self.keep))


def member_name(group: str, number: int) -> str:
    """Return the name of a member, such as ``web-3``."""
    return f"{group}-{number}"


def marks(group: str, number: int) -> Dict[str, str]:
    """Return the properties of all objects of a member: group and number."""
    return {GROUP_KEY: group, NUMBER_KEY: str(number)}


def number_of(thing: Owned) -> int:
    """Return the member number of a server, drive or address; 0 if the key has been made unreadable."""
    return number(thing.properties.get(NUMBER_KEY)) or 0


def find_group(name: str, listing: Listing) -> Group:
    """Return the group ``name``, which may have no members."""
    own = [server for server in listing.servers if server.properties.get(GROUP_KEY) == name]
    drives = [drive for drive in listing.drives if drive.properties.get(GROUP_KEY) == name]
    resources = [resource for resource in listing.resources if resource.properties.get(GROUP_KEY) == name]
    attached = Counter(uuid for server in listing.servers for uuid in set(server.drives.values()))
    members = [
        Member(
            server,
            tuple(drive for drive in drives if drive.uuid in server.drives.values() and attached[drive.uuid] == 1),
            tuple(resource for resource in resources if resource.users(listing.servers) == (server.uuid,)),
        )
        for server in own
    ]
    return Group(
        name,
        tuple(sorted(members, key=lambda member: (member.number, member.server.uuid))),
        _leftovers(own, drives, resources, listing.servers),
        frozenset(server.name for server in listing.servers),
    )


def _leftovers(
    own: Iterable[Server], drives: Iterable[Drive], resources: Iterable[Resource], servers: Sequence[Server]
) -> Tuple[Union[Drive, Resource], ...]:
    """Return orphaned drives and addresses: no server uses them, and their member does not exist.

    A drive that was detached from an existing member is not orphaned.
    """
    numbers = {number_of(server) for server in own}
    attached = attached_drives(servers)
    return (
        *(drive for drive in drives if drive.uuid not in attached and number_of(drive) not in numbers),
        *(resource for resource in resources if not resource.users(servers) and number_of(resource) not in numbers),
    )


def plan_group(
    group: Group,
    count: int,
    desired: Callable[[Server], Mapping[str, Optional[str]]],
    *,
    exact: bool,
    restart: bool = False,
) -> GroupPlan:
    """Plan the changes after which the group has ``count`` members, all of them started.

    :param desired: returns the desired properties of a kept member's server
    :param exact: whether surplus members are removed
    :param restart: allow a restart of kept members for changes that need it
    :raises Refused: a change needs a restart, and ``restart`` is False
    """
    surplus = max(0, len(group.members) - count) if exact else 0
    removed = sorted(group.members, key=_removal_order)[:surplus]
    keep = tuple(
        (member, plan_server(desired(member.server), "started", member.server, restart=restart))
        for member in group.members
        if member not in removed
    )
    return GroupPlan(keep, _free_numbers(group, max(0, count - len(group.members))), tuple(removed), group.leftovers)


def _removal_order(member: Member) -> Tuple[bool, int, str]:
    """Return the sort key of a member: those that do not run first, then those with the highest numbers."""
    return (member.server.status == "active", -member.number, member.server.uuid)


def _free_numbers(group: Group, count: int) -> Tuple[int, ...]:
    """Return the ``count`` lowest numbers that no member has and whose name no server has."""
    used = {member.number for member in group.members}
    free: List[int] = []
    candidate = 1
    while len(free) < count:
        if candidate not in used and member_name(group.name, candidate) not in group.taken_names:
            free.append(candidate)
        candidate += 1
    return tuple(free)
