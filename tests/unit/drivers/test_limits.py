# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""MAX_SERVERS: how many servers OpenNebula may have at ElasticHosts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core import Core, Vm
from tests.unit.drivers.conftest import Site, until
from tests.unit.drivers.proxy import Proxy


def deployed(site: Site, core: Core, host: str = "eh") -> Vm:
    there = next((one for one in core.model.hosts.values() if one.name == host), None) or core.create_host(host)
    vm = core.create_vm(site.template(site.new_drive()))
    core.deploy(vm, there)
    core.answered()
    return vm


def drives(site: Site) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.endpoint.call("/drives/info").json()
    return found


def limit(site: Site, number: str) -> None:
    (site.installation.etc / "im_eh" / "im_ehrc").write_text(f"MAX_SERVERS={number}\n")


@pytest.mark.parametrize("release", ["2.0.1", "5.10.5", "7.4.0"])
def test_0_stops_every_new_server_at_once_and_vms_that_have_one_go_on(site: Site, release: str) -> None:
    with site.core(release) as core:
        core.start_vmm()
        first = deployed(site, core)
        core.suspend(first)
        core.wait(first, "SUSPENDED")
        limit(site, "0")
        refused = deployed(site, core)
        assert refused.state in ("BOOT_FAILURE", "FAILED")
        assert "Raise MAX_SERVERS, which is 0, to have new servers: " in refused.error
        assert "im_eh/im_ehrc" in refused.log[-1]
        assert list(site.states()) == [first.deploy_id]
        core.resume(first)
        core.wait(first, "RUNNING")
        limit(site, "2")
        assert deployed(site, core).state == "RUNNING"


def test_a_vm_whose_deploy_was_refused_is_tried_again_when_there_is_room(site: Site) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        limit(site, "1")
        first, second = deployed(site, core), deployed(site, core)
        assert (first.state, second.state) == ("RUNNING", "BOOT_FAILURE")
        core.terminate(first, hard=True)
        core.wait(first, "DONE")
        core.retry(second)
        core.wait(second, "RUNNING")


def test_deploys_at_the_same_time_do_not_exceed_it_together(site: Site, proxy: Proxy) -> None:
    limit(site, "3")
    proxy.fault("POST /servers/create", before=0.3, times=20)
    with site.core("7.4.0") as core:
        core.start_vmm()
        host = core.create_host("eh")
        vms = [core.create_vm(site.template(site.new_drive())) for _unused in range(8)]
        for vm in vms:
            core.deploy(vm, host)
        core.answered()
        assert sorted(vm.state for vm in vms) == ["BOOT_FAILURE"] * 5 + ["RUNNING"] * 3
        assert len(site.servers()) == 3


def test_a_creation_that_failed_leaves_its_room_to_the_next(site: Site, proxy: Proxy) -> None:
    limit(site, "1")
    with site.core("7.4.0") as core:
        core.start_vmm()
        proxy.fault("POST /servers/create", status=402, code="billing")
        assert deployed(site, core).state == "BOOT_FAILURE"
        assert deployed(site, core).state == "RUNNING"


def test_a_host_has_a_limit_of_its_own_and_counts_its_own_servers(site: Site) -> None:
    (site.installation.etc / "vmm_eh" / "hosts" / "smallrc").write_text("MAX_SERVERS=1\n")
    site.endpoint.call("/servers/create", {"name": "wild", "cpu": 500, "mem": 256})
    with site.core("7.4.0") as core:
        core.start_vmm()
        assert [deployed(site, core).state for _unused in range(2)] == ["RUNNING", "RUNNING"]
        assert [deployed(site, core, "small").state for _unused in range(2)] == ["RUNNING", "BOOT_FAILURE"]


def test_a_limit_that_is_no_number_is_told_and_nothing_is_made(site: Site) -> None:
    limit(site, "many")
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = deployed(site, core)
        assert vm.error.startswith("DEPLOY: Correct MAX_SERVERS in the settings: 'many'")
        assert "MAX_SERVERS=10" in vm.log[-1]
        assert site.servers() == []


def test_0_for_all_hosts_is_stronger_than_the_limit_of_one(site: Site) -> None:
    (site.installation.etc / "vmm_eh" / "hosts" / "ehrc").write_text("MAX_SERVERS=50\n")
    limit(site, "0")
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = deployed(site, core)
        assert vm.error.startswith("DEPLOY: Raise MAX_SERVERS, which is 0, to have new servers: ")
        assert "im_eh/im_ehrc" in vm.log[-1]
        assert site.servers() == []


@pytest.mark.parametrize("line", ["MAX_SERVERS = 0", "MAX_SERVERS= 0", "MAX_SERVERS: 0", "  export MAX_SERVERS=0"])
def test_the_switch_works_however_it_is_spelled(site: Site, line: str) -> None:
    (site.installation.etc / "im_eh" / "im_ehrc").write_text(f"{line}\n")
    with site.core("7.4.0") as core:
        core.start_vmm()
        assert deployed(site, core).state == "BOOT_FAILURE"
        assert site.servers() == []


def test_a_deploy_whose_image_is_being_copied_makes_no_server_once_0_is_written(site: Site, proxy: Proxy) -> None:
    golden = site.new_drive()
    proxy.fault("/image/", before=1.0, times=1)
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = core.create_vm({"CPUMHZ": "500", "MEMORY": "256", "IMAGE": f"ide:0:0 {golden}"})
        core.deploy(vm, core.create_host("eh"))
        until(lambda: proxy.count("/image/"), "the copy")
        limit(site, "0")
        core.wait(vm, "BOOT_FAILURE")
        assert site.servers() == []
        until(lambda: not any("user:one-vm" in drive for drive in drives(site)), "the copy is gone")
