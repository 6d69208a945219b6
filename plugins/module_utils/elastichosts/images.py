# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image files onto drives: in chunks side by side, without sending what is there already, and resumed when cut.

A drive tells about itself in two keys. `user:sha256` is the checksum of the image that it was given, set when its last
byte is acknowledged. `user:upload` is there meanwhile: "CHECKSUM OFFSET fresh|over"; all before OFFSET is on the drive,
and CHECKSUM is that of just these bytes, so that a cut upload goes on with any file that begins the same.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Callable, Deque, NamedTuple, Optional, Tuple, Union

from .client import ElasticHosts
from .drives import Drive
from .errors import ElasticHostsError, Refused
from .lanes import PROBE_CHUNK, Lanes

CHUNK = 4 * 1024 * 1024
"""Bytes of one write call, as the vendor's own tool has it (elastichosts-api 1.7)."""
WORKERS = 6
"""Chunks that are packed and sent at the same time."""
SLICE = 512 * 1024
"""Bytes that are read and added to the checksum at a time: they are still in the processor's cache then."""
PROBE = 4096
CHECKSUM_KEY = "user:sha256"
PROGRESS_KEY = "user:upload"

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""


class Image(NamedTuple):
    """A local image file, as it was when it was looked at."""

    path: Path
    size: int
    modified_ns: int


class Uploaded(NamedTuple):
    """What an upload did: `sent` counts the bytes of the image that travelled (before compression)."""

    drive: Drive
    changed: bool
    sent: int


class Mark(NamedTuple):
    """How far an upload has come. `fresh`: the drive was new, so what is zero need not be written."""

    sha256: str
    offset: int
    fresh: bool

    def text(self) -> str:
        return f"{self.sha256} {self.offset} {'fresh' if self.fresh else 'over'}"


def inspect(path: Union[str, Path]) -> Image:
    """What upload needs to know of an image file. Raises Refused when it cannot be read or is empty."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            file.read(1)
            status = os.fstat(file.fileno())
    except OSError as error:
        raise Refused(f"the image file {str(path)!r} cannot be read ({error.strerror}): correct src") from None
    if not status.st_size:
        raise Refused(f"the image file {str(path)!r} is empty: correct src")
    return Image(path, status.st_size, status.st_mtime_ns)


def checksum(image: Image) -> str:
    """The SHA-256 of the whole file, in hexadecimal."""
    digest = hashlib.sha256()
    with image.path.open("rb") as file:
        _hash_up_to(file, image.size, digest)
        _check_unchanged(image, file)
    return digest.hexdigest()


def holds(drive: Drive, image: Image) -> bool:
    """Was this very image uploaded to the drive, to its end? The file is read only if the drive knows a checksum."""
    if PROGRESS_KEY in drive.properties or CHECKSUM_KEY not in drive.properties:
        return False
    return drive.properties[CHECKSUM_KEY] == checksum(image)


def upload(
    client: ElasticHosts,
    image: Union[str, Path, Image],
    drive: Drive,
    *,
    chunk: Optional[int] = None,
    workers: int = WORKERS,
    progress: Optional[Progress] = None,
    fresh: bool = False,
    anew: bool = False,
) -> Uploaded:
    """Write an image file to the start of a drive; nothing when the drive holds it already.

    `fresh` says that nothing was ever written to the drive: chunks of zeros are left out then, if the drive does read
    as zeros. `anew` says that the caller knows already that the drive does not hold the image. `chunk` is the bytes of
    a write call. A cut upload is resumed by calling again, with whatever `fresh`, and resends at most `workers` chunks.
    Raises Refused when the file cannot be read, does not fit, changes meanwhile, or the drive is in use; and the errors
    of the calls.
    """
    if not isinstance(image, Image):
        image = inspect(image)
    if not anew and holds(drive, image):
        return Uploaded(drive, False, 0)
    _check(image, drive)
    with image.path.open("rb") as file:
        _check_unchanged(image, file)
        digest, mark = _begin(image, file, drive, fresh)
        client.drives.set(drive.uuid, {CHECKSUM_KEY: None, PROGRESS_KEY: mark.text()})
        with Lanes(client, drive.uuid, workers) as lanes, _Recorder(client, drive.uuid, mark) as recorder:
            sent = _send(_Sending(image, file, digest, lanes, recorder, workers, chunk, progress), client, drive)
    done = client.drives.set(drive.uuid, {CHECKSUM_KEY: digest.hexdigest(), PROGRESS_KEY: None})
    return Uploaded(done, True, sent)


def _check(image: Image, drive: Drive) -> None:
    label = f"drive {drive.name or drive.uuid!r} ({drive.uuid})"
    if image.size > drive.size:
        raise Refused(
            f"the image file {str(image.path)!r} has {image.size} bytes and {label} only {drive.size}: "
            "make the drive larger (size)"
        )
    if drive.claimed:
        raise Refused(f"{label} is in use by {' '.join(drive.claimed)}: stop that server before the upload")


def _begin(image: Image, file: BinaryIO, drive: Drive, fresh: bool) -> Tuple[Any, Mark]:
    """Where to begin: the digest of what is done, and the mark that says so. The file stands there then."""
    mark = _recorded(drive)
    if mark is not None and mark.offset <= image.size:
        digest = hashlib.sha256()
        _hash_up_to(file, mark.offset, digest)
        if digest.hexdigest() == mark.sha256:
            return digest, mark
        file.seek(0)
    untouched = CHECKSUM_KEY not in drive.properties and PROGRESS_KEY not in drive.properties
    digest = hashlib.sha256()
    return digest, Mark(digest.hexdigest(), 0, fresh and untouched)


def _recorded(drive: Drive) -> Optional[Mark]:
    words = drive.properties.get(PROGRESS_KEY, "").split()
    if len(words) != 3 or not (words[1].isascii() and words[1].isdigit()):
        return None
    return Mark(words[0], int(words[1][:20]), words[2] == "fresh")


def _hash_up_to(file: BinaryIO, size: int, digest: Any) -> None:
    left = size
    while left:
        piece = file.read(min(left, 1024 * 1024))
        if not piece:
            return
        digest.update(piece)
        left -= len(piece)


class _Recorder:
    """Keeps `user:upload` up to date beside the writes."""

    def __init__(self, client: ElasticHosts, uuid: str, mark: Mark) -> None:
        self._client = client
        self._uuid = uuid
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._pending: Optional[Future[None]] = None
        self._tried = self._recorded = mark
        self.mark = mark

    @property
    def offset(self) -> int:
        """All before it is recorded, or could not be: a mark that is late costs bytes, never correctness."""
        return self._tried.offset

    def done(self, offset: int, sha256: str, step: int) -> None:
        """All bytes before `offset` are acknowledged; `sha256` is their checksum. `step` bytes are worth a record."""
        self.mark = self.mark._replace(offset=offset, sha256=sha256)
        if offset - self._tried.offset < step:
            return
        if self._pending is None or self._pending.done():
            self._pending = self._pool.submit(self._record, self.mark)

    def catch_up(self) -> None:
        """Wait until all that is acknowledged is recorded."""
        if self._pending is not None:
            self._pending.result()
        if self._tried != self.mark:
            self._record(self.mark)

    def _record(self, mark: Mark) -> None:
        try:
            self._client.drives.set(self._uuid, {PROGRESS_KEY: mark.text()})
            self._recorded = mark
        except ElasticHostsError:
            pass
        self._tried = mark

    def __enter__(self) -> _Recorder:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._pool.shutdown(wait=True)
        if kind is not None and self._recorded != self.mark:
            self._record(self.mark)


class _Sending(NamedTuple):
    """One upload under way."""

    image: Image
    file: BinaryIO
    digest: Any
    lanes: Lanes
    recorder: _Recorder
    workers: int
    chunk: Optional[int]
    progress: Optional[Progress]


class _Flight(NamedTuple):
    """A chunk that is not acknowledged yet. `sent` is None for zeros that need not travel."""

    end: int
    sha256: str
    size: int
    buffer: bytearray
    sent: Optional[Future[None]]


def _send(job: _Sending, client: ElasticHosts, drive: Drive) -> int:
    """Read, check and hand out chunk after chunk; acknowledge them in the same order. The bytes that travelled."""
    total = 0
    zeros_are_there: Optional[bool] = None if job.recorder.mark.fresh else False
    flights: Deque[_Flight] = deque()
    free: Deque[bytearray] = deque()
    travelled: Deque[int] = deque()
    offset = job.recorder.mark.offset
    try:
        while offset < job.image.size:
            _make_room(job, flights, free, travelled)
            size = min(_chunk_size(job), job.image.size - offset)
            buffer = _buffer(free, size)
            data = _read(job, buffer, size)
            blank = _is_blank(data)
            if blank and zeros_are_there is None:
                zeros_are_there = _reads_as_zeros(client, drive, offset, size)
            sent = None if blank and zeros_are_there else job.lanes.write(offset, data)
            offset += size
            flights.append(_Flight(offset, job.digest.copy().hexdigest(), size, buffer, sent))
            if sent is not None:
                travelled.append(offset)
                if not total:
                    sent.result()  # by itself: it shows whether the drive can be written to, and how fast
                total += size
        while flights:
            _land(job, flights, free)
        _check_unchanged(job.image, job.file)
    except BaseException:
        _land_what_can(job, flights, free)
        raise
    return total


def _chunk_size(job: _Sending) -> int:
    """Small as long as nothing is known of the line."""
    known = job.lanes.rate is not None and job.lanes.settled
    return job.chunk or (CHUNK if known else PROBE_CHUNK)


def _make_room(job: _Sending, flights: Deque[_Flight], free: Deque[bytearray], travelled: Deque[int]) -> None:
    """Never more than `workers` chunks that a cut would cost: under way, or arrived and not recorded on the drive."""
    while len(flights) >= job.workers:
        _land(job, flights, free)
    while travelled and travelled[0] <= job.recorder.offset:
        travelled.popleft()
    if len(travelled) >= job.workers:
        job.recorder.catch_up()


def _land(job: _Sending, flights: Deque[_Flight], free: Deque[bytearray]) -> None:
    """Wait for the oldest chunk. Raises what its write raised."""
    flight = flights[0]
    if flight.sent is not None:
        flight.sent.result()
    flights.popleft()
    free.append(flight.buffer)
    job.recorder.done(flight.end, flight.sha256, job.workers // 2 * flight.size)
    if job.progress is not None:
        job.progress(flight.end, job.image.size)


def _land_what_can(job: _Sending, flights: Deque[_Flight], free: Deque[bytearray]) -> None:
    """After a failure: what arrived without a gap need not be sent again by the next run."""
    quiet = job._replace(progress=None)
    try:
        while flights:
            _land(quiet, flights, free)
    except ElasticHostsError:
        return


def _buffer(free: Deque[bytearray], size: int) -> bytearray:
    """Memory that is used again and again: fresh pages for every chunk would cost as much as the copying."""
    buffer = free.popleft() if free else bytearray(size)
    if len(buffer) < size:
        buffer = bytearray(size)
    return buffer


def _read(job: _Sending, buffer: bytearray, size: int) -> memoryview:
    view = memoryview(buffer)[:size]
    got = 0
    while got < size:
        more = job.file.readinto(view[got : got + SLICE])  # type: ignore[attr-defined]
        if not more:
            break
        job.digest.update(view[got : got + more])
        got += more
    _check_unchanged(job.image, job.file)
    return view


_BLANK = bytes(64 * 1024)


def _is_blank(data: memoryview) -> bool:
    if data[0] or data[-1]:
        return False
    step = len(_BLANK)
    return all(bytes(data[at : at + step]) == _BLANK[: len(data) - at] for at in range(0, len(data), step))


def _check_unchanged(image: Image, file: BinaryIO) -> None:
    status = os.fstat(file.fileno())
    if (status.st_size, status.st_mtime_ns) != (image.size, image.modified_ns):
        raise Refused(
            f"the image file {str(image.path)!r} was changed while it was uploaded, so the drive holds a part of it: "
            "leave the file alone and upload again"
        )


def _reads_as_zeros(client: ElasticHosts, drive: Drive, offset: int, size: int) -> bool:
    """An encrypted drive may read as noise where nothing was written; so look once."""
    data = client.drives.read(drive.uuid, offset, min(PROBE, size))
    return data == bytes(len(data))
