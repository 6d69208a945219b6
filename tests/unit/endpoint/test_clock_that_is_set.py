# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clock of the machine is set by hours while the endpoint runs: what takes seconds goes on taking seconds."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.support.endpoint import Endpoint
from tests.unit.endpoint.conftest import Wire, eventually

PROGRAM = """\
#!{python}
import runpy, sys, time
from pathlib import Path

system, hours = time.time, Path(__file__).with_name("hours")
time.time = lambda: system() + 3600 * float(hours.read_text())
sys.argv = sys.argv[2:]
runpy.run_module("eh_endpoint", run_name="__main__", alter_sys=True)
"""
STANDARD_FOLDER = "f1804000-0000-4000-8000-000000000001"


class Machine:
    """An endpoint on a machine of its own clock."""

    def __init__(self, folder: Path, seconds: str) -> None:
        self._hours = folder / "hours"
        self.set(0)
        program = folder / "python"
        program.write_text(PROGRAM.format(python=sys.executable))
        program.chmod(0o700)
        durations = ("--imaging-seconds", seconds, "--acpi-delay", seconds, "--address-delay", seconds)
        self.endpoint = Endpoint(folder / "zone", *durations, start=False)
        self.endpoint.PYTHON = str(program)
        self.endpoint.start()

    def set(self, hours: float) -> None:
        making = self._hours.with_suffix(".new")
        making.write_text(str(hours))
        making.replace(self._hours)


class UnderWay:
    """Something of each kind that takes time."""

    def __init__(self, wire: Wire) -> None:
        self.copy = wire.drive()
        assert wire.json(f"/drives/{self.copy}/image/{wire.drive()}").status == 200
        self.folder = wire.json(f"/folders/{STANDARD_FOLDER}/clone", {"name": "x"}).json["folder"]
        self.started = wire.server(nic__0__dhcp="auto")
        self.stopping = wire.server(persistent="true")
        assert wire.send("POST", f"/servers/{self.stopping}/shutdown").status == 204

    def left(self, wire: Wire) -> set[str]:
        found = {
            "copy": "imaging" in wire.json(f"/drives/{self.copy}/info").json,
            "folder": "syncing" in wire.json(f"/folders/{self.folder}/info").json,
            "address": "nic:0:dhcp:ip" not in wire.json(f"/servers/{self.started}/info").json,
            "shutdown": wire.json(f"/servers/{self.stopping}/info").json["status"] != "stopped",
        }
        return {name for name, going_on in found.items() if going_on}


@pytest.mark.parametrize("restart", [False, True], ids=["", "with a restart"])
def test_a_clock_that_is_set_back_holds_nothing_up(tmp_path: Path, restart: bool) -> None:
    machine = Machine(tmp_path, "3")
    with machine.endpoint as endpoint:
        with Wire(endpoint) as wire:
            going_on = UnderWay(wire)
            machine.set(-1)
        if restart:
            endpoint.kill()
            machine.set(-2)
            endpoint.start()
        with Wire(endpoint) as wire:
            eventually(lambda: not going_on.left(wire))


def test_a_clock_that_is_set_forward_ends_nothing_early(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "600")
    with machine.endpoint as endpoint, Wire(endpoint) as wire:
        going_on = UnderWay(wire)
        machine.set(1)
        assert going_on.left(wire) == {"copy", "folder", "address", "shutdown"}
        started = wire.json(f"/servers/{wire.server()}/info").json["started"]
        assert started > time.time() + 3000


def test_counters_do_not_go_back_with_the_clock(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "3")
    with machine.endpoint as endpoint, Wire(endpoint) as wire:
        server = wire.server(nic__0__dhcp="auto")
        eventually(lambda: wire.json(f"/servers/{server}/info").json["nic:0:rx:bytes"])
        before = wire.json(f"/servers/{server}/info").json["nic:0:rx:bytes"]
        machine.set(-1)
        assert wire.json(f"/servers/{server}/info").json["nic:0:rx:bytes"] >= before
