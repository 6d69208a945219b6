# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of accounts; a call beyond a limit gets 402 billing (elastichosts-api 1.6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..errors import Billing
from ..state.objects import Server
from ..state.state import State

GIB = 1 << 30
Quota = Mapping[str, int]
MEASURES = {
    "servers": "servers, active or stopped",
    "cores": "cores of active servers",
    "mhz": "MHz of active servers",
    "mb": "MB of memory of active servers",
    "gb": "GiB of drives",
    "ips": "static IP addresses",
    "vlans": "VLANs",
}
"""The names of limits in an accounts file, and what each limits."""

POWER: Mapping[str, Callable[[Server], int]] = {
    "cores": lambda server: server.cores,
    "mhz": lambda server: int(server.config["cpu"]),
    "mb": lambda server: int(server.config["mem"]),
}


class Quotas:
    """Limits by user; an account or a measure without a limit is unlimited."""

    def __init__(self, state: State, limits: Mapping[str, Quota]) -> None:
        self._state = state
        self._limits = limits

    def check_servers(self, user: str) -> None:
        """Check the limit before a server is created. Raises Billing."""
        if user in self._limits:
            self._check(user, "servers", len(self._state.servers.of(user)), 1)

    def check_power(self, after: Server) -> None:
        """Check the limits before a server starts, or changes while active. Raises Billing."""
        if after.user not in self._limits:
            return
        others = [one for one in self._state.servers.of(after.user) if one.active and one.uuid != after.uuid]
        for measure, amount in POWER.items():
            self._check(after.user, measure, sum(map(amount, others)), amount(after))

    def check_drives(self, user: str, more: int) -> None:
        """Check the limit before drives grow by some bytes. Raises Billing."""
        if user in self._limits and more > 0:
            used = sum(drive.size for drive in self._state.drives.of(user))
            self._check(user, "gb", used, more, GIB)

    def check_resources(self, user: str, kind: str) -> None:
        """Check the limit before a resource is created. Raises Billing."""
        if user in self._limits:
            used = sum(one.type == kind for one in self._state.resources.of(user))
            self._check(user, f"{kind}s", used, 1)

    def use(self, user: str) -> tuple[dict[str, float], Quota]:
        """Return what a user has of each measure, and the limits."""
        servers = self._state.servers.of(user)
        used: dict[str, float] = {"servers": len(servers)}
        for measure, amount in POWER.items():
            used[measure] = sum(amount(server) for server in servers if server.active)
        used["gb"] = sum(drive.size for drive in self._state.drives.of(user)) / GIB
        for resource in self._state.resources.of(user):
            used[f"{resource.type}s"] = used.get(f"{resource.type}s", 0) + 1
        return used, self._limits.get(user, {})

    def _check(self, user: str, measure: str, used: int, more: int, unit: int = 1) -> None:
        limit = self._limits[user].get(measure)
        if limit is not None and used + more > limit * unit:
            raise Billing(
                f"Account {user}: the subscription covers {limit} {MEASURES[measure]}, in use are "
                f"{used / unit:g}, and this would take {more / unit:g} more"
            )
