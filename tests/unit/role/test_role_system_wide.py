# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""System-wide installations (/usr/lib/one, /etc/one, /var/lib/one), each at its real paths in a mount namespace.

The installed drivers are then started there by the stand-in for the core, and deploy.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from tests.front_ends import RELEASES, FrontEnd, namespaces_work
from tests.support.collection import ROOT
from tests.support.endpoint import Endpoint
from tests.support.plays import Played, Plays

State = dict[str, tuple[int, bytes]]
# Runs inside the namespace: drivers from /usr/lib/one/mads, working directory /var/lib/one, no ONE_LOCATION.
BURST = """
import sys
from pathlib import Path
from tests.core import Core

class SystemWide(Core):
    def __init__(self, release, scratch):
        super().__init__(release, one_location=scratch)
        self.var = Path("/var/lib/one")
        del self._environment["ONE_LOCATION"]

release, scratch, drive = sys.argv[1:]
with SystemWide(release, scratch) as core:
    core.start_vmm("/usr/lib/one/mads/one_vmm_eh")
    core.start_im("/usr/lib/one/mads/one_im_eh")
    host = core.create_host("eh")
    core.wait_host(host, "MONITORED")
    vm = core.create_vm(f'EH=[NAME="burst", CPUMHZ="500", MEMORY="500", DRIVE="ide:0:0 {drive}", BOOT="ide:0:0"]')
    core.deploy(vm, host)
    core.wait(vm, "RUNNING")
    print("running as", vm.deploy_id)
    core.terminate(vm)
    core.wait(vm, "DONE")
    print("done")
"""


def burst(front_end: FrontEnd, folder: Path, cloud: Endpoint) -> str:
    made = requests.post(
        f"{cloud.url}/drives/create",
        json={"name": f"disk-{front_end.release}", "size": "4194304"},
        auth=(cloud.user, cloud.key),
        headers={"Accept": "application/json"},
        timeout=10,
    )
    drive = made.json()["drive"]
    release = RELEASES[front_end.release]
    done = subprocess.run(
        [*front_end.enter(), sys.executable, "-c", BURST, release, str(folder / "scratch"), drive],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout + done.stderr


class Story(NamedTuple):
    front_end: FrontEnd
    stock: State
    first: Played
    installed: State
    calls: list[str]
    burst: str
    second: Played | None
    removed: Played
    after_removal: State


@pytest.fixture(scope="module", params=["3.8", "7.4"])
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, endpoint: Endpoint) -> Story:
    folder = tmp_path_factory.mktemp("system-wide")
    if not namespaces_work(folder):
        pytest.skip("this machine gives us no mount namespace with overlays (unshare --mount)")
    front_end = FrontEnd(folder / "root", request.param, system_wide=True)
    plays = Plays(folder, endpoint, {"one": front_end}, {"one": {"one_eh_driver_owner": "root"}})
    stock = front_end.files()
    first, installed, calls = plays.play("install_driver"), front_end.files(), front_end.calls()
    output = burst(front_end, folder, endpoint)
    # The second run of an old release differs from that of a new one in nothing that depends on the paths.
    second = plays.play("install_driver") if request.param == "7.4" else None
    removed = plays.play("remove_driver")
    return Story(front_end, stock, first, installed, calls, output, second, removed, front_end.files())


def test_the_files_are_at_their_places(story: Story) -> None:
    assert story.first.failed("one") == 0
    new = set(story.installed) - set(story.stock)
    assert {name for name in new if name.startswith("usr/lib/one/mads")} == {
        f"usr/lib/one/mads/one_{driver}_eh{end}" for driver in ("vmm", "im") for end in ("", ".py")
    }
    assert {"etc/one/vmm_eh/vmm_ehrc", "etc/one/im_eh/im_ehrc", "usr/lib/one/python/one_eh/bursting/vmm.py"} <= new
    assert story.installed["etc/one/vmm_eh/vmm_ehrc"][0] & 0o777 == 0o600


def test_systemd_restarts_opennebula_once_and_the_host_is_created(story: Story) -> None:
    assert story.calls[0] == "systemctl restart opennebula"
    assert story.calls[-1].startswith("onehost create eh -i im_eh -v vmm_eh")
    assert sum(call.startswith("systemctl restart") for call in story.calls) == 1


def test_the_installed_drivers_deploy_and_destroy_a_virtual_machine(story: Story) -> None:
    assert re.search(r"running as [0-9a-f-]{36}\ndone\n$", story.burst), story.burst


def test_the_second_run_changes_nothing_and_absent_gives_the_tree_back(story: Story) -> None:
    if story.second:
        assert (story.second.changed("one"), story.second.failed("one")) == (0, 0)
    assert story.removed.failed("one") == 0
    # The core keeps the deployment files of its machines.
    kept = {name: what for name, what in story.after_removal.items() if not name.startswith("var/lib/one/vms")}
    assert kept == story.stock
