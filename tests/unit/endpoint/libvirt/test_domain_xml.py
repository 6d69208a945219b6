# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a libvirt is told of a guest, and what it tells: each property of a server has its place in a domain."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from eh_endpoint.hypervisor import Disk, Guest, Nic
from eh_endpoint.libvirt import domain_xml
from eh_endpoint.libvirt.domain_xml import Machine
from eh_endpoint.state.addresses import AddressPool
from eh_endpoint.state.objects import DEVICES

UUID = "0bada550-0000-4000-8000-000000000001"
VLAN = "0bada550-0000-4000-8000-0000000000aa"
KVM = Machine("kvm", "x86_64", "eh01234567", "eh01234567", "127.0.0.1", weights=True, labelled=True)


def guest(**different: Any) -> Guest:
    plain: dict[str, Any] = {
        "uuid": UUID, "name": "web", "cpu": 4000, "mem": 1024, "cores": 2, "boot": (), "disks": (), "nics": (),
        "vnc": None, "password": None,
    }  # fmt: skip
    return Guest(**{**plain, **different})


def domain(machine: Machine = KVM, **different: Any) -> ET.Element:
    return ET.fromstring(domain_xml.domain(guest(**different), machine))


def disk(device: str, media: str = "disk") -> Disk:
    return Disk(device, Path(f"/zone/drives/{device}.raw"), media)


def attributes(root: ET.Element, path: str) -> dict[str, str]:
    found = root.find(path)
    assert found is not None, path
    return dict(found.attrib)


def test_a_server_keeps_its_uuid_and_the_domain_says_whose_zone_it_is_of() -> None:
    root = domain()
    assert root.findtext("uuid") == UUID
    assert root.findtext("name") == f"eh01234567-{UUID}"
    assert domain_xml.zone_of(ET.tostring(root, encoding="unicode")) == "eh01234567"


def test_memory_in_mib_and_cores_as_asked_for() -> None:
    root = domain(mem=1536, cores=3)
    assert (root.findtext("memory"), attributes(root, "memory")) == ("1536", {"unit": "MiB"})
    assert root.findtext("vcpu") == "3"


@pytest.mark.parametrize(("mhz", "shares"), [(500, "50"), (4000, "400"), (20000, "2000")])
def test_guests_share_the_processors_in_proportion_to_their_mhz(mhz: int, shares: str) -> None:
    assert domain(cpu=mhz).findtext("cputune/shares") == shares


def test_where_shares_do_not_work_none_are_asked_for() -> None:
    assert domain(KVM._replace(weights=False)).find("cputune") is None


def test_kvm_shows_the_processor_of_the_machine_and_emulation_qemus_own() -> None:
    assert attributes(domain(), "cpu")["mode"] == "host-passthrough"
    assert domain(KVM._replace(type="qemu")).find("cpu") is None


@pytest.mark.parametrize(
    ("device", "target", "bus", "address"),
    [
        ("ide:0:0", "hda", "ide", {"type": "drive", "controller": "0", "bus": "0", "unit": "0"}),
        ("ide:1:1", "hdd", "ide", {"type": "drive", "controller": "0", "bus": "1", "unit": "1"}),
        ("scsi:0:3", "sdd", "scsi", {"type": "drive", "controller": "0", "bus": "0", "target": "0", "unit": "3"}),
        ("ata:0:5", "sdn", "sata", {"type": "drive", "controller": "0", "bus": "0", "target": "0", "unit": "5"}),
        ("block:7", "vdh", "virtio", None),
    ],
)
def test_a_drive_is_where_its_device_says(device: str, target: str, bus: str, address: dict[str, str] | None) -> None:
    root = domain(disks=(disk(device),))
    assert attributes(root, "devices/disk/target") == {"dev": target, "bus": bus}
    assert attributes(root, "devices/disk/source") == {"file": f"/zone/drives/{device}.raw"}
    found = root.find("devices/disk/address")
    assert (None if found is None else found.attrib) == address


def test_no_two_devices_are_in_one_place() -> None:
    places = [domain_xml.place(device) for device in DEVICES]
    assert len({target for target, _bus, _address in places}) == len(DEVICES)
    assert len({(bus, str(address)) for _target, bus, address in places if address}) == len(DEVICES) - 8


def test_a_drive_is_raw_whatever_its_first_bytes_claim() -> None:
    assert attributes(domain(disks=(disk("ide:0:0"),)), "devices/disk/driver")["type"] == "raw"


def test_a_cdrom_is_read_only() -> None:
    root = domain(disks=(disk("ide:1:0", "cdrom"),))
    assert attributes(root, "devices/disk")["device"] == "cdrom"
    assert root.find("devices/disk/readonly") is not None
    assert domain(disks=(disk("ide:1:0"),)).find("devices/disk/readonly") is None


def boot_orders(root: ET.Element) -> dict[str, str | None]:
    found = {}
    for one in root.iter("disk"):
        boot, target = one.find("boot"), one.find("target")
        assert target is not None
        found[target.attrib["dev"]] = None if boot is None else boot.get("order")
    return found


def test_the_boot_order_is_the_one_given_and_else_that_of_the_devices() -> None:
    disks = (disk("ide:0:0"), disk("ide:0:1"), disk("block:0"))
    assert boot_orders(domain(disks=disks)) == {"hda": "1", "hdb": "2", "vda": "3"}
    assert boot_orders(domain(disks=disks, boot=("block:0", "ide:0:0"))) == {"hda": "2", "hdb": None, "vda": "1"}


@pytest.mark.parametrize("model", ["e1000", "rtl8139", "virtio"])
def test_a_nic_has_its_model_its_mac_and_the_network_of_the_zone(model: str) -> None:
    root = domain(nics=(Nic(0, model, "6a:00:c6:12:00:04", "198.18.0.4", None),))
    assert attributes(root, "devices/interface/model") == {"type": model}
    assert attributes(root, "devices/interface/mac") == {"address": "6a:00:c6:12:00:04"}
    assert attributes(root, "devices/interface/source") == {"network": "eh01234567"}
    assert attributes(root, "devices/interface/rom") == {"enabled": "no"}


def test_a_nic_on_a_vlan_is_on_a_network_that_leads_nowhere() -> None:
    root = domain(nics=(Nic(1, "virtio", "6a:00:c6:12:00:04", None, VLAN),))
    name = attributes(root, "devices/interface/source")["network"]
    network = ET.fromstring(domain_xml.isolated_network(name))
    assert network.findtext("name") == name == f"eh01234567-vlan-{VLAN}"
    assert network.find("forward") is None and network.find("ip") is None


def test_a_console_asks_for_the_password_and_listens_where_it_is_told() -> None:
    root = domain(KVM._replace(console="192.0.2.7"), vnc="198.18.0.4", password="geheim12")
    assert attributes(root, "devices/graphics") == {
        "type": "vnc", "port": "-1", "autoport": "yes", "passwd": "geheim12",
    }  # fmt: skip
    assert attributes(root, "devices/graphics/listen") == {"type": "address", "address": "192.0.2.7"}
    assert domain().find("devices/graphics") is None


def test_a_running_console_gets_another_password() -> None:
    running = ET.tostring(domain(vnc="auto", password="geheim12"), encoding="unicode")
    assert ET.fromstring(domain_xml.with_password(running, "other")).get("passwd") == "other"
    assert domain_xml.with_password(ET.tostring(domain(), encoding="unicode"), "other") == ""


def test_a_guest_that_powers_off_or_crashes_is_off_and_one_that_reboots_runs_on() -> None:
    root = domain()
    assert [root.findtext(f"on_{event}") for event in ("poweroff", "reboot", "crash")] == [
        "destroy",
        "restart",
        "destroy",
    ]
    assert root.find("features/acpi") is not None, "without it nobody hears the power button"


@pytest.mark.parametrize("name", ['"><evil/>&', "two\nlines", "\ufffe\ud800\x7f", ""])
def test_a_hostile_name_is_text_and_nothing_else(name: str) -> None:
    text = domain_xml.domain(guest(name=name, vnc="auto", password='"><x/>'), KVM)
    root = ET.fromstring(text.encode())
    assert root.find(".//evil") is None
    assert root.findtext("title")


def test_every_address_that_can_be_given_out_belongs_to_one_mac() -> None:
    pool = AddressPool(IPv4Network("198.18.0.0/24"), nameserver=False)
    network = domain_xml.zone_network("eh01234567", "eh01234567", pool, "nat")
    hosts = {host.get("ip"): host.get("mac") for host in ET.fromstring(network).iter("host")}
    assert hosts.keys() == set(pool.hosts())
    assert len(set(hosts.values())) == len(hosts) == 251
    assert pool.gateway not in hosts
    other = domain_xml.zone_network("eh01234567", "eh01234567", pool, "route")
    assert domain_xml.same_network(network, network) and not domain_xml.same_network(network, other)


OFFER = """<capabilities>
<host><secmodel><model>apparmor</model></secmodel>
<secmodel><model>dac</model><baselabel type="kvm">+64055:+994</baselabel></secmodel></host>
<guest><os_type>hvm</os_type><arch name="i686"><domain type="qemu"/></arch></guest>
<guest><os_type>hvm</os_type><arch name="x86_64"><domain type="qemu"/><domain type="kvm"/></arch></guest>
</capabilities>"""


def test_kvm_is_tried_first_and_files_belong_to_the_group_of_qemu() -> None:
    assert domain_xml.offer(OFFER) == (("kvm", "qemu"), "x86_64", 994, True)
    assert domain_xml.offer("<capabilities/>") == ((), "x86_64", None, False)


def test_counters_have_the_names_of_the_api() -> None:
    running = guest(disks=(disk("ide:0:0"), disk("block:0")), nics=(Nic(1, "virtio", "6a:00:00:00:00:01", None, None),))
    record: dict[str, int | str] = {
        "block.count": 2, "block.0.name": "vda", "block.0.rd.bytes": 4096, "block.0.rd.reqs": 1,
        "block.1.name": "hda", "block.1.wr.bytes": 512, "block.1.wr.reqs": 2,
        "net.count": 1, "net.0.rx.bytes": 100, "net.0.tx.pkts": 3,
    }  # fmt: skip
    found = domain_xml.counters(running, record)
    assert found["block:0:read:bytes"] == 4096 and found["block:0:read:requests"] == 1
    assert found["ide:0:0:write:bytes"] == 512 and found["ide:0:0:write:requests"] == 2
    assert found["nic:1:rx:bytes"] == 100 and found["nic:1:tx:packets"] == 3
