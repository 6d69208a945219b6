# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong keys are answered later and later; the right key from the same address is not."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.endpoint import SOURCES, USER, Endpoint
from tests.unit.endpoint.conftest import Wire, basic

sys.path.insert(0, str(SOURCES))

from eh_endpoint.api import wrong_keys


@pytest.fixture
def ask(fresh_endpoint: Endpoint) -> Iterator[Callable[..., socket.socket]]:
    """Sends a request on a connection of its own, and does not wait for the answer."""
    opened: list[socket.socket] = []

    def send(authorization: str, address: str = "127.0.0.1") -> socket.socket:
        connection = socket.create_connection(
            ("127.0.0.1", fresh_endpoint.port), timeout=60, source_address=(address, 0)
        )
        opened.append(connection)
        header = f"Authorization: {authorization}\r\n" if authorization else ""
        connection.sendall(f"GET /servers/list HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode())
        return connection

    yield send
    for one in opened:
        one.close()


def test_the_answer_to_a_wrong_key_waits_and_no_other(
    fresh_endpoint: Endpoint, ask: Callable[..., socket.socket], connect: Callable[..., Wire]
) -> None:
    wrong = basic(f"{USER}:wrong")["Authorization"]
    for number in range(wrong_keys.FREE):
        assert ask(wrong).recv(12) == b"HTTP/1.1 401", number
    tried = [ask(wrong) for _number in range(150)]
    late = ask(wrong)
    right = basic(fresh_endpoint.auth)["Authorization"]
    for other in (ask(right), ask("")):  # a browser asks without a key first
        assert other.recv(12) in (b"HTTP/1.1 200", b"HTTP/1.1 401")
    assert ask(wrong, "127.0.0.2").recv(12) == b"HTTP/1.1 401"
    late.setblocking(False)
    with pytest.raises(BlockingIOError):
        late.recv(12)
    late.settimeout(60)
    assert late.recv(12) == b"HTTP/1.1 401"
    assert {one.recv(12) for one in tried} == {b"HTTP/1.1 401"}


def test_a_wait_ends_with_its_connection(fresh_endpoint: Endpoint, ask: Callable[..., socket.socket]) -> None:
    """A request is logged at its end, so the log tells that nothing is kept for a client that has left."""
    wrong = basic(f"{USER}:wrong")["Authorization"]
    for one in [ask(wrong) for _number in range(200)]:
        one.close()
    assert ask(wrong).recv(12) == b"HTTP/1.1 401"
    waited = [float(line.split()[3]) / 1000 for line in fresh_endpoint.log.read_text().splitlines() if " 401 " in line]
    counted = wrong_keys.WrongKeys()
    assert sum(waited) < sum(counted.delay("", 0) for _number in range(201)) / 2


def test_a_wrong_key_for_a_console_waits_too(tmp_path: Path) -> None:
    pytest.importorskip("wsproto", reason="consoles need roles/eh_endpoint/files/requirements.txt")
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "rfb.js").touch()
    with Endpoint(tmp_path / "state", "--novnc", str(tmp_path)) as running, contextlib.ExitStack() as opened:

        def console(key: str) -> socket.socket:
            connection = socket.create_connection(("127.0.0.1", running.port), timeout=60)
            head = [f"GET /console/{USER}/socket HTTP/1.1", "Host: x", "Origin: http://x", "Upgrade: websocket"]
            head += ["Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
            head += [f"Authorization: {basic(f'{USER}:{key}')['Authorization']}", "", ""]
            connection.sendall("\r\n".join(head).encode())
            return opened.enter_context(connection)

        for _number in range(wrong_keys.FREE):
            assert console("wrong").recv(12) == b"HTTP/1.1 403"
        tried = [console("wrong") for _number in range(150)]
        late = console("wrong")
        assert console(running.key).recv(12) == b"HTTP/1.1 403"  # there is no such server
        late.setblocking(False)
        with pytest.raises(BlockingIOError):
            late.recv(12)
        for one in tried:
            one.close()
        late.settimeout(60)
        assert late.recv(12) == b"HTTP/1.1 403"
        assert "Traceback" not in running.log.read_text()


def test_the_delay_grows_to_a_limit_and_is_forgotten() -> None:
    counted = wrong_keys.WrongKeys()
    delays = [counted.delay("192.0.2.1", 0) for _number in range(200)]
    assert delays[: wrong_keys.FREE] == [0] * wrong_keys.FREE
    assert delays == sorted(delays)
    assert delays[-1] == wrong_keys.LONGEST
    assert counted.delay("192.0.2.2", 0) == 0
    assert counted.delay("192.0.2.1", wrong_keys.FORGOTTEN + 1) == 0


def test_a_limited_number_of_sources_is_remembered() -> None:
    counted = wrong_keys.WrongKeys()
    for number in range(3 * wrong_keys.SOURCES):
        counted.delay(f"source {number}", 0)
    assert len(counted._counts) == wrong_keys.SOURCES
