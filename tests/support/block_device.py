# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real block device in a scratch folder: a loop device over a file, with a node of its own."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def block_device(folder: Path, size: int) -> Iterator[Path]:
    """Make a block device of so many bytes, and return its node, which no other program knows.

    Skips the test where loop devices cannot be made: without root, or in most containers.
    """
    backing = folder / "volume.backing"
    backing.touch()
    os.truncate(backing, size)
    try:
        made = subprocess.run(["losetup", "--find", "--show", backing], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no loop device can be made here: {getattr(error, 'stderr', '') or error}")
    loop = made.stdout.strip()
    node = folder / "volume"
    try:
        try:
            os.mknod(node, stat.S_IFBLK | 0o600, Path(loop).stat().st_rdev)
            os.close(os.open(node, os.O_RDONLY))
        except OSError as error:
            pytest.skip(f"no device node can be used in {folder}: {error.strerror}")
        yield node
    finally:
        node.unlink(missing_ok=True)
        subprocess.run(["losetup", "--detach", loop], check=True)
