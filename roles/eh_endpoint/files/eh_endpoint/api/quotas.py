# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of accounts; a call beyond a limit gets 402 billing (elastichosts-api 1.6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ..errors import Billing
from ..state.objects import Config, Server, config_size
from ..state.state import State
from .properties import merged
from .values import Kept

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
    "keys": "KiB of keys and values",
}
"""The names of limits in an accounts file, and what each limits."""
DEFAULTS: Quota = MappingProxyType({"keys": 16 << 10})
"""Limits of accounts that have none: the endpoint is busy for others while it lists keys and values."""

POWER: Mapping[str, Callable[[Server], int]] = {
    "cores": lambda server: server.cores,
    "mhz": lambda server: int(server.config["cpu"]),
    "mb": lambda server: int(server.config["mem"]),
}


class Quotas:
    """Limits by user; an account or a measure without a limit, here or in DEFAULTS, is unlimited."""

    def __init__(self, state: State, limits: Mapping[str, Quota]) -> None:
        self._state = state
        self._limits = limits

    def config(self, user: str, current: Config, wanted: Mapping[str, Kept]) -> dict[str, str | int]:
        """Return the keys of an object after a change. Raises Usage, and Billing when they grow beyond the limit."""
        after = merged(current, wanted)
        more = config_size(after) - config_size(current)
        if more > 0:
            self._check(user, "keys", self._state.config_size(user), more, 1 << 10)
        return after

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
        used["keys"] = self._state.config_size(user) / (1 << 10)
        return used, self._limits_of(user)

    def _limits_of(self, user: str) -> Quota:
        return {**DEFAULTS, **self._limits.get(user, {})}

    def _check(self, user: str, measure: str, used: int, more: int, unit: int = 1) -> None:
        limit = self._limits_of(user).get(measure)
        if limit is not None and used + more > limit * unit:
            raise Billing(
                f"Account {user}: the subscription covers {limit} {MEASURES[measure]}, in use are "
                f"{used / unit:g}, and this would take {more / unit:g} more"
            )
