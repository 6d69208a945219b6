# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of clouds, networks and processes: exactly one server or none, every request answered once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.core import Core, Vm
from tests.unit.drivers.conftest import Site, until
from tests.unit.drivers.proxy import Proxy

RELEASES = ("2.0.1", "7.4.0")


def begin(core: Core, site: Site) -> Vm:
    host = next(iter(core.model.hosts.values()), None) or core.create_host("eh")
    vm = core.create_vm(site.template(site.new_drive()))
    core.deploy(vm, host)
    return vm


@pytest.mark.parametrize("release", RELEASES)
def test_a_create_call_whose_answer_is_lost_makes_one_server(site: Site, proxy: Proxy, release: str) -> None:
    with site.core(release) as core:
        core.start_vmm()
        proxy.fault("POST /servers/create", cut="after")
        vm = begin(core, site)
        core.wait(vm, "RUNNING")
        assert site.states() == {vm.deploy_id: "active"}
        assert proxy.count("POST /servers/create") == 1


def test_a_create_call_that_never_arrived_is_made_again_after_looking(site: Site, proxy: Proxy) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        proxy.fault("POST /servers/create", cut="before")
        vm = begin(core, site)
        core.wait(vm, "RUNNING", 25)
        assert site.states() == {vm.deploy_id: "active"}
        between = proxy.calls[proxy.calls.index("POST /servers/create") + 1 :]
        assert between.index("GET /servers/info") < between.index("POST /servers/create")


def test_a_create_call_that_has_its_effect_after_it_was_given_up_leaves_nothing_behind(
    site: Site, proxy: Proxy
) -> None:
    """The answer comes too late, no listing comes at all: FAILURE, and the next driver clears up what appeared."""
    site.configure(API_TIMEOUT=0.5, ACTION_TIMEOUT=2)
    with site.core("7.4.0") as core:
        core.start_vmm()
        proxy.fault("POST /servers/create", before=3.0)
        vm = begin(core, site)
        until(lambda: proxy.count("POST /servers/create"), "the call")
        proxy.fault("GET /servers/info", times=50, status=503)
        core.wait(vm, "BOOT_FAILURE")
        assert "Whether a server was made is not known yet" in vm.log[-1]
    until(site.servers, "the server that came too late")
    proxy.faults.clear()
    site.configure(API_TIMEOUT=5, ACTION_TIMEOUT=30)
    with site.core("7.4.0") as core:
        core.start_vmm()
        until(lambda: not site.servers(), "that the server nobody wants is gone")


@pytest.mark.parametrize("release", RELEASES)
def test_a_driver_killed_between_create_and_answer_finds_its_server_again(
    site: Site, proxy: Proxy, release: str
) -> None:
    with site.core(release) as core:
        core.start_vmm()
        proxy.fault("POST /servers/create", meanwhile=lambda: core.kill("vmm"))
        vm = begin(core, site)
        until(lambda: len(site.servers()) == 1, "the server")
        core.start_vmm()
        core.retry(vm)
        core.wait(vm, "RUNNING")
        assert site.states() == {vm.deploy_id: "active"}


@pytest.mark.parametrize("release", RELEASES)
def test_a_delete_during_the_deploy_leaves_no_server(site: Site, proxy: Proxy, release: str) -> None:
    with site.core(release) as core:
        core.start_vmm()
        proxy.fault("POST /servers/create", after=0.7)
        vm = begin(core, site)
        until(site.servers, "the server that is being made")
        core.delete(vm)
        core.wait(vm, "DONE")
        core.answered()
        assert site.servers() == []


def test_a_deploy_that_the_core_gives_up_takes_back_what_it_made(site: Site, proxy: Proxy) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        proxy.fault("POST /servers/create", after=0.7)
        vm = begin(core, site)
        until(site.servers, "the server that is being made")
        core.say("vmm", b"DRIVER_CANCEL  %d " % vm.id)
        core.wait(vm, "BOOT_FAILURE")
        assert site.servers() == []


def test_recreate_during_the_deploy_ends_with_one_new_server(site: Site, proxy: Proxy) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        proxy.fault("POST /servers/create", after=0.7)
        vm = begin(core, site)
        until(site.servers, "the server that is being made")
        (first,) = site.states()
        core.recreate(vm)
        core.wait(vm, "PENDING")
        core.deploy(vm, next(iter(core.model.hosts.values())))
        core.wait(vm, "RUNNING")
        assert site.states() == {vm.deploy_id: "active"}
        assert vm.deploy_id != first


def test_one_slow_deploy_delays_no_other(site: Site, proxy: Proxy) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm(arguments="-t 4")
        proxy.fault("POST /servers/create", after=3.0)
        slow = begin(core, site)
        until(lambda: proxy.count("POST /servers/create"), "the slow call")
        others = [begin(core, site) for _unused in range(7)]
        for vm in others:
            core.wait(vm, "RUNNING", 2.5)
        assert slow.state == "BOOT"
        core.wait(slow, "RUNNING")
        assert len(site.servers()) == 8


def test_guests_that_take_their_time_to_shut_down_hold_up_nobody(site: Site, proxy: Proxy) -> None:
    """Two places, and six actions that wait for their guests: a deploy still gets through."""
    site.configure(SHUTDOWN_TIMEOUT=2)
    with site.core("7.4.0") as core:
        core.start_vmm(arguments="-t 2")
        vms = [begin(core, site) for _unused in range(6)]
        for vm in vms:
            core.wait(vm, "RUNNING")
        proxy.fault("/shutdown", times=6, status=204, body="")
        for vm in vms:
            core.poweroff(vm)
        until(lambda: proxy.count("/shutdown") == 6, "six shutdowns under way", 1)
        late = begin(core, site)
        core.wait(late, "RUNNING", 1)
        assert [vm.state for vm in vms] == ["SHUTDOWN_POWEROFF"] * 6
        core.answered()


def test_any_number_of_deploys_that_arrive_together_share_one_look_before_their_create_calls(
    site: Site, proxy: Proxy
) -> None:
    """After it each looks again whether its server is the VM's only one."""
    with site.core("7.4.0") as core:
        core.start_vmm(arguments="-t 2")
        proxy.fault("GET /servers/info", after=0.5)
        vms = [begin(core, site) for _unused in range(10)]
        for vm in vms:
            core.wait(vm, "RUNNING")
        assert proxy.count("GET /servers/info") <= 3 + len(vms)
        before = proxy.calls[: proxy.calls.index("POST /servers/create")]
        assert before.count("GET /servers/info") <= 3


def test_any_number_of_polls_cost_one_listing(site: Site, proxy: Proxy) -> None:
    site.configure(LISTING_PERIOD=30)
    with site.core("2.0.1") as core:
        core.start_vmm()
        vms = [begin(core, site) for _unused in range(8)]
        for vm in vms:
            core.wait(vm, "RUNNING")
        core.poll(vms[-1])
        core.answered()
        before = proxy.count("GET /servers/info")
        for vm in vms * 25:
            core.poll(vm)
        core.answered()
        assert {vm.monitoring["STATE"] for vm in vms} == {"a"}
        assert proxy.count("GET /servers/info") - before <= 1


def test_a_poll_right_after_an_action_never_tells_what_was_before(site: Site, proxy: Proxy) -> None:
    site.configure(LISTING_PERIOD=30)
    with site.core("3.8.5") as core:
        core.start_vmm()
        vm = begin(core, site)
        core.wait(vm, "RUNNING")
        core.poll(vm)
        core.answered()
        core.poweroff(vm, hard=True)
        core.wait(vm, "POWEROFF")
        core.poll(vm)
        core.answered()
        assert core.replies("POLL", vm)[-1].facts["STATE"] == "d"


def test_the_cloud_s_own_words_reach_the_user_and_nothing_is_left(site: Site, proxy: Proxy) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        for status, code in ((402, "billing"), (507, "full"), (500, "failed"), (409, "busy"), (429, "")):
            proxy.fault("POST /servers/create", status=status, code=code, body=f"no {status}\nsecond line", times=4)
            vm = begin(core, site)
            core.wait(vm, "BOOT_FAILURE")
            assert str(status) in vm.log[-1]
            proxy.faults.clear()
        assert site.servers() == []


@pytest.mark.parametrize("cut", ["before", "after"])
def test_an_action_cut_before_or_after_its_effect_is_finished_all_the_same(site: Site, proxy: Proxy, cut: str) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = begin(core, site)
        core.wait(vm, "RUNNING")
        steps: list[tuple[str, Callable[[], None], str]] = [
            ("/stop", lambda: core.poweroff(vm, hard=True), "POWEROFF"),
            ("/start", lambda: core.resume(vm), "RUNNING"),
            ("/shutdown", lambda: core.poweroff(vm), "POWEROFF"),
            ("/start", lambda: core.resume(vm), "RUNNING"),
            ("/destroy", lambda: core.terminate(vm, hard=True), "DONE"),
        ]
        for call, action, state in steps:
            fault = proxy.fault(call, cut=cut)
            action()
            core.wait(vm, state)
            assert fault.times == 0
        assert site.servers() == []


def test_every_request_under_way_when_the_core_ends_is_answered_or_given_up_in_time(site: Site, proxy: Proxy) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        proxy.fault("POST /servers/create", after=9, times=3)
        for _unused in range(3):
            begin(core, site)
        until(lambda: proxy.count("POST /servers/create") == 3, "the calls")
        began = time.monotonic()
        core.shut_down()
        assert time.monotonic() - began < 3


def test_reading_goes_on_while_everything_waits(site: Site, proxy: Proxy) -> None:
    """A core whose pipe is full stands still: 400 long lines are taken while every worker is busy.

    See opennebula-drivers 8.5.
    """
    with site.core("7.4.0") as core:
        core.start_vmm(arguments="-t 1")
        proxy.fault("POST /servers/create", after=1.5)
        vm = begin(core, site)
        until(lambda: proxy.count("POST /servers/create"), "the slow call")
        done = threading.Event()

        def write() -> None:
            for _unused in range(400):
                core.say("vmm", b"SNAPSHOTCREATE  99 " + b"A" * 4000)
            done.set()

        core.asked["vmm", "SNAPSHOTCREATE", 99] += 400
        threading.Thread(target=write, daemon=True).start()
        assert done.wait(1), "the driver does not read while its worker waits"
        core.wait(vm, "RUNNING")
        core.answered()
