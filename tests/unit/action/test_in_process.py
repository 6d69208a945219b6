# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a task is done in the controller's process, and what it does there with its loop, environment and secrets."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opennebula.elastichosts.plugins.plugin_utils.in_process import overlaid, plain, public
from tests.support.endpoint import Endpoint
from tests.unit.action.plays import PREFIX, Play
from tests.unit.elastichosts.scripted import Relay

LIST = PREFIX + "server_info"


@pytest.fixture
def play(endpoint: Endpoint, tmp_path: Path) -> Callable[..., Play]:
    """A play whose tasks call the endpoint, or what is given in its place."""

    def make(url: str = endpoint.url, **keywords: Any) -> Play:
        defaults = {"group/opennebula.elastichosts.elastichosts": {"endpoint": url, "auth": endpoint.auth}}
        return Play(tmp_path / "play", module_defaults=defaults, **keywords)

    return make


def test_all_items_of_a_loop_share_one_connection(endpoint: Endpoint, play: Callable[..., Play]) -> None:
    with Relay(endpoint.url) as relay:
        result = play(relay.url).run([{LIST: {}, "loop": list(range(10))}])[0]
        assert [item["failed"] for item in result["results"]] == [False] * 10
        assert (relay.count("GET /servers/info"), relay.connections) == (10, 1)


def test_accounts_of_a_loop_are_not_mixed_up(endpoint: Endpoint, play: Callable[..., Play]) -> None:
    other = endpoint.auth.replace(endpoint.key, "wrong")
    task = {LIST: {"auth": "{{ item }}"}, "loop": [endpoint.auth, other, endpoint.auth], "no_log": False}
    result = play().run([task])[0]
    assert [item["failed"] for item in result["results"]] == [False, True, False]


@pytest.mark.parametrize(
    "keywords",
    [
        {"become": True},
        {"async": 30, "poll": 1},
        {"environment": {"HTTPS_PROXY": "http://127.0.0.1:9"}},
        {"connection": "ssh", "delegate_to": "127.0.0.9", "vars": {"ansible_ssh_common_args": "-o ConnectTimeout=1"}},
    ],
)
def test_whatever_needs_a_process_of_its_own_gets_one(play: Callable[..., Play], keywords: dict[str, Any]) -> None:
    """The interpreter does not exist, so the module cannot have run; in the controller it would have worked."""
    task = {LIST: {}, "ignore_unreachable": True, **keywords}
    (result,) = play().run([task])
    assert result.get("failed") or result.get("unreachable")
    assert "servers" not in result


def test_a_module_in_a_process_of_its_own_works_as_well(play: Callable[..., Play]) -> None:
    tasks = [{LIST: {}, "async": 30, "poll": 1}, {LIST: {}, "environment": {"LANG": "C"}}]
    for result in play().run(tasks, interpreter=sys.executable):
        assert result.get("servers") == [], result


def test_the_credentials_of_an_environment_are_used_and_forgotten(endpoint: Endpoint, tmp_path: Path) -> None:
    play = Play(tmp_path / "play")
    with_environment, without = play.run([{LIST: {}, "environment": endpoint.env}, {LIST: {}}])
    assert with_environment["servers"] == []
    assert without["msg"].startswith("endpoint: not given")


def test_a_zone_goes_before_the_environment_s_endpoint(endpoint: Endpoint, tmp_path: Path) -> None:
    play = Play(tmp_path / "play", environment=endpoint.env)
    options = {"zone": "lon-p", "connect_timeout": 0.2, "uuid": "00000000-0000-4000-8000-000000000000"}
    (result,) = play.run([{LIST: options}])
    assert "api-lon-p.elastichosts.com" in result["msg"]


def test_a_long_transfer_tells_a_line_per_five_per_cent_to_those_who_ask(
    play: Callable[..., Play], tmp_path: Path
) -> None:
    image = tmp_path / "image.raw"
    image.write_bytes(os.urandom(20 << 20))
    here = play()
    tasks = [{PREFIX + "drive": {"name": "root", "src": str(image), "dest": str(tmp_path / "back.raw")}}]
    (result,) = here.run(tasks, "-v")
    assert (result["sent"], result["received"]) == (20 << 20, 20 << 20)
    for what in ("uploaded", "downloaded"):
        told = [int(percent) for percent in re.findall(rf"root: {what} (\d+)%", here.output)]
        assert told == sorted(set(told))
        assert told[-1] == 100
        assert all(percent % 5 == 0 for percent in told)
        assert len(told) >= 3
    quiet = play()
    quiet.run([{PREFIX + "drive": {"name": "root", "dest": str(tmp_path / "again.raw")}}])
    assert "downloaded" not in quiet.output


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


class Tagged(str):
    """Like the texts of ansible-core, which carry where they came from."""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(JSON)
def test_options_of_plain_types_stay_as_they_are(value: Any) -> None:
    assert plain(value) == value


def test_options_lose_their_tags() -> None:
    assert not isinstance(plain({"a": [Tagged("x")]})["a"][0], Tagged)
    assert plain((Tagged("x"),)) == ["x"]
