# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits on connections that have not brought a valid key yet, so that strangers do not use up the descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import resource
import socket
import time
from pathlib import Path
from typing import IO, Any, NamedTuple

LOG = logging.getLogger("eh_endpoint")
PER_SOURCE = 256
TOTAL = 512
GRACE = 0.1
"""Seconds that every connection has for its first request."""
LOG_INTERVAL = 60.0
"""Seconds between two lines of the log about connections that were closed."""
Peer = tuple[str, int]


def source_of(host: str) -> str:
    """Return what is counted as one source: an IPv4 address, or the /64 network of an IPv6 address."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))


class _Waiting(NamedTuple):
    """A connection without a valid key. accepted: when, by the monotonic clock."""

    connection: socket.socket
    source: str
    accepted: float
    timer: asyncio.TimerHandle


class UnauthenticatedConnections:
    """The connections from their accept until their first valid key.

    A connection is closed when it has none after `timeout` seconds. Where there are too many, the oldest of the source
    with the most is closed and not the new one: a client that has a key sends it at once, also from the address of an
    attacker (NAT). Half of the descriptors of the process are left to others.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._total = min(TOTAL, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self._per_source = min(PER_SOURCE, self._total // 2)
        self._waiting: dict[Peer, _Waiting] = {}
        self._of: dict[str, dict[Peer, None]] = {}
        self._last_source = ""
        self._closed = 0
        self._logged = -LOG_INTERVAL

    def add(self, connection: socket.socket, peer: Peer) -> None:
        """Enter an accepted connection."""
        self.remove(peer)  # of an earlier connection with the same port
        source = self._last_source = source_of(peer[0])
        timer = asyncio.get_running_loop().call_later(self._timeout, self._close, peer)
        self._waiting[peer] = _Waiting(connection, source, time.monotonic(), timer)
        self._of.setdefault(source, {})[peer] = None

    def remove(self, peer: Peer) -> _Waiting | None:
        """Take out a connection that has brought a valid key, or a call of the control port: it has no limit now."""
        waiting = self._waiting.pop(peer, None)
        if waiting is not None:
            waiting.timer.cancel()
            of_source = self._of[waiting.source]
            del of_source[peer]
            if not of_source:
                del self._of[waiting.source]
        return waiting

    def make_room(self) -> bool:
        """Close the oldest connection if there are too many; tell whether there were not, so that one can be accepted.

        The oldest has at least GRACE seconds, so that a burst of clients with a key loses none.
        """
        oldest = self._oldest_of_too_many()
        if oldest is not None and time.monotonic() >= self._waiting[oldest].accepted + GRACE:
            self._closed += self._close(oldest)
            if self._closed and time.monotonic() >= self._logged + LOG_INTERVAL:
                LOG.warning(
                    "too many connections without a valid key: closed %d, the last from %s", self._closed, oldest[0]
                )
                self._closed, self._logged = 0, time.monotonic()
        return oldest is None

    def _oldest_of_too_many(self) -> Peer | None:
        of_source = self._of.get(self._last_source, {})
        if len(of_source) <= self._per_source:
            if len(self._waiting) <= self._total:
                return None
            of_source = max(self._of.values(), key=len)
        return next(iter(of_source))

    def _close(self, peer: Peer) -> bool:
        """Close a connection; False if the client has done so. The event loop sees the end and frees the rest."""
        waiting = self.remove(peer)
        try:
            if waiting is not None:
                waiting.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False
        return waiting is not None


class Listener(socket.socket):
    """A listening socket that enters what it accepts. asyncio calls accept() until it raises BlockingIOError."""

    def __init__(self, listening: socket.socket, unauthenticated: UnauthenticatedConnections) -> None:
        super().__init__(listening.family, listening.type, listening.proto, listening.detach())
        self._unauthenticated = unauthenticated
        self._reserve = _reserve()
        self._logged = -LOG_INTERVAL

    def close(self) -> None:
        super().close()
        self._reserve.close()

    def accept(self) -> tuple[socket.socket, Any]:
        if not self._unauthenticated.make_room():
            raise BlockingIOError  # accept again after the event loop has read from the connections that are there
        try:
            connection, address = super().accept()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._refuse()
            raise BlockingIOError from None
        self._unauthenticated.add(connection, address[:2])
        return connection, address

    def _refuse(self) -> None:
        """Close the next connection at once, by means of a descriptor that is kept for this.

        A connection that stays in the queue would wake the event loop for ever, and asyncio logs a traceback for each.
        """
        with contextlib.suppress(OSError):  # a thread was faster, or the client is gone
            self._reserve.close()
            super().accept()[0].close()
        with contextlib.suppress(OSError):
            self._reserve = _reserve()
        if time.monotonic() >= self._logged + LOG_INTERVAL:
            LOG.warning("connections are refused: no file descriptor is left, raise the limit (LimitNOFILE, ulimit -n)")
            self._logged = time.monotonic()


def _reserve() -> IO[bytes]:
    return Path(os.devnull).open("rb", buffering=0)
