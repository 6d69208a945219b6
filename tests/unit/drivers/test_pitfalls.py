# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The 22 pitfalls of opennebula-drivers 7, one test each. Most have more tests in the files beside this one."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.transfer_driver import ends
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.unsupported import refusal
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.action_table import Purpose, purpose
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.vm import from_payload
from tests.core import CoreFailure
from tests.core.speech import vm_document, vmm_line
from tests.unit.drivers.conftest import VNC_SECRET, Site, until
from tests.unit.drivers.proxy import Proxy
from tests.unit.drivers.simulation import World


@pytest.fixture
def world() -> Iterator[World]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        made = World(Path(folder))
        yield made
        made.close()


def running(world: World, *, image: bool = False) -> int:
    vm = world.create(image=image)
    world.deploy(vm, world.host)
    world.settle()
    assert vm.state == "RUNNING"
    return vm.id


def test_pitfall_1_a_second_deploy_makes_no_second_server(world: World) -> None:
    vm = world.model.vms[running(world)]
    first = vm.deploy_id
    vm.state = "BOOT"
    world.retry(vm)
    world.settle()
    world.judge()
    assert vm.deploy_id == first


def test_pitfall_2_a_delete_during_deploy_leaves_nothing(world: World) -> None:
    vm = world.create(image=True)
    world.wish = lambda: world.delete(vm)
    world.events = lambda call: "wish" if call == "POST /servers/create" else "fine"
    world.deploy(vm, world.host)
    world.settle()
    assert vm.state == "DONE"
    world.judge()


def test_pitfall_3_a_terminate_while_off_releases_the_server_and_only_then(world: World) -> None:
    vm = world.model.vms[running(world, image=True)]
    world.poweroff(vm, hard=True)
    world.settle()
    assert not ends(from_payload(vm_document(world.release, vm, 0)))
    assert len(world.servers()) == 1
    world.terminate(vm)
    world.judge()
    assert world.servers() == []


def test_pitfall_4_cancel_in_a_power_off_keeps_the_server(world: World) -> None:
    vm = world.model.vms[running(world)]
    for off, state in ((world.poweroff, "POWEROFF"), (world.undeploy, "UNDEPLOYED")):
        off(vm, hard=True)
        world.settle()
        assert vm.state == state
        assert [server["status"] for server in world.servers()] == ["stopped"]
        world.resume(vm)
        world.settle()


def test_pitfall_5_a_listing_from_before_an_action_changes_no_state(site: Site) -> None:
    with Proxy(site.endpoint.url) as proxy:
        site.configure(EHURI=proxy.url)
        with site.core("7.4.0", grace=0.0) as core:
            core.start_vmm()
            core.start_im()
            vm = site.running(core)
            proxy.fault("GET /servers/info", after=0.8)
            until(lambda: proxy.faults[0].times == 0, "a listing on its way")
            core.poweroff(vm, hard=True)
            core.wait(vm, "POWEROFF")
            time.sleep(1.5)
            core.check()
            assert vm.state == "POWEROFF"


def test_pitfall_6_a_listing_that_failed_says_nothing_about_vms(site: Site) -> None:
    with Proxy(site.endpoint.url) as proxy:
        site.configure(EHURI=proxy.url)
        with site.core("7.4.0", grace=0.0) as core:
            core.start_vmm()
            core.start_im()
            vm = site.running(core)
            core.wait_for(lambda: vm.address, "its address")
            proxy.fault("GET /servers/info", status=503, times=99)
            until(lambda: proxy.faults[0].times < 94, "failed listings", 60)
            assert vm.state == "RUNNING"


def test_pitfall_7_a_short_silence_of_the_cloud_fails_no_host(site: Site) -> None:
    with Proxy(site.endpoint.url) as proxy:
        site.configure(EHURI=proxy.url, GRACE=60)
        with site.core("7.4.0") as core:
            core.start_im()
            host = core.create_host("eh")
            core.wait_host(host, "MONITORED")
            proxy.fault("GET /servers/info", status=503, times=99)
            until(lambda: proxy.faults[0].times < 94, "failed listings", 60)
            assert host.state == "MONITORED"


def test_pitfall_8_a_driver_leaves_when_its_core_is_gone_and_its_signals_work(site: Site) -> None:
    core = site.core("5.10.5")
    core.start_vmm()
    core.start_im()
    assert core.vmm is not None
    assert core.im is not None
    until(lambda: "SigBlk:\t0000000000000000" in Path(f"/proc/{core.im.pid}/status").read_text(), "open signals")
    os.kill(core.im.pid, signal.SIGTERM)
    assert core.im.reap(5) is not None
    core.im.kill()
    core.vmm.stop(3, finalize=False)


def test_pitfall_9_the_deploy_id_is_one_word_and_stays(world: World) -> None:
    vm = world.model.vms[running(world)]
    first = vm.deploy_id
    assert first == world.servers()[0]["server"]
    vm.deploy_id = f"one-{vm.id}"  # recover --success on a VM that had none
    world.poweroff(vm, hard=True)
    world.settle()
    world.resume(vm)
    world.settle()
    assert vm.deploy_id == first


def test_pitfall_10_every_action_is_answered_in_bounded_time(world: World) -> None:
    vm = world.create(image=False)
    world.events = lambda call: "late" if call.startswith("POST") else "fine"
    began = world.clock.monotonic()
    world.deploy(vm, world.host)
    world.run()
    assert not +world.asked
    assert world.clock.monotonic() - began < 400
    world.events = lambda _call: "fine"
    world.delete(vm)
    world.settle(4)
    world.judge()


def test_pitfall_11_a_shutdown_is_answered_when_the_server_is_off(world: World) -> None:
    vm = world.model.vms[running(world)]
    seen: list[str] = []

    def events(call: str) -> str:
        if call.endswith("/destroy"):
            seen.append(world.servers()[0]["status"])
        return "fine"

    world.events = events
    world.terminate(vm)
    world.settle()
    assert (vm.state, seen) == ("DONE", ["stopped"])


def test_pitfall_12_actions_of_one_vm_never_overlap(world: World) -> None:
    vm = world.model.vms[running(world)]
    world.reboot(vm)
    world.reboot(vm, hard=True)
    assert [len(queue) for queue in world.queue.queues.values()] == [2]
    world.settle()
    answers = [line for line in world.lines if line.startswith("< RE")]
    assert [line.split()[1] for line in answers] == ["REBOOT", "RESET"]


def test_pitfall_13_deploy_of_a_vm_that_was_off_never_builds_another_server(world: World) -> None:
    vm = world.model.vms[running(world)]
    world.poweroff(vm, hard=True)
    world.settle()
    world.cloud.api(f"/servers/{vm.deploy_id}/destroy")
    world.resume(vm)
    world.settle()
    assert vm.state == "POWEROFF"
    assert "--recreate" in vm.error
    assert world.servers() == []


def test_pitfall_14_what_changed_while_off_counts_at_the_next_start(world: World) -> None:
    vm = world.model.vms[running(world)]
    world.poweroff(vm, hard=True)
    world.settle()
    vm.template = tuple(("EH", {**value, "MEMORY": "512", "TAGS": "new"}) if key == "EH" else (key, value) for key, value in vm.template)  # type: ignore[dict-item]  # fmt: skip  # noqa: E501
    world.resume(vm)
    world.settle()
    (server,) = world.servers()
    assert (server["mem"], server["tags"]) == (512, "new")


def test_pitfall_15_a_move_to_another_account_is_refused_before_anything_is_done(world: World) -> None:
    (world.root / "etc" / "vmm_eh" / "hosts").mkdir()
    (world.root / "etc" / "vmm_eh" / "hosts" / "farrc").write_text("EHURI=http://far\n")
    vm = world.model.vms[running(world)]
    world.request("MIGRATE", vm, {"MIGR_HOST": "far"})
    world.settle()
    assert "separate clouds" in vm.log[-1]
    assert [server["status"] for server in world.servers()] == ["active"]


def test_pitfall_16_a_poll_without_a_deploy_id_finds_the_server_or_says_nothing(site: Site) -> None:
    with site.core("5.10.5") as core:
        core.start_vmm()
        vm = site.running(core)
        vm.deploy_id = ""
        core.poll(vm)
        core.answered()
        assert core.replies("POLL", vm)[-1].facts["STATE"] == "a"
        site.endpoint.call(f"/servers/{site.servers()[0]['server']}/destroy")
        time.sleep(0.3)
        core.poll(vm)
        core.answered()
        assert core.replies("POLL", vm)[-1].facts["STATE"] == "-"


@pytest.mark.parametrize(
    ("release", "letter", "state"),
    [("2.0.1", "d", "UNKNOWN"), ("3.0.0", "d", "UNKNOWN"), ("3.2.1", "d", "UNKNOWN"), ("3.4.1", "d", "UNKNOWN"),
     ("3.6.0", "d", "UNKNOWN"), ("3.8.5", "d", "UNKNOWN"), ("4.0.1", "-", "RUNNING"), ("4.14.2", "-", "RUNNING")],
)  # fmt: skip
def test_pitfall_16_up_to_3_8_only_a_poll_can_say_that_a_server_is_gone(
    site: Site, release: str, letter: str, state: str
) -> None:
    """From 4.0 on the host's list says it; there ``d`` would mean POWEROFF sooner or later."""
    with site.core(release) as core:
        core.start_vmm()
        vm = site.running(core)
        site.endpoint.call(f"/servers/{vm.deploy_id}/destroy")
        time.sleep(0.3)
        core.poll(vm)
        core.answered()
        assert core.replies("POLL", vm)[-1].facts["STATE"] == letter
        assert vm.state == state


def test_in_3_8_a_cloud_that_cannot_be_asked_makes_no_server_gone(site: Site) -> None:
    with Proxy(site.endpoint.url) as proxy:
        site.configure(EHURI=proxy.url)
        with site.core("3.8.5") as core:
            core.start_vmm()
            vm = site.running(core)
            proxy.fault("GET /servers/info", status=503, times=1000)
            time.sleep(0.3)
            core.poll(vm)
            core.answered()
            assert core.replies("POLL", vm)[-1].facts["STATE"] == "-"
            assert vm.state == "RUNNING"


@pytest.mark.parametrize(("action", "field"), [("UPDATESG", "SECURITY_GROUP_ID"), ("UPDATENIC", "VIRTUAL_NETWORK_ID")])
def test_pitfall_17_the_object_s_id_comes_first_and_updateconf_succeeds(world: World, action: str, field: str) -> None:
    vm = world.model.vms[running(world)]
    world.request(action, vm, {field: "3"})
    world.request("UPDATECONF", vm)
    assert any(
        line.startswith(f"< {action} FAILURE {vm.id} 3 {refusal(action).partition(':')[0]}") for line in world.lines
    )
    assert any(line.startswith(f"< UPDATECONF SUCCESS {vm.id}") for line in world.lines)


@pytest.mark.parametrize("action", ["UPDATESG", "UPDATENIC"])
def test_without_an_object_s_id_there_is_none_to_repeat_and_one_answer_all_the_same(world: World, action: str) -> None:
    """No core leaves it out; what holds is that the request is answered once, in a sentence."""
    number = running(world)
    said: list[bytes] = []
    world.service._send = said.append
    world.service.accept(vmm_line(world.release, action, world.model.vms[number], world.var, 0))
    assert [line.split(b" ", 3)[:3] for line in said] == [[action.encode(), b"FAILURE", b"%d" % number]]
    assert said[0].split(b" ", 3)[3] == refusal(action).encode() + b"\n"


def test_pitfall_18_no_secret_reaches_a_log_or_an_answer(site: Site) -> None:
    with Proxy(site.endpoint.url) as proxy:
        site.configure(EHURI=proxy.url)
        proxy.fault("POST /servers/create", status=500, code="failed", body=f"bad {VNC_SECRET} {site.endpoint.key}")
        with site.core("7.4.0") as core:
            core.start_vmm()
            vm = core.create_vm(site.template())
            core.deploy(vm, core.create_host("eh"))
            core.wait(vm, "BOOT_FAILURE")
            told = [*vm.log, *core.logs(), site.log()]
    assert not any(secret in text for secret in (VNC_SECRET, site.endpoint.key) for text in told)


def test_pitfall_19_units_are_those_of_each_side(site: Site) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        core.start_im()
        vm = site.running(core)
        core.wait_for(lambda: vm.monitoring.get("MEMORY"), "its facts")
        assert (vm.monitoring["CPU"], vm.monitoring["MEMORY"]) == ("25", str(500 * 1024))


def test_pitfall_20_a_second_front_end_finds_the_same_truth_and_undoes_nothing_of_it(world: World) -> None:
    """The first one fails in the middle of a recreate; the second finishes it; then the first comes back."""
    vm = world.model.vms[running(world, image=True)]
    world.events = lambda call: "kill before" if call.endswith("/destroy") else "fine"
    world.recreate(vm)
    other = world.var / "of the first"
    start, world.start = world.start, lambda: None  # type: ignore[method-assign]
    world.run()
    world.start = start  # type: ignore[method-assign]
    for file in world.var.glob("eh_journal.sqlite*"):
        file.rename(f"{other}{file.name.removeprefix('eh_journal.sqlite')}")
    world.events = lambda _call: "fine"
    world.start()
    world.recreate(vm)
    world.settle()
    world.deploy(vm, world.host)
    world.settle()
    assert vm.state == "RUNNING"
    world.journal.close()
    for file in world.var.glob("of the first*"):
        file.replace(world.var / f"eh_journal.sqlite{file.name.removeprefix('of the first')}")
    world.start()
    world.settle(4)
    world.judge()
    assert len(world.servers()) == 1


def test_pitfall_21_host_in_eh_is_honoured_and_not_needed(world: World) -> None:
    text = 'EH=[CPUMHZ="500", MEMORY="256", HOST="EH", NAME="mine"]\nEH=[CPUMHZ="900", MEMORY="256", HOST="far"]'
    vm = world.create_vm(text)
    world.deploy(vm, world.host)
    world.settle()
    assert [server["name"] for server in world.servers()] == ["mine"]


def test_pitfall_22_the_lcm_state_decides_and_nothing_else() -> None:
    assert purpose("DEPLOY", "6.0-7.4", 2) is Purpose.CREATE
    assert purpose("DEPLOY", "6.0-7.4", 20) is Purpose.START
    assert purpose("CANCEL", "6.0-7.4", 18) is Purpose.STOP
    assert purpose("CANCEL", "6.0-7.4", 12) is Purpose.DESTROY


def test_the_stand_in_for_the_core_does_judge(world: World) -> None:
    """A world in which something is left is not at peace."""
    vm = world.model.vms[running(world, image=True)]
    vm.state = "DONE"
    with pytest.raises(AssertionError, match="has left a server"):
        world.judge()
    assert CoreFailure.__mro__[1] is AssertionError
