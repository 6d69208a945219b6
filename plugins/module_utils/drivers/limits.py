# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much this cloud may have at ElasticHosts: checked before a server is created, never before one is started.

A limit counts the servers of the listing that the DEPLOY has looked at, and those whose creation is under way or ended
after that listing was begun. So deploys that run at the same time do not exceed it together.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from ..elastichosts.formats import Properties
from ..elastichosts.servers import Server
from .action_context import ActionContext, ActionFailed
from .listing_cache import Snapshot
from .translate import HOST_KEY


class Limit(NamedTuple):
    """One row of the table of limits."""

    setting: str
    """name of the number in the settings"""
    amount: Callable[[Server], float]
    """what one server takes"""
    unit: str


LIMITS: Tuple[Limit, ...] = (Limit("MAX_SERVERS", lambda _server: 1, "servers"),)
Place = Tuple[str, str, str]
"""endpoint, cloud, OpenNebula host"""


@dataclass
class _Creation:
    """A server that is being made, or was made a moment ago."""

    server: Server
    ended: Optional[float] = None
    """monotonic seconds; None: under way"""


class Limits:
    """Keeps account of the creations of this driver."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._creations: Dict[Place, Dict[int, _Creation]] = {}

    @contextlib.contextmanager
    def room(self, context: ActionContext, found: Snapshot[Server], wanted: Properties) -> Iterator[None]:
        """Hold room for the server ``wanted`` while it is being created.

        :param found: the listing that the DEPLOY has looked at
        :raises ActionFailed: a limit would be exceeded; nothing was done
        :raises SettingsError: a limit is set to something that is no number
        """
        place = (context.settings.endpoint, context.cloud, context.host)
        creation = _Creation(Server(wanted))
        with self._lock:
            # Another DEPLOY may have forgotten a creation because of a later listing, which then has the server.
            listing = context.account.servers.last or found
            creations = self._creations.setdefault(place, {})
            self._forget(creations, listing)
            _check(context, [*_listed(context, listing), *_unlisted(context, listing, creations)], creation.server)
            creations[context.vm_id] = creation
        try:
            yield
        finally:
            creation.ended = context.plain_clock.monotonic()

    @staticmethod
    def _forget(creations: Dict[int, _Creation], listing: Snapshot[Server]) -> None:
        """Drop the creations whose outcome the listing shows."""
        for vm_id, creation in list(creations.items()):
            if creation.ended is not None and creation.ended < listing.begun:
                del creations[vm_id]


def _listed(context: ActionContext, listing: Snapshot[Server]) -> List[Server]:
    """The servers that the host has."""
    own = [server for servers in listing.of(context.cloud).values() for server in servers]
    return [server for server in own if server.properties.get(HOST_KEY, context.host) == context.host]


def _unlisted(context: ActionContext, listing: Snapshot[Server], creations: Dict[int, _Creation]) -> List[Server]:
    """The servers being created, or just created, that the listing does not have."""
    listed = listing.of(context.cloud)
    return [creation.server for vm_id, creation in creations.items() if vm_id not in listed]


def _check(context: ActionContext, servers: List[Server], new: Server) -> None:
    for limit in LIMITS:
        most = context.settings.number(limit.setting)
        used = sum(limit.amount(server) for server in servers)
        if used + limit.amount(new) > most:
            raise ActionFailed(
                f"Terminate a VM, or raise {limit.setting} in im_ehrc: host {context.host!r} may have {most:g} "
                f"{limit.unit} at ElasticHosts, and {used:g} are there or being made ({limit.setting} is set in "
                f"{context.settings.source(limit.setting)})."
            )
