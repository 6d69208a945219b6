# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls of the API as a table: path, methods, handler, form of the reply (elastichosts-api 2)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from ..errors import Method
from ..testing.fault_rules import HideAddress, Verdict
from . import bodies, formats
from .api_platform import Platform
from .drives import Drives
from .folders import Folders
from .resources import Resources
from .servers import Servers

READ, CHANGE = frozenset({"GET", "POST"}), frozenset({"POST"})
Shape = Callable[[Any, bool], Response]


def _nothing(_found: object, _as_json: bool) -> Response:
    return Response(status_code=204)


def _raw(found: bytes, _as_json: bool) -> Response:
    return Response(found, headers={"Content-Type": formats.OCTETS})


def _uuids(found: Iterable[str], as_json: bool) -> Response:
    return formats.rows([{"uuid": uuid} for uuid in found], as_json)


_ONE, _MANY, _ROWS = formats.properties, formats.objects, formats.rows


@dataclass(frozen=True)
class Call:
    """A row of the table. path: with {parameters}. shape: makes the reply of what the handler returns.

    body: `properties` (keys and values), `stream` (bytes) or empty for a call without a body.
    The handler is called with the user, the path's parameters, the body if the call has one, and then `extra`.
    ignored: called in place of the handler for a guest that ignores the call.
    """

    path: str
    methods: frozenset[str]
    handler: Callable[..., Any]
    shape: Shape
    body: str = ""
    extra: tuple[str, ...] = ()
    ignored: Callable[..., Any] | None = None


def calls(
    drives: Drives, folders: Folders, servers: Servers, resources: Resources, platform: Platform
) -> tuple[Call, ...]:
    """Return every call that the platform has."""
    library = (*_library(drives), *_folders(folders)) if platform.library else ()
    return (*_servers(servers), *_drives(drives, platform), *library, *_resources(resources))


def _drives(drives: Drives, platform: Platform) -> tuple[Call, ...]:
    imaged = _nothing if platform.image_empty else _ONE
    return (
        Call("drives/list", READ, drives.uuids, _uuids),
        Call("drives/info", READ, drives.every, _MANY),
        Call("drives/info/full", READ, drives.every_in_full, _MANY),
        Call("drives/create", CHANGE, drives.create, _ONE, "properties"),
        Call("drives/{drive}/info", READ, drives.info, _ONE),
        Call("drives/{drive}/info/full", READ, drives.info_in_full, _ONE),
        Call("drives/{drive}/set", CHANGE, drives.set, _ONE, "properties"),
        Call("drives/{drive}/destroy", CHANGE, drives.destroy, _nothing),
        Call("drives/{drive}/image/{source}", CHANGE, drives.image, imaged),
        Call("drives/{drive}/image/{source}/gunzip", CHANGE, drives.image, imaged, extra=("gunzip",)),
        Call("drives/{drive}/image/{source}/gzip", CHANGE, drives.image, imaged, extra=("gzip",)),
        Call("drives/{drive}/read/{offset}/{size}", READ, drives.read, _raw),
        Call("drives/{drive}/write", CHANGE, drives.write_from_start, _nothing, "stream"),
        Call("drives/{drive}/write/{offset}", CHANGE, drives.write, _nothing, "stream"),
    )


def _library(drives: Drives) -> tuple[Call, ...]:
    return (
        Call("drives/list/standard", READ, drives.library_uuids, _uuids),
        Call("drives/info/standard", READ, drives.library, _MANY),
        Call("drives/{source}/clone", CHANGE, drives.clone, _ONE, "properties"),
        Call("drives/{source}/clone/gunzip", CHANGE, drives.clone, _ONE, "properties", extra=("gunzip",)),
    )


def _folders(folders: Folders) -> tuple[Call, ...]:
    return (
        Call("folders/list", READ, folders.uuids, _uuids),
        Call("folders/info", READ, folders.every, _MANY),
        Call("folders/info/standard", READ, folders.library, _MANY),
        Call("folders/{folder}/info", READ, folders.info, _ONE),
        Call("folders/{folder}/set", CHANGE, folders.set, _ONE, "properties"),
        Call("folders/{folder}/destroy", CHANGE, folders.destroy, _nothing),
        Call("folders/{source}/clone", CHANGE, folders.clone, _ONE, "properties"),
    )


def _resources(resources: Resources) -> tuple[Call, ...]:
    return (
        Call("resources/list", READ, resources.rows, _ROWS),
        Call("resources/info", READ, resources.every, _MANY),
        Call("resources/{type}/list", READ, resources.rows_of, _ROWS),
        Call("resources/{type}/info", READ, resources.every_of, _MANY),
        Call("resources/{type}/create", CHANGE, resources.create, _ONE, "properties"),
        Call("resources/{type}/{resource}/info", READ, resources.info, _ONE),
        Call("resources/{type}/{resource}/set", CHANGE, resources.set, _ONE, "properties"),
        Call("resources/{type}/{resource}/destroy", CHANGE, resources.destroy, _nothing),
    )


def _servers(servers: Servers) -> tuple[Call, ...]:
    return (
        Call("servers/list", READ, servers.uuids, _uuids),
        Call("servers/info", READ, servers.every, _MANY),
        Call("servers/info/full", READ, servers.every, _MANY),
        Call("servers/create", CHANGE, servers.create, _ONE, "properties"),
        Call("servers/create/stopped", CHANGE, servers.create_stopped, _ONE, "properties"),
        Call("servers/{server}/info", READ, servers.info, _ONE),
        Call("servers/{server}/info/full", READ, servers.info, _ONE),
        Call("servers/{server}/set", CHANGE, servers.set, _ONE, "properties"),
        Call("servers/{server}/start", CHANGE, servers.start, _ONE),
        Call("servers/{server}/stop", CHANGE, servers.stop, _nothing),
        Call("servers/{server}/shutdown", CHANGE, servers.shutdown, _nothing, ignored=servers.shutdown_ignored),
        Call("servers/{server}/reset", CHANGE, servers.reset, _nothing),
        Call("servers/{server}/destroy", CHANGE, servers.destroy, _nothing),
    )


class CallApplication:
    """An ASGI application that does one call of the API.

    advance: called before the handler, so that timed events take effect. hide_address: see Verdict.visible.
    body_timeout: in seconds.
    """

    def __init__(self, call: Call, advance: Callable[[], None], hide_address: HideAddress, body_timeout: float) -> None:
        self._call = call
        self._advance = advance
        self._hide_address = hide_address
        self._body_timeout = body_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call, request = self._call, Request(scope, receive)
        verdict: Verdict = request.state.verdict
        if request.method not in call.methods:
            raise Method(f"{call.path} is called with {' or '.join(sorted(call.methods))}, not {request.method[:20]}")
        body = await self._body(request)
        self._advance()
        handler = call.ignored if call.ignored and verdict.condition("deaf-guest") else call.handler
        found = handler(request.user, *request.path_params.values(), *body, *call.extra)
        if inspect.isawaitable(found):
            found = await found
        found = verdict.visible(found, self._hide_address)
        response = call.shape(found, formats.wants_json(request.headers.get("accept")))
        await response(scope, receive, send)

    async def _body(self, request: Request) -> tuple[Any, ...]:
        content_type = request.headers.get("content-type")
        if self._call.body:
            formats.refuse_multipart(content_type)
        if self._call.body == "properties":
            return (formats.parse(await bodies.collect(request, self._body_timeout), content_type),)
        return (bodies.stream(request, self._body_timeout),) if self._call.body == "stream" else ()


def routes(
    calls: Iterable[Call], advance: Callable[[], None], hide_address: HideAddress, body_timeout: float
) -> list[BaseRoute]:
    """Return the routes of calls."""
    return [Route(f"/{call.path}", CallApplication(call, advance, hide_address, body_timeout)) for call in calls]
