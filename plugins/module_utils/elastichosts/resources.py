# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cloud offers beside servers and drives of one's own: static addresses, VLANs, standard drives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Tuple

from . import identifiers
from .drives import Drive
from .errors import MissingError, NotUnique, ProtocolError
from .http_client import Reply, Transport
from .servers import Server

_USING = {
    "ip": re.compile(r"nic:\d:(dhcp|dhcp:ip|ip)"),
    "vlan": re.compile(r"nic:\d:vlan"),
}
_NOTHING = re.compile(r"(?!)")


@dataclass(frozen=True)
class Resource:
    """A static IP address or a VLAN as the API describes it; `properties` are its keys and values, all text."""

    properties: Mapping[str, str]

    @property
    def type(self) -> str:
        """ip or vlan."""
        return self.properties.get("type", "")

    @property
    def resource(self) -> str:
        """What tells it apart: the address of an ip, the UUID of a vlan."""
        return self.properties.get("resource", "")

    @property
    def identity(self) -> str:
        """What tells it apart, as in all kinds of things."""
        return self.resource

    @property
    def name(self) -> str:
        return self.properties.get("name", "")

    @property
    def user_keys(self) -> Dict[str, str]:
        """The free keys, without their "user:"."""
        return identifiers.user_keys(self.properties)

    def users(self, servers: Iterable[Server]) -> Tuple[str, ...]:
        """The UUIDs of the `servers` that name it, running or not."""
        using = _USING.get(self.type, _NOTHING)
        return tuple(server.uuid for server in servers if self._is_named(server, using))

    def _is_named(self, server: Server, using: re.Pattern[str]) -> bool:
        named = (value for key, value in server.properties.items() if using.fullmatch(key))
        return any(self.resource in identifiers.words(value) for value in named)

    def public(self) -> Dict[str, str]:
        """All properties, sorted; a resource has no secret ones."""
        return dict(sorted(self.properties.items()))


class Resources:
    """The resource calls (elastichosts-api 2.3). Every method raises the errors of its API call."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> List[Tuple[str, ...]]:
        """("ip", "192.0.2.1") and the like for all resources."""
        return self._transport.read("/resources/list").rows()

    def info(self) -> List[Resource]:
        """All resources with their properties, in one call."""
        return self._transport.read("/resources/info").described(_resource)

    def get(self, kind: str, resource: str) -> Resource:
        """One resource. Raises MissingError."""
        reply = self._transport.read(f"{_path(kind, resource)}/info")
        return _resource(reply.object(), reply)

    def create(self, kind: str, properties: Mapping[str, Optional[str]]) -> Resource:
        """A new address or VLAN."""
        reply = self._transport.change(f"/resources/{identifiers.segment(kind)}/create", properties)
        return _resource(reply.object(), reply)

    def set(self, kind: str, resource: str, properties: Mapping[str, Optional[str]]) -> Resource:
        """Change the name or user keys; None unsets."""
        reply = self._transport.change(f"{_path(kind, resource)}/set", properties)
        found = reply.object()
        return _resource(found, reply) if found else self.get(kind, resource)

    def destroy(self, kind: str, resource: str) -> None:
        """Give it back. BusyError while a server names it."""
        self._transport.change(f"{_path(kind, resource)}/destroy")

    def find(self, kind: str, wanted: str) -> Optional[Resource]:
        """The one resource of this kind that is, or is called, `wanted`; None when there is none. Raises NotUnique."""
        if identifiers.is_address(wanted) or identifiers.is_uuid(wanted):
            try:
                return self.get(kind, wanted)
            except MissingError:
                return None
        found = [one for one in self.info() if one.type == kind and one.name == wanted]
        if len(found) > 1:
            candidates = tuple(one.resource for one in found)
            raise NotUnique(
                f"{len(found)} {kind} resources are called {wanted!r} ({', '.join(candidates)}): "
                f"name the one you mean by its {'address' if kind == 'ip' else 'UUID'}",
                candidates=candidates,
            )
        return found[0] if found else None


def _path(kind: str, resource: str) -> str:
    return f"/resources/{identifiers.segment(kind)}/{identifiers.segment(resource)}"


def _resource(properties: Dict[str, str], reply: Reply) -> Resource:
    if not {"type", "resource"} <= properties.keys():
        raise ProtocolError(
            f"{reply.call}: the answer describes no resource: check that the endpoint is an ElasticHosts API",
            call=reply.call,
            status=reply.status,
            maybe_done=reply.changing,
        )
    return Resource(properties)


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
