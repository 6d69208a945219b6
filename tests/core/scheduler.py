# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks by which the scheduler of each release accepts a host and its system datastore for a VM.

Read in OpenNebula's sources (HostXML, DatastoreXML and Scheduler from 2.0 to 7.4), and seen on running cores.
"""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .grammar import parse_template, single
from .model import Vm
from .releases import Release


@dataclass(frozen=True)
class SystemDatastore:
    """The system datastore of the host's cluster.

    :param monitor: program by which DATASTORE_MAD measures it: ``monitor`` of its transfer driver, which is asked from
        5.0 on, if the driver is in the list ``-s``; None: it is not
    """

    shared: bool = True
    monitor: Path | None = None
    numbers: Mapping[str, int] = field(default_factory=dict)

    def measured(self) -> Mapping[str, int]:
        """TOTAL_MB, USED_MB and FREE_MB as the core has them; all 0 when nobody tells."""
        if self.monitor is None:
            return self.numbers
        document = base64.b64encode(b"<DS_DRIVER_ACTION_DATA><DATASTORE/></DS_DRIVER_ACTION_DATA>")
        said = subprocess.run([self.monitor, "100"], input=document, stdout=subprocess.PIPE, check=True).stdout
        return {name: int(value) for name, value in single(parse_template(said.decode())).items()}


class HostView(NamedTuple):
    """What the scheduler sees of a host."""

    state: str
    facts: Mapping[str, str]
    vms: Iterable[Vm]
    """those that are on it"""

    def number(self, name: str) -> float:
        return float(self.facts.get(name, "0"))


def _size(vm: Vm) -> tuple[float, float]:
    """CPU (100 is one core) and memory (KB) that a VM is given."""
    given = {name: value for name, value in vm.template if isinstance(value, str)}
    return float(given.get("CPU", "0")) * 100, float(given.get("MEMORY", "0")) * 1024


def refusal_of(release: Release, host: HostView, vm: Vm, datastore: SystemDatastore, disk: int) -> str:
    """Return why the scheduler does not place the VM on the host; empty when it does.

    :param disk: MB that the VM needs in the system datastore
    """
    if host.state != "MONITORED":
        return f"the host is {host.state}"
    used = [_size(other) for other in host.vms if other.state not in ("DONE", "FAILED", "PENDING", "UNDEPLOYED")]
    cpu, memory = _size(vm)
    if host.number("TOTALCPU") - sum(size[0] for size in used) < cpu:
        return "not enough CPU"
    if host.number("TOTALMEMORY") - sum(size[1] for size in used) < memory:
        return "not enough memory"
    version = tuple(int(part) for part in release.name.split(".")[:2])
    if version < (4, 4):
        return ""
    return _of_datastore(datastore, host, disk, monitors=version >= (5, 0))


def _of_datastore(datastore: SystemDatastore, host: HostView, disk: int, *, monitors: bool) -> str:
    """Return why the system datastore has no room, as 4.4 and later check it; empty when it has.

    :param monitors: 5.0 and later: a shared system datastore is measured by its own driver, and has to be
    """
    numbers = datastore.measured() if monitors else {}
    measured = any(numbers.values())
    if datastore.shared and monitors and not measured:
        return "the system datastore is not monitored"
    if datastore.shared and measured:
        free = numbers["FREE_MB"]
        return "" if disk == 0 or disk < free else f"not enough capacity in the system datastore: {disk} of {free} MB"
    free = int(host.number("DS_LOCATION_FREE_MB"))
    return "" if disk < free else f"not enough capacity in the host's system datastore: {disk} < {free} MB is not so"
