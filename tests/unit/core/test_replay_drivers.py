# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What real cores once said, said again to the installed drivers, which act on a real endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.replay import recordings, replay
from tests.support.endpoint import Endpoint
from tests.unit.drivers.conftest import Installation, Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Endpoint(tmp_path / "state", "--acpi-delay", "0.1") as endpoint:
        yield Site(Installation(tmp_path / "one"), endpoint)


@pytest.mark.parametrize(
    ("folder", "name", "lines", "states"),
    [("2.0", "2.0.1", 90, 25), ("3.8", "3.8.5", 50, 20), ("5.10", "5.10.5", 70, 25), ("7.4", "7.4.0", 35, 15)],
)
def test_each_recorded_request_gets_one_answer_and_the_recorded_states_follow(
    site: Site, folder: str, name: str, lines: int, states: int
) -> None:
    with site.core(name) as core:
        core.start_vmm(arguments="-t 15 eh")
        core.start_im(arguments="eh")
        report = replay(core, recordings(folder), drives=lambda vm: site.new_drive())
        spoken = [line for line in core.said() if " driver: " in line]
    assert report.mismatches == []
    assert report.lines >= lines, "requests"
    assert report.states >= states, "recorded states that could be compared"
    assert not any("secret" in line for line in spoken)
