# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden answers of every resource call, in both formats (elastichosts-api 2.3, 4.8, 4.9)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.endpoint import USER, Endpoint
from tests.unit.endpoint.conftest import UUID, Wire


def test_an_ip_is_created_with_its_network(wire: Wire) -> None:
    answer = wire.json("/resources/ip/create", {"name": "web"})
    assert answer.status == 200
    found = answer.json
    assert re.fullmatch(r"198\.1[89]\.\d+\.\d+", found["resource"])
    assert found == {
        "gateway": "198.18.0.1",
        "name": "web",
        "nameserver": "198.18.0.2",
        "netmask": "255.254.0.0",
        "resource": found["resource"],
        "type": "ip",
        "user": USER,
    }
    as_text = "".join(f"{key} {value}\n" for key, value in found.items())
    assert wire.send("GET", f"/resources/ip/{found['resource']}/info").text == as_text


def test_a_vlan_is_created_with_a_uuid(wire: Wire) -> None:
    answer = wire.text("/resources/vlan/create", "name net1")
    uuid = re.search(r"^resource (.*)$", answer.text, re.MULTILINE)
    assert uuid is not None
    assert re.fullmatch(UUID, uuid[1])
    assert answer.text == f"name net1\nresource {uuid[1]}\ntype vlan\nuser {USER}\n"


def test_lists_have_two_columns(wire: Wire) -> None:
    address = wire.json("/resources/ip/create", {"name": "a"}).json["resource"]
    vlan = wire.json("/resources/vlan/create", {"name": "b"}).json["resource"]
    everything = wire.send("GET", "/resources/list")
    assert everything.headers["x-elastic-output"] == "list"
    assert everything.text.endswith(f"ip {address}\nvlan {vlan}\n")
    assert wire.json("/resources/list").json[-2:] == [
        {"type": "ip", "resource": address},
        {"type": "vlan", "resource": vlan},
    ]
    assert wire.text("/resources/vlan/list").text.endswith(f"vlan {vlan}\n")
    assert wire.json("/resources/ip/list").json[-1] == {"type": "ip", "resource": address}
    assert [found["resource"] for found in wire.json("/resources/info").json[-2:]] == [address, vlan]
    assert {found["type"] for found in wire.json("/resources/ip/info").json} == {"ip"}


def test_set_and_destroy(wire: Wire) -> None:
    address = wire.json("/resources/ip/create", {"name": "a"}).json["resource"]
    found = wire.text(f"/resources/ip/{address}/set", "name b\nuser:x y").text
    assert "\nname b\n" in found
    assert "\nuser:x y\n" in found
    gone = wire.send("POST", f"/resources/ip/{address}/destroy")
    assert (gone.status, gone.content) == (204, b"")
    assert wire.json(f"/resources/ip/{address}/info").error == (404, "missing")
    assert wire.json("/resources/cow/create", {"name": "a"}).error == (404, "missing")


def test_a_static_address_and_a_vlan_serve_a_server_and_stay_while_it_names_them(wire: Wire) -> None:
    address = wire.json("/resources/ip/create", {"name": "a"}).json["resource"]
    vlan = wire.json("/resources/vlan/create", {"name": "b"}).json["resource"]
    server = wire.server(
        nic__0__dhcp=address, nic__1__model="virtio", nic__1__vlan=vlan, nic__1__mac="6A:00:00:00:00:09"
    )
    found = wire.json(f"/servers/{server}/info").json
    assert (found["nic:0:dhcp"], found["nic:0:ip"]) == (address, address)
    assert (found["nic:1:vlan"], found["nic:1:mac"]) == (vlan, "6a:00:00:00:00:09")
    for kind, name in (("ip", address), ("vlan", vlan)):
        busy = wire.send("POST", f"/resources/{kind}/{name}/destroy")
        assert busy.error == (409, "busy")
        assert server in busy.text
    second = wire.json("/servers/create", {"cpu": 500, "mem": 500, "nic:0:dhcp": address})
    assert second.error == (409, "busy")
    wire.send("POST", f"/servers/{server}/destroy")
    assert wire.send("POST", f"/resources/ip/{address}/destroy").status == 204


@pytest.mark.parametrize("body", [{"name": "x" * 81}, {"colour": "red"}])
def test_a_bad_resource_is_refused(wire: Wire, body: dict[str, str]) -> None:
    answer = wire.json("/resources/ip/create", body)
    assert answer.error == (400, "usage")
    assert "invalid" in answer.text


def test_a_static_address_that_no_server_uses_is_not_given_out(tmp_path: Path, connect: Callable[..., Wire]) -> None:
    with Endpoint(tmp_path / "small", "--addresses", "192.0.2.0/29") as small:
        wire = connect(small)
        address = wire.json("/resources/ip/create", {"name": "a"}).json["resource"]
        server = wire.server(nic__0__dhcp=address)
        assert wire.send("POST", f"/servers/{server}/destroy").status == 204
        others = [wire.server(nic__0__dhcp="auto") for _unused in range(2)]
        given = {wire.json(f"/servers/{other}/info").json["nic:0:ip"] for other in others}
        assert len(given | {address}) == 3
        assert wire.json("/resources/ip/create", {"name": "b"}).error == (507, "full")
