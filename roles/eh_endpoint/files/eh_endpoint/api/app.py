# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ASGI application: what every call has around it."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import ApiError, Method, SystemFault, Unauthorised, Usage
from ..testing import broken_responses
from ..testing.control import Entry
from ..testing.fault_rules import FINE, Faults, Rule, Verdict
from ..web.routes import Pages
from . import formats
from .accounts import Accounts
from .calls import Call, Table
from .drives import Body
from .formats import TEXT, Reply

BODY_LIMIT = 1 << 20
CLIENT_LEFT = 499
"""Logged, never sent: the caller went away, or fell silent, in the middle of its request."""
NO_ANSWER = 0
"""Logged when a fault rule kept the answer back."""
LOG = logging.getLogger("eh_endpoint")
RequestLog = Callable[[Entry], None]
"""Called before an answer goes out."""
Hide = Callable[[dict[str, Any], float], None]
"""Takes the address out of the info object of a server that has run for less than so many seconds."""


class Application:
    """Authenticates, asks the fault rules, finds the call, reads the body, answers in the caller's format, logs.

    In this order. body_timeout: seconds without a byte of a body after which its connection is closed.
    """

    def __init__(
        self,
        accounts: Accounts,
        table: Table,
        advance: Callable[[], None],
        faults: Faults,
        hide_address: Hide,
        log: RequestLog,
        pages: Pages,
        body_timeout: float,
    ) -> None:
        self._accounts = accounts
        self._table = table
        self._advance = advance
        self._faults = faults
        self._hide_address = hide_address
        self._log = log
        self._pages = pages
        self._body_timeout = body_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._pages.socket(scope, receive, send)
        if scope["type"] != "http":
            return
        began = time.monotonic()
        request = Request(scope, receive)
        user: str | None = None
        verdict = FINE
        response: Response | None = None
        try:
            user = self._accounts.authenticate(request.headers.get("authorization"))
            verdict = self._faults.judge(request.method, scope["path"], user)
            if verdict.delay:
                await asyncio.sleep(verdict.delay)
            early = verdict.answers("before")
            response = await self._reply(user, request, verdict) if early is None or _late(early) else _refusal(early)
        except ClientDisconnect:
            self._note(request, CLIENT_LEFT, user, verdict, began)
            return
        except _Silent:
            # A caller that lost its power or its line never says that it leaves, and would hold a drive for ever.
            self._note(request, CLIENT_LEFT, user, verdict, began)
            await broken_responses.reset(receive, send)
            return
        except ApiError as error:
            response = _error(error)
        except Exception:
            LOG.exception("%s %r failed in the endpoint itself", request.method, scope["path"])
            response = _error(SystemFault("Internal API error: the endpoint's log says more"))
        after = verdict.answers("after")
        if after is not None:
            response = _refusal(after)
        self._note(request, NO_ANSWER if response is None else response.status_code, user, verdict, began)
        await _send(response, verdict.answer, scope, receive, send)

    def _note(self, request: Request, status: int, user: str | None, verdict: Verdict, began: float) -> None:
        entry = Entry(
            method=request.method,
            path=request.scope["path"],
            status=status,
            account=user,
            seconds=time.monotonic() - began,
        )
        if verdict.names:
            entry["faults"] = list(verdict.names)
        self._log(entry)

    async def _reply(self, user: str, request: Request, verdict: Verdict) -> Response:
        page = await self._pages.find(request.method, request.scope["path"], user)
        if page is not None:
            return page
        call, arguments = self._table.find(request.scope["path"])
        if request.method not in call.methods:
            raise Method(f"{call.path} is called with {' or '.join(sorted(call.methods))}, not {request.method[:20]}")
        body = await self._body(call, request)
        self._advance()
        unheard = call.unheard if verdict.conditions and verdict.condition("deaf-guest") else None
        found = (unheard or call.handler)(user, *arguments, *body, *call.more)
        if inspect.isawaitable(found):
            found = await found
        if verdict.conditions:
            found = self._veiled(found, verdict)
        return _response(call.shape(found, formats.wants_json(request.headers.get("accept"))))

    async def _body(self, call: Call, request: Request) -> tuple[Any, ...]:
        if call.takes == "properties":
            content = await _collect(request, self._body_timeout)
            return (formats.parse(content, request.headers.get("content-type")),)
        return (_stream(request, self._body_timeout),) if call.takes == "stream" else ()

    def _veiled(self, found: Any, verdict: Verdict) -> Any:
        """What was found, without what the rules hide."""
        if isinstance(found, list):
            return [self._veiled(one, verdict) for one in found]
        if not isinstance(found, Mapping):
            return found
        shown = dict(found)
        if verdict.condition("hide-imaging"):
            shown.pop("imaging", None)
        late = verdict.condition("late-address")
        if late is not None:
            self._hide_address(shown, late.settings["seconds"])
        return shown


# ---- bodies


class _Silent(Exception):
    """Nothing of a body has come for too long."""


async def _pieces(request: Request, timeout: float) -> AsyncIterator[bytes]:
    """A body as it comes in. Raises _Silent after timeout seconds without a byte."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(timeout):
                piece = await stream.__anext__()
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise _Silent from None
        yield piece


async def _collect(request: Request, timeout: float) -> bytes:
    """A whole body, up to the limit."""
    too_large = Usage(f"invalid body: it is larger than {BODY_LIMIT} bytes")
    if _length(request) > BODY_LIMIT:
        raise too_large
    body = bytearray()
    async for piece in _pieces(request, timeout):
        body += piece
        if len(body) > BODY_LIMIT:
            raise too_large
    return bytes(body)


def _stream(request: Request, timeout: float) -> Body:
    if "transfer-encoding" in request.headers:
        raise Usage("invalid Transfer-Encoding: a write call needs a Content-Length")
    return Body(_pieces(request, timeout), _length(request), request.headers.get("content-encoding", ""))


def _length(request: Request) -> int:
    return int(request.headers.get("content-length", "0"))


# ---- answers


def _response(reply: Reply) -> Response:
    headers = {"X-Elastic-Output": reply.output} if reply.output else None
    response = Response(reply.content, reply.status, headers)
    if reply.content_type:
        # Not by media_type: Starlette would add a charset of its own.
        response.headers["Content-Type"] = reply.content_type
    return response


def _error(error: ApiError) -> Response:
    headers = {"WWW-Authenticate": 'Basic realm="ElasticHosts API"'} if isinstance(error, Unauthorised) else {}
    return _line(error.status, error.word, error.message, headers)


def _line(status: int, word: str, message: str, headers: Mapping[str, str]) -> Response:
    content = f"{' '.join(message.split())}\n".encode("utf-8", "backslashreplace")
    return Response(content, status, {"X-Elastic-Error": word, "Content-Type": TEXT, **headers})


def _late(rule: Rule) -> bool:
    """Whether a rule lets the call be done, and spoils its answer."""
    return rule.kind in ("truncate", "drip")


def _refusal(rule: Rule) -> Response | None:
    """The answer of a rule in place of the call's; None for none at all."""
    if rule.kind == "status":
        return _line(rule.settings["status"], rule.settings["error"], rule.settings["message"], {})
    if rule.kind == "throttle":
        retry = {"Retry-After": str(rule.retry_after())}
        return _line(429, "busy", "Too many requests: try again after the seconds of Retry-After", retry)
    return None


async def _send(response: Response | None, rule: Rule | None, scope: Scope, receive: Receive, send: Send) -> None:
    kind = "" if rule is None else rule.kind
    settings: Mapping[str, Any] = {} if rule is None else rule.settings
    if kind == "reset":
        await broken_responses.reset(receive, send)
    elif kind == "timeout":
        await broken_responses.silence(receive, send, settings["seconds"])
    elif response is not None and kind == "truncate":
        await broken_responses.truncated(response, scope, receive, send, settings["part"])
    elif response is not None and kind == "drip":
        await broken_responses.drip(response, scope, receive, send, settings["bytes"], settings["interval"])
    elif response is not None:
        await response(scope, receive, send)


def json_line(entry: Entry) -> bytes:
    """A line of the request log that programs read."""
    line = {name: value for name, value in entry.items() if name != "seconds"}
    return json.dumps(line).encode() + b"\n"
