# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind of guests a machine can run: found out by running one, for a device that is there need not work."""

from __future__ import annotations

import logging
import time
from typing import Any
from uuid import uuid4

from . import domain_xml
from .connection import CannotUse, Connection
from .domain_xml import Machine

LOG = logging.getLogger("eh_endpoint")
TRIAL_SECONDS = {"kvm": 3.0, "qemu": 30.0}
"""By type of guest, how long a BIOS without a disk may take. Emulation needs a third of a second on an idle machine;
KVM that needs ten times as long is emulated itself, and there emulation at first hand is faster."""
_REFUSED = "refused: "


def tried(connection: Connection, offer: domain_xml.Offer, zone: str, console: str) -> Machine:
    """The first type of guest that is seen to run, with CPU shares if these work. Raises CannotUse.

    console: the address of VNC. The name of the zone is that of its network.
    """
    said = "it offers no type of guest"
    for kind in offer.types:
        for weights in (True, False):
            machine = Machine(kind, offer.arch, zone, zone, console, weights, offer.labelled)
            if kind not in TRIAL_SECONDS:
                return machine._replace(weights=False)
            said = _trial(connection, machine)
            if not said:
                return machine
            LOG.warning("guests of type %s do not run here: %s", kind, said)
            if not said.startswith(_REFUSED):
                break
    raise CannotUse(f"no guest runs on this libvirt: {said}")


def _trial(connection: Connection, machine: Machine) -> str:
    """Run a guest to its end; what went wrong, or nothing."""
    try:
        return connection.now(lambda conn: _run(connection.api, conn, machine))
    except CannotUse as error:
        return f"{_REFUSED}{error}"


def _run(api: Any, connection: Any, machine: Machine) -> str:
    # A new name each time: libvirt may still be clearing up the trial of an endpoint that was ended during it.
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
    """Whether a domain is there and runs."""
    try:
        return bool(connection.lookupByUUIDString(uuid).isActive())
    except api.libvirtError as error:
        if error.get_error_code() == api.VIR_ERR_NO_DOMAIN:
            return False
        raise
