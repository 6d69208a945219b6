# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections of strangers: how many, for how long, and that they keep nobody out."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.endpoint import SOURCES, Endpoint
from tests.unit.elastichosts.scripted import Authority
from tests.unit.endpoint.conftest import Control, Wire, basic, eventually, peak_memory

HALF_A_HEAD = b"GET /servers/list HTTP/1.1\r\nHost: x\r\n"


def descriptors(number: int) -> tuple[str, ...]:
    """Return words before a command, so that its process has so many descriptors and cannot raise the limit."""
    return "sh", "-c", f'ulimit -n {number} && exec "$@"', "sh"


@pytest.fixture
def attack() -> Iterator[Callable[..., list[socket.socket]]]:
    """Opens connections that send what they are given, and nothing more; they are closed after the test."""
    opened: list[socket.socket] = []

    def open_connections(
        endpoint: Endpoint, number: int, sent: bytes = b"", source: str = "127.0.0.1", port: int = 0
    ) -> list[socket.socket]:
        for _number in range(number):
            connection = socket.create_connection(("127.0.0.1", port or endpoint.port), 60, (source, 0))
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
    running = Endpoint(tmp_path / "state", before=descriptors(256))
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
    running = Endpoint(tmp_path / "state", *files, before=descriptors(256))
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


def test_sources_with_many_connections_close_none_of_a_source_with_few(
    tmp_path: Path, attack: Callable[..., list[socket.socket]], connect: Callable[..., Wire]
) -> None:
    running = Endpoint(tmp_path / "state", before=descriptors(64))
    with running:
        early = connect(running)
        [slow] = attack(running, 1, HALF_A_HEAD)
        for source in ("127.0.0.2", "127.0.0.3"):
            attack(running, 20, source=source)
        assert eventually(lambda: "too many connections" in running.log.read_text())
        assert answers(running)
        slow.sendall(f"Authorization: {early.headers['Authorization']}\r\n\r\n".encode())
        assert begins(slow) == b"HTTP/1.1 200"


def test_connections_to_the_control_port_keep_nobody_out(
    tmp_path: Path, attack: Callable[..., list[socket.socket]]
) -> None:
    running = Endpoint(tmp_path / "state", "--control", "127.0.0.1:0", "--auth-timeout", "1", before=descriptors(64))
    with running, Control(running) as early:
        assert early.offset == 0
        [idle] = attack(running, 100, port=urlsplit(running.control).port)[-1:]
        assert answers(running)
        assert closed(idle)
        assert early.offset == 0
        assert "Traceback" not in running.log.read_text()


def test_a_later_head_that_is_not_completed_ends_a_connection_too(
    tmp_path: Path, attack: Callable[..., list[socket.socket]], connect: Callable[..., Wire]
) -> None:
    """As when a client is cut off from the network in the middle of a head."""
    with Endpoint(tmp_path / "state", "--keep-alive-timeout", "1") as running:
        whole = f"{HALF_A_HEAD.decode()}Authorization: {connect(running).headers['Authorization']}\r\n\r\n".encode()
        [connection] = attack(running, 1, whole)
        assert begins(connection) == b"HTTP/1.1 200"
        connection.sendall(HALF_A_HEAD)
        assert closed(connection)


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
    running = Endpoint(tmp_path / "state", before=descriptors(64))
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
