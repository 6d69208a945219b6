# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One task on several hosts at once, each with a process of its own, makes one object, and all report that one."""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import single_name
from tests.unit.modules.cloud import MODULES, Cloud, Result

HOSTS = 8
TASKS: dict[str, dict[str, Any]] = {
    "server": {"name": "lb", "cpu": 500, "mem": 256, "drives": [{"device": "ide:0:0", "drive": "boot"}]},
    "drive": {"name": "data", "size": "4M"},
    "vlan": {"name": "inside"},
    "ip": {"name": "front"},
}
LISTINGS = {"server": "/servers/info", "drive": "/drives/info", "vlan": "/resources/info", "ip": "/resources/info"}


def perform(module: str, arguments: dict[str, Any], file: Path, together: Barrier) -> None:
    """Run the module in this process, at the same time as the others, and write its result to the file."""
    main = importlib.import_module(MODULES + module).main
    with file.open("w") as out, contextlib.redirect_stdout(out), patch_module_args(arguments):
        together.wait(60)
        with contextlib.suppress(SystemExit):
            main()


def on_all_hosts(cloud: Cloud, folder: Path, module: str, number: int = HOSTS, **options: Any) -> list[Result]:
    arguments = {"endpoint": cloud.endpoint.url, "auth": cloud.endpoint.auth, **options}
    processes = multiprocessing.get_context("fork")
    together = processes.Barrier(number)
    files = [folder / f"{module}-{host}" for host in range(number)]
    hosts = [processes.Process(target=perform, args=(module, arguments, file, together)) for file in files]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join(180)
    return [json.loads(file.read_text()) for file in files]


def named(cloud: Cloud, module: str) -> list[dict[str, str]]:
    name = TASKS[module]["name"]
    return [one for one in cloud.endpoint.call(LISTINGS[module]).json() if one["name"] == name]


@pytest.mark.parametrize("module", sorted(TASKS))
def test_hosts_that_make_one_name_at_once_make_one_object(cloud: Cloud, tmp_path: Path, module: str) -> None:
    cloud.drive(name="boot", size="4M")
    results = on_all_hosts(cloud, tmp_path, module, **TASKS[module])
    assert [result.get("msg", "") for result in results] == [""] * HOSTS
    made = named(cloud, module)
    assert len(made) == 1
    assert single_name.ATTEMPT_KEY not in made[0]
    key = "resource" if module in ("ip", "vlan") else "uuid"
    identity = made[0].get("resource") or made[0][module]
    assert {result[module][key] for result in results} == {identity}
    assert sum(result["changed"] for result in results) == 1, "one made it, the others found it"


def test_hosts_that_make_one_group_at_once_make_each_member_once(cloud: Cloud, tmp_path: Path) -> None:
    results = on_all_hosts(cloud, tmp_path, "burst", 5, name="web", exact_count=3, cpu=500, mem=256)
    assert [result.get("msg", "") for result in results] == [""] * 5
    servers = cloud.endpoint.call("/servers/info").json()
    assert sorted(server["name"] for server in servers) == ["web-1", "web-2", "web-3"]
    there = {server["server"] for server in servers}
    assert all({member["uuid"] for member in result["members"]} == there for result in results)
    assert sorted(name for result in results for name in result["created"]) == ["web-1", "web-2", "web-3"]
    assert all(result["changed"] == bool(result["created"]) for result in results)


def test_a_usual_create_costs_one_listing_and_one_change_more(cloud: Cloud) -> None:
    uuid = cloud.run("drive", name="data", size="4M")["drive"]["uuid"]
    assert cloud.calls == [
        ("GET", "/drives/info"),
        ("POST", "/drives/create"),
        ("GET", "/drives/info"),
        ("POST", f"/drives/{uuid}/set"),
    ]


def test_what_a_host_left_that_died_between_its_calls_is_taken_over(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_name, "SETTLED_AFTER", 0.5)
    left = cloud.endpoint.call("/drives/create", {"name": "data", "size": "4M", single_name.ATTEMPT_KEY: "a"}).json()
    checked = cloud.run("drive", check=True, name="data", size="4M")
    taken = cloud.run("drive", name="data", size="4M")
    assert (checked["changed"], taken["changed"]) == (False, False)
    assert taken["drive"]["uuid"] == left["drive"]
    assert single_name.ATTEMPT_KEY not in named(cloud, "drive")[0]


def test_one_that_was_there_already_is_kept_and_the_new_one_goes(cloud: Cloud) -> None:
    """Somebody else, with another client, makes one of the same name between the two calls of the module."""
    with_rival = single_name.SingleName.make

    def make(self: Any, create: Any, properties: Any) -> Any:
        def create_late(wanted: Any) -> Any:
            cloud.endpoint.call("/drives/create", {"name": "data", "size": "8M"})
            return create(wanted)

        return with_rival(self, create_late, properties)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(single_name.SingleName, "make", make)
        result = cloud.run("drive", name="data", size="4M", allow_shrink=False, tier=...)
    assert "smaller" in result["msg"] or "shrink" in result["msg"], "it is compared with the other one"
    assert [drive["size"] for drive in named(cloud, "drive")] == [8 * 1024**2]
