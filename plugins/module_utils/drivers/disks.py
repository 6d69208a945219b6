# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The VM's own DISK, NIC and CONTEXT, beside EH=[...].

A DISK whose SOURCE is the UUID of a drive is a drive of the server. In POWEROFF the core tells only the transfer driver
that such a disk is attached or detached, so the next start of the server brings its drives to what the DISKs say.
Everything else in DISK, NIC and CONTEXT stays in OpenNebula, and the VM's log says so.
"""

from __future__ import annotations

from typing import Collection, Dict, List, Mapping, Optional

from ..elastichosts.identifiers import is_uuid
from ..opennebula.errors import TemplateError
from ..opennebula.vm import VirtualMachine, device_of

DISKS_KEY = "user:one-disks"
"""devices whose drives a DISK of the VM has named: a drive that no DISK names any more is taken off"""


def named(vm: VirtualMachine) -> Dict[str, str]:
    """Return device and UUID of each drive that a DISK of the VM names.

    :raises TemplateError: the TARGET of such a DISK is no device of the cloud
    """
    found: Dict[str, str] = {}
    for disk in vm.disks:
        drive, target = disk.get("SOURCE", ""), disk.get("TARGET", "")
        if not is_uuid(drive):
            continue
        device = device_of(target)
        if not device:
            raise TemplateError(
                f"Give the disk a TARGET of hda to hdd, sda to sdh or vda to vdh: TARGET of disk "
                f"{disk.get('DISK_ID', '')} of VM {vm.id}, {target!r}, is no device at ElasticHosts."
            )
        found[device] = drive
    return found


def planned(
    vm: VirtualMachine, *, marked: Collection[str], held: Mapping[str, str], of_eh: Collection[str]
) -> Dict[str, Optional[str]]:
    """Return the server's keys to set, so that it has the drives which the VM's DISKs name, and no earlier ones.

    :param marked: devices that DISKs named when the server was last made or started
    :param held: drive by device of what the server has beside the drives of ``marked``
    :param of_eh: devices that EH=[...] names; they and their drives stay as EH says
    :raises TemplateError: two different drives are asked for at one device
    """
    drives_of_eh = {held.get(device) for device in of_eh}
    wanted = {device: drive for device, drive in named(vm).items() if drive not in drives_of_eh}
    for device, drive in sorted(wanted.items()):
        if held.get(device, drive) != drive:
            raise TemplateError(
                "Detach the disk and attach it with another TARGET: the server of VM "
                f"{vm.id} has {held[device] or 'the drive of an IMAGE'} at {device}, where a DISK names drive {drive}."
            )
    changes: Dict[str, Optional[str]] = {device: None for device in marked if device not in of_eh}
    changes.update(wanted)
    if wanted or marked:
        changes[DISKS_KEY] = " ".join(sorted(wanted)) or None
    return changes


def undelivered(vm: VirtualMachine) -> List[str]:
    """Return a sentence for each part of the VM's template that does not reach the server."""
    sentences: List[str] = []
    left = [disk.get("DISK_ID", "") for disk in vm.disks if not is_uuid(disk.get("SOURCE", ""))]
    if left:
        sentences.append(
            f"Not on the server: {len(left)} of the DISKs in the template ({', '.join(left)}). It has the drives that "
            "IMAGE and DRIVE of EH=[...] name."
        )
    addresses = [nic.get("IP") or nic.get("NETWORK") or nic.get("NIC_ID", "") for nic in vm.nics]
    if addresses:
        sentences.append(
            f"Not used by the server: the NICs in the template ({', '.join(addresses)}). It has the interfaces that "
            "NICDHCP and NICVLAN of EH=[...] ask for, and its address is GUEST_IP."
        )
    if vm.context:
        sentences.append(
            "Not delivered to the server: CONTEXT of the template. What the guest needs has to be in its drive, that "
            "of IMAGE or DRIVE of EH=[...]."
        )
    return sentences
