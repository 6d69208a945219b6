# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the endpoint against the least that could be done in its place, in one run, and prints the ratios.

    python -m tests.bench.endpoint [--quick]

The yardsticks: a bare Starlette reply under the same uvicorn settings, json.dumps of the same list, a plain file.
Exit status 1 when a ratio is beyond its limit.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

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
async def file(request):
    with open(request.path_params["path"], "wb") as received:
        async for piece in request.stream():
            received.write(piece)
    return JSONResponse({})

app = Starlette(routes=[Route("/", reply, methods=["GET", "POST"]), Route("/file{path:path}", file, methods=["POST"])])
config = uvicorn.Config(app, loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None, access_log=False,
                        timeout_keep_alive=600)
uvicorn.Server(config).run([listening])
"""
MIB = 1 << 20
OTHER = "99999999-2222-4333-8444-555555555555:other"
EMPTY: Mapping[str, str] = MappingProxyType({})


class Caller:
    """A keep-alive connection that does as little as it can beside the call."""

    def __init__(self, port: int, auth: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        token = base64.b64encode(auth.encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Accept": "application/json"}

    def call(self, method: str, path: str, body: bytes | str | None = None, more: Mapping[str, str] = EMPTY) -> bytes:
        headers = {**self._headers, "Content-Type": "application/json", **more}
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


class Report:
    def __init__(self) -> None:
        self.failed = False

    def line(self, what: str, measured: float, yardstick: float, limit: float | None, unit: str = "ms") -> None:
        """The ratio of measured to yardstick; beyond the limit, if there is one, is a failure."""
        ratio = measured / yardstick
        within = limit is None or ratio <= limit
        self.failed |= not within
        numbers = f"{measured:10.2f} {unit:5} {yardstick:10.2f} {unit:5}"
        verdict = "" if limit is None else f"limit {limit:5.2f}  {'ok' if within else 'TOO SLOW'}"
        print(f"{what:56} {numbers} ratio {ratio:5.2f}  {verdict}")


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
        with Endpoint(Path(folder) / "shared", "--quiet", "--auth", OTHER) as endpoint:
            measure_share(report, endpoint, 10 if quick else 50)
        with Endpoint(Path(folder) / "state", "--quiet") as endpoint:
            report.line("idle memory, against 40 MiB", resident(endpoint.pid), 40, 1, "MiB")
            caller, reply = Caller(endpoint.port, endpoint.auth), Caller(bare_port, endpoint.auth)
            measure_calls(report, caller, reply, creates)
            measure_listing(report, caller, servers, creates)
            measure_space(report, caller, endpoint.state)
            other = Caller(endpoint.port, endpoint.auth)
            measure_writes(report, caller, reply, other, endpoint.state, 16 if quick else 64)
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
    report.line("drives/list on keep-alive, against 5 ms", statistics.median(listed) * 1000, 5, 1)
    report.line(
        "drives/list on keep-alive, 99 of 100, against 40 ms", sorted(listed)[len(listed) * 99 // 100] * 1000, 40, 1
    )
    total = sum(created)
    print(f"{'':56} {creates / total:10.0f} servers created a second, each committed before its answer")


def measure_listing(report: Report, caller: Caller, servers: int, there: int) -> None:
    for _unused in range(servers - there):
        caller.call("POST", "/servers/create", SERVER)
    found = json.loads(caller.call("GET", "/servers/info"))
    assert len(found) == servers
    listed, dumped = [], []
    for _number in range(7):
        listed.append(seconds(lambda: caller.call("GET", "/servers/info")))
        dumped.append(seconds(lambda: json.dumps(found)))
    report.line(f"servers/info of {servers}, against json.dumps", min(listed) * 1000, min(dumped) * 1000, 5)


def measure_writes(report: Report, caller: Caller, reply: Caller, other: Caller, state: Path, mebibytes: int) -> None:
    """The same bytes to a fresh drive, to a bare Starlette that writes them to a file, and to a file, in turns.

    A file in the system's cache is one copy in memory and HTTP over loopback is several, whoever does it: so the limit
    is against the same way with nothing on it, and what a file takes without HTTP is printed beside it.
    """
    data = os.urandom(mebibytes * MIB)
    drives, bare_files, files = [], [], []
    for number in range(7):
        drive = json.loads(caller.call("POST", "/drives/create", json.dumps({"size": len(data)})))["drive"]
        plain, received = state / f"plain{number}", state / f"received{number}"
        drives.append(seconds(lambda: caller.call("POST", f"/drives/{drive}/write", data)))  # noqa: B023 (called here)
        bare_files.append(seconds(lambda: reply.call("POST", f"/file{received}", data)))  # noqa: B023 (called here)
        files.append(seconds(lambda: plain.write_bytes(data)))  # noqa: B023 (called here)
    took = min(drives) * 1000
    report.line(f"write of {mebibytes} MiB, against a bare reply and a file", took, min(bare_files) * 1000, 1 / 0.8)
    report.line(f"write of {mebibytes} MiB, against a plain file", took, min(files) * 1000, None)
    measure_latency(report, caller, other, data)


def measure_latency(report: Report, caller: Caller, other: Caller, data: bytes) -> None:
    """How long others wait while a drive is written to and another is compressed."""
    drives = [
        json.loads(caller.call("POST", "/drives/create", json.dumps({"size": 2 * len(data)})))["drive"]
        for _number in range(2)
    ]
    caller.call("POST", f"/drives/{drives[0]}/write", data)
    caller.call("POST", f"/drives/{drives[1]}/image/{drives[0]}/gzip")
    waited = []
    while b'"imaging"' in other.call("GET", f"/drives/{drives[1]}/info"):
        waited.append(seconds(lambda: other.call("GET", "/drives/list")))
    report.line("drives/list while a drive is compressed, against 5 ms", statistics.median(waited) * 1000, 5, 1)
    writing = threading.Thread(target=lambda: [caller.call("POST", f"/drives/{drives[0]}/write", data) for _n in "abc"])
    writing.start()
    waited = []
    while writing.is_alive():
        waited.append(seconds(lambda: other.call("GET", "/drives/list")))
    report.line("drives/list while a drive is written, against 5 ms", statistics.median(waited) * 1000, 5, 1)


def measure_share(report: Report, endpoint: Endpoint, creates: int) -> None:
    """How long a create of one account takes while another account has 40 gzip writes of 3.75 GiB of zeros each.

    The endpoint is killed under this load, which is work for minutes.
    """
    body = gzip.compress(bytes(MIB)) * 3840
    writers = [Caller(endpoint.port, endpoint.auth) for _number in range(40)]
    drives = [json.loads(writer.call("POST", "/drives/create", '{"size": "3840M"}'))["drive"] for writer in writers]
    other = Caller(endpoint.port, OTHER)
    alone, loaded = [], []
    for _number in range(creates):
        alone.append(seconds(lambda: other.call("POST", "/drives/create", '{"size": "4M"}')))
    with ThreadPoolExecutor(len(writers)) as threads:
        for writer, drive in zip(writers, drives, strict=True):
            threads.submit(writer.call, "POST", f"/drives/{drive}/write", body, {"Content-Encoding": "gzip"})
        time.sleep(2)
        for _number in range(creates):
            loaded.append(seconds(lambda: other.call("POST", "/drives/create", '{"size": "4M"}')))
        endpoint.kill()
    took, without = statistics.median(loaded) * 1000, statistics.median(alone) * 1000
    report.line("drives/create beside 40 gzip writes of another account", took, without, None)
    report.line("drives/create beside 40 gzip writes, against 1000 ms", max(loaded) * 1000, 1000, 1)


def measure_space(report: Report, caller: Caller, state: Path) -> None:
    drive = json.loads(caller.call("POST", "/drives/create", json.dumps({"size": "2T"})))["drive"]
    taken = (state / "drives" / f"{drive}.raw").stat().st_blocks * 512
    report.line("a drive of 2 TB, space against 64 KiB", taken / 1024, 64, 1, "KiB")


if __name__ == "__main__":
    sys.exit(main())
