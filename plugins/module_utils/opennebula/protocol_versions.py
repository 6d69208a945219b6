# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The versions of the drivers' protocols as data, named by the releases that use them (opennebula-drivers 1.1).

The reference calls the rows V1 to V3 (VM driver) and I1 to I4 (monitoring driver), in this order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

VM_2_0, VM_3_2, VM_6_0 = "2.0-3.0", "3.2-5.12", "6.0-7.4"
IM_2_0, IM_4_0, IM_4_4, IM_5_12 = "2.0-3.8", "4.0-4.2", "4.4-5.10", "5.12-7.4"


@dataclass(frozen=True)
class VmmProtocol:
    """One version of the VM driver's protocol."""

    name: str
    gap: bytes
    """blanks between action and id"""
    payload: bool
    """true: the request is base64 of XML; false: plain fields"""
    nobody: str
    """id of a LOG line about no VM"""


VMM: Mapping[str, VmmProtocol] = {
    row.name: row
    for row in (
        VmmProtocol(VM_2_0, gap=b" ", payload=False, nobody="-"),
        VmmProtocol(VM_3_2, gap=b" ", payload=True, nobody="-"),
        VmmProtocol(VM_6_0, gap=b"  ", payload=True, nobody="-1"),
    )
}


@dataclass(frozen=True)
class ImProtocol:
    """One version of the monitoring driver's protocol."""

    name: str
    encoding: str
    """of messages: ``plain``, ``base64`` or ``zlib`` (base64 of zlib)"""
    separator: str
    """between the attributes of a message"""
    stamped: bool
    """whether lines have a timestamp"""
    encoded_log: bool
    """whether the text of LOG lines has the encoding, too"""


IM: Mapping[str, ImProtocol] = {
    row.name: row
    for row in (
        ImProtocol(IM_2_0, encoding="plain", separator=",", stamped=False, encoded_log=False),
        ImProtocol(IM_4_0, encoding="base64", separator="\n", stamped=False, encoded_log=False),
        ImProtocol(IM_4_4, encoding="base64", separator="\n", stamped=False, encoded_log=False),
        ImProtocol(IM_5_12, encoding="zlib", separator="\n", stamped=True, encoded_log=True),
    )
}

_WORDS: Mapping[str, str] = {f"I{number}": name for number, name in enumerate(IM, 1)}


def protocol_named(word: str) -> str:
    """Return the key of ``IM`` for a protocol's name or number (I1 to I4); any other word is returned as it is."""
    return _WORDS.get(word.upper(), word)
