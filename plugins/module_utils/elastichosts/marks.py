# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a drive tells about the image that is uploaded to it, so that a cut upload is gone on with.

`user:sha256` is the checksum of the image that it was given, set when its last byte is acknowledged. `user:upload` is
there meanwhile: "CHECKSUM OFFSET fresh|over"; all before OFFSET is on the drive, and CHECKSUM is that of just these
bytes, so that a cut upload goes on with any file that begins the same.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Optional

from .client import ElasticHosts
from .drives import Drive
from .errors import ElasticHostsError

CHECKSUM_KEY = "user:sha256"
PROGRESS_KEY = "user:upload"


class Mark(NamedTuple):
    """How far an upload has come. `fresh`: the drive was new, so what is zero need not be written."""

    sha256: str
    offset: int
    fresh: bool

    def text(self) -> str:
        return f"{self.sha256} {self.offset} {'fresh' if self.fresh else 'over'}"


def recorded(drive: Drive) -> Optional[Mark]:
    """The mark of a cut upload; None when there is none, or what is there is not one."""
    words = drive.properties.get(PROGRESS_KEY, "").split()
    if len(words) != 3 or not (words[1].isascii() and words[1].isdigit()):
        return None
    return Mark(words[0], int(words[1][:20]), words[2] == "fresh")


class Recorder:
    """Keeps `user:upload` up to date beside the writes: once in `step` chunks, since each record is a call too."""

    def __init__(self, client: ElasticHosts, uuid: str, mark: Mark, step: int) -> None:
        self._client = client
        self._uuid = uuid
        self._step = step
        self._since = 0
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._pending: Optional[Future[None]] = None
        self._tried = self._recorded = mark
        self.mark = mark

    @property
    def offset(self) -> int:
        """All before it is recorded, or could not be: a mark that is late costs bytes, never correctness."""
        return self._tried.offset

    def done(self, offset: int, sha256: str, chunks: int) -> None:
        """All bytes before `offset` are acknowledged; `sha256` is their checksum. `chunks` more have travelled."""
        self.mark = self.mark._replace(offset=offset, sha256=sha256)
        self._since += chunks
        if self._since >= self._step and (self._pending is None or self._pending.done()):
            self._since = 0
            self._pending = self._pool.submit(self._record, self.mark)

    def catch_up(self) -> None:
        """Wait until all that is acknowledged is recorded."""
        if self._pending is not None:
            self._pending.result()
        if self._tried != self.mark:
            self._record(self.mark)

    def _record(self, mark: Mark) -> None:
        try:
            self._client.drives.set(self._uuid, {PROGRESS_KEY: mark.text()})
            self._recorded = mark
        except ElasticHostsError:
            pass
        self._tried = mark

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._pool.shutdown(wait=True)
        if kind is not None and self._recorded != self.mark:
            self._record(self.mark)
