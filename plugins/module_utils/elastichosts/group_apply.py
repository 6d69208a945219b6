# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes and unmakes the members of a group, several at a time; what is half made when something fails is undone."""

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
"""An undo has time of its own: the task's may be just what ran out."""


class Recipe(NamedTuple):
    """What a member is made of.

    `properties`: of its server, in the API's keys. `source`: the drive that is copied for it, attached as `device`,
    with the properties `drive` (size and tier). `static`: it gets a static address of its own.
    """

    group: str
    properties: Mapping[str, Optional[str]]
    source: Optional[Source] = None
    device: str = "ide:0:0"
    drive: Mapping[str, Optional[str]] = {}
    static: bool = False


class Failure(NamedTuple):
    """What went wrong with one member, and what could not be undone."""

    name: str
    error: ElasticHostsError
    left: Tuple[str, ...] = ()


class HalfMade(Exception):
    """A member that was begun, failed with `error`, and was undone but for `left`."""

    def __init__(self, error: ElasticHostsError, left: Tuple[str, ...]) -> None:
        super().__init__(str(error))
        self.error = error
        self.left = left


class Done(NamedTuple):
    """What became of a plan. `there` are all members then, `made` the new ones, `removed` the names of the others.

    `lost`: others have made members at the same time, so `there` lacks some.
    """

    there: Tuple[Server, ...]
    made: Tuple[Server, ...]
    removed: Tuple[str, ...]
    failures: Tuple[Failure, ...]
    lost: bool = False


def look(client: ElasticHosts) -> Listing:
    """All servers, drives and resources of the account: three calls at the same time."""
    rooms: Tuple[Callable[[], Sequence[object]], ...] = (
        client.servers.info,
        client.drives.info,
        client.resources.info,
    )
    with ThreadPoolExecutor(len(rooms)) as pool:
        servers, drives, resources = [pool.submit(room) for room in rooms]
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
            sentence = f"others are just making members of the group {group!r}: run this again in a minute"
            raise WaitTimeout(sentence, last="undecided")
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
    """Carry out `plan` with at most `concurrency` members at a time.

    What others left behind goes first. After a failure no further member is begun, the ones under way are finished, and
    a member that is half made is undone.
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
        made = jobs.collected(lambda: _with_addresses(client, made, deadline), made, recipe.group)
    return Done(_there(plan, changed, removed, made), tuple(made), tuple(removed), tuple(jobs.failures), jobs.lost)


def _there(
    plan: GroupPlan, changed: Sequence[Optional[Server]], removed: Sequence[str], made: Sequence[Server]
) -> Tuple[Server, ...]:
    fresh = {server.uuid: server for server in changed if server is not None}
    kept = [fresh.get(member.server.uuid, member.server) for member, _step in plan.keep]
    left = [member.server for member in plan.remove if member.server.name not in removed]
    return (*kept, *left, *made)


class _Jobs:
    """Runs jobs in threads; after the first failure those that have not begun are left out."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._stop = threading.Event()
        self.failures: List[Failure] = []
        self.lost = False

    def run(self, items: Sequence[S], work: Callable[[S], T], name: Callable[[S], str]) -> List[T]:
        if not items or self._stop.is_set():
            return []

        def one(item: S) -> Optional[T]:
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
            results = list(pool.map(one, items))
        return [result for result in results if result is not None]

    def collected(self, work: Callable[[], T], otherwise: T, name: str) -> T:
        try:
            return work()
        except ElasticHostsError as error:
            self.failures.append(Failure(name, error))
            return otherwise


def _make(
    client: ElasticHosts, recipe: Recipe, number: int, deadline: Deadline, wait: bool, tell: Callable[[str], None]
) -> Server:
    """One member. What was made for it is undone when its server cannot be had; then raises HalfMade.

    Raises LostRace, with nothing left, if another host has made the member at the same time.
    """
    name = member_name(recipe.group, number)
    own = {"name": name, **marks(recipe.group, number)}
    single = single_server(client, name, deadline)
    begun: List[Thing] = []
    try:
        wanted = {**recipe.properties, **_make_parts(client, recipe, own, deadline, begun), **own}
        server = apply_server(client, plan_server(wanted, "started", None), None, deadline, wait=False, single=single)
    except LostRace as lost:
        left = _undo(client, begun, deadline.clock)
        if left:
            raise HalfMade(Refused("another host has made it at the same time"), left) from lost
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
    """The drive and the address of a member, noted in `begun` as they come to be; the properties that attach them."""
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
    wanted = {"size": str(source.size), **properties}
    drive = apply_drive(client, plan_drive(wanted, "present", None), None, deadline)
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
    """Destroy what was begun; what refuses (its server came to be after all) is named."""
    left = []
    deadline = Deadline(UNDO_SECONDS, clock)
    for thing in reversed(begun):
        try:
            _destroy(client, thing, deadline)
        except ElasticHostsError as error:
            left.append(f"{_label(thing)} ({error})")
    return tuple(left)


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
    """The server first: a drive that is left when the run is cut here is found as a leftover by the next."""
    apply_server(client, plan_server({}, "absent", member.server), member.server, deadline)
    things: List[Thing] = [*member.drives, *member.resources]
    for thing in things:
        _destroy(client, thing, deadline)
    tell(f"{member.server.name} is gone")
    return member.server.name


def _with_addresses(client: ElasticHosts, made: Sequence[Server], deadline: Deadline) -> List[Server]:
    """The new members once all that ask for an address have one: one listing per look, however many there are."""
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
