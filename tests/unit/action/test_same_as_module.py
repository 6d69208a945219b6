# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task gives the same result in the controller's process as in a process of its own."""

from __future__ import annotations

import datetime
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.endpoint import Endpoint
from tests.unit.action.plays import NO_INTERPRETER, PREFIX, Play, Result, Task, Vault

WEB = {"name": "web", "cpu": 1000, "mem": 512}
IN_CHECK_MODE = {"check_mode": True, "diff": True}


def eh(module: str, options: dict[str, Any] | None = None, **keywords: Any) -> Task:
    return {PREFIX + module: options or {}, **keywords}


NOON, DAY = datetime.datetime(2024, 1, 1, 10, 0, 0), datetime.date(2024, 1, 1)
USER = "11111111-2222-4333-8444-555555555555"
TASKS: list[Task] = [
    eh("server_info"),
    eh("server", WEB, **IN_CHECK_MODE),
    eh("server", {**WEB, "password": "geheim12", "vnc": True, "user_keys": {"a": 1, "b": True}}, diff=True),
    eh("server", WEB, diff=True),
    eh("server", {**WEB, "drives": [{"device": "ide:0:0", "drive": "not-there"}]}, check_mode=True),
    eh("server", {"name": "web", "cpu": 2000, "password": None, "tags": ["x", "y"]}, diff=True),
    eh("server", {"name": "web", "mem": "1024"}),
    eh("server", {"name": "web", "mem": "1024", "restart": "yes"}),
    eh("server", {"name": "web", "cpu": "many"}),
    eh("server", {"name": "web", "become": "x"}),
    eh("server", {"name": "web", "nics": [{"modle": "x"}]}),
    eh("server", {"cpu": 5}),
    eh("server", {"name": "web", "cpu": 5}),
    eh("server", {"name": "web", "auth": f"{USER}:wrong-key"}),
    eh("server", {"name": "web", "endpoint": "http://127.0.0.1:9", "auth": "a:b"}),
    eh("server", {"name": "web", "zone": "lon-p"}),
    eh("server_info", {"query": "[].mem", "name": "web"}),
    eh("server_info", {"show_secrets": True}),
    # Values of YAML and Jinja that are not values of JSON.
    eh("drive", {"name": "odd", "size": 8388608, "user_keys": {True: True, "at": NOON, "day": DAY, "none": None}}),
    eh("drive", {"name": "odd", "tags": {"one"}, "user_keys": {1: 1.5, None: "x", "big": 10**20, "1e3": 1e3}}),
    eh("drive", {"name": "odd", "user_keys": {"a": {"set"}}}),
    eh("drive", {"name": "odd", "user_keys": {"now": "{{ '2024-01-01 10:00' | to_datetime('%Y-%m-%d %H:%M') }}"}}),
    eh("drive", {"name": "odd", "user_keys": "{{ {'n': 5, 'nested': [1]} }}"}),
    eh("drive", {"name": NOON, "size": "4M"}),
    eh("drive", {"name": "odd", "user_keys": {"v": Vault("from a vault"), NOON: "x"}}),
    eh("drive", {"name": "odd", "user_keys": {"v": Vault("from a vault"), "at": None}}),
    eh("server", {**WEB, "name": "vaulted", "state": "stopped", "password": Vault("geheim12")}, check_mode=True),
    eh("server_info", {"auth": Vault(f"{USER}:vaulted-key")}),
    eh("drive", {"name": "data", "size": "5M", "readers": ["everyone"]}, diff=True),
    eh("drive", {"name": "copy", "source": "data"}, diff=True),
    eh("drive", {"name": "data", "dest": "{{ playbook_dir }}/back.raw"}),
    eh("drive_info"),
    eh("ip", {"name": "web"}, diff=True),
    eh("vlan", {"name": "net"}, diff=True),
    eh("resource_info"),
    eh("burst", {"name": "b", "exact_count": 2, "cpu": 500, "mem": 256}, diff=True),
    eh("burst", {"name": "b", "exact_count": 0}, diff=True),
    eh("capacity_info", {"limits": {"mem": 4096}}),
    eh("server", {"name": "web", "state": "absent"}, diff=True),
]
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
RANDOM = re.compile(
    r'"[^"]*/back\.raw"|"198\.1[89]\.\d+\.\d+"|\b6a(:[0-9a-f]{2}){5}'
    r'|127\.0\.0\.1:\d+|"started": "?\d+"?|[rt]x:\w+": "\d+"'
)
# What a module adds beside its result, or the controller to a module's.
AROUND = ("ansible_facts", "exception", "module_stderr", "module_stdout", "rc")


def comparable(result: Result) -> Any:
    """`result` without what is random, with every UUID by its order of appearance."""
    kept = {key: value for key, value in result.items() if key not in AROUND}
    text = RANDOM.sub("*", json.dumps(kept, sort_keys=True))
    order: dict[str, str] = {}
    return UUID.sub(lambda found: order.setdefault(found[0], f"uuid-{len(order)}"), text)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Result], list[Result]]:
    """The results of TASKS in a process of their own, and in the controller's."""
    folder = tmp_path_factory.mktemp("ways")

    def run(way: str) -> list[Result]:
        # A variable that is not ours keeps a task from being done in the controller's process.
        environment, interpreter = ({"NOT_OURS": "1"}, sys.executable) if way == "module" else ({}, NO_INTERPRETER)
        with Endpoint(folder / f"{way}-state", "--acpi-delay", "0") as endpoint:
            defaults = {"group/opennebula.elastichosts.elastichosts": {"endpoint": endpoint.url, "auth": endpoint.auth}}
            play = Play(folder / way, module_defaults=defaults, environment=environment)
            found = play.run(TASKS, interpreter=interpreter)
            assert "geheim12" not in play.output
            assert endpoint.key not in play.output
            assert "vaulted-key" not in play.output
            assert "downloaded" not in play.output, "lines of progress are for those who ask for them with -v"
        return found

    with ThreadPoolExecutor(2) as pool:
        by_module, by_action = pool.map(run, ("module", "action"))
    return by_module, by_action


@pytest.mark.parametrize("number", range(len(TASKS)))
def test_both_ways_give_the_same_result(results: tuple[list[Result], list[Result]], number: int) -> None:
    by_module, by_action = (way[number] for way in results)
    assert comparable(by_action) == comparable(by_module)


def test_the_tasks_were_worth_comparing(results: tuple[list[Result], list[Result]]) -> None:
    for way in results:
        assert sum(result["changed"] for result in way) >= 10
        assert sum(bool(result.get("failed")) for result in way) == 14
        assert any(result.get("warnings") for result in way)
    shown = json.dumps(results)
    assert shown.count("geheim12") == 0, "show_secrets shows what is there then, and that is none"
    assert "wrong-key" not in shown


def test_values_that_json_has_not_become_text_as_in_a_module(results: tuple[list[Result], list[Result]]) -> None:
    for way in results:
        views = [result["drive"] for result in way if result.get("drive", {}).get("name") == "odd"]
        keys = views[0]["user_keys"]
        assert keys == {"at": "2024-01-01T10:00:00", "day": "2024-01-01", "true": "true"}
        assert views[1]["tags"] == ["one"]
        keys = views[-1]["user_keys"]
        assert (keys["1"], keys["null"], keys["now"], keys["v"]) == ("1.5", "x", "2024-01-01T10:00:00", "from a vault")
        assert "at" not in keys
