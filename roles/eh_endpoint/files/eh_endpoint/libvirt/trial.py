# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the type of guests that a machine can run, by running a guest, since an existing /dev/kvm may not work."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from . import domain_xml
from .connection import CannotUse, Connection
from .domain_xml import Machine

LOG = logging.getLogger("eh_endpoint")
TRIAL_SECONDS = {"kvm": 3.0, "qemu": 30.0}
"""Time limit for a BIOS without a disk, by type of guest. Emulation takes 0.3 seconds on an idle machine. If KVM takes
ten times as long, it is emulated itself (nested), and QEMU's own emulation is faster."""
PVM = Path("/sys/module/kvm_pvm")
"""The module of a KVM without hardware virtualization, as in nested clouds. A BIOS runs on it, but a guest stops in its
boot loader, since not all instructions can be emulated."""
_REFUSED = "refused: "


def tried(connection: Connection, offer: domain_xml.Offer, zone: str, console: str) -> Machine:
    """Return the settings for the first type of guest that runs, with CPU shares if they work. Raises CannotUse.

    zone: name of the zone and of its network. console: address on which VNC listens.
    """
    problem = "it offers no type of guest"
    for kind in offer.types:
        if kind == "kvm" and PVM.exists():
            problem = "the module kvm_pvm stops them in their boot loaders"
            LOG.warning("guests of type %s do not run here: %s", kind, problem)
            continue
        for weights in (True, False):
            machine = Machine(kind, offer.arch, zone, zone, console, weights, offer.labelled)
            if kind not in TRIAL_SECONDS:
                return machine._replace(weights=False)
            problem = _trial(connection, machine)
            if not problem:
                return machine
            LOG.warning("guests of type %s do not run here: %s", kind, problem)
            if not problem.startswith(_REFUSED):
                break
    raise CannotUse(f"no guest runs on this libvirt: {problem}")


def _trial(connection: Connection, machine: Machine) -> str:
    """Run a guest until it ends; return the problem, empty if there is none."""
    try:
        return connection.now(lambda conn: _run(connection.api, conn, machine))
    except CannotUse as error:
        return f"{_REFUSED}{error}"


def _run(api: Any, connection: Any, machine: Machine) -> str:
    # A new name each time, since libvirt may still be cleaning up a trial whose endpoint was killed.
    name = f"{machine.zone}-trial-{uuid4().hex[:8]}"
    domain = connection.createXML(domain_xml.trial(machine, name), api.VIR_DOMAIN_START_AUTODESTROY)
    uuid, seconds = domain.UUIDString(), TRIAL_SECONDS[machine.type]
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if not is_active(api, connection, uuid):
            return ""
        time.sleep(0.05)
    domain.destroy()
    return f"its BIOS took more than {seconds:g} seconds"


def is_active(api: Any, connection: Any, uuid: str) -> bool:
    """Return whether a domain exists and runs."""
    try:
        return bool(connection.lookupByUUIDString(uuid).isActive())
    except api.libvirtError as error:
        if error.get_error_code() == api.VIR_ERR_NO_DOMAIN:
            return False
        raise
