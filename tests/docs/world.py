# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands of a page find: a scratch folder, real endpoints, a front-end, and a core that starts real drivers.

The pages name things as a site would. What stands for what is said here, once; the rest of a page is run as it is
written. Ansible reaches every host as this machine (``ANSIBLE_TRANSPORT``), and the account of the pages is the one
that the endpoints know.

Parts of a world, separated by commas:

* ``OpenNebula RELEASE`` (self-contained, in ``/srv/cloud/one``), the same ``with drivers`` that the role has installed,
  or ``OpenNebula RELEASE system-wide`` (``/etc/one`` ...)
* ``account``: EHURI and EHAUTH are set
* ``images``: the account has what the pages speak of
* ``tarball``: the collection is not there yet, but its tarball is in the folder
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.demo.programs import Programs
from tests.docs.blocks import ROOT
from tests.docs.commands import VirtualMachines
from tests.docs.shell import Shell
from tests.front_ends import FrontEnd
from tests.support.collection import COLLECTIONS
from tests.support.endpoint import Endpoint
from tests.support.plays import Plays

ENDPOINTS = ("https://eh.example.org", "https://eh2.example.org")
ONE_LOCATION = "/srv/cloud/one"
DRIVES = {
    "debian-12": "",
    "scratch": "",
    "root-disk": "2f6f8a1e-8f0a-4b3c-9d2e-5a7b9c1d3e4f",
    "data-disk": "6f0c8a52-1b0e-4c6e-9d57-2f1f0c7f7a11",
}
"""drives of the account, and the UUIDs that the pages have for them"""
VLAN = "9a1d7e5b-3c42-4f0e-8b6d-7c2e5f4a1b90"
NEIGHBOUR = "c0ffee00-1234-4abc-8def-0123456789ab"
MIB = 1024 * 1024


class Drivers:
    """The drivers as the role installs them, once for all pages that begin with them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._installed: dict[str, FrontEnd] = {}

    def put(self, front_end: FrontEnd, cloud: Endpoint) -> None:
        """Files, settings and registration go into ``front_end``, the drivers burst to ``cloud``."""
        installed = self._installed.get(front_end.release) or self._install(front_end.release, cloud)
        for folder in ("lib", "etc", "var/remotes"):
            shutil.copytree(installed.root / folder, front_end.root / folder, dirs_exist_ok=True)
        settings = front_end.folders["etc"] / "vmm_eh" / "vmm_ehrc"
        settings.write_text(re.sub("^EHURI=.*$", f"EHURI={cloud.url}", settings.read_text(), flags=re.MULTILINE))
        registered = {key: installed.state()[key] for key in ("hosts", "clusters", "datastores", "loaded", "transfer")}
        front_end.write_state({**front_end.state(), **registered})

    def _install(self, release: str, cloud: Endpoint) -> FrontEnd:
        front_end = FrontEnd(self._folder / release, release)
        played = Plays(self._folder, cloud, {"frontend": front_end}).play("install_driver")
        assert played.failed("frontend") == 0, played.output
        self._installed[release] = front_end
        return front_end


class World:
    """The surroundings of one page, until :meth:`close`."""

    def __init__(self, base: Path, parts: str, drivers: Drivers) -> None:
        self._base = base
        self._drivers = drivers
        self.folder = base / "scratch"
        self.folder.mkdir()
        self._parts = [part.strip() for part in parts.split(",")]
        self._stands_for: dict[str, str] = {}
        self._clouds: list[Endpoint] = []
        self.cloud = self._add_cloud(ENDPOINTS[0])
        if "images" in self._parts:
            self._add_images()
        self.front_end = self._add_front_end()
        self.virtual_machines = VirtualMachines(self.front_end, base) if self.front_end else None
        self.shell = self._open_shell()

    def _add_cloud(self, address: str) -> Endpoint:
        cloud = Endpoint(self._base / f"cloud-{len(self._clouds)}")
        self._clouds.append(cloud)
        self._stands_for[address] = cloud.url
        return cloud

    def _add_images(self) -> None:
        for name, uuid in DRIVES.items():
            made = self.cloud.call("/drives/create", {"name": name, "size": 16 * MIB}).json()
            if uuid:
                self._stands_for[uuid] = made["drive"]
        self._stands_for[VLAN] = self.cloud.call("/resources/vlan/create", {"name": "backend"}).json()["resource"]
        neighbour = {"name": "neighbour", "cpu": 500, "mem": 256}
        self._stands_for[NEIGHBOUR] = self.cloud.call("/servers/create/stopped", neighbour).json()["server"]

    def _add_front_end(self) -> FrontEnd | None:
        part = next((part for part in self._parts if part.startswith("OpenNebula ")), "")
        if not part:
            return None
        release, _blank, special = part.removeprefix("OpenNebula ").partition(" ")
        root = self._base / "front-end"
        front_end = FrontEnd(root, release, system_wide=special == "system-wide")
        if front_end.system_wide:
            # In a namespace of its own a user is nobody but root; there oneadmin is another name of the same.
            (root / "etc/passwd").write_text(f"{Path('/etc/passwd').read_text()}oneadmin:x:0:0::/var/lib/one:/bin/sh\n")
        else:
            self._stands_for[ONE_LOCATION] = str(root)
        if special == "with drivers":
            self._drivers.put(front_end, self.cloud)
        return front_end

    def _open_shell(self) -> Shell:
        home = self._base / "home"
        home.mkdir()
        environment = Programs(self.folder, COLLECTIONS, {}).environment | {
            "HOME": str(home),
            "ANSIBLE_HOME": str(home / ".ansible"),
            "ANSIBLE_TRANSPORT": "local",
            "ANSIBLE_PIPELINING": "1",
            "LC_ALL": "C.UTF-8",
        }
        if "account" in self._parts:
            environment |= self.cloud.env
        if "tarball" in self._parts:
            del environment["ANSIBLE_COLLECTIONS_PATH"]
            build = [sys.executable, str(ROOT / "tests/tools/build_tarball.py"), str(self.folder)]
            subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        enter: list[str] = []
        if self.front_end is not None and self.virtual_machines is not None:
            places = [str(self.virtual_machines.programs)]
            if self.front_end.system_wide:
                enter = self.front_end.enter()
            else:
                environment["ONE_LOCATION"] = str(self.front_end.root)
                environment["RUBYLIB"] = f"{self.front_end.root}/lib/ruby"
                places.append(str(self.front_end.folders["bin"]))
            environment["PATH"] = os.pathsep.join([*places, environment["PATH"]])
        return Shell(self.folder, environment, enter)

    def meant(self, text: str) -> str:
        """The text of a block with what its names stand for here."""
        if ENDPOINTS[1] in text and ENDPOINTS[1] not in self._stands_for:
            self._add_cloud(ENDPOINTS[1])
        for name, value in self._stands_for.items():
            text = text.replace(name, value)
        return text

    def path(self, name: str) -> Path:
        """A file that a page names: in its folder, or in the front-end."""
        if self.front_end is not None and self.front_end.system_wide and name.startswith("/"):
            return self.front_end.root / name[1:]
        return self.folder / self.meant(name)

    def deploy(self, template: str) -> str:
        """Deploy a VM with the real driver; empty when it runs, else what OpenNebula shows for it."""
        assert self.virtual_machines is not None
        (self.folder / "deployed.vm").write_text(self.meant(template))
        self.virtual_machines.do(["create", "deployed.vm"], self.folder)
        vm = self.virtual_machines.last
        return "" if vm.state == "RUNNING" else f"{vm.state}: {vm.error}"

    def server_of_last(self) -> dict[str, str]:
        """What the cloud has for the VM that was deployed last."""
        assert self.virtual_machines is not None
        answer = self.cloud.call(f"/servers/{self.virtual_machines.last.deploy_id}/info").json()
        return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in answer.items()}

    def close(self) -> None:
        self.shell.close()
        if self.virtual_machines is not None:
            self.virtual_machines.close()
        for cloud in self._clouds:
            cloud.stop()
