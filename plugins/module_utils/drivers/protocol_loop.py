# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A driver's engine: reads requests, runs them one at a time per VM, answers each exactly once.

The reader never waits for work: a core whose pipe is full stands still (opennebula-drivers 8.5). Work runs in queue:
one queue per VM (or host), so that a slow deploy delays nobody else, and a bounded number of jobs works at any time.
A job that only waits (for a guest to shut down, say) gives its place away meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import logging
import os
import select
import shlex
import threading
from dataclasses import dataclass
from typing import List, Optional, Protocol, Sequence

from ..opennebula.protocol_versions import protocol_named
from .driver_log import log_exception
from .job_queue import THREADS

logger = logging.getLogger(__name__)

LAST_MOMENTS = 0.7
"""seconds that running jobs get when the core has ended the conversation; it kills after 1 s
(opennebula-drivers 1.4)"""
_CHUNK = 65536
_PIPE = 1 << 20
"""bytes: a long line then goes out at once, and the old cores see no pause in it (opennebula-drivers 1.3)"""
_F_SETPIPE_SZ = 1031
"""of Linux; the fcntl module of Python 3.9 does not name it"""


class ReplyPipe:
    """The pipe to the core: whole lines, one write each, from any thread (opennebula-drivers 1.3)."""

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self.closed = threading.Event()
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _PIPE)

    def send(self, line: bytes) -> None:
        """Write one line, which ends in a newline; do nothing when the core is gone."""
        with self._lock:
            try:
                while line and not self.closed.is_set():
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                self.closed.set()


class LineHandler(Protocol):
    """What :class:`ProtocolLoop` hands the lines to."""

    def accept(self, line: bytes) -> None:
        """Take one line; must not wait for anything."""

    def close(self) -> None:
        """End the driver's work: the core has closed the pipe, or sent FINALIZE."""


class ProtocolLoop:
    """The conversation with the core: lines in, until end of file, FINALIZE, or the death of the parent."""

    def __init__(self, service: LineHandler, source: int = 0, outlet: Optional[ReplyPipe] = None) -> None:
        self._service = service
        self._source = source
        self._outlet = outlet
        self._parent = os.getppid()

    def serve(self, early: bytes = b"") -> None:
        """Read and hand over lines until the end; returns when the driver should exit.

        :param early: bytes that were read already
        """
        # What is there by now stays: collections look at what requests make, and no answer waits for a long one.
        gc.freeze()
        lines = LineBuffer()
        chunk = early
        while self._hand_over(lines.feed(chunk)):
            received = self._receive()
            if not received:
                break
            chunk = received
        self._service.close()

    def _receive(self) -> bytes:
        """Return the next bytes; empty when the core is gone."""
        while True:
            ready, _unused, _unused = select.select([self._source], [], [], 1.0)
            if ready:
                return os.read(self._source, _CHUNK)
            gone = os.getppid() != self._parent or (self._outlet is not None and self._outlet.closed.is_set())
            if gone:
                return b""

    def _hand_over(self, lines: Sequence[bytes]) -> bool:
        """Hand over lines one by one; return false at FINALIZE."""
        for line in lines:
            words = line.split(None, 1)
            if not words:
                continue
            if words[0] == b"FINALIZE":
                return False
            try:
                self._service.accept(line)
            except Exception as error:  # a fault of ours costs this one line, not the driver
                log_exception(logger, error)
        return True


class LineBuffer:
    """Splits a stream of bytes into lines of any length."""

    def __init__(self) -> None:
        self._pieces: List[bytes] = []

    def feed(self, chunk: bytes) -> List[bytes]:
        """Return the lines that ``chunk`` completes, without their newlines."""
        *whole, rest = chunk.split(b"\n")
        if whole:
            whole[0] = b"".join([*self._pieces, whole[0]])
            self._pieces = []
        if rest:
            self._pieces.append(rest)
        return whole


@dataclass(frozen=True)
class Arguments:
    """What ARGUMENTS of the section in oned.conf may say; the rest of it belongs to other drivers and is ignored."""

    threads: int = THREADS
    protocol: str = ""
    """wire protocol, where the lines alone do not tell (``--generation 4.0-4.2``)"""
    one_version: str = ""
    """release of OpenNebula (``--one-version 4.2``)"""


def arguments(argv: Sequence[str]) -> Arguments:
    """Parse ARGUMENTS, which arrives as one word, as none, or empty (opennebula-drivers 1.2)."""
    try:
        words = shlex.split(" ".join(argv))
    except ValueError:
        words = " ".join(argv).split()
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    values = dict(zip(words, words[1:]))
    threads = values.get("-t", values.get("--threads", ""))
    return Arguments(
        threads=min(int(threads), 128) if threads.isdigit() and int(threads) else THREADS,
        protocol=protocol_named(values.get("--generation", "")),
        one_version=values.get("--one-version", ""),
    )
