# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resource calls: static IP addresses and VLANs (elastichosts-api 2.3)."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from ..errors import Busy, Missing, about
from ..state.objects import Resource
from ..state.state import State
from .formats import Given, Properties
from .properties import RESOURCE_KEYS, changes
from .quotas import Quotas

TYPES = ("ip", "vlan")


class Resources:
    """The resource calls."""

    def __init__(self, state: State, quotas: Quotas) -> None:
        self._state = state
        self._quotas = quotas

    def rows(self, user: str) -> list[dict[str, str]]:
        return [{"type": one.type, "resource": one.uuid} for one in self._state.resources.of(user)]

    def rows_of(self, user: str, kind: str) -> list[dict[str, str]]:
        _known(kind)
        return [row for row in self.rows(user) if row["type"] == kind]

    def every(self, user: str) -> list[Properties]:
        return [self._describe(one) for one in self._state.resources.of(user)]

    def every_of(self, user: str, kind: str) -> list[Properties]:
        _known(kind)
        return [found for found in self.every(user) if found["type"] == kind]

    def info(self, user: str, kind: str, name: str) -> Properties:
        return self._describe(self.own(user, kind, name))

    def own(self, user: str, kind: str, name: str) -> Resource:
        """Return a resource of the user. name: the address of an ip, the UUID of a vlan. Raises Missing."""
        _known(kind)
        found = self._state.resources.get(name.lower())
        if found is None or found.user != user or found.type != kind:
            raise Missing(f"Resource {kind} {name[:60]} not found")
        return found

    def create(self, user: str, kind: str, given: Given) -> Properties:
        _known(kind)
        config = self._quotas.config(user, {}, changes(RESOURCE_KEYS, given, None, live=False))
        self._quotas.check_resources(user, kind)
        name = self._state.addresses.free() if kind == "ip" else str(uuid4())
        resource = Resource(name, user, kind, config)
        self._state.commit(resource)
        return self._describe(resource)

    def set(self, user: str, kind: str, name: str, given: Given) -> Properties:
        resource = self.own(user, kind, name)
        with about(f"Resource {kind} {resource.uuid}"):
            wanted = changes(RESOURCE_KEYS, given, resource.config, live=False)
            after = replace(resource, config=self._quotas.config(user, resource.config, wanted))
        if wanted:
            self._state.commit(after)
        return self._describe(after)

    def destroy(self, user: str, kind: str, name: str) -> None:
        resource = self.own(user, kind, name)
        users = [server.uuid for server in self._state.servers.of(user) if resource.uuid in server.resources]
        if users:
            raise Busy(f"Resource {kind} {resource.uuid} is used by server {' '.join(users)}")
        self._state.commit(remove=[resource])

    def _describe(self, resource: Resource) -> Properties:
        found = {**resource.config, "resource": resource.uuid, "type": resource.type, "user": resource.user}
        if resource.type == "ip":
            pool = self._state.addresses
            found |= {"gateway": pool.gateway, "nameserver": pool.nameserver, "netmask": str(pool.network.netmask)}
        return dict(sorted(found.items()))


def _known(kind: str) -> None:
    if kind not in TYPES:
        raise Missing(f"There is no resource type {kind[:60]!a}: {' and '.join(TYPES)} exist")
