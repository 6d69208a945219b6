# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API client for one account at one endpoint."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Optional, Type

from .drives import Drives
from .http_client import Transport
from .resources import Resources, StandardDrives
from .servers import Servers


class ElasticHosts:
    """API client, such as ``ElasticHosts("https://cloud.example/", "UUID:KEY").servers.info()``. Thread-safe.

    :param options: keyword arguments of :class:`~.http_client.Transport`
    :raises ConfigurationError: endpoint or auth has a wrong form
    """

    def __init__(self, endpoint: str, auth: str, **options: Any) -> None:
        self.transport = Transport(endpoint, auth, **options)
        self.servers = Servers(self.transport)
        self.drives = Drives(self.transport)
        self.standard_drives = StandardDrives(self.transport)
        self.resources = Resources(self.transport)

    def __repr__(self) -> str:
        return f"ElasticHosts({self.transport!r})"

    def close(self) -> None:
        """Close all connections."""
        self.transport.close()

    def __enter__(self) -> ElasticHosts:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()
