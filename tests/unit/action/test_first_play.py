# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A first play in check mode: later tasks are foretold although what earlier ones would make is not there yet."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoint import Endpoint
from tests.unit.action.plays import PREFIX, Play, Task

GROUP = "group/opennebula.elastichosts.elastichosts"
PLACEHOLDER = "00000000-0000-0000-0000-"
SIZE: dict[str, Any] = {"cpu": 500, "mem": 256}


def tasks_of(folder: Path) -> list[Task]:
    golden, copy, other, net, address, web = (f"result_{number}." for number in range(6))
    server = "{{ " + web + "server.uuid }}"
    nics = [{"dhcp": "{{ " + address + "ip.resource }}"}, {"vlan": "{{ " + net + "vlan.resource }}"}]
    root = [{"device": "ide:0:0", "drive": "{{ " + copy + "drive.uuid }}"}]
    calls: list[tuple[str, dict[str, Any]]] = [
        ("drive", {"name": "golden", "size": "8M"}),
        ("drive", {"name": "copy", "source": "golden"}),
        ("drive", {"name": "other", "source": "{{ " + golden + "drive.uuid }}", "size": "12M"}),
        ("vlan", {"name": "net"}),
        ("ip", {"name": "address"}),
        ("server", {"name": "web", **SIZE, "drives": root, "nics": nics}),
        ("burst", {"name": "group", "exact_count": 2, **SIZE, "image": "golden", "nics": [{}, nics[1]]}),
        ("drive", {"uuid": "{{ " + copy + "drive.uuid }}", "tags": ["used"]}),
        ("drive", {"uuid": "{{ " + other + "drive.uuid }}", "dest": str(folder / "other.raw")}),
        ("server", {"uuid": server, "mem": 512, "restart": True}),
        ("server", {"uuid": server, "state": "stopped"}),
        ("vlan", {"uuid": "{{ " + net + "vlan.resource }}", "name": "network"}),
        ("ip", {"address": "{{ " + address + "ip.resource }}", "name": "public"}),
        ("drive", {"name": "other", "tags": ["named"]}),
        ("server", {"name": "web", "state": "restarted"}),
        ("server", {"uuid": server, "state": "absent"}),
        ("drive", {"uuid": "{{ " + other + "drive.uuid }}", "state": "absent"}),
    ]
    return [{PREFIX + module: options} for module, options in calls]


@pytest.mark.parametrize("how", ["in process", pytest.param("as modules", marks=pytest.mark.whole)])
def test_a_play_that_is_right_is_foretold_before_anything_is_there(tmp_path: Path, how: str) -> None:
    with Endpoint(tmp_path / "state") as endpoint:
        defaults = {GROUP: {"endpoint": endpoint.url, "auth": endpoint.auth}}
        environment = {} if how == "in process" else {"environment": {"LANG": "C"}}
        tasks = tasks_of(tmp_path)
        play = Play(tmp_path / "play", module_defaults=defaults, **environment)
        options = {} if how == "in process" else {"interpreter": sys.executable}
        foretold = play.run(tasks, "--check", **options)
        output = play.output
        assert endpoint.call("/drives/list", method="GET").json() == []
        assert [result.get("msg") for result in foretold if result.get("failed")] == []
        done = play.run(tasks, **options)
        assert [result.get("msg") for result in done if result.get("failed")] == []
    assert [result["changed"] for result in foretold] == [result["changed"] for result in done] == [True] * len(tasks)
    uuids = [foretold[number]["drive"]["uuid"] for number in range(3)] + [foretold[3]["vlan"]["resource"]]
    uuids += [foretold[5]["server"]["uuid"], *(member["uuid"] for member in foretold[6]["members"])]
    assert all(uuid.startswith(PLACEHOLDER) for uuid in uuids)
    assert len(set(uuids)) == len(uuids), "each object has a placeholder of its own"
    said = " ".join(output.split())
    assert "no drive 'golden' to copy from yet, the real run needs it" in said
    assert re.search(r"nic:1:vlan: 00000000-\S+ does not exist yet, the real run needs it", said)
    assert "'web' does not exist yet, the real run needs it" in said
