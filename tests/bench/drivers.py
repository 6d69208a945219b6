# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the installed drivers under the stand-in for oned, against the real endpoint, and prints the ratios.

    python tests/bench/drivers.py [--quick]

The yardsticks: what the core allows for INIT, the same calls from a bare session, and the time that 16 workers need
when each API call takes 50 ms. Exit status 1 when a ratio is beyond its limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

import tests.conftest  # noqa: E402, F401 (links the collection under its real name)
from tests.bench.endpoint import Report, resident  # noqa: E402
from tests.core import Core, Vm  # noqa: E402
from tests.support.endpoint import Endpoint  # noqa: E402
from tests.unit.bursting.conftest import Installation  # noqa: E402

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


@contextlib.contextmanager
def site(*, latency: float = 0.0) -> Iterator[tuple[Installation, Endpoint]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Endpoint(Path(folder) / "state", "--quiet") as endpoint,
        delayed(endpoint.port, latency) if latency else contextlib.nullcontext(endpoint.port) as port,
    ):
        installation = Installation(Path(folder) / "one")
        installation.configure(EHURI=f"http://127.0.0.1:{port}", EHAUTH=endpoint.auth, EHCLOUD="bench")
        yield installation, endpoint


@contextlib.contextmanager
def delayed(port: int, latency: float) -> Iterator[int]:
    """The endpoint behind a line that takes ``latency`` seconds for each answer."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(262144):
                await asyncio.sleep(seconds)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, back, 0), pump(there, writer, latency))

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(relay, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield int(server.sockets[0].getsockname()[1])
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def measure_init(report: Report, times: int) -> None:
    """From exec of the shell wrapper to INIT SUCCESS."""
    with site() as (installation, _endpoint):
        for driver in ("vmm", "im"):
            taken = []
            for _ in range(times):
                with Core("7.4.0", one_location=installation.root) as core:
                    taken.append((core.start_vmm() if driver == "vmm" else core.start_im()) * 1000)
            report.line(f"{driver}: start to INIT answered, median of {times}", statistics.median(taken), 100.0, 1.0)


def deploy(core: Core, count: int) -> list[Vm]:
    host = next(iter(core.model.hosts.values()), None) or core.create_host("eh")
    vms = [core.create_vm(EH) for _ in range(count)]
    for vm in vms:
        core.deploy(vm, host)
    return vms


def measure_overhead(report: Report, count: int) -> None:
    """One DEPLOY after another; the same two calls from a bare session."""
    with site() as (installation, endpoint), Core("7.4.0", one_location=installation.root) as core:
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
    with site(latency=LATENCY) as (installation, _endpoint), Core("7.4.0", one_location=installation.root) as core:
        core.start_vmm(arguments=f"-t {WORKERS}")
        core.start_im()
        began = time.perf_counter()
        vms = deploy(core, count)
        for vm in vms:
            core.wait(vm, "RUNNING", 120)
        taken = time.perf_counter() - began
        report.line(
            f"{count} DEPLOYs at once, 50 ms a call, {WORKERS} workers", taken, count / WORKERS * LATENCY, 1.6, "s"
        )
        core.create_host("eh2")
        core.wait_host(core.model.hosts[1], "MONITORED")
        assert core.vmm is not None and core.im is not None
        both = resident(core.vmm.pid) + resident(core.im.pid)
        report.line(f"memory of both drivers with {count} VMs", both, 80.0, 1.0, "MiB")


if __name__ == "__main__":
    sys.exit(main())
