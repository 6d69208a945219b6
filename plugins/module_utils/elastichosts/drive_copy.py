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
from .errors import ADVICE, BusyError, ElasticHostsError, MissingError, NotUnique, SourceInUse, SourceMissing
from .identifiers import is_uuid
from .safe_retry import change_once

SOURCE_KEY = "user:image"
COPYING_KEY = "user:copying"
BUSY_PAUSE = 0.5

Percent = Callable[[str], None]
"""Called with the progress as the cloud tells it: "queued", "true", "43%"."""


class Source(NamedTuple):
    """What to copy: the drive, how it is stored ("gunzip" for a compressed one), and the bytes that it needs.

    `may_be_in_use`: it is copied even if a running server uses it: a standard drive, which nobody can write to, or one
    of which the user allows it.
    """

    drive: Drive
    conversion: Optional[str]
    size: int
    may_be_in_use: bool = False


def find_source(
    client: ElasticHosts, wanted: str, own: Optional[List[Drive]] = None, *, may_be_in_use: bool = False
) -> Source:
    """The drive to copy, by UUID or unique name: an own one, then a standard one, then any that may be read.

    `own` is the listing of own drives where the caller has it already. Raises SourceMissing and NotUnique.
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
            return source_of(found[0], may_be_in_use or room == client.standard_drives.info)
    if is_uuid(wanted):
        try:
            return source_of(client.drives.get(wanted.lower()), may_be_in_use)
        except MissingError:
            pass
    raise SourceMissing(
        f"no drive {wanted!r} to copy from, neither an own nor a standard one: correct it, or create that drive first"
    )


def source_of(drive: Drive, may_be_in_use: bool = False) -> Source:
    """How to copy `drive`: standard disks are stored compressed and say how large they become."""
    if drive.properties.get("format") == "gzip":
        raw = drive.properties.get("rawsize", "")
        size = int(raw) if raw.isascii() and raw.isdigit() else drive.size
        return Source(drive, "gunzip", size, may_be_in_use)
    return Source(drive, None, drive.size, may_be_in_use)


def check_unused(client: ElasticHosts, source: Source) -> None:
    """Raise SourceInUse when a running server uses the source, whose copy may then hold half of what it writes.

    A drive is claimed by other copies of it as well (elastichosts-api 2.1), so its claims are compared with the servers
    of the account. Those of a drive of another account cannot be, and count as servers.
    """
    drive = source.drive
    if source.may_be_in_use or not drive.claimed:
        return
    claims = drive.claimed
    if drive.properties.get("user", client.transport.account.user) == client.transport.account.user:
        servers = client.servers.list()
        claims = tuple(claim for claim in claims if any(server in claim for server in servers))
    if claims:
        raise SourceInUse(
            f"drive {drive.name or drive.uuid!r} ({drive.uuid}) is in use by {' '.join(claims)}, and may change while "
            f"it is copied: {ADVICE[SourceInUse]}"
        )


def is_copy_of(drive: Drive, source: Source) -> bool:
    """Was `drive` made a whole copy of `source` before?"""
    return drive.properties.get(SOURCE_KEY) == source.drive.uuid and COPYING_KEY not in drive.properties


def copy_onto(
    client: ElasticHosts, uuid: str, source: Source, deadline: Deadline, progress: Optional[Percent] = None
) -> Drive:
    """Make drive `uuid` a copy of `source`, and wait until it is whole; the drive as it is then.

    A source that another copy holds is waited for. Raises SourceInUse, WaitTimeout, which names the progress, and the
    errors of the calls.
    """
    with client.transport.within(deadline):
        if not source.may_be_in_use:  # it may be used since the caller has looked
            check_unused(client, source._replace(drive=client.drives.get(source.drive.uuid)))
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
