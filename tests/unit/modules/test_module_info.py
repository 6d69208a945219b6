# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The _info modules against a real endpoint."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils import module
from tests.unit.modules.cloud import Cloud

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def full(cloud: Cloud) -> Cloud:
    for name, mem in (("web", 512), ("db", 1024), ("web", 256)):
        properties = {"name": name, "cpu": 500, "mem": mem, "password": "geheim12", "persistent": "true"}
        assert cloud.endpoint.call("/servers/create/stopped", properties).ok
    for name in ("root", "data"):
        cloud.drive(name=name, size="4M")
    return cloud


@pytest.mark.parametrize(("name", "key"), [("server_info", "servers"), ("drive_info", "drives")])
def test_an_empty_account_is_an_empty_list(cloud: Cloud, name: str, key: str) -> None:
    for options in ({}, {"name": "web"}, {"uuid": NOBODY}, {"query": "[].name"}, {"query": "[0]"}):
        result = cloud.run(name, **options)
        assert (result[key], result["changed"]) == ([], False)


def test_all_servers_come_in_one_call_sorted_by_name(full: Cloud) -> None:
    before = len(full.calls)
    servers = full.run("server_info")["servers"]
    assert full.calls[before:] == [("GET", "/servers/info")]
    assert [server["name"] for server in servers] == ["db", "web", "web"]
    assert servers[1]["uuid"] < servers[2]["uuid"]


def test_a_name_lists_all_that_have_it_and_a_uuid_the_one(full: Cloud) -> None:
    twins = full.run("server_info", name="web")["servers"]
    assert len(twins) == 2
    assert full.run("server_info", uuid=twins[0]["uuid"])["servers"] == [twins[0]]
    assert [drive["name"] for drive in full.run("drive_info", name="root")["drives"]] == ["root"]


def test_module_and_info_show_the_same(full: Cloud) -> None:
    server = full.server(name="new", state="stopped", cpu=500, mem=256)["server"]
    assert full.run("server_info", name="new")["servers"] == [server]
    drive = full.drive(name="new", size="4M")["drive"]
    assert full.run("drive_info", name="new")["drives"] == [drive]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("[?mem > `300`].name", ["db", "web"]),
        ("sum([].mem)", [1792]),
        ("[0].name", ["db"]),
        ("[?mem > `99999`]", []),
        ("[0].nothing", []),
    ],
)
def test_what_a_query_makes_is_always_a_list(full: Cloud, query: str, found: list[Any]) -> None:
    assert full.run("server_info", query=query)["servers"] == found


@pytest.mark.parametrize("query", ["[.name", "sum(@)", "no_function(@)", ""])
def test_a_query_that_is_none_gives_one_sentence(full: Cloud, query: str) -> None:
    result = full.run("server_info", query=query)
    assert result["msg"].startswith(f"query: {query!r} is not a JMESPath expression for this list: ")
    assert result["failure"]["code"] == "option"


def test_passwords_are_shown_only_when_asked_for(full: Cloud) -> None:
    assert "geheim12" not in json.dumps(full.run("server_info"))
    assert full.run("server_info", query="[].properties.password")["servers"] == []
    assert full.run("server_info", show_secrets=True)["servers"][0]["properties"]["password"] == "geheim12"


def test_standard_drives_are_the_cloud_s_own(full: Cloud) -> None:
    standard = full.run("drive_info", standard=True)["drives"]
    assert standard
    assert not {"root", "data"} & {drive["name"] for drive in standard}
    assert full.run("drive_info", standard=True, uuid=standard[0]["uuid"])["drives"] == [standard[0]]


def test_a_missing_jmespath_is_missed_only_by_a_query(full: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HAS_JMESPATH", False)
    assert len(full.run("server_info")["servers"]) == 3
    result = full.run("server_info", query="[].name")
    assert "jmespath" in result["msg"]
    assert result["failure"]["code"] == "library"


def test_missing_requests_are_named(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HAS_REQUESTS", False)
    result = cloud.run("server_info")
    assert result["failed"]
    assert "requests" in result["msg"]
