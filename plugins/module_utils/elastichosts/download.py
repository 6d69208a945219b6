# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drives into image files: read in chunks side by side, resumed when cut, not read again while nothing was written.

Beside the file `disk.img` stands `disk.img.elastichosts`, a note in JSON: which drive it came from, its checksum, the
state of the drive then. Until the last byte is there the content is in `disk.img.part`, which has its own note.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Callable, Deque, Dict, NamedTuple, Optional, Tuple, Union

from .client import ElasticHosts
from .drives import Drive
from .errors import Refused

CHUNK = 4 * 1024 * 1024
"""Bytes of one read call: more the API does not give (elastichosts-api 2.1)."""
WORKERS = 4
NOTE = ".elastichosts"
PART = ".part"
_CONTENT_KEYS = ("size", "write:bytes", "write:requests", "user:sha256", "user:upload", "user:image", "user:copying")

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""


class Downloaded(NamedTuple):
    """What a download did: `received` counts the bytes that travelled."""

    changed: bool
    received: int
    sha256: str


def is_current(path: Union[str, Path], drive: Drive) -> bool:
    """Is the file a whole download of `drive`, and was nothing written to either since?

    A cloud that keeps no counters of written bytes shows new uploads and copies only.
    """
    path = Path(path)
    note = _note(path)
    return (
        note is not None
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
    if path.is_dir() or not path.parent.is_dir():
        reason = "is a folder" if path.is_dir() else f"is in no folder that exists ({path.parent})"
        raise Refused(f"dest {str(path)!r} {reason}: give the path of a file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise Refused(f"the folder of dest {str(path)!r} is not writable: correct dest, or its permissions")


def download(
    client: ElasticHosts,
    drive: Drive,
    path: Union[str, Path],
    *,
    chunk: int = CHUNK,
    workers: int = WORKERS,
    progress: Optional[Progress] = None,
) -> Downloaded:
    """Read a whole drive into a file; nothing when the file is a current copy of it.

    A cut download is resumed by calling again, and reads at most `workers` chunks anew. The file appears, with mode
    0600, when its last byte is there. Raises Refused and the errors of the calls.
    """
    path = Path(path)
    if is_current(path, drive):
        return Downloaded(False, 0, str((_note(path) or {}).get("sha256", "")))
    check(path, drive)
    part = path.with_name(path.name + PART)
    try:
        with _opened(part) as file:
            digest, begin = _resumed(part, file, drive)
            file.truncate(begin)
            _receive(_Receiving(client, drive, part, file, digest, chunk, workers, progress), begin)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _write_note(path, drive, digest.hexdigest(), drive.size)
        _note_path(part).unlink(missing_ok=True)
    except OSError as error:
        raise Refused(f"dest {str(path)!r} cannot be written ({error.strerror}): correct dest, or free space") from None
    return Downloaded(True, drive.size - begin, digest.hexdigest())


class _Receiving(NamedTuple):
    """One download under way."""

    client: ElasticHosts
    drive: Drive
    part: Path
    file: BinaryIO
    digest: Any
    chunk: int
    workers: int
    progress: Optional[Progress]


def _receive(job: _Receiving, begin: int) -> None:
    flights: Deque[Future[bytes]] = deque()
    asked = done = begin
    with ThreadPoolExecutor(job.workers) as pool:
        while done < job.drive.size:
            while asked < job.drive.size and len(flights) < job.workers:
                size = min(job.chunk, job.drive.size - asked)
                flights.append(pool.submit(job.client.drives.read, job.drive.uuid, asked, size))
                asked += size
            data = flights.popleft().result()
            expected = min(job.chunk, job.drive.size - done)
            if len(data) != expected:
                raise Refused(
                    f"drive {job.drive.uuid} gave {len(data)} bytes where {expected} were asked for: "
                    "it became smaller meanwhile; download it again"
                )
            job.digest.update(data)
            job.file.write(data)
            done += len(data)
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


def _opened(part: Path) -> BinaryIO:
    """The unfinished file, for reading and writing, seen by nobody else: it may hold anything."""
    return os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")


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


def _note(path: Path) -> Optional[Dict[str, Any]]:
    try:
        note = json.loads(_note_path(path).read_text())
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) else None


def _write_note(path: Path, drive: Drive, sha256: str, length: int) -> None:
    """In one step, so that a cut leaves the old note or the new one."""
    note = {"drive": drive.uuid, "content": _content(drive), "sha256": sha256, "length": length, "file": _stamp(path)}
    target = _note_path(path)
    temporary = target.with_name(target.name + ".new")
    temporary.write_text(json.dumps(note, indent=1) + "\n")
    temporary.replace(target)
