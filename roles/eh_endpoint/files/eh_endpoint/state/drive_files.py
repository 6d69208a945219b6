# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sparse files that hold the bytes of drives."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

from ..errors import Full
from .streams import PIECE, Piece, is_zero


@contextmanager
def room() -> Iterator[None]:
    """Turn the OSError of a full disk into the API's error Full."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Full(f"The disk under the drives has no space left: {error.strerror}") from error
        raise


THREADS = 16
SHARE = 4
"""Threads that one account can have at a time."""
TURN = 0.01
"""Seconds of a thread after which the other jobs of the account have their turn."""
BATCH = 1 << 20
T = TypeVar("T")


class DriveFiles:
    """A folder of files `UUID.raw`. Offsets and sizes in bytes; ranges that were never written read as zeros."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._threads = ThreadPoolExecutor(THREADS, "drive-files")
        self._shares: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(SHARE))

    async def work(self, user: str, job: Callable[[], T]) -> T:
        """Run a short job in a thread, so that a slow disk does not delay other requests.

        The jobs of each user wait in a queue of their own.
        """
        async with self._shares[user]:
            return await asyncio.get_running_loop().run_in_executor(self._threads, job)

    async def run(self, user: str, steps: Iterator[object]) -> None:
        """Run a long job to its end, in turns. A step is at most what takes a MiB."""

        def turn() -> bool:
            end = time.monotonic() + TURN
            return any(time.monotonic() >= end for _step in steps)  # True: its time is over

        while await self.work(user, turn):
            pass

    async def pour(
        self, user: str, stream: AsyncIterator[bytes], steps: Callable[[list[bytes]], Iterator[object]]
    ) -> None:
        """Pass a stream to a long job, in batches: while the steps of one are run the next one is received."""
        batch: list[bytes] = []
        size = 0
        under_way: asyncio.Future[None] | None = None
        try:
            async for piece in stream:
                batch.append(piece)
                size += len(piece)
                if size >= BATCH:
                    if under_way is not None:
                        await under_way
                    under_way = asyncio.ensure_future(self.run(user, steps(batch)))
                    batch, size = [], 0
            if under_way is not None:
                await under_way
            await self.run(user, steps(batch))
        finally:
            # The caller closes the file afterwards, so wait for the thread that writes to it.
            if under_way is not None and not under_way.done():
                await asyncio.wait([under_way])

    def scratch(self) -> IO[bytes]:
        """Return a temporary file without a name."""
        with room():
            return tempfile.TemporaryFile(dir=self._folder, buffering=0)

    def path(self, uuid: str) -> Path:
        return self._folder / f"{uuid}.raw"

    def create(self, uuid: str, size: int) -> None:
        with room(), self.path(uuid).open("wb") as file:
            file.truncate(size)

    def resize(self, uuid: str, size: int) -> None:
        with room():
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
        """Repair the folder after a crash: create and resize files, remove files without a drive."""
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


_ZEROS = bytes(PIECE)


class Writer:
    """Writes to a range of a drive. Zeros take no space where nothing was written before."""

    def __init__(self, descriptor: int, offset: int) -> None:
        self._descriptor = descriptor
        self.position = offset

    def write(self, *pieces: Piece) -> None:
        """Write pieces one after the other. Raises Full when the disk has no space."""
        with room():
            for piece in pieces:
                if isinstance(piece, int):
                    self._zeros(piece)
                elif is_zero(piece):
                    self._zeros(len(piece))
                else:
                    self._bytes(piece)

    def _bytes(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, self.position)
            self.position += written
            view = view[written:]

    def _zeros(self, count: int) -> None:
        """Overwrite data with zeros; leave holes as they are."""
        end = self.position + count
        while self.position < end:
            self.position = self._next(os.SEEK_DATA, end)
            hole = self._next(os.SEEK_HOLE, end)
            while self.position < hole:
                self.position += os.pwrite(self._descriptor, _ZEROS[: hole - self.position], self.position)

    def _next(self, way: int, end: int) -> int:
        try:
            return min(os.lseek(self._descriptor, self.position, way), end)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end of the file
                return end
            raise
