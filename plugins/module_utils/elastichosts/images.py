# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image files onto drives: in chunks side by side, without sending what is there already, and resumed when cut."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Optional, Tuple, Union

from .client import ElasticHosts
from .drives import Drive
from .errors import Refused
from .image_files import Image, check_unchanged, checksum, hash_up_to, inspect
from .lanes import Lanes
from .marks import CHECKSUM_KEY, PROGRESS_KEY, Mark, Recorder, recorded
from .sending import Progress, Sending, Upload

WORKERS = 6
"""Chunks that are packed and sent at the same time."""
PROBE = 4096


class Uploaded(NamedTuple):
    """What an upload did: `sent` counts the bytes of the image that travelled (before compression)."""

    drive: Drive
    changed: bool
    sent: int


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

    `fresh` says that nothing was ever written to the drive: zeros are left out then, if the drive does read as zeros.
    `anew` says that the caller knows already that the drive does not hold the image. `chunk` is the bytes of a write
    call. A cut upload is resumed by calling again, with whatever `fresh`, and resends at most `workers` chunks.
    Raises Refused when the file cannot be read, does not fit, changes meanwhile, or the drive is in use; and the errors
    of the calls.
    """
    if not isinstance(image, Image):
        image = inspect(image)
    if not anew and holds(drive, image):
        return Uploaded(drive, False, 0)
    _check(image, drive)

    def reads_as_zeros(offset: int, size: int) -> bool:
        """An encrypted drive may read as noise where nothing was written; so look once."""
        data = client.drives.read(drive.uuid, offset, min(PROBE, size))
        return data == bytes(len(data))

    with image.path.open("rb") as file:
        check_unchanged(image, file)
        digest, mark = _begin(image, file, drive, fresh)
        client.drives.set(drive.uuid, {CHECKSUM_KEY: None, PROGRESS_KEY: mark.text()})
        with (
            Lanes(client, drive.uuid, workers) as lanes,
            Recorder(client, drive.uuid, mark, step=max(1, workers // 2)) as recorder,
        ):
            job = Upload(image, file, digest, lanes, recorder, reads_as_zeros, workers, chunk, progress)
            sent = Sending(job).run()
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
    mark = recorded(drive)
    if mark is not None and mark.offset <= image.size:
        digest = hashlib.sha256()
        hash_up_to(file, mark.offset, digest)
        if digest.hexdigest() == mark.sha256:
            return digest, mark
        file.seek(0)
    untouched = CHECKSUM_KEY not in drive.properties and PROGRESS_KEY not in drive.properties
    digest = hashlib.sha256()
    return digest, Mark(digest.hexdigest(), 0, fresh and untouched)
