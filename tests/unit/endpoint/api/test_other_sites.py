# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a browser sends for pages of other sites is refused, with the right key too; its own pages go on working.

The headers of each case are those that browsers send (Fetch, "append a request Origin header"; Fetch Metadata).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.endpoint import Endpoint
from tests.unit.endpoint.conftest import Control, Wire, basic

EVIL = "https://evil.example"
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """An endpoint behind a proxy that ends TLS."""
    with Endpoint(tmp_path_factory.mktemp("proxied"), "--origin", "https://Zone.example.org") as running:
        yield running


@pytest.fixture
def at(endpoint: Endpoint) -> str:
    """The host and port of the endpoint, as a browser has them."""
    return f"127.0.0.1:{endpoint.port}"


FOREIGN = [
    pytest.param({"Origin": EVIL, "Sec-Fetch-Site": "cross-site", **NAVIGATION}, id="form of another site"),
    pytest.param({"Origin": EVIL}, id="the same by plain HTTP, where browsers send no Sec-Fetch-Site"),
    pytest.param({"Origin": "null", "Sec-Fetch-Site": "cross-site", **NAVIGATION}, id="form in a sandboxed frame"),
    pytest.param({"Origin": "null"}, id="the same by plain HTTP"),
    pytest.param({"Sec-Fetch-Site": "cross-site"}, id="image of another site"),
    pytest.param({"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"}, id="another port of this host"),
    pytest.param({"Sec-Fetch-Site": "none", "Origin": EVIL}, id="extension of the browser"),
    pytest.param({"Sec-Fetch-Site": "something new"}, id="unknown word"),
    pytest.param({"Origin": "http://[::1"}, id="malformed"),
    pytest.param({"Origin": ""}, id="empty"),
    pytest.param({"Origin": "http://evil.example \u00ff\u0080"}, id="not ASCII"),
    pytest.param({"Origin": "https://{at}"}, id="another scheme"),
    pytest.param({"Origin": "http://{at}.evil.example"}, id="begins like the host"),
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("auth", [True, False])
def test_a_page_of_another_site_is_refused_before_anything_else(
    wire: Wire, at: str, headers: dict[str, str], auth: bool
) -> None:
    """A text/plain form `name=x` posts as a body that this API would take: no preflight protects it."""
    headers = {"Authorization": wire.headers["Authorization"] if auth else "", "Content-Type": "text/plain", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).replace("{at}", at)
    before = wire.send("GET", "/drives/list").text
    for target in ("POST /drives/create", "GET /servers/info", "OPTIONS /drives/create", "GET /no/such/call"):
        with socket.create_connection(("127.0.0.1", wire.endpoint.port), timeout=20) as connection:
            head = f"{target} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n{lines}Content-Length: 7\r\n\r\n"
            connection.sendall(head.encode("latin-1") + b"size 4M")
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        assert answer.startswith("HTTP/1.1 403 "), (target, answer)
        assert "x-elastic-error: auth" in answer.lower() and "access-control" not in answer.lower()
        body = answer.partition("\r\n\r\n")[2]
        assert body.startswith(("Origin is ", "Sec-Fetch-Site is ")) and body.count("\n") == 1
        assert "--origin" in body and body.isascii()
    assert wire.send("GET", "/drives/list").text == before


def test_what_is_refused_takes_no_fault_rule_and_is_logged(tmp_path: Path) -> None:
    with (
        Endpoint(tmp_path / "state", "--control", "127.0.0.1:0") as endpoint,
        Wire(endpoint) as wire,
        Control(endpoint) as control,
    ):
        control.rules({"fault": "status", "status": 500})
        assert wire.send("GET", "/drives/list", Origin=EVIL).status == 403
        (record,) = control.requests()
        assert (record["path"], record["status"], record["account"]) == ("/drives/list", 403, None)


OWN = [
    pytest.param({}, id="no browser"),
    pytest.param({"Sec-Fetch-Site": "none", **NAVIGATION}, id="address typed by a person"),
    pytest.param({"Sec-Fetch-Site": "same-origin", "Origin": "http://{at}"}, id="form or script of the own page"),
    pytest.param({"Origin": "http://{at}"}, id="the same where browsers send no Sec-Fetch-Site"),
    pytest.param({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, id="form of a page without a referrer"),
    pytest.param({"Sec-Fetch-Site": "same-origin"}, id="style, script or refresh of the own page"),
]


@pytest.mark.parametrize("headers", OWN)
def test_the_own_page_and_clients_pass(wire: Wire, at: str, headers: dict[str, str]) -> None:
    given = {name: value.replace("{at}", at) for name, value in headers.items()}
    assert wire.send("GET", "/", **given).status == 200
    assert wire.send("GET", "/live.js", **given).status == 200
    assert wire.send("POST", "/drives/create", "size 4M", **given).status == 200
    # Browsers leave the default port out, and write names in lower case.
    assert wire.send("GET", "/", Host="ZONE.example:80", Origin="http://zone.example").status == 200


def test_a_link_of_another_site_shows_the_page_and_calls_nothing(wire: Wire) -> None:
    """Nothing changes by it, the other site cannot read it, and frames are forbidden by the page's own policy."""
    link = {"Sec-Fetch-Site": "cross-site", **NAVIGATION}
    page = wire.send("GET", "/", **link)
    assert page.status == 200
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    for method, path in (("GET", "/servers/info"), ("GET", "/live.js"), ("POST", "/"), ("POST", "/servers/create")):
        assert wire.send(method, path, **link).error == (403, "auth"), path
    for other in ({"Sec-Fetch-Mode": "no-cors"}, {"Sec-Fetch-Dest": "iframe"}):
        assert wire.send("GET", "/", **{**link, **other}).error == (403, "auth")


def test_behind_a_proxy_the_origin_is_what_the_option_says(proxied: Endpoint, connect: Callable[..., Wire]) -> None:
    wire = connect(proxied)
    for host in ("backend:8099", "zone.example.org"):
        assert wire.send("POST", "/drives/list", Host=host, Origin="https://zone.example.org").status == 200
        assert wire.send("POST", "/drives/list", Host=host, Origin="https://zone.example.org:443").status == 200
        assert wire.send("POST", "/drives/list", Host=host, Origin=f"http://{host}").error == (403, "auth")


def test_the_key_is_needed_all_the_same(wire: Wire, at: str) -> None:
    wire.headers = basic("nobody:x")
    assert wire.send("GET", "/", Origin=f"http://{at}", Sec_Fetch_Site="same-origin").error == (401, "auth")
