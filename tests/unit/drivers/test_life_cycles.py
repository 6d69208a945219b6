# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed drivers, started as each release of OpenNebula starts them, against the real endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.core import Core, CoreFailure, administrator
from tests.core.judge import Answer
from tests.core.scheduler import SystemDatastore
from tests.support.endpoint import Endpoint
from tests.unit.drivers.conftest import FILES, Installation, Site


def test_under_2_0_a_vm_lives_from_deploy_to_shutdown(site: Site) -> None:
    with site.core("2.0.1") as core:
        core.start_vmm()
        core.start_im()
        host = core.create_host("eh")
        core.wait_host(host, "MONITORED")
        vm = core.create_vm(site.template())
        core.deploy(vm, host)
        core.wait(vm, "RUNNING")
        (server,) = site.servers()
        assert vm.deploy_id == server["server"]
        assert (server["name"], server["cpu"], server["mem"]) == ("bitrot", 500, 500)
        assert (server["user:one-cloud"], server["user:one-vm"]) == (site.cloud, str(vm.id))
        core.poll(vm)
        core.answered()
        assert vm.monitoring["STATE"] == "a"
        assert vm.address == server["nic:0:ip"]
        core.monitor(host)
        core.answered()
        assert (host.facts["USEDCPU"], host.facts["USEDMEMORY"]) == ("25", str(500 * 1024))
        core.terminate(vm)
        core.wait(vm, "DONE")
        assert site.servers() == []


def test_under_7_4_a_vm_is_monitored_powered_off_resumed_and_terminated(site: Site) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm(arguments="-t 15 eh")
        core.start_im(arguments="eh")
        host = core.create_host("eh")
        core.wait_host(host, "MONITORED")
        assert host.facts["HYPERVISOR"] == "elastichosts"
        assert (host.facts["TOTALCPU"], host.facts["TOTALMEMORY"]) == ("200", str(2048 * 1024))
        vm = core.create_vm(site.template())
        core.deploy(vm, host)
        core.wait(vm, "RUNNING")
        first = vm.deploy_id
        core.wait_for(lambda: vm.address, "an address")
        assert vm.address == site.servers()[0]["nic:0:ip"]
        core.poweroff(vm)
        core.wait(vm, "POWEROFF")
        assert site.states() == {first: "stopped"}
        core.resume(vm)
        core.wait(vm, "RUNNING")
        assert vm.deploy_id == first
        assert site.states() == {first: "active"}
        core.reboot(vm)
        core.reboot(vm, hard=True)
        core.answered()
        assert site.states() == {first: "active"}
        core.terminate(vm)
        core.wait(vm, "DONE")
        assert site.servers() == []


@pytest.mark.parametrize("release", ["2.2.1", "3.8.5", "4.2.0", "5.10.5", "5.12.0", "6.10.5"])
def test_the_same_drivers_serve_the_releases_between(site: Site, release: str) -> None:
    with site.core(release) as core:
        core.start_vmm()
        core.start_im()
        host = core.create_host("eh")
        core.wait_host(host, "MONITORED")
        vm = core.create_vm(site.template())
        core.deploy(vm, host)
        core.wait(vm, "RUNNING")
        core.suspend(vm)
        core.wait(vm, "SUSPENDED")
        core.resume(vm)
        core.wait(vm, "RUNNING")
        core.terminate(vm)
        core.wait(vm, "DONE")
        assert site.servers() == []


EH_DATASTORE = SystemDatastore(monitor=FILES / "tm_eh" / "monitor")
EVERY_SCHEDULER = [
    "2.0.1", "3.8.5", "4.0.1", "4.2.0", "4.4.1", "4.10.2", "4.14.2", "5.0.2", "5.10.5", "5.12.0", "6.10.0", "7.4.0",
]  # fmt: skip


def placed(core: Core, site: Site, disk: int = 0) -> None:
    """A VM that the scheduler has placed on the host runs."""
    core.start_vmm()
    core.start_im()
    host = core.wait_host(core.create_host("eh"), "MONITORED")
    vm = core.create_vm(site.template())
    core.schedule(vm, host, EH_DATASTORE, disk=disk)
    core.wait(vm, "RUNNING")


@pytest.mark.parametrize("release", EVERY_SCHEDULER)
def test_the_scheduler_of_every_release_places_a_vm(site: Site, release: str) -> None:
    with site.core(release) as core:
        placed(core, site)


@pytest.mark.parametrize("release", ["5.0.2", "5.12.0", "7.4.0"])
def test_a_datastore_that_is_not_shared_is_never_chosen_for_the_host(site: Site, release: str) -> None:
    """Every action of a transfer driver such as ssh would fail there."""
    with site.core(release) as core:
        core.start_im()
        host = core.wait_host(core.create_host("eh"), "MONITORED")
        with pytest.raises(CoreFailure, match="not enough capacity in the host's system datastore"):
            core.schedule(core.create_vm(site.template()), host, SystemDatastore(shared=False))


@pytest.mark.parametrize("release", ["4.4.1", "5.10.5", "7.4.0"])
def test_an_ordinary_disk_fits_too(site: Site, release: str) -> None:
    with site.core(release) as core:
        placed(core, site, disk=20480)


def test_power_off_hard_and_undeploy_keep_the_server(site: Site) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = site.running(core)
        for off, state in ((core.poweroff, "POWEROFF"), (core.undeploy, "UNDEPLOYED")):
            off(vm, hard=True)
            core.wait(vm, state)
            assert site.states() == {vm.deploy_id: "stopped"}
            core.resume(vm)
            core.wait(vm, "RUNNING")
        core.terminate(vm, hard=True)
        core.wait(vm, "DONE")
        assert site.servers() == []


def test_cpu_and_memory_changed_while_off_are_applied_at_the_next_start(site: Site) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        template = {key: value for key, value in site.template().items() if key not in ("CPUMHZ", "MEMORY")}
        vm = site.running(core, template, cpu=0.5, memory=512)
        assert (site.servers()[0]["cpu"], site.servers()[0]["mem"]) == (1000, 512)
        core.poweroff(vm)
        core.wait(vm, "POWEROFF")
        vm.template = tuple((k, {"CPU": "1", "MEMORY": "1024"}.get(k, v)) for k, v in vm.template)
        core.resume(vm)
        core.wait(vm, "RUNNING")
        assert (site.servers()[0]["cpu"], site.servers()[0]["mem"]) == (2000, 1024)


def test_a_guest_that_ignores_the_power_button_keeps_its_server(installation: Installation, deaf: Endpoint) -> None:
    site = Site(installation, deaf, SHUTDOWN_TIMEOUT=0.5)
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = site.running(core)
        core.terminate(vm)
        core.wait(vm, "RUNNING")
        assert "did not switch off within 0.5 s of the ACPI power button" in vm.log[-1]
        assert vm.error.startswith("SHUTDOWN: Use the hard form of the action, or raise SHUTDOWN_TIMEOUT in vmm_ehrc: ")
        assert site.states() == {vm.deploy_id: "active"}
        core.terminate(vm, hard=True)
        core.wait(vm, "DONE")
        assert site.servers() == []


def test_the_hard_form_takes_the_place_of_a_soft_one_that_waits(installation: Installation, deaf: Endpoint) -> None:
    site = Site(installation, deaf, SHUTDOWN_TIMEOUT=30)
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = site.running(core)
        core.terminate(vm)
        core.wait(vm, "SHUTDOWN")
        core.terminate(vm, hard=True)
        core.wait(vm, "DONE", 20)
        core.answered(5)
        assert site.servers() == []


def test_a_server_whose_start_is_unknown_is_not_made_twice(site: Site) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = site.running(core)
        first = vm.deploy_id
        vm.state, vm.deploy_id = "BOOT_FAILURE", ""
        core.retry(vm)
        core.wait(vm, "RUNNING")
        assert vm.deploy_id == first
        assert site.states() == {first: "active"}


def test_reboot_of_a_server_that_went_away_is_a_clear_failure(site: Site) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = site.running(core)
        site.endpoint.call(f"/servers/{vm.deploy_id}/destroy")
        core.reboot(vm, hard=True)
        core.answered()
        assert f"server {vm.deploy_id} of VM {vm.id} is not at" in vm.log[-1]
        vm.state = "POWEROFF"
        core.resume(vm)
        core.wait(vm, "POWEROFF")
        assert vm.error.startswith("DEPLOY: Recover the VM with --recreate to have a new server made, or delete it: ")
        vm.state = "RUNNING"
        core.terminate(vm)
        core.wait(vm, "DONE")


def test_cleanup_without_a_deploy_id_finds_the_server_by_its_keys(site: Site) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = site.running(core)
        vm.deploy_id = ""
        core.recreate(vm)
        core.wait(vm, "PENDING")
        assert site.servers() == []


def test_what_the_cloud_cannot_do_is_refused_at_once_with_what_to_do(site: Site) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = site.running(core)
        core.request("SNAPSHOTCREATE", vm)
        core.request("UPDATENIC", vm, {"VIRTUAL_NETWORK_ID": "3"})
        core.request("UPDATECONF", vm)
        core.answered()
        assert core.replies("SNAPSHOTCREATE", vm)[0].text.startswith("Power the VM off and copy its drive: ")
        assert core.replies("UPDATENIC", vm)[0].text.startswith("3 Change NICDHCP, NICVLAN or NICMODEL of EH")
        assert core.replies("UPDATECONF", vm)[0].ok


def test_a_server_of_another_vm_is_left_alone(site: Site) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        first, second = site.running(core), site.running(core, site.template(site.new_drive()))
        second.deploy_id, mine = first.deploy_id, second.deploy_id
        core.terminate(second, hard=True)
        core.answered()
        assert f"server {first.deploy_id} is not marked as that of VM {second.id}" in second.log[-1]
        assert site.states() == {first.deploy_id: "active", mine: "active"}


def test_a_server_that_was_there_before_is_imported_marked_and_managed(site: Site) -> None:
    wild = site.endpoint.call("/servers/create", {"name": "mail", "cpu": 1000, "mem": 512}).json()["server"]
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = site.running(core, 'IMPORTED="YES"', deploy_id=wild)
        assert vm.deploy_id == wild
        (server,) = site.servers()
        assert (server["user:one-vm"], server["persistent"]) == (str(vm.id), "true")
        core.poweroff(vm)
        core.wait(vm, "POWEROFF")
        assert site.states() == {wild: "stopped"}
        core.resume(vm)
        core.wait(vm, "RUNNING")
        core.terminate(vm)
        core.wait(vm, "DONE")
        assert site.servers() == []


def test_a_server_whose_import_failed_stays_its_owner_s(site: Site) -> None:
    wild = site.endpoint.call("/servers/create", {"name": "mail", "cpu": 1000, "mem": 512}).json()["server"]
    good = site.settings["EHAUTH"]
    with site.core("7.4.0") as core:
        core.start_vmm()
        site.configure(EHAUTH="")
        vm = core.create_vm('IMPORTED="YES"', deploy_id=wild)
        core.deploy(vm, core.create_host("eh"))
        core.wait(vm, "BOOT_FAILURE")
        site.configure(EHAUTH=good)
        core.delete(vm)
        core.wait(vm, "DONE")
        assert site.states() == {wild: "active"}
        assert any(f"Server {wild} was never taken over" in text for text in core.logs())


def test_the_drivers_leave_when_the_core_is_killed(site: Site) -> None:
    core = Core("7.4.0", one_location=site.installation.root)
    core.start_vmm()
    core.start_im()
    core.shut_down(finalize=False)


def test_a_deployment_file_in_key_value_form_makes_the_server_it_describes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2.0 with the core patch of the original guide, ``type = "eh"``."""
    written = administrator.write_deployment_file

    def patched(*arguments: Any) -> Path:
        path: Path = written(*arguments)
        path.write_text(f"name bitrot\ncpu 500\nmem 512\nide:0:0 {site.drive}\nboot ide:0:0\nnic:0:dhcp auto\n")
        return path

    monkeypatch.setattr(administrator, "write_deployment_file", patched)
    with site.core("2.0.1") as core:
        core.start_vmm()
        vm = site.running(core)
        (server,) = site.servers()
        assert (server["name"], server["cpu"], server["mem"]) == ("bitrot", 500, 512)
        assert (server["ide:0:0"], server["user:one-vm"]) == (site.drive, str(vm.id))
        core.terminate(vm)
        core.wait(vm, "DONE")
        assert site.servers() == []


def test_cpu_is_resized_live_and_memory_only_while_off(site: Site) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        template = {key: value for key, value in site.template().items() if key not in ("CPUMHZ", "MEMORY")}
        vm = site.running(core, template, cpu=0.5, memory=512)
        vm.template = tuple((k, {"CPU": "1.5"}.get(k, v)) for k, v in vm.template)
        core.request("RESIZE", vm)
        core.answered()
        assert core.replies("RESIZE", vm)[-1].ok
        assert (site.servers()[0]["cpu"], site.servers()[0]["status"]) == (3000, "active")
        vm.template = tuple((k, {"MEMORY": "1024"}.get(k, v)) for k, v in vm.template)
        core.request("RESIZE", vm)
        core.answered()
        assert "can only change while it is stopped" in core.replies("RESIZE", vm)[-1].text
        assert site.servers()[0]["mem"] == 512


def test_a_drive_is_attached_and_taken_off_where_the_cloud_allows_it(site: Site) -> None:
    """A disk whose image has a drive's UUID as its SOURCE; the guest has switched itself off meanwhile."""
    second = site.new_drive()
    disk = f'DISK=[ATTACH="YES", DISK_ID="3", SOURCE="{second}", TARGET="hdb"]\n'
    vector = ", ".join(f'{key}="{value}"' for key, value in site.template().items())
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = site.running(core, f"{disk}EH=[{vector}]")

        def ask(action: str) -> Answer:
            core.request(action, vm)
            core.answered()
            return core.replies(action, vm)[-1]

        refused = ask("ATTACHDISK")
        assert "its drives can only change while it is stopped" in refused.text
        site.endpoint.call(f"/servers/{vm.deploy_id}/stop")
        assert ask("ATTACHDISK").ok
        assert site.servers()[0]["ide:0:1"] == second
        assert ask("ATTACHDISK").ok, "asked again after a lost answer"
        for _unused in range(2):
            assert ask("DETACHDISK").ok
            assert "ide:0:1" not in site.servers()[0]


def test_a_vm_moves_between_two_hosts_of_one_account_and_never_to_another(site: Site) -> None:
    (site.installation.etc / "vmm_eh" / "hosts" / "farrc").write_text("EHURI=http://127.0.0.1:9\n")
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = site.running(core)
        core.request("MIGRATE", vm, {"MIGR_HOST": "far"})
        core.answered()
        assert "which are separate clouds" in core.replies("MIGRATE", vm)[-1].text
        core.request("MIGRATE", vm, {"MIGR_HOST": "near"})
        core.answered()
        assert core.replies("MIGRATE", vm)[-1].ok
        assert site.servers()[0]["user:one-host"] == "near"


@pytest.mark.parametrize("action", ["MIGRATE", "SAVE", "SHUTDOWN", "CANCEL"])
@pytest.mark.parametrize("release", ["3.8.5", "5.10.5", "7.4.0"])
def test_a_vm_does_not_migrate_to_a_host_of_another_vm_driver(site: Site, release: str, action: str) -> None:
    with site.core(release) as core:
        core.start_vmm()
        vm = site.running(core)
        here, kvm = vm.host, core.create_host("kvm1", "vmm_kvm")
        before = site.servers()
        core.migrate(vm, kvm, action)
        core.answered()
        refused = core.replies(action, vm)[-1]
        assert not refused.ok
        assert refused.text.startswith("Deploy a new VM there instead: ")
        assert "'kvm1', which has the VM driver vmm_kvm" in refused.text
        assert (vm.state, vm.host) == ("RUNNING", here)
        assert site.servers() == before


def test_a_driver_that_has_just_started_asks_the_core_for_the_drivers_of_the_hosts(site: Site) -> None:
    with site.core("7.4.0") as core:
        core.listen()
        core.start_vmm()
        vm = site.running(core)
        kvm = core.create_host("kvm1", "vmm_kvm")
        core.kill("vmm")
        core.start_vmm()
        core.migrate(vm, kvm)
        core.answered()
        assert "which has the VM driver vmm_kvm" in core.replies("MIGRATE", vm)[-1].text
        assert site.servers()[0]["user:one-host"] == "eh"


def test_a_vm_migrates_to_another_host_of_this_driver(site: Site) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = site.running(core)
        core.migrate(vm, core.create_host("near"))
        core.answered()
        assert core.replies("MIGRATE", vm)[-1].ok
        assert site.servers()[0]["user:one-host"] == "near"


@pytest.mark.parametrize(
    "action",
    ["ATTACHDISK", "DETACHDISK", "ATTACHNIC", "DETACHNIC", "SNAPSHOTCREATE", "SNAPSHOTREVERT", "SNAPSHOTDELETE",
     "DISKSNAPSHOTCREATE", "RESIZEDISK", "BACKUP", "EXEC"],
)  # fmt: skip
def test_each_refusal_says_what_to_do_instead(site: Site, action: str) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = core.create_vm(site.template())
        core.request(action, vm)
        core.answered()
        (answer,) = core.replies(action, vm)
        assert not answer.ok
        assert "at ElasticHosts" in answer.text
        assert answer.text.endswith(" Nothing was done.")
        first, _colon, _why = vm.error.partition(": ")[2].partition(": ")
        assert len(f"{action}: {first}") < 100
