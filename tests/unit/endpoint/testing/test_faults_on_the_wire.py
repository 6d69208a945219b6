# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of fault, what it matches and how often it acts, as a client meets it on the wire."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eh_endpoint.testing.clock import SystemClock
from eh_endpoint.testing.fault_rules import KINDS, BadFaultRules, FaultRules, PathPattern
from tests.support.endpoint import USER, Endpoint
from tests.unit.endpoint.conftest import Control, Wire, basic

OTHER = "99999999-2222-4333-8444-555555555555"


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    arguments = ("--control", "127.0.0.1:0", "--auth", f"{OTHER}:other", "--acpi-delay", "0")
    with Endpoint(tmp_path_factory.mktemp("faulty"), *arguments) as running:
        yield running


@pytest.fixture
def control(faulty: Endpoint) -> Iterator[Control]:
    with Control(faulty) as control:
        yield control
        control.rules()


@pytest.fixture
def calls(faulty: Endpoint) -> Iterator[Wire]:
    with Wire(faulty) as wire:
        yield wire


def names(wire: Wire) -> list[str]:
    return [server["name"] for server in wire.json("/servers/info").json]


GOOD = {"cpu": 500, "mem": 500, "persistent": "true"}


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
def test_status_answers_in_the_calls_place_before_or_after_its_effect(
    control: Control, calls: Wire, when: str, there: bool
) -> None:
    rule = {"path": "/servers/create", "fault": "status", "status": 500, "error": "failed", "when": when}
    control.rules({**rule, "message": "no such luck"})
    answer = calls.json("/servers/create", {**GOOD, "name": f"status {when}"})
    assert answer.error == (500, "failed")
    assert answer.text == "no such luck\n"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert (f"status {when}" in names(calls)) == there


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
def test_reset_ends_the_connection_before_or_after_the_effect(
    control: Control, faulty: Endpoint, calls: Wire, when: str, there: bool
) -> None:
    control.rules({"path": "/servers/create", "fault": "reset", "when": when})
    with Wire(faulty) as wire, pytest.raises(ConnectionResetError):
        wire.json("/servers/create", {**GOOD, "name": f"reset {when}"})
    assert (f"reset {when}" in names(calls)) == there


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
def test_timeout_never_answers(control: Control, faulty: Endpoint, calls: Wire, when: str, there: bool) -> None:
    control.rules({"path": "/servers/create/stopped", "fault": "timeout", "when": when})
    with Wire(faulty) as wire:
        wire.timeout(0.2)
        with pytest.raises(TimeoutError):
            wire.json("/servers/create/stopped", {**GOOD, "name": f"timeout {when}"})
    assert (f"timeout {when}" in names(calls)) == there


def test_a_timeout_can_be_bounded(control: Control, faulty: Endpoint) -> None:
    control.rules({"fault": "timeout", "seconds": 0.05})
    with Wire(faulty) as wire, pytest.raises(ConnectionResetError):
        wire.json("/servers/list")


@pytest.mark.parametrize("path", ["/drives/info/standard", "/drives/X/destroy"])
def test_truncate_sends_a_part_and_closes(control: Control, faulty: Endpoint, calls: Wire, path: str) -> None:
    drive = calls.drive()
    control.rules({"fault": "truncate", "part": 0.4})
    with Wire(faulty) as wire, pytest.raises(http.client.HTTPException) as cut:
        wire.send("POST", path.replace("X", drive))
    if isinstance(cut.value, http.client.IncompleteRead):
        assert cut.value.expected is not None
        whole = len(cut.value.partial) + cut.value.expected
        assert len(cut.value.partial) == int(whole * 0.4)
    control.rules()
    assert (drive in calls.send("GET", "/drives/list").text) == ("X" not in path)


def test_drip_sends_all_of_it_slowly(control: Control, faulty: Endpoint, calls: Wire) -> None:
    whole = calls.send("GET", "/drives/info/standard").content
    control.rules({"fault": "drip", "bytes": 200, "interval": 0.001})
    with socket.create_connection(("127.0.0.1", faulty.port), timeout=10) as connection:
        head = ["GET /drives/info/standard HTTP/1.1", "Host: x", "Connection: close"]
        head += [f"{name}: {value}" for name, value in basic(faulty.auth).items()]
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        pieces = list(iter(lambda: connection.recv(1 << 20), b""))
    assert b"".join(pieces).endswith(b"\r\n\r\n" + whole)
    assert len(pieces) > 3


def test_throttle_is_a_token_bucket_with_retry_after(control: Control, calls: Wire) -> None:
    control.rules({"path": "/servers/*", "fault": "throttle", "rate": 0.5, "burst": 3})
    answers = [calls.json("/servers/list") for _number in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].headers["retry-after"] == "2"
    assert calls.json("/drives/list").status == 200
    control.advance(2)
    assert [calls.json("/servers/list").status for _number in range(2)] == [200, 429]
    control.advance(1000)
    assert [calls.json("/servers/list").status for _number in range(4)] == [200, 200, 200, 429]


def test_delay_and_jitter_wait_before_the_call(control: Control, calls: Wire) -> None:
    control.rules({"path": "/servers/list", "delay": 0.05, "jitter": 0.01}, {"path": "/**", "delay": 0.05})
    began = time.monotonic()
    assert calls.json("/servers/list").status == 200
    assert time.monotonic() - began >= 0.1
    assert control.requests()[-1]["faults"] == ["delay", "delay"]


def test_imaging_can_be_hidden_always_or_on_one_poll_in_n(tmp_path: Path) -> None:
    arguments = ("--imaging-seconds", "1000", "--control", "127.0.0.1:0")
    with Endpoint(tmp_path / "hidden", *arguments) as running, Wire(running) as wire, Control(running) as control:
        drive = wire.drive(size="1G")
        wire.json(f"/drives/{drive}/image/62f512cd-82c7-498e-88d8-a09ac2ef20e7/gunzip")
        control.rules({"path": "/drives/*/info", "fault": "hide-imaging", "every": 3})
        shown = ["imaging" in wire.json(f"/drives/{drive}/info").json for _number in range(6)]
        assert shown == [True, True, False, True, True, False]
        control.rules({"path": "/drives/**", "fault": "hide-imaging"})
        for call in (f"/drives/{drive}/info", "/drives/info"):
            assert "imaging" not in wire.text(call).text
            assert "claimed" in wire.text(call).text
        control.rules()
        assert wire.json(f"/drives/{drive}/info").json["imaging"] == "true"


def test_an_address_comes_late_by_the_clock(control: Control, calls: Wire) -> None:
    control.rules({"path": "/servers/**", "fault": "late-address", "seconds": 60})
    created = calls.json("/servers/create", {**GOOD, "name": "late", "nic:0:dhcp": "auto"}).json
    server = created["server"]
    late = {"nic:0:ip", "nic:0:dhcp:ip"}
    assert not late & set(created)
    assert not late & set(calls.json(f"/servers/{server}/info").json)
    assert not [one for one in calls.json("/servers/info").json if one["server"] == server and late & set(one)]
    control.advance(60)
    assert late <= set(calls.json(f"/servers/{server}/info").json)


def test_a_deaf_guest_stays_active_and_a_missing_one_stays_missing(control: Control, calls: Wire) -> None:
    server = calls.server(persistent="true")
    control.rules({"path": "/servers/*/shutdown", "fault": "deaf-guest", "count": 2})
    assert calls.send("POST", f"/servers/{OTHER}/shutdown").error == (404, "missing")
    assert calls.send("POST", f"/servers/{server}/shutdown").status == 204
    assert calls.json(f"/servers/{server}/info").json["status"] == "active"
    assert calls.send("POST", f"/servers/{server}/shutdown").status == 204
    assert calls.json(f"/servers/{server}/info").json["status"] == "stopped"


STATUS = {"fault": "status", "status": 503, "error": "system"}


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        ({"method": "GET"}, ["GET /servers/info", "GET /drives/list"]),
        ({"path": "/servers/info"}, ["GET /servers/info", "POST /servers/info"]),
        ({"path": "/*/list"}, ["GET /drives/list"]),
        ({"path": "/servers/**"}, ["GET /servers/info", "POST /servers/info"]),
        ({"path": "/serv*"}, []),
        ({"path": "/drives/li.t"}, []),
        ({"account": OTHER}, []),
        ({"account": USER.upper(), "path": "/d**"}, ["GET /drives/list"]),
    ],
)
def test_a_rule_matches_by_method_path_and_account(
    control: Control, calls: Wire, match: dict[str, Any], hit: list[str]
) -> None:
    control.rules({**STATUS, **match})
    asked = ["GET /servers/info", "POST /servers/info", "GET /drives/list"]
    assert [one for one in asked if calls.send(*one.split()).status == 503] == hit


def test_an_account_of_its_own_is_hit_alone(control: Control, faulty: Endpoint, calls: Wire) -> None:
    control.rules({**STATUS, "account": OTHER})
    with Wire(faulty, f"{OTHER}:other") as other:
        assert other.json("/drives/list").status == 503
    assert calls.json("/drives/list").status == 200


def test_skip_and_count_bound_a_rule_and_its_counts_can_be_read(control: Control, calls: Wire) -> None:
    control.rules({**STATUS, "skip": 2, "count": 3, "name": "third to fifth"})
    assert [calls.json("/drives/list").status for _number in range(7)] == [200, 200, 503, 503, 503, 200, 200]
    rule = control.send("GET", "faults").json["faults"][0]
    assert (rule["name"], rule["matched"], rule["acted"]) == ("third to fifth", 7, 3)


def test_chance_can_be_repeated_by_its_seed(control: Control, calls: Wire) -> None:
    def row(seed: int) -> list[int]:
        control.rules({**STATUS, "probability": 0.4}, seed=seed)
        return [calls.json("/drives/list").status for _number in range(60)]

    first = row(1)
    assert row(1) == first
    assert row(2) != first
    assert 10 < first.count(503) < 40


def test_the_first_answer_wins_and_the_rest_add_up(control: Control, calls: Wire) -> None:
    control.rules({**STATUS, "count": 1}, {**STATUS, "status": 502}, {"fault": "late-address", "seconds": 1e6})
    assert [calls.json("/drives/list").status for _number in range(2)] == [503, 502]


def test_a_wrong_key_comes_before_any_fault(control: Control, faulty: Endpoint) -> None:
    control.rules(STATUS)
    with Wire(faulty, f"{USER}:wrong") as wrong:
        assert wrong.json("/drives/list").error == (401, "auth")


def test_the_log_of_requests_tells_what_acted(control: Control, calls: Wire) -> None:
    control.send("DELETE", "requests")
    control.rules({**STATUS, "name": "mine", "path": "/servers/list"})
    calls.json("/servers/list")
    calls.json("/drives/list")
    first, second = control.requests()
    assert first.pop("seconds") >= 0
    assert first == {"method": "POST", "path": "/servers/list", "status": 503, "account": USER, "faults": ["mine"]}
    assert (second["path"], second["status"]) == ("/drives/list", 200)
    assert "faults" not in second
    after = control.send("GET", "requests").json["next"]
    calls.json("/drives/info")
    assert [one["path"] for one in control.requests(after)] == ["/drives/info"]


def test_the_clock_moves_both_ways(control: Control, calls: Wire) -> None:
    server = calls.server()
    started = calls.json(f"/servers/{server}/info").json["started"]
    before = control.offset
    control.advance(3600)
    later = calls.server()
    assert 3600 <= calls.json(f"/servers/{later}/info").json["started"] - started < 3700
    assert calls.json(f"/servers/{server}/info").json["started"] == started
    assert control.send("POST", "clock", '{"now": 1000000000}').json["now"] == pytest.approx(1e9, abs=5)
    control.advance(before - control.offset)


@pytest.mark.parametrize(
    ("method", "call", "body", "status", "words"),
    [
        ("GET", "nothing", "", 404, "/_control/faults"),
        ("PUT", "faults", "", 405, "GET, POST, DELETE"),
        ("POST", "faults", "{", 400, "not JSON"),
        ("POST", "faults", "[" * 100_000, 400, "not JSON"),
        ("POST", "faults", "x" * (2 << 20), 400, "larger"),
        ("POST", "faults", '[{"fault": "flood"}]', 400, "rule 1: fault: 'flood' is none of delay, status"),
        ("POST", "clock", '{"advance": "1"}', 400, "seconds"),
        ("POST", "clock", '{"advance": 1e300}', 400, "seconds"),
        ("POST", "clock", "[]", 400, "seconds"),
        ("GET", "requests?since=x", "", 400, "since='x' is not a number"),
    ],
)
def test_a_bad_control_call_is_a_sentence_and_changes_nothing(
    control: Control, method: str, call: str, body: str, status: int, words: str
) -> None:
    control.rules({**STATUS, "path": "/kept"})
    before = control.offset
    answer = control.send(method, call, body)
    assert answer.status == status
    assert words in answer.json["error"]
    assert control.offset == before
    assert [rule["path"] for rule in control.send("GET", "faults").json["faults"]] == ["/kept"]


def test_web_pages_cannot_reach_the_control_port(control: Control) -> None:
    assert control.send("POST", "faults", "[]", Origin="http://example.org").status == 400


def test_control_is_not_on_the_port_of_the_api(calls: Wire) -> None:
    assert calls.send("GET", "/_control/faults").error == (404, "missing")


def test_rules_come_from_a_file_as_well(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    file.write_text(json.dumps({"faults": [{**STATUS, "count": 1}], "seed": 3}))
    with Endpoint(tmp_path / "state", "--faults", str(file)) as running, Wire(running) as wire:
        assert [wire.json("/drives/list").status for _number in range(2)] == [503, 200]


BAD_RULES: list[tuple[object, str]] = [
    ("x", "a list of rules"),
    ({"rules": []}, "'rules' is unknown"),
    ({"faults": [], "seed": "x"}, "seed"),
    ([1], "rule 1: an object is expected"),
    ([{}, {"colour": "red"}], "rule 2: 'colour' is none of name, method"),
    ([{"path": "servers"}], "rule 1: path: a path that begins with /"),
    ([{"path": "/" + "*a" * 251}], "of at most 501 characters, is expected"),
    ([{"method": "get"}], "rule 1: method: a method in capitals"),
    ([{"account": "me"}], "rule 1: account: the UUID of a user"),
    ([{"probability": 2}], "rule 1: probability: a number from 0 to 1"),
    ([{"probability": True}], "rule 1: probability"),
    ([{"count": 0}], "rule 1: count: a whole number from 1"),
    ([{"delay": -1}], "rule 1: delay"),
    ([{"fault": "status", "status": 200}], "rule 1: status: an HTTP status from 400"),
    ([{"fault": "status", "status": 599}], "rule 1: status"),
    ([{"fault": "status", "error": "A b"}], "rule 1: error"),
    ([{"fault": "status", "message": "two\nlines"}], "rule 1: message"),
    ([{"fault": "reset", "when": "later"}], "rule 1: when: before or after"),
    ([{"fault": "throttle"}], "rule 1: rate: fault throttle needs it"),
    ([{"fault": "late-address"}], "rule 1: seconds"),
    ([{"fault": "drip", "bytes": 0}], "rule 1: bytes"),
]


@pytest.mark.parametrize(("document", "words"), BAD_RULES, ids=lambda value: json.dumps(value)[:50])
def test_bad_rules_are_refused_with_their_place_and_the_old_ones_stay(document: object, words: str) -> None:
    faults = FaultRules(SystemClock())
    faults.load([STATUS])
    with pytest.raises(BadFaultRules) as refused:
        faults.load(document)
    assert words in str(refused.value)
    assert len(faults.rules) == 1


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
    max_leaves=12,
)
FIELDS = sorted(
    {"fault", "path", "method", "count", "delay", *(name for kind in KINDS.values() for name in kind.fields)}
)


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), ANYTHING | st.sampled_from(sorted(KINDS)), max_size=5)))
def test_any_rules_load_or_are_refused(rules: list[dict[str, object]]) -> None:
    faults = FaultRules(SystemClock())
    try:
        faults.load(rules)
    except BadFaultRules as refused:
        assert str(refused).startswith("rule ")
    else:
        faults.judge("GET", "/servers/list", USER)


@pytest.mark.parametrize(
    "pattern", ["/" + "*a" * 240 + "b", "/" + "**a" * 160 + "b", "/" + "*a**a" * 90 + "b", "/" + "*" * 500]
)
def test_a_path_with_many_stars_holds_nobody_up(control: Control, calls: Wire, pattern: str) -> None:
    control.rules({**STATUS, "path": pattern})
    for path in ("/" + "a" * 500, "/" + "a" * 30_000, "/" + "a/" * 15_000):
        assert calls.send("GET", path).status == (503 if pattern.endswith("**") else 404)


PATTERNS = st.lists(st.sampled_from(["*", "**", "/", "a", "b", "."]), max_size=8).map(
    lambda parts: "/" + "".join(parts)
)
PATHS = st.text("/ab.\n", max_size=8).map(lambda path: f"/{path}")


@given(PATTERNS, PATHS)
def test_a_path_matches_as_a_regular_expression_of_it_does(pattern: str, path: str) -> None:
    parts = {"**": ".*", "*": "[^/]*"}
    expression = "".join(parts.get(part, re.escape(part)) for part in re.split(r"(\*\*|\*)", pattern))
    assert PathPattern(pattern).matches(path) == bool(re.fullmatch(expression, path, re.DOTALL))
