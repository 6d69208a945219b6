# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoint on this machine's libvirt, as a process of its own, and what the tests look at behind its back."""

from __future__ import annotations

import os
import signal
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
    """A zone on a libvirt, real guests unless told otherwise. What it leaves there is the business of `empty`."""

    PYTHON = str(PYTHON)

    def __init__(self, state: Path, network: str, *arguments: str, uri: str = URI, start: bool = True) -> None:
        options = ("--hypervisor", f"libvirt:{uri}", "--addresses", network)
        super().__init__(state, *options, *arguments, start=start)

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

    def status(self, uuid: str) -> str:
        return str(self.call(f"/servers/{uuid}/info").json().get("status"))

    def servers(self) -> list[str]:
        """UUIDs of the account's servers, as the API tells them."""
        return [row["uuid"] for row in self.call("/servers/list").json()]

    def logged(self, words: str) -> list[str]:
        """The lines of the endpoint's log that hold these words."""
        return [line for line in self.log.read_text().splitlines() if words in line]

    def empty(self) -> None:
        """End what a failed test left, and take the zone's network away."""
        leave(self.zone)


def leave(zone: str) -> None:
    """Take away all that libvirt has of a zone."""
    for kind, end in (("list", "destroy"), ("net-list", "net-destroy")):
        for name in virsh(kind, "--name").split():
            if name.startswith(zone):
                virsh(end, name)


def virsh(*arguments: str) -> str:
    done = subprocess.run(
        ["virsh", "--quiet", "--connect", URI, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"virsh {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def until(seen: Callable[[], Any], what: str, seconds: float = 180.0) -> Any:
    """What `seen` gives as soon as that is something. The limit is for machines that emulate and have much to do."""
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


class Libvirtd:
    """The daemon that with_libvirt.sh started."""

    @staticmethod
    def kill() -> None:
        process = int(Path("/run/libvirtd.pid").read_text())
        os.kill(process, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{process}").exists(), "libvirtd is gone", seconds=10)

    @staticmethod
    def start() -> None:
        subprocess.run(["libvirtd", "--daemon", "--config", "/run/libvirtd.conf"], check=True)
