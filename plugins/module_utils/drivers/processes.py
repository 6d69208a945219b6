# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which start of the machine this is, and which of its processes live, as Linux tells in /proc."""

from __future__ import annotations

import os
from pathlib import Path

_STATE, _STARTED = 0, 19
"""fields of /proc/PID/stat, counted from the one behind the program's name"""
_DEAD = (b"Z", b"X")


def boot_id() -> str:
    """Changes with every start of the machine; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def this_process() -> str:
    """``PID@START``: ids are given out again, to the next driver in a container even at once; this pair is not."""
    return _known_as(os.getpid())


def is_alive(process: str) -> bool:
    """Return whether the process with this id, see :func:`this_process`, still runs; a zombie does not."""
    pid = process.partition("@")[0]
    return pid.isdigit() and _known_as(int(pid)) == process


def _known_as(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if fields[_STATE] in _DEAD else f"{pid}@{fields[_STARTED].decode()}"
