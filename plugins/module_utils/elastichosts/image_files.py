# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Local image files: what is known of one before it is read, its checksum, and whether it is still the same."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Union

from .errors import Refused

SLICE = 512 * 1024
"""Bytes that are read and added to the checksum at a time: they are still in the processor's cache then."""
_BLANK = bytes(64 * 1024)


class Image(NamedTuple):
    """A local image file, as it was when it was looked at."""

    path: Path
    size: int
    modified_ns: int


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
    """The SHA-256 of the whole file, in hexadecimal. Raises Refused when the file was changed since `inspect`."""
    digest = hashlib.sha256()
    with image.path.open("rb") as file:
        hash_up_to(file, image.size, digest)
        check_unchanged(image, file)
    return digest.hexdigest()


def hash_up_to(file: BinaryIO, size: int, digest: Any) -> None:
    """Add the next `size` bytes of the file to `digest`; fewer when it ends before."""
    view = memoryview(bytearray(SLICE))
    left = size
    while left:
        got = file.readinto(view[: min(left, SLICE)])  # type: ignore[attr-defined]
        if not got:
            return
        digest.update(view[:got])
        left -= got


def is_blank(data: memoryview) -> bool:
    """Are these bytes all zeros?"""
    if data[0] or data[-1]:
        return False
    step = len(_BLANK)
    return all(bytes(data[at : at + step]) == _BLANK[: len(data) - at] for at in range(0, len(data), step))


def check_unchanged(image: Image, file: BinaryIO) -> None:
    """Raises Refused when the file is not as it was when it was looked at."""
    status = os.fstat(file.fileno())
    if (status.st_size, status.st_mtime_ns) != (image.size, image.modified_ns):
        raise Refused(
            f"the image file {str(image.path)!r} was changed while it was uploaded, so the drive holds a part of it: "
            "leave the file alone and upload again"
        )
