# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders, and containers that mount them (elastichosts-api 2.4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.endpoint import USER, Endpoint
from tests.unit.endpoint.conftest import Control, Wire


def standard(wire: Wire) -> str:
    return str(wire.json("/folders/info/standard").json[0]["folder"])


def folder(wire: Wire) -> str:
    return str(wire.json(f"/folders/{standard(wire)}/clone", {"name": "root", "tier": "ssd"}).json["folder"])


def container(wire: Wire, call: str = "create", **more: str) -> str:
    return wire.server(call, type="container", persistent="true", **more)


def test_the_standard_folders_have_the_names_that_clients_look_for(wire: Wire) -> None:
    found = wire.json("/folders/info/standard").json
    assert [one["name"].split("(")[0].strip() for one in found] == ["Ubuntu 18.04 LTS", "Debian 9", "CentOS 7"]
    for one in found:
        assert set(one) == {"folder", "name"}
        assert wire.json(f"/folders/{one['folder']}/info").json["name"] == one["name"]
    assert wire.send("GET", "/folders/list").text == ""


def test_a_clone_is_a_folder_of_the_callers_own(wire: Wire) -> None:
    source = standard(wire)
    found = wire.json(f"/folders/{source}/clone", {"name": "root", "tier": "ssd"}).json
    used = wire.json(f"/folders/{source}/info").json["used"]
    uuid = found["folder"]
    assert found == {"folder": uuid, "name": "root", "tier": "ssd", "used": used, "user": USER}
    assert (
        wire.send("GET", f"/folders/{uuid}/info").text
        == f"folder {uuid}\nname root\ntier ssd\nused {used}\nuser {USER}\n"
    )
    assert wire.json("/folders/list").json == [{"uuid": uuid}]
    assert wire.json("/folders/info").json == [found]
    assert wire.text(f"/folders/{uuid}/set", "name other").text.splitlines()[1] == "name other"
    gone = wire.send("POST", f"/folders/{uuid}/destroy")
    assert (gone.status, gone.content) == (204, b"")
    for call in ("info", "set", "destroy", "clone"):
        assert wire.send("POST", f"/folders/{uuid}/{call}").error == (404, "missing")


def test_a_folder_is_synchronised_for_a_while(tmp_path: Path) -> None:
    arguments = ("--imaging-seconds", "100", "--control", "127.0.0.1:0")
    with Endpoint(tmp_path / "slow", *arguments) as running, Wire(running) as wire, Control(running) as control:
        uuid = folder(wire)
        assert wire.json(f"/folders/{uuid}/info").json["syncing"] == "true"
        assert wire.send("POST", f"/folders/{uuid}/destroy").error == (409, "busy")
        body = {"cpu": 500, "mem": 500, "type": "container", "fs:0": uuid}
        assert wire.json("/servers/create", body).error == (409, "busy")
        control.advance(100)
        assert "syncing" not in wire.json(f"/folders/{uuid}/info").json
        assert wire.json("/servers/create", body).status == 200


def test_a_container_mounts_folders_and_claims_them_while_it_runs(wire: Wire) -> None:
    root, data = folder(wire), folder(wire)
    mounts = {"fs__0": root, "fs__0__mount": "/", "fs__1": f"{data}/www", "fs__1__mount": "/srv"}
    server = container(wire, **mounts, ssh__0__key="ssh-ed25519 AAAA me", nic__0__dhcp="auto")
    found = wire.json(f"/servers/{server}/info").json
    assert (found["type"], found["fs:0"], found["fs:1"]) == ("container", root, f"{data}/www")
    assert (found["fs:0:mount"], found["ssh:0:key"]) == ("/", "ssh-ed25519 AAAA me")
    assert found["nic:0:ip"]
    assert wire.json(f"/folders/{data}/info").json["claimed"] == server
    assert wire.send("POST", f"/folders/{root}/destroy").error == (409, "busy")
    wire.send("POST", f"/servers/{server}/stop")
    assert "claimed" not in wire.json(f"/folders/{data}/info").json
    assert wire.send("POST", f"/folders/{data}/destroy").status == 204
    start = wire.send("POST", f"/servers/{server}/start")
    assert start.error == (500, "failed")
    assert data in start.text
    gone = wire.json(f"/servers/{server}/set", {"fs:1": None}).json
    assert not [key for key in gone if key.startswith("fs:1")]
    assert wire.send("POST", f"/servers/{server}/start").status == 200


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"type": "container", "ide:0:0": USER}, "ide:0:0"),
        ({"type": "vm", "fs:0": USER}, "fs:0"),
        ({"type": "jail"}, "type"),
        ({"type": "container", "fs:0": "x"}, "fs:0"),
        ({"type": "container", "fs:0": f"{USER}/../etc"}, "fs:0"),
        ({"type": "container", "fs:8": USER}, "fs:8"),
        ({"type": "container", "fs:0:mount": "/"}, "names no folder"),
        ({"type": "container", "fs:0:mount": "srv"}, "absolute path"),
    ],
)
def test_a_bad_container_is_refused(wire: Wire, keys: dict[str, str], words: str) -> None:
    answer = wire.json("/servers/create", {"cpu": 500, "mem": 500, **keys})
    assert answer.error == (400, "usage")
    assert words in answer.text


def test_a_container_of_a_folder_that_is_not_there_is_missing(wire: Wire) -> None:
    answer = wire.json("/servers/create", {"cpu": 500, "mem": 500, "type": "container", "fs:0": USER})
    assert answer.error == (404, "missing")


def test_a_type_stays(wire: Wire) -> None:
    server = wire.server("create/stopped")
    assert wire.json(f"/servers/{server}/set", {"type": "container"}).error == (400, "usage")


def test_the_old_platform_has_neither(tmp_path: Path) -> None:
    with Endpoint(tmp_path / "old", "--platform", "old") as old, Wire(old) as wire:
        assert wire.json("/folders/info/standard").error == (404, "missing")
        for key, value in {"type": "container", "fs:0": USER, "ssh:0:key": "x"}.items():
            assert wire.json("/servers/create", {"cpu": 500, "mem": 500, key: value}).error == (400, "usage")
        assert wire.json("/drives/create", {"size": "4M", "tier": "ssd"}).error == (400, "usage")
