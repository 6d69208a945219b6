# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP/1.1 as it comes over a socket: every way in which an answer may be framed, cut, or be none."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
from collections.abc import Iterator

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.connections import (
    Answer,
    Broken,
    Connections,
    NotConnected,
    Seconds,
)

BODY = b'{"server":"x"}'
PACKED = gzip.compress(BODY * 9000)


class Peer:
    """Says what it is told to each call, in the pieces given; None ends the connection."""

    def __init__(self, *answers: bytes | None) -> None:
        self.heard: list[bytes] = []
        self.connections = 0
        self._answers = list(answers)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line = self._listening.accept()[0]
                self.connections += 1
                with line:
                    self._talk(line)

    def _talk(self, line: socket.socket) -> None:
        while self._answers:
            received = b""
            while b"\r\n\r\n" not in received:
                more = line.recv(65536)
                if not more:
                    return
                received += more
            self.heard.append(received)
            answer = self._answers.pop(0)
            if answer is None:
                return
            line.sendall(answer)
            if b"close" in answer or not self._answers:
                return

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        self._listening.close()


@contextlib.contextmanager
def peer(*answers: bytes | None) -> Iterator[tuple[Peer, Connections]]:
    here = Peer(*answers)
    pool = Connections(f"http://127.0.0.1:{here.port}/prefix", 4)
    try:
        yield here, pool
    finally:
        pool.clear()
        here.close()


def asked(here: Peer, pool: Connections, path: str = "/servers/info", body: bytes | None = None) -> Answer:
    url = f"http://127.0.0.1:{here.port}/prefix{path}"
    return pool.urlopen("GET", url, body=body, headers={"Accept": "*/*"}, timeout=Seconds(2.0, 2.0))


def read(here: Peer, pool: Connections) -> tuple[int, bytes]:
    answer = asked(here, pool)
    try:
        return answer.status, b"".join(iter(lambda: answer.read1(65536), b""))
    finally:
        answer.release_conn()


def sized(body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 200 OK\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (sized(BODY), BODY),
        (sized(b""), b""),
        (b"HTTP/1.0 200 OK\r\n\r\n" + BODY, BODY),
        (b"HTTP/1.1 200\r\n\r\n" + BODY, BODY),
        (CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: 1\r\n\r\n", b"abcde"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + sized(BODY), BODY),
        (sized(PACKED, "Content-Encoding: gzip"), BODY * 9000),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
def test_every_framing_is_read(answer: bytes, body: bytes) -> None:
    with peer(answer) as (here, pool):
        status, content = read(here, pool)
    assert content == body
    assert status in (200, 204)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000,
        CHUNKED + b"3\r\nab",
        CHUNKED + b"zz\r\nab",
        CHUNKED + b"-1\r\nab",
        CHUNKED + b"1" * 70_000,
        CHUNKED + b"3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \xb3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc",
        sized(PACKED[:-9], "Content-Encoding: gzip"),
        sized(BODY, "Content-Encoding: gzip"),
        None,
    ],
)
def test_what_is_no_whole_answer_is_broken(answer: bytes | None) -> None:
    with peer(answer) as (here, pool), pytest.raises((Broken, ConnectionResetError)):
        read(here, pool)


def test_calls_share_a_connection_until_one_side_ends_it() -> None:
    last = sized(BODY, "Connection: close")
    with peer(sized(BODY), CHUNKED + b"0\r\n\r\n", last, sized(BODY), sized(BODY)) as (here, pool):
        for _call in range(5):
            assert read(here, pool)[0] == 200
        assert here.connections == 2
        assert here.heard[0].startswith(b"GET /prefix/servers/info HTTP/1.1\r\nHost: 127.0.0.1:")


def test_a_connection_that_has_ended_meanwhile_is_not_used() -> None:
    with peer(sized(BODY)) as (here, pool):
        assert read(here, pool)[0] == 200
        assert pool._idle[0].recv(1, socket.MSG_PEEK) == b""  # comes when the peer has closed it
        here._answers.append(sized(BODY))
        assert read(here, pool)[0] == 200
        assert here.connections == 2


def test_an_answer_that_was_not_read_to_its_end_takes_its_connection_with_it() -> None:
    with peer(sized(BODY), sized(BODY)) as (here, pool):
        asked(here, pool).release_conn()
        assert read(here, pool) == (200, BODY)
        assert here.connections == 2


def test_more_than_was_announced_is_nobody_s_answer() -> None:
    with peer(sized(BODY) + b"HTTP/1.1 500 smuggled\r\n\r\n", sized(b"[]")) as (here, pool):
        assert read(here, pool) == (200, BODY)
        assert read(here, pool) == (200, b"[]")


def test_nothing_was_sent_where_nobody_listens() -> None:
    with peer() as (here, pool):
        here.close()
        with pytest.raises(NotConnected) as caught:
            read(here, pool)
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_no_path_ends_the_request_line() -> None:
    with peer(sized(BODY)) as (here, pool):
        asked(here, pool, "/a b\r\nX: y/\u00fc%20").release_conn()
        assert here.heard[0].splitlines()[0] == b"GET /prefix/a%20b%0D%0AX:%20y/%C3%BC%20 HTTP/1.1"
