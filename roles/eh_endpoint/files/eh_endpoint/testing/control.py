# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control port: fault rules, the request log and the clock, for tests. No authentication: loopback only.

GET    /_control/faults      return the rules, and how often each has acted
POST   /_control/faults      replace the rules
DELETE /_control/faults      remove the rules
GET    /_control/requests    return the requests since the start; with ?since=N those from number N on
DELETE /_control/requests    remove the requests
GET    /_control/clock       return the time in epoch seconds, and the offset of the clock in seconds
POST   /_control/clock       move the clock by {"advance": seconds}, or to {"now": epoch seconds}; backwards as when the
                             machine's clock is set
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from ..request_log import RequestMemory
from .clock import SystemClock
from .fault_rules import BadFaultRules, FaultRules

LIMIT = 1 << 20
"""bytes of a request's body"""


class BadControl(ValueError):
    """An invalid control call; the text is one sentence."""


class Control:
    """The ASGI application of the control port. advance: called after the clock was moved."""

    def __init__(
        self, faults: FaultRules, requests: RequestMemory, clock: SystemClock, advance: Callable[[], None]
    ) -> None:
        self._faults = faults
        self._requests = requests
        self._clock = clock
        self._advance = advance
        self._calls: dict[str, dict[str, Callable[[Any, Request], Any]]] = {
            "/_control/faults": {"GET": self._rules, "POST": self._set_rules, "DELETE": self._clear_rules},
            "/_control/requests": {"GET": self._asked, "DELETE": self._forget},
            "/_control/clock": {"GET": self._time, "POST": self._move},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        status, answer = 200, None
        try:
            # A web page in a browser on this machine could send requests too, but always with this header.
            if "origin" in request.headers:
                raise BadControl("web pages have no business here")
            methods = self._calls.get(scope["path"])
            if methods is None:
                status, answer = 404, {"error": f"there are {', '.join(self._calls)}"}
            elif request.method not in methods:
                status, answer = 405, {"error": f"{scope['path']} takes {', '.join(methods)}"}
            else:
                document = await _document(request) if request.method == "POST" else None
                answer = methods[request.method](document, request)
        except (BadControl, BadFaultRules) as error:
            status, answer = 400, {"error": str(error)}
        await JSONResponse(answer, status)(scope, receive, send)

    def _rules(self, _document: object, _request: Request) -> Any:
        return {"faults": [rule.document() for rule in self._faults.rules]}

    def _set_rules(self, document: object, request: Request) -> Any:
        self._faults.load(document)
        return self._rules(None, request)

    def _clear_rules(self, _document: object, request: Request) -> Any:
        return self._set_rules([], request)

    def _asked(self, _document: object, request: Request) -> Any:
        since = request.query_params.get("since", "0")
        if not (since.isascii() and since.isdigit() and len(since) < 16):
            raise BadControl(f"since={since[:20]!r} is not a number")
        return self._requests.since(int(since))

    def _forget(self, _document: object, _request: Request) -> Any:
        self._requests.forget()
        return self._requests.since(0)

    def _time(self, _document: object, _request: Request) -> Any:
        return {"now": self._clock.now(), "offset": self._clock.offset}

    def _move(self, document: object, request: Request) -> Any:
        self._clock.move(_seconds(document, self._clock.now()))
        self._advance()
        return self._time(None, request)


def _seconds(document: object, now: float) -> float:
    """Return the seconds by which a document moves the clock."""
    if isinstance(document, dict) and len(document) == 1:
        for name, base in (("advance", 0.0), ("now", now)):
            value = document.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e11:
                return value - base
    raise BadControl('{"advance": seconds} or {"now": epoch seconds} is expected')


async def _document(request: Request) -> object:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LIMIT:
            raise BadControl(f"the body is larger than {LIMIT} bytes")
    try:
        return json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise BadControl("the body is not JSON") from None
