# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of drives: one sparse file each."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import Full


@contextmanager
def _room() -> Iterator[None]:
    """A disk without space is an answer of the API and no fault of the program."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Full(f"The disk under the drives has no space left: {error.strerror}") from error
        raise


class Blocks:
    """A folder of files `UUID.raw`. Offsets and sizes in bytes; what was never written reads as zeros."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder

    def path(self, uuid: str) -> Path:
        return self._folder / f"{uuid}.raw"

    def create(self, uuid: str, size: int) -> None:
        with _room(), self.path(uuid).open("wb") as file:
            file.truncate(size)

    def resize(self, uuid: str, size: int) -> None:
        with _room():
            os.truncate(self.path(uuid), size)

    def remove(self, uuid: str) -> None:
        self.path(uuid).unlink(missing_ok=True)

    def read(self, uuid: str, offset: int, size: int) -> bytes:
        with self.path(uuid).open("rb", buffering=0) as file:
            return os.pread(file.fileno(), size, offset)

    @contextmanager
    def writer(self, uuid: str, offset: int) -> Iterator[Writer]:
        descriptor = os.open(self.path(uuid), os.O_WRONLY)
        try:
            yield Writer(descriptor, offset)
        finally:
            os.close(descriptor)

    def reconcile(self, sizes: Iterable[tuple[str, int]]) -> None:
        """Make the folder agree with the store after a crash: right sizes, no file without a drive."""
        known = set()
        for uuid, size in sizes:
            path = self.path(uuid)
            known.add(path.name)
            if not path.exists():
                self.create(uuid, size)
            elif path.stat().st_size != size:
                self.resize(uuid, size)
        for path in self._folder.glob("*.raw"):
            if path.name not in known:
                path.unlink()


_ZEROS = bytes(1 << 20)


class Writer:
    """Writes one stretch of a drive, piece after piece. Zeros where nothing was written yet take no space."""

    def __init__(self, descriptor: int, offset: int) -> None:
        self._descriptor = descriptor
        self.position = offset

    def write(self, data: bytes) -> None:
        if data and not data[0] and data == _ZEROS[: len(data)] and self._untouched(len(data)):
            self.position += len(data)
            return
        view = memoryview(data)
        with _room():
            while view:
                written = os.pwrite(self._descriptor, view, self.position)
                self.position += written
                view = view[written:]

    def _untouched(self, size: int) -> bool:
        try:
            return os.lseek(self._descriptor, self.position, os.SEEK_DATA) >= self.position + size
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data up to the end of the file
                return True
            raise
