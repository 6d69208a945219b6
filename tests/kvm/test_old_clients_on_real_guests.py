# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""libcloud 3.7.0 and pyeh 0.1.6, unmodified, against real guests."""

from __future__ import annotations

from pathlib import Path

from tests.kvm.box import Box
from tests.old_clients.conftest import Run, old_python, run

__all__ = ["old_python", "run"]


def test_libcloud_makes_and_destroys_real_nodes(run: Run, box: Box) -> None:
    seen = run("libcloud_life.py", "SERVERLOVE", str(box.port), box.user, box.key, "auto")
    assert {state for _name, state, *_rest in seen["nodes"]} == {"running"}
    assert seen["destroyed"] and all(seen["destroyed"])
    assert box.domains() == []


def test_pyeh_lives_its_life_on_real_guests(run: Run, box: Box, tmp_path: Path) -> None:
    seen = run("pyeh_life.py", str(box.port), box.user, box.key)
    assert seen
    assert box.domains() == []
