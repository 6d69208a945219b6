# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ASGI application: origin, authentication, fault rules, routing, error replies and the log of requests."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Router
from starlette.types import Receive, Scope, Send

from ..errors import ApiError, DiskFull, Missing, SystemFault, Unauthorised
from ..request_log import RequestLog, RequestRecord
from ..testing import broken_responses
from ..testing.broken_responses import RecordedResponse
from ..testing.fault_rules import NO_FAULTS, FaultRule, FaultRules, Verdict
from .accounts import Accounts
from .bodies import BodyTimeout
from .formats import TEXT, printable
from .origins import OwnOrigin

CLIENT_LEFT = 499
"""The status in the log when the client closed the connection, or fell silent, while it sent its request."""
LOGGED = 1000
"""Characters of a path that the log shows: strangers can send 64 KiB."""
LOG = logging.getLogger("eh_endpoint")


class Application:
    """Checks origin and key of a request, applies the fault rules, routes it, logs it and replies, in this order."""

    def __init__(
        self,
        own_origin: OwnOrigin,
        accounts: Accounts,
        routes: Sequence[BaseRoute],
        fault_rules: FaultRules,
        log: RequestLog,
    ) -> None:
        self._own_origin = own_origin
        self._accounts = accounts
        self._router = Router(routes, redirect_slashes=False)
        self._fault_rules = fault_rules
        self._log = log
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # its route checks origin and key on its own: a WebSocket has no error replies
            await self._router({**scope, "app": self}, receive, send)
        if scope["type"] != "http":
            return
        began = time.monotonic()
        request = Request(scope)
        user, verdict = None, NO_FAULTS
        # Recorded, because the log and the fault rules come before the first byte of the reply.
        response = RecordedResponse()
        try:
            self._own_origin.check(request)
            user = await self._accounts.admit(request, receive)
            await self._turn(user)
            verdict = self._fault_rules.judge(request.method, scope["path"], user)
            if verdict.delay:
                await asyncio.sleep(verdict.delay)
            instead = verdict.replacement("before")
            if instead is None:
                await self._router(self._routed(scope, user, verdict), receive, response.record)
            else:
                await _replace(instead, scope, receive, response)
        except ClientDisconnect:
            self._note(request, CLIENT_LEFT, user, verdict, began)
            return
        except BodyTimeout:
            # A client that lost its power or its network never closes the connection and would keep a drive busy.
            self._note(request, CLIENT_LEFT, user, verdict, began)
            await broken_responses.reset(receive, send)
            return
        except ApiError as error:
            if isinstance(error, DiskFull):
                LOG.error("%s %s: %s", request.method, scope["path"], error.message)
            await _error(error)(scope, receive, response.record)
        except HTTPException:  # from the router: no such path, or not with this method
            await _error(Missing(f"There is no call {scope['path'][:120]!a}"))(scope, receive, response.record)
        except Exception:
            LOG.exception("%s %r failed in the endpoint itself", request.method, scope["path"])
            internal = SystemFault("Internal API error: the endpoint's log says more")
            await _error(internal)(scope, receive, response.record)
        instead = verdict.replacement("after")
        if instead is not None:
            response = RecordedResponse()
            await _replace(instead, scope, receive, response)
        if response.start and {"content-length", "transfer-encoding"} <= set(request.headers):
            # Something before the endpoint may see another end of the body, and so another next request (RFC 9112 6.1).
            response.start["headers"] = [*response.start["headers"], (b"connection", b"close")]
        self._note(request, response.status, user, verdict, began)
        await broken_responses.send(response, verdict.answer, receive, send)

    async def _turn(self, user: str) -> None:
        """Begin one call of a user in a pass of the event loop, so that those of other users come between them."""
        async with self._turns[user]:
            await asyncio.sleep(0)

    def _routed(self, scope: Scope, user: str, verdict: Verdict) -> Scope:
        """Return what routes see: the path without doubled and trailing slashes, the user, what the rules do."""
        segments = [segment for segment in scope["path"].split("/") if segment]
        path = "/" + "/".join(segments) if segments else scope["path"]
        return {**scope, "app": self, "path": path, "user": user, "state": {"verdict": verdict}}

    def _note(self, request: Request, status: int, user: str | None, verdict: Verdict, began: float) -> None:
        record = RequestRecord(
            method=request.method[:LOGGED],
            path=request.scope["path"][:LOGGED],
            status=status,
            account=user,
            seconds=time.monotonic() - began,
        )
        if verdict.names:
            record["faults"] = list(verdict.names)
        self._log.write(record)


def _error(error: ApiError) -> Response:
    headers = {"WWW-Authenticate": 'Basic realm="ElasticHosts API"'} if isinstance(error, Unauthorised) else {}
    return _line(error.status, error.word, error.message, headers)


def _line(status: int, word: str, message: str, headers: dict[str, str]) -> Response:
    content = f"{printable(' '.join(message.split()))}\n".encode()
    return Response(content, status, {"X-Elastic-Error": word, "Content-Type": TEXT, **headers})


async def _replace(rule: FaultRule, scope: Scope, receive: Receive, response: RecordedResponse) -> None:
    """Record the reply of a rule in place of the call's; a rule that gives no reply records none."""
    if rule.kind == "status":
        reply = _line(rule.settings["status"], rule.settings["error"], rule.settings["message"], {})
        await reply(scope, receive, response.record)
    elif rule.kind == "throttle":
        retry = {"Retry-After": str(rule.retry_after())}
        reply = _line(429, "busy", "Too many requests: try again after the seconds of Retry-After", retry)
        await reply(scope, receive, response.record)
