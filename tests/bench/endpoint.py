# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the endpoint against the least that could be done in its place, in one run, and prints the ratios.

    python -m tests.bench.endpoint [--quick]

The yardsticks: a bare Starlette reply under the same uvicorn settings, json.dumps of the same list, a plain file.
Exit status 1 when a ratio is beyond its limit.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.endpoint import Endpoint

SERVER = json.dumps(
    {
        "name": "bench",
        "cpu": 500,
        "mem": 500,
        "persistent": "true",
        "nic:0:model": "e1000",
        "nic:0:dhcp": "auto",
        "vnc": "auto",
        "password": "geheim",
    }
)
BARE = """
import socket, uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

async def reply(request):
    await request.body()
    return JSONResponse({"name": "bench"})

listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
listening.bind(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
app = Starlette(routes=[Route("/", reply, methods=["GET", "POST"])])
config = uvicorn.Config(app, loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None, access_log=False)
uvicorn.Server(config).run([listening])
"""
MIB = 1 << 20


class Caller:
    """A keep-alive connection that does as little as it can beside the call."""

    def __init__(self, port: int, auth: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        token = base64.b64encode(auth.encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Accept": "application/json"}

    def call(self, method: str, path: str, body: bytes | str | None = None) -> bytes:
        headers = {**self._headers, "Content-Type": "application/json"}
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {content!r}")
        return content


@contextmanager
def bare() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        for _unused in range(500):
            try:
                http.client.HTTPConnection("127.0.0.1", port, timeout=5).connect()
                break
            except ConnectionRefusedError:
                time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait()


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def many(number: int, work: Callable[[], object]) -> float:
    """Median seconds of one out of many."""
    return statistics.median(seconds(work) for _unused in range(number))


class Report:
    def __init__(self) -> None:
        self.failed = False

    def line(self, what: str, measured: float, yardstick: float, limit: float, unit: str = "ms") -> None:
        """The ratio of measured to yardstick; beyond the limit is a failure."""
        ratio = measured / yardstick
        within = ratio <= limit
        self.failed |= not within
        numbers = f"{measured:10.2f} {unit:5} {yardstick:10.2f} {unit:5}"
        print(f"{what:52} {numbers} ratio {ratio:5.2f}  limit {limit:5.2f}  {'ok' if within else 'TOO SLOW'}")


def resident(pid: int) -> float:
    """Resident memory of a process in MiB."""
    fields = Path(f"/proc/{pid}/status").read_text().split()
    return int(fields[fields.index("VmRSS:") + 1]) / 1024


def main() -> int:
    quick = "--quick" in sys.argv[1:]
    servers, creates = (1000, 200) if quick else (10_000, 1000)
    report = Report()
    with tempfile.TemporaryDirectory() as folder, bare() as bare_port:
        ready = []
        for number in range(5):
            began = time.perf_counter()
            with Endpoint(Path(folder) / f"ready{number}"):
                ready.append(time.perf_counter() - began)
        report.line("ready, against 500 ms", min(ready) * 1000, 500, 1)
        with Endpoint(Path(folder) / "state", "--quiet") as endpoint:
            report.line("idle memory, against 40 MiB", resident(endpoint.pid), 40, 1, "MiB")
            caller, reply = Caller(endpoint.port, endpoint.auth), Caller(bare_port, endpoint.auth)
            measure_calls(report, caller, reply, creates)
            measure_listing(report, caller, servers, creates)
            measure_writes(report, caller, Path(folder), 16 if quick else 64)
    return 1 if report.failed else 0


def measure_calls(report: Report, caller: Caller, reply: Caller, creates: int) -> None:
    for warm in (caller.call("GET", "/servers/list"), reply.call("POST", "/", SERVER)):
        assert warm
    # In turns, so that what else the machine does falls on both.
    listed, created, replied = [], [], []
    for _unused in range(creates):
        replied.append(seconds(lambda: reply.call("POST", "/", SERVER)))
        created.append(seconds(lambda: caller.call("POST", "/servers/create", SERVER)))
        listed.append(seconds(lambda: caller.call("GET", "/drives/list")))
    yardstick = statistics.median(replied) * 1000
    report.line("servers/create, against a bare reply", statistics.median(created) * 1000, yardstick, 4)
    report.line("drives/list on keep-alive, against a bare reply", statistics.median(listed) * 1000, yardstick, 4)
    report.line("drives/list on keep-alive, worst of all, against 40 ms", max(listed) * 1000, 40, 1)
    total = sum(created)
    print(f"{'':52} {creates / total:10.0f} servers created a second, each committed before its answer")


def measure_listing(report: Report, caller: Caller, servers: int, there: int) -> None:
    for _unused in range(servers - there):
        caller.call("POST", "/servers/create", SERVER)
    found = json.loads(caller.call("GET", "/servers/info"))
    assert len(found) == servers
    listing = many(5, lambda: caller.call("GET", "/servers/info")) * 1000
    dumps = many(5, lambda: json.dumps(found)) * 1000
    report.line(f"servers/info of {servers}, against json.dumps", listing, dumps, 5)


def measure_writes(report: Report, caller: Caller, folder: Path, mebibytes: int) -> None:
    """Fresh bytes to a fresh drive and to a fresh file, both through to the disk's queue."""
    data = os.urandom(mebibytes * MIB)
    writes, files = [], []
    for number in range(5):
        drive = json.loads(caller.call("POST", "/drives/create", json.dumps({"size": len(data)})))["drive"]
        writes.append(seconds(lambda: caller.call("POST", f"/drives/{drive}/write", data)))  # noqa: B023 (called here)
        files.append(seconds(lambda: (folder / f"plain{number}").write_bytes(data)))  # noqa: B023 (called here)
    report.line(f"write of {mebibytes} MiB, against a plain file", min(writes) * 1000, min(files) * 1000, 1 / 0.8)


if __name__ == "__main__":
    sys.exit(main())
