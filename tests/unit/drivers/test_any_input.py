# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever the core, the cloud, a file or a socket says: each target of ``tests.fuzz`` bears it.

`make fuzz` looks for more, led by the code that an input reaches; what it has found once is tried here again.
"""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.findings import FINDINGS
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import MARK, TARGETS

KNOWN = [pytest.param(target, data, id=what) for target, found in FINDINGS.items() for what, data in found.items()]
WORDS = (
    b"\0",
    b"\x1c",
    b"\xc2\xa0",
    b"\xff",
    b"-1",
    b"99999999999",
    b"nan",
    b"<",
    b"]]>",
    b"&a;",
    b'"',
    b"\n\n",
    MARK,
)


@cache
def seeds(target: str) -> tuple[bytes, ...]:
    return tuple(seed[:8000] for seed in SEEDS[target]())


@pytest.mark.parametrize(("target", "data"), KNOWN)
def test_what_went_wrong_once_is_borne(target: str, data: bytes) -> None:
    TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=60)
@given(data=st.data())
def test_anything_is_borne(target: str, data: st.DataObject) -> None:
    """Noise, and what real cores and clouds said with a piece of it replaced."""
    if data.draw(st.integers(0, 3)) == 0:
        TARGETS[target](data.draw(st.binary(max_size=200)))
        return
    seed = data.draw(st.sampled_from(seeds(target)))
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(seed)), st.integers(0, len(seed)))))
    piece = data.draw(st.sampled_from(WORDS) | st.binary(max_size=20))
    TARGETS[target](seed[:start] + piece + seed[end if data.draw(st.booleans()) else start :])
