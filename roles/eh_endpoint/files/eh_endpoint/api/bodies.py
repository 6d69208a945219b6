# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads bodies of requests, with limits on their size and on the time without data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request

from ..errors import Usage

BODY_LIMIT = 1 << 20
"""bytes of a body that is read as a whole"""


class BodyTimeout(Exception):
    """No data of a body arrived within the time limit."""


class Body:
    """The body of a write call: its bytes as they arrive, its Content-Length and Content-Encoding."""

    def __init__(self, stream: AsyncIterator[bytes], length: int, encoding: str) -> None:
        self.stream = stream
        self.length = length
        self.encoding = encoding


async def collect(request: Request, timeout: float) -> bytes:
    """Read a whole body. timeout: seconds. Raises Usage for more than BODY_LIMIT bytes, and BodyTimeout."""
    too_large = Usage(f"invalid body: it is larger than {BODY_LIMIT} bytes")
    if _length(request) > BODY_LIMIT:
        raise too_large
    body = bytearray()
    async for piece in _pieces(request, timeout):
        body += piece
        if len(body) > BODY_LIMIT:
            raise too_large
    return bytes(body)


def stream(request: Request, timeout: float) -> Body:
    """Return a body to read in pieces. Raises Usage without a Content-Length; the stream raises BodyTimeout."""
    if "transfer-encoding" in request.headers:
        raise Usage("invalid Transfer-Encoding: a write call needs a Content-Length")
    return Body(_pieces(request, timeout), _length(request), request.headers.get("content-encoding", ""))


async def _pieces(request: Request, timeout: float) -> AsyncIterator[bytes]:
    pieces = request.stream()
    while True:
        try:
            async with asyncio.timeout(timeout):
                piece = await pieces.__anext__()
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise BodyTimeout from None
        yield piece


def _length(request: Request) -> int:
    return int(request.headers.get("content-length", "0"))
