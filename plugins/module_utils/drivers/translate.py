# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""VM -> server: its properties, its drives, its size, and who owns it.

Units: the cloud speaks of MHz and MB, a VM's template of cores and MB. One core is CPU_MHZ.

A DISK of the VM whose SOURCE is the UUID of a drive is a drive of the server. In POWEROFF the core tells only the
transfer driver that such a disk is attached or detached, so the next start of the server brings its drives to what the
DISKs say. Everything else in DISK, NIC and CONTEXT stays in OpenNebula, and the VM's log says so.
"""

from __future__ import annotations

from typing import Collection, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Tuple, Union

from ..elastichosts.drives import Drive
from ..elastichosts.formats import Properties
from ..elastichosts.identifiers import is_uuid
from ..elastichosts.servers import Server, number
from ..elastichosts.values import DEVICE, is_off
from ..opennebula.conf import ConfError, parse
from ..opennebula.eh_template import EhValues, ImageCopy, eh_values
from ..opennebula.errors import TemplateError
from ..opennebula.vm import VirtualMachine, device_of, eh_vector
from .settings import HostSettings, Vectors

CLOUD_KEY = "user:one-cloud"
VM_KEY = "user:one-vm"
ATTEMPT_KEY = "user:one-attempt"
"""which DEPLOY made or adopted the server: a call that was given up is told from the one that took its place"""
HOST_KEY = "user:one-host"
"""OpenNebula host of the server: two hosts may have one account"""
SEQ_KEY = "user:one-seq"
"""SEQ of the VM's history when the server was made, adopted or started: tells one life of a VM id from the next"""
PRIVATE_KEY = "user:one-images"
"""devices whose drives were made for the VM by IMAGE, and go with it"""
DRIVES_KEY = "user:one-drives"
"""devices that DRIVE of the VM's EH has named: one that it names no more is taken off"""
DEVICE_KEY = "user:one-device"
"""on a drive made by IMAGE: where it belongs"""
DISKS_KEY = "user:one-disks"
"""devices whose drives a DISK of the VM has named: a drive that no DISK names any more is taken off"""
LEAST_CPU = 500
"""MHz; elastichosts-api 3"""
LEAST_MEM = 256
"""MB; elastichosts-api 3"""
LONGEST_NAME = 80


# --- VM -> server ---------------------------------------------------------------------------------------------------


def template_defaults(text: str) -> Vectors:
    """Return the EH vectors of vmm_eh.conf, with upper-case keys.

    :raises ValueError: a syntax error, with its place
    """
    try:
        return tuple(item.mapping() for item in parse(text).sections("EH") if item.is_vector)
    except ConfError as error:
        raise ValueError(f'{error} Correct it, for instance EH=[NICMODEL="nic:0:model e1000"].') from None


def with_defaults(vector: Mapping[str, str], defaults: Vectors, host: str) -> Dict[str, str]:
    """Return ``vector`` completed by the defaults of the host, then by those of all hosts."""
    filled: Dict[str, str] = {}
    for default in sorted(defaults, key=lambda one: bool(one.get("HOST"))):
        if default.get("HOST", host).lower() == host.lower():
            filled.update({key: value for key, value in default.items() if value and key != "HOST"})
    filled.update({key: value for key, value in vector.items() if value.strip()})
    return filled


class Specification(NamedTuple):
    """What the cloud is to make for a VM."""

    server: Properties
    """what the server is to be, but for the drives of ``images`` and what tells attempts apart"""
    creation: Properties
    """the same as the create call says it"""
    images: Tuple[ImageCopy, ...]
    """drives to be made first, as copies"""
    drive: Properties
    """what those drives get, beside their own names and sizes"""


def specification(
    vm: VirtualMachine, host: str, cloud: str, settings: HostSettings, defaults: Vectors
) -> Specification:
    """Return what the cloud is to make for ``vm`` on ``host``.

    :raises TemplateError: the template cannot be turned into a server; the sentence names the attribute
    :raises SettingsError: CPU_MHZ is wrong
    """
    asked = EhValues(dict(vm.given), (), {})
    if not vm.given:
        asked = eh_values(with_defaults(eh_vector(vm, host), defaults, host))
    owned = ownership(vm, cloud, host)
    server: Properties = {**server_properties(asked, vm, settings), **owned}
    drive: Properties = {**owned, **asked.drive}
    if server.get("avoid:drives"):
        drive["avoid"] = server["avoid:drives"]
    creation = dict(server)
    if server["persistent"] != "true" and is_off(server["persistent"]):
        del creation["persistent"]  # the API knows the key only as true; without it a server is not persistent
    return Specification(server, creation, asked.images, drive)


def server_properties(asked: EhValues, vm: VirtualMachine, settings: HostSettings) -> Properties:
    """Return the properties of a new server, but for the ownership keys (opennebula-drivers 7.1).

    Callers should always send name, cpu, smp, mem, persistent, boot and one interface (elastichosts-api 2.2).

    :raises TemplateError: neither EH nor the VM says how large the server is to be
    """
    wanted: Properties = dict(asked.server)
    _add_size(wanted, vm, settings)
    name = "".join(sign if sign.isprintable() else " " for sign in vm.name)
    wanted.setdefault("name", (name.strip() or f"one-{vm.id}")[:LONGEST_NAME])
    wanted.setdefault("smp", "auto")
    wanted.setdefault("persistent", "true")
    plain = sorted(key for key in wanted if DEVICE.fullmatch(key))
    private = [image.device for image in asked.images]
    held = {**{device: wanted[device] for device in plain}, **dict.fromkeys(private, "")}
    disks = {key: value for key, value in planned(vm, marked=(), held=held, of_eh=held).items() if value}
    wanted.update(disks)
    devices = sorted(held) or sorted(key for key in disks if key != DISKS_KEY)
    if devices:
        wanted.setdefault("boot", devices[0])
    if not any(key.startswith("nic:0:") for key in wanted):
        wanted["nic:0:dhcp"] = "auto"
    wanted.setdefault("nic:0:model", "e1000")
    wanted.update(_devices_marks(plain, private))
    return wanted


def _devices_marks(plain: Iterable[str], private: Iterable[str]) -> Properties:
    marks = {DRIVES_KEY: " ".join(plain), PRIVATE_KEY: " ".join(private)}
    return {key: devices for key, devices in marks.items() if devices}


class RestatedServer(NamedTuple):
    """What the template of a VM asks for a server that exists."""

    server: Dict[str, Optional[str]]
    images: Tuple[ImageCopy, ...]
    """drives that the server has not got yet"""
    drive: Properties

    @property
    def devices(self) -> FrozenSet[str]:
        """Devices that EH names."""
        private = (self.server.get(PRIVATE_KEY) or "").split()
        return frozenset([*private, *(key for key, value in self.server.items() if DEVICE.fullmatch(key) and value)])


def restated(
    vm: VirtualMachine, host: str, cloud: str, settings: HostSettings, defaults: Vectors, current: Server
) -> RestatedServer:
    """Return what a stopped server is changed to before it starts again: only keys that the template states.

    See opennebula-drivers 7.14.

    A device that DRIVE named once and names no more is taken off; the drive of an IMAGE stays where it is.

    :raises TemplateError: as :func:`specification`
    """
    asked = eh_values(with_defaults(eh_vector(vm, host), defaults, host))
    wanted: Dict[str, Optional[str]] = dict(asked.server)
    sized: Properties = {key: value for key, value in wanted.items() if key in ("cpu", "mem") and value}
    _add_size(sized, vm, settings)
    wanted.update(sized)
    marked = set(current.properties.get(PRIVATE_KEY, "").split())
    plain = sorted(key for key in wanted if DEVICE.fullmatch(key))
    copies = tuple(image for image in asked.images if image.device not in marked)
    for device in current.properties.get(DRIVES_KEY, "").split():
        wanted.setdefault(device, None)
    private = sorted({*marked, *(image.device for image in copies)})
    known = DRIVES_KEY in current.properties or PRIVATE_KEY in current.properties or plain or private
    if known:
        wanted.update({DRIVES_KEY: " ".join(plain) or None, PRIVATE_KEY: " ".join(private) or None})
    return RestatedServer(wanted, copies, {**ownership(vm, cloud, host), **asked.drive})


def unstated(current: Server) -> RestatedServer:
    """Return what :func:`restated` returns when the EH of the VM cannot be used: the server as it is."""
    named = current.properties.get(DRIVES_KEY, "").split()
    kept = {device: drive for device, drive in current.drives.items() if device in named}
    return RestatedServer({**kept, PRIVATE_KEY: current.properties.get(PRIVATE_KEY)}, (), {})


def with_disks(vm: VirtualMachine, current: Server, stated: RestatedServer) -> Dict[str, Optional[str]]:
    """Return the drives that a stopped server gets or loses because of the VM's DISKs.

    :raises TemplateError: a DISK names a drive where EH, or somebody by hand, has put another one
    """
    marked = current.properties.get(DISKS_KEY, "").split()
    held = {device: drive for device, drive in current.drives.items() if device not in marked}
    for key, value in stated.server.items():
        if DEVICE.fullmatch(key):
            held.pop(key, None)
            if value:
                held[key] = value
    held.update(dict.fromkeys((image.device for image in stated.images), ""))
    return planned(vm, marked=marked, held=held, of_eh=stated.devices)


def ownership(vm: VirtualMachine, cloud: str, host: str) -> Properties:
    """Return the keys that mark a server or drive as this VM's."""
    return {CLOUD_KEY: cloud, VM_KEY: str(vm.id), HOST_KEY: host, SEQ_KEY: str(vm.history_seq)}


def of_life(thing: Union[Server, Drive], seq: Optional[int]) -> bool:
    """Return whether a server or drive belongs to the VM's life that ended at ``seq``, or an earlier one; None: any."""
    return seq is None or (number(thing.properties.get(SEQ_KEY)) or 0) <= seq


def size_of(vector: Mapping[str, str], vm: VirtualMachine, settings: HostSettings) -> Properties:
    """Return CPU (MHz) and memory (MB), which may have changed while the VM was off (opennebula-drivers 7.14)."""
    given = {key: value for key, value in vector.items() if key in ("CPUMHZ", "MEMORY")}
    wanted: Properties = dict(eh_values(given).server)
    _add_size(wanted, vm, settings)
    return wanted


def _add_size(wanted: Properties, vm: VirtualMachine, settings: HostSettings) -> None:
    if "cpu" not in wanted:
        if not vm.cpu or vm.cpu <= 0:
            raise _no_size(vm, "CPUMHZ", "CPU", 'CPUMHZ="500" (MHz)')
        wanted["cpu"] = str(max(LEAST_CPU, round(vm.cpu * settings.cpu_mhz)))
    if "mem" not in wanted:
        if not vm.memory or vm.memory <= 0:
            raise _no_size(vm, "MEMORY", "MEMORY", 'MEMORY="500" (MB)')
        wanted["mem"] = str(max(LEAST_MEM, vm.memory))


def _no_size(vm: VirtualMachine, attribute: str, of_vm: str, example: str) -> TemplateError:
    return TemplateError(
        f"Add {example} to EH=[...]: VM {vm.id} has neither {attribute} there nor a usable {of_vm} of its own."
    )


def owner(thing: Union[Server, Drive], cloud: str) -> Optional[int]:
    """Return the VM id of a server or drive that belongs to ``cloud``; None for any other."""
    if not cloud or thing.properties.get(CLOUD_KEY) != cloud:
        return None
    return number(thing.properties.get(VM_KEY))


# --- DISK, NIC and CONTEXT of the VM itself ---


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
