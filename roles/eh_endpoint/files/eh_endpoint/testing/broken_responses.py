# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers that go wrong on the wire, below what an application usually sees."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

_LINGER = struct.pack("ii", 1, 0)
"""Linger for 0 seconds: what is closed so is reset."""


def _transport(send: Send) -> asyncio.Transport:
    # uvicorn hands out bound methods of the object that holds the connection, and has no other way to it.
    transport: asyncio.Transport = send.__self__.transport  # type: ignore[attr-defined]
    return transport


async def reset(receive: Receive, send: Send) -> None:
    """End the connection with an RST."""
    transport = _transport(send)
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    transport.abort()
    await _gone(receive)


async def silence(receive: Receive, send: Send, seconds: float) -> None:
    """Say nothing until the caller goes away, or for so many seconds."""
    try:
        await asyncio.wait_for(_gone(receive), seconds)
    except TimeoutError:
        await reset(receive, send)


async def truncated(response: Response, scope: Scope, receive: Receive, send: Send, part: float) -> None:
    """Announce the whole body, send a part of it and close. An answer without a body ends within its first line."""
    kept = _Kept()
    await response(scope, receive, kept)
    if kept.body:
        await send(kept.start)
        await send({"type": "http.response.body", "body": kept.body[: int(len(kept.body) * part)], "more_body": True})
    else:
        _transport(send).write(b"HTTP/1.1 2")
    _transport(send).close()
    await _gone(receive)


async def drip(response: Response, scope: Scope, receive: Receive, send: Send, size: int, interval: float) -> None:
    """Send the body size bytes at a time, with a pause in seconds before each."""
    kept = _Kept()
    await response(scope, receive, kept)
    await send(kept.start)
    for begin in range(0, len(kept.body), size):
        await asyncio.sleep(interval)
        await send({"type": "http.response.body", "body": kept.body[begin : begin + size], "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Kept:
    """Takes a response instead of the wire."""

    def __init__(self) -> None:
        self.start: Message = {}
        self.body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.start = message
        else:
            self.body += message.get("body", b"")


async def _gone(receive: Receive) -> None:
    """Read whatever still comes until the connection is gone."""
    message: Any = {}
    while message.get("type") != "http.disconnect":
        message = await receive()
