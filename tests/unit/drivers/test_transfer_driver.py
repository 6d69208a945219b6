# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transfer driver ``eh``, run as one_tm runs it, with a core that tells of its VMs by XML-RPC."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.core import Core, Vm
from tests.unit.drivers.conftest import FILES, Installation, Site, until
from tests.unit.drivers.proxy import MOMENTS, Proxy, kill_at


class Teller:
    """The transfer driver's scripts, and a core that they can ask."""

    def __init__(self, site: Site, core: Core) -> None:
        self.site = site
        self.lcm = 0
        self.rpc = core.listen()
        self.rpc.answer = self._ending
        self.scripts = site.installation.var / "remotes" / "tm" / "eh"
        shutil.copytree(FILES / "tm_eh", self.scripts)

    def _ending(self, _method: str, answer: list[Any]) -> list[Any]:
        """A VM that is off is in ``lcm`` instead, if that is set."""
        off, ending = "<STATE>8</STATE><LCM_STATE>0<", f"<STATE>3</STATE><LCM_STATE>{self.lcm}<"
        return [answer[0], answer[1].replace(off, ending) if self.lcm else answer[1], *answer[2:]]

    def delete(self, vm: Vm, path: str = "", host: str = "eh", **environment: str) -> subprocess.CompletedProcess[str]:
        begun = self.begin(vm, path, host, **environment)
        output, errors = begun.communicate(timeout=30)
        return subprocess.CompletedProcess(begun.args, begun.returncode, output, errors)

    def begin(self, vm: Vm, path: str = "", host: str = "eh", **environment: str) -> subprocess.Popen[str]:
        """The last one that was begun is for `kill`."""
        where = path or f"/var/lib/one/datastores/100/{vm.id}"
        root = str(self.site.installation.root)
        known = {"PATH": os.environ["PATH"], "HOME": str(self.rpc.home), "ONE_LOCATION": root}
        self._last = subprocess.Popen(
            [self.scripts / "delete", f"{host}:{where}", str(vm.id), "100"],
            env={**known, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self._last

    def kill(self) -> None:
        """SIGKILL to the script and what it has started."""
        os.killpg(self._last.pid, signal.SIGKILL)


@pytest.fixture
def core(site: Site) -> Iterator[Core]:
    with site.core("7.4.0") as running:
        running.start_vmm()
        yield running


@pytest.fixture
def teller(site: Site, core: Core) -> Teller:
    return Teller(site, core)


def off(site: Site, core: Core) -> Vm:
    image = site.endpoint.call("/drives/create", {"name": f"golden {time.time_ns()}", "size": "4M"}).json()
    vm = site.running(core, {"CPUMHZ": "500", "MEMORY": "256", "IMAGE": f"ide:0:0 {image['drive']}"})
    core.poweroff(vm, hard=True)
    return core.wait(vm, "POWEROFF")


def drives_of(site: Site, vm: Vm) -> list[str]:
    found = site.endpoint.call("/drives/info").json()
    return [
        one["drive"]
        for one in found
        if one.get("user:one-vm") == str(vm.id) and one.get("user:one-cloud") == site.cloud
    ]


def test_the_server_and_drives_of_a_vm_that_is_terminated_while_off_are_released(
    site: Site, core: Core, teller: Teller
) -> None:
    vm = off(site, core)
    assert len(drives_of(site, vm)) == 1
    teller.lcm = 11
    done = teller.delete(vm, host="front-end-of-the-core")
    assert (done.returncode, done.stderr) == (0, "")
    assert site.servers() == []
    assert drives_of(site, vm) == []
    assert teller.delete(vm).returncode == 0, "a second time there is nothing to do"


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_release_killed_at_any_call_is_ended_by_the_next(site: Site, core: Core, teller: Teller, moment: str) -> None:
    """The core runs the script again when an administrator has it try once more."""
    with Proxy(site.endpoint.url) as proxy:
        site.configure(EHURI=proxy.url)
        for number in range(20):
            teller.lcm = 0
            vm = off(site, core)
            teller.lcm = 11
            left = kill_at(teller.kill, proxy, number, moment)
            begun = teller.begin(vm)
            begun.communicate(timeout=30)
            until(lambda left=left: left != [-1], "the end of the kill")
            proxy.faults.clear()
            assert begun.returncode == (0 if left else -signal.SIGKILL)
            assert teller.delete(vm).returncode == 0
            assert site.servers() == []
            assert drives_of(site, vm) == []
            if left:
                break
        assert number >= 2, "it was killed at two calls at least"


@pytest.mark.parametrize("lcm", [0, 10, 20, 30, 3])
def test_a_vm_that_does_not_end_keeps_its_server(site: Site, core: Core, teller: Teller, lcm: int) -> None:
    """POWEROFF, EPILOG_STOP, BOOT_POWEROFF, EPILOG_UNDEPLOY, RUNNING."""
    vm = off(site, core)
    teller.lcm = lcm
    assert teller.delete(vm).returncode == 0
    assert site.states() == {vm.deploy_id: "stopped"}


def test_a_disk_in_the_folder_is_not_the_vm(site: Site, core: Core, teller: Teller) -> None:
    vm = off(site, core)
    teller.lcm = 11
    assert teller.delete(vm, f"/var/lib/one/datastores/100/{vm.id}/disk.0").returncode == 0
    assert site.states() == {vm.deploy_id: "stopped"}


def test_without_the_core_s_word_nothing_is_reclaimed_and_the_error_says_why(
    site: Site, core: Core, teller: Teller
) -> None:
    vm = off(site, core)
    failed = teller.delete(vm, ONE_AUTH="/nowhere")
    assert failed.returncode == 1
    assert failed.stderr.startswith("Try again when OpenNebula answers. OpenNebula cannot be asked")
    assert f"VM {vm.id} still has {vm.deploy_id}" in failed.stderr
    assert "secret" not in failed.stderr
    assert site.states() == {vm.deploy_id: "stopped"}
    core.delete(vm)
    teller.delete(vm)
    assert site.servers() == []
    assert teller.delete(vm, ONE_AUTH="/nowhere").returncode == 0, "where nothing is, nobody has to be asked"


def test_a_cloud_that_does_not_answer_is_an_error_that_can_be_retried(site: Site, core: Core, teller: Teller) -> None:
    vm = off(site, core)
    teller.lcm = 11
    good = site.settings["EHAUTH"]
    site.configure(EHAUTH="11111111-2222-4333-8444-555555555555:wrong")
    failed = teller.delete(vm)
    assert failed.returncode == 1
    assert "refused user" in failed.stderr
    site.configure(EHAUTH=good)
    assert teller.delete(vm).returncode == 0
    assert site.servers() == []


@pytest.mark.parametrize(("release", "marked"), [("3.8.5", True), ("6.0.0", True), ("6.2.0", False), ("7.4.0", False)])
def test_a_failure_is_marked_for_the_releases_that_show_only_what_is_marked(
    installation: Installation, release: str, marked: bool
) -> None:
    Core(release, one_location=installation.root)
    scripts = installation.var / "remotes" / "tm" / "eh"
    shutil.copytree(FILES / "tm_eh", scripts)
    done = subprocess.run(
        [scripts / "clone", "fe:/a", "eh:/b", "3", "100"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    sentence = "Use IMAGE or DRIVE of EH=[...]: an image of OpenNebula does not reach a server at ElasticHosts (/a)."
    begin, end = "ERROR MESSAGE --8<------", "ERROR MESSAGE ------>8--"
    assert done.stderr.splitlines() == ([begin, sentence, end] if marked else [sentence])


REFUSED = {
    "resize": "Resize the drive at ElasticHosts: ",
    "snap_create": "Copy the drive at ElasticHosts: ",
    "snap_create_live": "Copy the drive at ElasticHosts: ",
    "snap_revert": "Copy the drive at ElasticHosts: ",
    "cpds": "Copy the drive at ElasticHosts: ",
    "prebackup": "Copy the drives at ElasticHosts: ",
    "prebackup_live": "Copy the drives at ElasticHosts: ",
    "restore": "Copy the drives at ElasticHosts: ",
}


@pytest.mark.parametrize(("script", "says"), REFUSED.items())
def test_what_is_not_done_for_a_vm_that_is_off_is_refused_and_says_what_to_do(
    teller: Teller, script: str, says: str
) -> None:
    command = [teller.scripts / script, "eh:/1/3/disk.0", "48", "3", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(says)
    assert len(says) < 61, "the core cuts the rest"


def test_every_other_action_of_a_transfer_driver_succeeds_without_doing_anything(teller: Teller) -> None:
    for script in sorted(teller.scripts.iterdir()):
        if script.name not in ("delete", "clone", "ln", "mkimage", "mkswap", "refuse", *REFUSED):
            assert subprocess.run([script, "a", "b"], capture_output=True, check=False).returncode == 0, script
    said = subprocess.run([teller.scripts / "monitor"], capture_output=True, text=True, check=True).stdout
    assert "FREE_MB=1048576" in said.split()
    assert os.access(Path(teller.scripts / "delete"), os.X_OK)
