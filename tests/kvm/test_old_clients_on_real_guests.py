# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""libcloud 3.7.0, unmodified, against real guests."""

from __future__ import annotations

from tests.kvm.box import Box
from tests.old_clients.conftest import Run, old_python, run

__all__ = ["old_python", "run"]


def test_libcloud_makes_and_destroys_real_nodes(run: Run, box: Box) -> None:
    seen = run("libcloud_life.py", "SERVERLOVE", str(box.port), box.user, box.key, "auto")
    assert {state for _name, state, *_rest in seen["nodes"]} == {"running"}
    assert seen["destroyed"] and all(seen["destroyed"])
    assert seen["reboot"] and seen["configured"] and seen["shutdown"]
    # Nothing boots from the library's placeholders, so the node whose power button was pressed goes on running.
    (left,) = box.call("/servers/list").json()
    assert box.domains() == [left["uuid"]]
    assert box.call(f"/servers/{left['uuid']}/destroy").status_code == 204
    assert box.domains() == []
