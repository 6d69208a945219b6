# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Space on the disk that is kept for the state, so that drives can be destroyed when they have filled the disk."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import DiskFull

BITE = 64 << 10
"""Bytes that are released at first when the state cannot be written; then twice as many, and so on."""
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
T = TypeVar("T")


class NoSpace(OSError):
    """The state cannot be written, because the disk is full and nothing of the reserve is left."""


class Reserve:
    """A file that takes up space: guests and other programs, too, cannot use it. size in bytes. Raises OSError.

    `fill` takes the space, at the start and after some was released. Until then drives take no data from the API.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._lock = threading.Lock()
        self._whole = False

    def close(self) -> None:
        os.close(self._file)

    def run(self, job: Callable[[], T]) -> T:
        """Run a job that writes to the state; release space and run it again while the disk is full. Raises NoSpace."""
        bite = BITE
        while True:
            try:
                return job()
            except (OSError, sqlite3.Error) as error:
                if not self._is_full(error):
                    raise
                if not self._release(bite):
                    raise NoSpace("the disk has no space left") from error
            bite *= 2

    def check(self) -> None:
        """Check that the disk has space for the data of drives. Raises DiskFull while a part of the reserve is used."""
        if not self.fill():
            raise DiskFull("The disk under the drives has no space left but for --reserve")

    def fill(self) -> bool:
        """Take space that is missing in the reserve. Returns whether the reserve is whole."""
        with self._lock:
            if self._whole:
                return True
            held = min(os.fstat(self._file).st_size, self._size)
            os.ftruncate(self._file, held)
            free = self._free()
            missing = self._size - held
            # Half of it, where there is not enough, because the state needs some now.
            more = missing if free > missing + BITE else free // 2
            try:
                if held + more:  # also what is there, since a copy of the file may have holes
                    os.posix_fallocate(self._file, 0, held + more)
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
                os.ftruncate(self._file, held)
                more = 0
            self._whole = more >= missing
            return self._whole

    def _release(self, size: int) -> bool:
        with self._lock:
            held = os.fstat(self._file).st_size
            os.ftruncate(self._file, max(0, held - size))
            self._whole = self._whole and not held
            return held > 0

    def _is_full(self, error: OSError | sqlite3.Error) -> bool:
        if isinstance(error, OSError):
            return error.errno in NO_SPACE
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        # The index of the log of changes cannot grow, or one of the files cannot be created.
        other = code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
        return code == sqlite3.SQLITE_FULL or (other and self._free() < BITE)

    def _free(self) -> int:
        found = os.statvfs(self._path)
        return found.f_bavail * found.f_frsize
