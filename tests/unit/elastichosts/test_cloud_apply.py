# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans carried out at the real endpoint, over a way that fails: one object or none, and no wrong word about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import errors
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.apply import (
    apply_drive,
    apply_server,
    wait_address,
    wait_for,
    wait_imaged,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import ElasticHosts
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.clock import Clock, Deadline
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.drives import Drive
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.plan import plan_drive, plan_server
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.servers import Server
from tests.support.endpoint import Endpoint
from tests.unit.elastichosts import scripted as script
from tests.unit.elastichosts.scripted import FakeClock, Relay, says

SPEC: dict[str, str | None] = {
    "name": "web",
    "cpu": "500",
    "mem": "512",
    "smp": "auto",
    "persistent": "true",
    "nic:0:model": "e1000",
    "nic:0:dhcp": "auto",
    "vnc:ip": "auto",
    "vnc:password": "Xx12yy34",
    "tags": "b a",
    "user:one-vm": "7",
}
DRIVE: dict[str, str | None] = {"name": "root", "size": "10000000", "user:one-vm": "7"}


@pytest.fixture
def deadline() -> Deadline:
    """For real waits."""
    return Deadline(20, Clock())


def reach(
    client: ElasticHosts, desired: Mapping[str, str | None], state: str, current: Server | None, deadline: Deadline
) -> Server | None:
    plan = plan_server(desired, state, current, restart=True)
    return apply_server(client, plan, current, deadline)


def made(client: ElasticHosts, deadline: Deadline, state: str = "present", **more: str) -> Server:
    server = reach(client, {**SPEC, **more}, state, None, deadline)
    assert server is not None
    return server


def test_every_state_is_reached_and_needs_no_second_plan(cloud: ElasticHosts, deadline: Deadline) -> None:
    server: Server | None = None
    for state, status in [
        ("present", "active"),
        ("shutdown", "stopped"),
        ("started", "active"),
        ("restarted", "active"),
        ("reset", "active"),
        ("stopped", "stopped"),
        ("reset", "active"),
    ]:
        server = reach(cloud, SPEC, state, server, deadline)
        assert server is not None
        assert server.status == status
        settled = {"restarted": "started", "reset": "started"}.get(state, state)
        assert not plan_server(SPEC, settled, cloud.servers.get(server.uuid)).changed
    assert reach(cloud, SPEC, "absent", server, deadline) is None
    assert cloud.servers.list() == []


def test_a_cold_change_passes_through_a_shutdown(cloud: ElasticHosts, deadline: Deadline) -> None:
    server = made(cloud, deadline)
    changed = reach(cloud, {"mem": "1024", "cpu": "600"}, "present", server, deadline)
    assert changed is not None
    assert (changed.mem, changed.cpu, changed.status) == (1024, 600, "active")


def test_a_fleeting_server_is_gone_when_it_stops(cloud: ElasticHosts, deadline: Deadline) -> None:
    spec = {**SPEC, "persistent": None}
    for state in ("shutdown", "stopped", "absent"):
        server = reach(cloud, spec, "present", None, deadline)
        assert reach(cloud, spec, state, server, deadline) is None
    assert cloud.servers.list() == []


def test_a_drive_is_made_changed_and_destroyed(cloud: ElasticHosts, deadline: Deadline) -> None:
    drive = apply_drive(cloud, plan_drive(DRIVE, "present", None), None, deadline)
    assert drive is not None
    assert not plan_drive(DRIVE, "present", drive).changed
    bigger = apply_drive(cloud, plan_drive({"size": "20M"}, "present", drive), drive, deadline)
    assert bigger is not None
    assert bigger.size == 20 << 20
    assert apply_drive(cloud, plan_drive({}, "absent", bigger), bigger, deadline) is None
    assert cloud.drives.list() == []


# Answers that get lost

FAULTS = {
    "cut before": script.cut_before,
    "cut after": script.cut_after,
    "half an answer": script.half_after,
    "503 before": says(503),
    "503 after": script.fails_after(503, ""),
    "500 after": script.fails_after(500, "system"),
    "429": says(429),
}
faults = pytest.mark.parametrize("fault", list(FAULTS.values()), ids=list(FAULTS))
EMPTY = {name: action for name, action in FAULTS.items() if name != "half an answer"}
faults_of_an_empty_answer = pytest.mark.parametrize("fault", list(EMPTY.values()), ids=list(EMPTY))


@faults
@pytest.mark.parametrize("state", ["present", "stopped"])
def test_one_server_is_made_whatever_becomes_of_the_answer(
    relayed: ElasticHosts, relay: Relay, cloud: ElasticHosts, clock: FakeClock, fault: script.Action, state: str
) -> None:
    relay.on("POST /servers/create.*", fault, times=1)
    server = made(relayed, Deadline(60, clock), state)
    assert [found.uuid for found in cloud.servers.info()] == [server.uuid]
    assert server.status == ("active" if state == "present" else "stopped")


@faults
def test_one_drive_is_made_whatever_becomes_of_the_answer(
    relayed: ElasticHosts, relay: Relay, cloud: ElasticHosts, clock: FakeClock, fault: script.Action
) -> None:
    relay.on("POST /drives/create", fault, times=1)
    drive = apply_drive(relayed, plan_drive(DRIVE, "present", None), None, Deadline(60, clock))
    assert drive is not None
    assert cloud.drives.list() == [drive.uuid]


@faults_of_an_empty_answer
@pytest.mark.parametrize("verb", ["start", "stop", "set", "destroy"])
def test_each_change_is_made_whatever_becomes_of_the_answer(
    relayed: ElasticHosts, relay: Relay, cloud: ElasticHosts, clock: FakeClock, fault: script.Action, verb: str
) -> None:
    server = made(cloud, Deadline(20, Clock()), "stopped" if verb == "start" else "present")
    relay.on(f"POST /servers/.*/{verb}", fault, times=1)
    desired: dict[str, str | None] = {"cpu": "600"} if verb == "set" else {}
    state = {"start": "started", "stop": "stopped", "set": "present", "destroy": "absent"}[verb]
    after = reach(relayed, desired, state, server, Deadline(60, clock))
    if verb == "destroy":
        assert after is None
        assert cloud.servers.list() == []
    else:
        assert after is not None
        assert not plan_server(desired, state, cloud.servers.get(server.uuid)).changed


@faults_of_an_empty_answer
def test_a_drive_is_destroyed_whatever_becomes_of_the_answer(
    relayed: ElasticHosts, relay: Relay, cloud: ElasticHosts, clock: FakeClock, fault: script.Action
) -> None:
    drive = cloud.drives.create(DRIVE)
    relay.on("POST /drives/.*/destroy", fault, times=1)
    assert apply_drive(relayed, plan_drive({}, "absent", drive), drive, Deadline(60, clock)) is None
    assert cloud.drives.list() == []


def test_a_reset_whose_answer_is_lost_is_not_made_twice(
    relayed: ElasticHosts, relay: Relay, cloud: ElasticHosts, clock: FakeClock
) -> None:
    server = made(cloud, Deadline(20, Clock()))
    relay.on("POST /servers/.*/reset", script.cut_after)
    with pytest.raises(errors.AnswerLost, match="look before trying again"):
        reach(relayed, {}, "reset", server, Deadline(60, clock))
    assert relay.count("POST /servers/.*/reset") == 1


def test_a_creation_that_failed_clearly_is_looked_for_and_not_repeated(
    relayed: ElasticHosts, relay: Relay, clock: FakeClock
) -> None:
    relay.on("POST /servers/create", says(500, "failed", "drive 0d9a1c52 vanished"))
    with pytest.raises(errors.FailedError, match="0d9a1c52"):
        made(relayed, Deadline(60, clock))
    assert relay.count("POST /servers/create") == 1
    assert relay.count("GET /servers/info") >= 1


def test_a_creation_lost_for_good_ends_in_its_error(
    relayed: ElasticHosts, relay: Relay, cloud: ElasticHosts, clock: FakeClock
) -> None:
    relay.on("POST /servers/create", script.cut_before)
    with pytest.raises(errors.AnswerLost):
        made(relayed, Deadline(60, clock))
    assert relay.count("POST /servers/create") == 2
    assert cloud.servers.list() == []


def test_a_neighbour_with_the_same_name_is_not_taken_for_the_lost_one(
    relayed: ElasticHosts, relay: Relay, cloud: ElasticHosts, clock: FakeClock
) -> None:
    neighbour = made(cloud, Deadline(20, Clock()), "stopped", **{"user:one-vm": "8"})
    relay.on("POST /servers/create", script.cut_before, times=1)
    assert made(relayed, Deadline(60, clock)).uuid != neighbour.uuid
    assert len(cloud.servers.list()) == 2


def test_a_creation_without_a_mark_to_find_it_by_is_not_guessed_at(
    relayed: ElasticHosts, relay: Relay, clock: FakeClock
) -> None:
    relay.on("POST /servers/create", says(500, "system"))
    with pytest.raises(errors.SystemFault):
        reach(relayed, {"cpu": "500", "mem": "512"}, "present", None, Deadline(60, clock))


def test_a_caller_can_look_by_its_own_keys(
    relayed: ElasticHosts, relay: Relay, cloud: ElasticHosts, clock: FakeClock
) -> None:
    looked: list[int] = []

    def lookup() -> Server | None:
        looked.append(1)
        return next(iter(cloud.servers.info()), None) if len(looked) == 3 else None

    relay.on("POST /servers/create", script.cut_after, times=1)
    plan = plan_server(SPEC, "present", None)
    server = apply_server(relayed, plan, None, Deadline(60, clock), lookup=lookup)
    assert server is not None
    assert len(looked) == 3
    assert relay.count("POST /servers/create") == 1


def test_a_server_already_in_the_wanted_state_is_a_success(cloud: ElasticHosts, deadline: Deadline) -> None:
    server = made(cloud, deadline)
    cloud.servers.stop(server.uuid)
    after = reach(cloud, {}, "stopped", server, deadline)
    assert after is not None
    assert after.status == "stopped"
    cloud.servers.destroy(server.uuid)
    assert reach(cloud, {}, "absent", server, deadline) is None


@pytest.mark.parametrize("refusal", [says(409, "busy"), says(500, "failed")], ids=["409", "500"])
@pytest.mark.parametrize(("wanted", "verb"), [("stopped", "stop"), ("shutdown", "shutdown")])
def test_a_server_that_was_stopped_meanwhile_is_stopped_whatever_the_cloud_answers(
    relayed: ElasticHosts, relay: Relay, cloud: ElasticHosts, deadline: Deadline, wanted: str, verb: str, refusal: Any
) -> None:
    """Which of the two answers the service gave is not known (elastichosts-api 7.5)."""
    server = made(cloud, deadline)
    cloud.servers.stop(server.uuid)
    relay.on(f"POST /servers/.*/{verb}", refusal)
    after = reach(relayed, {}, wanted, server, deadline)
    assert after is not None and after.status == "stopped"
    assert relay.count(f"POST /servers/.*/{verb}") == 1


def test_a_server_that_vanished_meanwhile_is_named(cloud: ElasticHosts, deadline: Deadline) -> None:
    server = made(cloud, deadline, "stopped")
    cloud.servers.destroy(server.uuid)
    with pytest.raises(errors.MissingError, match=server.uuid):
        reach(cloud, {"mem": "1024"}, "started", server, deadline)


def test_a_drive_in_use_is_not_destroyed_and_says_so(cloud: ElasticHosts, deadline: Deadline) -> None:
    drive = cloud.drives.create(DRIVE)
    made(cloud, deadline, **{"ide:0:0": drive.uuid})
    with pytest.raises(errors.BusyError, match=drive.uuid):
        apply_drive(cloud, plan_drive({}, "absent", drive), drive, deadline)
    assert cloud.drives.list() == [drive.uuid]


# Waits


@pytest.fixture(scope="module")
def stubborn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """An endpoint whose guests ignore ACPI."""
    with Endpoint(tmp_path_factory.mktemp("stubborn"), "--acpi-delay", "never") as running:
        yield running


def test_a_guest_that_ignores_acpi_ends_the_wait_with_its_last_state(stubborn: Endpoint, clock: FakeClock) -> None:
    with ElasticHosts(stubborn.url, stubborn.auth, clock=clock) as client:
        server = made(client, Deadline(60, clock))
        with pytest.raises(
            errors.WaitTimeout, match=r"did not become stopped within 60 s, it is still active: .*ACPI"
        ) as c:
            reach(client, {}, "shutdown", server, Deadline(60, clock))
        assert c.value.last == "active"
        assert server.uuid in str(c.value)
        assert 55 < sum(clock.slept) <= 61
        assert len(clock.slept) < 50
        plan = plan_server({}, "shutdown", server, force=True)
        after = apply_server(client, plan, server, Deadline(60, clock))
        assert after is not None
        assert after.status == "stopped"


def test_without_wait_the_last_step_is_not_waited_for(stubborn: Endpoint, clock: FakeClock) -> None:
    with ElasticHosts(stubborn.url, stubborn.auth, clock=clock) as client:
        server = made(client, Deadline(60, clock))
        plan = plan_server({}, "shutdown", server)
        after = apply_server(client, plan, server, Deadline(60, clock), wait=False)
        assert after is not None
        assert after.status == "active"


def test_an_address_may_come_later(tmp_path: Path) -> None:
    with Endpoint(tmp_path, "--address-delay", "0.3") as late, ElasticHosts(late.url, late.auth) as client:
        deadline = Deadline(20, Clock())
        server = made(client, deadline)
        assert server.address is None
        assert wait_address(client, server.uuid, deadline).address is not None


def test_no_address_at_all_is_told(cloud: ElasticHosts) -> None:
    server = made(cloud, Deadline(20, Clock()), **{"nic:0:dhcp": "0"})
    with pytest.raises(errors.WaitTimeout, match="still active, without an address") as caught:
        wait_address(cloud, server.uuid, Deadline(0.3, Clock()))
    assert caught.value.last == "active, without an address"


def test_a_look_that_the_end_of_the_time_cut_short_leaves_the_state_before_it_as_the_last(clock: FakeClock) -> None:
    looks = iter(["active"])

    def look() -> str:
        try:
            return next(looks)
        except StopIteration:
            clock.sleep(60)
            raise errors.AnswerLost("no answer in time") from None

    with pytest.raises(errors.WaitTimeout, match="it did not stop within 5 s, it is still active: wait"):
        wait_for(look, lambda state: state == "stopped", Deadline(5, clock), str, "it did not stop", "wait")
    with pytest.raises(errors.AnswerLost):
        wait_for(look, lambda state: state == "stopped", Deadline(5, clock), str, "it did not stop", "wait")


def imaging(*polls: dict[str, str]) -> Iterator[script.Action]:
    for poll in polls:
        lines = [f"{key} {value}" for key, value in {"drive": "d", **poll}.items()]
        yield says(200, text="\n".join(lines))


def test_imaging_has_ended_only_when_two_looks_say_so(client: ElasticHosts, scripted: Relay, clock: FakeClock) -> None:
    busy = {"imaging": "43%", "claimed": "x"}
    for action in imaging(busy, {}, busy, {"claimed": "x"}, {}, {"imaging": "false"}):
        scripted.on("GET /drives/.*", action, times=1)
    assert isinstance(wait_imaged(client, "d", Deadline(60, clock)), Drive)
    assert len(scripted.calls) == 6


def test_imaging_that_takes_too_long_names_its_progress(
    client: ElasticHosts, scripted: Relay, clock: FakeClock
) -> None:
    scripted.on("GET /drives/.*", next(imaging({"imaging": "43%"})))
    with pytest.raises(errors.WaitTimeout, match="imaging \\(43%\\)"):
        wait_imaged(client, "d", Deadline(30, clock))


# Any wish, on both platforms


@pytest.fixture(scope="module", params=["new", "old"])
def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp(request.param)
    with Endpoint(folder, "--platform", request.param, "--acpi-delay", "0") as running:
        yield running


wishes = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["web", "db one", "caf\u00e9", "a\nb"]),
        "cpu": st.sampled_from(["500", "0500", "2000"]),
        "mem": st.sampled_from(["512", "1024"]),
        "smp": st.sampled_from(["auto", "2"]),
        "persistent": st.sampled_from(["true", "false", None]),
        "tags": st.sampled_from(["a b", "b a", "c", None]),
        "nic:0:model": st.sampled_from(["e1000", "virtio"]),
        "nic:0:dhcp": st.just("auto"),
        "vnc": st.just("auto"),
        "vnc:password": st.sampled_from(["Xx12yy34", "other"]),
        "user:x": st.sampled_from(["1", "two words", None]),
    },
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(wishes, st.sampled_from(["present", "started", "stopped"])), min_size=1, max_size=3))
def test_any_wish_once_reached_is_reached(platform: Endpoint, wanted: list[tuple[dict[str, str | None], str]]) -> None:
    deadline = Deadline(60, Clock())
    with ElasticHosts(platform.url, platform.auth) as client:
        server: Server | None = None
        for wish, state in wanted:
            desired = {"cpu": "500", "mem": "512", **wish}
            if "old" in platform.arguments:
                # While active, an old platform shows what `auto` came to: a number given there looks just the same.
                desired["smp"] = "auto"
            try:
                server = reach(client, desired, state, server, deadline)
            except errors.Refused as refusal:
                assert "not persistent" in str(refusal)
                break
            if server is None:
                break
            found = client.servers.get(server.uuid)
            assert not plan_server(desired, state, found).changed
            server = found
        for left in client.servers.info():
            client.servers.destroy(left.uuid)
