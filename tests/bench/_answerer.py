# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A minimal API server that answers the drivers' calls, each after the same time, and reports when it had them.

    python -m tests.bench._answerer SECONDS MOST

The real endpoint takes 2 ms of CPU for a create call. This server replaces it in benchmarks of the driver that need
both cores. It checks nothing and keeps only the newest MOST servers. Its first line on standard output is the port. For
each line on standard input it prints the calls since the line before, as a JSON list of ``[began, ended]``: monotonic
seconds of the request's first byte and the response's last.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROUNDED = 0.0005
"""seconds: epoll waits for whole milliseconds, rounded up, so on average half a millisecond too long"""


class Line(asyncio.Protocol):
    """A connection with one call at a time."""

    servers: dict[str, dict[str, str]] = {}  # noqa: RUF012 - shared by all connections
    calls: list[tuple[float, float]] = []  # noqa: RUF012
    seconds = 0.0
    most = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""
        self._began = 0.0

    def data_received(self, data: bytes) -> None:
        self._began = self._began or time.monotonic()
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        announced = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        if not end or len(body) < int(announced or 0):
            return
        self._received = b""
        method, path, _version = head.split(b"\r\n")[0].decode().split()
        answer = self._act(method, path.strip("/").split("/"), body)
        if self.seconds:
            asyncio.get_running_loop().call_later(self.seconds - ROUNDED, self._answer, answer)
        else:
            self._answer(answer)

    def _act(self, _method: str, path: list[str], body: bytes) -> bytes:
        if path[:2] == ["servers", "create"]:
            server = str(uuid.uuid4())
            self.servers[server] = {"server": server, "status": "active", "started": "1700000000", **json.loads(body)}
            if len(self.servers) > self.most:
                del self.servers[next(iter(self.servers))]
            return json.dumps(self.servers[server]).encode()
        if path == ["servers", "info"]:
            return json.dumps(list(self.servers.values())).encode()
        if len(path) == 3 and path[1] in self.servers:
            found = self.servers[path[1]]
            found.update(json.loads(body or b"{}") if path[2] == "set" else {})
            after = {"stop": "stopped", "shutdown": "stopped", "start": "active"}
            found["status"] = after.get(path[2], found["status"])
            if path[2] == "destroy":
                del self.servers[path[1]]
            return json.dumps(found).encode() if path[2] in ("info", "set") else b""
        return b"[]"

    def _answer(self, content: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        self._transport.write(head.encode() + content)
        self.calls.append((self._began, time.monotonic()))
        self._began = 0.0


class Answerer:
    """The running server."""

    user, key = "11111111-2222-4333-8444-555555555555", "s3cr3t"

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._ask(""))
        self.auth = f"{self.user}:{self.key}"
        self.url = f"http://127.0.0.1:{self.port}"
        self.pid = process.pid

    def calls(self) -> list[tuple[float, float]]:
        """Return (began, ended) of each call since the last query."""
        return [(float(began), float(ended)) for began, ended in json.loads(self._ask("\n"))]

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()
        return self._process.stdout.readline()


@contextlib.contextmanager
def answerer(seconds: float = 0.0, most: int = 100_000) -> Iterator[Answerer]:
    command = [sys.executable, "-m", "tests.bench._answerer", str(seconds), str(most)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield Answerer(process)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


async def main(seconds: float, most: int) -> None:
    Line.seconds, Line.most = seconds, most
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Line, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()

    def told() -> None:
        if not sys.stdin.readline():
            ended.set()
            return
        print(json.dumps(Line.calls), flush=True)
        Line.calls.clear()

    loop.add_reader(sys.stdin, told)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2])))
