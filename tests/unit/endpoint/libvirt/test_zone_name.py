# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file with the name of a zone: what cannot be used is one sentence, and stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from eh_endpoint.libvirt.connection import CannotUse
from eh_endpoint.libvirt.driver import _zone


def test_a_zone_has_one_name(tmp_path: Path) -> None:
    assert _zone(tmp_path) == _zone(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe\x00", b"eh0123\n", bytes(4096)])
def test_a_damaged_name_is_one_sentence_and_is_kept(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "zone").write_bytes(damage)
    with pytest.raises(CannotUse, match="does not hold the name of a zone"):
        _zone(tmp_path)
    assert (tmp_path / "zone").read_bytes() == damage


def test_a_name_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "zone.new").mkdir()
    with pytest.raises(CannotUse, match=r"zone\.new cannot be written: Is a directory"):
        _zone(tmp_path)
