# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decides which servers and drives may be destroyed because their VM does not need them any more. Pure functions.

The core reports to no VM driver, and in 2.0 to no driver at all, that a VM ended while it was off (opennebula-drivers
2.3, 10), so the sweep queries the core about the VMs that have something in the account. Two queries, some seconds
apart, must give the same evidence about the same objects; no answer, an unknown VM or any other state destroys nothing.
"""

from __future__ import annotations

from enum import Enum
from typing import Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Sequence

from ..elastichosts.drives import Drive
from ..elastichosts.identifiers import is_uuid
from ..elastichosts.servers import Server, attached_drives
from ..opennebula.vm import ACTIVE, DONE, VirtualMachine
from .translate import DEVICE_KEY, owner

RUNNING = 3
"""LCM_STATE"""
NEVER = float("-inf")


class OwnedObject(NamedTuple):
    """A server or a drive of the account, as its ownership keys describe it."""

    uuid: str
    cloud: str
    """id of the OpenNebula cloud; empty: the object has no ownership keys"""
    vm: Optional[int]
    host: str
    """name of the OpenNebula host"""
    seq: int
    """SEQ of the VM's history when the object was made, adopted or started"""
    listed: float
    """monotonic seconds: when the listing that contains the object was begun"""
    is_server: bool = True


class Reason(str, Enum):
    """Why a server or drive is not needed any more."""

    ENDED = "the VM has ended"
    MOVED = "the VM runs on a host of another VM driver"
    UNCLEAR = "the core's record of the VM does not name this server"
    """the VM has ended or moved, but may be another cloud's VM with the same id: the objects are kept"""


class Evidence(NamedTuple):
    """Why the servers or drives of a VM are not needed, according to the core."""

    reason: Reason
    seq: int
    """SEQ of the VM's newest history record"""
    host: str
    """host of that record"""
    things: FrozenSet[str]
    """UUIDs of the VM's servers, or of its drives if it has no server"""


class Sighting(NamedTuple):
    """How often the same evidence was found, and when first."""

    evidence: Evidence
    first: float
    """monotonic seconds"""
    times: int


class Findings(NamedTuple):
    """The result of :func:`leftovers`, by VM id."""

    due: Dict[int, Evidence]
    """VMs whose servers or drives may be destroyed now"""
    sightings: Dict[int, Sighting]
    """argument ``before`` of the next call"""


def by_vm(things: Iterable[OwnedObject], cloud: str) -> Dict[int, List[OwnedObject]]:
    """Return the objects of ``cloud`` by VM id: the servers of a VM, or its drives if it has no server."""
    servers: Dict[int, List[OwnedObject]] = {}
    drives: Dict[int, List[OwnedObject]] = {}
    for thing in things:
        if cloud and thing.cloud == cloud and thing.vm is not None:
            (servers if thing.is_server else drives).setdefault(thing.vm, []).append(thing)
    return {**drives, **servers}


def is_elsewhere(things: Sequence[OwnedObject], vm: VirtualMachine) -> bool:
    """Return whether the VM runs on another host than its servers or drives name."""
    running = vm.state == ACTIVE and vm.lcm_state == RUNNING
    return running and all(thing.host != vm.history_host for thing in things)


def evidence(things: Sequence[OwnedObject], vm: VirtualMachine, drivers: Mapping[str, str]) -> Optional[Evidence]:
    """Return why the ``things`` of ``vm`` are not needed any more; None: they are needed.

    :param drivers: name of the VM driver of each host; a host that is missing proves nothing
    """
    if vm.state == DONE:
        reason, sure = Reason.ENDED, _is_recorded(things, vm)
    elif is_elsewhere(things, vm) and _is_another_driver(things, vm, drivers):
        # If the VM has returned to the server, the server has the SEQ of that start, which is not smaller.
        reason, sure = Reason.MOVED, _is_named(things, vm) and all(thing.seq < vm.history_seq for thing in things)
    else:
        return None
    sure = sure and all(thing.seq <= vm.history_seq for thing in things)
    uuids = frozenset(thing.uuid for thing in things)
    return Evidence(reason if sure else Reason.UNCLEAR, vm.history_seq, vm.history_host, uuids)


def _is_named(things: Sequence[OwnedObject], vm: VirtualMachine) -> bool:
    return vm.deploy_id in [thing.uuid for thing in things if thing.is_server]


def _is_recorded(things: Sequence[OwnedObject], vm: VirtualMachine) -> bool:
    """Return whether the objects belong to this core's VM, and not to another core's VM with the same id.

    Two clouds with the same EHCLOUD, or a core whose database was restored, must not destroy each other's servers, so
    the core's record has to name the server. No record names drives: if there are only drives, the VM must have had a
    server, and the host must be the same.
    """
    if any(thing.is_server for thing in things):
        return _is_named(things, vm)
    return is_uuid(vm.deploy_id) and all(thing.host == vm.history_host for thing in things)


def _is_another_driver(things: Sequence[OwnedObject], vm: VirtualMachine, drivers: Mapping[str, str]) -> bool:
    """Return whether the VM's host has another VM driver than the hosts of the objects; false if one is unknown."""
    current = drivers.get(vm.history_host)
    return bool(current) and all(drivers.get(thing.host) not in (None, "", current) for thing in things)


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
    """Return the VMs whose servers or drives may be destroyed now, and the sightings for the next call.

    :param things: all servers and unattached drives of the account, also those of other clouds
    :param cloud: id of this OpenNebula cloud
    :param answers: the core's current VMs by id, of those that it was queried about
    :param acted: when the last action of a VM ended (monotonic seconds); infinity while an action is under way
    :param before: sightings of the last call
    :param now: monotonic seconds
    :param grace: seconds from first sighting to destruction, by reason; a reason that is missing destroys nothing
    :param times: sightings that are needed
    :param drivers: as in :func:`evidence`
    """
    findings = Findings({}, {})
    for vm_id, own in by_vm(things, cloud).items():
        earlier = before.get(vm_id)
        last = acted.get(vm_id, NEVER)
        if last >= min(thing.listed for thing in own):
            continue  # the listing may be older than the effects of the action
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
    named = attached_drives(servers)
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
