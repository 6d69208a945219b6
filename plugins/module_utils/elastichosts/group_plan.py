# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups of equal servers: who is a member, which come, which go. Pure functions; members.py does the work.

A server, drive or static address belongs to a group by the key `user:burst` (the group's name), written when it is
made, and `user:burst-number` (1, 2, ...). Member 3 of group `web` is called `web-3`. A new member gets the lowest
number whose name no server has. Members that do not run go first, then the ones with the highest numbers.
"""

from __future__ import annotations

from collections import Counter
from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from .drives import Drive
from .plan import Plan, plan_server
from .resources import Resource
from .servers import Server, number

GROUP_KEY = "user:burst"
NUMBER_KEY = "user:burst-number"
Owned = Union[Server, Drive, Resource]


class Listing(NamedTuple):
    """Everything an account has, as one look at it found it."""

    servers: Sequence[Server]
    drives: Sequence[Drive]
    resources: Sequence[Resource]


class Member(NamedTuple):
    """A member that is there, with the drives and addresses that were made for it and that no other server names."""

    server: Server
    drives: Tuple[Drive, ...]
    resources: Tuple[Resource, ...]

    @property
    def number(self) -> int:
        return number_of(self.server)


class Group(NamedTuple):
    """A group as it is. `leftovers`: drives and addresses of members that are not there, from a run that was cut."""

    name: str
    members: Tuple[Member, ...]
    leftovers: Tuple[Union[Drive, Resource], ...]
    taken_names: frozenset[str]


class GroupPlan(NamedTuple):
    """What becomes of a group: members that stay (with what changes), numbers that come, members that go."""

    keep: Tuple[Tuple[Member, Plan], ...]
    make: Tuple[int, ...]
    remove: Tuple[Member, ...]
    leftovers: Tuple[Union[Drive, Resource], ...]

    @property
    def changed(self) -> bool:
        return bool(self.make or self.remove or self.leftovers or any(plan.changed for _member, plan in self.keep))


def member_name(group: str, number: int) -> str:
    """ "web", 3 -> "web-3"."""
    return f"{group}-{number}"


def marks(group: str, number: int) -> Dict[str, str]:
    """The keys that everything of this member carries."""
    return {GROUP_KEY: group, NUMBER_KEY: str(number)}


def number_of(thing: Owned) -> int:
    """The number of the member that it is or belongs to; 0 when someone made the key unreadable."""
    return number(thing.properties.get(NUMBER_KEY)) or 0


def find_group(name: str, listing: Listing) -> Group:
    """The group `name` among all that the account has."""
    own = [server for server in listing.servers if server.properties.get(GROUP_KEY) == name]
    drives = [drive for drive in listing.drives if drive.properties.get(GROUP_KEY) == name]
    resources = [resource for resource in listing.resources if resource.properties.get(GROUP_KEY) == name]
    attached = Counter(uuid for server in listing.servers for uuid in set(server.drives.values()))
    members = [
        Member(
            server,
            tuple(drive for drive in drives if drive.uuid in server.drives.values() and attached[drive.uuid] == 1),
            tuple(one for one in resources if one.users(listing.servers) == (server.uuid,)),
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
    """What no server names, and whose member is not there: a drive that was only taken off a member is not among it."""
    numbers = {number_of(server) for server in own}
    attached = {uuid for server in servers for uuid in server.drives.values()}
    left: List[Union[Drive, Resource]] = [
        drive for drive in drives if drive.uuid not in attached and number_of(drive) not in numbers
    ]
    left += [one for one in resources if not one.users(servers) and number_of(one) not in numbers]
    return tuple(left)


def plan_group(
    group: Group,
    count: int,
    desired: Callable[[Server], Mapping[str, Optional[str]]],
    *,
    exact: bool,
    restart: bool = False,
) -> GroupPlan:
    """What to do so that the group has `count` members: exactly, or at least when not `exact`.

    `desired` says which properties a member that stays is to have; it is brought to them and is started.
    Raises Refused when one of these would have to be stopped for it and `restart` is False.
    """
    there = group.members
    surplus = max(0, len(there) - count) if exact else 0
    going = sorted(there, key=_goes_first)[:surplus]
    staying = tuple(member for member in there if member not in going)
    keep = tuple(
        (member, plan_server(desired(member.server), "started", member.server, restart=restart)) for member in staying
    )
    return GroupPlan(keep, _free_numbers(group, max(0, count - len(there))), tuple(going), group.leftovers)


def _goes_first(member: Member) -> Tuple[bool, int, str]:
    return (member.server.status == "active", -member.number, member.server.uuid)


def _free_numbers(group: Group, count: int) -> Tuple[int, ...]:
    used = {member.number for member in group.members}
    free: List[int] = []
    candidate = 1
    while len(free) < count:
        if candidate not in used and member_name(group.name, candidate) not in group.taken_names:
            free.append(candidate)
        candidate += 1
    return tuple(free)
