# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""libcloud 3.7.0, unmodified: its three providers of this family against both generations (elastichosts-api 5.1)."""

from __future__ import annotations

import pytest

from tests.old_clients.conftest import Run
from tests.support.endpoint import Endpoint

IMAGES = {"ELASTICHOSTS": 9, "SERVERLOVE": 5, "SKALICLOUD": 5}


@pytest.mark.parametrize("provider", sorted(IMAGES))
def test_a_node_lives_from_create_to_destroy(run: Run, cloud: Endpoint, platform: str, provider: str) -> None:
    account = (str(cloud.port), cloud.user, cloud.key)
    seen = run("libcloud_life.py", provider, *account, "auto" if platform == "new" else "2")
    number = IMAGES[provider]
    assert (seen["images"], seen["before"]) == (number, 0)
    assert [name for name, *_rest in seen["nodes"]] == [f"node{one}" for one in range(number)]
    assert {state for _name, state, *_rest in seen["nodes"]} == {"running"}
    addresses = [address for _name, _state, found, _extra in seen["nodes"] for address in found]
    # The old generation shows it in nic:0:dhcp, where this driver does not look.
    assert len(set(addresses)) == (number if platform == "new" else 0)
    extra = seen["nodes"][0][3]
    assert (extra["cpu"], extra["mem"]) == (2000, 1700)
    assert extra["started"] > 1e9
    assert extra["password"] == "geheim12"
    assert seen["listed"] == sorted(f"node{one}" for one in range(number))
    assert (seen["reboot"], seen["configured"], seen["shutdown"]) == (True, True, True)
    assert seen["refused"].startswith("X-Elastic-Error: usage (")
    assert "mem: invalid change" in seen["refused"]
    assert seen["renamed"] == ["renamed"]
    assert seen["destroyed"] == [True] * (number - 1)
    assert seen["wrong"] == "InvalidCredsError"
    # It sends no `persistent`, so a shutdown makes the node vanish; the drives stay until they are destroyed.
    assert cloud.call("/servers/list").json() == []
    drives = [row["uuid"] for row in cloud.call("/drives/list").json()]
    assert len(drives) == number
    assert run("libcloud_drives.py", provider, *account, *drives) == [True] * number
    assert cloud.call("/drives/list").json() == []
