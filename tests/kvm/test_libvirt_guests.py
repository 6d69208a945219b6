# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of real guests, by the API alone. A boot takes ten seconds of a processor where it is emulated: so a few
guests that boot serve many tests, and what needs no system in the guest goes without."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.kvm.box import Box, hello, until, virsh
from tests.kvm.guest import ANSWER
from tests.kvm.vnc import let_in

PASSWORD = "geheim12"
MIB = 1 << 20
LASTING = {"ide:0:0": "true", "scsi:0:0": "true", "ata:0:0": "true", "block:0": ""}
"""The guests that boot, by their device, and whether they are persistent."""


def node(**more: Any) -> dict[str, Any]:
    """A server that boots from nothing."""
    return {"name": "node", "cpu": 500, "mem": 256, "persistent": "true", **more}


def booting(device: str, drive: str) -> dict[str, Any]:
    """A server with everything that a person would give it."""
    more = {"nic:0:model": "e1000", "nic:0:dhcp": "auto", "vnc": "auto", "password": PASSWORD}
    return node(**{device: drive, "boot": device, "persistent": LASTING[device], **more})


@pytest.fixture(scope="module")
def fleet(box: Box, boot_drive: str) -> dict[str, dict[str, Any]]:
    """A guest for each kind of device, each on a copy of the same drive, all booting at once: they have answered."""
    made = {}
    for device in LASTING:
        clone = box.call(f"/drives/{boot_drive}/clone", {"name": f"clone for {device}"}).json()["drive"]
        until(lambda clone=clone: "imaging" not in box.call(f"/drives/{clone}/info").json(), "the copy is done")
        answer = box.call("/servers/create", booting(device, clone))
        assert answer.status_code == 200, answer.text
        made[device] = answer.json()
    for device, server in made.items():
        until(lambda server=server: hello(server["nic:0:dhcp:ip"]), f"the guest on {device} answers")
    return made


@pytest.fixture
def server(box: Box) -> Iterator[str]:
    """A server without a system."""
    made = box.call("/servers/create", node(vnc="auto", password=PASSWORD))
    assert made.status_code == 200, made.text
    uuid = str(made.json()["server"])
    yield uuid
    box.call(f"/servers/{uuid}/destroy")
    until(lambda: uuid not in box.domains(), "libvirt has cleared up", seconds=30)


def domain(box: Box, uuid: str) -> ET.Element:
    return ET.fromstring(virsh("dumpxml", f"{box.zone}-{uuid}"))


def of(element: ET.Element, path: str, name: str) -> str:
    """An attribute of an element below this one, empty where there is none."""
    found = element.find(path)
    return "" if found is None else found.get(name, "")


# ---- guests that boot


@pytest.mark.parametrize("device", LASTING)
def test_it_boots_from_every_kind_of_device_and_answers_on_the_address_the_api_tells(
    box: Box, fleet: dict[str, dict[str, Any]], device: str
) -> None:
    server = fleet[device]
    assert hello(server["nic:0:dhcp:ip"]).startswith(f"{ANSWER} {server['nic:0:mac']} ")
    found = box.call(f"/servers/{server['server']}/info").json()
    assert int(found[f"{device}:read:bytes"]) > 8 * MIB, "its kernel alone"


def test_counters_are_those_of_the_guest(box: Box, fleet: dict[str, dict[str, Any]]) -> None:
    server = fleet["ide:0:0"]
    first = box.call(f"/servers/{server['server']}/info").json()
    hello(server["nic:0:dhcp:ip"])
    second = {one["server"]: one for one in box.call("/servers/info").json()}[server["server"]]
    for counter in ("nic:0:rx:packets", "nic:0:tx:bytes"):
        assert second[counter] > first[counter] > 0


def test_the_endpoint_ends_and_comes_back_without_the_guest_noticing(
    box: Box, fleet: dict[str, dict[str, Any]]
) -> None:
    server = fleet["ide:0:0"]
    uuid, process = server["server"], box.process(server["server"])
    for end in (box.stop, box.kill):
        end()
        assert hello(server["nic:0:dhcp:ip"])
        box.start()
        found = box.call(f"/servers/{uuid}/info").json()
        kept = ("status", "nic:0:dhcp:ip", "nic:0:mac", "vnc:port", "started")
        assert [found[key] for key in kept] == [server[key] for key in kept]
        assert box.process(uuid) == process


def test_reset_boots_it_anew_on_the_same_address(box: Box, fleet: dict[str, dict[str, Any]]) -> None:
    server = fleet["ata:0:0"]
    address = server["nic:0:dhcp:ip"]
    began = time.monotonic()
    uptime = int(hello(address).rpartition(" ")[2])
    assert box.call(f"/servers/{server['server']}/reset").status_code == 204

    def booted_since() -> bool:
        said = hello(address)
        return bool(said) and int(said.rpartition(" ")[2]) < uptime + time.monotonic() - began - 2

    until(booted_since, "the guest has booted since")
    assert box.status(server["server"]) == "active"


def test_the_power_button_turns_it_off_and_start_on_again(box: Box, fleet: dict[str, dict[str, Any]]) -> None:
    uuid = fleet["scsi:0:0"]["server"]
    assert box.call(f"/servers/{uuid}/shutdown").status_code == 204
    until(lambda: box.status(uuid) == "stopped", "a persistent server whose guest went off is stopped")
    until(lambda: uuid not in box.domains(), "libvirt has cleared up", seconds=30)
    again = box.call(f"/servers/{uuid}/start").json()
    assert again["server"] == uuid
    until(lambda: hello(again["nic:0:dhcp:ip"]), "it answers again")


def test_a_server_that_is_not_persistent_is_gone_when_its_guest_goes_off(
    box: Box, fleet: dict[str, dict[str, Any]]
) -> None:
    server = fleet["block:0"]
    assert box.call(f"/servers/{server['server']}/shutdown").status_code == 204
    until(lambda: server["server"] not in box.servers(), "the server is gone")
    assert "claimed" not in box.call(f"/drives/{server['block:0']}/info").json(), "and its drive is not"


# ---- what needs no system in the guest


def test_the_console_lets_in_who_knows_the_password_also_a_new_one(box: Box, server: str) -> None:
    found = box.call(f"/servers/{server}/info").json()
    where = found["vnc:ip"], found["vnc:port"]
    assert let_in(*where, PASSWORD)
    assert not let_in(*where, "wrong")
    changed = box.call(f"/servers/{server}/set", {"password": "another1"})
    assert changed.status_code == 200, changed.text
    assert let_in(*where, "another1")
    assert not let_in(*where, PASSWORD)


def test_a_password_is_in_no_command_line_and_no_log(box: Box, server: str) -> None:
    for file in (box.log, Path(f"/proc/{box.process(server)}/cmdline"), *Path("/var/log/libvirt").rglob("*.log")):
        assert PASSWORD.encode() not in file.read_bytes(), file


def test_files_are_for_the_endpoint_and_qemu_alone(box: Box, fleet: dict[str, dict[str, Any]]) -> None:
    drives = box.state / "drives"
    for file in drives.iterdir():
        assert file.stat().st_mode & 0o007 == 0, file
    assert box.state.stat().st_mode & 0o777 == 0o711, "others pass through and see nothing"
    assert (box.state / "state.sqlite").stat().st_mode & 0o077 == 0


def test_a_guest_killed_from_outside_is_seen_within_a_second(box: Box, server: str) -> None:
    os.kill(box.process(server), signal.SIGKILL)
    until(lambda: box.status(server) == "stopped", "stopped", seconds=1.0)


def test_a_guest_that_is_held_from_outside_is_paused(box: Box, server: str) -> None:
    virsh("suspend", f"{box.zone}-{server}")
    until(lambda: box.status(server) == "paused", "paused", seconds=5)
    virsh("resume", f"{box.zone}-{server}")
    until(lambda: box.status(server) == "active", "active", seconds=5)


def test_a_guest_that_ended_while_the_endpoint_was_away_is_stopped(box: Box, server: str) -> None:
    box.kill()
    virsh("destroy", f"{box.zone}-{server}")
    box.start()
    assert box.status(server) == "stopped"


def test_a_domain_that_no_server_owns_is_ended_at_the_start(box: Box, server: str) -> None:
    xml = virsh("dumpxml", f"{box.zone}-{server}")
    box.kill()
    orphan = "0bada550-0000-4000-8000-000000000001"
    devices = xml[xml.index("<devices>") : xml.index("</devices>") + len("</devices>")]
    file = box.state / "orphan.xml"
    file.write_text(xml.replace(devices, "").replace(server, orphan))
    virsh("create", str(file))
    assert orphan in box.domains()
    box.start()
    assert server in box.domains() and orphan not in box.domains()


def test_a_drive_in_use_is_claimed_and_refused_to_others(box: Box) -> None:
    drive = box.call("/drives/create", {"name": "claimed", "size": 4 * MIB}).json()["drive"]
    first = box.call("/servers/create", node(**{"ide:0:0": drive})).json()["server"]
    assert box.call(f"/drives/{drive}/info").json()["claimed"] == first
    before = box.domains()
    refused = box.call("/servers/create", node(**{"ide:0:0": drive}))
    assert (refused.status_code, refused.headers["X-Elastic-Error"]) == (409, "busy")
    assert box.domains() == before
    assert box.call(f"/drives/{drive}/destroy").status_code == 409
    box.call(f"/servers/{first}/destroy")
    assert box.call(f"/drives/{drive}/destroy").status_code == 204


def test_a_live_change_of_cpu_changes_the_shares(box: Box, server: str) -> None:
    def shares() -> str:
        lines = virsh("schedinfo", f"{box.zone}-{server}").splitlines()
        return {key.strip(): value.strip() for key, _colon, value in (line.partition(":") for line in lines)}[
            "cpu_shares"
        ]

    assert shares() == "50"
    changed = box.call(f"/servers/{server}/set", {"cpu": 4000})
    assert changed.status_code == 200, changed.text
    assert shares() == "400"


def test_qemu_gets_cores_memory_media_boot_order_nics_and_macs_as_they_were_asked_for(box: Box) -> None:
    drives = [box.call("/drives/create", {"size": 4 * MIB}).json()["drive"] for _unused in range(3)]
    vlan = box.call("/resources/vlan/create", {"name": "lan"}).json()["resource"]
    devices = dict(zip(("ide:0:0", "ide:1:0", "block:3"), drives))
    wanted = node(cpu=6000, mem=300, boot="block:3 ide:0:0", **devices, **{
        "ide:1:0:media": "cdrom", "nic:0:dhcp": "auto", "nic:0:model": "virtio", "nic:1:vlan": vlan,
        "nic:1:model": "rtl8139", "nic:1:mac": "6a:11:22:33:44:55",
    })  # fmt: skip
    made = box.call("/servers/create", wanted).json()
    isolated = f"{box.zone}-vlan-{vlan}"
    root = domain(box, made["server"])
    assert (root.findtext("vcpu"), root.findtext("memory")) == ("3", str(300 * 1024))
    assert [
        (of(one, ".", "device"), of(one, "target", "dev"), of(one, "boot", "order")) for one in root.iter("disk")
    ] == [
        ("disk", "hda", "2"),
        ("cdrom", "hdc", ""),
        ("disk", "vdd", "1"),
    ]
    parts = (("model", "type"), ("mac", "address"), ("source", "network"))
    assert [[of(one, *part) for part in parts] for one in root.iter("interface")] == [
        ["virtio", made["nic:0:mac"], box.zone],
        ["rtl8139", "6a:11:22:33:44:55", isolated],
    ]
    assert isolated in virsh("net-list", "--name").split()
    assert "<forward" not in virsh("net-dumpxml", isolated)
    box.call(f"/servers/{made['server']}/destroy")
    until(lambda: isolated not in virsh("net-list", "--name").split(), "the VLAN goes with its last guest", seconds=15)
