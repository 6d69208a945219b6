# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drive calls (elastichosts-api 2.1)."""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from . import values
from .blocks import Blocks, Writer
from .cloud import Cloud, Drive
from .errors import Busy, Full, Missing, Usage
from .formats import OCTETS, Given, Properties, Reply, Value
from .platform import Platform
from .properties import DEVICE_COUNTERS, DRIVE_KEYS, changes, merged
from .standard import StandardDrives

READ_LIMIT = 4 << 20
_READ_SIZE = values.size(READ_LIMIT, 1)
_DEFAULTS = {"encryption:cipher": "aes-xts-plain", "tier": "disk"}
_NEW_COUNTERS = dict(zip(DEVICE_COUNTERS, (4096, 1, 4096, 1)))
_EXPANDED_PIECE = 1 << 20


class Drives:
    """Drives of users; reads also see the standard drives and those that list the caller among their readers."""

    def __init__(self, cloud: Cloud, blocks: Blocks, standard: StandardDrives, platform: Platform) -> None:
        self._cloud = cloud
        self._blocks = blocks
        self._standard = standard
        self._platform = platform
        self._writing: set[str] = set()

    # ---- reads

    def uuids(self, user: str) -> list[str]:
        return [drive.uuid for drive in self._cloud.drives.of(user)]

    def every(self, user: str) -> list[Properties]:
        return [self._describe(drive) for drive in self._cloud.drives.of(user)]

    def info(self, user: str, uuid: str) -> Properties:
        drive = self.readable(user, uuid)
        return self._standard.describe(drive.uuid) if drive.user == self._standard.USER else self._describe(drive)

    def read(self, user: str, uuid: str, offset: str, size: str) -> Reply:
        """Raw bytes, cut at the end of the drive. At most 4 MiB a call."""
        drive = self.readable(user, uuid)
        start, length = _offset(drive, offset), int(values.take("SIZE", _READ_SIZE, size) or 0)
        if start >= drive.size:
            raise Usage(f"Drive {uuid}: invalid offset {start}: the drive has {drive.size} bytes")
        if drive.user == self._standard.USER:
            return Reply(self._standard.read(drive.uuid, start, length), OCTETS)
        return Reply(self._blocks.read(drive.uuid, start, min(length, drive.size - start)), OCTETS)

    def readable(self, user: str, uuid: str) -> Drive:
        """A drive that the user may read: an own one, a standard one, or one that names the user as reader."""
        drive = self._cloud.drives.get(uuid.lower()) or self._standard.get(uuid.lower())
        if drive is not None:
            readers = str(drive.config.get("readers", "")).split()
            if drive.user == user or user in readers or values.EVERYONE in readers:
                return drive
        raise Missing(f"Drive {uuid[:60]} not found")

    def own(self, user: str, uuid: str) -> Drive:
        drive = self._cloud.drives.get(uuid.lower())
        if drive is None or drive.user != user:
            raise Missing(f"Drive {uuid[:60]} not found")
        return drive

    def usable(self, user: str, uuid: str) -> Drive:
        """A drive that a server of the user may name: an own one or a standard one."""
        return self._standard.get(uuid) or self.own(user, uuid)

    def path(self, uuid: str) -> Path:
        """The file behind a drive, for a guest."""
        return self._blocks.path(uuid) if self._standard.get(uuid) is None else self._standard.path(uuid)

    def _describe(self, drive: Drive) -> Properties:
        found: dict[str, Value] = {
            "drive": drive.uuid,
            **drive.config,
            **{counter: str(count) for counter, count in drive.counters.items()},
            "size": drive.size,
            "status": "active",
            "user": drive.user,
        }
        claims = self._cloud.claims(drive.uuid)
        if claims:
            found["claimed"] = " ".join(claims)
        return self._platform.shown(found)

    # ---- changes

    def create(self, user: str, given: Given) -> Properties:
        wanted = changes(DRIVE_KEYS, given, None, live=False)
        size = wanted.pop("size", None)
        if not isinstance(size, int):
            raise Usage("size: invalid request: a new drive needs a size in bytes")
        drive = Drive(str(uuid4()), user, size, {**_DEFAULTS, **merged({}, wanted)}, _NEW_COUNTERS)
        try:
            self._blocks.create(drive.uuid, size)
            self._cloud.commit(drive)
        except BaseException:
            self._blocks.remove(drive.uuid)
            raise
        return self._describe(drive)

    def set(self, user: str, uuid: str, given: Given) -> Properties:
        drive = self.own(user, uuid)
        try:
            wanted = changes(DRIVE_KEYS, given, {**drive.config, "size": drive.size}, live=False)
            size = wanted.pop("size", drive.size)
            if not isinstance(size, int):
                raise Usage("size: invalid change: a drive keeps a size")
            after = replace(drive, size=size, config=merged(drive.config, wanted))
        except Usage as error:
            raise error.about(f"Drive {drive.uuid}") from None
        if size != drive.size:
            self._idle(drive)
        if drive.shared and not after.shared and len(self._cloud.claims(drive.uuid)) > 1:
            raise Busy(f"Drive {drive.uuid} is claimed by several servers, so it cannot become exclusive")
        if wanted or size != drive.size:
            self._resize_around(drive, after)
        return self._describe(after)

    def _resize_around(self, drive: Drive, after: Drive) -> None:
        # Growing comes before the commit and shrinking after it: a crash between the two loses no byte that counts.
        if after.size > drive.size:
            self._blocks.resize(drive.uuid, after.size)
        self._cloud.commit(after)
        if after.size < drive.size:
            self._blocks.resize(drive.uuid, after.size)

    def destroy(self, user: str, uuid: str) -> None:
        drive = self.own(user, uuid)
        self._idle(drive)
        self._cloud.commit(remove=[drive])
        self._blocks.remove(drive.uuid)

    async def write(self, user: str, uuid: str, offset: str, body: Body) -> None:
        """Write the body's bytes, expanded if they are gzipped, at an offset in bytes."""
        drive = self.own(user, uuid)
        start = _offset(drive, offset)
        expand = _encoding(drive, body.encoding)
        room = drive.size - start
        if room < 0 or (not expand and body.length is not None and body.length > room):
            raise Full(f"Drive {drive.uuid}: the data ends beyond its {drive.size} bytes")
        self._idle(drive)
        with self._writer(drive, start) as writer:
            if expand:
                await _write_expanded(drive, body.stream, writer)
            else:
                async for piece in body.stream:
                    _write_within(drive, writer, piece)

    @contextmanager
    def _writer(self, drive: Drive, offset: int) -> Iterator[Writer]:
        self._writing.add(drive.uuid)
        try:
            with self._blocks.writer(drive.uuid, offset) as writer:
                yield writer
        finally:
            self._writing.discard(drive.uuid)

    def idle(self, drive: Drive) -> None:
        """Busy unless nobody writes to the drive or images it."""
        if drive.uuid in self._writing:
            raise Busy(f"Drive {drive.uuid} is being written to")

    def _idle(self, drive: Drive) -> None:
        self.idle(drive)
        claims = self._cloud.claims(drive.uuid)
        if claims:
            raise Busy(f"Drive {drive.uuid} is claimed by server {' '.join(claims)}")


class Body:
    """The bytes of a write call as they come in. length in bytes, None when it is not known."""

    def __init__(self, stream: AsyncIterator[bytes], length: int | None, encoding: str) -> None:
        self.stream = stream
        self.length = length
        self.encoding = encoding


def _offset(drive: Drive, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        raise Usage(f"Drive {drive.uuid}: invalid offset {text[:60]!r}: a number of bytes is expected")
    return int(text)


def _encoding(drive: Drive, encoding: str) -> bool:
    lowered = encoding.strip().lower()
    if lowered in ("gzip", "x-gzip"):
        return True
    if lowered in ("", "identity"):
        return False
    raise Usage(f"Drive {drive.uuid}: invalid Content-Encoding {encoding[:60]!r}: gzip or none is possible")


def _write_within(drive: Drive, writer: Writer, piece: bytes) -> None:
    if writer.position + len(piece) > drive.size:
        raise Full(f"Drive {drive.uuid}: the data ends beyond its {drive.size} bytes")
    writer.write(piece)


async def _write_expanded(drive: Drive, stream: AsyncIterator[bytes], writer: Writer) -> None:
    """Gunzip piece by piece, never holding more than a piece, never past the end of the drive."""
    gunzip = zlib.decompressobj(wbits=31)
    begun = False
    async for piece in stream:
        while piece:
            if gunzip.eof:  # a gzip file may have several members
                if not piece.strip(b"\0"):
                    break
                gunzip = zlib.decompressobj(wbits=31)
            try:
                expanded = gunzip.decompress(piece, _EXPANDED_PIECE)
            except zlib.error:
                raise Usage(f"Drive {drive.uuid}: invalid body: it is not gzip, as Content-Encoding says") from None
            begun = True
            _write_within(drive, writer, expanded)
            piece = gunzip.unused_data if gunzip.eof else gunzip.unconsumed_tail
    if not gunzip.eof and begun:
        raise Usage(f"Drive {drive.uuid}: invalid body: the gzip data ends early")
