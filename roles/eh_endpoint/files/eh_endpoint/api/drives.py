# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drive calls (elastichosts-api 2.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO
from uuid import uuid4

from ..errors import Busy, Full, Missing, Usage, about
from ..state.drive_files import DriveFiles, Writer
from ..state.imaging import Imaging
from ..state.objects import EVERYONE, Drive, ImagingRequest
from ..state.standard_images import StandardDrives
from ..state.state import State
from ..state.streams import PIECE, Gunzip, NotGzip, Piece, gunzipped
from . import values
from .api_platform import Platform
from .bodies import Body
from .formats import Given, Properties, Value
from .properties import DEVICE_COUNTERS, DRIVE_KEYS, DRIVE_MULTIPLE, changes
from .quotas import Quotas
from .values import Kept

READ_LIMIT = 4 << 20
_READ_SIZE = values.size(READ_LIMIT, 1)
_DEFAULTS = {"encryption:cipher": "aes-xts-plain", "tier": "disk"}
_NEW_COUNTERS = dict(zip(DEVICE_COUNTERS, (4096, 1, 4096, 1)))


class Drives:
    """The drive calls. Reads also find the standard drives, and drives that name the user as a reader."""

    def __init__(
        self,
        state: State,
        files: DriveFiles,
        standard: StandardDrives,
        imaging: Imaging,
        quotas: Quotas,
        platform: Platform,
    ) -> None:
        self._state = state
        self._files = files
        self._standard = standard
        self._imaging = imaging
        self._quotas = quotas
        self._platform = platform
        self._changing: set[str] = set()
        self._read: dict[str, dict[str, int]] = {}

    # ---- reads

    def uuids(self, user: str) -> list[str]:
        return [drive.uuid for drive in self._state.drives.of(user)]

    def every(self, user: str) -> list[Properties]:
        return [self._describe(drive) for drive in self._state.drives.of(user)]

    def every_in_full(self, user: str) -> list[Properties]:
        return [self._describe(drive, full=True) for drive in self._state.drives.of(user)]

    def library(self, user: str) -> list[Properties]:
        """Return the standard drives."""
        return [self._standard.describe(uuid, self._claims_of(user, uuid)) for uuid in self._standard.uuids()]

    def library_uuids(self, _user: str) -> list[str]:
        return self._standard.uuids()

    def info(self, user: str, uuid: str) -> Properties:
        return self._shown(user, self.readable(user, uuid))

    def info_in_full(self, user: str, uuid: str) -> Properties:
        return self._shown(user, self.readable(user, uuid), full=True)

    async def read(self, user: str, uuid: str, offset: str, size: str) -> bytes:
        """Return bytes of a drive, up to its end. At most 4 MiB a call."""
        drive = self.readable(user, uuid)
        start, length = _offset(drive, offset), int(values.take("SIZE", _READ_SIZE, size) or 0)
        if start >= drive.size:
            raise Usage(f"Drive {uuid}: invalid offset {start}: the drive has {drive.size} bytes")
        length = min(length, drive.size - start)
        place = self._standard if drive.user == self._standard.USER else self._files
        content = await self._files.work(user, lambda: place.read(drive.uuid, start, length))
        if place is self._files:
            self._count(self._read.setdefault(drive.uuid, {}), "read", length)
        return content

    def readable(self, user: str, uuid: str) -> Drive:
        """Return a drive that the user may read: own, standard, or naming the user as a reader. Raises Missing."""
        drive = self._state.drives.get(uuid.lower()) or self._standard.get(uuid.lower())
        if drive is not None:
            readers = str(drive.config.get("readers", "")).split()
            if drive.user == user or user in readers or EVERYONE in readers:
                return drive
        raise Missing(f"Drive {uuid[:60]} not found")

    def own(self, user: str, uuid: str) -> Drive:
        drive = self._state.drives.get(uuid.lower())
        if drive is None or drive.user != user:
            raise Missing(f"Drive {uuid[:60]} not found")
        return drive

    def usable(self, user: str, uuid: str) -> Drive:
        """Return a drive that a server of the user may have: own or standard. Raises Missing."""
        return self._standard.get(uuid) or self.own(user, uuid)

    def path(self, uuid: str) -> Path:
        """Return the file of a drive, for a guest."""
        return self._imaging.path(uuid)

    def _shown(self, user: str, drive: Drive, *, full: bool = False) -> Properties:
        if drive.user == self._standard.USER:
            return self._standard.describe(drive.uuid, self._claims_of(user, drive.uuid))
        return self._describe(drive, full=full)

    def _claims_of(self, user: str, standard: str) -> list[str]:
        """Return the user's drives and servers that claim a standard drive."""
        claims = self._state.claims(standard)
        owners = ((uuid, self._state.drives.get(uuid) or self._state.servers.get(uuid)) for uuid in claims)
        return [uuid for uuid, owner in owners if owner is not None and owner.user == user]

    def _describe(self, drive: Drive, *, full: bool = False) -> Properties:
        counters = drive.counters
        if drive.uuid in self._read:
            counters = {name: count + self._read[drive.uuid].get(name, 0) for name, count in counters.items()}
        found: dict[str, Value] = {
            "drive": drive.uuid,
            **drive.config,
            **{counter: str(count) for counter, count in counters.items()},
            "size": drive.size,
            "status": "active",
            "user": drive.user,
        }
        claims = self._state.claims(drive.uuid)
        if claims:
            found["claimed"] = " ".join(claims)
        state = self._imaging.state(drive)
        if state is not None:
            percent = f"{state}%" if full or self._platform.percentage else "true"
            found["imaging"] = percent if isinstance(state, int) else state
        return self._platform.shown(found)

    # ---- changes

    async def create(self, user: str, given: Given) -> Properties:
        drive = self._configured(user, changes(DRIVE_KEYS, given, None, live=False, absent=self._platform.absent))
        return self._describe(await self._made(drive, lambda: self._quotas.check_drives(user, drive.size)))

    def _configured(self, user: str, wanted: dict[str, Kept], imaging: ImagingRequest | None = None) -> Drive:
        size = wanted.pop("size", None)
        if not isinstance(size, int):
            raise Usage("size: invalid request: a new drive needs a size in bytes")
        self._quotas.check_drives(user, size)
        return Drive(
            str(uuid4()), user, size, {**_DEFAULTS, **self._quotas.config(user, {}, wanted)}, _NEW_COUNTERS, imaging
        )

    async def _made(self, drive: Drive, check: Callable[[], None]) -> Drive:
        """Create the file, then the record. check: repeats checks whose result may have changed meanwhile."""
        with self._files.room():  # a drive that could not be written to is of no use
            self._state.begin_file(drive)
        try:
            await self._files.work(drive.user, lambda: self._files.create(drive.uuid, drive.size))
            check()
            self._state.commit(drive)
        except BaseException:
            if self._files.remove(drive.uuid):
                self._state.file_gone(drive)
            raise
        return drive

    async def set(self, user: str, uuid: str, given: Given) -> Properties:
        drive = self.own(user, uuid)
        with about(f"Drive {drive.uuid}"):
            current = {**drive.config, "size": drive.size}
            wanted = changes(DRIVE_KEYS, given, current, live=False, absent=self._platform.absent)
            size = wanted.pop("size", drive.size)
            if not isinstance(size, int):
                raise Usage("size: invalid change: a drive keeps a size")
            after = replace(drive, size=size, config=self._quotas.config(user, drive.config, wanted))
        if drive.shared and not after.shared and len(self._state.claims(drive.uuid)) > 1:
            raise Busy(f"Drive {drive.uuid} is claimed by several servers, so it cannot become exclusive")
        if size != drive.size:
            self._idle(drive)
            self._quotas.check_drives(user, size - drive.size)
            after = await self._resized(drive, size, wanted)
        elif wanted:
            self._state.commit(after)
        return self._describe(after)

    async def _resized(self, drive: Drive, size: int, wanted: Mapping[str, Kept]) -> Drive:
        # Grow before the commit and shrink after it: a crash between the two loses no data.
        with self._change(drive):
            if size > drive.size:
                await self._files.work(drive.user, lambda: self._files.resize(drive.uuid, size))
            # Another call may have changed other properties meanwhile.
            now = self.own(drive.user, drive.uuid)
            after = replace(now, size=size, config=self._quotas.config(now.user, now.config, wanted))
            self._state.commit(after)
            if size < drive.size:
                await self._files.work(drive.user, lambda: self._files.resize(drive.uuid, size))
        return after

    async def destroy(self, user: str, uuid: str) -> None:
        drive = self.own(user, uuid)
        self._idle(drive)
        self._state.commit(remove=[drive])
        self._read.pop(drive.uuid, None)
        if await self._files.work(user, lambda: self._files.remove(drive.uuid)):
            self._state.file_gone(drive)

    # ---- images

    def image(self, user: str, uuid: str, source_uuid: str, conversion: str = "") -> Properties:
        """Start copying another drive onto this one. conversion: `gunzip`, `gzip` or empty."""
        target, source = self.own(user, uuid), self.readable(user, source_uuid)
        if source.uuid == target.uuid:
            raise Usage(f"Drive {target.uuid}: invalid source: a drive cannot be imaged from itself")
        self._idle(target)
        self.idle(source)
        self._imaging.check(source, conversion, target.size)
        return self._describe(self._begin(replace(target, imaging=self._of(source, conversion))))

    async def clone(self, user: str, source_uuid: str, given: Given, conversion: str = "") -> Properties:
        """Create a drive as a copy of another one. Without a size, the drive is as large as necessary."""
        source = self.readable(user, source_uuid)
        self.idle(source)
        wanted = changes(DRIVE_KEYS, given, None, live=False, absent=self._platform.absent)
        needed = self._imaging.check(source, conversion, None)
        wanted.setdefault("size", values.rounded_up(needed or source.size, DRIVE_MULTIPLE))
        drive = self._configured(user, wanted, self._of(source, conversion))
        self._imaging.check(source, conversion, drive.size)

        def still_possible() -> None:
            self._quotas.check_drives(user, drive.size)
            self.idle(self.readable(user, source.uuid))

        made = await self._made(drive, still_possible)
        self._imaging.enqueue(made)
        return self._describe(made)

    def _of(self, source: Drive, conversion: str) -> ImagingRequest:
        return {"source": source.uuid, "conversion": conversion, "asked": self._state.clock.now()}

    def _begin(self, drive: Drive) -> Drive:
        self._state.commit(drive)
        self._imaging.enqueue(drive)
        return drive

    # ---- bytes

    async def write_from_start(self, user: str, uuid: str, body: Body) -> None:
        await self.write(user, uuid, "0", body)

    async def write(self, user: str, uuid: str, offset: str, body: Body) -> None:
        """Write the bytes of the body, expanded if they are gzipped, at an offset in bytes.

        A gzip body is checked as a whole before the first byte is written: invalid, incomplete or too long data
        changes nothing.
        """
        drive = self.own(user, uuid)
        start = _offset(drive, offset)
        expand = _encoding(drive, body.encoding)
        space = drive.size - start
        if space < 0 or body.length > (_gzip_limit(space) if expand else space):
            raise _beyond(drive)
        self._idle(drive)
        with self._change(drive):
            with self._files.writer(drive.uuid, start) as writer:
                if expand:
                    await self._write_gzip(drive, space, body, writer)
                else:
                    await self._files.pour(user, body.stream, partial(map, writer.write))
            self._written(drive.uuid, writer.position - start)

    async def _write_gzip(self, drive: Drive, space: int, body: Body, writer: Writer) -> None:
        with self._files.scratch() as file:
            checked = _Checked(drive, file, space, self._files.room)
            await self._files.pour(drive.user, body.stream, checked.take)
            checked.finish()
            await self._files.run(drive.user, map(writer.write, checked.expanded()))

    def _written(self, uuid: str, size: int) -> None:
        drive = self._state.drives.get(uuid)
        if drive is not None and size:
            counters = dict(drive.counters)
            self._count(counters, "write", size)
            for name, count in self._read.pop(uuid, {}).items():
                counters[name] += count
            self._state.commit(replace(drive, counters=counters))

    def _count(self, counters: dict[str, int], way: str, size: int) -> None:
        for name, more in ((f"{way}:bytes", size), (f"{way}:requests", 1)):
            counters[name] = counters.get(name, 0) + more

    # ---- concurrent use of a drive

    @contextmanager
    def _change(self, drive: Drive) -> Iterator[None]:
        """Mark a drive as being written or resized."""
        self._changing.add(drive.uuid)
        try:
            yield
        finally:
            self._changing.discard(drive.uuid)

    def idle(self, drive: Drive) -> None:
        """Raise Busy while the drive is written to, resized or imaged."""
        if drive.uuid in self._changing:
            raise Busy(f"Drive {drive.uuid} is being written to")
        if drive.imaging is not None:
            raise Busy(f"Drive {drive.uuid} is being imaged")

    def _idle(self, drive: Drive) -> None:
        self.idle(drive)
        claims = self._state.claims(drive.uuid)
        if claims:
            raise Busy(f"Drive {drive.uuid} is claimed by {' '.join(claims)}")


class _Checked:
    """Stores a gzip body in a temporary file and checks it on the way."""

    def __init__(
        self, drive: Drive, file: IO[bytes], space: int, room: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._room = room
        self._drive = drive
        self._file = file
        self._space = space
        self._gunzip = Gunzip()

    def take(self, pieces: Iterable[bytes]) -> Iterator[None]:
        """Check and store bytes, a step for each MiB at most of what they expand to.

        Raises Usage if they are not gzip, Full if they expand beyond the space.
        """
        with self._room(), self._is_gzip():
            for piece in pieces:
                self._file.write(piece)
                for expanded in self._gunzip.feed(piece):
                    self._space -= len(expanded)
                    if self._space < 0:
                        raise _beyond(self._drive)
                    yield

    def finish(self) -> None:
        with self._is_gzip():
            self._gunzip.finish()

    def expanded(self) -> Iterator[Piece]:
        self._file.seek(0)
        return gunzipped(iter(lambda: self._file.read(PIECE), b""))

    @contextmanager
    def _is_gzip(self) -> Iterator[None]:
        try:
            yield
        except NotGzip as error:
            raise Usage(f"Drive {self._drive.uuid}: invalid body: {error}, as Content-Encoding says") from None


def _beyond(drive: Drive) -> Full:
    return Full(f"Drive {drive.uuid}: the data ends beyond its {drive.size} bytes")


def _gzip_limit(space: int) -> int:
    """The longest body that gzip can make of so many bytes, generously: what is longer is no honest gzip."""
    return space + space // 16 + (1 << 16)


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
