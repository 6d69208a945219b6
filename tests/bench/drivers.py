# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the installed drivers under the stand-in for oned, against the real endpoint, and prints the ratios.

    python -m tests.bench.drivers [--quick]

The yardsticks: what the core allows for INIT, the same calls from a bare session, and the time that 16 workers need
when each API call takes 50 ms. Exit status 1 when a ratio is beyond its limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import requests

from tests.bench.endpoint import Report, resident
from tests.core import Core, Vm
from tests.core.speech import vmm_line
from tests.support.endpoint import Endpoint
from tests.unit.bursting.conftest import Installation

LATENCY = 0.05
WORKERS = 16
EH = {"NAME": "bench", "CPUMHZ": "500", "MEMORY": "256", "NICDHCP": "nic:0:dhcp auto"}


def main() -> int:
    quick = "--quick" in sys.argv[1:]
    report = Report()
    measure_init(report, 5 if quick else 15)
    measure_overhead(report, 50 if quick else 300)
    measure_deploys(report, 200 if quick else 1000)
    return 1 if report.failed else 0


class Place(NamedTuple):
    installation: Installation
    endpoint: Endpoint


@contextlib.contextmanager
def site(*, latency: float = 0.0) -> Iterator[Place]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Endpoint(Path(folder) / "state", "--quiet") as endpoint,
        delayed(endpoint.port, latency) if latency else contextlib.nullcontext(endpoint.port) as port,
    ):
        installation = Installation(Path(folder) / "one")
        installation.configure(EHURI=f"http://127.0.0.1:{port}", EHAUTH=endpoint.auth, EHCLOUD="bench")
        yield Place(installation, endpoint)


@contextlib.contextmanager
def delayed(port: int, latency: float) -> Iterator[int]:
    """The endpoint behind a line that takes ``latency`` seconds for each answer; a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=relay, args=(theirs, port, latency), daemon=True)
    process.start()
    yield int(ours.recv())
    process.kill()
    process.join()


def relay(parent: Connection, port: int, latency: float) -> None:
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await reader.read(262144):
                loop.call_later(seconds, writer.write, data)
        loop.call_later(seconds, writer.close)

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, back, 0), pump(there, writer, latency))

    async def serve() -> None:
        server = await asyncio.start_server(join, "127.0.0.1", 0)
        parent.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


def measure_init(report: Report, times: int) -> None:
    """From exec of the shell wrapper to INIT SUCCESS."""
    with site() as place:
        for driver in ("vmm", "im"):
            taken = []
            for _unused in range(times):
                with Core("7.4.0", one_location=place.installation.root) as core:
                    taken.append((core.start_vmm() if driver == "vmm" else core.start_im()) * 1000)
            report.line(f"{driver}: start to INIT answered, median of {times}", statistics.median(taken), 100.0, 1.0)


def deploy(core: Core, count: int) -> list[Vm]:
    host = next(iter(core.model.hosts.values()), None) or core.create_host("eh")
    vms = [core.create_vm(EH) for _unused in range(count)]
    for vm in vms:
        core.deploy(vm, host)
    return vms


def measure_overhead(report: Report, count: int) -> None:
    """One DEPLOY after another; the same two calls from a bare session."""
    with site() as place, Core("7.4.0", one_location=place.installation.root) as core:
        endpoint = place.endpoint
        core.start_vmm()
        with requests.Session() as bare:
            bare.auth = (endpoint.user, endpoint.key)
            bare.headers["Accept"] = "application/json"
            driver, plain = [], []
            for number in range(count + 10):
                began = time.perf_counter()
                (vm,) = deploy(core, 1)
                core.wait(vm, "RUNNING")
                middle = time.perf_counter()
                bare.get(f"{endpoint.url}/servers/info").json()
                bare.post(f"{endpoint.url}/servers/create", json={"name": "bench", "cpu": 500, "mem": 256}).json()
                ended = time.perf_counter()
                if number >= 10:
                    driver.append((middle - began) * 1000)
                    plain.append((ended - middle) * 1000)
        report.line(
            f"DEPLOY, core to core, median of {count}; bare calls",
            statistics.median(driver),
            statistics.median(plain),
            3.0,
        )


def measure_deploys(report: Report, count: int) -> None:
    """All at once, each call 50 ms away."""
    with site(latency=LATENCY) as place, Core("7.4.0", one_location=place.installation.root) as core:
        core.start_vmm(arguments=f"-t {WORKERS}")
        core.start_im()
        host = core.create_host("eh")
        vms = [core.create_vm(EH) for _unused in range(count)]
        for vm in vms:
            vm.host, vm.seq, vm.state = host, 0, "BOOT"
        lines = [(vm, vmm_line(core.release, "DEPLOY", vm, core.var, int(time.time()))) for vm in vms]
        began = time.perf_counter()
        for vm, line in lines:
            core.say("vmm", line, answer=("DEPLOY", vm.id))
        core.answered(120)
        taken = time.perf_counter() - began
        report.line(
            f"{count} DEPLOYs at once, 50 ms a call, {WORKERS} workers", taken, count / WORKERS * LATENCY, 1.6, "s"
        )
        assert {vm.state for vm in vms} == {"RUNNING"}
        core.wait_host(host, "MONITORED")
        assert core.vmm is not None and core.im is not None
        both = resident(core.vmm.pid) + resident(core.im.pid)
        report.line(f"memory of both drivers with {count} VMs", both, 80.0, 1.0, "MiB")


if __name__ == "__main__":
    sys.exit(main())
