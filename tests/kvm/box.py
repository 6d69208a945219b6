# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoint on this machine's libvirt, as a process of its own, and what the tests look at behind its back."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.kvm.guest import PORT
from tests.support.endpoint import ROOT, Endpoint

FOLDER = ROOT / ".cache" / "kvm"
PYTHON = FOLDER / "venv" / "bin" / "python"
URI = "qemu:///system"


class Box(Endpoint):
    """A zone on real guests. What it leaves in libvirt is the business of `empty`."""

    PYTHON = str(PYTHON)

    def __init__(self, state: Path, network: str, *arguments: str, user: str = "", key: str = "") -> None:
        account = {"user": user, "key": key} if user else {}
        super().__init__(state, "--hypervisor", f"libvirt:{URI}", "--addresses", network, *arguments, **account)

    @property
    def zone(self) -> str:
        return (self.state / "zone").read_text().strip()

    def domains(self) -> list[str]:
        """UUIDs of the zone's domains, as libvirt tells them."""
        names = virsh("list", "--all", "--name").split()
        return [name.removeprefix(f"{self.zone}-") for name in names if name.startswith(f"{self.zone}-")]

    def process(self, uuid: str) -> int:
        """The process of a guest."""
        return int(Path(f"/run/libvirt/qemu/{self.zone}-{uuid}.pid").read_text())

    def empty(self) -> None:
        """End what a failed test left, and take the zone's network away."""
        for uuid in self.domains():
            virsh("destroy", f"{self.zone}-{uuid}")
        for name in virsh("net-list", "--all", "--name").split():
            if name.startswith(self.zone):
                virsh("net-destroy", name)


def virsh(*arguments: str) -> str:
    done = subprocess.run(
        ["virsh", "--quiet", "--connect", URI, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"virsh {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def until(seen: Callable[[], Any], what: str, seconds: float = 90.0) -> Any:
    """What `seen` gives as soon as that is something."""
    limit = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < limit, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)
    return found


def hello(address: str) -> str:
    """What a guest says on its TCP port; nothing while it does not."""
    try:
        with socket.create_connection((address, PORT), timeout=3) as connection:
            return connection.makefile().readline().strip()
    except OSError:
        return ""
