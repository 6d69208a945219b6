# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts from a file, and what they may have: beyond it 402 billing, and nothing changes (elastichosts-api 1.6)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eh_endpoint.api.accounts import BadAccount, read_accounts
from tests.support.endpoint import Endpoint
from tests.unit.endpoint.conftest import Wire

LIMITED = "77777777-2222-4333-8444-555555555555"
QUOTA = {"servers": 3, "cores": 4, "mhz": 3000, "mb": 2048, "gb": 20, "ips": 1, "vlans": 0, "keys": 64}


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Wire]:
    file = tmp_path / "accounts.json"
    file.write_text(json.dumps({"accounts": [{"user": LIMITED, "key": "k:1", "quota": QUOTA, "comment": "trial"}]}))
    with (
        Endpoint(tmp_path / "state", "--accounts", str(file)) as running,
        Wire(running, f"{LIMITED}:k:1") as wire,
    ):
        yield wire


def create(wire: Wire, call: str = "create", **more: Any) -> Any:
    return wire.json(f"/servers/{call}", {"cpu": 500, "mem": 256, "persistent": "true", **more})


def state(wire: Wire) -> list[Any]:
    calls = ("/servers/list", "/drives/info", "/resources/list")
    return [wire.json(call).json for call in calls]


def refused(wire: Wire, answer: Any, words: str) -> None:
    assert answer.error == (402, "billing")
    assert words in answer.text
    assert LIMITED in answer.text


def test_servers_count_whether_they_run_or_not(limited: Wire) -> None:
    servers = [create(limited, "create/stopped").json["server"] for _number in range(3)]
    before = state(limited)
    for call in ("create", "create/stopped"):
        refused(limited, create(limited, call), "3 servers")
    assert state(limited) == before
    limited.send("POST", f"/servers/{servers[0]}/destroy")
    assert create(limited).status == 200


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"cpu": 2000}, {"cpu": 1500}, "3000 MHz"),
        ({"mem": 1024}, {"mem": 1280}, "2048 MB"),
        ({"smp": 3}, {"smp": 2}, "4 cores"),
    ],
)
def test_power_counts_while_it_is_used(
    limited: Wire, first: dict[str, Any], second: dict[str, Any], words: str
) -> None:
    running = create(limited, **first).json["server"]
    before = state(limited)
    refused(limited, create(limited, **second), words)
    assert state(limited) == before
    waiting = create(limited, "create/stopped", **second).json["server"]
    refused(limited, limited.send("POST", f"/servers/{waiting}/start"), words)
    assert limited.json(f"/servers/{waiting}/info").json["status"] == "stopped"
    limited.send("POST", f"/servers/{running}/stop")
    assert limited.send("POST", f"/servers/{waiting}/start").status == 200
    refused(limited, limited.send("POST", f"/servers/{running}/start"), words)


def test_an_active_server_cannot_be_set_beyond_the_mhz(limited: Wire) -> None:
    server = create(limited, cpu=2500).json["server"]
    refused(limited, limited.json(f"/servers/{server}/set", {"cpu": 3500, "name": "x"}), "MHz")
    found = limited.json(f"/servers/{server}/info").json
    assert found["cpu"] == 2500
    assert "name" not in found
    assert limited.json(f"/servers/{server}/set", {"cpu": 3000}).status == 200


def test_drives_count_by_their_size_whether_created_grown_or_cloned(limited: Wire) -> None:
    drive = limited.json("/drives/create", {"size": "12G"}).json["drive"]
    before = state(limited)
    refused(limited, limited.json("/drives/create", {"size": "9G"}), "20 GiB of drives")
    refused(limited, limited.json(f"/drives/{drive}/set", {"size": "21G"}), "20 GiB")
    refused(limited, limited.json(f"/drives/{drive}/clone", {"name": "x"}), "20 GiB")
    assert state(limited) == before
    assert limited.json(f"/drives/{drive}/set", {"size": "20G"}).status == 200
    assert limited.json(f"/drives/{drive}/set", {"size": "1G"}).status == 200
    assert limited.json("/drives/create", {"size": "19G"}).status == 200


def test_addresses_and_vlans_have_limits_of_their_own(limited: Wire) -> None:
    assert limited.json("/resources/ip/create", {"name": "a"}).status == 200
    refused(limited, limited.json("/resources/ip/create", {"name": "b"}), "1 static IP")
    refused(limited, limited.json("/resources/vlan/create", {"name": "b"}), "0 VLANs")


def test_keys_count_by_their_size_in_objects_of_every_kind(limited: Wire) -> None:
    large, larger = {"user:a": "x" * 40_000}, {"user:a": "x" * 50_000}
    drive = limited.drive(**large)
    server = create(limited, "create/stopped").json["server"]
    address = limited.json("/resources/ip/create", {"name": "a"}).json["resource"]
    standard = limited.json("/folders/info/standard").json[0]["folder"]
    folder = limited.json(f"/folders/{standard}/clone", {"name": "x"}).json["folder"]
    before = [*state(limited), limited.json("/folders/info").json, limited.json("/servers/info").json]
    for call, body in (
        ("/drives/create", {"size": "4M"}),
        (f"/drives/{drive}/clone", {}),
        ("/servers/create", {"cpu": 500, "mem": 256}),
        (f"/servers/{server}/set", {}),
        (f"/resources/ip/{address}/set", {}),
        (f"/folders/{standard}/clone", {}),
        (f"/folders/{folder}/set", {}),
    ):
        refused(limited, limited.json(call, {**body, **larger}), "64 KiB of keys and values")
    assert before == [*state(limited), limited.json("/folders/info").json, limited.json("/servers/info").json]
    assert limited.json(f"/drives/{drive}/set", larger).status == 200
    assert limited.json(f"/drives/{drive}/set", {"user:a": None}).status == 200
    assert limited.json(f"/servers/{server}/set", larger).status == 200


def test_keys_have_a_limit_where_none_is_given(limited: Wire) -> None:
    with Wire(limited.endpoint) as free:
        body = {"size": "4M", "user:a": "x" * 60_000, "user:b": "x" * 60_000}
        statuses = [free.json("/drives/create", body).status for _number in range(16 * 1024 // 118)]
        assert set(statuses) == {200}
        for _number in range(2):
            answer = free.json("/drives/create", body)
    assert answer.error == (402, "billing")
    assert "16384 KiB of keys and values" in answer.text


def test_an_account_without_limits_beside_it_has_none(limited: Wire) -> None:
    with Wire(limited.endpoint) as free:
        for _number in range(4):
            assert create(free, cpu=20000, mem=32768).status == 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "it is not JSON"),
        ("[]", '{"accounts": [...]}'),
        ('{"accounts": {}}', "is expected"),
        ('{"accounts": [5]}', "account 1: an object"),
        ('{"accounts": [{"user": "me", "key": "geheim"}]}', "account 1: its user is not a UUID"),
        (f'{{"accounts": [{{"user": "{LIMITED}", "key": ""}}]}}', "account 1: its key"),
        (f'{{"accounts": [{{"user": "{LIMITED}", "key": "geheim\\ud800"}}]}}', "account 1: its key is not a text"),
        (f'{{"accounts": [{{"user": "{LIMITED}", "key": "geheim", "quota": 5}}]}}', "quota is not an object"),
        (f'{{"accounts": [{{"user": "{LIMITED}", "key": "geheim", "quota": {{"cows": 5}}}}]}}', "'cows' is none of"),
        (f'{{"accounts": [{{"user": "{LIMITED}", "key": "geheim", "quota": {{"mb": -1}}}}]}}', "quota mb"),
        (f'{{"accounts": [{{"user": "{LIMITED}", "key": "geheim", "colour": "red"}}]}}', "account 1: an object"),
    ],
)
def test_a_bad_file_is_refused_with_its_place_and_without_the_key(text: str, words: str) -> None:
    with pytest.raises(BadAccount) as bad:
        read_accounts(text)
    assert words in str(bad.value)
    assert "geheim" not in str(bad.value)
