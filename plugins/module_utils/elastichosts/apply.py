# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a plan true: call by call, looked at first where a repeat could hurt, with one deadline for all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, List, Mapping, Optional, TypeVar

from .client import ElasticHosts
from .clock import Deadline
from .drives import Drive
from .errors import AnswerLost, MissingError, WaitTimeout
from .plan import Plan, Step
from .properties import Wanted, drive_changes, resource_changes, server_changes
from .resources import Resource
from .safe_retry import change_once, create_once
from .servers import Server

if TYPE_CHECKING:
    from .single_name import SingleName

T = TypeVar("T")
Thing = TypeVar("Thing", Server, Drive, Resource)
FIRST_POLL = 0.1
LAST_POLL = 2.0
QUIET_LOOKS = 2
"""Looks in a row that must show a drive idle: the cloud hides `imaging` for a moment now and then."""
TARGETS = {"create": "active", "create_stopped": "stopped", "start": "active", "stop": "stopped", "shutdown": "stopped"}
ADVICE = {
    "active": "allow more time, or look at the server's console",
    "stopped": "its guest may ignore ACPI: cut the power (state: stopped), or allow more time",
}


def wait_for(
    look: Callable[[], T],
    reached: Callable[[T], bool],
    deadline: Deadline,
    describe: Callable[[T], str],
    what: str,
    advice: str,
) -> T:
    """Look until it is `reached`, ever more slowly. Raises WaitTimeout with the last state as `describe` tells it."""
    pause = FIRST_POLL
    seen: List[T] = []
    while True:
        try:
            seen = [look()]
        except AnswerLost:
            # The deadline cuts calls short: what was seen before is the last state then.
            if deadline.left() or not seen:
                raise
        if reached(seen[0]):
            return seen[0]
        if not deadline.left():
            last = describe(seen[0])
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
    single: Optional[SingleName[Server]] = None,
) -> Optional[Server]:
    """Carry out `plan`; the server as it is then, None when it is gone.

    With `single` a new server is withdrawn if another one of its name was made at the same time, see `SingleName.make`.

    Waits after each step until the server has reached its state; with `wait` False not after the last one. `lookup`
    finds a server whose creation was not answered (default: by name and user keys). Raises WaitTimeout, which names
    the last state, and the errors of the calls.
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
    single: Optional[SingleName[Server]],
) -> Optional[Server]:
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
        lambda: _commanded(command, uuid), lambda: _verb_is_done(client, uuid, step.verb), repeat=step.verb != "reset"
    )
    return None if step.verb == "destroy" else _look(client, uuid, gone_is_fine=step.verb in ("stop", "shutdown"))


def _commanded(command: Callable[[str], None], uuid: str) -> bool:
    command(uuid)
    return True


def _create_server(
    client: ElasticHosts, step: Step, deadline: Deadline, lookup: Optional[Callable[[], Optional[Server]]]
) -> Server:
    start = step.verb == "create"
    server = create_once(
        lambda: client.servers.create(step.properties, start=start),
        lookup or (lambda: _made(client.servers.info(), step.properties)),
        deadline,
    )
    if start and server.status == "stopped":
        # Found after a lost answer: made, but the second half of the call did not happen.
        change_once(
            lambda: _commanded(client.servers.start, server.uuid), lambda: _verb_is_done(client, server.uuid, "start")
        )
    return server


def wait_status(client: ElasticHosts, uuid: str, target: str, deadline: Deadline) -> Optional[Server]:
    """Read the server until its status is `target`; None when it is gone instead of stopped, not being persistent.

    Raises WaitTimeout.
    """
    return wait_for(
        lambda: _look(client, uuid, gone_is_fine=target == "stopped"),
        lambda found: found is None or found.status == target,
        deadline,
        lambda found: found.status if found else "gone",
        f"server {uuid} did not become {target}",
        ADVICE[target],
    )


def wait_address(client: ElasticHosts, uuid: str, deadline: Deadline) -> Server:
    """Read the server until it has an address, which may come later than its start (elastichosts-api 7.17).

    Raises WaitTimeout and MissingError.
    """
    with client.transport.within(deadline):
        return wait_for(
            lambda: client.servers.get(uuid),
            lambda found: found.address is not None,
            deadline,
            lambda found: f"{found.status}, without an address",
            f"server {uuid} did not get an address",
            "has it an interface with nic:0:dhcp? else allow more time",
        )


def _look(client: ElasticHosts, uuid: str, *, gone_is_fine: bool) -> Optional[Server]:
    try:
        return client.servers.get(uuid)
    except MissingError:
        if not gone_is_fine:
            raise
        return None


def _server_is_set(client: ElasticHosts, uuid: str, properties: Mapping[str, Optional[str]]) -> Optional[Server]:
    found = client.servers.get(uuid)
    return None if server_changes(properties, found.properties) else found


def _verb_is_done(client: ElasticHosts, uuid: str, verb: str) -> Optional[bool]:
    """Is the server where `verb` was to bring it? A reset leaves no trace, so it never counts as done."""
    found = _look(client, uuid, gone_is_fine=verb in ("stop", "shutdown", "destroy"))
    return True if found is None or found.status == TARGETS.get(verb) else None


def _made(existing: List[Thing], properties: Mapping[str, Optional[str]]) -> Optional[Thing]:
    """The one object that has the name and the user keys of a creation that was not answered."""
    marks = {key: value for key, value in properties.items() if value and (key == "name" or key.startswith("user:"))}
    if not marks:
        return None
    return next((item for item in existing if marks.items() <= item.properties.items()), None)


def apply_drive(
    client: ElasticHosts,
    plan: Plan,
    current: Optional[Drive],
    deadline: Deadline,
    *,
    lookup: Optional[Callable[[], Optional[Drive]]] = None,
    single: Optional[SingleName[Drive]] = None,
) -> Optional[Drive]:
    """Carry out `plan`; the drive as it is then, None when it is gone. Like apply_server."""
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
    single: Optional[SingleName[Drive]],
) -> Optional[Drive]:
    if step.verb == "create":

        def create(properties: Wanted) -> Drive:
            by_name = lookup or (lambda: _made(client.drives.info(), properties))
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
    change_once(lambda: _commanded(client.drives.destroy, uuid), lambda: _drive_is_gone(client, uuid))
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
    """Read the drive until imaging has ended: neither imaging nor claimed, twice in a row (elastichosts-api 2.1).

    `progress` is called with the drive as long as it is being imaged. Raises WaitTimeout, which names the progress, and
    MissingError.
    """
    quiet = 0

    def ended(drive: Drive) -> bool:
        nonlocal quiet
        if progress is not None and drive.imaging is not None:
            progress(drive)
        quiet = quiet + 1 if drive.imaging is None and not drive.claimed else 0
        return quiet >= QUIET_LOOKS

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
    single: Optional[SingleName[Resource]] = None,
) -> Optional[Resource]:
    """Carry out `plan`; the address or VLAN as it is then, None when it is gone. Like apply_server."""
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
    single: Optional[SingleName[Resource]],
) -> Optional[Resource]:
    room = client.resources
    if step.verb == "create":

        def create(properties: Wanted) -> Resource:
            return create_once(
                lambda: room.create(kind, properties),
                lambda: _made([one for one in room.info() if one.type == kind], properties),
                deadline,
            )

        return single.make(create, step.properties) if single else create(step.properties)
    if current is None:
        return None
    identity = current.resource

    def is_set() -> Optional[Resource]:
        found = room.get(kind, identity)
        return None if resource_changes(step.properties, found.properties) else found

    if step.verb == "set":
        return change_once(lambda: room.set(kind, identity, step.properties), is_set)
    change_once(
        lambda: _commanded(lambda uuid: room.destroy(kind, uuid), identity),
        lambda: None if room.find(kind, identity) else True,
    )
    return None
