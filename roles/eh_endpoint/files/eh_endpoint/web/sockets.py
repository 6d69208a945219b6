# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The WebSockets of consoles below the level of an application."""

from __future__ import annotations

from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

_REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class WebSocketProtocol(WSProtocol):
    """uvicorn's protocol, which refuses a handshake with a Host or a header that is not ASCII: wsproto only raises."""

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except UnicodeError:
            self.transport.write(_REFUSAL)
            self.transport.close()
