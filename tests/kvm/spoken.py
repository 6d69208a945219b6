# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls that an endpoint makes of libvirt, as libvirt's own library writes them down."""

from __future__ import annotations

import re
from pathlib import Path

_CALL = re.compile(r" : (vir[A-Z]\w+):\d+ : ")
_LOCAL = ("Free", "Ref", "GetUUID", "GetUUIDString", "GetName")
"""Ends of names of functions that ask nobody."""


class Spoken:
    """environment: what a process has to be started with."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "libvirt.calls"
        self._read = 0
        self.environment = {"LIBVIRT_LOG_FILTERS": "1:libvirt", "LIBVIRT_LOG_OUTPUTS": f"1:file:{self._file}"}

    def calls(self) -> list[str]:
        """The functions that were called since this was last asked."""
        text = self._file.read_text(errors="replace")
        new, self._read = text[self._read :], len(text)
        return [name for name in _CALL.findall(new) if not name.endswith(_LOCAL)]
