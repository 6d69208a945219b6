# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers: one method per API call, and what a server's properties say (elastichosts-api 2.2, 3, 8)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Set, Tuple

from . import identifiers
from .errors import ProtocolError
from .http_client import Reply, Transport
from .properties import SECRET_KEYS
from .values import DEVICE, is_off

_ADDRESS_KEYS = tuple((f"nic:{nic}:dhcp:ip", f"nic:{nic}:ip", f"nic:{nic}:dhcp") for nic in range(4))
"""by interface: what tells its address, the newest platform's key first (elastichosts-api 8)"""
NIC = re.compile(r"nic:([0-3]):(.+)")
SERVER_ID = re.compile(r"[0-9A-Za-z._-]{1,64}")
"""a UUID, or nearly: it goes into paths, and as one word to others"""


def attached_drives(servers: Iterable[Server]) -> Set[str]:
    """Return the UUIDs of all drives that the servers have."""
    return {uuid for server in servers for uuid in server.drives.values()}


@dataclass(frozen=True, repr=False)
class Server:
    """A server as the API describes it; `properties` are its keys and values, all text."""

    properties: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Server(uuid={self.uuid!r}, name={self.name!r}, status={self.status!r})"

    @property
    def uuid(self) -> str:
        return self.properties.get("server", "")

    @property
    def identity(self) -> str:
        """What tells it apart, as in all kinds of things."""
        return self.uuid

    @property
    def name(self) -> str:
        return self.properties.get("name", "")

    @property
    def status(self) -> str:
        """active, stopped, paused, dumped or dead; "unknown" when the cloud does not say."""
        return self.properties.get("status", "unknown")

    @property
    def cpu(self) -> Optional[int]:
        """Core MHz."""
        return number(self.properties.get("cpu"))

    @property
    def mem(self) -> Optional[int]:
        """MB."""
        return number(self.properties.get("mem"))

    @property
    def cores(self) -> Optional[int]:
        """Cores in use, where the cloud tells them."""
        return number(self.properties.get("smp:cores")) or number(self.properties.get("smp"))

    @property
    def persistent(self) -> bool:
        """Does it survive its own stop? If not, the cloud destroys it then."""
        return not is_off(self.properties.get("persistent"))

    @property
    def started(self) -> Optional[int]:
        """Epoch seconds of the last start; None unless active."""
        return number(self.properties.get("started"))

    @property
    def tags(self) -> Tuple[str, ...]:
        return identifiers.words(self.properties.get("tags", ""))

    @property
    def user_keys(self) -> Dict[str, str]:
        """The free keys, without their "user:"."""
        return identifiers.user_keys(self.properties)

    @property
    def address(self) -> Optional[str]:
        """The first address of the first interface, in the words of any platform generation (elastichosts-api 8)."""
        found = self._nic_addresses(_ADDRESS_KEYS[0])
        return found[0] if found else None

    @property
    def addresses(self) -> Tuple[str, ...]:
        """All addresses of all interfaces, each once."""
        return tuple(dict.fromkeys(address for keys in _ADDRESS_KEYS for address in self._nic_addresses(keys)))

    def _nic_addresses(self, keys: Tuple[str, ...]) -> List[str]:
        said = [self.properties[key] for key in keys if key in self.properties]
        return [address for words in said for address in identifiers.words(words) if identifiers.is_address(address)]

    @property
    def drives(self) -> Dict[str, str]:
        """Device to drive UUID: {"ide:0:0": "..."}."""
        return {key: value for key, value in sorted(self.properties.items()) if DEVICE.fullmatch(key)}

    @property
    def nics(self) -> Tuple[Dict[str, str], ...]:
        """One dict per interface: "index", "model", "dhcp", "vlan", "mac" and whatever else the cloud tells."""
        found: Dict[str, Dict[str, str]] = {}
        for key, value in sorted(self.properties.items()):
            match = NIC.fullmatch(key)
            if match:
                found.setdefault(match[1], {"index": match[1]})[match[2]] = value
        return tuple(found[index] for index in sorted(found))

    @property
    def vnc_address(self) -> Optional[str]:
        """Where VNC listens (port 5900), once it is known."""
        address = self.properties.get("vnc:ip", "")
        return address if identifiers.is_address(address) else None

    def public(self) -> Dict[str, str]:
        """All properties but the secret ones."""
        return {key: value for key, value in sorted(self.properties.items()) if key not in SECRET_KEYS}


def number(text: Optional[str]) -> Optional[int]:
    """A whole number, or None where there is none ("auto")."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 20 else None


class Servers:
    """The server calls. Every method raises the errors of its API call (TransportError, ProtocolError, ApiError)."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> List[str]:
        """The UUIDs of all servers."""
        return [row[0] for row in self._transport.read("/servers/list").rows() if row]

    def info(self, left_out: Optional[List[str]] = None) -> List[Server]:
        """All servers with their properties, in one call; for `left_out` see `Reply.described`."""
        return self._transport.read("/servers/info").described(_server, left_out)

    def get(self, uuid: str) -> Server:
        """One server. Raises MissingError."""
        reply = self._transport.read(f"/servers/{identifiers.segment(uuid)}/info")
        return _server(reply.object(), reply)

    def create(self, properties: Mapping[str, Optional[str]], *, start: bool = True) -> Server:
        """A new server, started or stopped."""
        reply = self._transport.change("/servers/create" if start else "/servers/create/stopped", properties)
        return _server(reply.object(), reply)

    def set(self, uuid: str, properties: Mapping[str, Optional[str]]) -> Server:
        """Change properties; None unsets one. While active, only the live keys (elastichosts-api 2.2)."""
        reply = self._transport.change(f"/servers/{identifiers.segment(uuid)}/set", properties)
        found = reply.object()
        return _server(found, reply) if found else self.get(uuid)

    def start(self, uuid: str) -> None:
        """Switch it on. BusyError when it is on."""
        self._command(uuid, "start")

    def stop(self, uuid: str) -> None:
        """Cut its power. A server that is not persistent is gone then."""
        self._command(uuid, "stop")

    def shutdown(self, uuid: str) -> None:
        """Press its ACPI power button; the guest decides, later."""
        self._command(uuid, "shutdown")

    def reset(self, uuid: str) -> None:
        """Press its reset button."""
        self._command(uuid, "reset")

    def destroy(self, uuid: str) -> None:
        """Remove it, but not its drives."""
        self._command(uuid, "destroy")

    def _command(self, uuid: str, verb: str) -> None:
        self._transport.change(f"/servers/{identifiers.segment(uuid)}/{verb}")

    def find(self, name_or_uuid: str) -> Optional[Server]:
        """The one server with this UUID or name; None when there is none. Raises NotUnique."""
        return identifiers.find("server", name_or_uuid, self.get, self.info, lambda server: (server.uuid, server.name))


def _server(properties: Dict[str, str], reply: Reply) -> Server:
    if not SERVER_ID.fullmatch(properties.get("server", "")):
        raise ProtocolError(
            f"{reply.call}: the answer describes no server: check that the endpoint is an ElasticHosts API",
            call=reply.call,
            status=reply.status,
            maybe_done=reply.changing,
        )
    return Server(properties)
