# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is at a local path: uploads and downloads take regular files and block devices, and nothing else."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO, Callable

from .clock import Deadline
from .errors import Refused, WaitTimeout

Progress = Callable[[int, int], None]
"""called with the bytes done and the bytes in all"""
RESUMED = "run the task again, it goes on from there"

_OTHERS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a character device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a broken link",
}


def is_block_device(path: Path, option: str) -> bool:
    """Return whether there is a block device at `path`, and not a regular file. Links are followed.

    Raises Refused, with the name of the option, for everything else that is there: a pipe may never end, and an
    ordinary file must not take the place of a device. Raises FileNotFoundError when nothing is there, and OSError.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        if not path.is_symlink():
            raise
        mode = stat.S_IFLNK
    if stat.S_ISREG(mode) or stat.S_ISBLK(mode):
        return stat.S_ISBLK(mode)
    kind = _OTHERS.get(stat.S_IFMT(mode), "something else")
    raise Refused(f"{option} {str(path)!r} is {kind}: give the path of a file or of a block device")


def device_size(device: BinaryIO) -> int:
    """Return the bytes of an open block device, of which stat says 0. The device stands at its beginning then."""
    size = device.seek(0, os.SEEK_END)
    device.seek(0)
    return size


def time_over(what: str, done: int, total: int, deadline: Deadline, advice: str) -> WaitTimeout:
    """Return the error of a transfer whose time is over. `what`: "the upload to drive 'root'"."""
    return WaitTimeout(
        f"{what} did not end within {deadline.seconds:g} s, {done} of {total} bytes are there: {advice}, or allow more "
        "time (transfer_timeout)",
        last=f"{done} of {total} bytes",
    )
