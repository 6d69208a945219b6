# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generates libvirt's XML of guests and networks, and parses XML from libvirt. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from xml.etree import ElementTree as ET

from ..hypervisor import Counters, Disk, Guest, Nic
from ..state.addresses import AddressPool
from ..state.objects import mac_of

NAMESPACE = "urn:opennebula.elastichosts:endpoint:1"
_ZONE = f"{{{NAMESPACE}}}zone"
ET.register_namespace("eh", NAMESPACE)
SHARES = (2, 10000)
"""Range of CPU shares that both versions of cgroups accept."""

_KINDS = {"ide": ("hd", "ide"), "scsi": ("sd", "scsi"), "ata": ("sd", "sata"), "block": ("vd", "virtio")}
_ATA_LETTERS = 8
"""scsi and ata disks share libvirt's names sda to sdz: ata disks begin after the eight names of scsi."""


_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot represent."""


class Machine(NamedTuple):
    """The settings that all guests of a zone share.

    type: `kvm`, `qemu` or another type of the libvirt driver. arch: of the guests. zone: its name. network: name of the
    zone's network. console: address on which VNC listens. weights: whether CPU shares work here. labelled: whether
    libvirt would change the owner of disk files.
    """

    type: str
    arch: str
    zone: str
    network: str
    console: str
    weights: bool
    labelled: bool


def shares(mhz: int) -> int:
    """Return the CPU shares of a guest: a tenth of its MHz, so that CPU time is in proportion to MHz."""
    return max(SHARES[0], min(SHARES[1], mhz // 10))


def can_say(password: str | None) -> bool:
    """Return whether XML can represent a password."""
    return password is None or _NOT_XML.search(password) is None


def vlan_network(zone: str, vlan: str) -> str:
    """Return the name of the network of a VLAN."""
    return f"{zone}-vlan-{vlan}"


# ---- domains


def domain(guest: Guest, machine: Machine) -> str:
    """Return the XML of a guest's domain, whose UUID is that of the server (elastichosts-api 3)."""
    root = ET.Element("domain", type=machine.type)
    _add(root, "name", text=f"{machine.zone}-{guest.uuid}")
    _add(root, "uuid", text=guest.uuid)
    _add(root, "title", text=_NOT_XML.sub("", " ".join(guest.name.split())) or guest.uuid)
    _add(_add(root, "metadata"), _ZONE, text=machine.zone)
    _add(root, "memory", text=str(guest.mem), unit="MiB")
    _add(root, "vcpu", text=str(guest.cores))
    if machine.weights:
        _add(_add(root, "cputune"), "shares", text=str(shares(guest.cpu)))
    system = _add(root, "os")
    _add(system, "type", text="hvm", arch=machine.arch)
    features = _add(root, "features")
    _add(features, "acpi")
    _add(features, "apic")
    _processor(root, machine)
    _add(root, "clock", offset="utc")
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        _add(root, f"on_{event}", text=action)
    _devices(_add(root, "devices"), guest, machine)
    return ET.tostring(root, encoding="unicode")


def _processor(root: ET.Element, machine: Machine) -> None:
    """Set the host's processor for KVM guests; QEMU chooses the processor of emulated guests."""
    if machine.type == "kvm":
        _add(root, "cpu", mode="host-passthrough", check="none")


def _devices(devices: ET.Element, guest: Guest, machine: Machine) -> None:
    if any(disk.device.startswith("scsi:") for disk in guest.disks):
        # ElasticHosts had this SCSI adapter, for which systems of that time have a driver.
        _add(devices, "controller", type="scsi", index="0", model="lsilogic")
    order = guest.boot or tuple(disk.device for disk in guest.disks)
    for disk in guest.disks:
        _disk(devices, disk, order, machine)
    for nic in guest.nics:
        _nic(devices, nic, machine)
    _add(devices, "memballoon", model="none")
    if guest.vnc is None:
        _add(devices, "controller", type="usb", model="none")
    else:
        _add(devices, "input", type="tablet", bus="usb")
        screen = {"passwd": guest.password} if guest.password is not None else {}
        graphics = _add(devices, "graphics", type="vnc", port="-1", autoport="yes", **screen)
        _add(graphics, "listen", type="address", address=machine.console)
    _add(_add(devices, "video"), "model", type="vga")


def _disk(devices: ET.Element, disk: Disk, order: tuple[str, ...], machine: Machine) -> None:
    cdrom = disk.media == "cdrom"
    target, bus, address = place(disk.device)
    # virtio has no CD drives: use a read-only disk instead.
    found = _add(devices, "disk", type="file", device="cdrom" if cdrom and bus != "virtio" else "disk")
    _add(found, "driver", name="qemu", type="raw", discard="unmap")
    source = _add(found, "source", file=str(disk.path))
    if machine.labelled:
        _add(source, "seclabel", model="dac", relabel="no")
    _add(found, "target", dev=target, bus=bus)
    if cdrom:
        _add(found, "readonly")
    if disk.device in order:
        _add(found, "boot", order=str(order.index(disk.device) + 1))
    if address:
        _add(found, "address", type="drive", **address)


def place(device: str) -> tuple[str, str, Mapping[str, str]]:
    """Return libvirt's name for a device of the API, its bus, and its address on the bus."""
    kind, *numbers = device.split(":")
    prefix, bus = _KINDS[kind]
    first = int(numbers[0])
    if kind == "block":
        return f"{prefix}{_letter(first)}", bus, {}
    unit = int(numbers[1])
    if kind == "ide":
        return f"{prefix}{_letter(2 * first + unit)}", bus, {"controller": "0", "bus": numbers[0], "unit": numbers[1]}
    letter = _letter(unit + _ATA_LETTERS) if kind == "ata" else _letter(unit)
    return f"{prefix}{letter}", bus, {"controller": "0", "bus": "0", "target": "0", "unit": numbers[1]}


def _letter(number: int) -> str:
    return chr(ord("a") + number)


def _nic(devices: ET.Element, nic: Nic, machine: Machine) -> None:
    found = _add(devices, "interface", type="network")
    _add(found, "mac", address=nic.mac)
    _add(found, "source", network=machine.network if nic.vlan is None else vlan_network(machine.zone, nic.vlan))
    _add(found, "model", type=nic.model)
    # The API has no boot from the network, and the BIOS starts faster without it.
    _add(found, "rom", enabled="no")


def trial(machine: Machine, name: str) -> str:
    """Return a domain without disks to test whether guests run; it ends when its BIOS finds nothing to boot."""
    root = ET.Element("domain", type=machine.type)
    _add(root, "name", text=name)
    _add(root, "memory", text="32", unit="MiB")
    _add(root, "vcpu", text="1")
    if machine.weights:
        _add(_add(root, "cputune"), "shares", text=str(SHARES[1] // 10))
    system = _add(root, "os")
    _add(system, "type", text="hvm", arch=machine.arch)
    _add(system, "bios", rebootTimeout="0")
    _processor(root, machine)
    _add(root, "on_reboot", text="destroy")
    devices = _add(root, "devices")
    _add(devices, "controller", type="usb", model="none")
    _add(devices, "memballoon", model="none")
    return ET.tostring(root, encoding="unicode")


# ---- networks


def zone_network(zone: str, name: str, pool: AddressPool, forward: str) -> str:
    """Return the zone's network, with DHCP and DNS on the gateway, and addresses for guests of the zone only."""
    root = ET.Element("network")
    _add(root, "name", text=name)
    _add(root, "forward", mode=forward)
    _add(root, "bridge", name=zone, stp="off", delay="0")
    dhcp = _add(_add(root, "ip", address=pool.gateway, netmask=str(pool.network.netmask)), "dhcp")
    for address in pool.hosts():
        _add(dhcp, "host", mac=mac_of(address), ip=address)
    return ET.tostring(root, encoding="unicode")


def isolated_network(name: str) -> str:
    """Return the network of a VLAN, which connects its guests only."""
    root = ET.Element("network")
    _add(root, "name", text=name)
    _add(root, "bridge", stp="off", delay="0")
    return ET.tostring(root, encoding="unicode")


def same_network(first: str, second: str) -> bool:
    """Return whether two networks have the same addresses, forwarding and DHCP hosts."""
    return _settings(first) == _settings(second)


def _settings(network_xml: str) -> tuple[object, ...]:
    root = _parsed(network_xml)
    ip, forward = root.find("ip"), root.find("forward")
    hosts = frozenset((host.get("mac"), host.get("ip")) for host in root.iter("host") if host.get("mac"))
    return (
        None if ip is None else (ip.get("address"), ip.get("netmask")),
        None if forward is None else forward.get("mode"),
        hosts,
    )


# ---- values from libvirt


class Offer(NamedTuple):
    """The guests that a libvirt can run.

    types: by preference. group: of disk files; None: any. labelled: as in Machine.
    """

    types: tuple[str, ...]
    arch: str
    group: int | None
    labelled: bool


def offer(capabilities_xml: str) -> Offer:
    """Parse libvirt's capabilities."""
    root = _parsed(capabilities_xml)
    arches = {
        arch.get("name", ""): [domain.get("type", "") for domain in arch.iter("domain")]
        for guest in root.iter("guest")
        if guest.findtext("os_type") == "hvm"
        for arch in guest.iter("arch")
    }
    arch = "x86_64" if "x86_64" in arches else next(iter(arches), "x86_64")
    types = sorted(set(arches.get(arch, ())), key=lambda name: (name != "kvm", name != "qemu", name))
    dac = [model for model in root.iter("secmodel") if model.findtext("model") == "dac"]
    owner = next((label.text or "" for model in dac for label in model.iter("baselabel")), "")
    group = owner.rpartition(":")[2].lstrip("+")
    return Offer(tuple(types), arch, int(group) if group.isdigit() else None, bool(dac))


def zone_of(domain_xml: str) -> str:
    """Return the zone of a domain; empty for a domain that no endpoint created."""
    return _parsed(domain_xml).findtext(f"metadata/{_ZONE}") or ""


def console(domain_xml: str) -> tuple[str, int] | None:
    """Return address and port of the VNC server of a running domain."""
    graphics = _parsed(domain_xml).find("devices/graphics[@type='vnc']")
    if graphics is None or int(graphics.get("port", "-1")) < 0:
        return None
    return graphics.get("listen", ""), int(graphics.get("port", "-1"))


def with_password(domain_xml: str, password: str) -> str:
    """Return the VNC device of a running domain with another password; empty without a VNC device."""
    graphics = _parsed(domain_xml).find("devices/graphics[@type='vnc']")
    if graphics is None:
        return ""
    graphics.set("passwd", password)
    return ET.tostring(graphics, encoding="unicode")


_BLOCK = (
    ("read:bytes", "rd.bytes"),
    ("read:requests", "rd.reqs"),
    ("write:bytes", "wr.bytes"),
    ("write:requests", "wr.reqs"),
)
_TRAFFIC = (("rx:bytes", "rx.bytes"), ("rx:packets", "rx.pkts"), ("tx:bytes", "tx.bytes"), ("tx:packets", "tx.pkts"))


def counters(guest: Guest, stats: Mapping[str, int | str]) -> Counters:
    """Return libvirt's statistics of a domain by the API's names."""
    devices = {place(disk.device)[0]: disk.device for disk in guest.disks}
    found: dict[str, int] = {}
    for number in range(int(stats.get("block.count", 0))):
        device = devices.get(str(stats.get(f"block.{number}.name")))
        if device is not None:
            found |= {f"{device}:{name}": int(stats.get(f"block.{number}.{source}", 0)) for name, source in _BLOCK}
    for index, nic in enumerate(guest.nics):
        found |= {f"nic:{nic.number}:{name}": int(stats.get(f"net.{index}.{source}", 0)) for name, source in _TRAFFIC}
    return found


def _parsed(xml: str) -> ET.Element:
    return ET.fromstring(xml)  # noqa: S314 (what libvirt itself wrote)


def _add(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    child = ET.SubElement(parent, tag, attributes)
    child.text = text
    return child
