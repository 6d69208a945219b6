# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Executes a Plan within one deadline; checks the state before a non-idempotent call is retried."""

from __future__ import annotations

from typing import Callable, List, Mapping, Optional, Protocol, TypeVar

from .client import ElasticHosts
from .clock import Deadline
from .drives import Drive
from .errors import AnswerLost, MissingError, WaitTimeout
from .plan import Plan, Step
from .properties import Wanted, drive_changes, resource_changes, server_changes
from .resources import Resource
from .safe_retry import change_once, create_once
from .servers import Server

T = TypeVar("T")
Thing = TypeVar("Thing", Server, Drive, Resource)
FIRST_POLL = 0.1
"""seconds between the first two polls; later intervals are longer"""
LAST_POLL = 2.0
"""seconds between two polls at most"""
IDLE_POLLS = 2
"""consecutive polls that must show a drive idle: the cloud sometimes omits ``imaging`` for a moment"""
TARGETS = {"create": "active", "create_stopped": "stopped", "start": "active", "stop": "stopped", "shutdown": "stopped"}
ADVICE = {
    "active": "allow more time, or look at the server's console",
    "stopped": "its guest may ignore ACPI: cut the power (state: stopped), or allow more time",
}


class Maker(Protocol[Thing]):
    """Creates an object so that it is the only one of its name; ``SingleName`` of ``single_name`` is one."""

    def make(self, create: Callable[[Wanted], Thing], properties: Wanted) -> Thing:
        """Return what ``create`` makes with ``properties`` and those that the maker adds."""


def wait_for(
    get: Callable[[], T],
    reached: Callable[[T], bool],
    deadline: Deadline,
    describe: Callable[[T], str],
    what: str,
    advice: str,
) -> T:
    """Poll ``get``, at growing intervals, until its result is ``reached``; return that result.

    :param describe: returns the state in a result, for the error
    :param what: the error's beginning: what was not reached
    :param advice: the error's end: what to do
    :raises WaitTimeout: not reached by the deadline; has the last state
    """
    pause = FIRST_POLL
    results: List[T] = []
    while True:
        try:
            results = [get()]
        except AnswerLost:
            # At the deadline a call is interrupted: then the result before is the last state.
            if deadline.left() or not results:
                raise
        if reached(results[0]):
            return results[0]
        if not deadline.left():
            last = describe(results[0])
            raise WaitTimeout(f"{what} within {deadline.seconds:g} s, it is still {last}: {advice}", last=last)
        deadline.sleep(pause)
        pause = min(pause * 1.5, LAST_POLL)


def apply_server(
    client: ElasticHosts,
    plan: Plan,
    current: Optional[Server],
    deadline: Deadline,
    *,
    wait: bool = True,
    lookup: Optional[Callable[[], Optional[Server]]] = None,
    single: Optional[Maker[Server]] = None,
) -> Optional[Server]:
    """Execute ``plan`` and return the server as it is then; None if it was destroyed.

    :param current: None if the plan creates the server
    :param wait: whether to wait for the status after the last step as well as after the others
    :param lookup: finds the server if the response to its creation was lost (default: by name and user keys)
    :param single: withdraws a new server if another one of its name was made at the same time: ``single_name``
    :raises WaitTimeout: a status was not reached by the deadline; has the last status
    :raises ElasticHostsError: a call failed
    """
    server = current
    with client.transport.within(deadline):
        for number, step in enumerate(plan.steps, 1):
            server = _server_step(client, step, server, deadline, lookup, single)
            target = TARGETS.get(step.verb)
            if server is None or target in (None, server.status):
                continue
            if wait or number < len(plan.steps):
                server = wait_status(client, server.uuid, target, deadline)
    return server


def _server_step(
    client: ElasticHosts,
    step: Step,
    server: Optional[Server],
    deadline: Deadline,
    lookup: Optional[Callable[[], Optional[Server]]],
    single: Optional[Maker[Server]],
) -> Optional[Server]:
    """Make the call of one step and return the server as it is then."""
    if step.verb in ("create", "create_stopped"):

        def create(properties: Wanted) -> Server:
            return _create_server(client, Step(step.verb, properties), deadline, lookup)

        return single.make(create, step.properties) if single else create(step.properties)
    if server is None:
        return None
    uuid = server.uuid
    if step.verb == "set":
        return change_once(
            lambda: client.servers.set(uuid, step.properties), lambda: _server_is_set(client, uuid, step.properties)
        )
    command = {
        "start": client.servers.start,
        "stop": client.servers.stop,
        "shutdown": client.servers.shutdown,
        "reset": client.servers.reset,
        "destroy": client.servers.destroy,
    }[step.verb]
    change_once(
        lambda: _run(command, uuid), lambda: _verb_is_done(client, uuid, step.verb), repeat=step.verb != "reset"
    )
    return (
        None if step.verb == "destroy" else _get_server(client, uuid, may_be_missing=step.verb in ("stop", "shutdown"))
    )


def _run(command: Callable[[str], None], uuid: str) -> bool:
    """Call ``command``, which returns nothing, and return True, the result that ``change_once`` expects."""
    command(uuid)
    return True


def _create_server(
    client: ElasticHosts, step: Step, deadline: Deadline, lookup: Optional[Callable[[], Optional[Server]]]
) -> Server:
    start = step.verb == "create"
    server = create_once(
        lambda: client.servers.create(step.properties, start=start),
        lookup or (lambda: _created(client.servers.info(), step.properties)),
        deadline,
    )
    if start and server.status == "stopped":
        # Found after the response was lost: the server was created, but not started.
        change_once(
            lambda: _run(client.servers.start, server.uuid), lambda: _verb_is_done(client, server.uuid, "start")
        )
    return server


def wait_status(client: ElasticHosts, uuid: str, target: str, deadline: Deadline) -> Optional[Server]:
    """Poll the server until its status is ``target``; None if it was destroyed on stopping, not being persistent.

    :raises WaitTimeout: the status was not reached by the deadline
    """
    return wait_for(
        lambda: _get_server(client, uuid, may_be_missing=target == "stopped"),
        lambda found: found is None or found.status == target,
        deadline,
        lambda found: found.status if found else "gone",
        f"server {uuid} did not become {target}",
        ADVICE[target],
    )


def wait_address(client: ElasticHosts, uuid: str, deadline: Deadline) -> Server:
    """Poll the server until it has an address, which may come later than its start (elastichosts-api 7.17).

    :raises WaitTimeout: there is no address by the deadline
    :raises MissingError: the server was destroyed
    """
    with client.transport.within(deadline):
        return wait_for(
            lambda: client.servers.get(uuid),
            lambda found: found.address is not None,
            deadline,
            lambda found: f"{found.status}, without an address",
            f"server {uuid} did not get an address",
            "check that it has an interface with nic:0:dhcp, or allow more time",
        )


def _get_server(client: ElasticHosts, uuid: str, *, may_be_missing: bool) -> Optional[Server]:
    try:
        return client.servers.get(uuid)
    except MissingError:
        if not may_be_missing:
            raise
        return None


def _server_is_set(client: ElasticHosts, uuid: str, properties: Mapping[str, Optional[str]]) -> Optional[Server]:
    found = client.servers.get(uuid)
    return None if server_changes(properties, found.properties) else found


def _verb_is_done(client: ElasticHosts, uuid: str, verb: str) -> Optional[bool]:
    """Return True if the server is in the status that ``verb`` leads to; never after a reset, which cannot be seen."""
    found = _get_server(client, uuid, may_be_missing=verb in ("stop", "shutdown", "destroy"))
    return True if found is None or found.status == TARGETS.get(verb) else None


def _created(existing: List[Thing], properties: Mapping[str, Optional[str]]) -> Optional[Thing]:
    """Return the object with the name and user keys in ``properties``, to find it when the response was lost."""
    keys = {key: value for key, value in properties.items() if value and (key == "name" or key.startswith("user:"))}
    if not keys:
        return None
    return next((item for item in existing if keys.items() <= item.properties.items()), None)


def apply_drive(
    client: ElasticHosts,
    plan: Plan,
    current: Optional[Drive],
    deadline: Deadline,
    *,
    lookup: Optional[Callable[[], Optional[Drive]]] = None,
    single: Optional[Maker[Drive]] = None,
) -> Optional[Drive]:
    """Execute ``plan`` and return the drive as it is then; None if it was destroyed.

    :param lookup: finds the drive if the response to its creation was lost (default: by name and user keys)
    :raises WaitTimeout: imaging, which has to end before the drive is destroyed, did not end by the deadline
    :raises ElasticHostsError: a call failed
    """
    drive = current
    with client.transport.within(deadline):
        for step in plan.steps:
            drive = _drive_step(client, step, drive, deadline, lookup, single)
    return drive


def _drive_step(
    client: ElasticHosts,
    step: Step,
    drive: Optional[Drive],
    deadline: Deadline,
    lookup: Optional[Callable[[], Optional[Drive]]],
    single: Optional[Maker[Drive]],
) -> Optional[Drive]:
    if step.verb == "create":

        def create(properties: Wanted) -> Drive:
            by_name = lookup or (lambda: _created(client.drives.info(), properties))
            return create_once(lambda: client.drives.create(properties), by_name, deadline)

        return single.make(create, step.properties) if single else create(step.properties)
    if drive is None:
        return None
    uuid = drive.uuid
    if step.verb == "set":
        return change_once(
            lambda: client.drives.set(uuid, step.properties), lambda: _drive_is_set(client, uuid, step.properties)
        )
    if drive.imaging is not None:
        wait_imaged(client, uuid, deadline)
    change_once(lambda: _run(client.drives.destroy, uuid), lambda: _drive_is_gone(client, uuid))
    return None


def _drive_is_set(client: ElasticHosts, uuid: str, properties: Mapping[str, Optional[str]]) -> Optional[Drive]:
    found = client.drives.get(uuid)
    return None if drive_changes(properties, found.properties) else found


def _drive_is_gone(client: ElasticHosts, uuid: str) -> Optional[bool]:
    try:
        client.drives.get(uuid)
    except MissingError:
        return True
    return None


def wait_imaged(
    client: ElasticHosts, uuid: str, deadline: Deadline, progress: Optional[Callable[[Drive], None]] = None
) -> Drive:
    """Poll the drive until it is neither imaged nor claimed in two consecutive polls (elastichosts-api 2.1).

    :param progress: called with the drive after each poll that shows it being imaged
    :raises WaitTimeout: imaging did not end by the deadline; has the progress
    :raises MissingError: the drive was destroyed
    """
    idle_polls = 0

    def ended(drive: Drive) -> bool:
        nonlocal idle_polls
        if progress is not None and drive.imaging is not None:
            progress(drive)
        idle_polls = idle_polls + 1 if drive.imaging is None and not drive.claimed else 0
        return idle_polls >= IDLE_POLLS

    with client.transport.within(deadline):
        return wait_for(
            lambda: client.drives.get(uuid),
            ended,
            deadline,
            lambda drive: f"imaging ({drive.imaging})" if drive.imaging else f"claimed by {' '.join(drive.claimed)}",
            f"drive {uuid} was not imaged",
            "allow more time",
        )


def apply_resource(
    client: ElasticHosts,
    plan: Plan,
    current: Optional[Resource],
    deadline: Deadline,
    *,
    kind: str,
    single: Optional[Maker[Resource]] = None,
) -> Optional[Resource]:
    """Execute ``plan`` and return the address or VLAN as it is then; None if it was destroyed.

    :param kind: ``ip`` or ``vlan``
    :raises ElasticHostsError: a call failed
    """
    resource = current
    with client.transport.within(deadline):
        for step in plan.steps:
            resource = _resource_step(client, step, resource, deadline, kind, single)
    return resource


def _resource_step(
    client: ElasticHosts,
    step: Step,
    current: Optional[Resource],
    deadline: Deadline,
    kind: str,
    single: Optional[Maker[Resource]],
) -> Optional[Resource]:
    resources = client.resources
    if step.verb == "create":

        def create(properties: Wanted) -> Resource:
            return create_once(
                lambda: resources.create(kind, properties),
                lambda: _created([resource for resource in resources.info() if resource.type == kind], properties),
                deadline,
            )

        return single.make(create, step.properties) if single else create(step.properties)
    if current is None:
        return None
    identity = current.resource

    def is_set() -> Optional[Resource]:
        found = resources.get(kind, identity)
        return None if resource_changes(step.properties, found.properties) else found

    if step.verb == "set":
        return change_once(lambda: resources.set(kind, identity, step.properties), is_set)
    change_once(
        lambda: _run(lambda uuid: resources.destroy(kind, uuid), identity),
        lambda: None if resources.find(kind, identity) else True,
    )
    return None
