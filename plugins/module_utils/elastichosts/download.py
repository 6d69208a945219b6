# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drives into image files: read in chunks side by side, resumed when cut, not read again while nothing was written.

Beside the file `disk.img` stands `disk.img.elastichosts`, a note in JSON: which drive it came from, its checksum, the
state of the drive then. Until the last byte is there the content is in `disk.img.part`, which has its own note.

A block device is written to in place and has no note: nothing tells what else was written to it since. A symbolic link
is followed, to the device or file that it leads to.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Deque, Dict, NamedTuple, Optional, Tuple, Union

from .client import ElasticHosts
from .clock import Deadline
from .drives import Drive
from .errors import ElasticHostsError, Refused
from .local_files import RESUMED, Progress, device_size, is_block_device, time_over

CHUNK = 4 * 1024 * 1024
"""Bytes of one read call: more the API does not give (elastichosts-api 2.1)."""
WORKERS = 4
NOTE = ".elastichosts"
PART = ".part"
_CONTENT_KEYS = ("size", "write:bytes", "write:requests", "user:sha256", "user:upload", "user:image", "user:copying")


class Downloaded(NamedTuple):
    """What a download did: `received` counts the bytes that travelled."""

    changed: bool
    received: int
    sha256: str


def is_current(path: Union[str, Path], drive: Drive) -> bool:
    """Is the file a whole download of `drive`, and was nothing written to either since?

    A cloud that keeps no counters of written bytes shows new uploads and copies only.
    """
    path = _followed(path)
    note = _note(path)
    return (
        note is not None
        and path.is_file()
        and note.get("drive") == drive.uuid
        and note.get("content") == _content(drive)
        and (_stamp(path) == note.get("file"))
    )


def check(path: Union[str, Path], drive: Drive) -> None:
    """Raises Refused when the drive cannot be downloaded to there."""
    path = Path(path)
    label = f"drive {drive.name or drive.uuid!r} ({drive.uuid})"
    if drive.claimed:
        raise Refused(
            f"{label} is in use by {' '.join(drive.claimed)}, and would change while it is read: stop that server first"
        )
    folder = _followed(path).parent
    try:
        if is_block_device(path, "dest"):
            _opened_device(path, drive).close()
            return
    except FileNotFoundError:
        if not folder.is_dir():
            raise Refused(
                f"dest {str(path)!r} is in no folder that exists ({folder}): give the path of a file"
            ) from None
        if _is_among_devices(folder):
            raise Refused(
                f"dest {str(path)!r} is not there, and a file among the devices would be in memory only: give the path "
                "of a block device that exists, or of a file"
            ) from None
    except OSError as error:
        raise _unwritable(path, error) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Refused(f"the folder of dest {str(path)!r} is not writable: correct dest, or its permissions")
    for file in _own_files(_followed(path)):
        if os.path.lexists(file) and not stat.S_ISREG(file.lstat().st_mode):
            kind = "a symbolic link" if file.is_symlink() else "no regular file"
            raise Refused(
                f"{str(file)!r}, which the download to dest needs, is {kind}: remove it, or give another dest"
            )


def download(
    client: ElasticHosts,
    drive: Drive,
    path: Union[str, Path],
    *,
    chunk: int = CHUNK,
    workers: int = WORKERS,
    progress: Optional[Progress] = None,
    deadline: Optional[Deadline] = None,
) -> Downloaded:
    """Read a whole drive into a file or onto a block device; nothing when the file is a current copy of it.

    A cut download to a file is resumed by calling again, and reads at most `workers` chunks anew. The file appears,
    with mode 0600, when its last byte is there. Raises Refused, WaitTimeout after `deadline`, and the errors of the
    calls.
    """
    target = _followed(path)
    if is_current(target, drive):
        return Downloaded(False, 0, str((_note(target) or {}).get("sha256", "")))
    check(path, drive)
    part = None if target.is_block_device() else target.with_name(target.name + PART)
    try:
        with _opened(part) if part else _opened_device(target, drive) as file:
            digest, begin = _resumed(part, file, drive) if part else (hashlib.sha256(), 0)
            if part:
                file.truncate(begin)
            _receive(_Receiving(client, drive, part, file, digest, chunk, workers, progress, deadline), begin)
            file.flush()
            os.fsync(file.fileno())
        if part:
            part.replace(target)
            _write_note(target, drive, digest.hexdigest(), drive.size)
            _note_path(part).unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None
    return Downloaded(True, drive.size - begin, digest.hexdigest())


class _Receiving(NamedTuple):
    """One download under way."""

    client: ElasticHosts
    drive: Drive
    part: Optional[Path]
    """the file, which has a note of how far it is; None for a block device"""
    file: BinaryIO
    digest: Any
    chunk: int
    workers: int
    progress: Optional[Progress]
    deadline: Optional[Deadline]

    def read(self, offset: int, size: int) -> bytes:
        with self.client.transport.within(self.deadline):
            return self.client.drives.read(self.drive.uuid, offset, size)

    def check_time(self, done: int) -> None:
        """Raise WaitTimeout when the time is over; `done`: bytes that are in the file."""
        if self.deadline is not None and not self.deadline.left():
            what = f"the download of drive {self.drive.name or self.drive.uuid!r} ({self.drive.uuid})"
            advice = RESUMED if self.part is not None else "a block device is begun anew by the next run"
            raise time_over(what, done, self.drive.size, self.deadline, advice)


def _receive(job: _Receiving, begin: int) -> None:
    """Read the drive from byte `begin` to its end into the file. Raises WaitTimeout and the errors of the calls."""
    flights: Deque[Future[bytes]] = deque()
    asked = done = begin
    with ThreadPoolExecutor(job.workers) as pool:
        while done < job.drive.size:
            job.check_time(done)
            while asked < job.drive.size and len(flights) < job.workers:
                size = min(job.chunk, job.drive.size - asked)
                flights.append(pool.submit(job.read, asked, size))
                asked += size
            try:
                data = flights.popleft().result()
            except ElasticHostsError:
                job.check_time(done)  # a call that was cut short for want of time
                raise
            expected = min(job.chunk, job.drive.size - done)
            if len(data) != expected:
                raise Refused(
                    f"drive {job.drive.uuid} gave {len(data)} bytes where {expected} were asked for: "
                    "it became smaller meanwhile; download it again"
                )
            job.digest.update(data)
            job.file.write(data)
            done += len(data)
            if job.part is not None:
                job.file.flush()
                _write_note(job.part, job.drive, job.digest.copy().hexdigest(), done)
            if job.progress is not None:
                job.progress(done, job.drive.size)


def _resumed(part: Path, file: BinaryIO, drive: Drive) -> Tuple[Any, int]:
    """The digest and length of what an earlier download of the same content left; the file stands there then."""
    note = _note(part) or {}
    digest = hashlib.sha256()
    if note.get("drive") == drive.uuid and note.get("content") == _content(drive):
        length = note.get("length")
        left = length if isinstance(length, int) and 0 < length <= drive.size else 0
        while left:
            piece = file.read(min(left, 1024 * 1024))
            if not piece:
                break
            digest.update(piece)
            left -= len(piece)
        if not left and digest.hexdigest() == note.get("sha256"):
            return digest, int(length or 0)
    file.seek(0)
    return hashlib.sha256(), 0


def _opened(file: Path) -> BinaryIO:
    """Open a file beside dest for reading and writing: seen by nobody else, since it may hold anything."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    return os.fdopen(os.open(file, flags, 0o600), "r+b")


def _opened_device(path: Path, drive: Drive) -> BinaryIO:
    """Open a block device for writing. Raises Refused when the drive is larger, OSError when the device is mounted.

    Linux gives a block device with O_EXCL to nobody else who asks for it so, as a mount does.
    """
    device = os.fdopen(os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC), "r+b")
    size = device_size(device)
    if size < drive.size:
        device.close()
        raise Refused(
            f"dest {str(path)!r} has {size} bytes, and the drive {drive.size}: give a larger device or a file"
        )
    return device


def _is_among_devices(folder: Path) -> bool:
    """Return whether `folder` belongs to the file system of /dev, as /dev/shm, which is mounted, does not."""
    devices = Path("/dev")
    return devices in (folder, *folder.parents) and folder.stat().st_dev == devices.stat().st_dev


def _unwritable(path: Union[str, Path], error: OSError) -> Refused:
    if error.errno == errno.EBUSY:
        return Refused(f"dest {str(path)!r} is in use, as a volume that is mounted: unmount it first, or correct dest")
    return Refused(f"dest {str(path)!r} cannot be written ({error.strerror}): correct dest, or free space")


def _followed(path: Union[str, Path]) -> Path:
    """Return the path with its symbolic links followed: the file is replaced, and a link to it stays."""
    return Path(os.path.realpath(path))


def _own_files(path: Path) -> Tuple[Path, ...]:
    """Return the files beside `path` that a download writes."""
    part = path.with_name(path.name + PART)
    notes = (_note_path(path), _note_path(part))
    return (part, *notes, *(_new(note) for note in notes))


def _content(drive: Drive) -> Dict[str, str]:
    """What changes when the content of the drive does."""
    return {key: drive.properties[key] for key in _CONTENT_KEYS if key in drive.properties}


def _stamp(path: Path) -> Optional[Dict[str, int]]:
    try:
        status = path.stat()
    except OSError:
        return None
    return {"size": status.st_size, "modified_ns": status.st_mtime_ns}


def _note_path(path: Path) -> Path:
    return path.with_name(path.name + NOTE)


def _new(note: Path) -> Path:
    return note.with_name(note.name + ".new")


def _note(path: Path) -> Optional[Dict[str, Any]]:
    file = _note_path(path)
    try:
        note = json.loads(file.read_text() if file.is_file() else "")
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) else None


def _write_note(path: Path, drive: Drive, sha256: str, length: int) -> None:
    """In one step, so that a cut leaves the old note or the new one."""
    note = {"drive": drive.uuid, "content": _content(drive), "sha256": sha256, "length": length, "file": _stamp(path)}
    temporary = _new(_note_path(path))
    with _opened(temporary) as file:
        file.truncate()
        file.write(json.dumps(note, indent=1).encode() + b"\n")
    temporary.replace(_note_path(path))
