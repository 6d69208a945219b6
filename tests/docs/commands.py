# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``onevm``: what a page does with VMs goes through the strict stand-in for OpenNebula's core.

The program in PATH hands its words over a socket to this process, where the core runs and has started the drivers
that the role installed. A VM gets its host at once, as the scheduler would do it, and a command comes back when the
drivers have answered, so that the next block of a page finds what a reader finds a moment later.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from tests.core import Core, CoreFailure, Vm
from tests.core.grammar import parse_template
from tests.front_ends import RELEASES, FrontEnd

PROGRAM = """#!{python}
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as link:
    link.connect({address!r})
    link.sendall(json.dumps({{"words": sys.argv[1:], "folder": os.getcwd()}}).encode() + b"\\n")
    answer = json.loads(link.makefile().readline())
print(answer["output"], end="", file=sys.stderr if answer["status"] else sys.stdout)
sys.exit(answer["status"])
"""
AT_REST = ("RUNNING", "POWEROFF", "DONE", "FAILED", "BOOT_FAILURE", "SUSPENDED", "STOPPED", "UNDEPLOYED", "PENDING")

PATIENCE = 120.0
"""seconds; the machine may be busy"""


class Refused(Exception):
    """What the command says before it ends with 255."""


class VirtualMachines:
    """The core of a front-end, and the program ``onevm`` of its users."""

    def __init__(self, front_end: FrontEnd, folder: Path) -> None:
        self._front_end = front_end
        self._core: Core | None = None
        self.programs = folder / "programs"
        self.programs.mkdir()
        address = folder / "onevm.socket"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(address))
        self._listener.listen()
        program = self.programs / "onevm"
        program.write_text(PROGRAM.format(python=sys.executable, address=str(address)))
        program.chmod(0o755)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._verbs: dict[str, Callable[[Core, list[str], Path], str]] = {
            "create": self._create,
            "show": self._show,
            "update": self._update,
            "terminate": lambda core, words, _folder: self._settled(core, words, core.terminate),
            "poweroff": lambda core, words, _folder: self._settled(core, words, core.poweroff),
            "resume": lambda core, words, _folder: self._settled(core, words, core.resume),
            "reboot": lambda core, words, _folder: self._settled(core, words, core.reboot),
            "recover": self._recover,
        }

    @property
    def last(self) -> Vm:
        """The VM that was created last."""
        assert self._core is not None
        return self._core.model.vms[max(self._core.model.vms)]

    def close(self) -> None:
        self._listener.close()
        if self._core is not None:
            self._core.shut_down()

    def _serve(self) -> None:
        while True:
            try:
                link, _address = self._listener.accept()
            except OSError:
                return
            with link:
                asked = json.loads(link.makefile().readline())
                try:
                    status, output = 0, self.do(asked["words"], Path(asked["folder"]))
                except (Refused, CoreFailure, OSError) as error:
                    status, output = 255, f"{error}\n"
                link.sendall(json.dumps({"status": status, "output": output}).encode() + b"\n")

    def do(self, words: list[str], folder: Path) -> str:
        """What ``onevm`` prints. Raises Refused."""
        if not words or words[0] not in self._verbs:
            raise Refused(f"onevm knows no {words[0] if words else 'empty command'}")
        return self._verbs[words[0]](self._started(), words[1:], folder)

    def _started(self) -> Core:
        """The core, with the hosts that ``onehost`` lists."""
        if self._core is None:
            quick = {"LISTING_PERIOD": "1"}
            self._core = Core(RELEASES[self._front_end.release], one_location=self._front_end.root, env=quick)
            self._core.start_vmm()
            self._core.start_im()
        core = self._core
        known = {host.name for host in core.model.hosts.values()}
        for host in self._front_end.state()["hosts"]:
            if host["im"] == "im_eh" and host["name"] not in known:
                core.create_host(host["name"])
        return core

    def _create(self, core: Core, words: list[str], folder: Path) -> str:
        text = (folder / words[0]).read_text()
        name = re.search(r'^NAME\s*=\s*"?([\w.-]+)', text, re.MULTILINE)
        for attribute in ("CPU", "MEMORY"):
            if not re.search(rf"^{attribute}\s*=", text, re.MULTILINE):
                raise Refused(f"[one.vm.allocate] {attribute} attribute must be a positive float or integer value.")
        vm = core.create_vm(text, name=name[1] if name else "one", cpu=None, memory=None)
        wanted = re.search(r'^SCHED_REQUIREMENTS\s*=\s*"NAME\s*=\s*\\"([\w.-]+)\\""', text, re.MULTILINE)
        fitting = [host for host in core.model.hosts.values() if wanted is None or host.name == wanted[1]]
        if fitting:
            core.wait_host(fitting[0], "MONITORED", PATIENCE)
            core.deploy(vm, fitting[0])
            self._rest(core, vm)
        return f"ID: {vm.id}\n"

    def _update(self, core: Core, words: list[str], folder: Path) -> str:
        vm = _vm(core, words)
        with core.changed:
            vm.template = tuple(parse_template((folder / words[1]).read_text()))
        return ""

    def _recover(self, core: Core, words: list[str], _folder: Path) -> str:
        ways = {"--retry": core.retry, "--delete": core.delete, "--recreate": core.recreate}
        way = next((word for word in words if word in ways), "")
        if not way:
            raise Refused("Usage: onevm recover <vmid> --retry | --delete | --recreate")
        return self._settled(core, [word for word in words if word != way], ways[way])

    def _settled(self, core: Core, words: list[str], action: Callable[[Vm], None]) -> str:
        vm = _vm(core, words)
        action(vm)
        self._rest(core, vm)
        return ""

    @staticmethod
    def _rest(core: Core, vm: Vm) -> None:
        core.wait_for(lambda: vm.state in AT_REST, f"an end of the action on VM {vm.id}", PATIENCE)
        core.answered(PATIENCE)

    @staticmethod
    def _show(core: Core, words: list[str], _folder: Path) -> str:
        vm = _vm(core, words)
        if vm.state == "RUNNING":
            core.wait_for(lambda: vm.address or vm.state != "RUNNING", f"an address of VM {vm.id}", PATIENCE)
        return _shown(vm)


def _vm(core: Core, words: list[str]) -> Vm:
    for vm in reversed(core.model.vms.values()):
        if words and words[0] in (str(vm.id), vm.name):
            return vm
    raise Refused(f"VM named {words[0] if words else ''} not found.")


def _shown(vm: Vm) -> str:
    """The lines of ``onevm show`` that matter here."""
    rows = {
        "ID": str(vm.id),
        "NAME": vm.name,
        "STATE": vm.state if vm.state in AT_REST[1:] and vm.state != "BOOT_FAILURE" else "ACTIVE",
        "LCM_STATE": vm.state,
        "HOST": vm.host.name if vm.host else "",
        "DEPLOY ID": vm.deploy_id,
        "GUEST_IP": vm.address,
        "ERROR": vm.error,
    }
    return "".join(f"{name:<20}: {value}\n" for name, value in rows.items() if value)
