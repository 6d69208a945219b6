# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the endpoint says to libvirt, on the driver that libvirt brings for tests: no guest runs, so it is quick."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.kvm.box import Box, until
from tests.kvm.spoken import Spoken

NODE = {"name": "node", "cpu": 500, "mem": 256, "persistent": "true"}


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Spoken:
    return Spoken(tmp_path_factory.mktemp("spoken"))


@pytest.fixture(scope="module")
def box(spoken: Spoken, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in spoken.environment.items():
            patch.setenv(name, value)
        running = Box(tmp_path_factory.mktemp("simulation") / "state", "10.176.0.0/23", uri="test:///default")
    with running:
        yield running


def create(box: Box, **more: Any) -> Any:
    return box.call("/servers/create", {**NODE, **more})


def test_a_life(box: Box) -> None:
    uuid = create(box, **{"nic:0:dhcp": "auto", "vnc": "auto", "password": "geheim12"}).json()["server"]
    assert box.status(uuid) == "active"
    assert box.call(f"/servers/{uuid}/reset").status_code == 204
    assert box.call(f"/servers/{uuid}/shutdown").status_code == 204
    until(lambda: box.status(uuid) == "stopped", "the guest is off", seconds=5)
    assert box.call(f"/servers/{uuid}/start").status_code == 200
    assert box.call(f"/servers/{uuid}/stop").status_code == 204
    assert box.status(uuid) == "stopped"
    assert box.call(f"/servers/{uuid}/destroy").status_code == 204
    assert box.servers() == []


@pytest.mark.parametrize("name", ['<a href="javascript:x">&amp;', "\ufffe\x7f", "\u202e]]>"])
def test_a_hostile_name_reaches_libvirt_as_a_text(box: Box, name: str) -> None:
    made = create(box, name=name)
    assert made.status_code == 200, made.text
    assert box.call(f"/servers/{made.json()['server']}/destroy").status_code == 204


def test_a_password_that_libvirt_cannot_be_told_is_refused_in_a_sentence(box: Box) -> None:
    refused = create(box, vnc="auto", password="a\ufffeb")
    assert refused.status_code == 500
    assert "password: a character of it cannot be given to libvirt, choose another one" in refused.text
    assert box.servers() == []


def test_a_listing_of_two_hundred_guests_is_one_call_to_libvirt(box: Box, spoken: Spoken) -> None:
    uuids = [create(box, **{"nic:0:dhcp": "auto"}).json()["server"] for _number in range(200)]
    assert "virDomainCreateXML" in spoken.calls()
    assert len(box.call("/servers/info", method="GET").json()) == 200
    assert spoken.calls() == ["virConnectGetAllDomainStats"]
    for uuid in uuids:
        box.call(f"/servers/{uuid}/destroy")
