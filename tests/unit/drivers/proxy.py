# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An HTTP proxy between drivers and endpoint that injects faults into chosen calls."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit


@dataclass
class Fault:
    """A fault of the calls whose "METHOD /path" contains ``call``; the first matching fault applies."""

    call: str
    before: float = 0.0
    """seconds until the call is passed on"""
    after: float = 0.0
    """seconds until the response is passed on"""
    cut: str = ""
    """the connection is closed ``before`` or ``after`` the call takes effect"""
    status: int = 0
    """HTTP status to answer with, instead of passing the call on"""
    code: str = "system"
    body: str = "fault of the test"
    times: int = 1
    """calls that the fault applies to"""
    arrived: Callable[[], bool] | None = None
    """called before the call is passed on; if it returns true, the connection is closed instead"""
    meanwhile: Callable[[], object] | None = None
    """called after the call took effect, before the response is passed on"""


class Proxy:
    """``with Proxy(endpoint.url) as proxy``: serves the same API at ``proxy.url``; ``proxy.calls`` lists the calls."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self.faults: list[Fault] = []
        self.calls: list[str] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def fault(self, call: str, **what: object) -> Fault:
        fault = Fault(call, **what)  # type: ignore[arg-type]
        self.faults.append(fault)
        return fault

    def count(self, call: str) -> int:
        return sum(call in line for line in list(self.calls))

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _pick(self, call: str) -> Fault:
        with self._lock:
            self.calls.append(call)
            for fault in self.faults:
                if fault.call in call and fault.times > 0:
                    fault.times -= 1
                    return fault
        return Fault("")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def log_message(self, *_arguments: object) -> None:
                pass

            def do_GET(self) -> None:
                fault = proxy._pick(f"{self.command} {self.path}")
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                time.sleep(fault.before)
                lost = fault.arrived is not None and fault.arrived()
                if lost or fault.cut == "before":
                    self.close_connection = True
                    return
                if fault.status:
                    self._answer(fault.status, {"X-Elastic-Error": fault.code}, fault.body.encode())
                    return
                status, headers, content = proxy._pass_on(self.command, self.path, dict(self.headers), body)
                if fault.meanwhile:
                    fault.meanwhile()
                time.sleep(fault.after)
                if fault.cut == "after":
                    self.close_connection = True
                    return
                self._answer(status, headers, content)

            do_POST = do_GET  # noqa: N815

            def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        if name.lower() in ("content-type", "x-elastic-error", "x-elastic-output", "www-authenticate"):
                            self.send_header(name, value)
                    if status != 204:
                        self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True

        return Handler

    def _pass_on(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        upstream = http.client.HTTPConnection(self._target.hostname or "", self._target.port, timeout=30)
        try:
            upstream.request(method, path, body, {**headers, "Connection": "close"})
            answer = upstream.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            upstream.close()


MOMENTS = ("arrived", "meanwhile")
"""when a driver is killed: before its call takes effect, or after that and before the response"""


def kill_at(kill: Callable[[], object], proxy: Proxy, number: int, moment: str) -> list[int]:
    """Call ``kill`` at the call with the given number, counted from now from 0, at one of MOMENTS.

    The returned list contains the number of remaining calls, -1 while ``kill`` runs, and is empty after that; requests
    must not be sent to the next driver before.
    """
    remaining = [number]

    def passed() -> bool:
        if remaining == [0]:
            remaining[0] = -1
            kill()
            remaining.clear()
            return True
        if remaining and remaining[0] > 0:
            remaining[0] -= 1
        return False

    proxy.faults.clear()
    proxy.fault("", times=10_000, **{moment: passed})
    return remaining
