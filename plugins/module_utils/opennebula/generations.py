# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wire generations of OpenNebula's drivers, as data (opennebula-drivers 1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping


@dataclass(frozen=True)
class VmmGeneration:
    """A row of the VMM's wire table."""

    name: str
    gap: bytes
    """between action and id"""
    payload: bool
    """base64 of XML, or plain fields"""
    nobody: str
    """id of a LOG line that is about no VM"""


VMM: Mapping[str, VmmGeneration] = {
    row.name: row
    for row in (
        VmmGeneration("V1", gap=b" ", payload=False, nobody="-"),
        VmmGeneration("V2", gap=b" ", payload=True, nobody="-"),
        VmmGeneration("V3", gap=b"  ", payload=True, nobody="-1"),
    )
}


@dataclass(frozen=True)
class ImGeneration:
    """A row of the IM's wire table."""

    name: str
    encoding: str
    """of texts: ``plain``, ``base64`` or ``zlib`` (base64 of zlib)"""
    separator: str
    """between the attributes of a text"""
    stamped: bool
    """lines carry a timestamp"""
    encoded_log: bool


IM: Mapping[str, ImGeneration] = {
    row.name: row
    for row in (
        ImGeneration("I1", encoding="plain", separator=",", stamped=False, encoded_log=False),
        ImGeneration("I2", encoding="base64", separator="\n", stamped=False, encoded_log=False),
        ImGeneration("I3", encoding="base64", separator="\n", stamped=False, encoded_log=False),
        ImGeneration("I4", encoding="zlib", separator="\n", stamped=True, encoded_log=True),
    )
}
