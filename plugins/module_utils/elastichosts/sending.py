# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image on its way to a drive: read once, added to the checksum, handed out and acknowledged chunk by chunk."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future
from typing import Any, BinaryIO, Callable, Deque, NamedTuple, Optional, Tuple

from .errors import ElasticHostsError
from .file_parts import FilePart
from .image_files import SLICE, Image, check_unchanged, is_blank
from .lanes import Lanes
from .marks import Recorder

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""
ReadsAsZeros = Callable[[int, int], bool]
"""Does the drive read as zeros there already (offset, size)?"""


class Upload(NamedTuple):
    """One upload under way: `digest` is that of the bytes before the file's position."""

    image: Image
    file: BinaryIO
    digest: Any
    lanes: Lanes
    recorder: Recorder
    reads_as_zeros: ReadsAsZeros
    workers: int
    chunk: Optional[int]
    progress: Optional[Progress]


class _Flight(NamedTuple):
    """A chunk that is not acknowledged yet. `sent` is None for zeros that need not travel."""

    end: int
    sha256: str
    sent: Optional[Future[None]]


class Sending:
    """Sends what is left of an image. At any time a cut costs at most `workers` chunks."""

    def __init__(self, job: Upload) -> None:
        self._job = job
        self._offset = job.recorder.mark.offset
        self._zeros_are_there: Optional[bool] = None if job.recorder.mark.fresh else False
        self._flights: Deque[_Flight] = deque()
        self._unrecorded: Deque[int] = deque()
        self._sent = 0
        self._slice = memoryview(bytearray(SLICE))

    def run(self) -> int:
        """The bytes that travelled. Raises Refused when the file changes, and the errors of the write calls."""
        try:
            while self._offset < self._job.image.size:
                self._make_room()
                self._take_off()
            while self._flights:
                self._land(self._job.progress)
            check_unchanged(self._job.image, self._job.file)
        except BaseException as error:
            self._land_what_can()
            if isinstance(error, ElasticHostsError):
                # A file that shrinks breaks off a call, and the drive stays busy with that for a moment.
                check_unchanged(self._job.image, self._job.file)
            raise
        return self._sent

    def _make_room(self) -> None:
        """Never more than `workers` chunks that a cut would cost: under way, or arrived and not recorded."""
        while len(self._flights) >= self._job.lanes.ahead:
            self._land(self._job.progress)
        while self._unrecorded and self._unrecorded[0] <= self._job.recorder.offset:
            self._unrecorded.popleft()
        if len(self._unrecorded) >= self._job.workers:
            self._job.recorder.catch_up()

    def _take_off(self) -> None:
        begin = self._offset
        size, blank = self._read(min(self._longest(), self._job.image.size - begin))
        part = FilePart(self._job.file.fileno(), begin, size)
        sent = None if blank else self._job.lanes.write(begin, part)
        self._offset += size
        self._flights.append(_Flight(self._offset, self._job.digest.copy().hexdigest(), sent))
        if sent is not None:
            self._unrecorded.append(self._offset)
            if not self._sent:
                sent.result()  # by itself: it shows whether the drive can be written to, and how fast
            self._sent += size

    def _longest(self) -> int:
        """Bytes that the next chunk may have. Who wants to be told of the progress hears of every twentieth of it."""
        longest = self._job.chunk or self._job.lanes.chunk
        return longest if self._job.progress is None else min(longest, max(SLICE, self._job.image.size // 20))

    def _read(self, most: int) -> Tuple[int, bool]:
        """Look through the next bytes: how many belong together, and are they zeros that need not travel?"""
        got, blank = 0, False
        while got < most:
            piece = self._slice[: most - got]
            piece = piece[: self._job.file.readinto(piece)]  # type: ignore[attr-defined]
            if not piece:
                break
            zeros = self._left_out(piece, self._offset + got)
            if got and zeros != blank:
                self._job.file.seek(-len(piece), os.SEEK_CUR)
                break
            self._job.digest.update(piece)
            blank = zeros
            got += len(piece)
        check_unchanged(self._job.image, self._job.file)
        return got, blank

    def _left_out(self, piece: memoryview, offset: int) -> bool:
        if self._zeros_are_there is False or not is_blank(piece):
            return False
        if self._zeros_are_there is None:
            self._zeros_are_there = self._job.reads_as_zeros(offset, len(piece))
        return self._zeros_are_there

    def _land(self, progress: Optional[Progress]) -> None:
        """Wait for the oldest chunk. Raises what its write raised."""
        flight = self._flights[0]
        if flight.sent is not None:
            flight.sent.result()
        self._flights.popleft()
        # What travelled was read from the file once more: what is recorded must be what was added to the checksum.
        check_unchanged(self._job.image, self._job.file)
        self._job.recorder.done(flight.end, flight.sha256, chunks=flight.sent is not None)
        if progress is not None:
            progress(flight.end, self._job.image.size)

    def _land_what_can(self) -> None:
        """After a failure: what arrived without a gap need not be sent again by the next run."""
        try:
            while self._flights:
                self._land(None)
        except ElasticHostsError:
            return
