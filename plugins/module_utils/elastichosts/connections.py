# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to one endpoint that stay open between calls. http.client speaks HTTP; urllib3 only where a proxy is.

A call through urllib3 takes twice the CPU, and the drivers make three of them for an action.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import weakref
from typing import Any, List, Mapping, NamedTuple, Optional, Protocol, Tuple, cast
from urllib.parse import urlsplit

CONNECTIONS = 64
"""connections kept open: more than any caller's number of threads"""


class NewConnectionError(http.client.HTTPException):
    """There is no connection, so nothing was sent; the cause says why. Named as urllib3 names it."""


class ConnectTimeoutError(http.client.HTTPException):
    """The same, because it took too long."""


class Call(NamedTuple):
    """What is to be sent, and how long that may take."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: Any
    """None, bytes, or what http.client can read"""
    timeout: Tuple[float, float]
    """seconds to connect, and for each read"""


class Answer(Protocol):
    """Head of an answer; the body is still to be read. `release_conn` has to come at the end."""

    status: int
    headers: Any

    def read1(self, size: int) -> bytes:
        """The next bytes of the body, as soon as there are some; none at its end."""

    def close(self) -> None:
        """Give up the connection: what is left in it belongs to no call."""

    def release_conn(self) -> None:
        """The connection may serve another call."""


class Pool(Protocol):
    """Threads share it: a connection serves one call at a time."""

    def request(self, call: Call) -> Answer:
        """Send a call, and wait for the head of its answer."""

    def close(self) -> None:
        """Close what is idle."""


class _Line(http.client.HTTPConnection):
    """A connection that sends the head of a call and a body of bytes in one piece, where http.client sends two.

    Each piece wakes up the other side, and on a long line the second may wait for the first.
    """

    _behind = b""
    """goes out with the next head"""

    def ask(self, call: Call) -> None:
        if call.body is not None and not isinstance(call.body, bytes):
            self.request(call.method, call.url, call.body, call.headers)
            return
        self.putrequest(call.method, call.url)
        for name, value in call.headers.items():
            self.putheader(name, value)
        if call.body is not None:
            self.putheader("Content-Length", str(len(call.body)))
        self._behind = call.body or b""
        try:
            self.endheaders()
        finally:
            self._behind = b""

    def send(self, data: Any) -> None:
        super().send(data + self._behind if self._behind else data)


class _SecureLine(_Line, http.client.HTTPSConnection):
    """The same by TLS."""


class DirectAnswer:
    """What http.client answers, and the way back into the pool."""

    def __init__(self, pool: Direct, connection: _Line) -> None:
        self._pool = pool
        self._connection = connection
        self._response = connection.getresponse()
        self.status = self._response.status
        self.headers = self._response.headers

    def read1(self, size: int) -> bytes:
        return b"" if self._response.length == 0 else self._response.read1(size)

    def release_conn(self) -> None:
        whole = self._response.isclosed() or self._response.length == 0
        self._response.close()
        if whole and self._connection.sock is not None:
            self._pool.put(self._connection)
        else:
            self._connection.close()

    def close(self) -> None:
        self._response.close()
        self._connection.close()


class ProxiedAnswer:
    """What urllib3 answers."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.status = answer.status
        self.headers = answer.headers
        self.close, self.release_conn = answer.close, answer.release_conn

    def read1(self, size: int) -> bytes:
        if hasattr(self._answer, "read1"):
            return cast(bytes, self._answer.read1(size))
        # urllib3 1.26 (Debian 11 and 12) lacks it, the response below has it; the last read frees the connection.
        return cast(bytes, self._answer._original_response.read1(size) or self._answer.read())


class Proxied:
    """Connections by a proxy. Raises urllib3.exceptions.HTTPError as well.

    :param manager: urllib3.ProxyManager
    """

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        self.close = manager.clear

    def request(self, call: Call) -> Answer:
        import urllib3

        limits = urllib3.Timeout(connect=call.timeout[0], read=call.timeout[1])
        answer = self._manager.request(
            call.method, call.url, body=call.body, headers=call.headers, timeout=limits, redirect=False, retries=False,
            preload_content=False,
        )  # fmt: skip
        return ProxiedAnswer(answer)


class Direct:
    """Connections without a proxy.

    Raises OSError and http.client.HTTPException; of these NewConnectionError and ConnectTimeoutError before anything
    was sent.
    """

    def __init__(self, endpoint: str, trust: Optional[ssl.SSLContext]) -> None:
        parts = urlsplit(endpoint)
        self._address = parts.hostname or "", parts.port or (80 if trust is None else 443)
        self._trust = trust
        self._idle: List[_Line] = []  # the last one first: it is the least likely to be stale
        weakref.finalize(self, _close, self._idle)

    def request(self, call: Call) -> Answer:
        connection = self._get() or self._new(call.timeout[0])
        try:
            connection.sock.settimeout(call.timeout[1])
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who hangs up may have said why
                connection.ask(call)
            return DirectAnswer(self, connection)
        except BaseException:
            connection.close()
            raise

    def put(self, connection: _Line) -> None:
        if len(self._idle) < CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        _close(self._idle)

    def _get(self) -> Optional[_Line]:
        """One that is idle and still open: nothing can be read from it, not even its end."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            poll = select.poll()
            poll.register(connection.sock, select.POLLIN)
            if not poll.poll(0):
                return connection
            connection.close()

    def _new(self, seconds: float) -> _Line:
        host, port = self._address
        if self._trust is None:
            connection = _Line(host, port, timeout=seconds)
        else:
            connection = _SecureLine(host, port, timeout=seconds, context=self._trust)
        try:
            connection.connect()
        except socket.timeout as error:
            raise ConnectTimeoutError from error
        except (OSError, UnicodeError) as error:
            raise NewConnectionError from error
        return connection


def _close(idle: List[_Line]) -> None:
    while idle:
        idle.pop().close()
