# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decides what of a VM may be destroyed because the core says that the VM needs it no more. Asks and changes nothing.

A VM that ends while it is off is told to no VM driver, and to no driver at all in 2.0 (opennebula-drivers 2.3, 10). So
the core is asked about what the account has. What the core says has to be said twice, some seconds apart, and about
the same things; silence, an unknown VM and every other state destroy nothing.
"""

from __future__ import annotations

from enum import Enum
from typing import Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Sequence

from ..elastichosts.drives import Drive
from ..elastichosts.identifiers import is_uuid
from ..elastichosts.servers import Server
from ..opennebula.vm import ACTIVE, DONE, VirtualMachine
from .translate import DEVICE_KEY, owner

RUNNING = 3
"""LCM_STATE"""
NEVER = float("-inf")


class OwnedObject(NamedTuple):
    """A server or a drive of the account, as its ownership keys describe it."""

    uuid: str
    cloud: str
    """id of the OpenNebula cloud; empty: it is not OpenNebula's"""
    vm: Optional[int]
    host: str
    """OpenNebula host"""
    seq: int
    """SEQ of the VM's history when it was made, adopted or started"""
    listed: float
    """monotonic seconds: when the listing that has it was begun"""
    is_server: bool = True


class Reason(str, Enum):
    """Why a server or drive is not needed any more."""

    ENDED = "the VM has ended"
    MOVED = "the VM runs on a host of another VM driver"
    UNCLEAR = "the core's record of the VM does not name this server"
    """ended or moved, but it may be another cloud's VM with the same id: kept"""


class Evidence(NamedTuple):
    """What the core says of a VM that has something in the cloud."""

    reason: Reason
    seq: int
    """of the VM's newest history record"""
    host: str
    """of the same record"""
    things: FrozenSet[str]
    """UUIDs of all that the VM has"""


class Sighting(NamedTuple):
    """How often the same evidence was found, and when first (monotonic seconds)."""

    evidence: Evidence
    first: float
    times: int


class Findings(NamedTuple):
    due: Dict[int, Evidence]
    """VMs whose things may be destroyed now"""
    sightings: Dict[int, Sighting]
    """to be handed in again next time"""


def by_vm(things: Iterable[OwnedObject], cloud: str) -> Dict[int, List[OwnedObject]]:
    """Return what belongs to ``cloud``, by VM id: the servers of a VM, or its drives where it has no server."""
    servers: Dict[int, List[OwnedObject]] = {}
    drives: Dict[int, List[OwnedObject]] = {}
    for thing in things:
        if cloud and thing.cloud == cloud and thing.vm is not None:
            (servers if thing.is_server else drives).setdefault(thing.vm, []).append(thing)
    return {**drives, **servers}


def is_elsewhere(things: Sequence[OwnedObject], vm: VirtualMachine) -> bool:
    """Return whether the VM runs on another host than the one that its servers or drives are marked with."""
    running = vm.state == ACTIVE and vm.lcm_state == RUNNING
    return running and all(thing.host != vm.history_host for thing in things)


def evidence(things: Sequence[OwnedObject], vm: VirtualMachine, drivers: Mapping[str, str]) -> Optional[Evidence]:
    """Return why the ``things`` of ``vm`` are not needed any more; None: they are needed.

    :param drivers: name of the VM driver of each host; a host that is missing proves nothing
    """
    if vm.state == DONE:
        reason, sure = Reason.ENDED, _is_recorded(things, vm)
    elif is_elsewhere(things, vm) and _is_another_driver(things, vm, drivers):
        # A server that the VM came back to has the SEQ of that start.
        reason, sure = Reason.MOVED, _is_named(things, vm) and all(thing.seq < vm.history_seq for thing in things)
    else:
        return None
    sure = sure and all(thing.seq <= vm.history_seq for thing in things)
    uuids = frozenset(thing.uuid for thing in things)
    return Evidence(reason if sure else Reason.UNCLEAR, vm.history_seq, vm.history_host, uuids)


def _is_named(things: Sequence[OwnedObject], vm: VirtualMachine) -> bool:
    return vm.deploy_id in [thing.uuid for thing in things if thing.is_server]


def _is_recorded(things: Sequence[OwnedObject], vm: VirtualMachine) -> bool:
    """Whether the core's VM is the one that the things are marked with, and not a VM of the same id in another core.

    Two clouds with one EHCLOUD, or a core whose database was put back, must not destroy each other's servers: the core
    has to name the server. A VM whose server has gone leaves drives, which no record names: there the VM must have had
    a server, and the host has to be the same.
    """
    if any(thing.is_server for thing in things):
        return _is_named(things, vm)
    return is_uuid(vm.deploy_id) and all(thing.host == vm.history_host for thing in things)


def _is_another_driver(things: Sequence[OwnedObject], vm: VirtualMachine, drivers: Mapping[str, str]) -> bool:
    there = drivers.get(vm.history_host)
    return bool(there) and all(drivers.get(thing.host) not in (None, "", there) for thing in things)


def leftovers(
    things: Iterable[OwnedObject],
    cloud: str,
    answers: Mapping[int, VirtualMachine],
    acted: Mapping[int, float],
    before: Mapping[int, Sighting],
    now: float,
    *,
    grace: Mapping[Reason, float],
    times: int = 2,
    drivers: Optional[Mapping[str, str]] = None,
) -> Findings:
    """Return what may be destroyed now, and what is to be handed in again with the next call.

    :param things: all that the account has, whoever's it is
    :param cloud: id of this OpenNebula cloud
    :param answers: what the core says now, for the VMs that it was asked about and has answered
    :param acted: when the last action of a VM ended (monotonic seconds); infinity while one is under way
    :param before: what the last call has returned
    :param grace: seconds between the first sighting and the end, by reason; a reason that is missing destroys nothing
    :param times: sightings that are needed
    :param drivers: as in :func:`evidence`
    """
    findings = Findings({}, {})
    for vm_id, own in by_vm(things, cloud).items():
        earlier = before.get(vm_id)
        last = acted.get(vm_id, NEVER)
        if last >= min(thing.listed for thing in own):
            continue  # the listing may be older than what the action has done
        answer = answers.get(vm_id)
        if answer is None:
            if earlier is not None:
                findings.sightings[vm_id] = earlier
            continue
        seen = evidence(own, answer, drivers or {}) if answer.id == vm_id else None
        if seen is None:
            continue
        sighting = Sighting(seen, now, 1)
        if earlier is not None and earlier.evidence == seen and last < earlier.first:
            sighting = earlier._replace(times=earlier.times + 1)
        findings.sightings[vm_id] = sighting
        wait = grace.get(seen.reason)
        if wait is not None and sighting.times >= times and now - sighting.first >= wait:
            findings.due[vm_id] = seen
    return findings


def spare_copies(drives: Sequence[Drive], servers: Sequence[Server], cloud: str) -> Dict[str, int]:
    """Return the VM by UUID of each copy that no server has, while the VM's server has another one at its device.

    Another driver has made such a copy for a server that it has not created yet, or never will. A copy that somebody
    has taken off, whose device is empty or has a drive that is not the VM's, is none.
    """
    owners = {drive.uuid: owner(drive, cloud) for drive in drives}
    named = {uuid for server in servers for uuid in server.drives.values()}
    taken = {
        (owner(server, cloud), device)
        for server in servers
        for device, uuid in server.drives.items()
        if owners.get(uuid) == owner(server, cloud)
    }
    found: Dict[str, int] = {}
    for drive in drives:
        vm = owners[drive.uuid]
        if vm is not None and drive.uuid not in named and (vm, drive.properties.get(DEVICE_KEY)) in taken:
            found[drive.uuid] = vm
    return found


def overdue(first_seen: Mapping[str, float], listed: float, longest: float) -> List[str]:
    """Return the UUIDs of the spare copies whose attempts are over, since none takes so long.

    :param first_seen: by UUID, when the listing was begun in which the copy was seen first (monotonic seconds)
    :param listed: when the last listing was begun
    :param longest: seconds that an attempt may take at most, with a margin
    """
    return [uuid for uuid, first in first_seen.items() if listed - first > longest]
