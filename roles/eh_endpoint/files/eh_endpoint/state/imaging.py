# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies drives onto drives in threads, one at a time for each account (elastichosts-api 2.1)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ApiError, Full, Usage
from . import streams
from .drive_files import DriveFiles
from .objects import Drive
from .standard_images import StandardDrives
from .state import State
from .streams import NotGzip, Piece

LOG = logging.getLogger("eh_endpoint")
RETRY = 1.0
"""Seconds until the endpoint tries again to record the end of a copy."""
Copier = Callable[[Path, Path, Callable[[float], None]], None]
QUEUED = "queued"


@dataclass(eq=False)
class Job:
    """A copy. done and total in bytes of the source; began by the monotonic clock, None while the copy is queued."""

    target: Drive
    source: Drive
    conversion: str
    total: int
    began: float | None = None
    done: int = 0
    copied: bool = False


class _Closing(Exception):
    """Ends a copy because the endpoint ends."""


class Imaging:
    """Runs the copies that the `imaging` fields of drives describe. The fields are in the database, so that a copy that
    a killed process left is started again.

    seconds: minimum duration of a copy. A copy that fails ends like a copy that succeeds, with a line in the log: the
    API has no state for it. copier: copies unconverted files in place of this class.
    """

    def __init__(
        self, state: State, files: DriveFiles, standard: StandardDrives, seconds: float, copier: Copier | None = None
    ) -> None:
        self._state = state
        self._files = files
        self._standard = standard
        self._seconds = seconds
        self._copier = copier
        self._jobs: dict[str, Job] = {}
        self._threads = ThreadPoolExecutor(4, "imaging")
        self._closing = False

    def adopt(self) -> None:
        """Queue the unfinished copies of the database again, in the order of the calls."""
        asked = [(drive.imaging["asked"], drive) for drive in self._state.drives if drive.imaging]
        for _when, drive in sorted(asked, key=lambda pair: pair[0]):
            self.enqueue(drive)

    def check(self, source: Drive, conversion: str, room: int | None) -> int:
        """Return the minimum size of the target in bytes. room: size of the target. Raises Usage and Full."""
        needed = 0 if conversion == "gzip" else source.size
        if conversion == "gunzip":
            expanded = self._standard.rawsize(source.uuid)
            if expanded is None and not streams.looks_gzipped(self.path(source.uuid)):
                raise Usage(f"Drive {source.uuid}: invalid source for gunzip: it does not hold gzip data")
            needed = expanded or 0
        if room is not None and needed > room:
            raise Full(f"Drive {source.uuid} expands to {needed} bytes, and the target has {room}")
        return needed

    def enqueue(self, drive: Drive) -> None:
        """Queue the copy that the `imaging` field of a drive describes."""
        source = self._source(drive.imaging["source"]) if drive.imaging else None
        if source is None or drive.imaging is None:
            self._record_end(drive.uuid)
            return
        self._jobs[drive.uuid] = Job(drive, source, drive.imaging["conversion"], max(1, source.size))
        self._begin_next(drive.user)

    def state(self, drive: Drive) -> int | str | None:
        """Return the percentage done, `queued`, or None for a drive that is not being imaged."""
        if drive.imaging is None:
            return None
        job = self._jobs.get(drive.uuid)
        if job is None or job.began is None:
            return QUEUED
        copied = 100 * job.done // job.total
        elapsed = 100 * (self._state.clock.monotonic() - job.began) / self._seconds if self._seconds else 100
        return max(0, min(copied, int(elapsed), 99))

    def advance(self) -> None:
        """Record the end of copies that are complete and have taken their minimum duration."""
        now = self._state.clock.monotonic()
        for uuid, job in list(self._jobs.items()):
            if job.copied and job.began is not None and now >= job.began + self._seconds and self._record_end(uuid):
                del self._jobs[uuid]
                self._begin_next(job.target.user)

    def path(self, uuid: str) -> Path:
        """Return the file of a drive of a user or of a standard drive."""
        return self._files.path(uuid) if self._standard.get(uuid) is None else self._standard.path(uuid)

    def close(self) -> None:
        """End the threads; the next start begins unfinished copies again."""
        self._closing = True
        self._threads.shutdown()

    # ---- inside

    def _source(self, uuid: str) -> Drive | None:
        return self._state.drives.get(uuid) or self._standard.get(uuid)

    def _begin_next(self, user: str) -> None:
        waiting = [job for job in self._jobs.values() if job.target.user == user]
        if not waiting or waiting[0].began is not None:
            return
        job = waiting[0]
        job.began = self._state.clock.monotonic()
        copying = asyncio.get_running_loop().run_in_executor(self._threads, self._copy, job)
        copying.add_done_callback(lambda future: self._copied(job, future))

    def _copied(self, job: Job, copying: asyncio.Future[None]) -> None:
        error = None if copying.cancelled() else copying.exception()
        if isinstance(error, ApiError):
            LOG.error("imaging of drive %s failed: %s", job.target.uuid, error.message)
        elif error is not None:
            LOG.error("imaging of drive %s failed", job.target.uuid, exc_info=error)
        if self._closing:
            return
        job.copied = True
        self.advance()
        if job.target.uuid in self._jobs and job.began is not None:
            left = job.began + self._seconds - self._state.clock.monotonic()
            asyncio.get_running_loop().call_later(max(0.0, left), self.advance)

    def _record_end(self, uuid: str) -> bool:
        drive = self._state.drives.get(uuid)
        if drive is None:
            return True
        try:
            self._state.commit(replace(drive, imaging=None))
        except ApiError as error:
            LOG.error("the end of the imaging of drive %s cannot be recorded: %s", uuid, error.message)
            asyncio.get_running_loop().call_later(RETRY, self.advance)
            return False
        return True

    # ---- in a thread

    def _copy(self, job: Job) -> None:
        uuid, room = job.target.uuid, job.target.size
        if self._copier is not None and not job.conversion:
            self._copy_file(job, self._copier)
            return
        with self._files.writer(uuid, 0) as writer:
            try:
                for piece in self._pieces(job):
                    if self._closing:
                        return
                    size = piece if isinstance(piece, int) else len(piece)
                    if writer.position + size > room:
                        raise Full(f"Drive {uuid}: the data of drive {job.source.uuid} ends beyond its {room} bytes")
                    writer.write(piece)
            except NotGzip as error:
                raise Usage(f"Drive {job.source.uuid}: {error}") from None
        job.done = job.total

    def _copy_file(self, job: Job, copier: Copier) -> None:
        def progress(part: float) -> None:
            if self._closing:
                raise _Closing
            job.done = int(job.total * part)

        with suppress(_Closing), self._files.room():
            copier(self.path(job.source.uuid), self._files.path(job.target.uuid), progress)

    def _pieces(self, job: Job) -> Iterator[Piece]:
        if job.conversion == "gunzip" and self._standard.rawsize(job.source.uuid) is not None:
            # The content is known, so there is no need to decompress gigabytes of zeros.
            return self._counted(job, self._standard.expanded(job.source.uuid))
        source = self._counted(job, streams.stored(self.path(job.source.uuid), job.source.size))
        converted = {"gunzip": streams.gunzipped, "gzip": streams.gzipped}.get(job.conversion)
        return source if converted is None else converted(source)

    def _counted(self, job: Job, pieces: Iterator[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            yield piece
            job.done = min(job.total, job.done + (piece if isinstance(piece, int) else len(piece)))
