# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress as few lines: one per step of five per cent."""

from __future__ import annotations

from typing import Callable

STEP = 5


def by_steps(tell: Callable[[int], None]) -> Callable[[int, int], None]:
    """A callback for bytes done and bytes in all, which calls `tell` with 5, 10, ... 100, each at most once."""
    told = 0

    def progress(done: int, total: int) -> None:
        nonlocal told
        percent = STEP * (100 * done // (total * STEP)) if total else 100
        if percent > told:
            told = percent
            tell(percent)

    return progress
