# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the endpoint on real guests against virsh on the same libvirt, in one run, and prints the ratios.

    python -m tests.bench.guests [--quick]

Needs root, and packages that `make test-kvm` installs. The references are `virsh start` of the same domain, of as many
domains at once, and `virsh domstats`. Exit status 1 when a ratio is beyond its limit.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import requests

from tests.bench.endpoint import Report, seconds
from tests.kvm.box import PYTHON, Box, until, virsh
from tests.kvm.spoken import Spoken
from tests.support.endpoint import ROOT

ROOM = ROOT / "tests" / "tools" / "with_libvirt.sh"
INSIDE = "--inside"
NODE = {"name": "bench", "cpu": 500, "mem": 256, "nic:0:dhcp": "auto", "vnc": "auto", "password": "bench"}
MANY = 200


def main() -> int:
    if INSIDE not in sys.argv:
        if os.getuid() != 0 or not PYTHON.exists() or shutil.which("libvirtd") is None:
            print("left out: real guests need root, and `make test-kvm` to have installed libvirt")
            return 0
        os.execv(ROOM, [str(ROOM), sys.executable, "-m", "tests.bench.guests", INSIDE, *sys.argv[1:]])
    quick = "--quick" in sys.argv
    report = Report()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        with Box(Path(folder) / "zone", "10.177.0.0/24", "--quiet") as box:
            measure_create(report, box, 3 if quick else 10)
            measure_together(report, box, 10 if quick else 50)
        measure_listing(report, Path(folder))
    return 1 if report.failed else 0


def create(box: Box) -> str:
    answer = requests.post(
        f"{box.url}/servers/create",
        json=NODE,
        headers={"Accept": "application/json"},
        auth=(box.user, box.key),
        timeout=600,  # many at once are limited by the machine
    )
    if answer.status_code != 200:
        raise RuntimeError(answer.text)
    return str(answer.json()["server"])


def destroy(box: Box, uuid: str) -> None:
    box.call(f"/servers/{uuid}/destroy")
    until(lambda: uuid not in box.domains(), "libvirt has cleared up")


def define(box: Box, name: str) -> None:
    """Define a copy of a server's domain for virsh, with another name, UUID and MAC address."""
    uuid = create(box)
    xml = virsh("dumpxml", "--security-info", f"{box.zone}-{uuid}")
    destroy(box, uuid)
    lines = [line for line in xml.splitlines() if not line.strip().startswith(("<uuid>", "<mac "))]
    file = box.state / f"{name}.xml"
    file.write_text("\n".join(lines).replace(f"{box.zone}-{uuid}", name).replace(" id='", " was='", 1))
    virsh("define", str(file))


def measure_create(report: Report, box: Box, rounds: int) -> None:
    define(box, "yardstick")
    created, started, made = [], [], []
    for _unused in range(rounds):
        started.append(seconds(lambda: virsh("start", "yardstick")))
        virsh("destroy", "yardstick")
        created.append(seconds(lambda: made.append(create(box))))
        destroy(box, made[-1])
    took = statistics.median(created) * 1000
    report.line("servers/create to running, against virsh start", took, statistics.median(started) * 1000, 2)
    virsh("undefine", "yardstick")


def measure_together(report: Report, box: Box, guests: int) -> None:
    """Start guests all at once, by virsh and by the API, then list the running ones by both."""
    names = [f"yardstick-{number}" for number in range(guests)]
    define(box, names[0])
    for name in names[1:]:
        file = box.state / f"{name}.xml"
        file.write_text((box.state / f"{names[0]}.xml").read_text().replace(names[0], name))
        virsh("define", str(file))
    with ThreadPoolExecutor(guests) as threads:
        started = seconds(lambda: list(threads.map(lambda name: virsh("start", name), names)))
        list(threads.map(lambda name: virsh("destroy", name), names))
        for name in names:
            virsh("undefine", name)
        made: list[str] = []
        created = seconds(lambda: made.extend(threads.map(lambda _name: create(box), names)))
    running = [server["status"] for server in box.call("/servers/info").json()]
    if len(box.domains()) != guests or running != ["active"] * guests:
        raise RuntimeError(f"{len(box.domains())} domains, servers are {running}")
    report.line(f"{guests} guests created at once, against virsh start", created * 1000, started * 1000, 2)
    measure_info(report, box, guests)
    for uuid in made:
        box.call(f"/servers/{uuid}/destroy")


def measure_info(report: Report, box: Box, guests: int) -> None:
    listings: dict[str, Callable[[], object]] = {
        "api": lambda: box.call("/servers/info", method="GET"),
        "virsh": lambda: virsh("domstats", "--block", "--interface", "--nowait"),
    }
    took = {name: min(seconds(listing) for _number in range(7)) * 1000 for name, listing in listings.items()}
    report.line(f"servers/info of {guests} that run, against virsh domstats", took["api"], took["virsh"], 2)


def measure_listing(report: Report, folder: Path) -> None:
    """List more guests than this machine can run, by libvirt's test driver."""
    spoken = Spoken(folder)
    with mock.patch.dict(os.environ, spoken.environment):
        box = Box(folder / "many", "10.178.0.0/23", "--quiet", uri="test:///default")
    with box:
        for _unused in range(MANY):
            create(box)
        spoken.calls()
        took = seconds(lambda: box.call("/servers/info", method="GET"))
        report.line(f"servers/info of {MANY}, calls of libvirt", len(spoken.calls()), 1, 1, "calls")
    report.line(f"servers/info of {MANY}, against 250 ms", took * 1000, 250, 1)


if __name__ == "__main__":
    sys.exit(main())
