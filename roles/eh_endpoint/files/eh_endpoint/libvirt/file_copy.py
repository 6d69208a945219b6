# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies whole drive files: by a reflink if the file system supports that, otherwise by `qemu-img convert`."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

FICLONE = 0x40049409
"""The ioctl of Linux that makes a file share the blocks of another file until one of them is written to."""
_CANNOT = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS}
_NOT_FOUND = 127
"""Exit status of setpriv if the program does not exist."""
_PERCENT = re.compile(rb"\(([0-9.]+)/100%\)")
Progress = Callable[[float], None]
"""Called with the fraction that is done, 0 to 1; an exception ends the copy."""


class CopyFailed(Exception):
    """qemu-img could not copy; the text is its error message."""


def copy(source: Path, target: Path, progress: Progress) -> None:
    """Copy a raw image onto the beginning of another file that is at least as large. Raises CopyFailed."""
    if not reflinked(source, target):
        _convert(source, target, progress)
    progress(1.0)


def reflinked(source: Path, target: Path) -> bool:
    """Make the target share the source's blocks; return False if the file system cannot do that."""
    with source.open("rb") as original, target.open("r+b") as clone:
        try:
            fcntl.ioctl(clone.fileno(), FICLONE, original.fileno())
        except OSError as error:
            if error.errno in _CANNOT:
                return False
            raise
    return True


def _convert(source: Path, target: Path, progress: Progress) -> None:
    # setpriv ends the copy if the endpoint is killed; otherwise qemu-img would go on writing to a drive that is in use.
    command = [
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *("qemu-img", "convert", "-p", "-n", "-f", "raw", "-O", "raw", "--", str(source), str(target)),
    ]
    try:
        running = subprocess.Popen(  # noqa: S603 (no shell, the endpoint's own paths)
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as error:
        raise CopyFailed(f"setpriv cannot be run ({error.strerror}): install util-linux") from None
    output = b""
    with running:
        try:
            while piece := os.read(running.stdout.fileno(), 4096) if running.stdout else b"":
                output = (output + piece)[-4096:]
                for percent in _PERCENT.findall(piece):
                    progress(float(percent) / 100)
        except BaseException:
            running.kill()
            raise
    if running.returncode == _NOT_FOUND:
        raise CopyFailed("qemu-img cannot be run: install qemu-utils")
    if running.returncode:
        message = " ".join(_PERCENT.sub(b"", output).decode(errors="replace").split())
        raise CopyFailed(f"qemu-img convert of {source.name}: {message}")
