# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Creates and destroys members of a group in parallel; after a failure, a partly created member is destroyed again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, TypeVar, Union

from .apply import apply_drive, apply_resource, apply_server, wait_for, wait_status
from .client import ElasticHosts
from .clock import Clock, Deadline
from .drive_copy import Source, copy_onto
from .drives import Drive
from .errors import ElasticHostsError, Refused, WaitTimeout
from .group_plan import GROUP_KEY, GroupPlan, Listing, Member, marks, member_name
from .plan import plan_drive, plan_resource, plan_server
from .resources import Resource
from .servers import Server
from .single_name import ATTEMPT_KEY, PAUSE, SETTLED_AFTER, LostRace, single_server

T = TypeVar("T")
S = TypeVar("S")
Thing = Union[Drive, Resource]
UNDO_SECONDS = 60.0
"""separate from the task's deadline, which may have passed"""


class Recipe(NamedTuple):
    """How to create a member."""

    group: str
    properties: Mapping[str, Optional[str]]
    """of the server, in the API's keys"""
    source: Optional[Source] = None
    """drive to copy onto a new drive for the member"""
    device: str = "ide:0:0"
    """where the new drive is attached"""
    drive: Mapping[str, Optional[str]] = {}
    """properties of the new drive: size and tier"""
    static: bool = False
    """whether the member gets a new static address"""


class Failure(NamedTuple):
    """The error of one member."""

    name: str
    """of the member; of the group, if the error concerns several"""
    error: ElasticHostsError
    left: Tuple[str, ...] = ()
    """drives and addresses that could not be destroyed again, each with its error"""


class HalfMade(Exception):
    """A member could not be created (``error``); ``left`` is as in :class:`Failure`."""

    def __init__(self, error: ElasticHostsError, left: Tuple[str, ...]) -> None:
        super().__init__(str(error))
        self.error = error
        self.left = left


class Done(NamedTuple):
    """The result of a GroupPlan.

    ``lost``: other hosts have made members at the same time, so ``there`` lacks some.
    """

    there: Tuple[Server, ...]
    """all members that exist now"""
    made: Tuple[Server, ...]
    """the new ones among them"""
    removed: Tuple[str, ...]
    """names of the destroyed members"""
    failures: Tuple[Failure, ...]
    lost: bool = False


def look(client: ElasticHosts) -> Listing:
    """Return all servers, drives and resources of the account, by three parallel calls.

    :raises ElasticHostsError: a call failed
    """
    calls: Tuple[Callable[[], Sequence[object]], ...] = (
        client.servers.info,
        client.drives.info,
        client.resources.info,
    )
    with ThreadPoolExecutor(len(calls)) as pool:
        servers, drives, resources = [pool.submit(call) for call in calls]
    return Listing(servers.result(), drives.result(), resources.result())  # type: ignore[arg-type]


def look_settled(client: ElasticHosts, group: str, deadline: Deadline) -> Listing:
    """Like `look`, once no member of the group is just being made by another host, see single_name.

    Members whose maker has died meanwhile are settled. Raises WaitTimeout.
    """
    seen: Dict[str, float] = {}
    while True:
        listing = look(client)
        now = deadline.clock.monotonic()
        undecided = [
            server.uuid
            for server in listing.servers
            if server.properties.get(GROUP_KEY) == group and ATTEMPT_KEY in server.properties
        ]
        if not undecided:
            return listing
        seen = {uuid: seen.get(uuid, now) for uuid in undecided}
        for uuid, since in seen.items():
            if now - since > SETTLED_AFTER:
                client.servers.set(uuid, {ATTEMPT_KEY: None})
        if not deadline.left():
            raise WaitTimeout(
                f"other hosts are creating members of the group {group!r} at the same time: run this again in a minute",
                last="undecided",
            )
        deadline.sleep(PAUSE)


def apply_group(
    client: ElasticHosts,
    plan: GroupPlan,
    recipe: Recipe,
    deadline: Deadline,
    *,
    concurrency: int,
    wait: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> Done:
    """Execute ``plan``: destroy leftovers, then change, remove and create members.

    After a failure no further member is begun, those in progress are finished, and a partly created member is
    destroyed again.

    :param concurrency: members that are processed in parallel
    :param wait: whether to wait until new members run and have their addresses
    :param tell: called with a sentence for each member that was created or removed
    """
    jobs = _Jobs(concurrency)
    jobs.run(plan.leftovers, lambda thing: _destroy(client, thing, deadline), _label)
    changes = [(member, step) for member, step in plan.keep if step.changed]
    changed = jobs.run(
        changes,
        lambda change: apply_server(client, change[1], change[0].server, deadline, wait=wait),
        lambda change: change[0].server.name,
    )
    removed = jobs.run(
        plan.remove, lambda member: _remove(client, member, deadline, tell), lambda member: member.server.name
    )
    made = jobs.run(
        plan.make,
        lambda number: _make(client, recipe, number, deadline, wait, tell),
        lambda number: member_name(recipe.group, number),
    )
    if wait and made and not jobs.failures:
        try:
            made = _with_addresses(client, made, deadline)
        except ElasticHostsError as error:
            jobs.failures.append(Failure(recipe.group, error))
    members = _all_members(plan, changed, removed, made)
    return Done(members, tuple(made), tuple(removed), tuple(jobs.failures), jobs.lost)


def _all_members(
    plan: GroupPlan, changed: Sequence[Optional[Server]], removed: Sequence[str], made: Sequence[Server]
) -> Tuple[Server, ...]:
    """Return the members that exist after the plan: kept, not removed because of a failure, and new ones."""
    updated = {server.uuid: server for server in changed if server is not None}
    kept = [updated.get(member.server.uuid, member.server) for member, _step in plan.keep]
    not_removed = [member.server for member in plan.remove if member.server.name not in removed]
    return (*kept, *not_removed, *made)


class _Jobs:
    """Runs jobs in threads and collects their failures; after the first failure no further job is begun."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._stop = threading.Event()
        self.failures: List[Failure] = []
        self.lost = False

    def run(self, items: Sequence[S], work: Callable[[S], T], name: Callable[[S], str]) -> List[T]:
        """Call ``work`` for each item in parallel, and return the results of the successful calls.

        :param name: returns the name for an item's failure
        """
        if not items or self._stop.is_set():
            return []

        def run_one(item: S) -> Optional[T]:
            if self._stop.is_set():
                return None
            try:
                return work(item)
            except LostRace:
                self.lost = True
                return None
            except HalfMade as half:
                failure = Failure(name(item), half.error, half.left)
            except ElasticHostsError as error:
                failure = Failure(name(item), error)
            self._stop.set()
            self.failures.append(failure)
            return None

        with ThreadPoolExecutor(min(self._concurrency, len(items))) as pool:
            results = list(pool.map(run_one, items))
        return [result for result in results if result is not None]


def _make(
    client: ElasticHosts, recipe: Recipe, number: int, deadline: Deadline, wait: bool, tell: Callable[[str], None]
) -> Server:
    """Create a member and return its server.

    :raises HalfMade: the server could not be created; its drive and address were destroyed again, if possible
    :raises LostRace: another host has made the member at the same time; nothing of this one is left
    :raises ElasticHostsError: the server was created but does not run by the deadline
    """
    name = member_name(recipe.group, number)
    own = {"name": name, **marks(recipe.group, number)}
    single = single_server(client, name, deadline)
    begun: List[Thing] = []
    try:
        desired = {**recipe.properties, **_make_parts(client, recipe, own, deadline, begun), **own}
        server = apply_server(client, plan_server(desired, "started", None), None, deadline, wait=False, single=single)
    except LostRace as lost:
        left = _undo(client, begun, deadline.clock)
        if left:
            raise HalfMade(Refused("another host has created this member at the same time"), left) from lost
        single.look_up()
        raise
    except ElasticHostsError as error:
        raise HalfMade(error, _undo(client, begun, deadline.clock)) from error
    if server is None:
        raise AssertionError("a server that was made is there")
    if wait and server.status != "active":
        server = wait_status(client, server.uuid, "active", deadline) or server
    tell(f"{name} is there")
    return server


def _make_parts(
    client: ElasticHosts, recipe: Recipe, own: Mapping[str, str], deadline: Deadline, begun: List[Thing]
) -> Dict[str, Optional[str]]:
    """Create the drive and the address of a member; return the properties that attach them.

    :param begun: gets each object as soon as it exists
    """
    attached: Dict[str, Optional[str]] = {}
    if recipe.source is not None:
        drive = _make_drive(client, {**recipe.drive, **own}, recipe.source, deadline, begun)
        attached[recipe.device] = drive.uuid
    if recipe.static:
        attached["nic:0:dhcp"] = _make_address(client, own, deadline, begun).resource
    return attached


def _make_drive(
    client: ElasticHosts,
    properties: Mapping[str, Optional[str]],
    source: Source,
    deadline: Deadline,
    begun: List[Thing],
) -> Drive:
    desired = {"size": str(source.size), **properties}
    drive = apply_drive(client, plan_drive(desired, "present", None), None, deadline)
    if drive is None:
        raise AssertionError("a drive that was made is there")
    begun.append(drive)
    return copy_onto(client, drive.uuid, source, deadline)


def _make_address(
    client: ElasticHosts,
    properties: Mapping[str, Optional[str]],
    deadline: Deadline,
    begun: List[Thing],
) -> Resource:
    address = apply_resource(client, plan_resource(properties, "present", None), None, deadline, kind="ip")
    if address is None:
        raise AssertionError("an address that was made is there")
    begun.append(address)
    return address


def _undo(client: ElasticHosts, begun: Sequence[Thing], clock: Clock) -> Tuple[str, ...]:
    """Destroy ``begun``; return a description of each object that could not be, as its server was created after all."""
    remaining = []
    deadline = Deadline(UNDO_SECONDS, clock)
    for thing in reversed(begun):
        try:
            _destroy(client, thing, deadline)
        except ElasticHostsError as error:
            remaining.append(f"{_label(thing)} ({error})")
    return tuple(remaining)


def _destroy(client: ElasticHosts, thing: Thing, deadline: Deadline) -> bool:
    if isinstance(thing, Resource):
        found = client.resources.find(thing.type, thing.resource)
        apply_resource(client, plan_resource({}, "absent", found, kind=thing.type), found, deadline, kind=thing.type)
        return True
    drive = client.drives.find(thing.uuid)
    apply_drive(client, plan_drive({}, "absent", drive), drive, deadline)
    return True


def _label(thing: Thing) -> str:
    return f"{thing.type} {thing.resource}" if isinstance(thing, Resource) else f"drive {thing.uuid}"


def _remove(client: ElasticHosts, member: Member, deadline: Deadline, tell: Callable[[str], None]) -> str:
    """Destroy a member, the server first: if the run is interrupted then, the next run destroys the leftovers."""
    apply_server(client, plan_server({}, "absent", member.server), member.server, deadline)
    things: List[Thing] = [*member.drives, *member.resources]
    for thing in things:
        _destroy(client, thing, deadline)
    tell(f"{member.server.name} is gone")
    return member.server.name


def _with_addresses(client: ElasticHosts, made: Sequence[Server], deadline: Deadline) -> List[Server]:
    """Wait until all new members with an address by DHCP have it, by one listing per poll; return the new members.

    :raises WaitTimeout: an address is missing at the deadline
    """
    waiting = {server.uuid for server in made if server.properties.get("nic:0:dhcp") and not server.address}
    if not waiting:
        return list(made)

    def reached(servers: Mapping[str, Server]) -> bool:
        return all(uuid not in servers or servers[uuid].address is not None for uuid in waiting)

    def missing(servers: Mapping[str, Server]) -> str:
        names = sorted(servers[uuid].name for uuid in waiting if uuid in servers and servers[uuid].address is None)
        return f"missing for {', '.join(names)}"

    with client.transport.within(deadline):
        servers = wait_for(
            lambda: {server.uuid: server for server in client.servers.info()},
            reached,
            deadline,
            missing,
            "the addresses of all new members did not come",
            "allow more time",
        )
    return [servers.get(server.uuid, server) for server in made]
