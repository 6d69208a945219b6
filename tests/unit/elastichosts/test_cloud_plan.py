# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a wish to steps: pure, so every rule can be tried on any server that could be."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.drives import Drive
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.errors import Refused
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.plan import (
    DRIVE_STATES,
    SERVER_STATES,
    Plan,
    plan_drive,
    plan_server,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.properties import (
    is_live,
    server_changes,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.servers import Server

UUID = "6b1f3a90-2d4e-4f71-8a55-90c1d2e3f405"
ENDS = {"create": "active", "create_stopped": "stopped", "start": "active", "stop": "stopped", "shutdown": "stopped"}


def server(status: str = "active", **properties: str) -> Server:
    keys = {key.replace("__", ":"): value for key, value in properties.items()}
    base = {"server": UUID, "name": "web", "cpu": "500", "mem": "512", "persistent": "true"}
    return Server({**base, "status": status, **keys})


def drive(**properties: str) -> Drive:
    keys = {key.replace("__", ":"): value for key, value in properties.items()}
    return Drive({"drive": UUID, "name": "root", "size": str(8 << 20), **keys})


def verbs(plan: Plan) -> list[str]:
    return [step.verb for step in plan.steps]


def simulate(plan: Plan, current: Server | None) -> Server | None:
    """What a cloud of the reference does with the steps; fails where it would say no."""
    for step in plan.steps:
        if step.verb.startswith("create"):
            assert current is None
            made = {key: value for key, value in step.properties.items() if value is not None}
            current = Server({**made, "server": UUID, "status": ENDS[step.verb]})
            continue
        if current is None and step.verb == "destroy":
            continue  # the cloud was first: it was not persistent
        assert current is not None, f"{step.verb} on a server that is gone"
        if step.verb == "set":
            assert current.status == "stopped" or all(map(is_live, step.properties)), "a cold change while it runs"
            after = {**current.properties, **step.properties}
            current = Server({key: value for key, value in after.items() if value is not None})
        elif step.verb == "destroy":
            current = None
        elif step.verb in ("stop", "shutdown"):
            assert step.verb == "stop" or current.status == "active", "no guest to ask"
            assert current.status != "stopped"
            current = Server({**current.properties, "status": "stopped"}) if current.persistent else None
        elif step.verb == "start":
            assert current.status == "stopped"
            current = Server({**current.properties, "status": "active"})
        else:
            assert step.verb == "reset"
            assert current.status == "active"
    return current


values = st.sampled_from(["1", "2", "true", "false", "a", "a b", "auto"])
wanted_keys = st.sampled_from(["name", "cpu", "mem", "smp", "tags", "persistent", "user:x", "password", "boot", "vnc"])
wishes: st.SearchStrategy[dict[str, str | None]] = st.dictionaries(wanted_keys, st.none() | values)
present = st.dictionaries(wanted_keys, values).map(lambda keys: {k: v for k, v in keys.items() if v != "false"})
statuses = st.sampled_from(["active", "stopped", "paused", "dumped", "dead"])
servers = st.none() | st.builds(
    lambda keys, status: Server({"smp:cores": "1", **keys, "server": UUID, "status": status}), present, statuses
)
states = st.sampled_from(SERVER_STATES)
flags = st.booleans()
LASTING = {"present": None, "started": "active", "stopped": "stopped", "shutdown": "stopped"}


@given(wishes, states, servers, flags, flags)
def test_every_plan_can_be_carried_out_and_reaches_its_wish(
    desired: Mapping[str, str | None], state: str, current: Server | None, restart: bool, force: bool
) -> None:
    try:
        plan = plan_server(desired, state, current, restart=restart, force=force)
    except Refused:
        return
    after = simulate(plan, current)
    if state == "absent":
        assert after is None
        return
    if after is None:
        # Only a server that the cloud itself destroys when it stops, and only where stopping is what was asked for.
        assert current is not None
        assert not current.persistent
        assert state in ("stopped", "shutdown")
        return
    assert server_changes(desired, after.properties) == {}
    assert LASTING.get(state) in (None, after.status)
    assert plan.changed is bool(plan.steps)


@given(wishes, st.sampled_from(sorted(LASTING)), servers, flags)
def test_what_was_reached_needs_no_second_plan(
    desired: Mapping[str, str | None], state: str, current: Server | None, restart: bool
) -> None:
    try:
        after = simulate(plan_server(desired, state, current, restart=restart), current)
    except Refused:
        return
    assume(after is not None)
    assert not plan_server(desired, state, after, restart=restart).changed


@given(wishes, states, servers, flags)
def test_only_absent_destroys(
    desired: Mapping[str, str | None], state: str, current: Server | None, restart: bool
) -> None:
    try:
        plan = plan_server(desired, state, current, restart=restart)
    except Refused:
        return
    assert ("destroy" in verbs(plan)) is (state == "absent" and current is not None)


@given(wishes, st.sampled_from(["present", "started"]), present.map(lambda keys: Server({**keys, "status": "active"})))
def test_no_running_server_goes_down_unless_it_was_asked_for(
    desired: Mapping[str, str | None], state: str, current: Server
) -> None:
    try:
        plan = plan_server(desired, state, current, restart=False)
    except Refused:
        return
    assert set(verbs(plan)) <= {"set"}


@given(st.dictionaries(st.sampled_from(["password", "vnc:password"]), st.just("Xx12yy34"), min_size=1), states, servers)
def test_no_plan_shows_a_secret(desired: Mapping[str, str | None], state: str, current: Server | None) -> None:
    if current is not None:
        current = Server({**current.properties, "password": "Zz98ww76"})
    try:
        plan = plan_server({**desired, "cpu": "500", "mem": "512"}, state, current, restart=True)
    except Refused as error:
        assert "Xx12yy34" not in str(error)
        return
    for text in (repr(plan), str(plan), str(plan.before), str(plan.after)):
        assert "Xx12yy34" not in text
        assert "Zz98ww76" not in text


@pytest.mark.parametrize(
    ("state", "status", "steps"),
    [
        ("present", "active", []),
        ("present", "stopped", []),
        ("started", "active", []),
        ("started", "stopped", ["start"]),
        ("started", "paused", ["stop", "start"]),
        ("started", "dead", ["stop", "start"]),
        ("stopped", "active", ["stop"]),
        ("stopped", "stopped", []),
        ("stopped", "dumped", ["stop"]),
        ("shutdown", "active", ["shutdown"]),
        ("shutdown", "stopped", []),
        ("shutdown", "paused", ["stop"]),
        ("restarted", "active", ["shutdown", "start"]),
        ("restarted", "stopped", ["start"]),
        ("reset", "active", ["reset"]),
        ("reset", "stopped", ["start"]),
        ("absent", "active", ["stop", "destroy"]),
        ("absent", "stopped", ["destroy"]),
    ],
)
def test_each_state_from_each_status(state: str, status: str, steps: list[str]) -> None:
    assert verbs(plan_server({}, state, server(status))) == steps


@pytest.mark.parametrize(
    ("state", "verb"),
    [
        ("present", "create"),
        ("started", "create"),
        ("restarted", "create"),
        ("reset", "create"),
        ("stopped", "create_stopped"),
        ("shutdown", "create_stopped"),
    ],
)
def test_a_missing_server_is_created_with_what_was_given(state: str, verb: str) -> None:
    plan = plan_server({"cpu": "500", "mem": "512", "tags": None, "persistent": "false"}, state, None)
    assert verbs(plan) == [verb]
    assert plan.steps[0].properties == {"cpu": "500", "mem": "512"}
    assert plan.after["status"] == ("active" if verb == "create" else "stopped")
    assert plan.before == {}


def test_a_missing_server_that_shall_be_absent_needs_nothing() -> None:
    assert not plan_server({"name": "web"}, "absent", None).changed


def test_a_server_cannot_be_created_without_cpu_and_mem() -> None:
    with pytest.raises(Refused, match=r"'web' does not exist, and to create it mem must be given"):
        plan_server({"name": "web", "cpu": "500"}, "present", None)
    with pytest.raises(Refused, match="cpu and mem"):
        plan_server({"name": "web"}, "started", None)


def test_live_keys_are_set_while_it_runs() -> None:
    wish = {"name": "b", "cpu": "600", "persistent": None, "tags": "x", "user:y": "1", "password": "Xx12yy34"}
    plan = plan_server(wish, "started", server())
    assert verbs(plan) == ["set"]
    assert plan.steps[0].properties == wish
    assert plan.before == {"name": "web", "cpu": "500", "persistent": "true"}


def test_a_cold_change_on_a_running_server_is_refused_with_its_keys() -> None:
    with pytest.raises(Refused, match=r"mem, smp can only be changed while it is stopped.*restart: true"):
        plan_server({"mem": "1024", "smp": "2", "cpu": "600"}, "present", server())


def test_a_cold_change_goes_between_shutdown_and_start_when_that_is_allowed() -> None:
    plan = plan_server({"mem": "1024", "cpu": "600"}, "present", server(), restart=True)
    assert verbs(plan) == ["shutdown", "set", "start"]
    assert plan.steps[1].properties == {"mem": "1024", "cpu": "600"}
    assert verbs(plan_server({"mem": "1024"}, "reset", server(), restart=True)) == ["shutdown", "set", "start"]
    assert verbs(plan_server({"mem": "1024"}, "present", server(), restart=True, force=True))[0] == "stop"


def test_a_cold_change_uses_the_way_down_that_was_asked_for() -> None:
    assert verbs(plan_server({"mem": "1024"}, "stopped", server())) == ["stop", "set"]
    assert verbs(plan_server({"mem": "1024"}, "shutdown", server())) == ["shutdown", "set"]
    assert verbs(plan_server({"mem": "1024"}, "restarted", server())) == ["shutdown", "set", "start"]
    assert verbs(plan_server({"mem": "1024"}, "started", server("stopped"))) == ["set", "start"]
    assert verbs(plan_server({"mem": "1024"}, "present", server("stopped"))) == ["set"]


def test_a_server_that_would_vanish_when_it_stops_is_not_restarted() -> None:
    fleeting = server(persistent="")
    for state, wish in (("restarted", {}), ("stopped", {"mem": "1024"})):
        with pytest.raises(Refused, match="not persistent, so the cloud would destroy it"):
            plan_server(wish, state, fleeting)


def test_a_server_that_shall_become_persistent_is_made_so_before_it_goes_down() -> None:
    plan = plan_server({"persistent": "true", "mem": "1024"}, "restarted", server(persistent=""))
    assert verbs(plan) == ["set", "shutdown", "set", "start"]
    assert plan.steps[0].properties == {"persistent": "true"}
    assert plan.steps[2].properties == {"mem": "1024"}


def test_the_type_of_a_server_is_for_ever() -> None:
    with pytest.raises(Refused, match="type cannot be changed after creation"):
        plan_server({"type": "container"}, "present", server())


def test_an_unknown_state_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Refused, match="present, started, stopped"):
        plan_server({}, "running", server())
    with pytest.raises(Refused, match="present, absent"):
        plan_drive({}, "attached", drive())


def test_the_difference_shows_state_and_keys() -> None:
    plan = plan_server({"mem": "1024", "tags": None, "password": "new"}, "started", server("stopped", tags="a"))
    assert plan.before == {"mem": "512", "tags": "a", "status": "stopped"}
    assert plan.after == {"mem": "1024", "password": "[hidden], changed", "status": "active"}


# Drives

drive_values: dict[str, st.SearchStrategy[str]] = {
    "name": st.sampled_from(["a", "b"]),
    "size": st.sampled_from(["1", "4M", "8M", "10000000", "1G"]),
    "tags": st.sampled_from(["a", "a b", "b a", ""]),
    "tier": st.sampled_from(["disk", "ssd"]),
    "claim:type": st.sampled_from(["shared", "exclusive"]),
    "user:x": st.sampled_from(["1", "2"]),
}
drive_wishes = st.fixed_dictionaries({}, optional={**drive_values, "readers": st.none()})


@given(drive_wishes, st.sampled_from(DRIVE_STATES), st.none() | st.just(drive(tags="z")), flags)
def test_a_drive_plan_reaches_its_wish_and_only_absent_destroys(
    desired: Mapping[str, str | None], state: str, current: Drive | None, shrink: bool
) -> None:
    try:
        plan = plan_drive(desired, state, current, allow_shrink=shrink)
    except Refused:
        return
    assert ("destroy" in verbs(plan)) is (state == "absent" and current is not None)
    if state == "present":
        after = {**(current.properties if current else {"drive": UUID}), **plan.after}
        for key in plan.before:
            if key not in plan.after:
                del after[key]
        assert not plan_drive(desired, "present", Drive(after)).changed


def test_a_drive_grows_but_does_not_shrink_by_accident() -> None:
    assert plan_drive({"size": "1G"}, "present", drive()).steps[0].properties == {"size": "1073741824"}
    with pytest.raises(Refused, match="loses what lies beyond"):
        plan_drive({"size": "4M"}, "present", drive())
    assert plan_drive({"size": "4M"}, "present", drive(), allow_shrink=True).changed
    assert not plan_drive({"size": "7M"}, "present", drive()).changed


@pytest.mark.parametrize("wish", [{"tier": "ssd"}, {"encryption:cipher": "none"}])
def test_what_a_drive_is_made_of_cannot_change(wish: dict[str, str | None]) -> None:
    with pytest.raises(Refused, match="cannot be changed after creation: make a new drive"):
        plan_drive(wish, "present", drive())


def test_a_drive_in_use_is_neither_resized_nor_destroyed_but_may_be_named() -> None:
    busy = drive(claimed=UUID)
    with pytest.raises(Refused, match=f"in use by {UUID}.*stop that server first"):
        plan_drive({"size": "1G"}, "present", busy)
    with pytest.raises(Refused, match=f"in use by {UUID}"):
        plan_drive({}, "absent", busy)
    assert plan_drive({"name": "b"}, "present", busy).changed


def test_a_drive_that_is_only_being_imaged_may_be_destroyed_later() -> None:
    assert verbs(plan_drive({}, "absent", drive(claimed=UUID, imaging="43%"))) == ["destroy"]


def test_a_missing_drive_needs_a_size() -> None:
    with pytest.raises(Refused, match=r"'root' does not exist.*add size"):
        plan_drive({"name": "root"}, "present", None)
    plan = plan_drive({"name": "root", "size": "10M", "tier": "ssd", "tags": None}, "present", None)
    assert plan.steps[0].properties == {"name": "root", "size": "12582912", "tier": "ssd"}
    assert not plan_drive({"name": "root"}, "absent", None).changed
