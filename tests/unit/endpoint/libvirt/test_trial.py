# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which type of guests is taken, where the machine itself tells that one does not work. Trials run in tests/kvm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eh_endpoint.libvirt import trial
from eh_endpoint.libvirt.connection import CannotUse
from eh_endpoint.libvirt.domain_xml import Machine, Offer


class AllRun:
    """A connection on which each trial guest runs to its end."""

    def now(self, _work: Any) -> str:
        return ""


def taken(types: tuple[str, ...]) -> Machine:
    connection: Any = AllRun()
    return trial.tried(connection, Offer(types, "x86_64", None, labelled=False), "zone", "127.0.0.1")


def test_kvm_is_taken_where_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trial, "PVM", tmp_path / "no-such-module")
    assert taken(("kvm", "qemu")).type == "kvm"


def test_a_kvm_without_hardware_virtualization_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trial, "PVM", tmp_path)
    assert taken(("kvm", "qemu")).type == "qemu"
    with pytest.raises(CannotUse, match="no guest runs on this libvirt: the module kvm_pvm stops them"):
        taken(("kvm",))
