# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The standard drives: images of the provider, readable by all users (elastichosts-api 2.6)."""

from __future__ import annotations

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
GIB = 1 << 30


class Image(NamedTuple):
    """A row of the library. size and rawsize in bytes: as stored, and decompressed (0: stored uncompressed)."""

    uuid: str
    name: str
    size: int
    rawsize: int = 0


_LIBRARY = (
    # Names of 2019 (elastichosts-api 2.6), which pyeh searches for; the original UUIDs are lost.
    Image("c1804000-0000-4000-8000-000000000001", "Ubuntu 18.04 LTS (Bionic Beaver)", 348127232, 2 * GIB),
    Image("c1804000-0000-4000-8000-000000000002", "Debian 9 (Stretch)", 281018368, 2 * GIB),
    Image("c1804000-0000-4000-8000-000000000003", "CentOS 7", 419430400, 2 * GIB),
    # May 2014, the same in all zones.
    Image("8d5c93b8-e4e4-4943-b41e-873576b7fcd1", "centOS Linux 6.5", 218103808, GIB),
    Image("ce85ef47-9794-4ed7-a8bd-af902ec0eddc", "Debian Linux 7.4 (Wheezy)", 184549376, GIB),
    Image("62f512cd-82c7-498e-88d8-a09ac2ef20e7", "Ubuntu Linux 12.04.1 LTS (Precise Pangolin)", 201326592, GIB),
    Image("4f31382b-5098-4610-8993-bbebb844febd", "Ubuntu Linux 13.10 (Saucy Salamander)", 230686720, GIB),
    Image("82890da7-a036-4427-ac24-caea6c644a2f", "Ubuntu 14.04 LTS (Trusty Tahr)", 264241152, GIB),
    Image("11b84345-7169-4279-8038-18d6ba1a7712", "Windows Web Server 2008 R2", 4743757824, 11811160064),
    Image("b23e81b9-103e-4f9d-8ce5-b57bb529007c", "Windows Web Server 2008 R2 + SQL", 14357102592, 20401094656),
    Image("6c0c3072-f55f-4dd2-9308-951dacf41ce3", "Windows Standard 2008 R2", 4345298944, 9663676416),
    Image("63677762-4423-464f-92fd-5c43d449a716", "Windows Standard 2008 R2 + SQL", 14050918400, 20401094656),
    Image("cdea53be-2511-4c91-9779-f6421f623a49", "Windows Server 2012", 7671382016, 15032385536),
    Image("7b9807cc-3c92-425f-878c-1d45927f3f9c", "Windows Server 2012 + SQL", 17192452096, 32212254720),
    Image("61ef248d-6616-4378-9702-9101870741d2", "Windows Server 2012 R2", 5368709120, 10737418240),
    Image("65cb106c-3dff-4f27-9607-f25bbe0a3fc6", "Debian 7.4 DVD", 3955228672),
    Image("50f8aa7a-090e-413a-8be9-e0ef498b7012", "Ubuntu 12.04.4 Server DVD", 713031680),
    Image("9dfbbe29-5352-415a-9f7c-70ec7409b684", "Ubuntu 14.04 LTS Server Install CD", 591396864),
    Image("e58ad21f-c53f-47a1-95bd-c6d614a59d2d", "System Rescue CD 4.0.1", 473956352),
    Image("5a4419f8-6c39-490c-87e9-21e33a1c8add", "Virtio Drivers 1.74", 62914560),
)


def _retired(name: str, gibibytes: int, *uuids: str) -> tuple[Image, ...]:
    """Return an image that is not listed any more, under each of its UUIDs, for clients with fixed lists."""
    return tuple(Image(uuid, name, 256 * MIB * (1 + gibibytes // 8), gibibytes * GIB) for uuid in uuids)


_RETIRED = (
    # ElasticHosts 2010 to 2012, as in libcloud
    *_retired("CentOS Linux 5.5", 1, "38df0986-4d85-4b76-b502-3878ffc80161"),
    *_retired("Debian Linux 5.0", 1, "980cf63c-f21e-4382-997b-6541d5809629"),
    *_retired("Ubuntu Linux 10.04", 1, "aee5589a-88c3-43ef-bb0a-9cab6e64192d"),
    *_retired("Windows Web Server 2008", 13, "b9d0eb72-d273-43f1-98e3-0d4b87d372c0"),
    *_retired(
        "Windows Web Server 2008 R2", 13, "30824e97-05a4-410c-946e-2ba5a92b07cb", "b405b598-4ae4-4ba8-8a2b-a9487d693f34"
    ),
    *_retired("Windows Web Server 2008 R2 + SQL Server", 13, "9ecf810e-6ad1-40ef-b360-d606f0444671"),
    *_retired("Windows Server 2008 Standard R2", 13, "10a88d1c-6575-46e3-8d2c-7744065ea530"),
    *_retired("Windows Server 2008 Standard R2 + SQL Server", 13, "2567f25c-8fb8-45c7-95fc-bfe3c3d84c47"),
    # per zone, 2011 and 2012: lon-p, lon-b, the rest
    *_retired(
        "CentOS 6.0",
        1,
        "6acfe7ea-1bb0-466e-992d-3830966e9da8",
        "e994eedf-ce5c-4efd-9d0d-a16f690004f7",
        "73f7cc6a-1c48-418a-80de-886b28a56a4d",
    ),
    *_retired(
        "Debian 6.0",
        1,
        "ff7c5f7b-1cc8-42e5-afe1-ca00c5faaaa6",
        "e97e0a2a-08d7-4624-b796-708f2adfc6b0",
        "9405cddf-8d01-472c-b7e3-e8c062dcde51",
    ),
    *_retired(
        "Ubuntu 11.10",
        1,
        "24ea9dad-f014-4836-bcb0-f03184c74e7a",
        "13f9f85d-ed1c-4fb0-aa26-3e84da826faf",
        "8d8aee18-8744-452c-94b2-69a2a34b8460",
    ),
    # Serverlove
    *_retired("CentOS 5.5", 1, "679f5f44-0be7-4745-a658-cccd4334c1aa"),
    *_retired("Ubuntu Linux 10.04", 1, "5f2e0e29-2937-42b9-b362-d2d07eddbdeb"),
    *_retired("Debian Linux 5", 1, "5795b68f-ed26-4639-b41d-c93235062b6b"),
    *_retired("Windows Server 2008 R2 Standard", 15, "41993a02-0b22-4e49-bb47-0aa8975217e4"),
    *_retired("Windows Web Server 2008 R2", 15, "85623ca1-9c2a-4398-a771-9a43c347e86b"),
    # SKALI Cloud
    *_retired("CentOS 5.5 -64bit", 1, "90aa51f2-15c0-4cff-81ee-e93aa20b9468"),
    *_retired("Debian 5 -64bit", 1, "c144d7a7-e24b-48ab-954b-6b6ec514ed6f"),
    *_retired("Ubuntu Server 10.10 -64bit", 1, "3051699a-a536-4220-aeb5-67f2ec101a09"),
    *_retired("Windows 2008R2 Web Edition", 13, "11c4c922-5ff8-4094-b06c-eb8ffaec1ea9"),
    *_retired("Windows Server 2008R2 Standard", 13, "93bf390e-4f46-4252-a8bc-9d6d80e3f955"),
)


class StandardDrives:
    """The library. Each image is a boot sector with the image's name, followed by zeros.

    Disks are stored gzipped, CD images uncompressed. A file is created when it is first read.
    """

    USER = "00000000-0000-0000-0000-000000000000"

    def __init__(self, folder: Path, reserve: Reserve) -> None:
        self._files = DriveFiles(folder, reserve)
        self._images = {image.uuid: image for image in (*_LIBRARY, *_RETIRED)}
        self._listed = [image.uuid for image in _LIBRARY]
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
