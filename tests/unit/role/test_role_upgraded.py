# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An upgrade of OpenNebula itself, 6.10 to 7.4 from packages, while VMs are at ElasticHosts; and the play after it.

The packages bring new files of configuration, without the drivers' sections. The play sets those of the new release,
and the drivers go on with the servers that they made under the old one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula import conf
from tests.front_ends import RELEASES, FrontEnd, namespaces_work
from tests.front_ends.core import run_inside
from tests.support.endpoint import Endpoint
from tests.support.plays import Played, Plays

OLD, NEW = "6.10", "7.4"
pytestmark = pytest.mark.whole  # three plays, and two lives of a core
# Two machines under the old core: one runs, one is powered off.
BEFORE = """
import json, sys
from tests.front_ends.core import SystemWide

release, scratch, *drives = sys.argv[1:]
with SystemWide(release, scratch) as core:
    core.start_drivers()
    host = core.create_host("eh")
    core.wait_host(host, "MONITORED")
    vms = []
    for drive in drives:
        text = f'EH=[NAME="burst", CPUMHZ="500", MEMORY="500", DRIVE="ide:0:0 {drive}", BOOT="ide:0:0"]'
        vms.append(core.create_vm(text))
        core.deploy(vms[-1], host)
        core.wait(vms[-1], "RUNNING")
    core.poweroff(vms[1])
    core.wait(vms[1], "POWEROFF")
    print(json.dumps([[vm.deploy_id, vm.state] for vm in vms]))
"""
# The new core knows both from its database. It hears of the one, resumes the other, and ends both.
AFTER = """
import json, sys
from tests.front_ends.core import SystemWide

release, scratch, known, *drives = sys.argv[1:]
with SystemWide(release, scratch) as core:
    host = core.create_host("eh")
    vms = []
    for (deploy_id, state), drive in zip(json.loads(known), drives, strict=True):
        text = f'EH=[NAME="burst", CPUMHZ="500", MEMORY="500", DRIVE="ide:0:0 {drive}", BOOT="ide:0:0"]'
        vm = core.create_vm(text)
        vm.deploy_id, vm.state, vm.host, vm.seq = deploy_id, state, host, 0
        vms.append(vm)
    core.start_drivers()
    core.wait_host(host, "MONITORED")
    core.wait_for(lambda: vms[0].monitoring, "monitoring of the machine that ran all the time")
    core.resume(vms[1])
    core.wait(vms[1], "RUNNING")
    same = [vm.deploy_id for vm in vms] == [deploy_id for deploy_id, _state in json.loads(known)]
    for vm in vms:
        core.terminate(vm)
        core.wait(vm, "DONE")
    print(json.dumps({"same": same, "zombies": host.zombies, "wilds": host.wilds}))
"""
State = dict[str, tuple[int, bytes]]


class Upgraded(NamedTuple):
    front_end: FrontEnd
    installed: State
    known: list[list[str]]
    upgraded: State
    servers: int
    played: Played
    calls: list[str]
    afterwards: State
    ended: dict[str, Any]
    servers_left: int
    again: Played


@pytest.fixture(scope="module")
def story(readable: Path, endpoint: Endpoint) -> Upgraded:
    if not namespaces_work(readable):
        pytest.skip("this machine gives us no mount namespace with overlays (unshare --mount)")
    front_end = FrontEnd(readable / "one", OLD, system_wide=True)
    plays = Plays(readable, endpoint, {"one": front_end})

    def servers() -> int:
        listed = endpoint.call("/servers/info").json()
        return sum("user:one-vm" in server for server in listed)

    created = [endpoint.call("/drives/create", {"name": f"disk-{number}", "size": "4194304"}) for number in (1, 2)]
    drives = [one.json()["drive"] for one in created]
    assert plays.play("install_driver").failed("one") == 0
    installed = front_end.files()
    said = run_inside(front_end, BEFORE, RELEASES[OLD], str(readable / "before"), *drives)
    assert said.startswith("[["), said
    front_end.upgrade(NEW)
    upgraded, in_the_cloud = front_end.files(), servers()
    front_end.forget_calls()
    played, afterwards, calls = plays.play("install_driver"), front_end.files(), front_end.calls()
    after = run_inside(front_end, AFTER, RELEASES[NEW], str(readable / "after"), said.strip(), *drives)
    assert after.startswith("{"), after
    again = plays.play("install_driver")
    return Upgraded(
        front_end=front_end,
        installed=installed,
        known=json.loads(said),
        upgraded=upgraded,
        servers=in_the_cloud,
        played=played,
        calls=calls,
        afterwards=afterwards,
        ended=json.loads(after),
        servers_left=servers(),
        again=again,
    )


def section(files: State, file: str, kind: str, name: str) -> dict[str, str] | None:
    found = conf.parse(conf.decode(files[f"etc/one/{file}"][1])).section(kind, name)
    return found.mapping() if found else None


def test_the_upgrade_takes_the_sections_and_leaves_the_servers(story: Upgraded) -> None:
    assert [state for _deploy_id, state in story.known] == ["RUNNING", "POWEROFF"]
    assert section(story.installed, "oned.conf", "VM_MAD", "vmm_eh")
    assert section(story.upgraded, "oned.conf", "VM_MAD", "vmm_eh") is None
    assert story.servers == len(story.known)


def test_the_play_sets_the_sections_of_the_new_release(story: Upgraded) -> None:
    assert story.played.failed("one") == 0
    assert section(story.afterwards, "oned.conf", "VM_MAD", "vmm_eh") == {
        "NAME": "vmm_eh",
        "SUNSTONE_NAME": "ElasticHosts",
        "EXECUTABLE": "one_vmm_eh",
        "TYPE": "xml",
        "KEEP_SNAPSHOTS": "no",
        "COLD_NIC_ATTACH": "yes",
        "LIVE_RESIZE": "yes",
        "THREADS": "0",
    }
    assert section(story.afterwards, "monitord.conf", "IM_MAD", "im_eh")
    assert section(story.afterwards, "oned.conf", "TM_MAD_CONF", "eh")


def test_opennebula_is_restarted_once_and_keeps_the_host_that_it_knows(story: Upgraded) -> None:
    assert story.calls == ["systemctl restart opennebula"]
    assert [host["name"] for host in story.front_end.state()["hosts"]] == ["eh"]
    assert story.front_end.state()["loaded"] == ["vmm_eh", "im_eh"]


def test_settings_and_programs_stay_as_they_were(story: Upgraded) -> None:
    ours = (
        "etc/one/vmm_eh",
        "etc/one/im_eh",
        "usr/lib/one/mads/one_",
        "usr/lib/one/python/",
        "var/lib/one/remotes/tm/eh",
    )
    before = {name: what for name, what in story.installed.items() if name.startswith(ours)}
    after = {name: what for name, what in story.afterwards.items() if name.startswith(ours)}
    assert after == before


def test_the_drivers_go_on_with_the_servers_that_they_made_before(story: Upgraded) -> None:
    assert story.ended == {"same": True, "zombies": [], "wilds": []}
    assert story.servers_left == 0


def test_the_next_play_changes_nothing(story: Upgraded) -> None:
    assert (story.again.changed("one"), story.again.failed("one")) == (0, 0)
