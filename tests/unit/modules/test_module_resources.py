# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules ip, vlan, resource_info and capacity_info against a real endpoint."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.modules.cloud import Cloud

kinds = pytest.mark.parametrize(("kind", "option"), [("ip", "address"), ("vlan", "uuid")])
NOBODY = {"ip": "203.0.113.9", "vlan": "00000000-0000-4000-8000-000000000000"}


@kinds
def test_a_resource_comes_changes_and_goes_as_check_mode_says(cloud: Cloud, kind: str, option: str) -> None:
    made = cloud.thrice(kind, name="web", user_keys={"role": "x", "kept": 1})[kind]
    assert (made["type"], made["name"], made["servers"]) == (kind, "web", [])
    renamed = cloud.thrice(kind, **{option: made["resource"]}, name="db", user_keys={"role": None})
    assert renamed[kind]["user_keys"] == {"kept": "1"}
    assert renamed["diff"]["before"]["name"] == "web"
    assert cloud.run("resource_info")["resources"] == [renamed[kind]]
    assert cloud.thrice(kind, name="db", state="absent")[kind] == {}


@kinds
def test_a_resource_in_use_stays(cloud: Cloud, kind: str, option: str) -> None:
    made = cloud.run(kind, name="web")[kind]["resource"]
    nics = [{"dhcp": made}] if kind == "ip" else [{"dhcp": "none"}, {"vlan": made}]
    server = cloud.server(name="web", state="stopped", cpu=500, mem=256, nics=nics)["server"]["uuid"]
    before = cloud.changes
    for check in (True, False):
        refused = cloud.run(kind, name="web", state="absent", check=check)
        assert f"is in use by server {server}" in refused["msg"]
        assert refused["failure"]["code"] == "refused"
    assert cloud.run(kind, name="web")[kind]["servers"] == [server]
    assert cloud.changes == before


@kinds
def test_a_resource_that_is_none_is_not_made(cloud: Cloud, kind: str, option: str) -> None:
    for task, words in (
        ({option: NOBODY[kind], "name": "web"}, f"{option}: the account has no"),
        ({option: "nonsense"}, f"{option}: 'nonsense' is not"),
        ({"name": NOBODY[kind]}, f"is no name, give it as {option}"),
        ({"name": "x" * 81}, "name: 81 characters given"),
        ({}, f"one of the following is required: name, {option}"),
    ):
        assert words in cloud.run(kind, **task)["msg"]
    assert cloud.run(kind, **{option: NOBODY[kind]}, state="absent")["changed"] is False
    assert cloud.changes == []


def test_twins_are_listed(cloud: Cloud) -> None:
    twins = [cloud.endpoint.call("/resources/ip/create", {"name": "web"}).json()["resource"] for _n in range(2)]
    result = cloud.run("ip", name="web")
    assert result["failure"]["code"] == "not_unique"
    assert all(twin in result["msg"] for twin in twins)


def test_an_empty_account_has_no_resources_and_uses_nothing(cloud: Cloud) -> None:
    for options in ({}, {"type": "ip"}, {"name": "web"}, {"resource": "203.0.113.9"}, {"query": "[].name"}):
        assert cloud.run("resource_info", **options)["resources"] == []
    result = cloud.run("capacity_info")
    assert set(result["used"].values()) == {0}
    assert set(result["left"].values()) == {None}


@pytest.fixture
def busy(cloud: Cloud) -> Cloud:
    cloud.drive(name="data", size="512M", tags=["db"])
    for name, state in (("one", "started"), ("two", "stopped")):
        assert not cloud.server(name=name, state=state, cpu=1000, mem=512, tags=["web", name]).get("failed")
    return cloud


def test_capacity_adds_up_what_is_used_and_what_is_left(busy: Cloud) -> None:
    limits = {"servers": 1, "cpu": 5000, "storage": 2}
    result = busy.run("capacity_info", limits=limits, tag_limits={"web": {"mem": 2048}, "idle": {"drives": 3}})
    assert result["used"] == {"servers": 2, "cores": 2, "cpu": 2000, "mem": 1024, "drives": 1, "storage": 0.5}
    assert result["running"] == {"servers": 1, "cores": 1, "cpu": 1000, "mem": 512}
    assert result["left"] == {"servers": -1, "cores": None, "cpu": 3000, "mem": None, "drives": None, "storage": 1.5}
    assert set(result["tags"]) == {"db", "idle", "one", "two", "web"}
    assert result["tags"]["web"]["left"]["mem"] == 1024
    assert result["tags"]["idle"]["left"]["drives"] == 3
    assert result["tags"]["db"]["used"]["storage"] == 0.5


def test_tags_can_be_chosen(busy: Cloud) -> None:
    assert list(busy.run("capacity_info", tags=["two", "none"])["tags"]) == ["none", "two"]


def test_capacity_costs_two_calls(busy: Cloud) -> None:
    before = len(busy.calls)
    busy.run("capacity_info")
    assert busy.calls[before:] == [("GET", "/servers/info"), ("GET", "/drives/info")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"limits": {"mem": -5}}, "limits.mem: -5 is no amount, give a number of 0 or more"),
        ({"tag_limits": {"web": {"nem": 5}}}, "tag_limits.web: 'nem' is no kind of capacity, choose from servers,"),
        ({"tag_limits": {"web": {"mem": "lots"}}}, "tag_limits.web.mem: 'lots' is no amount"),
        ({"tag_limits": {"web": 5}}, "tag_limits.web: must be a dictionary with the keys servers,"),
        ({"limits": {"nem": 5}}, "Unsupported parameters"),
    ],
)
def test_a_limit_that_is_none_gives_one_sentence(cloud: Cloud, options: dict[str, Any], words: str) -> None:
    result = cloud.run("capacity_info", **options)
    assert words in result["msg"]
    assert result["failed"]
    assert cloud.changes == []
