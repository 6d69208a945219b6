# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The burst module against a real endpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoint import KEY, USER, Endpoint
from tests.unit.modules.cloud import Cloud

NOWHERE = "0d9a1c52-7c1e-4c53-9d5e-3f0a6f1e2b34"
"""UUID of nothing; no earlier task can choose one"""
WEB: dict[str, Any] = {"name": "web", "cpu": 500, "mem": 256}


def names(result: dict[str, Any]) -> list[str]:
    return [member["name"] for member in result["members"]]


def test_a_group_comes_grows_shrinks_and_goes_as_check_mode_says(cloud: Cloud) -> None:
    for count, there in ((3, ["web-1", "web-2", "web-3"]), (5, None), (1, ["web-1"]), (0, [])):
        result = cloud.thrice("burst", **WEB, exact_count=count)
        assert names(result) == (there if there is not None else [f"web-{n}" for n in range(1, 6)])
    assert cloud.run("server_info")["servers"] == []


def test_a_group_of_none_is_no_change(cloud: Cloud) -> None:
    result = cloud.run("burst", name="web", exact_count=0)
    assert (result["changed"], result["members"]) == (False, [])
    assert cloud.changes == []


def test_count_is_a_least_number(cloud: Cloud) -> None:
    assert names(cloud.thrice("burst", **WEB, count=2)) == ["web-1", "web-2"]
    assert cloud.run("burst", **WEB, count=1)["changed"] is False
    assert cloud.run("burst", name="web", count=0)["members"] != []


def test_the_diff_says_who_comes_who_goes_and_who_changes(cloud: Cloud) -> None:
    made = cloud.run("burst", **WEB, exact_count=2)
    assert list(made["diff"]["after"]) == ["web-1", "web-2"]
    assert made["diff"]["before"] == {}
    assert made["diff"]["after"]["web-1"]["cpu"] == "500"
    less = cloud.run("burst", check=True, **{**WEB, "cpu": 600}, exact_count=1)
    assert less["diff"]["before"] == {
        "web-1": {"cpu": "500"},
        "web-2": {"uuid": made["members"][1]["uuid"], "status": "active", "destroyed": []},
    }
    assert less["diff"]["after"] == {"web-1": {"cpu": "600"}}
    assert [member["cpu"] for member in less["members"]] == [600]


def test_members_that_stay_get_what_the_task_names(cloud: Cloud) -> None:
    cloud.run("burst", **WEB, exact_count=2, tags=["a"])
    cloud.server(name="web-2", state="stopped")
    result = cloud.thrice("burst", name="web", exact_count=2, cpu=700, tags=["b"])
    assert [(member["cpu"], member["tags"], member["status"]) for member in result["members"]] == [
        (700, ["b"], "active"),
        (700, ["b"], "active"),
    ]


def test_what_needs_a_restart_is_refused_for_all_before_anything_is_done(cloud: Cloud) -> None:
    cloud.run("burst", **WEB, exact_count=1)
    before = cloud.changes
    refused = cloud.run("burst", name="web", cpu=500, mem=512, exact_count=3)
    assert refused["failure"]["code"] == "refused"
    assert "web-1" in refused["msg"]
    assert cloud.changes == before
    assert len(names(cloud.thrice("burst", name="web", cpu=500, mem=512, exact_count=3, restart=True))) == 3


def test_every_member_gets_its_own_copy_and_address(cloud: Cloud) -> None:
    golden = cloud.drive(name="golden", size="8M")["drive"]["uuid"]
    cloud.endpoint.call(f"/drives/{golden}/write/0")
    options = {"image": "golden", "size": "12M", "tier": "ssd", "address": "static", "tags": ["web"]}
    result = cloud.thrice("burst", **WEB, exact_count=2, **options)
    drives = cloud.run("drive_info", query="[?tags == ['web']]")["drives"]
    assert [(drive["name"], drive["size"], drive["tier"]) for drive in drives] == [
        ("web-1", 12 << 20, "ssd"),
        ("web-2", 12 << 20, "ssd"),
    ]
    for member, drive in zip(result["members"], drives):
        assert member["drives"] == [{"device": "ide:0:0", "drive": drive["uuid"], "media": "disk"}]
        assert member["boot"] == ["ide:0:0"]
    addresses = [one["resource"] for one in cloud.run("resource_info")["resources"]]
    assert sorted(member["address"] for member in result["members"]) == sorted(addresses)
    gone = cloud.thrice("burst", name="web", exact_count=0)
    assert gone["destroyed"] == ["web-1", "web-2"]
    assert [drive["uuid"] for drive in cloud.run("drive_info")["drives"]] == [golden]
    assert cloud.run("resource_info")["resources"] == []


def test_a_member_can_do_without_an_address(cloud: Cloud) -> None:
    assert cloud.thrice("burst", **WEB, exact_count=1, address="none")["members"][0]["address"] is None
    assert cloud.thrice("burst", **WEB, exact_count=1, address="auto", restart=True)["members"][0]["address"]


def test_another_drive_of_a_member_is_kept_when_the_member_goes(cloud: Cloud) -> None:
    cloud.drive(name="golden", size="4M")
    cloud.drive(name="data", size="4M")
    member = cloud.run("burst", **WEB, exact_count=1, image="golden")["members"][0]
    both = [{"device": "ide:0:0", "drive": member["drives"][0]["drive"]}, {"device": "block:0", "drive": "data"}]
    assert cloud.server(name="web-1", drives=both, restart=True)["changed"]
    cloud.run("burst", name="web", exact_count=0)
    assert {drive["name"] for drive in cloud.run("drive_info")["drives"]} == {"golden", "data"}


@pytest.fixture
def poor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """An account that may have two servers."""
    log, accounts = tmp_path / "log", tmp_path / "accounts.json"
    log.touch()
    accounts.write_text(json.dumps({"accounts": [{"user": USER, "key": KEY, "quota": {"servers": 2}}]}))
    with Endpoint(tmp_path / "poor", "--accounts", str(accounts), "--request-log", str(log)) as endpoint:
        yield Cloud(endpoint, log, capsys)


def test_a_member_that_the_cloud_refuses_is_undone_and_the_others_are_told(poor: Cloud) -> None:
    poor.drive(name="golden", size="4M")
    result = poor.run("burst", **WEB, exact_count=3, image="golden", concurrency=1)
    assert result["failed"] and result["changed"]
    assert result["failure"] == {"status": 402, "code": "billing", "call": "POST /servers/create"}
    assert result["msg"].startswith("group web, web-3: POST /servers/create")
    assert names(result) == result["created"] == ["web-1", "web-2"]
    assert [failed["name"] for failed in result["failed_members"]] == ["web-3"]
    drives = [drive["name"] for drive in poor.run("drive_info")["drives"]]
    assert drives == ["golden", "web-1", "web-2"]
    assert poor.run("burst", **WEB, exact_count=2, image="golden")["changed"] is False


def test_what_is_refused_before_anything_was_done_is_no_change(poor: Cloud) -> None:
    assert poor.run("burst", **WEB, exact_count=2)["changed"]
    for module, options in (("burst", {**WEB, "exact_count": 3}), ("server", {"name": "one", "cpu": 500, "mem": 256})):
        result = poor.run(module, **options)
        assert (result["failed"], result["failure"]["status"], result["changed"]) == (True, 402, False)


def test_a_password_is_given_and_not_shown(cloud: Cloud) -> None:
    result = cloud.thrice("burst", **WEB, exact_count=2, vnc=True, password="geheim12")
    assert "geheim12" not in json.dumps(result)
    assert cloud.run("server_info", show_secrets=True)["servers"][1]["properties"]["password"] == "geheim12"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"exact_count": -1}, "exact_count: -1 is out of range, give 0 to 1000"),
        ({"count": 1001}, "count: 1001 is out of range"),
        ({"exact_count": 1, "cpu": None}, "cpu: cannot be unset"),
        ({"exact_count": 1, "cpu": 5}, "cpu: 5 is out of range"),
        ({"exact_count": 1, "name": "a b"}, "name: 'a b' must be one word"),
        ({"exact_count": 1, "name": "x" * 71}, "name: 71 characters given"),
        ({"exact_count": 1, "device": "sda"}, "device: 'sda' is not a device"),
        ({"exact_count": 1, "concurrency": 65}, "concurrency: 65 is out of range, give 1 to 64"),
        ({"exact_count": 1, "image": NOWHERE}, f"no drive '{NOWHERE}' to copy from"),
        ({"exact_count": 1, "user_keys": {"burst": "x"}}, "user_keys: 'burst' is reserved"),
        ({"exact_count": 1, "extra": {"nic:0:dhcp": "auto"}}, "has an option of its own, use address"),
        ({"exact_count": 1, "wait_timeout": 0}, "wait_timeout: 0 is out of range"),
        ({}, "one of the following is required: exact_count, count"),
        ({"exact_count": 1, "count": 1}, "parameters are mutually exclusive: exact_count|count"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_what_cannot_be_gives_one_sentence_and_no_member(
    cloud: Cloud, options: dict[str, Any], words: str, check: bool
) -> None:
    result = cloud.run("burst", check=check, **{**WEB, **options})
    assert words in result["msg"]
    assert "\n" not in result["msg"]
    assert cloud.changes == []


def test_an_image_that_a_running_server_uses_makes_no_members_unless_that_is_allowed(cloud: Cloud) -> None:
    cloud.drive(name="golden", size="4M")
    cloud.server(name="source", cpu=500, mem=256, drives=[{"device": "ide:0:0", "drive": "golden"}])
    before = cloud.changes
    for check in (True, False):
        result = cloud.run("burst", **WEB, exact_count=2, image="golden", check=check)
        assert "stop that server first, or allow it with source_in_use: allow" in result["msg"]
    assert cloud.changes == before
    assert len(cloud.thrice("burst", **WEB, exact_count=2, image="golden", source_in_use="allow")["members"]) == 2
    again = cloud.run("burst", **WEB, exact_count=2, image="golden")
    assert (again.get("failed", False), again["changed"]) == (False, False), "no member is made, so nothing is copied"


def test_another_copy_of_the_image_does_not_count_as_a_server_that_uses_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "requests.jsonl"
    log.touch()
    with Endpoint(tmp_path / "state", "--request-log", str(log), "--imaging-seconds", "3600") as endpoint:
        cloud = Cloud(endpoint, log, capsys)
        image, other = (cloud.drive(name=name, size="4M")["drive"]["uuid"] for name in ("golden", "other"))
        endpoint.call(f"/drives/{other}/image/{image}")
        assert cloud.run("drive_info", name="golden")["drives"][0]["claimed"] == [other]
        for module, task in (("burst", {**WEB, "exact_count": 2, "image": "golden"}), ("drive", {"source": image})):
            result = cloud.run(module, **{"name": "copy", **task}, check=True)
            assert (result.get("failed", False), result["changed"]) == (False, True)


@pytest.mark.parametrize(
    ("module", "task"), [("burst", {**WEB, "exact_count": 1, "image": "gold"}), ("drive", {"source": "silver"})]
)
def test_a_source_that_is_not_there_yet_stops_the_run_but_not_check_mode(
    cloud: Cloud, module: str, task: dict[str, Any]
) -> None:
    task = {"name": "copy", **task}
    source = task.get("image") or task["source"]  # two names, since Ansible gives the same warning only once
    assert f"no drive '{source}' to copy from, neither an own nor a standard one" in cloud.run(module, **task)["msg"]
    checked = cloud.run(module, **task, check=True)
    assert checked["changed"]
    assert f"no drive '{source}' to copy from yet, the real run needs it" in json.dumps(checked["warnings"])
    assert cloud.changes == []


def test_a_placeholder_means_something_in_check_mode_only(cloud: Cloud) -> None:
    uuid = cloud.drive(name="data", size="4M", check=True)["drive"]["uuid"]
    for task in ({"uuid": uuid, "tags": ["a"]}, {"name": "copy", "source": uuid}, {"name": "data", "tags": ["a"]}):
        assert not cloud.drive(**task, check=True).get("failed")
        assert cloud.drive(**task)["failed"]
    assert cloud.drive(uuid=NOWHERE, tags=["a"], check=True)["failed"]
    assert not cloud.drive(name="data", state="absent", check=True)["changed"], "what is not there is gone"
    assert cloud.changes == []
