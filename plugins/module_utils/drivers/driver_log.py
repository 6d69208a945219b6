# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The driver's own log, which exists when ONE_MAD_DEBUG is set (opennebula-drivers 5.4)."""

from __future__ import annotations

import sys
import time
import traceback


def log_exception(error: BaseException) -> None:
    """The way to the fault, on the driver's log; values and messages stay out, they may be secrets."""
    trace = "".join(traceback.format_tb(error.__traceback__))
    log(f"{type(error).__name__}\n{trace}")


def log(text: str) -> None:
    """A line for the driver's own log, which exists when ONE_MAD_DEBUG is set (opennebula-drivers 5.4)."""
    if sys.stderr is not None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        sys.stderr.write(f"{stamp} {text.rstrip()}\n")
        sys.stderr.flush()
