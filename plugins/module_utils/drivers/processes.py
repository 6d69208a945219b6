# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boot id, process ids that are not reused, and whether a process is alive, from Linux's /proc."""

from __future__ import annotations

import os
from pathlib import Path

_STATE, _STARTED = 0, 19
"""fields of /proc/PID/stat: indexes after the program's name"""
_DEAD = (b"Z", b"X")


def boot_id() -> str:
    """Return an id that changes with each boot of the machine; empty if the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def this_process() -> str:
    """Return ``PID@START``; unlike the PID alone, this pair is not reused, not even in a restarted container."""
    return _process_id(os.getpid())


def is_alive(process: str) -> bool:
    """Return whether the process with this id (see :func:`this_process`) still runs; a zombie does not."""
    pid = process.partition("@")[0]
    return pid.isdigit() and _process_id(int(pid)) == process


def _process_id(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if fields[_STATE] in _DEAD else f"{pid}@{fields[_STARTED].decode()}"
