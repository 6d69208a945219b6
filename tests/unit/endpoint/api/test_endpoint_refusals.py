# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Authentication, isolation, wrong paths and methods, and bodies of any kind: documented errors, state untouched."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.endpoint import KEY, USER, Endpoint
from tests.unit.endpoint.conftest import Wire, basic, eventually

SOURCES = (f"127.0.1.{number}" for number in itertools.count(1))
"""Addresses for connections with a wrong key: the answers to many from one address wait."""
OTHER = "99999999-2222-4333-8444-555555555555"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """An endpoint with two accounts."""
    with Endpoint(tmp_path_factory.mktemp("shared"), "--auth", f"{OTHER}:other:key") as running:
        yield running


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic(f"{USER}:wrong"),
        basic(f"{USER}:"),
        basic(f"{USER}"),
        basic(f"{OTHER}:{KEY}"),
        basic(f"nobody:{KEY}"),
        basic(":"),
        {"Authorization": "Basic"},
        {"Authorization": "Basic %%%"},
        {"Authorization": "Basic /////w=="},
        {"Authorization": f"Bearer {KEY}"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/drives/list"), ("GET", "/no/such/call"), ("DELETE", "/drives/list"), ("POST", "/drives/create")],
)
def test_without_the_right_key_everything_is_401(
    endpoint: Endpoint, headers: dict[str, str], method: str, path: str
) -> None:
    with Wire(endpoint, source=next(SOURCES)) as wire:
        wire.headers = headers
        answer = wire.send(method, path, b"\xff" * 10)
    assert answer.error == (401, "auth")
    assert answer.headers["www-authenticate"] == 'Basic realm="ElasticHosts API"'
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.endswith("Basic\n")


def test_a_401_does_not_wait_for_the_body(endpoint: Endpoint) -> None:
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=10) as connection:
        connection.sendall(b"POST /drives/create HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 401"


def test_the_user_is_known_in_either_case_and_a_key_may_hold_colons(
    shared: Endpoint, connect: Callable[..., Wire]
) -> None:
    assert connect(shared, f"{USER.upper()}:{KEY}").text("/drives/list").status == 200
    assert connect(shared, f"{OTHER}:other:key").text("/drives/list").status == 200


def test_accounts_see_nothing_of_each_other(shared: Endpoint, connect: Callable[..., Wire]) -> None:
    mine, theirs = connect(shared), connect(shared, f"{OTHER}:other:key")
    drive, free = mine.drive(), mine.drive()
    server = mine.server(ide__0__0=drive, persistent="true")
    address = mine.json("/resources/ip/create", {"name": "a"}).json["resource"]
    for call in ("/drives/list", "/drives/info", "/servers/list", "/servers/info", "/resources/list"):
        assert theirs.json(call).json == []
    calls = {
        f"/drives/{drive}": ("info", "set", "destroy", "read/0/1", "write/0"),
        f"/servers/{server}": ("info", "set", "start", "stop", "shutdown", "reset", "destroy"),
        f"/resources/ip/{address}": ("info", "set", "destroy"),
    }
    for path, verbs in calls.items():
        for verb in verbs:
            assert theirs.text(f"{path}/{verb}", "name x").error == (404, "missing"), (path, verb)
    assert theirs.json("/servers/create", {"cpu": 500, "mem": 500, "ide:0:0": free}).error == (404, "missing")
    assert theirs.json("/servers/create", {"cpu": 500, "mem": 500, "nic:0:dhcp": address}).error == (404, "missing")
    assert mine.json(f"/servers/{server}/info").json["status"] == "active"


def test_a_reader_of_another_account_may_read_and_no_more(shared: Endpoint, connect: Callable[..., Wire]) -> None:
    mine, theirs = connect(shared), connect(shared, f"{OTHER}:other:key")
    drive = mine.drive(readers=OTHER)
    mine.send("POST", f"/drives/{drive}/write", b"public")
    assert theirs.send("GET", f"/drives/{drive}/read/0/6").content == b"public"
    assert theirs.json(f"/drives/{drive}/info").json["user"] == USER
    assert theirs.json("/drives/list").json == []
    for verb in ("set", "destroy", "write"):
        assert theirs.text(f"/drives/{drive}/{verb}", "name x").error == (404, "missing")


CHANGING = (
    "/drives/create",
    "/drives/X/set",
    "/drives/X/destroy",
    "/drives/X/write",
    "/drives/X/write/0",
    "/drives/X/image/X",
    "/drives/X/image/X/gunzip",
    "/drives/X/image/X/gzip",
    "/drives/X/clone",
    "/drives/X/clone/gunzip",
    "/folders/X/clone",
    "/folders/X/set",
    "/folders/X/destroy",
    "/servers/create",
    "/servers/create/stopped",
    "/servers/X/set",
    "/servers/X/start",
    "/servers/X/stop",
    "/servers/X/shutdown",
    "/servers/X/reset",
    "/servers/X/destroy",
    "/resources/ip/create",
    "/resources/ip/X/set",
    "/resources/ip/X/destroy",
)


@pytest.mark.parametrize("path", CHANGING)
def test_get_on_a_call_that_changes_is_405(wire: Wire, path: str) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        assert wire.send(method, path.replace("X", USER)).error == (405, "method")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_read_call_takes_get_and_post_only(wire: Wire, method: str) -> None:
    assert wire.send(method, "/servers/info").error == (405, "method")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/drives",
        "/profile/info",
        "/hosts/info/full",
        "/drives/../servers/list",
        "/drives/..%2f..%2fstate.sqlite/info",
        "/drives/%00/info",
        "/drives/%ff%fe/info",
        "/drives/not-a-uuid/info",
        "/drives/00000000-0000-4000-8000-000000000000/info",
        "/drives/" + "a" * 20_000 + "/info",
        "/drives/list/more",
        "/servers/create/started",
    ],
)
def test_what_does_not_exist_is_404(wire: Wire, path: str) -> None:
    answer = wire.send("POST", path)
    assert answer.error == (404, "missing")
    assert len(answer.content) < 300


@pytest.mark.parametrize(
    "path", ["drives/X/info", "servers/X/info", "folders/X/info", "resources/ip/X/info", "resources/X/list", "X"]
)
def test_a_404_holds_no_control_characters(wire: Wire, path: str) -> None:
    """A terminal would obey them."""
    answer = wire.send("POST", "/" + path.replace("X", "%1b%5b31m%07%00%7f%c2%9b%e2%80%ae%0d%0a%ff"))
    assert answer.error == (404, "missing")
    assert answer.text.endswith("\n") and answer.text[:-1].isprintable()
    assert "\\x1b[31m\\x07\\x00\\x7f\\x9b\\u202e" in answer.text


@pytest.mark.parametrize("path", ["/drives/create", "/drives/D/set", "/drives/D/write/0", "/servers/create"])
def test_a_multipart_body_is_refused(wire: Wire, things: tuple[str, str], path: str) -> None:
    """Its envelope is neither properties nor bytes of a drive."""
    part = "--b\r\nContent-Disposition: form-data; name=size\r\n\r\n4M\r\n--b--\r\n"
    answer = wire.send("POST", path.replace("D", things[0]), part, Content_Type="Multipart/Form-Data; boundary=b")
    assert answer.error == (400, "usage")
    assert "invalid Content-Type" in answer.text and "multipart" in answer.text
    assert wire.send("GET", f"/drives/{things[0]}/read/0/2").content == b"\0\0"


def test_the_case_of_headers_matters_in_no_request_and_is_the_documented_one_in_answers(wire: Wire) -> None:
    """Scripts look for `X-Elastic-Error:` as it is documented (elastichosts-api 1.6)."""
    body = json.dumps({"size": "4M"}).encode()
    names = b"POST /drives/create HTTP/1.1\r\nhOST: x\r\naUTHORIZATION: bASIC %s\r\ncONTENT-tYPE: APPLICATION/JSON\r\n"
    given = names % wire.headers["Authorization"].split()[1].encode()
    given += b"aCCEPT: Application/JSON\r\ncONNECTION: close\r\ncONTENT-lENGTH: %d\r\n\r\n" % len(body)
    made = raw(wire.endpoint, given + body)
    assert made.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nX-Elastic-Output: properties\r\n" in made and b"\r\nContent-Type: application/json\r\n" in made
    stranger = raw(wire.endpoint, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    for line in (b"X-Elastic-Error: auth", b"WWW-Authenticate: Basic", b"Content-Length: "):
        assert b"\r\n" + line in stranger


def raw(endpoint: Endpoint, request: bytes) -> bytes:
    """Send bytes, and return all that comes until the endpoint closes the connection."""
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=20) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_uuids_are_known_in_either_case(wire: Wire) -> None:
    drive = wire.drive()
    assert wire.json(f"/drives/{drive.upper()}/info").json["drive"] == drive


def test_doubled_and_trailing_slashes_are_of_no_account(wire: Wire) -> None:
    assert wire.send("GET", "//drives//list/").status == 200


BAD_DRIVES = [
    {},
    {"name": "x"},
    {"size": ""},
    {"size": "0"},
    {"size": "-1"},
    {"size": "3T"},
    {"size": "9" * 40},
    {"size": "1X"},
    {"size": "4M", "tier": "tape"},
    {"size": "4M", "claim:type": "greedy"},
    {"size": "4M", "encryption:cipher": "rot13"},
    {"size": "4M", "readers": "everyone"},
    {"size": "4M", "avoid": "x"},
    {"size": "4M", "colour": "red"},
    {"size": "4M", "user:\u0007": "x"},
    {"size": "4M", **{f"user:{number}": "x" for number in range(1000)}},
]


@pytest.mark.parametrize("body", BAD_DRIVES, ids=lambda body: json.dumps(body)[:40])
def test_a_bad_drive_is_refused_and_leaves_no_file(wire: Wire, body: dict[str, str]) -> None:
    before = sorted(path.name for path in (wire.endpoint.state / "drives").iterdir())
    answer = wire.json("/drives/create", body)
    assert answer.error == (400, "usage")
    assert "invalid" in answer.text or "negative" in answer.text
    assert answer.text.count("\n") == 1
    assert sorted(path.name for path in (wire.endpoint.state / "drives").iterdir()) == before


def test_tier_and_cipher_stay_as_they_were_created(wire: Wire) -> None:
    drive = wire.drive(tier="ssd")
    for body in ({"tier": "disk"}, {"encryption:cipher": "none"}, {"avoid": drive}, {"size": None}, {"size": "-1"}):
        answer = wire.json(f"/drives/{drive}/set", body)
        assert answer.error == (400, "usage")
        assert drive in answer.text
    assert wire.json(f"/drives/{drive}/set", {"tier": "ssd"}).status == 200


def test_an_object_cannot_grow_without_end(wire: Wire) -> None:
    drive = wire.drive()
    for part in range(2):
        body = {f"user:{part}-{number}": "x" for number in range(400)}
        answer = wire.json(f"/drives/{drive}/set", body)
    assert answer.error == (400, "usage")
    assert len(wire.json(f"/drives/{drive}/info").json) < 450


@pytest.mark.parametrize(
    "body", [{"user:a": "x" * 65_536}, {"user:a": "\U0001f600" * 10_000}, {"readers": f"{OTHER} " * 3400}]
)
def test_the_keys_and_values_of_an_object_have_a_size(wire: Wire, body: dict[str, str]) -> None:
    drive = wire.drive(**{"user:b": "x" * 65_536})
    before = wire.json(f"/drives/{drive}/info").json
    answer = wire.json(f"/drives/{drive}/set", body)
    assert answer.error == (400, "usage")
    assert "131072 bytes" in answer.text
    assert wire.json(f"/drives/{drive}/info").json == before
    assert wire.json("/drives/create", {"size": "4M", **body, "user:b": "x" * 65_536}).error == (400, "usage")


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(wire: Wire) -> None:
    assert wire.send("POST", "/drives/create", b"x" * (2 << 20)).error == (400, "usage")
    assert wire.send("GET", "/drives/list").status == 200


def test_a_chunked_body_is_limited_too_and_no_way_to_write(endpoint: Endpoint, wire: Wire) -> None:
    drive = wire.drive()
    for path in ("/drives/create", f"/drives/{drive}/write"):
        connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=10)
        pieces = iter([b"x" * 65536] * 20)
        connection.request("POST", path, pieces, basic(endpoint.auth), encode_chunked=True)
        response = connection.getresponse()
        assert (response.status, response.getheader("X-Elastic-Error")) == (400, "usage")
        connection.close()


def test_a_second_writer_is_busy_until_the_first_is_done_or_gone(endpoint: Endpoint, wire: Wire) -> None:
    drive = wire.drive()
    head = [f"POST /drives/{drive}/write HTTP/1.1", "Host: x", "Content-Length: 4000000"]
    head += [f"{name}: {value}" for name, value in basic(endpoint.auth).items()]
    # An image that does not fit is refused either way, and tells whether somebody writes.
    probe = f"/drives/{drive}/image/62f512cd-82c7-498e-88d8-a09ac2ef20e7/gunzip"
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=10) as first:
        first.sendall("\r\n".join([*head, "", ""]).encode() + b"x" * 100_000)
        eventually(lambda: wire.send("POST", probe).error == (409, "busy"))
        assert wire.send("POST", f"/drives/{drive}/write/8000000", b"y").error == (409, "busy")
        assert wire.send("POST", f"/drives/{drive}/destroy").error == (409, "busy")
        assert wire.json(f"/drives/{drive}/set", {"size": "4M"}).error == (409, "busy")
        assert wire.json("/servers/create", {"cpu": 500, "mem": 500, "ide:0:0": drive}).error == (409, "busy")
    eventually(lambda: wire.send("POST", probe).error == (507, "full"))
    assert wire.send("POST", f"/drives/{drive}/write/8000000", b"y").status == 204
    assert wire.send("POST", f"/drives/{drive}/destroy").status == 204


DOCUMENTED = {200, 204, 400, 404, 405, 409, 507}
PATHS = [path for path in CHANGING if "X" not in path] + [
    "/drives/D/set",
    "/drives/D/write/5",
    "/drives/D/clone",
    "/servers/S/set",
    "/resources/ip/create",
    "/folders/f1804000-0000-4000-8000-000000000001/clone",
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=150)
@given(
    body=st.binary(max_size=300),
    path=st.sampled_from(PATHS),
    as_json=st.booleans(),
    encoding=st.sampled_from(["", "gzip"]),
)
def test_any_bytes_as_a_body_get_a_documented_answer(
    wire: Wire, things: tuple[str, str], body: bytes, path: str, as_json: bool, encoding: str
) -> None:
    path = path.replace("D", things[0]).replace("S", things[1])
    content_type = "application/json" if as_json else "text/plain"
    answer = wire.send("POST", path, body, content_type=content_type, content_encoding=encoding)
    assert answer.status in DOCUMENTED


KEYS = st.sampled_from(
    ["name", "cpu", "mem", "size", "ide:0:0", "boot", "smp", "tags", "persistent", "nic:0:dhcp", "user:x"]
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text(), max_size=3))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=150)
@given(body=st.dictionaries(KEYS, SCALARS, max_size=6), path=st.sampled_from(PATHS))
def test_any_json_object_gets_a_documented_answer(
    wire: Wire, things: tuple[str, str], body: dict[str, object], path: str
) -> None:
    path = path.replace("D", things[0]).replace("S", things[1])
    answer = wire.send("POST", path, json.dumps(body), content_type="application/json")
    assert answer.status in DOCUMENTED
    assert wire.json("/drives/info").status == wire.json("/servers/info").status == 200


@pytest.fixture(scope="module")
def things(endpoint: Endpoint) -> tuple[str, str]:
    with Wire(endpoint) as wire:
        return wire.drive(), wire.server("create/stopped")
