# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an account uses and what is left of its limits: pure functions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opennebula.elastichosts.plugins.module_utils.capacity import (
    MEASURES,
    amounts,
    left,
    times,
    used,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.drives import Drive
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.servers import Server
from ansible_collections.opennebula.elastichosts.plugins.module_utils.options import InvalidOption

NUMBERS = st.integers(0, 10**6) | st.floats(0, 10**6, allow_nan=False)
AMOUNTS = st.dictionaries(st.sampled_from(sorted(MEASURES)), NUMBERS)


def test_stopped_servers_count_and_drives_are_known_only_when_asked_for() -> None:
    servers = [
        Server({"cpu": "4100", "mem": "1024", "smp": "auto", "status": "stopped"}),
        Server({"cpu": "500", "mem": "256", "smp": "4"}),
        Server({"status": "dead"}),
    ]
    assert used(servers, None) == {
        "servers": 3,
        "cores": 6,
        "cpu": 4600,
        "mem": 1280,
        "drives": None,
        "storage": None,
    }
    assert used([], [Drive({"size": str(3 * 2**29)}), Drive({})])["storage"] == 1.5


@given(AMOUNTS, AMOUNTS)
def test_left_is_what_is_not_used(limits: dict[str, Any], taken: dict[str, Any]) -> None:
    found = left(limits, taken)
    for name in MEASURES:
        assert (found[name] is None) == (name not in limits or name not in taken)
        if found[name] is not None:
            assert found[name] == pytest.approx(limits[name] - taken[name], abs=0.01)


@given(AMOUNTS, AMOUNTS)
def test_what_is_needed_fits_as_often_as_told_and_not_once_more(free: dict[str, int], need: dict[str, int]) -> None:
    fits = times(free, need)
    limiting = [kind for kind in need if kind in free and need[kind] > 0]
    if not limiting:
        assert fits == float("inf")
    else:
        assert all(fits <= free[kind] / need[kind] for kind in limiting)
        assert any(free[kind] // need[kind] == fits for kind in limiting)


@pytest.mark.parametrize("value", [-1, "many", True, [], float("nan"), float("inf"), 1e300])
def test_what_is_no_amount_is_refused(value: Any) -> None:
    with pytest.raises(InvalidOption, match=r"limits\.mem: .* is no amount, give a number of 0 or more \(MB of memory"):
        amounts({"mem": value}, "limits")


def test_amounts_may_be_written_as_text_and_null_is_no_limit() -> None:
    assert amounts({"mem": "1024", "storage": "0.5", "servers": 3.0, "cpu": None}, "limits") == {
        "mem": 1024,
        "storage": 0.5,
        "servers": 3,
    }
