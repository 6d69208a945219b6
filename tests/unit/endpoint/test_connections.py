# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections of strangers: how many, for how long, and that they keep nobody out."""

from __future__ import annotations

import contextlib
import http.client
import resource
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.endpoint import SOURCES, Endpoint
from tests.unit.elastichosts.scripted import Authority
from tests.unit.endpoint.conftest import Wire, basic, eventually, peak_memory

HALF_A_HEAD = b"GET /servers/list HTTP/1.1\r\nHost: x\r\n"


@contextlib.contextmanager
def descriptors(number: int) -> Iterator[None]:
    """Processes that are started in this block may have so many descriptors."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def attack() -> Iterator[Callable[..., list[socket.socket]]]:
    """Opens connections that send what they are given, and nothing more; they are closed after the test."""
    opened: list[socket.socket] = []

    def open_connections(endpoint: Endpoint, number: int, sent: bytes = b"") -> list[socket.socket]:
        for _number in range(number):
            connection = socket.create_connection(("127.0.0.1", endpoint.port), timeout=60)
            opened.append(connection)
            with contextlib.suppress(OSError):  # closed already
                connection.sendall(sent)
        return opened[-number:]

    yield open_connections
    for one in opened:
        one.close()


def closed(connection: socket.socket) -> bool:
    """Wait until the endpoint has closed a connection, whatever it sent before."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize("sent", [b"", HALF_A_HEAD], ids=["idle", "half a head"])
def test_connections_of_strangers_keep_nobody_out(
    tmp_path: Path, attack: Callable[..., list[socket.socket]], connect: Callable[..., Wire], sent: bytes
) -> None:
    with descriptors(256):
        running = Endpoint(tmp_path / "state")
    with running:
        early = connect(running)
        assert early.text("/servers/list").status == 200
        memory = peak_memory(running.pid)
        attack(running, 600, sent)
        for _number in range(20):
            assert connect(running).text("/servers/list").status == 200
        assert early.text("/servers/list").status == 200
        assert len(list(Path(f"/proc/{running.pid}/fd").iterdir())) < 200
        assert peak_memory(running.pid) - memory < 64 << 20
        log = running.log.read_text()
        assert "Traceback" not in log
        assert len([line for line in log.splitlines() if "without a valid key" in line]) == 1
        assert len(log) < 10_000


def test_connections_that_do_not_finish_the_tls_handshake_keep_nobody_out(
    tmp_path: Path, attack: Callable[..., list[socket.socket]]
) -> None:
    authority = Authority(tmp_path)
    files = ("--tls-cert", str(authority.certificate), "--tls-key", str(tmp_path / "key.pem"))
    with descriptors(256):
        running = Endpoint(tmp_path / "state", *files)
    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    with running:
        attack(running, 600)
        for _number in range(5):
            connection = http.client.HTTPSConnection("127.0.0.1", running.port, timeout=60, context=trusting)
            connection.request("GET", "/servers/list", headers=basic(running.auth))
            assert connection.getresponse().status == 200
            connection.close()
        assert len(list(Path(f"/proc/{running.pid}/fd").iterdir())) < 200
        assert "Traceback" not in running.log.read_text()


def test_256_connections_of_one_address_may_wait_with_their_first_request(
    endpoint: Endpoint, wire: Wire, attack: Callable[..., list[socket.socket]]
) -> None:
    waiting = attack(endpoint, 256, HALF_A_HEAD)
    rest = f"Authorization: {wire.headers['Authorization']}\r\n\r\n".encode()
    for connection in waiting:
        connection.sendall(rest)
    for connection in waiting:
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_a_connection_has_some_seconds_for_a_valid_key_and_afterwards_all_the_time(
    tmp_path: Path, attack: Callable[..., list[socket.socket]], connect: Callable[..., Wire]
) -> None:
    with Endpoint(tmp_path / "state", "--auth-timeout", "0.5") as running:
        early = connect(running)
        assert early.text("/servers/list").status == 200
        address = early.socket_address
        for sent in (b"", HALF_A_HEAD, HALF_A_HEAD + b"\r\n"):
            [connection] = attack(running, 1, sent)
            assert closed(connection)
        assert early.text("/servers/list").status == 200
        assert early.socket_address == address


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_the_addresses_of_one_ipv6_network_are_one_source(host: str, source: str) -> None:
    sys.path.insert(0, str(SOURCES))
    from eh_endpoint.connections import source_of

    assert source_of(host) == source


def test_no_descriptor_left_is_one_line_in_the_log(
    tmp_path: Path, attack: Callable[..., list[socket.socket]], connect: Callable[..., Wire]
) -> None:
    with descriptors(64):
        running = Endpoint(tmp_path / "state")
    with running:
        early = connect(running)
        assert early.text("/servers/list").status == 200
        whole = f"{HALF_A_HEAD.decode()}Authorization: {early.headers['Authorization']}\r\n\r\n".encode()
        connections = attack(running, 200, whole)
        assert {begins(connection) for connection in connections} == {b"HTTP/1.1 200", b""}
        assert early.text("/servers/list").status == 200
        log = running.log.read_text()
        assert "Traceback" not in log
        assert len([line for line in log.splitlines() if "file descriptor" in line]) == 1
        for connection in connections:
            connection.close()
        assert eventually(lambda: answers(running))


def begins(connection: socket.socket) -> bytes:
    """Return the beginning of an answer, nothing if the endpoint has closed the connection."""
    try:
        return connection.recv(12)
    except ConnectionResetError:
        return b""


def answers(endpoint: Endpoint) -> bool:
    try:
        with Wire(endpoint) as wire:
            return wire.text("/servers/list").status == 200
    except OSError:
        return False
