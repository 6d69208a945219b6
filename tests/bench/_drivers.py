# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of the drivers' benchmarks: installed drivers, a cloud for them, and a core that only measures times."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import requests

from tests.bench._answerer import Answerer, answerer
from tests.core import Core, Vm
from tests.core.process import DriverProcess
from tests.core.speech import vmm_line
from tests.support.endpoint import Endpoint
from tests.unit.drivers.conftest import Installation

EH = {"NAME": "bench", "CPUMHZ": "500", "MEMORY": "256", "NICDHCP": "nic:0:dhcp auto"}
PATIENCE = 120.0


class Place(NamedTuple):
    installation: Installation
    cloud: Endpoint | Answerer
    folder: Path
    known: dict[str, object]

    def configure(self, **settings: object) -> None:
        self.installation.configure(**self.known, **settings)

    def asked(self) -> list[str]:
        """Return the lines of the endpoint's request log."""
        return (self.folder / "requests").read_text().splitlines()

    def core(self, release: str = "7.4.0", **options: object) -> Core:
        return Core(release, one_location=self.installation.root, **options)  # type: ignore[arg-type]


@contextlib.contextmanager
def site(*answering: float) -> Iterator[Place]:
    """Install drivers for a new endpoint or, with ``answering`` (arguments of ``answerer``), for the minimal server."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        endpoint = ("--quiet", "--request-log", str(folder / "requests"))
        with answerer(*answering) if answering else Endpoint(folder / "state", *endpoint) as cloud:
            installation = Installation(folder / "one")
            known = {"EHURI": cloud.url, "EHAUTH": cloud.auth, "EHCLOUD": "bench"}
            place = Place(installation, cloud, folder, known)
            place.configure()
            yield place


def deploy(core: Core, count: int) -> list[Vm]:
    host = next(iter(core.model.hosts.values()), None) or core.create_host("eh")
    vms = [core.create_vm(EH) for _unused in range(count)]
    for vm in vms:
        core.deploy(vm, host)
    return vms


def make_servers(place: Place, first: int, count: int) -> None:
    """Create stopped servers with the ownership keys of the VMs from ``first`` to ``count`` - 1."""
    with requests.Session() as session:
        session.auth = (place.cloud.user, place.cloud.key)
        session.headers["Accept"] = "application/json"
        for number in range(first, count):
            body = {"name": f"b{number}", "cpu": 500, "mem": 256, "persistent": "true"}
            keys = {"user:one-cloud": "bench", "user:one-vm": str(number), "user:one-host": "eh"}
            session.post(f"{place.cloud.url}/servers/create/stopped", json={**body, **keys}).raise_for_status()


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and its reaped children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


class Stopwatch:
    """A core that writes prepared lines and records when each reply arrives; replies are not checked.

    The driver is started as by ``tests.core``.
    """

    def __init__(self, place: Place, executable: Path, arguments: str = "", *, old: bool = False) -> None:
        self.came: dict[tuple[bytes, int], tuple[float, str]] = {}
        """(action, id) -> (monotonic seconds when the reply arrived, its text)"""
        self.refused: list[bytes] = []
        self._news = threading.Condition()
        self._driver = DriverProcess(
            "vmm", executable, arguments, folder=place.installation.var,
            environment={**os.environ, "ONE_LOCATION": str(place.installation.root)}, old=old, init_seconds=30.0,
            heard=self._heard, lost=self.refused.append,  # type: ignore[arg-type]
        )  # fmt: skip
        self.pid = self._driver.pid
        self._driver.init()

    def _heard(self, line: bytes) -> None:
        now = time.monotonic()
        words = line.split(None, 3)
        if words[0] == b"LOG":
            return
        if words[1] != b"SUCCESS":
            self.refused.append(line)
        with self._news:
            self.came[words[0], int(words[2])] = now, words[3].decode() if words[3:] else ""
            self._news.notify_all()

    def say(self, line: bytes) -> None:
        self._driver.write(line)

    def wait(self, keys: list[tuple[bytes, int]]) -> None:
        """Wait until all replies have arrived.

        :raises TimeoutError: a reply is missing after PATIENCE seconds
        """
        with self._news:
            if not self._news.wait_for(lambda: all(key in self.came for key in reversed(keys)), PATIENCE):
                raise TimeoutError(f"no answer to {[key for key in keys if key not in self.came][:3]}")

    def timed(self, action: str, vm: Vm, line: bytes) -> tuple[float, float]:
        """Send a line; return the monotonic seconds of sending it and of its reply."""
        key = (action.encode(), vm.id)
        self.came.pop(key, None)
        began = time.monotonic()
        self.say(line)
        self.wait([key])
        return began, self.came[key][0]

    def __enter__(self) -> Stopwatch:
        return self

    def __exit__(self, *exception: object) -> None:
        self._driver.stop(10.0)


def lines(core: Core, action: str, vms: list[Vm]) -> list[bytes]:
    """Return the lines of an action as the core's release writes them."""
    return [vmm_line(core.release, action, vm, core.var, int(time.time())) for vm in vms]


def placed(core: Core, count: int) -> list[Vm]:
    """Create VMs that the core has scheduled on its host but not yet deployed."""
    host = next(iter(core.model.hosts.values()), None) or core.create_host("eh")
    vms = [core.create_vm(EH) for _unused in range(count)]
    for vm in vms:
        vm.host, vm.seq, vm.state = host, 0, "BOOT"
    return vms
