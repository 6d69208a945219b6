# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way: image uploaded by the module, driver installed by the role, OpenNebula 7.4 deploys, a real guest
answers on the address that the core was told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core import Core
from tests.demo.programs import Programs
from tests.demo.steps import install_drivers
from tests.demo.story import Story
from tests.kvm.box import Box, hello, until
from tests.kvm.guest import ANSWER
from tests.kvm.vnc import let_in
from tests.support.collection import COLLECTIONS

TEMPLATE = """\
EH=[NAME="bitrot", CPUMHZ="500", MEMORY="256", DRIVE="ide:0:0 {drive}", NICMODEL="nic:0:model e1000",
   NICDHCP="nic:0:dhcp auto", VNCIP="vnc:ip auto", VNCPASSWORD="vnc:password geheim12", BOOT="ide:0:0"]
"""
PATIENCE = 180.0
"""Seconds: guests may be emulated."""


@pytest.fixture(scope="module")
def programs(box: Box, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(tmp_path_factory.mktemp("scratch"), COLLECTIONS, box.env)


@pytest.fixture(scope="module")
def tree(box: Box, programs: Programs) -> Path:
    return install_drivers(Story(), programs, box)["7.4.0"]


def test_a_vm_bursts_to_a_real_guest_and_leaves_nothing(box: Box, programs: Programs, tree: Path, image: Path) -> None:
    programs.play("demo", demo_image=str(image), demo_drives=["bitrot"])
    drive = box.call("/drives/info").json()[0]["drive"]
    with Core("7.4.0", one_location=tree) as core:
        core.start_vmm("one_vmm_eh")
        core.start_im("one_im_eh")
        host = core.create_host("eh")
        core.wait_host(host, "MONITORED")
        vm = core.create_vm(TEMPLATE.format(drive=drive))
        core.deploy(vm, host)
        core.wait(vm, "RUNNING", PATIENCE)
        assert box.domains() == [vm.deploy_id]
        core.wait_for(lambda: vm.address, "the core is told an address", PATIENCE)
        until(lambda: hello(vm.address).startswith(ANSWER), "the guest answers on the address the core was told")

        found = box.call(f"/servers/{vm.deploy_id}/info").json()
        assert let_in(found["vnc:ip"], found["vnc:port"], "geheim12")
        assert not let_in(found["vnc:ip"], found["vnc:port"], "geheim13")

        core.poweroff(vm)
        core.wait(vm, "POWEROFF", PATIENCE)
        until(lambda: box.domains() == [], "libvirt has cleared up", seconds=15)
        assert box.call(f"/servers/{vm.deploy_id}/info").json()["status"] == "stopped"

        server = vm.deploy_id
        core.resume(vm)
        core.wait(vm, "RUNNING", PATIENCE)
        assert vm.deploy_id == server
        address = box.call(f"/servers/{server}/info").json()["nic:0:dhcp:ip"]
        until(lambda: hello(address).startswith(ANSWER), "the guest answers again")

        core.terminate(vm)
        core.wait(vm, "DONE", PATIENCE)
    until(lambda: box.domains() == [], "nothing is left in libvirt", seconds=15)
    assert box.call("/servers/list").json() == []
    assert "claimed" not in box.call(f"/drives/{drive}/info").json()
    assert box.call(f"/drives/{drive}/destroy").status_code == 204
    assert list((box.state / "drives").iterdir()) == []
