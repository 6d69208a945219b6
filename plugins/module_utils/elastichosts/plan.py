# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans the API calls that lead from the current to the desired state. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Optional, Tuple

from .drives import Drive
from .errors import HIDDEN, Refused
from .properties import (
    DRIVE,
    SECRET_KEYS,
    SERVER,
    Changes,
    Wanted,
    drive_changes,
    hidden,
    is_live,
    property_of,
    resource_changes,
    server_changes,
)
from .resources import Resource
from .servers import Server
from .values import is_off, parse_size, rounded

SERVER_STATES = ("present", "started", "stopped", "shutdown", "restarted", "reset", "absent")
DRIVE_STATES = RESOURCE_STATES = ("present", "absent")
NEEDED = ("cpu", "mem")
"""properties that a new server must have"""


@dataclass(frozen=True)
class Step:
    """One API call; ``verb`` is create, create_stopped, set, start, stop, shutdown, reset or destroy."""

    verb: str
    properties: Mapping[str, Optional[str]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Step({self.verb!r}, {hidden(self.properties)!r})"


@dataclass(frozen=True)
class Plan:
    """The steps, and the properties that they change, before and after, with secrets hidden."""

    steps: Tuple[Step, ...] = ()
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        return bool(self.steps)


def plan_server(
    desired: Wanted, state: str, current: Optional[Server], *, restart: bool = False, force: bool = False
) -> Plan:
    """Plan how the server ``current`` gets the properties ``desired`` and the state ``state``.

    ``present`` creates and starts a missing server, and keeps the status of an existing server. ``stopped`` powers it
    off at once, ``shutdown`` by ACPI; both create a missing server stopped. ``restarted`` and ``reset`` start a stopped
    or missing server.

    :param desired: by API key; other properties are not compared; None unsets a property
    :param state: one of SERVER_STATES
    :param current: None if the server does not exist
    :param restart: allow a shutdown and start for changes that need the server stopped
    :param force: power off at once instead of by ACPI
    :raises Refused: the change is impossible or not allowed
    """
    _known(state, SERVER_STATES, "server")
    if current is None:
        return _new_server(desired, state)
    if state == "absent":
        return _destruction(_stop_first(current), current.properties)
    changes = server_changes(desired, current.properties)
    _check_fixed(SERVER, changes, _label(current))
    cold = sorted(key for key in changes if not is_live(key))  # need the server stopped
    down = "stop" if force or current.status != "active" else "shutdown"
    route = ROUTES[state].get(current.status, ROUTES[state]["other"])
    verbs = [down if verb == "down" else verb for verb in route]
    if cold and current.status != "stopped" and not _stops(verbs):
        if not restart:
            raise Refused(
                f"{_label(current)}: {', '.join(cold)} can only be changed while it is stopped: "
                "allow it with restart: true, or stop it first"
            )
        verbs = [down, "start"]
    steps = _ordered(verbs, changes, cold, current)
    return Plan(tuple(steps), *_difference(changes, current.properties, _status_after(steps, current.status)))


ROUTES: Dict[str, Dict[str, Tuple[str, ...]]] = {
    "present": {"other": ()},
    "started": {"active": (), "stopped": ("start",), "other": ("stop", "start")},
    "stopped": {"stopped": (), "other": ("stop",)},
    "shutdown": {"stopped": (), "other": ("down",)},
    "restarted": {"stopped": ("start",), "other": ("down", "start")},
    "reset": {"active": ("reset",), "stopped": ("start",), "other": ("stop", "start")},
}
"""desired state -> current status -> verbs; "down" is shutdown for an active server without ``force``, else stop"""


def _known(state: str, states: Tuple[str, ...], kind: str) -> None:
    if state not in states:
        raise Refused(f"a {kind} has no state {state!r}: choose one of {', '.join(states)}")


def _check_fixed(kind: str, changes: Changes, label: str) -> None:
    for key in changes:
        advice = property_of(kind, key).fixed
        if advice:
            raise Refused(f"{label}: {key} cannot be changed after creation: {advice}")


def _label(current: Server) -> str:
    return f"server {current.name or current.uuid!r} ({current.uuid})"


def _stops(verbs: List[str]) -> bool:
    return "stop" in verbs or "shutdown" in verbs


def _new_server(desired: Wanted, state: str) -> Plan:
    if state == "absent":
        return Plan()
    properties = {key: value for key, value in desired.items() if value is not None}
    if is_off(properties.get("persistent")):
        properties.pop("persistent", None)
    missing = [key for key in NEEDED if not properties.get(key)]
    if missing:
        raise Refused(
            f"server {properties.get('name', '')!r} does not exist, and to create it {' and '.join(missing)} "
            f"must be given: add cpu (MHz) and mem (MB)"
        )
    stopped = state in ("stopped", "shutdown")
    after = {**hidden(properties), "status": "stopped" if stopped else "active"}
    return Plan((Step("create_stopped" if stopped else "create", properties),), {}, after)


def _stop_first(current: Server) -> List[Step]:
    return [] if current.status == "stopped" else [Step("stop")]


def _destruction(steps: List[Step], properties: Mapping[str, str]) -> Plan:
    return Plan((*steps, Step("destroy")), hidden(properties), {})


def _ordered(verbs: List[str], changes: Wanted, cold: List[str], current: Server) -> List[Step]:
    """Return the steps for ``verbs``, with the changes after the stop if they need it, else first.

    :param cold: keys of the changes that need the server stopped
    :raises Refused: the server is not persistent, so that a stop would destroy it
    """
    steps = [Step(verb) for verb in verbs]
    first: List[Step] = []
    if _stops(verbs) and (cold or "start" in verbs) and not current.persistent:
        if is_off(changes.get("persistent")):
            raise Refused(
                f"{_label(current)} is not persistent, so the cloud would destroy it when it stops: "
                "set persistent: true as well"
            )
        first = [Step("set", {"persistent": "true"})]
        changes = {key: value for key, value in changes.items() if key != "persistent"}
    if not changes:
        return first + steps
    ends_persistence = current.persistent and "persistent" in changes
    place = 1 if _stops(verbs) and (cold or ends_persistence) else 0
    return [*first, *steps[:place], Step("set", dict(changes)), *steps[place:]]


def _status_after(steps: List[Step], status: str) -> str:
    ends = {"start": "active", "reset": "active", "stop": "stopped", "shutdown": "stopped"}
    for step in steps:
        status = ends.get(step.verb, status)
    return status


def _difference(changes: Wanted, current: Mapping[str, str], status: str) -> Tuple[Dict[str, str], Dict[str, str]]:
    before = {key: current[key] for key in changes if key in current}
    after = {key: value for key, value in changes.items() if value is not None}
    for key in SECRET_KEYS & set(after):
        after[key] = f"{HIDDEN}, changed"
    if current.get("status") and status != current["status"]:
        before["status"], after["status"] = current["status"], status
    return hidden(before), after


def plan_drive(desired: Wanted, state: str, current: Optional[Drive], *, allow_shrink: bool = False) -> Plan:
    """Plan how the drive ``current`` gets the properties ``desired``, or is destroyed.

    :param state: one of DRIVE_STATES
    :param current: None if the drive does not exist
    :param allow_shrink: allow a smaller size, which loses the data behind the new end
    :raises Refused: the change is impossible or not allowed
    """
    _known(state, DRIVE_STATES, "drive")
    if current is None:
        return Plan() if state == "absent" else _new_drive(desired)
    label = f"drive {current.name or current.uuid!r} ({current.uuid})"
    if state == "absent":
        if current.claimed and current.imaging is None:
            raise Refused(f"{label} is in use by {' '.join(current.claimed)}: stop or destroy that server first")
        return _destruction([], current.properties)
    changes = drive_changes(desired, current.properties)
    _check_fixed(DRIVE, changes, label)
    size = changes.get("size")
    if size is not None:
        _check_size(int(size), current, label, allow_shrink)
    steps = (Step("set", changes),) if changes else ()
    return Plan(steps, *_difference(changes, current.properties, current.properties.get("status", "")))


def _check_size(size: int, current: Drive, label: str, allow_shrink: bool) -> None:
    if size < current.size and not allow_shrink:
        raise Refused(
            f"{label} has {current.size} bytes, and to shrink it to {size} loses what lies beyond: "
            "allow it with allow_shrink, or ask for no less"
        )
    if current.claimed:
        raise Refused(
            f"{label} is in use by {' '.join(current.claimed)}, so its size cannot change: stop that server first"
        )


def _new_drive(desired: Wanted) -> Plan:
    properties = {key: value for key, value in desired.items() if value is not None}
    if not properties.get("size"):
        raise Refused(
            f"drive {properties.get('name', '')!r} does not exist, and to create it a size must be given: add size"
        )
    properties["size"] = str(rounded(parse_size(properties["size"])))
    return Plan((Step("create", properties),), {}, dict(properties))


def plan_resource(
    desired: Wanted, state: str, current: Optional[Resource], users: Tuple[str, ...] = (), *, kind: str = "ip"
) -> Plan:
    """Plan how the address or VLAN ``current`` gets the properties ``desired``, or is destroyed.

    :param state: one of RESOURCE_STATES
    :param current: None if the resource does not exist
    :param users: UUIDs of the servers that use the resource, which cannot be destroyed then
    :param kind: ``ip`` or ``vlan``, for errors
    :raises Refused: the change is impossible
    """
    _known(state, RESOURCE_STATES, kind)
    if current is None:
        if state == "absent":
            return Plan()
        properties = {key: value for key, value in desired.items() if value is not None}
        return Plan((Step("create", properties),), {}, dict(properties))
    if state == "absent":
        if users:
            raise Refused(
                f"{kind} {current.name or current.resource!r} ({current.resource}) is in use by server "
                f"{' '.join(users)}: take it from that server, or destroy the server, first"
            )
        return _destruction([], current.properties)
    changes = resource_changes(desired, current.properties)
    return Plan((Step("set", changes),) if changes else (), *_difference(changes, current.properties, ""))
