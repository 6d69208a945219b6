# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of drives as streams of pieces, so that no drive is ever in memory as a whole."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Union

Piece = Union[bytes, int]
"""Bytes, or a number of zero bytes: holes of a sparse file are not read, compressed or written."""

PIECE = 1 << 20
_ZEROS = bytes(PIECE)
_GZIP = 31
"""The value of `wbits` for gzip in zlib."""
_MAGIC = b"\x1f\x8b"


class NotGzip(ValueError):
    """Data that is not valid gzip; the text is the end of a sentence."""


def stored(path: Path, size: int) -> Iterator[Piece]:
    """Yield the first `size` bytes of a file, holes as numbers; beyond the end of the file is a hole."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        position = 0
        while position < size:
            data = min(seek(descriptor, position, os.SEEK_DATA, size), size)
            if data > position:
                yield data - position
            end = min(seek(descriptor, data, os.SEEK_HOLE, size), size)
            position = data
            while position < end:
                piece = os.pread(descriptor, min(PIECE, end - position), position)
                if not piece:
                    yield end - position
                    break
                yield piece
                position += len(piece)
            position = end
    finally:
        os.close(descriptor)


def seek(descriptor: int, position: int, way: int, otherwise: int) -> int:
    """Return the next offset with data or with a hole (os.SEEK_DATA, os.SEEK_HOLE), `otherwise` if there is none."""
    try:
        return os.lseek(descriptor, position, way)
    except OSError as error:
        if error.errno == errno.ENXIO:  # neither data nor hole up to the end of the file
            return otherwise
        raise


def looks_gzipped(path: Path) -> bool:
    with path.open("rb", buffering=0) as file:
        return file.read(len(_MAGIC)) == _MAGIC


class Gunzip:
    """Decompresses gzip piece by piece. A gzip file may have several members, followed by zeros."""

    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None
        self._ended = False

    def feed(self, piece: Piece) -> Iterator[bytes]:
        """Yield the decompressed piece in pieces of at most 1 MiB. Raises NotGzip."""
        if isinstance(piece, int):
            while piece and self._member is not None:
                part = _ZEROS[: min(piece, PIECE)]
                piece -= len(part)
                yield from self._expand(part)
        else:
            yield from self._expand(piece)

    def _expand(self, data: bytes) -> Iterator[bytes]:
        more = False
        while data or more:
            if self._member is None:
                data = data.lstrip(b"\0") if self._ended else data
                if not data:
                    return
                self._member = zlib.decompressobj(wbits=_GZIP)
            try:
                expanded = self._member.decompress(data, PIECE)
            except zlib.error:
                raise NotGzip("it is not gzip") from None
            if expanded:
                yield expanded
            # After a full piece zlib may have more output, even if all input is consumed.
            more = len(expanded) == PIECE
            data = self._member.unconsumed_tail
            if self._member.eof:
                data, more = self._member.unused_data, False
                self._member, self._ended = None, True

    def finish(self) -> None:
        """Check that the last member is complete. Raises NotGzip."""
        if self._member is not None:
            raise NotGzip("the gzip data ends early")


def gunzipped(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Yield decompressed pieces, zeros as numbers. Raises NotGzip."""
    gunzip = Gunzip()
    for piece in pieces:
        for expanded in gunzip.feed(piece):
            yield len(expanded) if is_zero(expanded) else expanded
    gunzip.finish()


def gzipped(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Yield a gzip member per piece; the member of 1 MiB of zeros is compressed once and repeated."""
    zeros = _member(_ZEROS)
    for piece in pieces:
        if isinstance(piece, int):
            for _number in range(piece // PIECE):
                yield zeros
            if piece % PIECE:
                yield _member(_ZEROS[: piece % PIECE])
        else:
            yield _member(piece)


def _member(data: bytes) -> bytes:
    gzip = zlib.compressobj(level=1, wbits=_GZIP)
    return gzip.compress(data) + gzip.flush()


def is_zero(data: bytes) -> bool:
    if not data or data[0]:
        return not data
    return data == _ZEROS[: len(data)] if len(data) <= PIECE else not data.strip(b"\0")
