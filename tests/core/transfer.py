# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The core's transfer manager: the lines of a transfer file, run by the scripts of ``remotes/tm`` as one_tm does it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .grammar import Vector
from .model import Vm
from .process import CoreFailure
from .releases import Release

BEGIN, END = "ERROR MESSAGE --8<------", "ERROR MESSAGE ------>8--"
PREFIX = "Error executing image transfer script"


def folder(var: Path, vm: Vm) -> str:
    """The folder of a VM on its host, as the core writes it."""
    return f"{vm.host.name if vm.host else ''}:{var}//datastores/100/{vm.id}"


def making(var: Path, vm: Vm, disk: Vector) -> str:
    """Return the transfer line that brings a disk to the host, or makes it there."""
    place = f"{folder(var, vm)}/disk.{disk['DISK_ID']}"
    if disk.get("SOURCE"):
        verb = "LN" if disk.get("PERSISTENT") == "YES" else "CLONE"
        return f"{verb} eh front-end:{disk['SOURCE']} {place} {vm.id} 100"
    if disk.get("TYPE") == "swap":
        return f"MKSWAP eh {disk['SIZE']} {place} {vm.id} 100"
    return f"MKIMAGE eh {disk['SIZE']} raw {place} {vm.id} 100"


def removing(var: Path, vm: Vm, disk: Vector) -> str:
    """Return the transfer line that removes a disk from the host."""
    place = f"{folder(var, vm)}/disk.{disk['DISK_ID']}"
    if disk.get("PERSISTENT") == "YES":
        return f"MVDS eh {place} {disk['SOURCE']} {vm.id} 100"
    return f"DELETE eh {place} {vm.id} 100"


def transfer(
    release: Release, var: Path, environment: Mapping[str, str], vm: Vm, what: str, lines: list[str]
) -> str | None:
    """Run the lines one after the other, until one fails.

    :param what: last word of the transfer file's name: prolog, prolog_attach, epilog_detach
    :returns: None when all went well, else what the release takes from the script's stderr; empty: no word is shown
    """
    file = var / "vms" / str(vm.id) / f"transfer.{vm.seq}.{what}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))
    for line in lines:
        verb, driver, *arguments = line.split()
        script = var / "remotes" / "tm" / driver / verb.lower()
        if not os.access(script, os.X_OK):
            raise CoreFailure(f"{script} is not there, or not executable: the core runs it for {line!r}")
        done = subprocess.run(
            [script, *arguments], cwd=var, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        if done.returncode:
            return _message(release, done.stderr)
    return None


def _message(release: Release, stderr: str) -> str:
    if not release.error_marks:
        return "".join(stderr.splitlines())
    _before, _mark, rest = stderr.partition(BEGIN)
    return rest.partition(END)[0].strip()
