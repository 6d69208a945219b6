# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left of an account, and which zones have room: pure functions and the lookup."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import lookup_loader
from ansible.template import Templar
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


def zone(**left: float | None) -> dict[str, Any]:
    return {"left": {**dict.fromkeys(MEASURES), **left}, "total": {}, "used": {}}


KNOWN = {
    "full": zone(servers=0),
    "small": zone(servers=2, mem=4096),
    "big": zone(servers=20, mem=65536, cores=16),
    "free": zone(),
    "also": zone(servers=2, mem=99999),
}


def lookup(terms: tuple[str, ...], options: dict[str, Any], known: Any) -> list[str]:
    """What the lookup gives where `known` is eh_capacity."""
    variables = {} if known is None else {"eh_capacity": known, "eh_unreachable": {"down": "no connection"}}
    loader = DataLoader()
    templar = Templar(loader=loader, variables=variables)
    plugin = lookup_loader.get("opennebula.elastichosts.burst_capacity", loader=loader, templar=templar)
    return list(plugin.run(list(terms), variables, **options))


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


@pytest.mark.parametrize(
    ("terms", "wish", "zones"),
    [
        ((), {}, ["free", "big", "also", "small"]),
        ((), {"servers": 2, "mem": 4096}, ["free", "big", "also", "small"]),
        ((), {"servers": 2, "mem": 4097}, ["free", "big", "also"]),
        ((), {"servers": 3, "cores": "17"}, ["free"]),
        (("small", "big"), {"servers": 3}, ["big"]),
        (("down",), {}, []),
        (("full",), {}, []),
    ],
)
def test_the_zones_with_room_come_the_roomiest_first(
    terms: tuple[str, ...], wish: dict[str, Any], zones: list[str]
) -> None:
    assert lookup(terms, wish, KNOWN) == zones


@pytest.mark.parametrize(
    ("terms", "wish", "known", "words"),
    [
        (("nowhere",), {}, KNOWN, "no zone 'nowhere' in the inventory, its zones are: also, big, free, full, small"),
        ((), {"ram": 1}, KNOWN, "'ram' is no option, choose from servers, cores, cpu, mem, drives, storage"),
        ((), {"mem": -1}, KNOWN, "burst_capacity.mem: -1.0 is no amount"),
        ((), {}, None, "no variable eh_capacity, run with an inventory of opennebula.elastichosts.servers"),
    ],
)
def test_a_lookup_that_cannot_be_answered_fails_with_one_sentence(
    terms: tuple[str, ...], wish: dict[str, Any], known: Any, words: str
) -> None:
    with pytest.raises(AnsibleError) as failed:
        lookup(terms, wish, known)
    assert words in str(failed.value)
