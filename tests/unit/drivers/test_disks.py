# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks, interfaces, size and context of a VM, beside what its EH=[...] says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.core import Core, CoreFailure, Vm
from tests.unit.drivers.conftest import Site

COLD = {"COLD_NIC_ATTACH": "yes"}


@pytest.fixture(params=["5.10.5", "6.10.0", "7.4.0"])
def core(site: Site, request: pytest.FixtureRequest) -> Iterator[Core]:
    site.installation.add_transfer_driver()
    with site.core(request.param) as running:
        running.start_vmm()
        yield running


@pytest.fixture
def newest(site: Site) -> Iterator[Core]:
    site.installation.add_transfer_driver()
    with site.core("7.4.0") as running:
        running.start_vmm()
        yield running


def off(site: Site, core: Core, vm: Vm | None = None, **options: Any) -> Vm:
    vm = vm or site.running(core, **options)
    core.poweroff(vm, hard=True)
    return core.wait(vm, "POWEROFF")


def resumed(core: Core, vm: Vm) -> Vm:
    core.resume(vm)
    return core.wait(vm, "RUNNING")


def disk(drive: str, target: str = "hdb", **more: str) -> dict[str, str]:
    """A DISK as the core has it for an image whose SOURCE is a drive."""
    return {"IMAGE": "data", "SOURCE": drive, "TARGET": target, "TM_MAD": "eh", **more}


def server(site: Site) -> dict[str, Any]:
    (found,) = site.servers()
    return found


def vector(site: Site, **change: str) -> str:
    inner = ", ".join(f'{key}="{value}"' for key, value in {**site.template(), **change}.items())
    return f"EH=[{inner}]\n"


class TestDisksOfAVmThatIsOff:
    @pytest.mark.parametrize("persistent", ["YES", "NO"])
    def test_a_drive_attached_while_off_is_there_after_the_resume_and_one_detached_is_gone(
        self, site: Site, core: Core, persistent: str
    ) -> None:
        vm = off(site, core)
        drive = site.new_drive()
        core.attach_disk(vm, disk(drive, PERSISTENT=persistent))
        core.wait(vm, "POWEROFF")
        assert "ide:0:1" not in server(site), "OpenNebula told nobody but the transfer driver"
        resumed(core, vm)
        assert (server(site)["ide:0:1"], server(site)["user:one-disks"]) == (drive, "ide:0:1")
        off(site, core, vm)
        core.detach_disk(vm, "hdb")
        core.wait(vm, "POWEROFF")
        resumed(core, vm)
        assert not {"ide:0:1", "user:one-disks"} & set(server(site))
        assert server(site)["ide:0:0"] == site.drive

    def test_a_suspended_vm_keeps_its_attached_drive(self, site: Site, newest: Core) -> None:
        vm = off(site, newest)
        newest.attach_disk(vm, disk(site.new_drive()))
        resumed(newest, vm)
        newest.suspend(vm)
        newest.wait(vm, "SUSPENDED")
        resumed(newest, vm)
        assert server(site)["user:one-disks"] == "ide:0:1"

    def test_a_drive_moves_with_its_target(self, site: Site, newest: Core) -> None:
        vm, drive = off(site, newest), site.new_drive()
        newest.attach_disk(vm, disk(drive, "hdb"))
        resumed(newest, vm)
        off(site, newest, vm)
        newest.detach_disk(vm, "hdb")
        newest.attach_disk(vm, disk(drive, "vda"))
        resumed(newest, vm)
        assert (server(site)["block:0"], server(site)["user:one-disks"]) == (drive, "block:0")
        assert "ide:0:1" not in server(site)

    def test_an_ordinary_image_is_refused_by_the_transfer_driver(self, site: Site, core: Core) -> None:
        vm = off(site, core)
        core.attach_disk(vm, disk("/var/lib/one/datastores/1/5f0e1c"))
        assert vm.state == "POWEROFF"
        assert "Use IMAGE or DRIVE of EH=[...]" in vm.error
        resumed(core, vm)
        assert "ide:0:1" not in server(site)

    @pytest.mark.parametrize("kind", ["fs", "swap"])
    def test_a_volatile_disk_is_refused_when_it_is_attached(self, site: Site, core: Core, kind: str) -> None:
        vm = off(site, core)
        core.attach_disk(vm, {"TYPE": kind, "SIZE": "8", "TARGET": "hdb", "TM_MAD": "eh"})
        assert vm.state == "POWEROFF"
        assert "Use IMAGE of EH=[...]" in vm.error

    @pytest.mark.parametrize(
        ("why", "says"),
        [
            ("missing", "Detach the disk, or make its image anew: "),
            ("in use", "Detach the disk, or stop what uses its drive: "),
            ("device taken", "Detach the disk and attach it with another TARGET: "),
            ("no device", "Give the disk a TARGET of hda to hdd, sda to sdh or vda to vdh: "),
        ],
    )
    def test_a_drive_that_cannot_be_attached_fails_the_resume_and_changes_nothing(
        self, site: Site, newest: Core, why: str, says: str
    ) -> None:
        vm, other = off(site, newest), site.new_drive()
        drive, target = {
            "missing": ("0d9a1c52-7c1e-4c53-9d5e-3f0a6f1e2b34", "hdb"),
            "in use": (other, "hdb"),
            "device taken": (other, "hda"),
            "no device": (other, "xvda"),
        }[why]
        if why == "in use":
            body = {"name": "user", "cpu": 500, "mem": 256, "ide:0:0": other}
            user = site.endpoint.call("/servers/create", body).json()["server"]
        newest.attach_disk(vm, disk(drive, target))
        vm.template = tuple(
            ("EH", {**value, "TAGS": "new"}) if key == "EH" and isinstance(value, dict) else (key, value)
            for key, value in vm.template
        )
        before = next(one for one in site.servers() if one["server"] == vm.deploy_id)
        newest.resume(vm)
        newest.wait(vm, "POWEROFF")
        assert vm.error.startswith(f"DEPLOY: {says}")
        assert next(one for one in site.servers() if one["server"] == vm.deploy_id) == before
        newest.detach_disk(vm, target)
        resumed(newest, vm)
        assert site.states()[vm.deploy_id] == "active"
        if why == "in use":
            site.endpoint.call(f"/servers/{user}/destroy")

    def test_what_eh_names_stays_eh_s(self, site: Site, newest: Core) -> None:
        """The same drive in DRIVE and in a DISK: the DISK's end does not take it away."""
        second = site.new_drive()
        both = {**site.template(), "DRIVE": f"ide:0:0 {site.drive}, ide:0:1 {second}"}
        vm = off(site, newest, template=both)
        newest.attach_disk(vm, disk(second))
        resumed(newest, vm)
        off(site, newest, vm)
        newest.detach_disk(vm, "hdb")
        resumed(newest, vm)
        assert server(site)["ide:0:1"] == second
        assert "user:one-disks" not in server(site)

    def test_a_disk_of_a_drive_that_eh_names_elsewhere_changes_nothing(self, site: Site, newest: Core) -> None:
        vm = off(site, newest)
        newest.attach_disk(vm, disk(site.drive, "vda"))
        resumed(newest, vm)
        assert server(site)["ide:0:0"] == site.drive
        assert not {"block:0", "user:one-disks"} & set(server(site))

    def test_a_drive_that_was_attached_by_hand_stays(self, site: Site, newest: Core) -> None:
        vm, mine = off(site, newest), site.new_drive()
        site.endpoint.call(f"/servers/{vm.deploy_id}/set", {"ide:1:0": mine})
        newest.attach_disk(vm, disk(site.new_drive()))
        resumed(newest, vm)
        off(site, newest, vm)
        newest.detach_disk(vm, "hdb")
        resumed(newest, vm)
        assert server(site)["ide:1:0"] == mine

    def test_a_vm_that_was_imported_gets_its_disk_as_well(self, site: Site, newest: Core) -> None:
        wild = site.endpoint.call("/servers/create", {"name": "mail", "cpu": 1000, "mem": 512}).json()["server"]
        vm = off(site, newest, template='IMPORTED="YES"', deploy_id=wild)
        drive = site.new_drive()
        newest.attach_disk(vm, disk(drive))
        resumed(newest, vm)
        assert server(site)["ide:0:1"] == drive

    def test_a_server_that_runs_already_keeps_its_drives_and_the_log_says_so(self, site: Site, newest: Core) -> None:
        vm = off(site, newest)
        newest.attach_disk(vm, disk(site.new_drive()))
        site.endpoint.call(f"/servers/{vm.deploy_id}/start")
        resumed(newest, vm)
        assert "ide:0:1" not in server(site)
        assert any("runs already, so its drives at ide:0:1 stay as they are" in text for text in newest.logs())

    def test_a_disk_attached_by_the_vm_driver_is_marked_and_can_go_while_off(self, site: Site, newest: Core) -> None:
        """The guest has switched itself off, and OpenNebula does not know it yet."""
        vm, drive = site.running(newest), site.new_drive()
        site.endpoint.call(f"/servers/{vm.deploy_id}/stop")
        newest.attach_disk(vm, disk(drive))
        newest.wait(vm, "RUNNING")
        assert (server(site)["ide:0:1"], server(site)["user:one-disks"]) == (drive, "ide:0:1")
        off(site, newest, vm)
        newest.detach_disk(vm, "hdb")
        resumed(newest, vm)
        assert not {"ide:0:1", "user:one-disks"} & set(server(site))

    def test_a_disk_of_a_vm_that_runs_is_refused_and_the_vm_has_none(self, site: Site, newest: Core) -> None:
        vm = site.running(newest)
        newest.attach_disk(vm, disk(site.new_drive()))
        newest.wait(vm, "RUNNING")
        assert vm.error.startswith("ATTACHDISK: Power the VM off, attach or detach the disk, and resume it: ")
        assert not [item for item in vm.template if item[0] == "DISK"]

    def test_a_vm_that_is_made_anew_has_its_attached_drive(self, site: Site, newest: Core) -> None:
        vm, drive = off(site, newest), site.new_drive()
        newest.attach_disk(vm, disk(drive))
        resumed(newest, vm)
        newest.recreate(vm)
        newest.wait(vm, "PENDING")
        assert vm.host is not None
        newest.deploy(vm, vm.host)
        newest.wait(vm, "RUNNING")
        assert (server(site)["ide:0:1"], server(site)["user:one-disks"]) == (drive, "ide:0:1")
        assert (server(site)["ide:0:0"], server(site)["boot"]) == (site.drive, "ide:0:0")


class TestTheTemplateOfANewVm:
    def test_a_disk_with_a_drive_is_the_server_s_and_what_does_not_reach_it_is_in_the_log(
        self, site: Site, core: Core
    ) -> None:
        drive = site.new_drive()
        template = (
            f'DISK=[DISK_ID="0", SOURCE="{drive}", TARGET="hdb", TM_MAD="eh"]\n'
            'DISK=[DISK_ID="1", TYPE="swap", SIZE="8", TARGET="hdc", TM_MAD="eh"]\n'
            'NIC=[NIC_ID="0", NETWORK="lan", IP="10.0.0.7"]\nCONTEXT=[PASSWORD="hush", FILES="/a"]\n' + vector(site)
        )
        vm = site.running(core, template)
        assert server(site)["ide:0:1"] == drive
        parts = ("1 of the DISKs in the template (1)", "the NICs in the template (10.0.0.7)", "CONTEXT of the template")
        for part in parts:
            assert sum(part in text for text in core.logs()) == 1, part
        assert not any("hush" in text for text in core.logs())
        off(site, core, vm)
        resumed(core, vm)
        assert all(sum(part in text for text in core.logs()) == 2 for part in parts), "each DEPLOY says it"

    def test_a_template_of_eh_alone_has_nothing_to_say(self, site: Site, newest: Core) -> None:
        site.running(newest)
        assert not any(text.startswith("Not ") for text in newest.logs())

    def test_an_ordinary_image_fails_before_anything_is_made(self, site: Site, core: Core) -> None:
        template = 'DISK=[DISK_ID="0", SOURCE="/var/lib/one/datastores/1/5f", TARGET="hda", TM_MAD="eh"]\n'
        vm = core.create_vm(template + vector(site))
        core.deploy(vm, core.create_host("eh"))
        assert vm.state == "PROLOG_FAILURE"
        assert "Use IMAGE or DRIVE of EH=[...]" in vm.error
        assert site.servers() == []

    def test_a_drive_where_eh_has_another_one_fails_before_anything_is_made(self, site: Site, newest: Core) -> None:
        template = f'DISK=[DISK_ID="0", SOURCE="{site.new_drive()}", TARGET="hda"]\n' + vector(site)
        vm = newest.create_vm(template)
        newest.deploy(vm, newest.create_host("eh"))
        newest.wait(vm, "BOOT_FAILURE")
        assert vm.error.startswith("DEPLOY: Detach the disk and attach it with another TARGET: ")
        assert site.servers() == []

    def test_a_server_with_nothing_but_a_disk_boots_from_it(self, site: Site, newest: Core) -> None:
        lean = vector(site, DRIVE="", BOOT="")
        site.running(newest, f'DISK=[DISK_ID="0", SOURCE="{site.drive}", TARGET="vda"]\n{lean}')
        assert (server(site)["block:0"], server(site)["boot"]) == (site.drive, "block:0")


class TestInterfacesOfAVmThatIsOff:
    @pytest.mark.parametrize("release", ["5.12.0", "6.10.0", "7.4.0"])
    def test_an_interface_is_refused_and_no_address_is_shown(self, site: Site, release: str) -> None:
        with site.core(release) as core:
            core.start_vmm()
            vm = off(site, core)
            core.attach_nic(vm, {"NETWORK": "lan", "IP": "10.0.0.7"})
            core.wait(vm, "POWEROFF")
            core.answered()
            assert "Change NICDHCP, NICVLAN or NICMODEL of EH, power off and resume: " in vm.error
            assert not [item for item in vm.template if item[0] == "NIC"]

    def test_without_the_attribute_nobody_hears_of_it_until_the_next_start_says_so(self, site: Site) -> None:
        with site.core("7.4.0", vm_mad={}) as core:
            core.start_vmm()
            vm = off(site, core)
            core.attach_nic(vm, {"NETWORK": "lan", "IP": "10.0.0.7"})
            assert vm.state == "POWEROFF"
            resumed(core, vm)
            assert any("the NICs in the template (10.0.0.7)" in text for text in core.logs())

    def test_an_interface_that_no_server_has_can_be_taken_off(self, site: Site) -> None:
        with site.core("7.4.0") as core:
            core.start_vmm()
            vm = off(site, core, template='NIC=[NIC_ID="0", IP="10.0.0.7"]\n' + vector(site))
            core.detach_nic(vm, "0")
            core.wait(vm, "POWEROFF")
            core.answered()
            assert not [item for item in vm.template if item[0] == "NIC"]


class TestAnotherSize:
    @pytest.mark.parametrize("release", ["6.0.0", "6.10.0", "7.4.0"])
    def test_cpu_changes_while_the_vm_runs_and_memory_is_refused_with_the_old_size_back(
        self, site: Site, release: str
    ) -> None:
        template = {key: value for key, value in site.template().items() if key not in ("CPUMHZ", "MEMORY")}
        with site.core(release) as core:
            core.start_vmm()
            vm = site.running(core, template, cpu=0.5, memory=512)
            core.resize(vm, CPU="1.5")
            core.wait(vm, "RUNNING")
            assert (server(site)["cpu"], server(site)["status"]) == (3000, "active")
            assert dict(vm.template)["CPU"] == "1.5"
            core.resize(vm, MEMORY="1024")
            core.wait(vm, "RUNNING")
            assert "Power the VM off, resize it, and resume it: " in vm.error
            assert (server(site)["mem"], dict(vm.template)["MEMORY"]) == (512, "512")
            off(site, core, vm)
            core.resize(vm, MEMORY="1024")
            resumed(core, vm)
            assert server(site)["mem"] == 1024

    @pytest.mark.parametrize(("release", "attributes"), [("7.4.0", COLD), ("5.12.0", {"LIVE_RESIZE": "yes"})])
    def test_opennebula_asks_for_it_only_with_the_attribute_and_from_6_0_on(
        self, site: Site, release: str, attributes: dict[str, str]
    ) -> None:
        with site.core(release, vm_mad=attributes) as core:
            core.start_vmm()
            vm = site.running(core)
            with pytest.raises(CoreFailure, match=f"refused by OpenNebula {release}"):
                core.resize(vm, CPU="1")
