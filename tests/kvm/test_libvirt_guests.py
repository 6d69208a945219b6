# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of real guests, by the API alone."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from tests.kvm.box import Box, hello, until, virsh
from tests.kvm.guest import ANSWER
from tests.kvm.vnc import let_in

PASSWORD = "geheim12"


def specification(drive: str, **more: Any) -> dict[str, Any]:
    return {
        "name": "guest", "cpu": 500, "mem": 256, "ide:0:0": drive, "boot": "ide:0:0", "persistent": "true",
        "nic:0:model": "e1000", "nic:0:dhcp": "auto", "vnc": "auto", "password": PASSWORD, **more,
    }  # fmt: skip


@pytest.fixture
def server(box: Box, boot_drive: str) -> Any:
    """A server that answers on its address."""
    made = box.call("/servers/create", specification(boot_drive)).json()
    uuid = made["server"]
    try:
        until(lambda: hello(made["nic:0:dhcp:ip"]), "the guest answers on the address that the API tells")
        yield made
    finally:
        box.call(f"/servers/{uuid}/destroy")
        until(lambda: uuid not in box.domains(), "libvirt has cleared up", seconds=15)


def status(box: Box, uuid: str) -> str:
    return str(box.call(f"/servers/{uuid}/info").json().get("status"))


def test_a_guest_boots_and_answers_on_its_address_with_its_mac(server: dict[str, Any]) -> None:
    said = hello(server["nic:0:dhcp:ip"])
    assert said.startswith(f"{ANSWER} {server['nic:0:mac']} ")


def test_the_console_lets_in_who_knows_the_password_also_a_new_one(box: Box, server: dict[str, Any]) -> None:
    where = server["vnc:ip"], server["vnc:port"]
    assert let_in(*where, PASSWORD)
    assert not let_in(*where, "wrong")
    changed = box.call(f"/servers/{server['server']}/set", {"password": "another1"})
    assert changed.status_code == 200, changed.text
    assert let_in(*where, "another1")
    assert not let_in(*where, PASSWORD)


def test_counters_are_those_of_the_guest(box: Box, server: dict[str, Any]) -> None:
    first = box.call(f"/servers/{server['server']}/info").json()
    assert int(first["ide:0:0:read:bytes"]) > 8 << 20  # its kernel alone
    hello(server["nic:0:dhcp:ip"])
    second = box.call("/servers/info").json()[0]
    for counter in ("nic:0:rx:packets", "nic:0:tx:bytes"):
        assert second[counter] > first[counter] > 0


def test_the_power_button_turns_it_off_and_start_on_again(box: Box, server: dict[str, Any]) -> None:
    uuid = server["server"]
    assert box.call(f"/servers/{uuid}/shutdown").status_code == 204
    until(lambda: status(box, uuid) == "stopped", "a persistent server whose guest went off is stopped")
    until(lambda: box.domains() == [], "libvirt has cleared up", seconds=15)
    again = box.call(f"/servers/{uuid}/start").json()
    assert again["server"] == uuid
    until(lambda: hello(again["nic:0:dhcp:ip"]), "it answers again")


def test_reset_boots_it_anew_on_the_same_address(box: Box, server: dict[str, Any]) -> None:
    address = server["nic:0:dhcp:ip"]
    began = time.monotonic()
    uptime = int(hello(address).rpartition(" ")[2])
    assert box.call(f"/servers/{server['server']}/reset").status_code == 204

    def booted_since() -> bool:
        said = hello(address)
        return bool(said) and int(said.rpartition(" ")[2]) < uptime + time.monotonic() - began - 2

    until(booted_since, "the guest has booted since")
    assert status(box, server["server"]) == "active"


def test_the_endpoint_ends_and_comes_back_without_the_guest_noticing(box: Box, server: dict[str, Any]) -> None:
    uuid, process = server["server"], box.process(server["server"])
    for end in (box.stop, box.kill):
        end()
        assert hello(server["nic:0:dhcp:ip"])
        box.start()
        found = box.call(f"/servers/{uuid}/info").json()
        kept = ("status", "nic:0:dhcp:ip", "nic:0:mac", "vnc:port", "started")
        assert [found[key] for key in kept] == [server[key] for key in kept]
        assert box.process(uuid) == process
    assert box.call(f"/servers/{uuid}/stop").status_code == 204


def test_a_guest_killed_from_outside_is_seen_within_a_second(box: Box, server: dict[str, Any]) -> None:
    os.kill(box.process(server["server"]), signal.SIGKILL)
    until(lambda: status(box, server["server"]) == "stopped", "stopped", seconds=1.0)


def test_a_guest_that_ended_while_the_endpoint_was_away_is_stopped(box: Box, server: dict[str, Any]) -> None:
    box.kill()
    virsh("destroy", f"{box.zone}-{server['server']}")
    box.start()
    assert status(box, server["server"]) == "stopped"


def test_a_domain_that_no_server_owns_is_ended_at_the_start(box: Box, server: dict[str, Any]) -> None:
    xml = virsh("dumpxml", f"{box.zone}-{server['server']}")
    box.kill()
    orphan = "0bada550-0000-4000-8000-000000000001"
    name = f"{box.zone}-{orphan}"
    devices = xml[xml.index("<devices>") : xml.index("</devices>") + len("</devices>")]
    lonely = xml.replace(devices, "").replace(server["server"], orphan)
    file = box.state / "orphan.xml"
    file.write_text(lonely)
    virsh("create", str(file))
    assert orphan in box.domains()
    box.start()
    assert box.domains() == [server["server"]], name


def test_a_drive_in_use_is_claimed_and_refused_to_others(box: Box, server: dict[str, Any], boot_drive: str) -> None:
    assert box.call(f"/drives/{boot_drive}/info").json()["claimed"] == server["server"]
    refused = box.call("/servers/create", specification(boot_drive, name="second"))
    assert (refused.status_code, refused.headers["X-Elastic-Error"]) == (409, "busy")
    assert box.domains() == [server["server"]]


def test_a_live_change_of_cpu_changes_the_shares(box: Box, server: dict[str, Any]) -> None:
    name = f"{box.zone}-{server['server']}"
    before = virsh("schedinfo", name)
    changed = box.call(f"/servers/{server['server']}/set", {"cpu": 4000})
    assert changed.status_code == 200, changed.text
    shares = {
        key.strip(): value.strip() for key, _colon, value in (line.partition(":") for line in before.splitlines())
    }
    assert shares["cpu_shares"] == "50"
    assert "400" in next(line for line in virsh("schedinfo", name).splitlines() if "cpu_shares" in line)


def test_a_clone_boots_beside_its_original(box: Box, server: dict[str, Any], boot_drive: str) -> None:
    box.call(f"/servers/{server['server']}/stop")
    size = box.call(f"/drives/{boot_drive}/info").json()["size"]
    clone = box.call("/drives/create", {"name": "clone", "size": size}).json()["drive"]
    assert box.call(f"/drives/{clone}/image/{boot_drive}").status_code == 200
    until(lambda: "imaging" not in box.call(f"/drives/{clone}/info").json(), "the copy is done")
    vlan = box.call("/resources/vlan/create", {"name": "lan"}).json()["resource"]
    two = [
        box.call("/servers/create", specification(drive, **{"nic:1:vlan": vlan, "nic:1:model": "e1000"})).json()
        for drive in (boot_drive, clone)
    ]
    try:
        assert two[0]["nic:0:dhcp:ip"] != two[1]["nic:0:dhcp:ip"]
        for one in two:
            until(lambda one=one: hello(one["nic:0:dhcp:ip"]), "each answers on its own address")
        isolated = f"{box.zone}-vlan-{vlan}"
        assert isolated in virsh("net-list", "--name").split()
        assert "<forward" not in virsh("net-dumpxml", isolated)
    finally:
        for one in two:
            box.call(f"/servers/{one['server']}/destroy")
    assert isolated not in virsh("net-list", "--name").split()
    assert box.call(f"/drives/{clone}/destroy").status_code == 204


def test_a_server_that_is_not_persistent_is_gone_when_its_guest_goes_off(box: Box, boot_drive: str) -> None:
    wanted = {key: value for key, value in specification(boot_drive).items() if key != "persistent"}
    made = box.call("/servers/create", wanted).json()
    until(lambda: hello(made["nic:0:dhcp:ip"]), "it answers")
    box.call(f"/servers/{made['server']}/shutdown")
    until(lambda: box.call("/servers/list").json() == [], "the server is gone")
    assert "claimed" not in box.call(f"/drives/{boot_drive}/info").json()


@pytest.mark.parametrize("device", ["scsi:0:0", "ata:0:0", "block:0"])
def test_it_boots_from_every_kind_of_device(box: Box, boot_drive: str, device: str) -> None:
    wanted = {key: value for key, value in specification(boot_drive).items() if key != "ide:0:0"}
    made = box.call("/servers/create", {**wanted, device: boot_drive, "boot": device})
    assert made.status_code == 200, made.text
    try:
        until(lambda: hello(made.json()["nic:0:dhcp:ip"]), f"it answers, booted from {device}")
        found = box.call(f"/servers/{made.json()['server']}/info").json()
        assert int(found[f"{device}:read:bytes"]) > 8 << 20
    finally:
        box.call(f"/servers/{made.json()['server']}/destroy")
