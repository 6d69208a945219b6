# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what is wanted and what is there to the steps between: pure functions, no call is made here."""

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


@dataclass(frozen=True)
class Step:
    """One call: create, create_stopped, set, start, stop, shutdown, reset or destroy."""

    verb: str
    properties: Mapping[str, Optional[str]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Step({self.verb!r}, {hidden(self.properties)!r})"


@dataclass(frozen=True)
class Plan:
    """The steps, and what of the object they change; `before` and `after` hold no secret."""

    steps: Tuple[Step, ...] = ()
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        return bool(self.steps)


def plan_server(
    desired: Wanted, state: str, current: Optional[Server], *, restart: bool = False, force: bool = False
) -> Plan:
    """How `current` (None: there is none) becomes `desired` in `state`.

    `present` creates a missing server, started, and leaves the state of an existing one alone. `stopped` cuts the
    power, `shutdown` asks the guest; both create a missing server stopped. `restarted` and `reset` start a stopped or
    missing one. `desired` holds API keys; only these are compared; None unsets. `restart` allows a shutdown where a
    change needs it; `force` cuts the power instead of asking the guest. Raises Refused.
    """
    _known(state, SERVER_STATES, "server")
    if current is None:
        return _new_server(desired, state)
    if state == "absent":
        return _gone(_stop_first(current), current.properties)
    changes = server_changes(desired, current.properties)
    _check_fixed(SERVER, changes, _label(current))
    cold = sorted(key for key in changes if not is_live(key))
    down = "stop" if force or current.status != "active" else "shutdown"
    route = ROUTES[state].get(current.status, ROUTES[state]["other"])
    verbs = [down if verb == "down" else verb for verb in route]
    if cold and current.status != "stopped" and not _goes_down(verbs):
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
"""Wanted state -> status found -> verbs; "down" is a shutdown, or a stop where there is no guest to ask."""


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


def _goes_down(verbs: List[str]) -> bool:
    return "stop" in verbs or "shutdown" in verbs


def _new_server(desired: Wanted, state: str) -> Plan:
    if state == "absent":
        return Plan()
    properties = {key: value for key, value in desired.items() if value is not None}
    if is_off(properties.get("persistent")):
        properties.pop("persistent", None)
    lacking = [key for key in NEEDED if not properties.get(key)]
    if lacking:
        raise Refused(
            f"server {properties.get('name', '')!r} does not exist, and to create it {' and '.join(lacking)} "
            f"must be given: add cpu (MHz) and mem (MB)"
        )
    stopped = state in ("stopped", "shutdown")
    after = {**hidden(properties), "status": "stopped" if stopped else "active"}
    return Plan((Step("create_stopped" if stopped else "create", properties),), {}, after)


def _stop_first(current: Server) -> List[Step]:
    return [] if current.status == "stopped" else [Step("stop")]


def _gone(steps: List[Step], properties: Mapping[str, str]) -> Plan:
    return Plan((*steps, Step("destroy")), hidden(properties), {})


def _ordered(verbs: List[str], changes: Wanted, cold: List[str], current: Server) -> List[Step]:
    """Where among the verbs the changes go: after the way down when the server must be stopped for them, else first."""
    steps = [Step(verb) for verb in verbs]
    first: List[Step] = []
    if _goes_down(verbs) and (cold or "start" in verbs) and not current.persistent:
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
    place = 1 if _goes_down(verbs) and (cold or ends_persistence) else 0
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
    """How `current` (None: there is none) becomes `desired`; state is present or absent. Raises Refused.

    A drive shrinks only with `allow_shrink`, since what lay beyond the new end is lost.
    """
    _known(state, DRIVE_STATES, "drive")
    if current is None:
        return Plan() if state == "absent" else _new_drive(desired)
    label = f"drive {current.name or current.uuid!r} ({current.uuid})"
    if state == "absent":
        if current.claimed and current.imaging is None:
            raise Refused(f"{label} is in use by {' '.join(current.claimed)}: stop or destroy that server first")
        return _gone([], current.properties)
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
    """How `current` (None: there is none) becomes `desired`; state is present or absent. Raises Refused.

    `users` are the servers that name it: as long as there are any, it cannot go.
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
        return _gone([], current.properties)
    changes = resource_changes(desired, current.properties)
    return Plan((Step("set", changes),) if changes else (), *_difference(changes, current.properties, ""))
