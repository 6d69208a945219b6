# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image files onto drives: in compressed chunks, without sending what is there already, and resumed when cut.

A drive tells about itself in two keys. `user:sha256` is the checksum of the image that it was given, set when its last
byte is acknowledged. `user:upload` is there meanwhile: "CHECKSUM OFFSET fresh|over"; all before OFFSET is done.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Callable, NamedTuple, Optional, Union

from .client import ElasticHosts
from .drives import Drive
from .errors import AnswerLost, BusyError, ElasticHostsError, Refused, SystemFault

CHUNK = 4 * 1024 * 1024
"""Bytes of one write call, as the vendor's own tool has it (elastichosts-api 1.7)."""
PROBE = 4096
ATTEMPTS = 5
PAUSE = 0.25
CHECKSUM_KEY = "user:sha256"
PROGRESS_KEY = "user:upload"

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""


class Image(NamedTuple):
    """A local image file, as it was when it was looked at."""

    path: Path
    size: int
    sha256: str
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
    """Size (bytes) and checksum of an image file. Raises Refused when it cannot be read or is empty."""
    path = Path(path)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            for piece in iter(lambda: file.read(1024 * 1024), b""):
                digest.update(piece)
            status = os.fstat(file.fileno())
    except OSError as error:
        raise Refused(f"the image file {str(path)!r} cannot be read ({error.strerror}): correct src") from None
    if not status.st_size:
        raise Refused(f"the image file {str(path)!r} is empty: correct src")
    return Image(path, status.st_size, digest.hexdigest(), status.st_mtime_ns)


def holds(drive: Drive, image: Image) -> bool:
    """Was this very image uploaded to the drive before, to its end?"""
    return drive.properties.get(CHECKSUM_KEY) == image.sha256 and PROGRESS_KEY not in drive.properties


def upload(
    client: ElasticHosts,
    image: Union[str, Path, Image],
    drive: Drive,
    *,
    chunk: int = CHUNK,
    progress: Optional[Progress] = None,
    fresh: bool = False,
) -> Uploaded:
    """Write an image file to the start of a drive; nothing when the drive holds it already.

    `fresh` says that nothing was ever written to the drive: chunks of zeros are left out then, if the drive does read
    as zeros. A cut upload is resumed by calling again, with whatever `fresh`. Raises Refused when the file cannot be
    read, does not fit, changes meanwhile, or the drive is in use; and the errors of the calls.
    """
    if not isinstance(image, Image):
        image = inspect(image)
    if holds(drive, image):
        return Uploaded(drive, False, 0)
    _check(image, drive)
    mark = _resumed(drive, image) or Mark(image.sha256, 0, fresh and _is_untouched(drive))
    client.drives.set(drive.uuid, {CHECKSUM_KEY: None, PROGRESS_KEY: mark.text()})
    with _Recorder(client, drive.uuid, mark) as recorder:
        sent = _send(client, image, drive, recorder, chunk, progress)
    done = client.drives.set(drive.uuid, {CHECKSUM_KEY: image.sha256, PROGRESS_KEY: None})
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


def _resumed(drive: Drive, image: Image) -> Optional[Mark]:
    words = drive.properties.get(PROGRESS_KEY, "").split()
    if len(words) != 3 or words[0] != image.sha256 or not (words[1].isascii() and words[1].isdigit()):
        return None
    offset = int(words[1][:20])
    return Mark(image.sha256, offset, words[2] == "fresh") if offset <= image.size else None


def _is_untouched(drive: Drive) -> bool:
    return CHECKSUM_KEY not in drive.properties and PROGRESS_KEY not in drive.properties


class _Recorder:
    """Keeps `user:upload` up to date beside the writes, without making them wait for it."""

    def __init__(self, client: ElasticHosts, uuid: str, mark: Mark) -> None:
        self._client = client
        self._uuid = uuid
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._pending: Optional[Future[None]] = None
        self._recorded = mark
        self.mark = mark

    def done(self, offset: int) -> None:
        """All bytes before `offset` are acknowledged."""
        self.mark = self.mark._replace(offset=offset)
        if self._pending is None or self._pending.done():
            self._pending = self._pool.submit(self._record, self.mark)

    def _record(self, mark: Mark) -> None:
        # A mark that is missing or late costs bytes at the next resume, never correctness: no reason to stop.
        try:
            self._client.drives.set(self._uuid, {PROGRESS_KEY: mark.text()})
            self._recorded = mark
        except ElasticHostsError:
            return

    def __enter__(self) -> _Recorder:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._pool.shutdown(wait=True)
        if kind is not None and self._recorded != self.mark:
            self._record(self.mark)


def _send(
    client: ElasticHosts, image: Image, drive: Drive, recorder: _Recorder, chunk: int, progress: Optional[Progress]
) -> int:
    sent = 0
    zeros_are_there: Optional[bool] = None if recorder.mark.fresh else False
    with image.path.open("rb") as file:
        _check_unchanged(image, file)
        offset = recorder.mark.offset
        file.seek(offset)
        while offset < image.size:
            data = file.read(min(chunk, image.size - offset))
            _check_unchanged(image, file)
            blank = data == bytes(len(data))
            if blank and zeros_are_there is None:
                zeros_are_there = _reads_as_zeros(client, drive, offset, len(data))
            if not (blank and zeros_are_there):
                _write(client, drive.uuid, offset, data)
                sent += len(data)
            offset += len(data)
            recorder.done(offset)
            if progress is not None:
                progress(offset, image.size)
    return sent


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


def _write(client: ElasticHosts, uuid: str, offset: int, data: bytes) -> None:
    """One chunk, tried again after a lost answer: the same bytes in the same place do no harm.

    BusyError is then the lost call, still at work.
    """
    lost = False
    for attempt in range(ATTEMPTS):
        try:
            client.drives.write(uuid, offset, data)
            return
        except (AnswerLost, SystemFault, BusyError) as error:
            lost = lost or not isinstance(error, BusyError)
            if not lost or attempt == ATTEMPTS - 1:
                raise
        client.transport.clock.sleep(PAUSE * 2.0**attempt)
