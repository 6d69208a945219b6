# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ASGI application: the table of calls, and what every call has around it."""

from __future__ import annotations

import inspect
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from . import formats
from .accounts import Accounts
from .drives import Body, Drives
from .errors import ApiError, Method, Missing, SystemFault, Unauthorised, Usage
from .formats import NOTHING, TEXT, Reply
from .resources import Resources
from .servers import Servers
from .standard import StandardDrives

BODY_LIMIT = 1 << 20
CLIENT_LEFT = 499
"""Logged, never sent: the caller went away in the middle of its request."""
READ, CHANGE = frozenset({"GET", "POST"}), frozenset({"POST"})
LOG = logging.getLogger("eh_endpoint")
Shape = Callable[[Any, bool], Reply]


def _nothing(_found: object, _as_json: bool) -> Reply:
    return NOTHING


def _raw(found: Reply, _as_json: bool) -> Reply:
    return found


def _uuids(found: Iterable[str], as_json: bool) -> Reply:
    return formats.rows([{"uuid": uuid} for uuid in found], as_json)


@dataclass(frozen=True)
class Call:
    """A row: path with {arguments}, the methods, what does it, the shape of the reply, what the body is.

    The handler is called with the user, the path's arguments and, if the call takes one, the body.
    """

    path: str
    methods: frozenset[str]
    handler: Callable[..., Any]
    shape: Shape
    takes: str = ""


def calls(drives: Drives, servers: Servers, resources: Resources, standard: StandardDrives | None) -> tuple[Call, ...]:
    """Every call of the API (elastichosts-api 2). standard: None where the standard drives cannot be listed."""
    one, many, rows = formats.properties, formats.objects, formats.rows
    return (
        Call("drives/list", READ, drives.uuids, _uuids),
        Call("drives/info", READ, drives.every, many),
        Call("drives/info/full", READ, drives.every, many),
        *_library(standard),
        Call("drives/create", CHANGE, drives.create, one, "properties"),
        Call("drives/{drive}/info", READ, drives.info, one),
        Call("drives/{drive}/info/full", READ, drives.info, one),
        Call("drives/{drive}/set", CHANGE, drives.set, one, "properties"),
        Call("drives/{drive}/destroy", CHANGE, drives.destroy, _nothing),
        Call("drives/{drive}/read/{offset}/{size}", READ, drives.read, _raw),
        Call("drives/{drive}/write", CHANGE, _from_start(drives.write), _nothing, "stream"),
        Call("drives/{drive}/write/{offset}", CHANGE, drives.write, _nothing, "stream"),
        Call("resources/list", READ, resources.rows, rows),
        Call("resources/info", READ, resources.every, many),
        Call("resources/{type}/list", READ, resources.rows_of, rows),
        Call("resources/{type}/info", READ, resources.every_of, many),
        Call("resources/{type}/create", CHANGE, resources.create, one, "properties"),
        Call("resources/{type}/{resource}/info", READ, resources.info, one),
        Call("resources/{type}/{resource}/set", CHANGE, resources.set, one, "properties"),
        Call("resources/{type}/{resource}/destroy", CHANGE, resources.destroy, _nothing),
        Call("servers/list", READ, servers.uuids, _uuids),
        Call("servers/info", READ, servers.every, many),
        Call("servers/info/full", READ, servers.every, many),
        Call("servers/create", CHANGE, servers.create, one, "properties"),
        Call("servers/create/stopped", CHANGE, servers.create_stopped, one, "properties"),
        Call("servers/{server}/info", READ, servers.info, one),
        Call("servers/{server}/info/full", READ, servers.info, one),
        Call("servers/{server}/set", CHANGE, servers.set, one, "properties"),
        Call("servers/{server}/start", CHANGE, servers.start, one),
        Call("servers/{server}/stop", CHANGE, servers.stop, _nothing),
        Call("servers/{server}/shutdown", CHANGE, servers.shutdown, _nothing),
        Call("servers/{server}/reset", CHANGE, servers.reset, _nothing),
        Call("servers/{server}/destroy", CHANGE, servers.destroy, _nothing),
    )


def _library(standard: StandardDrives | None) -> tuple[Call, ...]:
    if standard is None:
        return ()
    return (
        Call("drives/list/standard", READ, lambda user: standard.uuids(), _uuids),
        Call("drives/info/standard", READ, lambda user: standard.every(), formats.objects),
    )


def _from_start(write: Callable[[str, str, str, Body], Awaitable[None]]) -> Callable[[str, str, Body], Awaitable[None]]:
    return lambda user, drive, body: write(user, drive, "0", body)


class Table:
    """Finds the call of a path: fixed words before arguments, as `drives/info/full` before `drives/{drive}/full`."""

    def __init__(self, rows: Iterable[Call]) -> None:
        self._root: dict[str, Any] = {}
        for call in rows:
            node = self._root
            for segment in call.path.split("/"):
                node = node.setdefault("{}" if segment.startswith("{") else segment, {})
            node[""] = call

    def find(self, path: str) -> tuple[Call, list[str]]:
        """The call and its arguments, or Missing. Doubled and trailing slashes are of no account."""
        segments = [segment for segment in path.split("/") if segment]
        found = _walk(self._root, segments, 0, [])
        if found is None:
            raise Missing(f"There is no call {path[:120]!a}")
        return found


def _walk(node: dict[str, Any], segments: list[str], depth: int, arguments: list[str]) -> tuple[Call, list[str]] | None:
    if depth == len(segments):
        return (node[""], arguments) if "" in node else None
    segment = segments[depth]
    if segment in node:
        found = _walk(node[segment], segments, depth + 1, arguments)
        if found is not None:
            return found
    if "{}" in node:
        return _walk(node["{}"], segments, depth + 1, [*arguments, segment])
    return None


RequestLog = Callable[[str, str, int, "str | None", float], None]
"""Called with method, path, status, account and seconds, before an answer goes out."""


class Application:
    """Authenticates, finds the call, reads the body, answers in the caller's format, logs. In this order."""

    def __init__(self, accounts: Accounts, table: Table, advance: Callable[[], None], log: RequestLog) -> None:
        self._accounts = accounts
        self._table = table
        self._advance = advance
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = time.monotonic()
        request = Request(scope, receive)
        user: str | None = None
        try:
            user = self._accounts.authenticate(request.headers.get("authorization"))
            response = _response(await self._answer(user, request))
        except ClientDisconnect:
            self._log(request.method, scope["path"], CLIENT_LEFT, user, time.monotonic() - began)
            return
        except ApiError as error:
            response = _error(error)
        except Exception:
            LOG.exception("%s %r failed in the endpoint itself", request.method, scope["path"])
            response = _error(SystemFault("Internal API error: the endpoint's log says more"))
        self._log(request.method, scope["path"], response.status_code, user, time.monotonic() - began)
        await response(scope, receive, send)

    async def _answer(self, user: str, request: Request) -> Reply:
        call, arguments = self._table.find(request.scope["path"])
        if request.method not in call.methods:
            raise Method(f"{call.path} is called with {' or '.join(sorted(call.methods))}, not {request.method[:20]}")
        body: list[Any] = []
        if call.takes == "properties":
            body = [formats.parse(await _collect(request), request.headers.get("content-type"))]
        elif call.takes == "stream":
            body = [_stream(request)]
        self._advance()
        found = call.handler(user, *arguments, *body)
        if inspect.isawaitable(found):
            found = await found
        return call.shape(found, formats.wants_json(request.headers.get("accept")))


async def _collect(request: Request) -> bytes:
    """A whole body, up to the limit."""
    too_large = Usage(f"invalid body: it is larger than {BODY_LIMIT} bytes")
    if _length(request) > BODY_LIMIT:
        raise too_large
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_LIMIT:
            raise too_large
    return bytes(body)


def _stream(request: Request) -> Body:
    if "transfer-encoding" in request.headers:
        raise Usage("invalid Transfer-Encoding: a write call needs a Content-Length")
    return Body(request.stream(), _length(request), request.headers.get("content-encoding", ""))


def _length(request: Request) -> int:
    return int(request.headers.get("content-length", "0"))


def _response(reply: Reply) -> Response:
    headers = {"X-Elastic-Output": reply.output} if reply.output else None
    response = Response(reply.content, reply.status, headers)
    if reply.content_type:
        # Not by media_type: Starlette would add a charset of its own.
        response.headers["Content-Type"] = reply.content_type
    return response


def _error(error: ApiError) -> Response:
    headers = {"X-Elastic-Error": error.word, "Content-Type": TEXT}
    if isinstance(error, Unauthorised):
        headers["WWW-Authenticate"] = 'Basic realm="ElasticHosts API"'
    line = " ".join(error.message.split())
    return Response(f"{line}\n".encode("utf-8", "backslashreplace"), error.status, headers)


def json_line(method: str, path: str, status: int, account: str | None) -> bytes:
    """A line of the request log that programs read."""
    line = {"method": method, "path": path, "status": status, "account": account}
    return json.dumps(line).encode() + b"\n"
