# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""pyeh 0.1.6, unmodified, the newest known client: virtual machines and containers (elastichosts-api 5.2)."""

from __future__ import annotations

import pytest

from tests.old_clients.conftest import Run
from tests.support.endpoint import Endpoint


@pytest.mark.parametrize("platform", ["new"])  # the calls that it needs are not in the old generation
@pytest.mark.parametrize(("kind", "distro"), [("vm", "ubuntu"), ("container", "centos7")])
def test_an_instance_lives_from_create_to_delete(run: Run, cloud: Endpoint, kind: str, distro: str) -> None:
    seen = run("pyeh_life.py", cloud.url, cloud.user, cloud.key, kind, distro)
    made = seen["made"]
    assert (made["name"], made["type"], made["status"], made["persistent"]) == ("web", kind, "active", "true")
    assert made["cpu"] == 500
    assert made["ip"].startswith("198.18.")
    assert seen["listed"] == [{"uuid": made["uuid"]}]
    assert seen["got"] == made
    assert (seen["shutdown"], seen["stopped"], seen["cut"]) == (True, "stopped", "stopped")
    assert seen["gone"] is None
    assert seen["fleeting"] == ["false", None]
    for call in ("/servers/list", "/drives/list", "/folders/list"):
        assert cloud.call(call).json() == []
