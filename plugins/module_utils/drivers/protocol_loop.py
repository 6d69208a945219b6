# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drivers' line protocol: reads the core's lines from a pipe, writes whole reply lines, parses ARGUMENTS.

The reader hands lines over and never waits for their work: a core that writes into a full pipe blocks
(opennebula-drivers 8.5). The work runs in :mod:`.job_queue`.
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
"""seconds for running jobs after FINALIZE or end of file; the core kills the driver after 1 s
(opennebula-drivers 1.4)"""
_CHUNK = 65536
"""bytes of one read"""
_PIPE = 1 << 20
"""size of the pipe in bytes: a long line is written at once, since old cores tolerate no pause in a line
(opennebula-drivers 1.3)"""
_F_SETPIPE_SZ = 1031
"""Linux constant that the fcntl module of Python 3.9 lacks"""


class ReplyPipe:
    """The pipe to the core. Thread-safe; writes whole lines, with one system call each (opennebula-drivers 1.3)."""

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self.closed = threading.Event()
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _PIPE)

    def send(self, line: bytes) -> None:
        """Write one line, which ends in a newline; do nothing once the core has closed the pipe."""
        with self._lock:
            try:
                while line and not self.closed.is_set():
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                self.closed.set()


class LineHandler(Protocol):
    """A driver, as :class:`ProtocolLoop` calls it."""

    def accept(self, line: bytes) -> None:
        """Handle one line without blocking."""

    def close(self) -> None:
        """End the driver's work after FINALIZE, or when the core has gone."""


class ProtocolLoop:
    """Reads the core's lines until end of file, FINALIZE, or the end of the parent process.

    :param source: file descriptor to read from
    :param outlet: the pipe for replies; the loop also ends once this pipe is closed
    """

    def __init__(self, service: LineHandler, source: int = 0, outlet: Optional[ReplyPipe] = None) -> None:
        self._service = service
        self._source = source
        self._outlet = outlet
        self._parent = os.getppid()

    def serve(self, early: bytes = b"") -> None:
        """Read and hand over lines; return when the driver has to exit.

        :param early: bytes that were read already
        """
        # Objects made so far live until exit: leave them out of garbage collections, which then take less time.
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
        """Return the next bytes; empty when the core has gone."""
        while True:
            ready, _unused, _unused = select.select([self._source], [], [], 1.0)
            if ready:
                return os.read(self._source, _CHUNK)
            if os.getppid() != self._parent or (self._outlet is not None and self._outlet.closed.is_set()):
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
            except Exception as error:  # a bug costs this line only, not the driver
                log_exception(logger, error)
        return True


class LineBuffer:
    """Splits a stream of bytes into lines of any length."""

    def __init__(self) -> None:
        self._pieces: List[bytes] = []

    def feed(self, chunk: bytes) -> List[bytes]:
        """Return the lines that are complete with ``chunk``, without their newlines."""
        *whole, rest = chunk.split(b"\n")
        if whole:
            whole[0] = b"".join([*self._pieces, whole[0]])
            self._pieces = []
        if rest:
            self._pieces.append(rest)
        return whole


@dataclass(frozen=True)
class Arguments:
    """The options in ARGUMENTS of the driver's section in oned.conf; those of OpenNebula's own drivers are ignored."""

    threads: int = THREADS
    """jobs that run at the same time (``-t``)"""
    protocol: str = ""
    """protocol version, if the lines alone do not show it (``--generation 4.0-4.2``)"""
    one_version: str = ""
    """release of OpenNebula (``--one-version 4.2``)"""


def arguments(argv: Sequence[str]) -> Arguments:
    """Parse ARGUMENTS, which may be missing, empty or a single word with blanks (opennebula-drivers 1.2)."""
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
