# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes to one drive side by side: packed where that pays, one after the other where the cloud wants it so."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Optional

from .client import ElasticHosts
from .drives import gzipped
from .errors import AnswerLost, BusyError, SystemFault
from .file_parts import FilePart
from .image_files import SLICE

ATTEMPTS = 5
PAUSE = 0.25
PROBE_CHUNK = 1024 * 1024
"""Bytes that travel as they are, to see how fast the line is."""
TRIAL_CHUNK = 256 * 1024
"""Bytes of the chunks that show whether the cloud takes them side by side: where it does not they travelled in vain."""
CHUNK = 4 * 1024 * 1024
"""Bytes of a write call once the line is known, as in the vendor's own tool (elastichosts-api 1.7)."""
LONGEST = 64 * 1024 * 1024
"""Bytes of a write call where the line takes them within SECONDS: fewer calls, and a cut costs as little time."""
GROWTH = 2
"""times the last chunk"""
SECONDS = 0.2
FAST = 50e6
"""Bytes per second of a line that one writer fills by itself."""
SAMPLE = 16 * 1024
HARDLY = 0.9
"""A sample that does not shrink below this part of itself is not worth packing."""
FIRST_GUESS = 40e6
"""Bytes per second that one thread packs, until it is known better."""
FRESH = 0.5
"""Weight of the newest measurement."""


class Lanes:
    """Writes chunks to a drive, up to `workers` at the same time.

    Clouds may allow one writer per drive only (elastichosts-api 2.1): after the first BusyError that one of our own
    writes can be blamed for, the chunks go one after the other, and only the packing stays side by side. On a fast line
    they do so from the start, unpacked: there is nothing to gain, and each call that is refused costs time.
    """

    def __init__(self, client: ElasticHosts, uuid: str, workers: int) -> None:
        self._client = client
        self._uuid = uuid
        self._pool = ThreadPoolExecutor(workers)
        self._workers = workers
        self._packers = min(workers, os.cpu_count() or 1)
        self._pack_rate = FIRST_GUESS
        self._turn = threading.Lock()
        self._quiet = threading.Condition()
        self._alone = self._crowded = False
        self._writing = 0
        self._rate: Optional[float] = None
        self._last = 0
        self._settled = workers == 1

    @property
    def chunk(self) -> int:
        """Bytes that the next chunk should have: few until line and cloud are known."""
        if self._rate is None or not self._settled:
            return PROBE_CHUNK if self._rate is None else TRIAL_CHUNK
        # The checksum of a chunk comes before its call: while one travels there is time for that of the next, if it is
        # not many times as long.
        return max(CHUNK, min(LONGEST, GROWTH * self._last, int(self._rate * SECONDS) // SLICE * SLICE))

    @property
    def ahead(self) -> int:
        """Chunks worth having in hand: where one is sent after the other, one more than is under way."""
        fast = self._alone and self._rate is not None and self._rate >= FAST
        return min(2, self._workers) if fast else self._workers

    def write(self, offset: int, data: FilePart) -> Future[None]:
        """Begin to write `data` at byte `offset`."""
        self._last = len(data)
        return self._pool.submit(self._chunk, offset, data)

    def __enter__(self) -> Lanes:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._pool.shutdown(wait=True)

    def _chunk(self, offset: int, data: FilePart) -> None:
        packed = self._packed(data) if self._worth_packing(data) else None
        if packed is not None and len(packed) >= len(data):
            packed = None
        with self._quiet:
            aside = self._alone
            self._writing += 0 if aside else 1
            self._crowded = self._crowded or self._writing > 1
        if aside:
            self._write_alone(offset, data, packed)
            return
        try:
            self._write(offset, data, packed, retry=not self._crowded)
            self._settled = self._settled or self._crowded
            return
        except (BusyError, AnswerLost):
            if not self._crowded:
                raise
            # Ours were in each other's way, or one was hung up on for it.
            self._alone = self._settled = True
        finally:
            with self._quiet:
                self._writing -= 1
                self._quiet.notify_all()
        self._write_alone(offset, data, packed)

    def _write_alone(self, offset: int, data: FilePart, packed: Optional[bytes]) -> None:
        with self._turn:
            with self._quiet:
                self._quiet.wait_for(lambda: not self._writing)
            self._write(offset, data, packed, retry=True)

    def _write(self, offset: int, data: FilePart, packed: Optional[bytes], *, retry: bool) -> None:
        """One chunk, tried again after a lost answer: the same bytes in the same place do no harm.

        BusyError is then the lost call, still at work.
        """
        lost = False
        for attempt in range(ATTEMPTS):
            try:
                self._timed(offset, data, packed)
                return
            except (AnswerLost, SystemFault, BusyError) as error:
                lost = lost or not isinstance(error, BusyError)
                if not (lost and retry) or attempt == ATTEMPTS - 1:
                    raise
            self._client.transport.clock.sleep(PAUSE * 2.0**attempt)

    def _timed(self, offset: int, data: FilePart, packed: Optional[bytes]) -> None:
        begin = time.monotonic()
        if packed is not None:
            self._client.drives.write_packed(self._uuid, offset, packed)
            return
        self._client.drives.write(self._uuid, offset, data)
        seconds = max(time.monotonic() - begin, 1e-6)
        rate = len(data) / seconds
        if self._rate is None and rate >= FAST and len(data) >= PROBE_CHUNK:
            self._alone = self._settled = True
        self._rate = _newer(self._rate, rate)

    def _worth_packing(self, data: FilePart) -> bool:
        """Does packing take less time than it saves on the line? Noise never shrinks; a fast line needs no packing."""
        if self._rate is None and len(data) >= PROBE_CHUNK:
            return False
        packing = 1 / (self._pack_rate * self._packers)
        if self._rate is not None and 1 / self._rate <= packing:
            return False
        sample = data.cut(max(0, (len(data) - SAMPLE) // 2), SAMPLE)
        part = len(gzipped(sample)) / len(sample)
        if part > HARDLY:
            return False
        return self._rate is None or (1 - part) / self._rate > packing

    def _packed(self, data: FilePart) -> bytes:
        begin = time.monotonic()
        packed = gzipped(data.cut(0, len(data)))
        self._pack_rate = _newer(self._pack_rate, len(data) / max(time.monotonic() - begin, 1e-6))
        return packed


def _newer(known: Optional[float], measured: float) -> float:
    return measured if known is None else known * (1 - FRESH) + measured * FRESH
