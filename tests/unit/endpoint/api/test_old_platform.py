# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the generation of 2009 to 2012 shows differently (elastichosts-api 8)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.support.endpoint import Endpoint
from tests.unit.endpoint.conftest import Wire


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with Endpoint(tmp_path_factory.mktemp("old"), "--platform", "old") as running:
        yield running


def test_an_active_server_has_its_address_in_dhcp_and_its_cores_in_smp(
    old: Endpoint, connect: Callable[..., Wire]
) -> None:
    wire = connect(old)
    body = {"nic:0:model": "e1000", "nic:0:dhcp": "auto", "vnc:ip": "auto", "vnc:password": "geheim"}
    found = wire.json("/servers/create", {"name": "a", "cpu": 4000, "mem": 500, "persistent": "true", **body}).json
    assert re.fullmatch(r"198\.18\.0\.\d", found["nic:0:dhcp"])
    assert found["vnc:ip"] == found["nic:0:dhcp"]
    assert found["vnc:password"] == found["password"] == "geheim"
    assert found["smp"] == 2
    assert (found["rx"], found["rx:packets"], found["tx"], found["tx:packets"]) == (0, 0, 0, 0)
    absent = {"nic:0:dhcp:ip", "nic:0:ip", "smp:cores", "vnc", "type", "nic:0:rx:bytes"}
    assert not absent & set(found)
    assert list(found) != sorted(found)
    assert wire.send("POST", f"/servers/{found['server']}/stop").status == 204
    off = wire.json(f"/servers/{found['server']}/info").json
    assert (off["nic:0:dhcp"], off["vnc:ip"], off["smp"]) == ("auto", "auto", "auto")


@pytest.mark.parametrize("given", ["password", "vnc:password"])
def test_the_password_is_shown_under_the_key_that_a_client_gave_and_under_the_other(
    old: Endpoint, connect: Callable[..., Wire], given: str
) -> None:
    """jclouds gives and reads `password`, fog and libcloud `vnc:password`."""
    wire = connect(old)
    server = wire.json("/servers/create/stopped", {"cpu": 500, "mem": 500, given: "geheim"}).json["server"]
    for key, word in (("password", "anders"), ("vnc:password", "wieder")):
        before = wire.json(f"/servers/{server}/info").json
        found = wire.json(f"/servers/{server}/set", {**before, key: word}).json
        assert (found["password"], found["vnc:password"]) == (word, word), "the other key was only sent back"
    gone = wire.json(f"/servers/{server}/set", {given: None}).json
    assert not {"password", "vnc:password"} & set(gone)


def test_an_address_that_comes_late_shows_as_auto_until_then(tmp_path: object, connect: Callable[..., Wire]) -> None:
    with Endpoint(tmp_path / "late", "--platform", "old", "--address-delay", "1000") as late:  # type: ignore[operator]
        server = connect(late).server(nic__0__dhcp="auto")
        assert connect(late).json(f"/servers/{server}/info").json["nic:0:dhcp"] == "auto"


def test_drives_have_no_tier_and_standard_drives_cannot_be_listed(old: Endpoint, connect: Callable[..., Wire]) -> None:
    wire = connect(old)
    assert "tier" not in wire.json("/drives/create", {"size": "4M"}).json
    for call in ("/drives/list/standard", "/drives/info/standard"):
        assert wire.send("GET", call).error == (404, "missing")
    # They are there all the same, for clients with a fixed list.
    assert wire.json("/drives/62f512cd-82c7-498e-88d8-a09ac2ef20e7/info").json["format"] == "gzip"
