# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The standard drives: images of the provider, readable by all users (elastichosts-api 2.6)."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from .drive_files import DriveFiles
from .objects import EVERYONE, Config, Drive
from .reserve import Reserve
from .streams import Piece

MIB = 1 << 20


class Image(NamedTuple):
    """A standard drive. size and rawsize in bytes: as stored, and decompressed (0: stored uncompressed)."""

    uuid: str
    name: str
    size: int
    rawsize: int


def _library() -> Iterator[tuple[Image, bool]]:
    """Read the table of standard drives: each image, and whether it is listed."""
    with Path(__file__).with_name("standard_drives.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            yield Image(row["uuid"], row["name"], int(row["size"]), int(row["rawsize"])), row["listed"] == "yes"


class StandardDrives:
    """The library. Each image is a boot sector with the image's name, followed by zeros.

    Disks are stored gzipped, CD images uncompressed. A file is created when it is first read.
    """

    USER = "00000000-0000-0000-0000-000000000000"

    def __init__(self, folder: Path, reserve: Reserve) -> None:
        self._files = DriveFiles(folder, reserve)
        library = list(_library())
        self._images = {image.uuid: image for image, _listed in library}
        self._listed = [image.uuid for image, listed in library if listed]
        for unfinished in folder.glob("*.*.raw"):
            if unfinished.name.partition(".")[0] in self._images:
                unfinished.unlink()

    def uuids(self) -> list[str]:
        return list(self._listed)

    def get(self, uuid: str) -> Drive | None:
        image = self._images.get(uuid)
        if image is None:
            return None
        return Drive(image.uuid, self.USER, image.size, {"claim:type": "shared", "readers": EVERYONE})

    def describe(self, uuid: str, claims: Sequence[str] = ()) -> Config:
        """Return the info object of a drive. claims: drives and servers of the user that claim the drive."""
        image = self._images[uuid]
        found: dict[str, str | int] = {"claim:type": "shared"}
        if claims:
            found["claimed"] = " ".join(claims)
        found["drive"] = image.uuid
        if image.rawsize:
            found["format"] = "gzip"
        found |= {"media": "disk" if image.rawsize else "cdrom", "name": image.name}
        if image.rawsize:
            found["rawsize"] = image.rawsize
        return {**found, "readers": EVERYONE, "size": image.size}

    def rawsize(self, uuid: str) -> int | None:
        """Return the decompressed size of a standard disk in bytes; None for any other drive."""
        image = self._images.get(uuid)
        return image.rawsize or None if image else None

    def expanded(self, uuid: str) -> Iterator[Piece]:
        """Return the decompressed content of a standard disk."""
        image = self._images[uuid]
        yield _sector(image)
        yield image.rawsize - len(_sector(image))

    def path(self, uuid: str) -> Path:
        """Return the file of a standard drive; create it if necessary."""
        path = self._files.path(uuid)
        if not path.exists():
            self._make(self._images[uuid])
        return path

    def read(self, uuid: str, offset: int, size: int) -> bytes:
        self.path(uuid)
        return self._files.read(uuid, offset, size)

    def _make(self, image: Image) -> None:
        # Written under a unique name first, so that a killed process leaves no incomplete file and several threads can
        # create the same image at once.
        making = f"{image.uuid}.{uuid4()}"
        try:
            self._files.create(making, image.size)
            with self._files.writer(making, 0) as writer:
                first = _sector(image)
                if not image.rawsize:
                    writer.write(first)
                else:
                    writer.write(_gzip(first + bytes(_PIECE - len(first))))
                    zeros = _gzip(bytes(_PIECE))
                    for _unused in range(image.rawsize // _PIECE - 1):
                        writer.write(zeros)
            self._files.path(making).rename(self._files.path(image.uuid))
        except BaseException:
            self._files.remove(making)
            raise


_PIECE = 4 * MIB


def _sector(image: Image) -> bytes:
    """Return a boot sector without code: a label, and the signature that a BIOS checks."""
    label = f"simulated image: {image.name}\n".encode()
    return label.ljust(510, b"\0") + b"\x55\xaa"


def _gzip(data: bytes) -> bytes:
    """Return a member of a gzip file; several members in a row are a gzip file too, and zeros may follow."""
    gzip = zlib.compressobj(wbits=31)
    return gzip.compress(data) + gzip.flush()
