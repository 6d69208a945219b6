# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes of the status page and of the consoles of guests."""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..api.accounts import Accounts
from ..api.drives import Drives
from ..api.formats import Properties
from ..api.origins import OwnOrigin
from ..api.quotas import Quotas
from ..api.servers import Servers
from ..errors import ApiError, ForeignOrigin, Missing
from ..state.objects import DEVICES

_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "connect-src 'self'; img-src 'self' data: blob:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_MEASURES = {
    "servers": "Servers",
    "cores": "Cores",
    "mhz": "CPU, MHz",
    "mb": "Memory, MB",
    "gb": "Disk, GiB",
    "ips": "IP addresses",
    "vlans": "VLANs",
    "keys": "Keys and values, KiB",
}
_CHUNK = 64 << 10
mimetypes.add_type("text/javascript", ".js")  # Python 3.11 has an older name for it


class Use(NamedTuple):
    """The use of a measure by an account. limit: None for no limit."""

    name: str
    used: float
    limit: int | None


class Pages:
    """The status page and the consoles. novnc: the folder of the package @novnc/novnc; without it no consoles."""

    def __init__(
        self,
        own_origin: OwnOrigin,
        accounts: Accounts,
        drives: Drives,
        servers: Servers,
        quotas: Quotas,
        novnc: Path | None,
    ) -> None:
        self._own_origin = own_origin
        self._accounts = accounts
        self._drives = drives
        self._servers = servers
        self._quotas = quotas
        self._novnc = novnc

    def routes(self) -> list[BaseRoute]:
        files = Files(".css", ".js", directory=Path(__file__).with_name("static"))
        routes: list[BaseRoute] = [Route("/", self._status), Route("/status.css", files), Route("/live.js", files)]
        if self._novnc is None:
            return routes
        return [
            *routes,
            Route("/console.js", files),
            Mount("/novnc/core", Files(".js", directory=self._novnc / "core")),
            Mount("/novnc/vendor", Files(".js", directory=self._novnc / "vendor", check_dir=False)),
            Route("/console/{server:uuid}", self._console),
            WebSocketRoute("/console/{server:uuid}/socket", self._screen),
        ]

    async def _status(self, request: Request) -> Response:
        used, limits = self._quotas.use(request.user)
        servers, drives = await self._servers.every(request.user), self._drives.every_in_full(request.user)
        return _page(
            "status.html",
            user=request.user,
            uses=[Use(label, round(used.get(name, 0), 2), limits.get(name)) for name, label in _MEASURES.items()],
            servers=servers,
            drives=drives,
            stopped=_drives_of_stopped(servers),
            names={one.get("server") or one.get("drive"): one.get("name") for one in (*servers, *drives)},
            consoles=self._novnc is not None,
            now=time.time(),
        )

    async def _console(self, request: Request) -> Response:
        uuid = str(request.path_params["server"])
        try:
            server = await self._servers.info(request.user, uuid)
        except Missing as error:
            return _page("not_here.html", status=404, message=error.message)
        if self._servers.console(request.user, uuid) is None:
            message = "This server has no console now: it is off, or has no VNC."
            return _page("not_here.html", status=404, message=message)
        return _page("console.html", server=server)

    async def _screen(self, browser: WebSocket) -> None:
        """Pass the bytes of a guest's VNC server through a WebSocket, both ways."""
        try:
            where = await self._vnc_server(browser)
            reader, writer = await asyncio.open_connection(*where)
        except (ApiError, OSError):
            await browser.close(code=1008)
            return
        offered = browser.scope.get("subprotocols", [])
        await browser.accept("binary" if "binary" in offered else None)
        ways = [asyncio.create_task(_to_guest(browser, writer)), asyncio.create_task(_to_browser(reader, browser))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()
            with contextlib.suppress(RuntimeError):  # the browser has closed it already
                await browser.close()

    async def _vnc_server(self, browser: WebSocket) -> tuple[str, int]:
        # Browsers send Origin with every WebSocket.
        if not self._own_origin.is_of(browser, browser.headers.get("origin", "")):
            raise ForeignOrigin("A console is opened from the endpoint's own page")
        user = await self._accounts.admit(browser, browser.receive)
        where = self._servers.console(user, str(browser.path_params["server"]))
        if where is None:
            raise Missing("The guest has no console")
        return where


class Files(StaticFiles):
    """Static files with the given suffixes and no others, with the headers of the pages."""

    def __init__(self, *suffixes: str, **options: Any) -> None:
        super().__init__(**options)
        self._suffixes = suffixes

    async def get_response(self, path: str, scope: Scope) -> Response:
        if not path.endswith(self._suffixes):
            raise HTTPException(404)
        return await super().get_response(path, scope)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_SECURITY_HEADERS)
        return response


def _drives_of_stopped(servers: Iterable[Properties]) -> Mapping[str, list[str]]:
    """Return the UUIDs of the stopped servers that name a drive, by drive. The API shows them as no claim."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for server in servers:
        if server["status"] == "stopped":
            for device in server.keys() & set(DEVICES):
                found[str(server[device])].append(str(server["server"]))
    return found


def _page(name: str, status: int = 200, **context: Any) -> Response:
    from .rendering import ENVIRONMENT  # Jinja2 is loaded with the first page: it takes 15 ms and 1.2 MiB

    return Response(ENVIRONMENT.get_template(name).render(context), status, _SECURITY_HEADERS, media_type="text/html")


async def _to_guest(browser: WebSocket, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(WebSocketDisconnect, OSError):
        while True:
            writer.write(await browser.receive_bytes())
            await writer.drain()


async def _to_browser(reader: asyncio.StreamReader, browser: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect, OSError):
        while chunk := await reader.read(_CHUNK):
            await browser.send_bytes(chunk)
