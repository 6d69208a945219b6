# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP/1.1 to one endpoint over connections that stay open: what this API needs of it, and nothing else.

A call by requests costs eight times the CPU, by urllib3 four times, and a driver that manages a thousand servers
makes little else. Calls are in the form of urllib3's pools, which take the place of this where a proxy is in the way.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import zlib
from collections import deque
from typing import Any, Deque, Dict, Generator, Mapping, NamedTuple, Optional, Union
from urllib.parse import quote, urlsplit

from .file_parts import FilePart

HEAD_LIMIT = 65536
"""bytes of the status line and all headers of an answer"""
PIECE = 65536
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: |\Z)")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}\Z")
_LENGTH = re.compile(r"[0-9]{1,15}\Z")
_IN_PATH = "/%:@!$&'()*+,;=~"


class NotConnected(OSError):
    """There is no connection, so nothing was sent; the cause says why."""


class Broken(OSError):
    """The connection ended too early, or what came over it is not HTTP/1.1."""


class Seconds(NamedTuple):
    """Limits of a call."""

    connect: float
    read: float
    """between two pieces, not for all of it"""


class Headers(Dict[str, str]):
    """By name in any case; of a repeated one the last counts."""

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class Connections:
    """Connections to one endpoint, shared by threads: each call takes one, and gives it back when its answer is read.

    :param endpoint: checked before: scheme, host, perhaps port and path
    :param keep: connections that stay open while nobody uses them
    :param tls: for https
    """

    def __init__(self, endpoint: str, keep: int, tls: Optional[ssl.SSLContext] = None) -> None:
        parts = urlsplit(endpoint)
        self._tls = tls
        self._address = (parts.hostname or "", parts.port or (443 if tls else 80))
        host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
        self._host = f"Host: {host}\r\n"
        self._base = len(f"{parts.scheme}://{parts.netloc}")
        self._keep = keep
        self._idle: Deque[socket.socket] = deque()

    def urlopen(
        self,
        method: str,
        url: str,
        *,
        body: Union[bytes, FilePart, None],
        headers: Mapping[str, str],
        timeout: Seconds,
        **_unused: object,
    ) -> Answer:
        """The answer, its body still to be read.

        :raises NotConnected: nothing was sent
        :raises OSError: anything may have been
        """
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        size = "" if body is None or "Content-Length" in headers else f"Content-Length: {len(body)}\r\n"
        path = quote(url[self._base :], safe=_IN_PATH)
        head = f"{method} {path} HTTP/1.1\r\n{self._host}{lines}{size}\r\n".encode("latin-1")
        line = self._take(timeout.connect)
        try:
            line.settimeout(timeout.read)
            if body is None or (isinstance(body, bytes) and len(body) < PIECE):
                line.sendall(head + (body or b""))
            else:
                line.sendall(head)
                _send(line, body)
            return Answer(self, line)
        except BaseException:
            line.close()
            raise

    def give_back(self, line: socket.socket) -> None:
        """A connection on which the next call may go."""
        if len(self._idle) < self._keep:
            self._idle.append(line)
        else:
            line.close()

    def clear(self) -> None:
        """Close what nobody uses."""
        while self._idle:
            self._idle.pop().close()

    def __del__(self) -> None:
        self.clear()

    def _take(self, seconds: float) -> socket.socket:
        while self._idle:
            try:
                line = self._idle.pop()
            except IndexError:
                break
            if not _ready(line):
                return line
            line.close()  # nothing was asked: what can be read is its end
        return self._connect(seconds)

    def _connect(self, seconds: float) -> socket.socket:
        try:
            line = socket.create_connection(self._address, seconds)
        except (OSError, UnicodeError) as error:
            raise NotConnected(*error.args[:2]) from error
        try:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._tls.wrap_socket(line, server_hostname=self._address[0]) if self._tls else line
        except BaseException as error:
            line.close()
            raise (NotConnected(*error.args[:2]) if isinstance(error, OSError) else error) from error


def _send(line: socket.socket, body: Union[bytes, FilePart]) -> None:
    """All of a body, or so much of it as is taken: an answer may be there already that says why no more is."""
    try:
        for piece in (body,) if isinstance(body, bytes) else body:
            line.sendall(piece)
    except (BrokenPipeError, ConnectionResetError):
        return


def _ready(line: socket.socket) -> bool:
    if isinstance(line, ssl.SSLSocket) and line.pending():
        return True
    poll = select.poll()
    poll.register(line, select.POLLIN)
    return bool(poll.poll(0))


class Answer:
    """Status and headers of an answer, and its body in pieces as they come in."""

    def __init__(self, pool: Connections, line: socket.socket) -> None:
        self._pool = pool
        self._line: Optional[socket.socket] = line
        self._rest = b""
        status, minor, self.headers = self._head()
        while status < 200:  # 1xx: the answer proper follows
            status, minor, self.headers = self._head()
        self.status = status
        closes = self.headers.get("Connection", "keep-alive" if minor else "close").lower() == "close"
        self._whole = False
        self._reusable = not closes
        self._pieces = self._unpacked(self._body())

    def read1(self, _amount: int, decode_content: bool = True) -> bytes:
        """The next piece; empty at the end.

        :raises OSError: the connection broke, or nothing came in time
        """
        return next(self._pieces, b"")

    def close(self) -> None:
        """No more of it is wanted."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def release_conn(self) -> None:
        """The connection goes back when the answer was read to its end, else it is closed."""
        if self._line is not None and self._whole and self._reusable and not self._rest:
            self._pool.give_back(self._line)
            self._line = None
        self.close()

    def _receive(self) -> bytes:
        return self._line.recv(PIECE) if self._line is not None else b""

    def _more(self) -> None:
        received = self._receive()
        if not received:
            raise Broken("the connection ended inside the answer")
        self._rest += received

    def _head(self) -> tuple[int, int, Headers]:
        while b"\r\n\r\n" not in self._rest:
            if len(self._rest) > HEAD_LIMIT:
                raise Broken("the headers do not end")
            self._more()
        head, _end, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        found = _STATUS.match(first)
        if not found:
            raise Broken("the answer is not HTTP/1.1")
        headers = Headers()
        for row in lines:
            name, _colon, value = row.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        return int(found[2]), int(found[1]), headers

    def _body(self) -> Generator[bytes, None, None]:
        if self.status in (204, 304):
            self._whole = True
        elif "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            yield from self._chunks()
        elif "content-length" in self.headers:
            size = self.headers.get("Content-Length")
            if not _LENGTH.match(size):
                raise Broken("the answer does not say its length in figures")
            yield from self._sized(int(size))
        else:
            self._reusable = False
            yield from iter(self._taken, b"")

    def _taken(self) -> bytes:
        """What is here already, or comes next; empty at the end of the connection."""
        piece, self._rest = self._rest, b""
        return piece or self._receive()

    def _sized(self, size: int) -> Generator[bytes, None, None]:
        while size:
            piece = self._taken()
            if not piece:
                return  # whoever reads compares with what was announced
            piece, self._rest = piece[:size], piece[size:]
            size -= len(piece)
            yield piece
        self._whole = True

    def _chunks(self) -> Generator[bytes, None, None]:
        while True:
            size = self._line_of_chunk().partition(b";")[0].strip()
            if not _SIZE.match(size):
                raise Broken("a piece of the answer does not say its length")
            left = int(size, 16)
            if not left:
                break
            while left:
                piece = self._taken()
                if not piece:
                    raise Broken("the connection ended inside the answer")
                piece, self._rest = piece[:left], piece[left:]
                left -= len(piece)
                yield piece
            self._line_of_chunk()
        while self._line_of_chunk():
            pass  # headers behind the body
        self._whole = True

    def _line_of_chunk(self) -> bytes:
        while b"\r\n" not in self._rest:
            if len(self._rest) > HEAD_LIMIT:
                raise Broken("a piece of the answer does not say its length")
            self._more()
        line, _end, self._rest = self._rest.partition(b"\r\n")
        return line

    def _unpacked(self, body: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
        """Without gzip or deflate, which some clouds use though nobody asked them to."""
        if self.headers.get("Content-Encoding", "identity").lower() not in ("gzip", "x-gzip", "deflate"):
            yield from body
            return
        stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
        try:
            for piece in body:
                unpacked = stream.decompress(piece, PIECE)
                while unpacked:
                    yield unpacked
                    unpacked = stream.decompress(stream.unconsumed_tail, PIECE)
        except zlib.error:
            raise Broken("the answer is packed, and damaged") from None
        if not stream.eof:
            raise Broken("the connection ended inside the answer")
