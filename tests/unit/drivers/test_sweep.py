# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the core tells no driver: VMs that end while they are off, that move away, that are imported.

The drivers run as the core starts them, and ask a core that answers by XML-RPC. With the listing period of these tests
a look comes every 0.8 s, and sightings are 0.2 s apart.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.core import Core, Host, Vm
from tests.unit.drivers.conftest import Installation, Site, until
from tests.unit.drivers.test_transfer_driver import Teller, drives_of

LOOKS = 3
"""that are waited for before nothing is said to have happened"""


def with_copy(site: Site) -> dict[str, str]:
    return {"CPUMHZ": "500", "MEMORY": "256", "IMAGE": f"ide:0:0 {site.drive}"}


@pytest.fixture
def old(site: Site) -> Iterator[Core]:
    """OpenNebula 2.0.1, where no driver hears of a delete while off."""
    with site.core("2.0.1") as core:
        core.listen()
        core.start_vmm()
        yield core


def suspended(site: Site, core: Core) -> Vm:
    vm = site.running(core, with_copy(site))
    core.suspend(vm)
    return core.wait(vm, "SUSPENDED")


def gone(site: Site, vm: Vm) -> None:
    until(lambda: not any(one.get("user:one-vm") == str(vm.id) for one in site.servers()), "the end of the server")
    until(lambda: not drives_of(site, vm), "the end of its drives")


def looked(core: Core, times: int = LOOKS) -> None:
    """Wait until the core was asked so often."""
    assert core.rpc is not None
    asked = core.rpc.count("vm.info") + times
    until(lambda: core.rpc is not None and core.rpc.count("vm.info") >= asked, f"{times} questions")


# --- VMs that end while they are off


@pytest.mark.parametrize("off", ["SUSPENDED", "STOPPED"])
def test_under_2_0_a_vm_that_is_deleted_while_off_leaves_neither_server_nor_copy(
    site: Site, old: Core, off: str
) -> None:
    vm = site.running(old, with_copy(site))
    other = site.running(old, with_copy(site))
    (old.suspend if off == "SUSPENDED" else old.stop)(vm)
    old.wait(vm, off)
    looked(old)
    assert set(site.states()) == {vm.deploy_id, other.deploy_id}, "the VM still needs it"
    old.delete(vm)
    assert vm.state == "DONE"
    gone(site, vm)
    assert site.states() == {other.deploy_id: "active"}
    assert len(drives_of(site, other)) == 1
    old.wait_for(lambda: [text for text in old.logs() if f"VM {vm.id} had left" in text], "word in oned.log")


@pytest.mark.parametrize(("release", "end"), [("5.10.5", "undeploy"), ("7.4.0", "poweroff"), ("6.10.5", "suspend")])
def test_later_releases_get_the_same_where_the_transfer_driver_was_not_run(site: Site, release: str, end: str) -> None:
    """As in a cluster without the system datastore ``eh``."""
    with site.core(release) as core:
        core.listen()
        core.start_vmm()
        vm = site.running(core, with_copy(site))
        getattr(core, end)(vm)
        core.wait(vm, {"undeploy": "UNDEPLOYED", "poweroff": "POWEROFF", "suspend": "SUSPENDED"}[end])
        core.terminate(vm)
        gone(site, vm)


def test_a_server_that_runs_though_its_vm_has_ended_goes_too(site: Site, old: Core) -> None:
    """The driver was not there when the core told of the end."""
    vm = site.running(old, with_copy(site))
    old.model.turn(vm, "DONE", 0.0)
    gone(site, vm)


def test_drives_that_an_ended_vm_has_left_without_a_server_go(site: Site, old: Core) -> None:
    vm = suspended(site, old)
    (drive,) = drives_of(site, vm)
    site.endpoint.call(f"/servers/{vm.deploy_id}/destroy")
    looked(old)
    assert drives_of(site, vm) == [drive]
    old.delete(vm)
    gone(site, vm)


ANSWERS: dict[str, Any] = {
    "an error": lambda _method, _answer: [False, "[VirtualMachineInfo] Error getting virtual machine [0]."],
    "nothing": lambda _method, _answer: [True, ""],
    "no list": lambda _method, _answer: "DONE",
    "another document": lambda _method, _answer: [True, "<VM><ID>77</ID><STATE>6</STATE></VM>"],
    "half a document": lambda _method, answer: [answer[0], answer[1][:200]],
    "a VM that failed": lambda _method, answer: [answer[0], answer[1].replace("<STATE>6<", "<STATE>7<")],
    "a VM that starts anew": lambda _method, answer: [answer[0], answer[1].replace("<STATE>6<", "<STATE>1<")],
    "another server": lambda _method, answer: [
        answer[0],
        answer[1]
        .replace("<DEPLOY_ID>", "<DEPLOY_ID>3b1e2a77-9f0e-4b57-8a58-16b0a2f1b0c4<!--")
        .replace("</DEPLOY_ID>", "--></DEPLOY_ID>"),
    ],
}


@pytest.mark.parametrize("answer", list(ANSWERS))
def test_nothing_goes_unless_the_core_says_clearly_that_the_vm_has_ended(site: Site, old: Core, answer: str) -> None:
    assert old.rpc is not None
    old.rpc.answer = ANSWERS[answer]
    vm = suspended(site, old)
    old.delete(vm)
    looked(old, 2 * LOOKS)
    assert site.states() == {vm.deploy_id: "stopped"}
    assert len(drives_of(site, vm)) == 1
    assert (answer == "another server") == any("names another server" in text for text in old.logs())
    old.rpc.answer = lambda _method, answer: answer
    gone(site, vm)


def test_nothing_goes_while_the_core_cannot_be_asked(site: Site) -> None:
    with site.core("2.0.1") as core:
        rpc = core.listen()
        rpc.close()
        core.start_vmm()
        vm = suspended(site, core)
        core.delete(vm)
        until(lambda: "sweep: OpenNebula at http://127.0.0.1:" in site.log(), "word in the driver's log")
        assert site.states() == {vm.deploy_id: "stopped"}


def test_nothing_goes_that_was_said_to_have_ended_once(site: Site, old: Core) -> None:
    assert old.rpc is not None
    vm = suspended(site, old)
    said: list[str] = []

    def once(method: str, answer: list[Any]) -> list[Any]:
        if method == "vm.info":
            said.append(method)
        return [answer[0], answer[1].replace("<STATE>5<", "<STATE>6<" if len(said) % 2 else "<STATE>5<")]

    old.rpc.answer = once
    looked(old, 3 * LOOKS)
    assert site.states() == {vm.deploy_id: "stopped"}


def test_what_is_another_cloud_s_or_unknown_to_this_core_stays(site: Site, old: Core) -> None:
    vm = suspended(site, old)
    properties = {"cpu": 500, "mem": 256, "user:one-vm": str(vm.id), "user:one-host": "eh", "user:one-seq": "0"}
    theirs, lost = (
        site.endpoint.call("/servers/create", {**properties, **marks}).json()["server"]
        for marks in (
            {"name": "theirs", "user:one-cloud": "another-cloud"},
            {"name": "lost", "user:one-cloud": site.cloud, "user:one-vm": "4711"},
        )
    )
    old.delete(vm)
    until(lambda: vm.deploy_id not in site.states(), "the end of the VM's own server")
    looked(old)
    assert set(site.states()) == {theirs, lost}


def test_the_core_is_asked_once_more_before_anything_is_destroyed(site: Site, old: Core) -> None:
    """It says twice that the VM has ended, and takes that back when its server is about to go."""
    vm = suspended(site, old)
    said: list[str] = []

    def wavers(method: str, answer: Any) -> Any:
        if method == "vm.info" and "<STATE>6<" in answer[1]:
            said.append(method)
            return [answer[0], answer[1].replace("<STATE>6<", "<STATE>5<")] if len(said) > 2 else answer
        return answer

    assert old.rpc is not None
    old.rpc.answer = wavers
    old.delete(vm)
    until(lambda: len(said) > 3, "a question after the last")
    assert set(site.states()) == {vm.deploy_id}


def test_a_core_that_is_slow_holds_up_no_action_and_not_the_driver_s_end(site: Site) -> None:
    waiting = threading.Event()
    with site.core("7.4.0") as core:
        rpc = core.listen()
        rpc.answer = lambda _method, answer: [waiting.wait(60), answer][1]
        core.start_vmm()
        first = site.running(core)
        until(lambda: rpc.count("vm.info"), "a question")
        core.poweroff(first, hard=True)
        core.wait(first, "POWEROFF", 15)
        core.shut_down()
        waiting.set()


def test_two_front_ends_look_at_one_account_and_harm_nothing(
    site: Site, old: Core, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The second has drivers and a journal of its own, and asks the same core."""
    second = Installation(tmp_path_factory.mktemp("second") / "one")
    second.configure(**site.settings)
    assert old.rpc is not None
    with Core("2.0.1", one_location=second.root, env={"HOME": str(old.rpc.home)}) as follower:
        follower.start_vmm()
        kept, vm = site.running(old, with_copy(site)), suspended(site, old)
        old.delete(vm)
        gone(site, vm)
        for _unused in range(3):
            old.suspend(kept)
            old.wait(kept, "SUSPENDED")
            old.resume(kept)
            old.wait(kept, "RUNNING")
        assert site.states() == {kept.deploy_id: "active"}
        assert len(drives_of(site, kept)) == 1


# --- VMs that move to a host of another driver


def test_under_2_0_a_vm_that_runs_on_another_driver_s_host_leaves_no_server(site: Site, old: Core) -> None:
    vm, stays = site.running(old, with_copy(site)), site.running(old, with_copy(site))
    old.move(vm, old.create_host("node1", vm_mad="vmm_kvm"))
    gone(site, vm)
    assert site.states() == {stays.deploy_id: "active"}
    (notice,) = [text for text in old.logs() if "another VM driver, and has left" in text]
    assert notice.startswith(f"VM {vm.id} runs on host node1")
    assert f"has left {vm.deploy_id} at ElasticHosts. It is destroyed if that is still so in" in notice


def test_from_5_4_on_a_vm_that_has_moved_keeps_its_server_and_the_log_says_so(site: Site) -> None:
    """A front-end that is cut off may believe for long that the VM is still there (High Availability)."""
    with site.core("7.4.0") as core:
        core.listen()
        core.start_vmm()
        vm = site.running(core)
        vm.host = core.create_host("node1", vm_mad="kvm")
        core._record(vm)
        core.wait_for(lambda: [text for text in core.logs() if f"has left {vm.deploy_id}" in text], "word in the log")
        looked(core)
        assert site.states() == {vm.deploy_id: "active"}
        (notice,) = [text for text in core.logs() if f"VM {vm.id} runs on host node1" in text]
        assert notice.endswith("Nothing was destroyed: destroy it by hand if it is not needed.")


@pytest.mark.parametrize("state", ["SAVE_MIGRATE", "BOOT", "UNKNOWN", "FAILED", "SUSPENDED", "STOPPED"])
def test_a_migration_that_is_not_over_or_has_failed_takes_nothing(site: Site, old: Core, state: str) -> None:
    vm = site.running(old)
    old.move(vm, old.create_host("node1", vm_mad="vmm_kvm"))
    old.model.turn(vm, state, 0.0)
    site.endpoint.call(f"/servers/{vm.deploy_id}/stop")
    looked(old)
    assert site.states() == {vm.deploy_id: "stopped"}


def test_a_host_of_the_same_driver_or_an_unknown_one_proves_nothing(site: Site, old: Core) -> None:
    vm, lost = site.running(old), site.running(old, site.template(site.new_drive()))
    old.move(vm, old.create_host("eh2"))
    old.move(lost, Host(99, "removed", vm_mad="vmm_kvm"))
    for one in (vm, lost):
        site.endpoint.call(f"/servers/{one.deploy_id}/stop")
    looked(old, 4 * LOOKS)
    assert len(site.states()) == 2


# --- servers that importvm takes over


def wild(site: Site) -> str:
    properties = {"name": "mail", "cpu": 1000, "mem": 512, "nic:0:dhcp": "auto", "nic:0:model": "e1000"}
    uuid: str = site.endpoint.call("/servers/create", properties).json()["server"]
    return uuid


TEMPLATE = {"CPUMHZ": "1000", "MEMORY": "512"}


@pytest.mark.parametrize("release", ["4.14.2", "5.10.5", "5.12.0", "6.10.0"])
def test_an_imported_server_is_marked_and_monitored_without_a_word_of_the_core(site: Site, release: str) -> None:
    uuid, stranger = wild(site), wild(site)
    with site.core(release) as core:
        teller = Teller(site, core)
        core.start_vmm()
        core.start_im()
        host = core.create_host("eh")
        core.wait_for(lambda: uuid in host.wilds, "a wild server")
        vm = core.importvm(uuid, host, TEMPLATE)

        def round_() -> None:
            if core.release.im != "5.12-7.4":
                core.monitor(host)
                core.answered()

        def monitored() -> bool:
            round_()
            return bool(vm.address) and uuid not in host.wilds

        until(monitored, "the VM with its address, no longer wild")
        core.wait(vm, "RUNNING")
        assert core.replies("DEPLOY", vm) == [], "the core has sent none"
        assert stranger in host.wilds
        marks = {one["server"]: one for one in site.servers()}
        assert marks[uuid]["user:one-vm"] == str(vm.id)
        assert (marks[uuid]["user:one-host"], marks[uuid]["user:one-seq"]) == ("eh", "0")
        assert marks[uuid]["persistent"] == "true"
        assert not any(key.startswith("user:") for key in marks[stranger])
        core.poweroff(vm)
        core.wait(vm, "POWEROFF")
        core.resume(vm)
        core.wait(vm, "RUNNING")
        core.poweroff(vm, hard=True)
        core.wait(vm, "POWEROFF")
        core.terminate(vm)
        assert teller.delete(vm).returncode == 0
        assert site.states() == {stranger: "active"}


def test_a_server_that_is_imported_while_off_is_marked_too(site: Site) -> None:
    uuid = wild(site)
    site.endpoint.call(f"/servers/{uuid}/set", {"persistent": "true"})
    site.endpoint.call(f"/servers/{uuid}/stop")
    with site.core("6.10.0") as core:
        core.listen()
        core.start_vmm()
        vm = core.importvm(uuid, core.create_host("eh"), TEMPLATE, state="POWEROFF")
        until(lambda: site.servers()[0].get("user:one-vm") == str(vm.id), "the mark")
        core.terminate(vm)
        gone(site, vm)


@pytest.mark.parametrize("action", ["poweroff", "suspend", "reboot", "terminate"])
def test_the_first_action_marks_an_imported_server_before_it_acts(site: Site, action: str) -> None:
    """The core cannot be asked here."""
    uuid = wild(site)
    log = site.installation.var / "one_vmm_eh.log"
    with site.core("5.10.5") as core:
        core.start_vmm()
        vm = core.importvm(uuid, core.create_host("eh"), TEMPLATE)
        getattr(core, action)(vm)
        core.answered()
        assert log.exists()
        if action == "terminate":
            core.wait(vm, "DONE")
            assert site.servers() == []
            return
        (server,) = site.servers()
        assert (server["user:one-cloud"], server["user:one-vm"]) == (site.cloud, str(vm.id))


@pytest.mark.parametrize("marks", [{"user:one-cloud": "another-cloud", "user:one-vm": "0"}, {"user:one-vm": "0"}])
def test_a_server_with_any_mark_is_never_taken_over(site: Site, marks: dict[str, str]) -> None:
    uuid = wild(site)
    site.endpoint.call(f"/servers/{uuid}/set", marks)
    with site.core("5.10.5") as core:
        rpc = core.listen()
        core.start_vmm()
        vm = core.importvm(uuid, core.create_host("eh"), TEMPLATE)
        second = wild(site)
        until(lambda: rpc.count("vmpool.info") >= LOOKS, "looks at the core's VMs")
        core.poweroff(vm)
        core.answered()
        assert vm.state == "RUNNING"
        assert "is not marked as that of VM" in vm.error
        (server,) = [one for one in site.servers() if one["server"] != second]
        assert {key: value for key, value in server.items() if key.startswith("user:")} == marks
        assert all(call[2] > 0 for call in [one for one in rpc.calls if one[0] == "vmpool.info"][1:]), "only new VMs"


def test_releases_without_such_an_import_are_not_asked_for_all_their_vms(site: Site) -> None:
    wild(site)
    for release in ("3.8.5", "7.4.0"):
        with site.core(release) as core:
            rpc = core.listen()
            core.start_vmm()
            site.running(core, site.template(site.new_drive()))
            looked(core, 1)
            core.shut_down()
            assert rpc.count("vmpool.info") == 0
            assert rpc.count("vm.info") >= 1
        (site.installation.root / "home" / ".one" / "one_auth").unlink()
        (site.installation.root / "home" / ".one" / "one_endpoint").unlink()
        (site.installation.root / "home" / ".one").rmdir()


def test_a_copy_that_another_driver_has_given_up_goes_when_no_attempt_takes_so_long(site: Site) -> None:
    site.configure(IMAGE_TIMEOUT=2, ACTION_TIMEOUT=4)
    with site.core("7.4.0") as core:
        core.listen()
        core.start_vmm()
        vm = site.running(core, with_copy(site))
        (own,) = drives_of(site, vm)
        info = site.endpoint.call(f"/drives/{own}/info").json()
        marks = {key: value for key, value in info.items() if key.startswith("user:one-")}
        marks["user:one-attempt"] = "of a driver whose journal is gone"
        spare = site.endpoint.call("/drives/create", {"name": "spare", "size": "1M", **marks}).json()["drive"]
        elsewhere = {**marks, "user:one-device": "ide:0:1"}
        kept = site.endpoint.call("/drives/create", {"name": "kept", "size": "1M", **elsewhere}).json()["drive"]
        core.wait_for(lambda: [text for text in core.logs() if f"Drive {spare}, which was" in text], "its end", 120)
        assert sorted(drives_of(site, vm)) == sorted([own, kept])
