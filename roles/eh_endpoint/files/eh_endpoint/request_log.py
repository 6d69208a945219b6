# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The request log: lines on standard error, JSON lines in a file, and records in memory for the control port."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from pathlib import Path
from typing import Any, TypedDict

from .log_file import LogFile

REMEMBERED = 100_000
"""requests in memory"""


class RequestRecord(TypedDict, total=False):
    """A request and its reply. seconds: from the request to the reply; faults: names of the fault rules that acted."""

    method: str
    path: str
    status: int
    account: str | None
    seconds: float
    faults: list[str]


class RequestMemory:
    """The last REMEMBERED requests, numbered from 0."""

    def __init__(self) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=REMEMBERED)
        self._next = 0

    def add(self, record: RequestRecord) -> None:
        self._records.append(record)
        self._next += 1

    def since(self, number: int) -> dict[str, Any]:
        """Return the requests from a number on, and the number of the next request."""
        first = self._next - len(self._records)
        return {"next": self._next, "requests": list(self._records)[max(0, number - first) :]}

    def forget(self) -> None:
        self._records.clear()


class RequestLog:
    """Writes a record before its reply is sent.

    file: JSON lines are appended to it; raises OSError if it cannot be opened. quiet: no lines on standard error.
    A log that cannot be written later has no effect on replies; see LogFile.
    """

    def __init__(self, file: Path | None, memory: RequestMemory | None, *, quiet: bool) -> None:
        self._file = None
        if file is not None:
            # Without O_NONBLOCK a FIFO without a reader would never be opened.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK
            self._file = LogFile(os.open(file, flags, 0o600), lambda dropped: json.dumps({"dropped": dropped}) + "\n")
        self._memory = memory
        self._quiet = quiet

    def write(self, record: RequestRecord) -> None:
        if self._file is not None:
            line = {name: value for name, value in record.items() if name != "seconds"}
            self._file.write(json.dumps(line).encode() + b"\n")
        if self._memory is not None:
            self._memory.add(record)
        if not self._quiet:
            path = record["path"]
            shown = path if path.isprintable() and path.isascii() else ascii(path)
            faults = "".join(f" [{name}]" for name in record.get("faults", ()))
            milliseconds = record["seconds"] * 1000
            sys.stderr.write(f"{record['method']} {shown} {record['status']} {milliseconds:.1f} ms{faults}\n")
