# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clock of the endpoint, which tests can move."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Return the seconds since the epoch, for times that are stored or shown."""

    def monotonic(self) -> float:
        """Return seconds for durations: they go on when the clock of the machine is set."""


def monotonic_of(clock: Clock, epoch: float) -> float:
    """Return the monotonic time of a stored time; now at the latest, since the clock may have been set back since."""
    return clock.monotonic() - max(0.0, clock.now() - epoch)


class SystemClock:
    """The clock of the machine plus an offset in seconds, which the control port moves."""

    def __init__(self) -> None:
        self.offset = 0.0
        self._passed = 0.0

    def now(self) -> float:
        return time.time() + self.offset

    def monotonic(self) -> float:
        return time.monotonic() + self._passed

    def move(self, seconds: float) -> None:
        """Let seconds pass; a negative number sets the clock back."""
        self.offset += seconds
        self._passed += max(0.0, seconds)
