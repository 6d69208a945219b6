# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The standard drives: images of the provider that everybody may read (elastichosts-api 2.6)."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import NamedTuple

from .blocks import Blocks
from .cloud import Drive
from .formats import Properties
from .values import EVERYONE

MIB = 1 << 20
GIB = 1 << 30


class Image(NamedTuple):
    """A row of the library. size and rawsize in bytes: as it is stored, and expanded (0: it is stored as it is)."""

    uuid: str
    name: str
    size: int
    rawsize: int = 0


_LIBRARY = (
    Image("8d5c93b8-e4e4-4943-b41e-873576b7fcd1", "centOS Linux 6.5", 218103808, GIB),
    Image("ce85ef47-9794-4ed7-a8bd-af902ec0eddc", "Debian Linux 7.4 (Wheezy)", 184549376, GIB),
    Image("62f512cd-82c7-498e-88d8-a09ac2ef20e7", "Ubuntu Linux 12.04.1 LTS (Precise Pangolin)", 201326592, GIB),
    Image("4f31382b-5098-4610-8993-bbebb844febd", "Ubuntu Linux 13.10 (Saucy Salamander)", 230686720, GIB),
    Image("82890da7-a036-4427-ac24-caea6c644a2f", "Ubuntu 14.04 LTS (Trusty Tahr)", 264241152, GIB),
    Image("65cb106c-3dff-4f27-9607-f25bbe0a3fc6", "Debian 7.4 DVD", 3955228672),
    Image("9dfbbe29-5352-415a-9f7c-70ec7409b684", "Ubuntu 14.04 LTS Server Install CD", 591396864),
    Image("e58ad21f-c53f-47a1-95bd-c6d614a59d2d", "System Rescue CD 4.0.1", 473956352),
)


class StandardDrives:
    """The library, made here: each image begins with a sector that says what it is, and is zeros after that.

    Disks are stored gzipped and cdroms as they are. A file is made when it is first read.
    """

    USER = "00000000-0000-0000-0000-000000000000"

    def __init__(self, folder: Path) -> None:
        self._blocks = Blocks(folder)
        self._images = {image.uuid: image for image in _LIBRARY}

    def uuids(self) -> list[str]:
        return list(self._images)

    def every(self) -> list[Properties]:
        return [self.describe(uuid) for uuid in self._images]

    def get(self, uuid: str) -> Drive | None:
        image = self._images.get(uuid)
        if image is None:
            return None
        return Drive(image.uuid, self.USER, image.size, {"claim:type": "shared", "readers": EVERYONE})

    def describe(self, uuid: str) -> Properties:
        image = self._images[uuid]
        common = {"claim:type": "shared", "drive": image.uuid}
        if not image.rawsize:
            return {**common, "media": "cdrom", "name": image.name, "readers": EVERYONE, "size": image.size}
        return {
            **common,
            "format": "gzip",
            "media": "disk",
            "name": image.name,
            "rawsize": image.rawsize,
            "readers": EVERYONE,
            "size": image.size,
        }

    def path(self, uuid: str) -> Path:
        """The file of a standard drive, made if need be."""
        path = self._blocks.path(uuid)
        if not path.exists():
            self._make(self._images[uuid])
        return path

    def read(self, uuid: str, offset: int, size: int) -> bytes:
        self.path(uuid)
        return self._blocks.read(uuid, offset, size)

    def _make(self, image: Image) -> None:
        # Under another name first: a file that is there is whole, whenever the process ends.
        making = f"{image.uuid}.making"
        self._blocks.create(making, image.size)
        with self._blocks.writer(making, 0) as writer:
            first = _sector(image)
            if not image.rawsize:
                writer.write(first)
            else:
                writer.write(_gzip(first + bytes(_PIECE - len(first))))
                zeros = _gzip(bytes(_PIECE))
                for _ in range(image.rawsize // _PIECE - 1):
                    writer.write(zeros)
        self._blocks.path(making).rename(self._blocks.path(image.uuid))


_PIECE = 4 * MIB


def _sector(image: Image) -> bytes:
    """A boot sector without code: a label and the signature that a BIOS looks for."""
    label = f"simulated image: {image.name}\n".encode()
    return label.ljust(510, b"\0") + b"\x55\xaa"


def _gzip(data: bytes) -> bytes:
    """One member of a gzip file; several after each other are a gzip file too, and zeros may follow."""
    gzip = zlib.compressobj(wbits=31)
    return gzip.compress(data) + gzip.flush()
