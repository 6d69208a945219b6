# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the time that the VM driver adds to the cloud's, per action and for a thousand actions at once.

    python -m tests.bench.drivers_speed [--quick]

The driver is the installed one. The cloud is the minimal server of _answerer.py, since the real endpoint, which takes
2 ms of CPU for a create call, would compete with the driver for two cores.

The overhead of an action is the time from the core's write to the driver's reply, less the time in which the cloud
processed calls of this action: the driver's own work, two pipes, and loopback. The reference is a minimal program (one
line in, the same number of calls over one open connection, one line out) in the same run: the driver may take 1 ms more
at p99. As root, the benchmark and its child processes run with real-time priority.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import time
from collections.abc import Iterator

from tests.bench._answerer import Answerer
from tests.bench._drivers import Place, Stopwatch, cpu_seconds, lines, placed, site
from tests.bench.endpoint import Report
from tests.core import Core, Vm

LATENCY = 0.05
WORKERS = 16
ALLOWED = 1.0
"""ms at p99"""
ACCOUNT = 20
"""servers in the account, all of which each DEPLOY lists first"""
ACTIONS = ("DEPLOY", "RESET", "POLL", "SNAPSHOTCREATE", "SAVE", "RESTORE")
"""of each VM, in order"""
WARM = 10
"""VMs before the measured ones, for imports and first connections"""

LEAST = r"""#!{python} -IS
import http.client, sys
calls = {calls}
cloud = http.client.HTTPConnection("127.0.0.1", {port})
for line in sys.stdin:
    action, number = (line.split() + [""])[:2]
    for _call in range(calls.get(action, 0)):
        cloud.request("POST", "/")
        cloud.getresponse().read()
    print(action, "SUCCESS", number, flush=True)
"""
"""the minimal program"""


def main() -> int:
    quick = "--quick" in sys.argv[1:]
    report = Report()
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    measure_overhead(report, 100 if quick else 1000)
    measure_deploys(report, 300 if quick else 1000)
    return 1 if report.failed else 0


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def live(place: Place, watch: Stopwatch, core: Core, vm: Vm) -> Iterator[tuple[str, float, int]]:
    """Yield (action, overhead in ms, number of API calls) for each action of ``vm``."""
    assert isinstance(place.cloud, Answerer)
    for action in ACTIONS:
        (line,) = lines(core, action, [vm])
        began, ended = watch.timed(action, vm, line)
        calls = [(max(start, began), min(end, ended)) for start, end in place.cloud.calls()]
        yield action, (ended - began - sum(end - start for start, end in calls if end > start)) * 1000, len(calls)
        if action == "DEPLOY":
            vm.deploy_id, vm.state = watch.came[b"DEPLOY", vm.id][1], "RUNNING"


def measure_overhead(report: Report, count: int) -> None:
    with site(0.002, ACCOUNT) as place, place.core("5.10.5") as core:
        assert isinstance(place.cloud, Answerer)
        vms = placed(core, WARM + count)
        with Stopwatch(place, place.installation.vmm, old=True) as driver:
            for vm in vms[:WARM]:
                calls = {action: number for action, _overhead, number in live(place, driver, core, vm)}
            least = place.folder / "least"
            least.write_text(LEAST.format(python=sys.executable, port=place.cloud.port, calls=calls))
            least.chmod(0o755)
            taken: dict[str, tuple[list[float], list[float]]] = {action: ([], []) for action in ACTIONS}
            with Stopwatch(place, least, old=True) as floor:
                for vm in vms[WARM:]:
                    for side, watch in enumerate((driver, floor)):
                        for action, overhead, _calls in live(place, watch, core, vm):
                            taken[action][side].append(overhead)
            unexpected = [said for said in driver.refused if not said.startswith(b"SNAPSHOT")]
            assert not unexpected, unexpected[:3]
        for action, (ours, bare) in taken.items():
            print(
                f"{action}, {calls[action]} calls: median {statistics.median(ours):.2f} ms, "
                f"the least {statistics.median(bare):.2f} ms"
            )
            report.line(f"{action}: overhead at p99; the least and 1 ms", p99(ours), p99(bare) + ALLOWED, 1.0)


def measure_deploys(report: Report, count: int) -> None:
    """Measure DEPLOYs that are all sent at once, with a latency of 50 ms per API call."""
    with site(LATENCY) as place, place.core() as core:
        assert isinstance(place.cloud, Answerer)
        vms = placed(core, count + WORKERS)
        made = lines(core, "DEPLOY", vms)
        keys = [(b"DEPLOY", vm.id) for vm in vms]
        with Stopwatch(place, place.installation.vmm, f"-t {WORKERS}") as driver:
            for line in made[:WORKERS]:  # imports and first connections
                driver.say(line)
            driver.wait(keys[:WORKERS])
            place.cloud.calls()
            spent = cpu_seconds(driver.pid)
            began = time.monotonic()
            for line in made[WORKERS:]:
                driver.say(line)
            driver.wait(keys[WORKERS:])
            taken = time.monotonic() - began
            spent = cpu_seconds(driver.pid) - spent
            calls = len(place.cloud.calls())
            assert not driver.refused, driver.refused[:3]
    print(f"CPU of the driver: {spent / count * 1000:.2f} ms for each DEPLOY")
    what = f"{count} DEPLOYs at once, 50 ms a call, {WORKERS} workers; ideal"
    report.line(what, taken, count / WORKERS * LATENCY, 1.2, "s")
    report.line("API calls of these: a create call each, and shared listings", calls, count, 1.02, "")


if __name__ == "__main__":
    sys.exit(main())
