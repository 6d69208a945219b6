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
import os
import statistics
import subprocess
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
    measure_rounds(report, (1, 1000) if quick else (1, 1000, 10000))
    measure_scripts(report, 40 if quick else 200)
    measure_memory(report, 2000 if quick else 100_000)
    return 1 if report.failed else 0


class Place(NamedTuple):
    installation: Installation
    endpoint: Endpoint
    log: Path
    known: dict[str, object]

    def configure(self, **settings: object) -> None:
        self.installation.configure(**self.known, **settings)

    def asked(self) -> list[str]:
        """The calls so far, as the endpoint counts them."""
        return self.log.read_text().splitlines()


@contextlib.contextmanager
def site(*, latency: float = 0.0) -> Iterator[Place]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Endpoint(Path(folder) / "state", "--quiet", "--request-log", f"{folder}/requests") as endpoint,
        delayed(endpoint.port, latency) if latency else contextlib.nullcontext(endpoint.port) as port,
    ):
        installation = Installation(Path(folder) / "one")
        known = {"EHURI": f"http://127.0.0.1:{port}", "EHAUTH": endpoint.auth, "EHCLOUD": "bench"}
        place = Place(installation, endpoint, Path(folder) / "requests", known)
        place.configure()
        yield place


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


def cpu_seconds(pid: int) -> float:
    """Of a process and the children it has reaped."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def make_servers(endpoint: Endpoint, first: int, count: int) -> None:
    with requests.Session() as session:
        session.auth = (endpoint.user, endpoint.key)
        session.headers["Accept"] = "application/json"
        for number in range(first, count):
            body = {"name": f"b{number}", "cpu": 500, "mem": 256, "persistent": "true"}
            marks = {"user:one-cloud": "bench", "user:one-vm": str(number), "user:one-host": "eh"}
            session.post(f"{endpoint.url}/servers/create/stopped", json={**body, **marks}).raise_for_status()


def measure_rounds(report: Report, sizes: tuple[int, ...]) -> None:
    """API calls of one MONITOR round of 5.10, and for each period of 7.4, as the endpoint counts them."""
    with site() as place:
        made = 0
        for size in sizes:
            make_servers(place.endpoint, made, size)
            made = size
            if size <= 1000:
                report.line(f"API calls per MONITOR (5.10) with {size} VMs", ask_once(place), 1, 1.0, "")
            report.line(f"API calls per period (7.4) with {size} VMs", listen(place), 1, 1.0, "")


def ask_once(place: Place) -> int:
    place.configure(LISTING_PERIOD=0.1)
    with Core("5.10.5", one_location=place.installation.root) as core:
        core.start_im()
        host = core.create_host("eh")
        core.answered(60)
        time.sleep(0.3)
        before = len(place.asked())
        core.monitor(host)
        core.answered(120)
        return len(place.asked()) - before


def listen(place: Place, rounds: int = 4, period: int = 3) -> float:
    place.configure(LISTING_PERIOD=period)
    with Core("7.4.0", one_location=place.installation.root, periods={"STATE_VM": period}, interval=120) as core:
        core.start_im()
        host = core.create_host("eh")
        core.wait_host(host, "MONITORED", 60)
        before = len(place.asked())
        time.sleep(rounds * period)
        return (len(place.asked()) - before) / rounds


SCRIPT = r"""
. "$ONE_LOCATION/etc/vmm_eh/vmm_ehrc"
document=$(echo "$2" | base64 -d)
host=$(echo "$document" | sed -n 's:.*<HOST>\([^<]*\)</HOST>.*:\1:p')
server=$(echo "$document" | sed -n 's:.*</HOST>.*<DEPLOY_ID>\([^<]*\)</DEPLOY_ID>.*<VM>.*:\1:p')
[ -r "$ONE_LOCATION/etc/vmm_eh/hosts/${host}rc" ] && . "$ONE_LOCATION/etc/vmm_eh/hosts/${host}rc"
call() { curl -sS -f -u "$EHAUTH" -H 'Accept: text/plain' -H 'Content-Type: text/plain' "$@"; }
before=$(call "$EHURI/servers/$server/info") || exit 1
[ "$(echo "$before" | sed -n 's/^user:one-vm //p')" = "$1" ] || exit 1
[ "$(echo "$before" | sed -n 's/^status //p')" = active ] || exit 1
call -X POST "$EHURI/servers/$server/reset" || exit 1
after=$(call "$EHURI/servers/$server/info") || exit 1
[ "$(echo "$after" | sed -n 's/^status //p')" = active ] || exit 1
echo "RESET SUCCESS $1"
"""
"""what the driver does for a RESET, in the way of a script per action: decode, look, check the owner, act, look"""


def measure_scripts(report: Report, count: int) -> None:
    """The same action through a script per action, as stock cloud drivers do it: CPU of all processes per action."""
    with site() as place, Core("7.4.0", one_location=place.installation.root) as core:
        core.start_vmm()
        (vm,) = deploy(core, 1)
        core.wait(vm, "RUNNING")
        assert core.vmm is not None
        before = cpu_seconds(core.vmm.pid)
        for _unused in range(count):
            core.reboot(vm, hard=True)
        core.answered(120)
        ours = (cpu_seconds(core.vmm.pid) - before) / count * 1000
        environment = {**os.environ, "ONE_LOCATION": str(place.installation.root)}
        payload = vmm_line(core.release, "RESET", vm, core.var, int(time.time())).split()[-1].decode()
        before_all = os.times()
        for _unused in range(count):
            subprocess.run(
                ["bash", "-c", SCRIPT, "script", str(vm.id), payload], env=environment, check=True, capture_output=True
            )
        after = os.times()
        spent = after.children_user + after.children_system - before_all.children_user - before_all.children_system
        theirs = spent / count * 1000
        report.line("CPU per action; a script with bash and curl for each", ours, theirs, 1 / 20)


def measure_memory(report: Report, actions: int) -> None:
    """Memory of the VM driver over many actions: RESET of VMs whose server is there, and refusals between."""
    with site() as place, Core("7.4.0", one_location=place.installation.root) as core:
        core.start_vmm()
        vms = deploy(core, 20)
        for vm in vms:
            core.wait(vm, "RUNNING")
        assert core.vmm is not None
        sizes = []
        for _part in range(4):
            for number in range(actions // 4):
                core.request("RESET" if number % 20 == 0 else "SNAPSHOTCREATE", vms[number // 20 % 20])
                if number % 200 == 199:
                    core.answered(60)
                    core.answers.clear()
            core.answered(60)
            sizes.append(resident(core.vmm.pid))
        report.line(
            f"memory of the VM driver after {actions} actions; after a quarter", sizes[-1], sizes[0], 1.05, "MiB"
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
