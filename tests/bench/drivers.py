# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures start and monitoring of the installed drivers under the stand-in for oned, with the real endpoint.

    python -m tests.bench.drivers [--quick]

The references are the core's time limit for INIT, one API call per round, and the length of a round. Exit status 1 when
a value is beyond its limit.
"""

from __future__ import annotations

import statistics
import sys
import time

from tests.bench._drivers import Place, deploy, make_servers, site
from tests.bench.endpoint import Report
from tests.support.endpoint import Endpoint

PERIOD = 3
"""seconds between two reports of states (PROBES_PERIOD of monitord.conf)"""


def main() -> int:
    quick = "--quick" in sys.argv[1:]
    report = Report()
    measure_init(report, 5 if quick else 15)
    measure_rounds(report, (1, 1000) if quick else (1, 1000, 10_000))
    measure_news(report, 2 if quick else 5)
    return 1 if report.failed else 0


def measure_init(report: Report, times: int) -> None:
    """From exec of the shell wrapper to INIT SUCCESS."""
    with site() as place:
        for driver in ("vmm", "im"):
            taken = []
            for _unused in range(times):
                with place.core() as core:
                    taken.append((core.start_vmm() if driver == "vmm" else core.start_im()) * 1000)
            report.line(f"{driver}: start to INIT answered, median of {times}", statistics.median(taken), 100.0, 1.0)


def measure_rounds(report: Report, sizes: tuple[int, ...]) -> None:
    """API calls of one MONITOR round of 5.10, and for each period of 7.4, as the endpoint counts them."""
    with site() as place:
        made = 0
        for size in sizes:
            make_servers(place, made, size)
            made = size
            if size <= 1000:  # more do not fit into the one line of these releases, which then use POLL
                report.line(f"API calls per MONITOR of OpenNebula 5.10 with {size} VMs", ask_once(place), 1, 1.0, "")
            report.line(f"API calls per period of OpenNebula 7.4 with {size} VMs", listen(place), 1, 1.0, "")


def ask_once(place: Place) -> int:
    place.configure(LISTING_PERIOD=0.1)
    with place.core("5.10.5") as core:
        core.start_im()
        host = core.create_host("eh")
        core.answered(60)
        time.sleep(0.3)
        before = len(place.asked())
        core.monitor(host)
        core.answered(120)
        return len(place.asked()) - before


def listen(place: Place, rounds: int = 4) -> float:
    place.configure(LISTING_PERIOD=PERIOD)
    with place.core(periods={"STATE_VM": PERIOD}, interval=120) as core:
        core.start_im()
        host = core.create_host("eh")
        core.wait_host(host, "MONITORED", 60)
        before = len(place.asked())
        time.sleep(rounds * PERIOD)
        return (len(place.asked()) - before) / rounds


def measure_news(report: Report, times: int) -> None:
    """Measure the time from a change in the cloud until the core shows it, which the next round must report."""
    with site() as place:
        place.configure(LISTING_PERIOD=PERIOD)
        # From 7.0 on the core ignores a change right after the VM's start, so that the driver reports it later.
        with place.core("6.10.5", periods={"STATE_VM": PERIOD}, interval=120) as core:
            core.start_vmm()
            core.start_im()
            vms = deploy(core, times)
            assert isinstance(place.cloud, Endpoint)
            taken = []
            for number, vm in enumerate(vms):
                core.wait(vm, "RUNNING", 60)
                time.sleep(PERIOD * number / times)  # at different moments of a round
                began = time.monotonic()
                place.cloud.call(f"/servers/{vm.deploy_id}/stop").raise_for_status()
                core.wait(vm, "POWEROFF", 60)
                taken.append(time.monotonic() - began)
        report.line(f"a change until the core shows it, longest of {times}; a round", max(taken), PERIOD, 1.25, "s")


if __name__ == "__main__":
    sys.exit(main())
