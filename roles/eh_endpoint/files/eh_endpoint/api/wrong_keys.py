# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the answer to a wrong key waits, so that keys cannot be tried out by the thousand."""

from __future__ import annotations

FREE = 5
"""Wrong keys of a source that are answered at once."""
STEP = 0.05
LONGEST = 5.0
FORGOTTEN = 600.0
"""Seconds without a wrong key after which a source begins anew."""
SOURCES = 4096


class WrongKeys:
    """Counts wrong keys by source, of the last SOURCES sources that sent one."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, float]] = {}

    def delay(self, source: str, now: float) -> float:
        """Count a wrong key; return the seconds until its answer: STEP more with each. now by the monotonic clock."""
        count, last = self._counts.pop(source, (0, now))
        count = 1 if now - last > FORGOTTEN else count + 1
        self._counts[source] = count, now
        if len(self._counts) > SOURCES:
            del self._counts[next(iter(self._counts))]
        return min(LONGEST, STEP * max(0, count - FREE))
