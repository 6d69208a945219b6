# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cloud offers beside servers and drives of one's own."""

from __future__ import annotations

from typing import List

from .drives import Drive
from .errors import MissingError
from .transport import Transport


class StandardDrives:
    """The cloud's own images (elastichosts-api 2.6)."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def info(self) -> List[Drive]:
        """All standard drives, in one call. None on platforms that lack the call (elastichosts-api 8)."""
        try:
            return [Drive(item) for item in self._transport.read("/drives/info/standard").objects()]
        except MissingError:
            return []
