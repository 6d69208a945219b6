# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a task is done in the controller's process, and what it does there with its loop, environment and secrets."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ansible_collections.opennebula.elastichosts.plugins.plugin_utils.in_process import overlaid, public
from tests.support.endpoint import Endpoint
from tests.unit.action.plays import PREFIX, Play, Result, Task
from tests.unit.elastichosts.scripted import Relay

LIST = PREFIX + "server_info"
GROUP = "group/opennebula.elastichosts.elastichosts"


NO_DEFAULTS = {"module_defaults": {GROUP: {}}}
HERE = {"vars": {"ansible_python_interpreter": sys.executable}}
NEEDS_ITS_OWN_PROCESS: dict[str, dict[str, Any]] = {
    "become": {"become": True},
    "async": {"async": 30, "poll": 1},
    "environment": {"environment": {"HTTPS_PROXY": "http://127.0.0.1:9"}},
    "ssh": {
        "connection": "ssh",
        "delegate_to": "127.0.0.9",
        "vars": {"ansible_ssh_common_args": "-o ConnectTimeout=1"},
    },
}
SIZE = 20 << 20


class Played(NamedTuple):
    """What came of the tasks, by name, all done by one ansible-playbook -v, since each start takes a second."""

    results: dict[str, Result]
    output: str
    relay: Relay


def tasks_of(endpoint: Endpoint, relay: Relay, folder: Path) -> dict[str, Task]:
    accounts = [endpoint.auth, endpoint.auth.replace(endpoint.key, "wrong"), endpoint.auth]
    image = folder / "image.raw"
    image.write_bytes(os.urandom(SIZE))
    return {
        "loop": {LIST: {"endpoint": relay.url}, "loop": list(range(10))},
        "accounts": {LIST: {"auth": "{{ item }}"}, "loop": accounts, "no_log": False},
        **{name: {LIST: {}, "ignore_unreachable": True, **how} for name, how in NEEDS_ITS_OWN_PROCESS.items()},
        "async module": {LIST: {}, "async": 30, "poll": 1, **HERE},
        "module": {LIST: {}, "environment": {"LANG": "C"}, **HERE},
        "credentials": {LIST: {}, "environment": endpoint.env, **NO_DEFAULTS},
        "no credentials": {LIST: {}, **NO_DEFAULTS},
        "transfer": {PREFIX + "drive": {"name": "root", "src": str(image), "dest": str(folder / "back.raw")}},
    }


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("plays")
    with Endpoint(folder / "state") as endpoint, Relay(endpoint.url) as relay:
        tasks = tasks_of(endpoint, relay, folder)
        defaults = {GROUP: {"endpoint": endpoint.url, "auth": endpoint.auth}}
        play = Play(folder / "play", module_defaults=defaults)
        results = play.run(list(tasks.values()), "-v")
        yield Played(dict(zip(tasks, results)), play.output, relay)


def test_all_items_of_a_loop_share_one_connection(played: Played) -> None:
    assert [item["failed"] for item in played.results["loop"]["results"]] == [False] * 10
    assert (played.relay.count("GET /servers/info"), played.relay.connections) == (10, 1)


def test_accounts_of_a_loop_are_not_mixed_up(played: Played) -> None:
    assert [item["failed"] for item in played.results["accounts"]["results"]] == [False, True, False]


@pytest.mark.parametrize("why", NEEDS_ITS_OWN_PROCESS)
def test_whatever_needs_a_process_of_its_own_gets_one(played: Played, why: str) -> None:
    """The interpreter does not exist, so the module cannot have run; in the controller it would have worked."""
    result = played.results[why]
    assert result.get("failed") or result.get("unreachable")
    assert "servers" not in result


@pytest.mark.parametrize("name", ["async module", "module"])
def test_a_module_in_a_process_of_its_own_works_as_well(played: Played, name: str) -> None:
    assert played.results[name].get("servers") == [], played.results[name]


def test_the_credentials_of_an_environment_are_used_and_forgotten(played: Played) -> None:
    assert played.results["credentials"]["servers"] == []
    assert played.results["no credentials"]["msg"].startswith("endpoint: not given")


def test_a_long_transfer_tells_a_line_per_five_per_cent_to_those_who_ask(played: Played) -> None:
    result = played.results["transfer"]
    assert not result.get("failed"), result
    assert (result["sent"], result["received"]) == (SIZE, SIZE)
    for what in ("uploaded", "downloaded"):
        told = [int(percent) for percent in re.findall(rf"root: {what} (\d+)%", played.output)]
        assert told == sorted(set(told))
        assert told[-1] == 100
        assert all(percent % 5 == 0 for percent in told)
        assert len(told) >= 3


def test_secrets_are_taken_out_of_results_but_truth_values_stay() -> None:
    result = {"changed": True, "msg": "key s3cr3t was refused", "list": ["s3cr3t"], "nothing": None}
    assert public(result, {"s3cr3t", "True"}, ["beware of s3cr3t"]) == {
        "changed": True,
        "msg": "key ******** was refused",
        "list": ["VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"],
        "nothing": None,
        "warnings": ["beware of ********"],
    }


def test_the_environment_is_as_it_was_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EHURI", "before")
    monkeypatch.delenv("EHAUTH", raising=False)
    with pytest.raises(ValueError, match="on purpose"), overlaid({"EHURI": "meanwhile", "EHAUTH": "a:b"}):
        assert (os.environ["EHURI"], os.environ["EHAUTH"]) == ("meanwhile", "a:b")
        raise ValueError("on purpose")
    assert os.environ["EHURI"] == "before"
    assert "EHAUTH" not in os.environ
