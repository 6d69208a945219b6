# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver's own process, killed with -9 when a call has had its effect and before its answer; then another one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.core import Core, Vm
from tests.unit.bursting.conftest import Site, until
from tests.unit.bursting.proxy import Proxy

TEMPLATE = {"NAME": "bitrot", "CPUMHZ": "500", "MEMORY": "256", "IMAGE": "ide:0:0 killed", "NICDHCP": "nic:0:dhcp auto"}


class Action(NamedTuple):
    verb: str
    wish: Callable[[Core, Vm], None]
    end: str
    """the VM's state when it is done"""
    status: str
    """of its server then; empty when there is to be none"""


ACTIONS = {
    "deploy": Action("DEPLOY", lambda _core, _vm: None, "RUNNING", "active"),
    "shutdown": Action("SHUTDOWN", lambda core, vm: core.terminate(vm), "DONE", ""),
    "cancel": Action("CANCEL", lambda core, vm: core.terminate(vm, hard=True), "DONE", ""),
    "power-off": Action("SHUTDOWN", lambda core, vm: core.poweroff(vm), "POWEROFF", "stopped"),
    "power-off hard": Action("CANCEL", lambda core, vm: core.poweroff(vm, hard=True), "POWEROFF", "stopped"),
}


@pytest.fixture
def proxy(site: Site) -> Iterator[Proxy]:
    site.endpoint.call("/drives/create", {"name": "killed", "size": "1M"})
    with Proxy(site.endpoint.url) as running:
        site.configure(EHURI=running.url)
        yield running
    (image,) = (drive for drive in site.endpoint.call("/drives/info").json() if drive["name"] == "killed")
    site.endpoint.call(f"/drives/{image['drive']}/destroy")


def made(site: Site, kind: str, vm: Vm) -> list[dict[str, str]]:
    """The servers or drives that carry the VM's keys."""
    return [one for one in site.endpoint.call(f"/{kind}/info").json() if one.get("user:one-vm") == str(vm.id)]


def kill_at(core: Core, proxy: Proxy, number: int) -> list[int]:
    """SIGKILL at the call of that number from now on; the list that comes back is empty once that was done."""
    left = [number]

    def passed() -> None:
        if left and left[0] == 0:
            left.clear()
            core.kill("vmm")
        elif left:
            left[0] -= 1

    proxy.faults.clear()
    proxy.fault("", times=10_000, meanwhile=passed)
    return left


@pytest.mark.parametrize("name", list(ACTIONS))
def test_a_driver_killed_at_any_call_of_an_action_leaves_one_server_or_none(
    site: Site, proxy: Proxy, name: str
) -> None:
    action = ACTIONS[name]
    with site.core("7.4.0") as core:
        host = core.create_host("eh")
        core.start_vmm()
        for number in range(20):
            vm = core.create_vm(TEMPLATE)
            if action.verb != "DEPLOY":
                core.deploy(vm, host)
                core.wait(vm, "RUNNING")
            left = kill_at(core, proxy, number)
            if action.verb == "DEPLOY":
                core.deploy(vm, host)
            action.wish(core, vm)
            until(lambda left=left, vm=vm: not left or vm.state == action.end, "a call or the end", 60)
            proxy.faults.clear()
            if left:
                break
            core.start_vmm()
            core.request(action.verb, vm)
            core.wait(vm, action.end)
            until(lambda vm=vm: len(made(site, "drives", vm)) == bool(action.status), "no drive but the server's")
            servers = made(site, "servers", vm)
            assert [one["status"] for one in servers] == [action.status] * bool(action.status), (number, proxy.calls)
            drives = [one["drive"] for one in made(site, "drives", vm)]
            assert [one["ide:0:0"] for one in servers] == drives
        assert number >= 2


def test_a_driver_that_starts_beside_another_leaves_alone_what_that_one_has_under_way(site: Site, proxy: Proxy) -> None:
    """A core that was started again does not wait for the end of the drivers that it had."""
    with site.core("7.4.0") as first, site.core("7.4.0") as second:
        host = first.create_host("eh")
        first.start_vmm()
        vm = first.create_vm(TEMPLATE)

        def start_another() -> None:
            second.start_vmm()
            second.create_host("eh")
            time.sleep(0.5)  # it looks for what was left when it starts, and asks the cloud about it at once

        proxy.fault("/drives/create", times=1, meanwhile=start_another)
        first.deploy(vm, host)
        first.wait(vm, "RUNNING")
        (server,) = made(site, "servers", vm)
        assert [server["ide:0:0"]] == [one["drive"] for one in made(site, "drives", vm)]
