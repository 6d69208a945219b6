# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log files that can be full, closed, or pipes that nobody reads, without an effect on the program."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import threading
from collections.abc import Callable
from typing import Any, cast


class LogFile(io.RawIOBase):
    """Writes to a descriptor and never raises or waits: lines that cannot be written now are dropped and counted.

    note: makes a line of the number of dropped lines, which is written once writing is possible again.
    """

    def __init__(self, descriptor: int, note: Callable[[int], str]) -> None:
        self._descriptor = descriptor
        self._note = note
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._lock = threading.Lock()
        self._dropped = 0
        self._torn = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        lines = bytes(data)
        with self._lock:
            if self._dropped and self._put(self._note(self._dropped).encode()):
                self._dropped = 0
            if self._dropped or not self._put(lines):
                self._dropped += lines.count(b"\n")
        return len(lines)

    def _put(self, data: bytes) -> bool:
        """Write bytes; return False if not all of them could be written."""
        if self._torn:
            data = b"\n" + data
        written = 0
        with contextlib.suppress(OSError):
            # A pipe that is ready takes this much without waiting for its reader.
            while written < len(data) and self._poll.poll(0):
                written += os.write(self._descriptor, data[written : written + select.PIPE_BUF])
        if written:
            self._torn = written < len(data) and data[written - 1 : written] != b"\n"
        return written == len(data)


def replace_standard_streams() -> None:
    """Make standard output and error log files. Closed ones are replaced before a database gets their numbers."""
    for _descriptor in range(3):
        opened = os.open(os.devnull, os.O_RDWR)
        if opened > 2:
            os.close(opened)
    sys.stdout, sys.stderr = (
        cast(Any, io.TextIOWrapper(cast(Any, LogFile(number, _note)), "utf-8", "backslashreplace", write_through=True))
        for number in (1, 2)
    )


def _note(dropped: int) -> str:
    return f"{dropped} lines of the log were dropped, because it could not be written\n"
