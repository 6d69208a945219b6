# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One account that keeps the endpoint busy does not make the others wait."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.endpoint import Endpoint
from tests.unit.endpoint.conftest import Wire, basic, eventually, peak_memory

OTHER = "99999999-2222-4333-8444-555555555555:other"
MIB = 1 << 20


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Endpoint]:
    """An endpoint with two accounts, which is killed at the end: nobody waits for what it still does."""
    running = Endpoint(tmp_path / "state", "--auth", OTHER)
    yield running
    running.kill()


def test_gzip_writes_of_one_account_do_not_delay_another(shared: Endpoint, connect: Callable[..., Wire]) -> None:
    body = gzip.compress(bytes(MIB)) * 1024
    ended: list[object] = []

    def write(drive: str) -> None:
        with Wire(shared) as wire:
            wire.timeout(600)
            with contextlib.suppress(OSError, http.client.HTTPException):  # killed
                ended.append(wire.send("POST", f"/drives/{drive}/write", body, content_encoding="gzip"))

    wire = connect(shared)
    drives = [wire.drive(size="1G") for _number in range(40)]
    writers = [threading.Thread(target=write, args=(drive,), daemon=True) for drive in drives]
    for writer in writers:
        writer.start()
    # An empty drive is no gzip and is refused either way, and tells whether the other one is written to.
    empty = wire.drive()
    for drive in drives:
        eventually(lambda: wire.send("POST", f"/drives/{drive}/image/{empty}/gunzip").status == 409)  # noqa: B023
    other = connect(shared, OTHER)
    other.timeout(600)
    for _number in range(20):
        other.drive()
    assert not ended


def test_listings_of_one_account_do_not_delay_another(shared: Endpoint, connect: Callable[..., Wire]) -> None:
    mine = connect(shared)
    for _number in range(100):
        mine.drive(**{"user:text": "x" * 40_000})
    with contextlib.ExitStack() as opened:
        listings = [opened.enter_context(socket.create_connection(("127.0.0.1", shared.port))) for _number in range(40)]
        other = opened.enter_context(socket.create_connection(("127.0.0.1", shared.port), timeout=600))
        for connection, path, auth in [
            *((listing, "/drives/info", shared.auth) for listing in listings),
            (other, "/drives/list", OTHER),
        ]:
            authorization = basic(auth)["Authorization"]
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n".encode())
        assert other.recv(12) == b"HTTP/1.1 200"
        ended_before = len(select.select(listings, [], [], 0)[0])
    assert ended_before < 20


def test_a_gzip_write_is_never_in_memory_as_a_whole(shared: Endpoint, connect: Callable[..., Wire]) -> None:
    mine = connect(shared)
    drive = mine.drive(size="512M")
    before = peak_memory(shared.pid)
    piece = gzip.compress(b"not zero" * (MIB // 8))
    assert mine.send("POST", f"/drives/{drive}/write", piece * 512, content_encoding="gzip").status == 204
    assert peak_memory(shared.pid) - before < 100 * MIB
    assert mine.send("GET", f"/drives/{drive}/read/{511 * MIB}/8").content == b"not zero"
