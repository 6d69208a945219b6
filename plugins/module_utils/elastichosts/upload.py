# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads of image files to drives: in chunks, several at a time, gzipped where that pays, resumed when interrupted.

A drive tells what was uploaded to it. `user:sha256` is the checksum of the image that it holds, set when the last byte
is acknowledged. While an upload goes on there is `user:upload` instead: "CHECKSUM OFFSET fresh|over". All before byte
OFFSET is on the drive, and CHECKSUM is that of just these bytes, so that an interrupted upload can be resumed with any
file that begins the same. "fresh" says that the drive was new, so that zeros need not be sent.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Deque, Iterator, NamedTuple, Optional, Tuple, Union

from .client import ElasticHosts
from .clock import Deadline
from .drives import Drive, gzipped
from .errors import AnswerLost, BusyError, ElasticHostsError, Refused, SystemFault
from .local_files import RESUMED, Progress, device_size, is_block_device, time_over

CHECKSUM_KEY = "user:sha256"
PROGRESS_KEY = "user:upload"
CHUNK = 4 * 1024 * 1024
"""bytes of a write call, as in the vendor's own tool (elastichosts-api 1.7)"""
TRIAL_CHUNK = 1024 * 1024
"""bytes of a write call at the start, while it is not known whether the cloud takes several at a time: a call that it
refuses has travelled in vain"""
WORKERS = 8
"""chunks that an interrupted upload may have to send again: under way, or acknowledged and not recorded"""
ATTEMPTS = 5
PAUSE = 0.25
SAMPLE = 16 * 1024
SHRINKS = 0.9
"""a chunk is gzipped when a sample of it becomes shorter than this part of its length ..."""
SOON = 0.2
"""... and when it has to wait longer than these seconds to be sent: a fast line takes less time than gzip"""
PROBE = 4096
_ZEROS = bytes(CHUNK)


class Image(NamedTuple):
    """A local image, as it was when it was inspected: a file, or a block device, whose status tells no changes."""

    path: Path
    size: int
    modified_ns: int
    is_device: bool


class Uploaded(NamedTuple):
    """What an upload did: `sent` counts the bytes of the image that were sent (before compression)."""

    drive: Drive
    changed: bool
    sent: int


class _Mark(NamedTuple):
    """How far an upload has come, as in `user:upload`."""

    sha256: str
    offset: int
    fresh: bool

    def text(self) -> str:
        return f"{self.sha256} {self.offset} {'fresh' if self.fresh else 'over'}"


def inspect(path: Union[str, Path]) -> Image:
    """Return what an upload needs to know of an image. Raises Refused when it cannot be read or is empty.

    What is there is looked at before it is opened: to open a named pipe waits for another program.
    """
    path = Path(path)
    with _named(path):
        is_device = is_block_device(path, "src")
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            size = device_size(file) if is_device else status.st_size
            file.read(1)
    if not size:
        raise Refused(f"the image file {str(path)!r} is empty: correct src")
    return Image(path, size, status.st_mtime_ns, is_device)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Raise Refused, with the name of the image, for what the system says of it."""
    try:
        yield
    except OSError as error:
        raise Refused(f"the image file {str(path)!r} cannot be read ({error.strerror}): correct src") from None


def checksum(image: Image) -> str:
    """Return the SHA-256 of the whole file, in hexadecimal. Raises Refused when it was changed since `inspect`."""
    with _named(image.path), image.path.open("rb") as file:
        digest = _digest_of(file, image.size)
        _check_unchanged(image, file)
    return str(digest.hexdigest())


def holds(drive: Drive, image: Image) -> bool:
    """Return whether this very image was uploaded to the drive; the file is read only if the drive has a checksum."""
    if PROGRESS_KEY in drive.properties or CHECKSUM_KEY not in drive.properties:
        return False
    return drive.properties[CHECKSUM_KEY] == checksum(image)


def upload(
    client: ElasticHosts,
    image: Union[str, Path, Image],
    drive: Drive,
    *,
    chunk: int = CHUNK,
    workers: int = WORKERS,
    progress: Optional[Progress] = None,
    fresh: bool = False,
    anew: bool = False,
    deadline: Optional[Deadline] = None,
) -> Uploaded:
    """Write an image file to the start of a drive; nothing when the drive holds it already.

    An interrupted upload is resumed by calling again, with whatever `fresh`, and sends at most `workers` chunks again.

    :param chunk: bytes of a write call
    :param fresh: nothing was ever written to the drive: zeros are left out then, if the drive does read as zeros
    :param anew: the caller knows already that the drive does not hold the image
    :param deadline: no chunk is sent after it
    :raises WaitTimeout: the deadline is over; says how much is on the drive
    :raises Refused: the file cannot be read, does not fit or changes while it is sent, or the drive is in use
    :raises ElasticHostsError: a call failed
    """
    if not isinstance(image, Image):
        image = inspect(image)
    if not anew and holds(drive, image):
        return Uploaded(drive, False, 0)
    _check_room(image, drive)
    with _named(image.path), image.path.open("rb") as file:
        _check_unchanged(image, file)
        digest, mark = _begin(image, file, drive, fresh)
        client.drives.set(drive.uuid, {CHECKSUM_KEY: None, PROGRESS_KEY: mark.text()})
        sender = _Sender(client, drive.uuid, image, file, digest, mark, chunk, workers, deadline)
        sender.run(progress)
    done = client.drives.set(drive.uuid, {CHECKSUM_KEY: digest.hexdigest(), PROGRESS_KEY: None})
    return Uploaded(done, True, sender.sent)


class _Flight(NamedTuple):
    """A chunk that is not acknowledged yet."""

    end: int
    sha256: str
    """of the image up to its end"""
    written: Optional[Future[None]]
    """None for zeros that need not be sent"""


class _Sender:
    """Sends what is left of an image: reads each chunk once, adds it to the checksum, has it written, records it."""

    def __init__(
        self,
        client: ElasticHosts,
        uuid: str,
        image: Image,
        file: BinaryIO,
        digest: Any,
        mark: _Mark,
        chunk: int,
        workers: int,
        deadline: Optional[Deadline],
    ) -> None:
        """:param digest: of the bytes before `mark.offset`, where the file stands"""
        self._client = client
        self._uuid = uuid
        self._image = image
        self._file = file
        self._digest = digest
        self._mark = self._recorded = mark
        self._chunk = chunk
        self._deadline = deadline
        self._record_after = max(1, workers // 2)
        self._ahead = max(1, workers - self._record_after)
        self._zeros_are_there: Optional[bool] = None if mark.fresh else False
        self._flights: Deque[_Flight] = deque()
        self._unrecorded = 0
        self.sent = 0

    def run(self, progress: Optional[Progress] = None) -> None:
        """Send the image from the mark to its end. Raises Refused when the file changes, and errors of the calls."""
        with ThreadPoolExecutor(self._ahead) as pool:
            writer = _Writer(self._client, self._uuid, self._deadline)
            try:
                offset = self._mark.offset
                while offset < self._image.size:
                    self._check_time()
                    data = self._next_chunk(offset)
                    written = None
                    if not self._is_left_out(offset, data):
                        written = pool.submit(writer.write, offset, data)
                        if not self.sent:
                            written.result()  # by itself: it shows whether the drive can be written to
                            writer.share(max(1, self._ahead - 1))  # one more is gzipped meanwhile
                        self.sent += len(data)
                    offset += len(data)
                    self._flights.append(_Flight(offset, self._digest.hexdigest(), written))
                    while len(self._flights) > self._ahead:
                        self._land(progress)
                while self._flights:
                    self._land(progress)
                _check_unchanged(self._image, self._file)
            except BaseException as error:
                self._save_progress()
                if isinstance(error, ElasticHostsError):
                    _check_unchanged(self._image, self._file)
                    self._check_time()
                raise

    def _check_time(self) -> None:
        if self._deadline is not None and not self._deadline.left():
            what = f"the upload of {str(self._image.path)!r}"
            raise time_over(what, self._mark.offset, self._image.size, self._deadline, RESUMED)

    def _next_chunk(self, offset: int) -> bytes:
        size = self._chunk if self.sent >= self._chunk else min(self._chunk, TRIAL_CHUNK)
        size = min(size - offset % size, self._image.size - offset)
        data = self._file.read(size)
        _check_unchanged(self._image, self._file)
        if len(data) < size:
            raise _changed(self._image)
        self._digest.update(data)
        return data

    def _is_left_out(self, offset: int, data: bytes) -> bool:
        """Return whether a chunk need not be sent: it is all zeros, and so is the drive there."""
        if self._zeros_are_there is False or data != (_ZEROS if len(data) == CHUNK else bytes(len(data))):
            return False
        if self._zeros_are_there is None:
            # An encrypted drive may read as noise where nothing was written; one look tells.
            found = self._client.drives.read(self._uuid, offset, min(PROBE, len(data)))
            self._zeros_are_there = found == bytes(len(found))
        return self._zeros_are_there

    def _land(self, progress: Optional[Progress] = None) -> None:
        """Wait for the oldest chunk. Raises what its write raised."""
        flight = self._flights[0]
        if flight.written is not None:
            flight.written.result()
            self._unrecorded += 1
        self._flights.popleft()
        self._mark = self._mark._replace(offset=flight.end, sha256=flight.sha256)
        if self._unrecorded >= self._record_after:
            self._record()
        if progress is not None:
            progress(flight.end, self._image.size)

    def _record(self) -> None:
        """Record how far the upload has come. A record that fails costs bytes when resuming, never correctness."""
        with contextlib.suppress(ElasticHostsError):
            self._client.drives.set(self._uuid, {PROGRESS_KEY: self._mark.text()})
        self._recorded, self._unrecorded = self._mark, 0

    def _save_progress(self) -> None:
        """After a failure: record what was written without a gap, so that it need not be sent again."""
        with contextlib.suppress(ElasticHostsError):
            while self._flights:
                self._land()
        if self._recorded != self._mark:
            self._record()


class _Writer:
    """Writes chunks to a drive, one at a time until `shared`, and again once the cloud turns out to allow no more.

    Clouds may allow one writer for a drive (elastichosts-api 2.1): a call that fails while others are under way is
    then one that they were in the way of, or that was hung up on for it.
    """

    def __init__(self, client: ElasticHosts, uuid: str, deadline: Optional[Deadline]) -> None:
        self._client = client
        self._uuid = uuid
        self._deadline = deadline
        self._changed = threading.Condition()
        self._writing = 0
        self._most = 1

    def share(self, writers: int) -> None:
        """Let so many threads write at the same time from now on."""
        self._most = writers

    def write(self, offset: int, data: bytes) -> None:
        """Write `data` at byte `offset`; the same bytes in the same place do no harm when they are written twice."""
        packed = None
        most = self._begin(SOON)
        if not most:  # the line is slow: there is time to gzip
            packed = gzipped(data) if _shrinks(data) else None
            most = self._begin()
        try:
            if most == 1:
                self._persist(offset, data, packed)
            else:
                self._call(offset, data, packed)
            return
        except (BusyError, AnswerLost, SystemFault):
            if most == 1:
                raise
            self._most = 1
        finally:
            self._end()
        self._begin()
        try:
            self._persist(offset, data, packed)
        finally:
            self._end()

    def _begin(self, timeout: Optional[float] = None) -> int:
        """Wait until this thread may write. Return how many may at this time, 0 when the time is over before."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._writing < self._most, timeout):
                return 0
            self._writing += 1
            return self._most

    def _end(self) -> None:
        with self._changed:
            self._writing -= 1
            self._changed.notify_all()

    def _persist(self, offset: int, data: bytes, packed: Optional[bytes]) -> None:
        """Write a chunk while nobody else does; again after a lost answer. BusyError is then the lost call at work."""
        lost = False
        for attempt in range(ATTEMPTS):
            try:
                self._call(offset, data, packed)
                return
            except (AnswerLost, SystemFault, BusyError) as error:
                lost = lost or not isinstance(error, BusyError)
                if not lost or attempt == ATTEMPTS - 1:
                    raise
            self._client.transport.clock.sleep(PAUSE * 2.0**attempt)

    def _call(self, offset: int, data: bytes, packed: Optional[bytes]) -> None:
        with self._client.transport.within(self._deadline):
            if packed is None:
                self._client.drives.write(self._uuid, offset, data)
            else:
                self._client.drives.write_packed(self._uuid, offset, packed)


def _shrinks(data: bytes) -> bool:
    begin = max(0, (len(data) - SAMPLE) // 2)
    sample = data[begin : begin + SAMPLE]
    return len(gzipped(sample)) < SHRINKS * len(sample)


def _begin(image: Image, file: BinaryIO, drive: Drive, fresh: bool) -> Tuple[Any, _Mark]:
    """Return where to begin: the digest of what is done, and the mark that says so. The file stands there then."""
    mark = _mark_of(drive)
    if mark is not None and mark.offset <= image.size:
        digest = _digest_of(file, mark.offset)
        if digest.hexdigest() == mark.sha256:
            return digest, mark
        file.seek(0)
    untouched = CHECKSUM_KEY not in drive.properties and PROGRESS_KEY not in drive.properties
    digest = hashlib.sha256()
    return digest, _Mark(digest.hexdigest(), 0, fresh and untouched)


def _mark_of(drive: Drive) -> Optional[_Mark]:
    """Return the mark of an interrupted upload; None when there is none, or what is there is not one."""
    words = drive.properties.get(PROGRESS_KEY, "").split()
    if len(words) != 3 or not (words[1].isascii() and words[1].isdigit()):
        return None
    return _Mark(words[0], int(words[1][:20]), words[2] == "fresh")


def _digest_of(file: BinaryIO, size: int) -> Any:
    """Return the digest of the next `size` bytes of the file; of fewer when it ends before."""
    digest = hashlib.sha256()
    while size:
        data = file.read(min(size, TRIAL_CHUNK))
        if not data:
            break
        digest.update(data)
        size -= len(data)
    return digest


def _check_room(image: Image, drive: Drive) -> None:
    label = f"drive {drive.name or drive.uuid!r} ({drive.uuid})"
    if image.size > drive.size:
        raise Refused(
            f"the image file {str(image.path)!r} has {image.size} bytes and {label} only {drive.size}: "
            "make the drive larger (size)"
        )
    if drive.claimed:
        raise Refused(f"{label} is in use by {' '.join(drive.claimed)}: stop that server before the upload")


def _check_unchanged(image: Image, file: BinaryIO) -> None:
    """Raise Refused when the file is not as it was when it was inspected."""
    status = os.fstat(file.fileno())
    if not image.is_device and (status.st_size, status.st_mtime_ns) != (image.size, image.modified_ns):
        raise _changed(image)


def _changed(image: Image) -> Refused:
    return Refused(
        f"the image file {str(image.path)!r} was changed while it was uploaded, so the drive holds a part of it: "
        "leave the file alone and upload again"
    )
