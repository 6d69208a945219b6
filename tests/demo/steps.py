# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of the demo. Each expects to see what it says, and stops the demo when it does not."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

import requests

from tests.core import Core, Host, Vm
from tests.demo.programs import Programs
from tests.demo.story import Step, Story
from tests.support.endpoint import ROOT, Endpoint

MIB = 1024 * 1024
UNKNOWN_DRIVE = "00000000-0000-4000-8000-00000000dead"
TEMPLATE = """\
EH=[NAME="bitrot",
   CPUMHZ="500",
   MEMORY="500",
   DRIVE="ide:0:0 {drive}",
   NICMODEL="nic:0:model e1000",
   NICDHCP="nic:0:dhcp auto",
   VNCIP="vnc:ip auto",
   VNCPASSWORD="vnc:password password",
   BOOT="ide:0:0"
  ]
"""
"""the template of the original guide"""
CONFIGURATION = {"2.0.1": ("oned.conf",), "7.4.0": ("oned.conf", "monitord.conf")}
DRIVER_FILES = (
    "lib/mads/one_vmm_eh",
    "lib/mads/one_vmm_eh.py",
    "lib/mads/one_im_eh",
    "lib/mads/one_im_eh.py",
    "etc/vmm_eh/vmm_ehrc",
    "etc/vmm_eh/vmm_eh.conf",
    "etc/im_eh/im_ehrc",
    "etc/im_eh/im_eh.conf",
)


def start_endpoint(story: Story, cloud: Endpoint) -> None:
    with story.step("ElasticHosts endpoint", "ready, refuses strangers, lets the account in") as step:
        begun = time.monotonic()
        cloud.start()
        step.saw(f"process {cloud.pid} listens on {cloud.url}, ready in {time.monotonic() - begun:.2f} s")
        stranger = requests.get(f"{cloud.url}/drives/list", timeout=10)
        step.expect(
            (stranger.status_code, stranger.headers.get("X-Elastic-Error")) == (401, "auth"),
            "a stranger is refused: 401 auth",
            stranger.text,
        )
        own = cloud.call("/drives/list")
        step.expect((own.status_code, own.json()) == (200, []), "the account is let in: it has no drives yet", own.text)


def upload_and_provision(story: Story, programs: Programs, cloud: Endpoint) -> None:
    """An image goes to two drives, a server is made with one ad hoc command; all of it again changes nothing."""
    with story.step(
        "drive and server, ad hoc", "image uploaded, server active with an address; again: unchanged"
    ) as step:
        image = programs.scratch / "image.raw"
        image.write_bytes(os.urandom(5 * MIB) + bytes(7 * MIB))
        wanted = {"demo_image": str(image), "demo_drives": ["adhoc", "bitrot"]}
        changed, output = programs.play("demo", **wanted)
        step.expect(changed == 1, "ansible-playbook demo: 12 MiB uploaded to drives adhoc and bitrot", output)
        stored = hashlib.sha256(_drive_bytes(cloud, _drive(cloud, "bitrot"), image.stat().st_size)).hexdigest()
        own = hashlib.sha256(image.read_bytes()).hexdigest()
        step.expect(stored == own, f"read back from the cloud: the same bytes, sha256 {own[:12]}…", stored)
        changed, output = programs.play("demo", **wanted)
        step.expect(changed == 0, "again: unchanged", output)

        drives = [{"device": "ide:0:0", "drive": "adhoc"}]
        server = json.dumps({"name": "adhoc", "cpu": 1000, "mem": 512, "drives": drives, "tags": ["demo"]})
        command = ("localhost", "-m", "opennebula.elastichosts.server", "-a", server)
        output = programs.run("ansible", *command)
        step.expect("localhost | CHANGED" in output, "ansible -m server: created", output)
        address = _server(cloud, "adhoc").get("nic:0:dhcp:ip", "")
        step.expect(bool(address), f"it is active and has the address {address}", _servers(cloud))
        output = programs.run("ansible", *command)
        step.expect("localhost | SUCCESS" in output and '"changed": false' in output, "again: unchanged", output)


def install_drivers(story: Story, programs: Programs, cloud: Endpoint) -> dict[str, Path]:
    """$ONE_LOCATION of a 2.0 and of a 7.4, each with its drivers."""
    trees = {release: programs.scratch / f"one-{release}" for release in CONFIGURATION}
    for release, tree in trees.items():
        _front_end(tree, release)
    hosts = {tree.name: _variables(tree, release, cloud) for release, tree in trees.items()}
    before = {tree: _files(tree) for tree in trees.values()}
    with story.step(
        "drivers installed", "8 files and the oned.conf sections, for 2.0.1 and 7.4.0; again: unchanged"
    ) as step:
        changed, output = programs.play_on(hosts, "install_driver")
        for release, tree in trees.items():
            step.expect(
                changed[tree.name] > 0,
                f"OpenNebula {release}: ansible-playbook install_driver changed the tree",
                output,
            )
            missing = [name for name in DRIVER_FILES if not (tree / name).is_file()]
            step.expect(not missing, f"the {len(DRIVER_FILES)} driver files are in $ONE_LOCATION", missing)
            for name in CONFIGURATION[release]:
                _expect_section(step, tree / "etc" / name, before[tree][f"etc/{name}"].decode())
            mode = (tree / "etc/vmm_eh/vmm_ehrc").stat().st_mode & 0o777
            step.expect(mode == 0o600, "vmm_ehrc, which holds EHAUTH, has mode 0600", oct(mode))
        installed = {tree: _files(tree) for tree in trees.values()}
        changed, output = programs.play_on(hosts, "install_driver")
        same = installed == {tree: _files(tree) for tree in trees.values()}
        step.expect(same and set(changed.values()) == {0}, "again, both: unchanged", output)
    return trees


def burst_with_2_0(story: Story, tree: Path, cloud: Endpoint) -> None:
    with (
        story.step(
            "OpenNebula 2.0.1", "MONITORED, DEPLOY, POLL with address, refusal with its reason, SHUTDOWN"
        ) as step,
        Core("2.0.1", one_location=tree) as core,
    ):
        host = _start(step, core)
        vm = _deploy(step, core, host, cloud)
        core.poll(vm)
        core.wait_for(lambda: vm.address, "an address in POLL's answer")
        step.saw(f"POLL: running, address {vm.address}")
        _refuse_unknown_drive(step, core, host, "FAILED")
        core.terminate(vm)
        core.wait(vm, "DONE")
        step.expect(not _burst_servers(cloud), "SHUTDOWN: VM is DONE, its server is gone", _servers(cloud))


def burst_with_7_4(story: Story, tree: Path, cloud: Endpoint, programs: Programs) -> None:
    with Core("7.4.0", one_location=tree) as core:
        with story.step(
            "OpenNebula 7.4.0", "MONITORED, DEPLOY, address, REBOOT, power-off, resume, refusal with its reason"
        ) as step:
            host = _start(step, core)
            vm = _deploy(step, core, host, cloud)
            core.wait_for(lambda: vm.address, "an address in MONITOR_VM")
            step.saw(f"MONITOR_VM: address {vm.address}")
            core.reboot(vm)
            core.answered()
            step.expect(core.replies("REBOOT", vm)[-1].ok, "REBOOT: done", core.said()[-5:])
            core.poweroff(vm)
            core.wait(vm, "POWEROFF")
            status = _server(cloud, "bitrot").get("status")
            step.expect(status == "stopped", "power-off: VM is POWEROFF, its server is kept, stopped", status)
            server = vm.deploy_id
            core.resume(vm)
            core.wait(vm, "RUNNING")
            step.expect(vm.deploy_id == server, "resume: RUNNING again as the same server", vm.deploy_id)
            _refuse_unknown_drive(step, core, host, "BOOT_FAILURE")
        show_inventory(story, programs, cloud)
        with story.step("the end of the VM", "terminate: server gone, drive kept") as step:
            core.terminate(vm)
            core.wait(vm, "DONE")
            step.expect(not _burst_servers(cloud), "terminate: VM is DONE, its server is gone", _servers(cloud))
            drive = _drive(cloud, "bitrot")
            step.expect("claimed" not in drive, "its drive is kept and free again", drive)


def show_inventory(story: Story, programs: Programs, cloud: Endpoint) -> None:
    with story.step("inventory", "the burst node in its group, with address and state, without secrets") as step:
        source = programs.scratch / "burst.elastichosts.yml"
        source.write_text("plugin: opennebula.elastichosts.servers\n")
        graph = programs.run("ansible-inventory", "-i", source.name, "--graph")
        for line in graph.rstrip().splitlines():
            step.saw(line)
        groups = json.loads(programs.run("ansible-inventory", "-i", source.name, "--list"))
        burst = groups.get("opennebula_burst", {}).get("hosts", [])
        step.expect(burst == ["bitrot"], "opennebula_burst holds bitrot, the VM of OpenNebula, and not adhoc", graph)
        facts = json.loads(programs.run("ansible-inventory", "-i", source.name, "--host", "bitrot"))
        address = _server(cloud, "bitrot")["nic:0:dhcp:ip"]
        step.expect(
            (facts.get("ansible_host"), facts.get("eh_status")) == (address, "active"),
            f"host bitrot: address {address}, active",
            facts,
        )
        secret = "password" in json.dumps(facts)
        step.expect(not secret, "no password among its variables", facts)


def remove_drivers(story: Story, programs: Programs, cloud: Endpoint, tree: Path) -> None:
    with story.step("drivers removed", "7.4.0: oned.conf, monitord.conf and all else byte for byte as before") as step:
        changed, output = programs.play("remove_driver", **_variables(tree, "7.4.0", cloud))
        step.expect(changed > 0, "OpenNebula 7.4.0: ansible-playbook remove_driver changed the tree", output)
        stock = programs.scratch / "stock"
        _front_end(stock, "7.4.0")
        core = ("var/config", "var/vms/", "var/remotes/VERSION")  # what the core itself has written meanwhile
        left = {name: content for name, content in _files(tree).items() if not name.startswith(core)}
        step.expect(left == _files(stock), "its files are, byte for byte, what they were", sorted(left))


def _variables(tree: Path, release: str, cloud: Endpoint) -> dict[str, str]:
    return {
        "one_eh_driver_one_location": str(tree),
        "one_eh_driver_release": release,
        "one_eh_driver_endpoint": cloud.url,
        "one_eh_driver_auth": cloud.auth,
        "one_eh_driver_python": sys.executable,  # it has requests, whatever the system's Python has
    }


def _front_end(tree: Path, release: str) -> None:
    """A self-contained front-end as far as the role looks at it: the folders, and the configuration it edits."""
    for folder in ("bin", "etc", "lib/mads", "var"):
        (tree / folder).mkdir(parents=True)
    samples = ROOT / "tests" / "samples" / release.rpartition(".")[0]
    for name in CONFIGURATION[release]:
        shutil.copy(samples / name, tree / "etc" / name)


def _expect_section(step: Step, path: Path, before: str) -> None:
    lines = list(difflib.ndiff(before.splitlines(keepends=True), path.read_text().splitlines(keepends=True)))
    added = "".join(line[2:] for line in lines if line.startswith("+"))
    kinds = re.findall(r"^(\w+_MAD)\b", added, re.MULTILINE)
    # Two kinds of lines come back changed: a stock section that is switched on, a list that our transfer driver joins.
    stock = added.replace(",eh", "")
    lost = [line for line in lines if line.startswith("-") and line[2:].removeprefix("#") not in stock]
    step.expect(
        bool(kinds) and not lost, f"{path.name}: {' and '.join(kinds)} added, nothing else changed", "".join(lost)
    )


def _start(step: Step, core: Core) -> Host:
    seconds = {"one_vmm_eh": core.start_vmm("one_vmm_eh"), "one_im_eh": core.start_im("one_im_eh")}
    times = ", ".join(f"{name} in {value:.2f} s" for name, value in seconds.items())
    step.saw(f"started as oned starts them, INIT answered: {times}")
    host = core.create_host("eh")
    core.wait_host(host, "MONITORED")
    cores, memory = int(host.facts["TOTALCPU"]) // 100, int(host.facts["TOTALMEMORY"]) // 1024
    step.expect((cores, memory) == (2, 2048), f"host eh is MONITORED: {cores} cores, {memory} MB", host.facts)
    return host


def _deploy(step: Step, core: Core, host: Host, cloud: Endpoint) -> Vm:
    vm = core.create_vm(TEMPLATE.format(drive=_drive(cloud, "bitrot")["drive"]))
    core.deploy(vm, host)
    core.wait(vm, "RUNNING")
    server = _server(cloud, "bitrot")
    step.expect(
        (server.get("server"), server.get("user:one-vm")) == (vm.deploy_id, str(vm.id)),
        f"DEPLOY: VM {vm.id} is RUNNING as server {vm.deploy_id}",
        server,
    )
    return vm


def _refuse_unknown_drive(step: Step, core: Core, host: Host, state: str) -> None:
    vm = core.create_vm(TEMPLATE.format(drive=UNKNOWN_DRIVE))
    core.deploy(vm, host)
    core.wait(vm, state)
    text = core.replies("DEPLOY", vm)[-1].text
    step.expect(UNKNOWN_DRIVE in text, f"DEPLOY with an unknown drive: {state}: {text}", text)


def _servers(cloud: Endpoint) -> list[dict[str, object]]:
    found: list[dict[str, object]] = cloud.call("/servers/info").json()
    return found


def _burst_servers(cloud: Endpoint) -> list[dict[str, object]]:
    return [server for server in _servers(cloud) if "user:one-vm" in server]


def _server(cloud: Endpoint, name: str) -> dict[str, object]:
    return next((server for server in _servers(cloud) if server["name"] == name), {})


def _drive(cloud: Endpoint, name: str) -> dict[str, object]:
    found: list[dict[str, object]] = cloud.call("/drives/info").json()
    return next((drive for drive in found if drive["name"] == name), {})


def _drive_bytes(cloud: Endpoint, drive: dict[str, object], size: int) -> bytes:
    chunk = 4 * MIB
    parts = [cloud.call(f"/drives/{drive['drive']}/read/{start}/{chunk}").content for start in range(0, size, chunk)]
    return b"".join(parts)[:size]


def _files(tree: Path) -> dict[str, bytes]:
    return {str(path.relative_to(tree)): path.read_bytes() for path in sorted(tree.rglob("*")) if path.is_file()}
