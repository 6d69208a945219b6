# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drives as copies of other drives: the cloud does the copying, this finds the source and waits for the end.

A drive tells what it is a copy of: `user:image` is the UUID of its source, set when the copy is whole. `user:copying`
is there meanwhile.
"""

from __future__ import annotations

from typing import Callable, List, NamedTuple, Optional

from .apply import wait_imaged
from .client import ElasticHosts
from .clock import Deadline
from .drives import Drive
from .errors import BusyError, ElasticHostsError, MissingError, NotUnique, Refused
from .identifiers import is_uuid
from .safe_retry import change_once

SOURCE_KEY = "user:image"
COPYING_KEY = "user:copying"
BUSY_PAUSE = 0.5

Percent = Callable[[str], None]
"""Called with the progress as the cloud tells it: "queued", "true", "43%"."""


class Source(NamedTuple):
    """What to copy: the drive, how it is stored ("gunzip" for a compressed one), and the bytes that it needs."""

    drive: Drive
    conversion: Optional[str]
    size: int


def find_source(client: ElasticHosts, wanted: str, own: Optional[List[Drive]] = None) -> Source:
    """The drive to copy, by UUID or unique name: an own one, then a standard one, then any that may be read.

    `own` is the listing of own drives where the caller has it already. Raises Refused and NotUnique.
    """
    for room in (client.drives.info, client.standard_drives.info):
        listing = own if own is not None and room == client.drives.info else room()
        found = [drive for drive in listing if wanted.lower() == drive.uuid or wanted == drive.name]
        if len(found) > 1:
            candidates = tuple(sorted(drive.uuid for drive in found))
            raise NotUnique(
                f"{len(found)} drives are called {wanted!r} ({', '.join(candidates)}): "
                "name the one to copy by its UUID",
                candidates=candidates,
            )
        if found:
            return source_of(found[0])
    if is_uuid(wanted):
        try:
            return source_of(client.drives.get(wanted.lower()))
        except MissingError:
            pass
    raise Refused(
        f"no drive {wanted!r} to copy from, neither an own nor a standard one: correct it, or create that drive first"
    )


def source_of(drive: Drive) -> Source:
    """How to copy `drive`: standard disks are stored compressed and say how large they become."""
    if drive.properties.get("format") == "gzip":
        raw = drive.properties.get("rawsize", "")
        return Source(drive, "gunzip", int(raw) if raw.isascii() and raw.isdigit() else drive.size)
    return Source(drive, None, drive.size)


def is_copy_of(drive: Drive, source: Source) -> bool:
    """Was `drive` made a whole copy of `source` before?"""
    return drive.properties.get(SOURCE_KEY) == source.drive.uuid and COPYING_KEY not in drive.properties


def copy_onto(
    client: ElasticHosts, uuid: str, source: Source, deadline: Deadline, progress: Optional[Percent] = None
) -> Drive:
    """Make drive `uuid` a copy of `source`, and wait until it is whole; the drive as it is then.

    A source that another copy holds is waited for. Raises WaitTimeout, which names the progress, and the errors of the
    calls.
    """
    with client.transport.within(deadline):
        _begin(client, uuid, source, deadline)
        return wait_imaged(client, uuid, deadline, _told(client, progress) if progress is not None else None)


def _begin(client: ElasticHosts, uuid: str, source: Source, deadline: Deadline) -> None:
    while True:
        try:
            change_once(
                lambda: client.drives.image(uuid, source.drive.uuid, source.conversion),
                lambda: _under_way(client.drives.get(uuid)),
            )
            return
        except BusyError:
            if not deadline.left():
                raise
        deadline.sleep(BUSY_PAUSE)


def _under_way(drive: Drive) -> Optional[Drive]:
    return drive if drive.imaging is not None else None


def _told(client: ElasticHosts, progress: Percent) -> Callable[[Drive], None]:
    def tell(drive: Drive) -> None:
        """The exact progress, where the platform has a call for it; it is only for show."""
        try:
            full = client.drives.get(drive.uuid, full=True).imaging
        except ElasticHostsError:
            full = None
        progress(full or drive.imaging or "")

    return tell
