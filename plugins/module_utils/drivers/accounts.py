# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drivers' ElasticHosts accounts: an API client for each, with cached listings of its servers and drives."""

from __future__ import annotations

import threading
from typing import Callable, Dict, Tuple

from ..elastichosts.client import ElasticHosts
from ..elastichosts.clock import Clock
from ..elastichosts.drives import Drive
from ..elastichosts.http_client import Timeouts
from ..elastichosts.servers import Server
from .listing_cache import ListingCache
from .settings import HostSettings


class CloudAccount:
    """An account at an endpoint: its client and its listings."""

    def __init__(self, client: ElasticHosts, clock: Clock) -> None:
        self.client = client
        self.servers: ListingCache[Server] = ListingCache(client.servers.info, clock, client.transport.within)
        self.drives: ListingCache[Drive] = ListingCache(client.drives.info, clock, client.transport.within)


Connect = Callable[[HostSettings], ElasticHosts]


def connect(settings: HostSettings) -> ElasticHosts:
    """Return a client for the account of the settings.

    :raises ConfigurationError: endpoint or auth has a wrong form
    :raises SettingsError: endpoint or auth is missing
    """
    seconds = settings.number("API_TIMEOUT")
    return ElasticHosts(
        settings.endpoint,
        settings.auth,
        verify=settings.ca_path or True,
        timeouts=Timeouts(connect=min(5.0, seconds), read=seconds, total=max(seconds, 5 * seconds)),
    )


class CloudAccounts:
    """The accounts of all OpenNebula hosts; hosts with the same account share a CloudAccount. Thread-safe."""

    def __init__(self, clock: Clock, connect: Connect = connect) -> None:
        self._clock = clock
        self._connect = connect
        self._lock = threading.Lock()
        self._accounts: Dict[Tuple[str, str, str, float], CloudAccount] = {}

    def of(self, settings: HostSettings) -> CloudAccount:
        """Return the account of a host's settings.

        :raises SettingsError: EHURI or EHAUTH is missing
        :raises ConfigurationError: EHURI or EHAUTH has a wrong form
        """
        key = (settings.endpoint, settings.auth, settings.ca_path, settings.number("API_TIMEOUT"))
        with self._lock:
            if key not in self._accounts:
                self._accounts[key] = CloudAccount(self._connect(settings), self._clock)
            return self._accounts[key]
