# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests as RFC 9112 has them and clients seldom send them."""

from __future__ import annotations

import socket

import pytest

from eh_endpoint.request_target import origin_form
from tests.support.endpoint import USER, Endpoint
from tests.unit.endpoint.conftest import Wire, basic


def exchange(endpoint: Endpoint, request: str, auth: str) -> str:
    """Send a request with a key, and return what comes until the endpoint closes the connection."""
    line, rest = request.split("\r\n", 1)
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=60) as connection:
        connection.sendall(f"{line}\r\nAuthorization: {basic(auth)['Authorization']}\r\n{rest}".encode())
        received = b""
        while piece := connection.recv(65536):
            received += piece
    return received.decode()


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/servers/list", "", 200),
        ("/servers/list", "wrong", 401),
        ("/no/such/call", "", 404),
        ("/servers/stop", "", 404),
    ],
)
def test_a_request_with_two_lengths_is_the_last_of_its_connection(
    endpoint: Endpoint, path: str, key: str, status: int
) -> None:
    """RFC 9112 6.1: whoever stands before the endpoint may see another end of the body, and another next request."""
    both = "Host: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    auth = f"{USER}:{key}" if key else endpoint.auth
    received = exchange(endpoint, f"POST {path} HTTP/1.1\r\n{both}GET /drives/list HTTP/1.1\r\nHost: x\r\n\r\n", auth)
    assert received.startswith(f"HTTP/1.1 {status} ")
    assert received.count("HTTP/1.1") == 1
    assert "connection: close" in received.lower()


@pytest.mark.parametrize(
    "target", ["http://x/servers/list", "HTTP://x:8099/servers/list?a=b", "https://y/servers/list"]
)
def test_a_target_in_absolute_form_is_taken(endpoint: Endpoint, target: str) -> None:
    received = exchange(endpoint, f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", endpoint.auth)
    assert received.startswith("HTTP/1.1 200 ")
    assert "GET /servers/list 200 " in endpoint.log.read_text()


@pytest.mark.parametrize("target", ["http://", "http:///servers/list", "ftp://x/servers/list", "x:80", "*"])
def test_a_target_of_another_form_is_no_call(endpoint: Endpoint, wire: Wire, target: str) -> None:
    received = exchange(endpoint, f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", endpoint.auth)
    assert received.startswith("HTTP/1.1 404 ")
    assert wire.send("GET", "/servers/list").status == 200


def test_the_host_of_a_target_in_absolute_form_replaces_the_header() -> None:
    headers = [(b"host", b"other"), (b"accept", b"*/*")]
    scope = {"type": "http", "path": "http://x:1/a b", "raw_path": b"http://x:1/a%20b", "headers": headers}
    changed = origin_form(scope)
    assert (changed["path"], changed["raw_path"]) == ("/a b", b"/a%20b")
    assert changed["headers"] == [(b"host", b"x:1"), (b"accept", b"*/*")]
    assert origin_form({**scope, "raw_path": b"http://x"})["path"] == "/"
    plain = {**scope, "path": "/a", "raw_path": b"/a"}
    assert origin_form(plain) is plain
