# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of whole drives on a real machine: shared blocks where the file system can, `qemu-img convert` otherwise."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

FICLONE = 0x40049409
"""The ioctl that makes a file share another one's blocks until either is written to."""
_CANNOT = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS}
_NOT_FOUND = 127
"""What setpriv ends with where there is no such program."""
_PERCENT = re.compile(rb"\(([0-9.]+)/100%\)")
Progress = Callable[[float], None]
"""Told the part that is done, 0 to 1. It ends the copy by raising."""


class CopyFailed(Exception):
    """qemu-img could not copy; the text is what it said."""


def copy(source: Path, target: Path, progress: Progress) -> None:
    """Copy a raw image onto the beginning of another file that is at least as large. Raises CopyFailed."""
    if not reflinked(source, target):
        _convert(source, target, progress)
    progress(1.0)


def reflinked(source: Path, target: Path) -> bool:
    """Whether the target now shares the source's blocks; False where the file system cannot do that."""
    with source.open("rb") as original, target.open("r+b") as clone:
        try:
            fcntl.ioctl(clone.fileno(), FICLONE, original.fileno())
        except OSError as error:
            if error.errno in _CANNOT:
                return False
            raise
    return True


def _convert(source: Path, target: Path, progress: Progress) -> None:
    # It ends with the endpoint, even if that is killed: a copy that outlived it would write to a drive in use.
    command = [
        "setpriv",
        "--pdeathsig",
        "KILL",
        "--",
        "qemu-img",
        "convert",
        "-p",
        "-n",
        "-f",
        "raw",
        "-O",
        "raw",
        "--",
    ]
    command += [str(source), str(target)]
    try:
        running = subprocess.Popen(  # noqa: S603 (no shell, paths of our own)
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as error:
        raise CopyFailed(f"setpriv cannot be run ({error.strerror}): install util-linux") from None
    said = b""
    with running:
        try:
            while piece := os.read(running.stdout.fileno(), 4096) if running.stdout else b"":
                said = (said + piece)[-4096:]
                for percent in _PERCENT.findall(piece):
                    progress(float(percent) / 100)
        except BaseException:
            running.kill()
            raise
    if running.returncode == _NOT_FOUND:
        raise CopyFailed("qemu-img cannot be run: install qemu-utils")
    if running.returncode:
        words = " ".join(_PERCENT.sub(b"", said).decode(errors="replace").split())
        raise CopyFailed(f"qemu-img convert of {source.name}: {words}")
