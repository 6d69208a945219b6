# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All users of an OpenNebula share one account at ElasticHosts: a VM gets no drive or server that is another's."""

from __future__ import annotations

import pytest

from tests.core import Core, Vm
from tests.unit.drivers.conftest import Site

SIZE = {"CPUMHZ": "500", "MEMORY": "256"}
REFUSED = "DEPLOY: Name another drive in the template: "


def with_a_copy(site: Site, core: Core, *, on: bool) -> tuple[Vm, str]:
    """A VM with a copy of an image, running or off, and the UUID of the copy."""
    victim = site.running(core, {**SIZE, "IMAGE": f"ide:0:0 {site.new_drive()}"})
    drive = next(server["ide:0:0"] for server in site.servers() if server["server"] == victim.deploy_id)
    if not on:
        core.poweroff(victim, hard=True)
        core.wait(victim, "POWEROFF")
    return victim, drive


@pytest.mark.parametrize("attribute", ["IMAGE", "DRIVE"])
@pytest.mark.parametrize("on", [True, False])
def test_the_drive_of_another_vm_is_neither_copied_nor_attached(site: Site, attribute: str, on: bool) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        victim, drive = with_a_copy(site, core, on=on)
        spy = core.create_vm({**SIZE, attribute: f"ide:0:0 {drive}"})
        core.deploy(spy, next(iter(core.model.hosts.values())))
        core.wait(spy, "BOOT_FAILURE")
        assert spy.error.startswith(REFUSED)
        assert list(site.states()) == [victim.deploy_id]


@pytest.mark.parametrize("way", ["DRIVE of EH", "IMAGE of EH", "DISK"])
def test_a_vm_that_is_off_gets_no_drive_of_another_when_it_starts(site: Site, way: str) -> None:
    site.installation.add_transfer_driver()
    with site.core("7.4.0") as core:
        core.start_vmm()
        _victim, drive = with_a_copy(site, core, on=False)
        thief = site.running(core, {**SIZE, "DRIVE": f"ide:0:0 {site.new_drive()}"})
        core.poweroff(thief, hard=True)
        core.wait(thief, "POWEROFF")
        if way == "DISK":
            core.attach_disk(thief, {"IMAGE": "x", "SOURCE": drive, "TARGET": "hdb", "TM_MAD": "eh"})
            core.wait(thief, "POWEROFF")
        else:
            attribute = way.partition(" ")[0]
            named = next(value for key, value in thief.template if key == "EH" and isinstance(value, dict))
            own = named["DRIVE"] + ", " if attribute == "DRIVE" else ""
            thief.template = (("EH", {**named, attribute: f"{own}ide:0:1 {drive}"}),)
        core.resume(thief)
        core.wait(thief, "POWEROFF")
        assert thief.error.startswith(REFUSED)
        assert site.states()[thief.deploy_id] == "stopped"


@pytest.mark.parametrize("release", ["2.0.1", "3.8.5", "4.2.0"])
def test_before_4_14_a_template_cannot_take_a_server_that_was_there_before(site: Site, release: str) -> None:
    """No core of that time sets IMPORTED: a user wrote it."""
    mail = site.endpoint.call("/servers/create", {"name": "mail", "cpu": 1000, "mem": 512}).json()["server"]
    with site.core(release) as core:
        core.start_vmm()
        template = f'EH=[ CPUMHZ="500", MEMORY="256" ]\nIMPORTED="YES"\nDEPLOY_ID="{mail}"\n'
        vm = core.create_vm(template)
        core.deploy(vm, core.create_host("eh"))
        core.wait(vm, "RUNNING")
        assert vm.deploy_id != mail
        core.terminate(vm, hard=True)
        core.wait(vm, "DONE")
        assert site.states() == {mail: "active"}
