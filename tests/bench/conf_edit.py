# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures edits of an oned.conf of 58 kB, and of one ten times as long, since time must not grow faster than size.

    python -m tests.bench.conf_edit [--quick]

Exit status 1 when a ratio is beyond its limit.
"""

from __future__ import annotations

import sys
import time

from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula import conf
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.conf_edits import Edit, apply
from tests.bench.endpoint import Report
from tests.support.collection import ROOT

SIZE = 58_000
LIMIT_MS = 20
"""for parsing and editing"""


def text_of(size: int) -> str:
    """Return copies of the 7.4 sample, with other names in each, of at least ``size`` characters."""
    sample = (ROOT / "tests/samples/7.4/oned.conf").read_text()
    parts: list[str] = []
    while sum(map(len, parts)) < size:
        parts.append(sample.replace('"kvm"', f'"kvm{len(parts)}"').replace('"lxc"', f'"lxc{len(parts)}"'))
    return "".join(parts)


def milliseconds(text: str, rounds: int) -> float:
    """Return the shortest time of parsing and setting a section; also assert that its removal restores the text."""
    best = float("inf")
    for _round in range(rounds):
        begun = time.perf_counter()
        edited = conf.set_section(conf.parse(text), "VM_MAD", "vmm_eh", {"EXECUTABLE": "one_vmm_eh", "TYPE": "xml"})
        best = min(best, time.perf_counter() - begun)
    assert conf.remove_section(conf.parse(edited), "VM_MAD", "vmm_eh") == text
    return best * 1000


ROLE = (
    Edit("VM_MAD", "vmm_eh", {"EXECUTABLE": "one_vmm_eh", "TYPE": "xml"}),
    Edit("MAX_ACTIONS_PER_HOST", value="30"),
    Edit("TM_MAD_CONF", "eh", {"LN_TARGET": "NONE", "CLONE_TARGET": "SYSTEM", "SHARED": "YES"}),
    Edit("TM_MAD", "tm_dummy", {"EXECUTABLE": "one_tm"}, stock=True),
)
"""the edits that the role makes in one file"""


def milliseconds_of_role(text: str, rounds: int) -> float:
    best = float("inf")
    for _round in range(rounds):
        begun = time.perf_counter()
        edited = text
        for edit in ROLE:
            edited = apply(edited, edit)
        best = min(best, time.perf_counter() - begun)
    return best * 1000


def main() -> int:
    rounds = 5 if "--quick" in sys.argv[1:] else 30
    report = Report()
    small, large = text_of(SIZE), text_of(10 * SIZE)
    short, long = milliseconds(small, rounds), milliseconds(large, rounds)
    report.line(f"oned.conf of {len(small) // 1000} kB, plan and apply, against 20 ms", short, LIMIT_MS, 1)
    every = milliseconds_of_role(small, rounds)
    report.line(f"each of {len(ROLE)} edits of the same file, against 20 ms", every / len(ROLE), LIMIT_MS, 1)
    scaled = short * len(large) / len(small)
    report.line(f"oned.conf of {len(large) // 1000} kB, against the shorter one scaled", long, scaled, 2)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
