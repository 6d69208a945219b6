# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress callback that reports each 5 per cent once."""

from __future__ import annotations

from typing import Callable

STEP = 5
"""per cent"""


def by_steps(tell: Callable[[int], None]) -> Callable[[int, int], None]:
    """Return a callback for (bytes done, total bytes) that calls ``tell`` with 5, 10, ... 100, each at most once."""
    reported = 0

    def progress(done: int, total: int) -> None:
        nonlocal reported
        percent = STEP * (100 * done // (total * STEP)) if total else 100
        if percent > reported:
            reported = percent
            tell(percent)

    return progress
