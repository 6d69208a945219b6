# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sparse files that hold the bytes of drives."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, TypeVar

from ..errors import DiskFull
from .reserve import NO_SPACE, Reserve
from .streams import PIECE, Piece, is_zero, seek

LOG = logging.getLogger("eh_endpoint")
THREADS = 16
SHARE = 4
"""Threads that one account can have at a time."""
TURN = 0.01
"""Seconds of a thread after which the other jobs of the account have their turn."""
BATCH = 1 << 20
T = TypeVar("T")


class DriveFiles:
    """A folder of files `UUID.raw`. Offsets and sizes in bytes; ranges that were never written read as zeros.

    reserve: space on the disk that data of drives does not use.
    """

    def __init__(self, folder: Path, reserve: Reserve | None = None) -> None:
        self._reserve = reserve
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._unknown = folder / "unknown"
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

    @contextmanager
    def room(self) -> Iterator[None]:
        """Check that the disk has space for data, and turn the OSError of a full disk into the API's error DiskFull."""
        if self._reserve is not None:
            self._reserve.check()
        with _full_disk():
            yield

    def scratch(self) -> IO[bytes]:
        """Return a temporary file without a name."""
        with self.room():
            return tempfile.TemporaryFile(dir=self._folder, buffering=0)

    def path(self, uuid: str) -> Path:
        return self._folder / f"{uuid}.raw"

    def create(self, uuid: str, size: int) -> None:
        with _full_disk(), self.path(uuid).open("wb") as file:
            file.truncate(size)

    def resize(self, uuid: str, size: int) -> None:
        with _full_disk():
            os.truncate(self.path(uuid), size)

    def remove(self, uuid: str) -> bool:
        """Remove the file of a drive. Returns False, with a line in the log, if the disk does not allow that now."""
        try:
            self.path(uuid).unlink(missing_ok=True)
        except OSError as error:
            LOG.error("the file of drive %s cannot be removed now, but at the next start: %s", uuid, error.strerror)
            return False
        if self._reserve is not None:
            self._reserve.fill()
        return True

    def read(self, uuid: str, offset: int, size: int) -> bytes:
        with self.path(uuid).open("rb", buffering=0) as file:
            return os.pread(file.fileno(), size, offset)

    @contextmanager
    def writer(self, uuid: str, offset: int) -> Iterator[Writer]:
        descriptor = os.open(self.path(uuid), os.O_WRONLY)
        try:
            yield Writer(descriptor, offset, self.room)
        finally:
            os.close(descriptor)

    def reconcile(self, sizes: Mapping[str, int], removed: Mapping[str, bool]) -> list[str]:
        """Make the folder agree with the state, after a crash or with another state than before; lose no data.

        sizes: of all drives, by UUID. removed: UUIDs of drives whose files are to be removed, and whether only if
        nothing was written to them. Files of other drives are set aside, and come back with a state that names them.
        Returns the UUIDs of removed files.
        """
        doomed = [uuid for uuid, empty in removed.items() if uuid not in sizes and not (empty and self._is_used(uuid))]
        for uuid, size in sizes.items():
            self._find(uuid, size)
            self._fit(uuid, size)
        for path in self._folder.glob("*.raw"):
            if path.stem not in sizes and path.stem not in doomed:
                aside = self.set_aside(path)
                LOG.warning("%s: the state names no drive %s, so its file was set aside", aside, path.stem)
        return [uuid for uuid in doomed if self.remove(uuid)]

    def set_aside(self, path: Path) -> Path:
        """Move a file of the folder to where no drive is served from; return its new path."""
        self._unknown.mkdir(exist_ok=True)
        aside, number = self._unknown / path.name, 0
        while aside.exists():
            number += 1
            aside = self._unknown / f"{path.stem}.{number}.raw"
        path.rename(aside)
        return aside

    def _find(self, uuid: str, size: int) -> None:
        path = self.path(uuid)
        if path.exists():
            return
        aside = self._unknown / path.name
        if aside.exists():
            aside.rename(path)
            LOG.warning("drive %s: its file is back from %s", uuid, aside)
        else:
            self.create(uuid, size)
            LOG.error("drive %s: its file was lost, and it is empty now: restore a backup of it", uuid)

    def _fit(self, uuid: str, size: int) -> None:
        """Give a file the size of its drive, unless bytes that were written would be cut off."""
        found = self.path(uuid).stat().st_size
        if found > size and not self._is_hole(uuid, size):
            told = "drive %s: its file has %d bytes, and the state says %d: set its size to use them all"
            LOG.warning(told, uuid, found, size)
        elif found != size:
            self.resize(uuid, size)

    def _is_used(self, uuid: str) -> bool:
        return self.path(uuid).exists() and not self._is_hole(uuid, 0)

    def _is_hole(self, uuid: str, offset: int) -> bool:
        """Tell whether nothing was written to a drive from an offset on."""
        with self.path(uuid).open("rb", buffering=0) as file:
            return seek(file.fileno(), offset, os.SEEK_DATA, -1) == -1


@contextmanager
def _full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise DiskFull(f"The disk under the drives has no space left: {error.strerror}") from error


_ZEROS = bytes(PIECE)


class Writer:
    """Writes to a range of a drive. Zeros take no space where nothing was written before. room: see DriveFiles."""

    def __init__(self, descriptor: int, offset: int, room: Callable[[], AbstractContextManager[None]]) -> None:
        self._descriptor = descriptor
        self._room = room
        self.position = offset

    def write(self, *pieces: Piece) -> None:
        """Write pieces one after the other. Raises DiskFull when the disk has no space."""
        with self._room():
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
        return min(seek(self._descriptor, self.position, way, end), end)
