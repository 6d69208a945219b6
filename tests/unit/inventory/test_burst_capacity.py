# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup burst_capacity: which zones have enough capacity for new servers."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import lookup_loader
from ansible.template import Templar

from ansible_collections.opennebula.elastichosts.plugins.module_utils.capacity import MEASURES


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
