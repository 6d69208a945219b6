# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A part of a file as the body of a call, read while it is sent: a long call takes no more memory than a short one."""

from __future__ import annotations

import os
from typing import Iterator

from .errors import Refused

PIECE = 256 * 1024
"""Bytes that are read and sent at a time: they are still in the processor's cache then."""


class FilePart:
    """`size` bytes of an open file from byte `offset`. May be sent any number of times, and by several threads."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[memoryview]:
        """Piece by piece, all in the same memory. Raises Refused when the file has become shorter."""
        view = memoryview(bytearray(min(PIECE, self._size)))
        at = 0
        while at < self._size:
            got = os.preadv(self._descriptor, [view[: self._size - at]], self._offset + at)
            if not got:
                raise _shorter()
            yield view[:got]
            at += got

    def cut(self, at: int, size: int) -> bytes:
        """The `size` bytes from the part's byte `at`, fewer at its end. Raises Refused like the iteration."""
        wanted = min(size, self._size - at)
        data = os.pread(self._descriptor, wanted, self._offset + at)
        if len(data) < wanted:
            raise _shorter()
        return data


def _shorter() -> Refused:
    return Refused("the file became shorter while it was sent: leave it alone, and try again")
