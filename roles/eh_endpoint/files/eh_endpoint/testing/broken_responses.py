# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replies that go wrong on the wire, below the level of an application."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from starlette.types import Message, Receive, Send

from .fault_rules import FaultRule

_LINGER = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 seconds: closing the socket resets the connection."""


class RecordedResponse:
    """Records the messages of an ASGI response. status: 0 as long as there is no response."""

    def __init__(self) -> None:
        self.start: Message = {}
        self.body = b""

    @property
    def status(self) -> int:
        return int(self.start.get("status", 0))

    async def record(self, message: Message) -> None:
        """Take a message in place of ASGI's `send`."""
        if message["type"] == "http.response.start":
            headers = [(_documented(name), value) for name, value in message["headers"]]
            self.start, self.body = {**message, "headers": headers}, b""
        elif self.body:
            self.body += message.get("body", b"")
        else:
            self.body = message.get("body", b"")


def _documented(name: bytes) -> bytes:
    """Return a header's name as documents have it: Starlette makes it lower case, and old scripts look for it so."""
    return b"WWW-Authenticate" if name == b"www-authenticate" else name.title()


async def send(response: RecordedResponse, rule: FaultRule | None, receive: Receive, to: Send) -> None:
    """Send a response, broken as a fault rule has it."""
    kind = "" if rule is None else rule.kind
    settings: dict[str, Any] = {} if rule is None else rule.settings
    if kind == "reset":
        await reset(receive, to)
    elif kind == "timeout":
        await _stay_silent(receive, to, settings["seconds"])
    elif kind == "truncate":
        await _truncate(response, receive, to, settings["part"])
    elif kind == "drip":
        await _drip(response, to, settings["bytes"], settings["interval"])
    else:
        await to(response.start)
        await to({"type": "http.response.body", "body": response.body})


async def reset(receive: Receive, send: Send) -> None:
    """End the connection with a TCP RST."""
    transport = _transport(send)
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    transport.abort()
    await _disconnected(receive)


async def _stay_silent(receive: Receive, send: Send, seconds: float) -> None:
    """Send nothing until the client disconnects; reset the connection after some seconds."""
    try:
        await asyncio.wait_for(_disconnected(receive), seconds)
    except TimeoutError:
        await reset(receive, send)


async def _truncate(response: RecordedResponse, receive: Receive, send: Send, part: float) -> None:
    """Announce the whole body, send a part (0 to 1) of it and close.

    A response without a body ends within its status line.
    """
    if response.body:
        kept = response.body[: int(len(response.body) * part)]
        await send(response.start)
        await send({"type": "http.response.body", "body": kept, "more_body": True})
    else:
        _transport(send).write(b"HTTP/1.1 2")
    _transport(send).close()
    await _disconnected(receive)


async def _drip(response: RecordedResponse, send: Send, size: int, interval: float) -> None:
    """Send the body `size` bytes at a time, with a pause in seconds before each."""
    await send(response.start)
    for begin in range(0, len(response.body), size):
        await asyncio.sleep(interval)
        piece = response.body[begin : begin + size]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _transport(send: Send) -> asyncio.Transport:
    # uvicorn's `send` is a method of the object that holds the connection; there is no public way to the socket.
    transport: asyncio.Transport = send.__self__.transport  # type: ignore[attr-defined]
    return transport


async def _disconnected(receive: Receive) -> None:
    """Read what still arrives until the connection is closed."""
    message: Any = {}
    while message.get("type") != "http.disconnect":
        message = await receive()
