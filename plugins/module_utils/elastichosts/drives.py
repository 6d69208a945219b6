# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drives: one method per API call, and what a drive's properties say (elastichosts-api 2.1)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Tuple

from . import identifiers
from .errors import ProtocolError
from .http_client import Reply, Transport

GZIP_LEVEL = 1
"""Zero blocks and text shrink well at the cheapest level; higher ones cost more time than most lines save."""
GZIP_WINDOW = 31


@dataclass(frozen=True)
class Drive:
    """A drive as the API describes it; `properties` are its keys and values, all text."""

    properties: Mapping[str, str]

    @property
    def uuid(self) -> str:
        return self.properties.get("drive", "")

    @property
    def identity(self) -> str:
        """What tells it apart, as in all kinds of things."""
        return self.uuid

    @property
    def name(self) -> str:
        return self.properties.get("name", "")

    @property
    def size(self) -> int:
        """Bytes; 0 when the cloud does not say."""
        text = self.properties.get("size", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0

    @property
    def status(self) -> str:
        """active or inactive."""
        return self.properties.get("status", "unknown")

    @property
    def claimed(self) -> Tuple[str, ...]:
        """Who holds it now: server UUIDs, or the old platform's HOST:guest:SERVER:DEVICE."""
        return identifiers.words(self.properties.get("claimed", ""))

    @property
    def imaging(self) -> Optional[str]:
        """ "queued", "true" or "43%" while being imaged, else None."""
        text = self.properties.get("imaging", "")
        return text if text not in ("", "false") else None

    @property
    def tier(self) -> str:
        """disk or ssd; disk where the platform knows no tiers."""
        return self.properties.get("tier", "disk")

    @property
    def tags(self) -> Tuple[str, ...]:
        return identifiers.words(self.properties.get("tags", ""))

    @property
    def readers(self) -> Tuple[str, ...]:
        """UUIDs of the users that may read it; ffffffff-ffff-ffff-ffff-ffffffffffff is everyone."""
        return identifiers.words(self.properties.get("readers", ""))

    @property
    def user_keys(self) -> Dict[str, str]:
        """The free keys, without their "user:"."""
        return identifiers.user_keys(self.properties)

    def public(self) -> Dict[str, str]:
        """All properties, sorted; a drive has no secret ones."""
        return dict(sorted(self.properties.items()))


class Drives:
    """The drive calls. Every method raises the errors of its API call (TransportError, ProtocolError, ApiError)."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> List[str]:
        """The UUIDs of all own drives."""
        return [row[0] for row in self._transport.read("/drives/list").rows() if row]

    def info(self, left_out: Optional[List[str]] = None) -> List[Drive]:
        """All own drives with their properties, in one call; for `left_out` see `Reply.described`."""
        return self._transport.read("/drives/info").described(_drive, left_out)

    def get(self, uuid: str, *, full: bool = False) -> Drive:
        """One drive. `full`: `imaging` is an exact percentage on the newer platform too. Raises MissingError."""
        reply = self._transport.read(f"/drives/{identifiers.segment(uuid)}/info{'/full' if full else ''}")
        return _drive(reply.object(), reply)

    def create(self, properties: Mapping[str, Optional[str]]) -> Drive:
        """A new drive; the cloud rounds its size up to 4 MiB."""
        reply = self._transport.change("/drives/create", properties)
        return _drive(reply.object(), reply)

    def set(self, uuid: str, properties: Mapping[str, Optional[str]]) -> Drive:
        """Change properties; None unsets one."""
        reply = self._transport.change(f"/drives/{identifiers.segment(uuid)}/set", properties)
        found = reply.object()
        return _drive(found, reply) if found else self.get(uuid)

    def destroy(self, uuid: str) -> None:
        """Remove it. BusyError while a server or imaging holds it."""
        self._transport.change(f"/drives/{identifiers.segment(uuid)}/destroy")

    def read(self, uuid: str, offset: int, size: int) -> bytes:
        """At most `size` bytes from byte `offset`; fewer at the end of the drive. The API gives up to 4 MiB a call."""
        reply = self._transport.read(f"/drives/{identifiers.segment(uuid)}/read/{offset}/{size}", raw=True, limit=size)
        return reply.content

    def write(self, uuid: str, offset: int, data: bytes) -> None:
        """Write bytes at byte `offset`. Not repeated here, but harmless to repeat: the same bytes in the same place."""
        self._write(uuid, offset, data, {})

    def write_packed(self, uuid: str, offset: int, packed: bytes) -> None:
        """Like write, for bytes that are gzipped already; `offset` is that of the expanded bytes."""
        self._write(uuid, offset, packed, {"Content-Encoding": "gzip"})

    def _write(self, uuid: str, offset: int, body: bytes, headers: Mapping[str, str]) -> None:
        path = f"/drives/{identifiers.segment(uuid)}/write/{offset}"
        self._transport.change(path, body=body, headers={"Content-Type": "application/octet-stream", **headers})

    def image(self, uuid: str, source: str, conversion: Optional[str] = None) -> Drive:
        """Begin to copy drive `source` over this one; it goes on after the call. `conversion`: "gunzip" or "gzip"."""
        tail = f"/{identifiers.segment(conversion)}" if conversion else ""
        reply = self._transport.change(f"/drives/{identifiers.segment(uuid)}/image/{identifiers.segment(source)}{tail}")
        found = reply.object()
        return _drive(found, reply) if found else self.get(uuid)

    def find(self, name_or_uuid: str) -> Optional[Drive]:
        """The one own drive with this UUID or name; None when there is none. Raises NotUnique."""
        return identifiers.find("drive", name_or_uuid, self.get, self.info, lambda drive: (drive.uuid, drive.name))


def gzipped(data: bytes) -> bytes:
    """`data` as one gzip member, without a file name or date in it."""
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WINDOW)
    return packer.compress(data) + packer.flush()


def _drive(properties: Dict[str, str], reply: Reply) -> Drive:
    if "drive" not in properties:
        raise ProtocolError(
            f"{reply.call}: the answer describes no drive: check that the endpoint is an ElasticHosts API",
            call=reply.call,
            status=reply.status,
            maybe_done=reply.changing,
        )
    return Drive(properties)
