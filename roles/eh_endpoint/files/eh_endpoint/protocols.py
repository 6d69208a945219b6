# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""uvicorn's protocols, with limits and refusals that they lack."""

from __future__ import annotations

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

_REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class HttpProtocol(H11Protocol):
    """The time-out of a connection between two requests ends with a whole head; uvicorn ends it with the first byte."""

    def data_received(self, data: bytes) -> None:
        self.conn.receive_data(data)
        self.handle_events()


class WebSocketProtocol(WSProtocol):
    """Refuses a handshake with a Host or a header that is not ASCII: wsproto only raises."""

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except UnicodeError:
            self.transport.write(_REFUSAL)
            self.transport.close()
