# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the drivers' CPU time per action against a script per action, and their memory.

    python -m tests.bench.drivers_cost [--quick]

Exit status 1 beyond a limit.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.bench._drivers import cpu_seconds, deploy, lines, make_servers, site
from tests.bench.endpoint import Report, resident

ALLOWED = 80.0
"""MiB, both drivers together"""


def main() -> int:
    quick = "--quick" in sys.argv[1:]
    report = Report()
    measure_scripts(report, 40 if quick else 200)
    measure_memory(report, (1000,) if quick else (1000, 10_000))
    measure_growth(report, 2000 if quick else 100_000)
    return 1 if report.failed else 0


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
"""RESET as a script: decode, get the server, check its owner, reset, get the server again"""


def measure_scripts(report: Report, count: int) -> None:
    """Measure the CPU time of all processes per action, against a script per action as in stock cloud drivers."""
    with site() as place, place.core() as core:
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
        payload = lines(core, "RESET", [vm])[0].split()[-1].decode()
        before_all = os.times()
        for _unused in range(count):
            command = ["bash", "-c", SCRIPT, "script", str(vm.id), payload]
            subprocess.run(command, env=environment, check=True, capture_output=True)
        after = os.times()
        spent = after.children_user + after.children_system - before_all.children_user - before_all.children_system
        report.line("CPU per action; a script with bash and curl for each", ours, spent / count * 1000, 1 / 10)


def measure_memory(report: Report, sizes: tuple[int, ...]) -> None:
    """Measure the memory of both drivers after several listings; above 1,000 servers without a limit."""
    with site() as place:
        place.configure(LISTING_PERIOD=1)
        made = 0
        for size in sizes:
            make_servers(place, made, size)
            made = size
            with place.core(periods={"STATE_VM": 1}) as core:
                core.start_vmm()
                core.start_im()
                host = core.create_host("eh")
                core.wait_host(host, "MONITORED", 60)
                for vm in deploy(core, 4):
                    core.wait(vm, "RUNNING", 60)
                time.sleep(4)
                assert core.vmm is not None and core.im is not None
                both = resident(core.vmm.pid) + resident(core.im.pid)
            report.line(f"memory of both drivers with {size} VMs", both, ALLOWED, 1.0 if size <= 1000 else None, "MiB")


def measure_growth(report: Report, actions: int) -> None:
    """Measure the memory of the VM driver over many actions: RESET, and refused actions in between."""
    with site() as place, place.core() as core:
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
        what = f"memory of the VM driver after {actions} actions; after a quarter"
        report.line(what, sizes[-1], sizes[0], 1.05, "MiB")


if __name__ == "__main__":
    sys.exit(main())
