# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver's own process, killed with -9 at a call, before it has its effect or after; then another one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import pytest

from tests.core import Core, Vm
from tests.unit.drivers.conftest import Site, until
from tests.unit.drivers.proxy import MOMENTS, Proxy, kill_at

TEMPLATE = {"NAME": "bitrot", "CPUMHZ": "500", "MEMORY": "256", "IMAGE": "ide:0:0 killed", "NICDHCP": "nic:0:dhcp auto"}
DISKLESS = {key: value for key, value in TEMPLATE.items() if key != "IMAGE"}


class Action(NamedTuple):
    verb: str
    wish: Callable[[Core, Vm], None]
    end: str
    """the VM's state when it is done"""
    status: str
    """of its server then; empty when there is to be none"""
    template: Mapping[str, str] = TEMPLATE


ACTIONS = {
    "deploy": Action("DEPLOY", lambda _core, _vm: None, "RUNNING", "active"),
    "deploy without IMAGE": Action("DEPLOY", lambda _core, _vm: None, "RUNNING", "active", DISKLESS),
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
    for kind in ("server", "drive"):
        for one in site.endpoint.call(f"/{kind}s/info").json():
            site.endpoint.call(f"/{kind}s/{one[kind]}/destroy")


def made(site: Site, kind: str, vm: Vm) -> list[dict[str, str]]:
    """The servers or drives that carry the VM's keys."""
    return [one for one in site.endpoint.call(f"/{kind}/info").json() if one.get("user:one-vm") == str(vm.id)]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", list(ACTIONS))
def test_a_driver_killed_at_any_call_of_an_action_leaves_one_server_or_none(
    site: Site, proxy: Proxy, name: str, moment: str
) -> None:
    action = ACTIONS[name]
    with site.core("7.4.0") as core:
        host = core.create_host("eh")
        core.start_vmm()
        for number in range(20):
            vm = core.create_vm(action.template)
            if action.verb != "DEPLOY":
                core.deploy(vm, host)
                core.wait(vm, "RUNNING")
            left = kill_at(lambda: core.kill("vmm"), proxy, number, moment)
            if action.verb == "DEPLOY":
                core.deploy(vm, host)
            action.wish(core, vm)
            until(
                lambda left=left, vm=vm: left != [-1] and (not left or vm.state == action.end), "a kill or the end", 60
            )
            proxy.faults.clear()
            if left:
                break
            core.start_vmm()
            if vm.state != action.end:  # it may have been killed at a later look of its own
                core.request(action.verb, vm)
            core.wait(vm, action.end)
            wanted = bool(action.status) and "IMAGE" in action.template
            until(lambda vm=vm, wanted=wanted: len(made(site, "drives", vm)) == wanted, "no drive but the server's")
            servers = made(site, "servers", vm)
            assert [one["status"] for one in servers] == [action.status] * bool(action.status), (number, proxy.calls)
            drives = [one["drive"] for one in made(site, "drives", vm)]
            assert [one["ide:0:0"] for one in servers if "ide:0:0" in one] == drives
        assert number >= 2, "it was killed at two calls at least"


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
