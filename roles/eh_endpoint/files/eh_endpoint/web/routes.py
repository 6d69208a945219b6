# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the pages are, and the way of a browser to the screen of a guest."""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import Path
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..api.accounts import Accounts
from ..api.drives import Drives
from ..api.quotas import Quotas
from ..api.servers import Servers
from ..errors import ApiError, Missing, Unauthorised
from . import status_assets, status_page

_CONSOLE = re.compile(r"/console/([0-9a-f-]{36})(/socket)?")
_NOVNC = re.compile(r"/novnc/((?:core|vendor)/[A-Za-z0-9_./-]+\.js)")
_SAFE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "connect-src 'self'; img-src 'self' data: blob:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_PIECE = 64 << 10


class Pages:
    """The status page and the consoles. novnc: the folder of the package @novnc/novnc; without it no consoles."""

    def __init__(
        self, accounts: Accounts, drives: Drives, servers: Servers, quotas: Quotas, novnc: Path | None
    ) -> None:
        self._accounts = accounts
        self._drives = drives
        self._servers = servers
        self._quotas = quotas
        self._novnc = novnc

    async def find(self, method: str, path: str, user: str) -> Response | None:
        """The page at a path; None where there is none, and the API is meant."""
        if method not in ("GET", "HEAD"):
            return None
        if path == "/":
            return await self._overview(user)
        if path == "/status.css":
            return _answer(status_assets.STYLE, "text/css")
        if path == "/live.js":
            return _answer(status_assets.LIVE, "text/javascript")
        if self._novnc is None:
            return None
        if path == "/console.js":
            return _answer(status_assets.CONSOLE, "text/javascript")
        if script := _NOVNC.fullmatch(path):
            return self._script(self._novnc, script[1])
        if console := _CONSOLE.fullmatch(path):
            return await self._console(user, console[1])
        return None

    async def socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The screen of a guest over a WebSocket, byte for byte as its VNC server speaks."""
        browser = WebSocket(scope, receive, send)
        try:
            where = self._asked(browser)
            reader, writer = await asyncio.open_connection(*where)
        except (ApiError, OSError):
            await browser.close(code=1008)
            return
        offered = browser.scope.get("subprotocols", [])
        await browser.accept("binary" if "binary" in offered else None)
        ways = [asyncio.create_task(_up(browser, writer)), asyncio.create_task(_down(reader, browser))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()
            with contextlib.suppress(RuntimeError):  # the browser has closed it already
                await browser.close()

    def _asked(self, browser: WebSocket) -> tuple[str, int]:
        user = self._accounts.authenticate(browser.headers.get("authorization"))
        # Another site's page could use the key that the browser remembers for this one.
        if urlsplit(browser.headers.get("origin", "")).netloc != browser.headers.get("host"):
            raise Unauthorised("A console is opened from the endpoint's own page")
        found = _CONSOLE.fullmatch(browser.url.path)
        if self._novnc is None or found is None or not found[2]:
            raise Missing("There is no such console")
        where = self._servers.console(user, found[1])
        if where is None:
            raise Missing("The guest has no console")
        return where

    async def _overview(self, user: str) -> Response:
        totals, limits = self._quotas.use(user)
        page = status_page.overview(
            user,
            status_page.uses(totals, limits),
            await self._servers.every(user),
            self._drives.every_in_full(user),
            self._novnc is not None,
        )
        return _answer(page)

    async def _console(self, user: str, uuid: str) -> Response:
        try:
            server = await self._servers.info(user, uuid)
        except Missing as error:
            return _answer(status_page.refused(error.message), status=404)
        if self._servers.console(user, uuid) is None:
            return _answer(status_page.refused("This server has no console now: it is off, or has no VNC."), status=404)
        return _answer(status_page.console(server))

    def _script(self, folder: Path, name: str) -> Response | None:
        file = (folder / name).resolve()
        if not file.is_relative_to(folder.resolve()) or not file.is_file():
            return None
        return _answer(file.read_text(), "text/javascript")


async def _up(browser: WebSocket, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(WebSocketDisconnect, OSError):
        while True:
            writer.write(await browser.receive_bytes())
            await writer.drain()


async def _down(reader: asyncio.StreamReader, browser: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect, OSError):
        while piece := await reader.read(_PIECE):
            await browser.send_bytes(piece)


def _answer(text: str, kind: str = "text/html", status: int = 200) -> Response:
    return Response(text, status, _SAFE, media_type=kind)
