# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An unreliable way to the cloud: a relay to a real endpoint, or to nothing, that fails where a rule tells it to."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import requests

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.clock import Clock


class FakeClock(Clock):
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 64 * 1024  # one segment for head and body, so that no delayed acknowledgement is waited for
    server: Relay
    body: bytes

    def serve(self) -> None:
        announced = int(self.headers.get("Content-Length", "0"))
        self.body = self.rfile.read(announced)
        if len(self.body) < announced:  # the caller was killed on the way
            self.close_connection = True
            return
        call = f"{self.command} {self.path}"
        with self.server.lock:
            self.server.calls.append(call)
            self.server.requests.append((call, {key.lower(): value for key, value in self.headers.items()}, self.body))
            rule = next((rule for rule in self.server.rules if rule.left and re.fullmatch(rule.pattern, call)), None)
            if rule is not None:
                rule.left -= 1
        (rule.action if rule is not None else forward)(self)

    do_GET = do_POST = serve  # noqa: N815

    def upstream(self) -> requests.Response:
        headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")}
        return requests.request(
            self.command, self.server.upstream + self.path, data=self.body, headers=headers, timeout=30, stream=False
        )

    def answer(self, status: int, headers: dict[str, str], body: bytes, announced: int | None = None) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body) if announced is None else announced))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def reset(self) -> None:
        """Close so that the peer sees a reset, not an orderly end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            return

    def log_message(self, *parts: object) -> None:
        return


Action = Callable[[Handler], None]


@dataclass
class Rule:
    pattern: str
    action: Action
    left: int


class Relay(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, upstream: str = "", context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream = upstream
        self.rules: list[Rule] = []
        self.calls: list[str] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.lock = threading.Lock()
        self.scheme = "http"
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.scheme = "https"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    def on(self, pattern: str, action: Action, times: int = 1000) -> Relay:
        """From now on, `action` for the next `times` calls that match, such as "POST /servers/create"."""
        self.rules.append(Rule(pattern, action, times))
        return self

    def count(self, pattern: str) -> int:
        return sum(re.fullmatch(pattern, call) is not None for call in self.calls)

    def get_request(self) -> tuple[Any, Any]:
        self.connections += 1
        return super().get_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        return

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()
        self.server_close()


def forward(handler: Handler) -> None:
    reply = handler.upstream()
    keep = {k: v for k, v in reply.headers.items() if k.lower().startswith(("content-type", "x-", "www-", "retry-"))}
    handler.answer(reply.status_code, keep, reply.content)


def says(status: int, word: str = "", text: str = "", **headers: str) -> Action:
    """Answer at once; the call does not reach the cloud."""
    fields = {key.replace("_", "-"): value for key, value in headers.items()}
    fields.setdefault("Content-Type", "text/plain")
    if word:
        fields["X-Elastic-Error"] = word
    return lambda handler: handler.answer(status, fields, text.encode())


def good(text: str = "[]") -> Action:
    """An answer in JSON."""
    return says(200, text=text, Content_Type="application/json")


def cut_before(handler: Handler) -> None:
    """The connection breaks and the call never reaches the cloud."""
    handler.reset()


def cut_after(handler: Handler) -> None:
    """The cloud does it, and the answer gets lost."""
    handler.upstream()
    handler.reset()


def half_after(handler: Handler) -> None:
    """The cloud does it, and half of the answer arrives."""
    reply = handler.upstream()
    half = reply.content[: len(reply.content) // 2]
    handler.answer(reply.status_code, {"Content-Type": reply.headers["Content-Type"]}, half, len(reply.content))
    handler.reset()


def fails_after(status: int, word: str) -> Action:
    """The cloud does it, and says that it did not."""

    def act(handler: Handler) -> None:
        handler.upstream()
        says(status, word, "Internal API error")(handler)

    return act


def hang(event: threading.Event) -> Action:
    """No answer until the test lets go."""

    def act(handler: Handler) -> None:
        event.wait(10)
        handler.reset()

    return act


def free_port() -> int:
    """Where nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Drip:
    """A server that reads little, sends the first bytes at once, and then others one by one for ever."""

    def __init__(self, at_once: bytes, for_ever: bytes, context: ssl.SSLContext | None = None) -> None:
        self._at_once = at_once
        self._for_ever = for_ever
        self._context = context
        self._over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _address = self._listening.accept()
                threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        if self._context is not None:
            line = self._context.wrap_socket(line, server_side=True)
        with contextlib.suppress(OSError), line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line.recv(65536)
            line.sendall(self._at_once)
            for byte in itertools.cycle(self._for_ever):
                line.sendall(bytes([byte]))
                if self._over.wait(0.002):
                    return

    def __enter__(self) -> Drip:
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._listening.close()


class Authority:
    """A certificate for 127.0.0.1 that nobody knows."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "certificate.pem"
        key = folder / "key.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-keyout", str(key), "-out", str(self.certificate), "-days", "2", "-subj", "/CN=127.0.0.1"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run(command, check=True, capture_output=True)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certificate, key)
