# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The accounts of an inventory file, called zones: their options, and their listings, read in parallel."""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union
from urllib.parse import urlsplit

from ..module_utils.capacity import Number, amounts
from ..module_utils.client_from_options import connect, require
from ..module_utils.elastichosts.address import parse_auth, parse_endpoint
from ..module_utils.elastichosts.client import ElasticHosts
from ..module_utils.elastichosts.drives import Drive
from ..module_utils.elastichosts.errors import (
    ElasticHostsError,
    FailedError,
    ProtocolError,
    SystemFault,
    ThrottledError,
    TransportError,
)
from ..module_utils.elastichosts.http_client import VERSION
from ..module_utils.elastichosts.servers import Server
from ..module_utils.options import InvalidOption

CONNECTION = ("endpoint", "auth", "validate_certs", "ca_path", "connect_timeout", "timeout")
OF_A_ZONE = ("name", *CONNECTION, "limits")
DOWN = (TransportError, ProtocolError, SystemFault, FailedError, ThrottledError)
"""Errors after which `on_unreachable: skip` leaves a zone out. Wrong credentials or settings are never skipped."""
MAX_PARALLEL = 16
CACHE_FORMAT = "2"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_NOT_IN_GROUP = re.compile(r"[^A-Za-z0-9_]")


class InventoryZone(NamedTuple):
    """An account at an endpoint: its connection options, and the limits that the user states for it."""

    name: str
    options: Mapping[str, Any]
    limits: Mapping[str, Number]

    def __repr__(self) -> str:
        return f"InventoryZone({self.name!r})"

    @property
    def group(self) -> str:
        return "elastichosts_zone_" + _NOT_IN_GROUP.sub("_", self.name)

    @property
    def account(self) -> Tuple[str, str]:
        """Endpoint and user, without the secret."""
        return parse_endpoint(self.options["endpoint"]), parse_auth(self.options["auth"]).user

    def key(self, query: str) -> str:
        """Return the key in the cache: a hash of endpoint, user, `query` (all that is asked) and the version."""
        return hashlib.sha256("\n".join((CACHE_FORMAT, VERSION, *self.account, query)).encode()).hexdigest()[:24]


class ZoneListing(NamedTuple):
    """The servers and drives of a zone. `drives` is None if they were not read.

    `left_out`: the reasons for what could not be read of an answer; the cache does not keep them.
    """

    servers: List[Server]
    drives: Optional[List[Drive]]
    left_out: Tuple[str, ...] = ()

    def to_cache(self) -> Dict[str, Any]:
        """Return plain JSON without secrets."""
        drives = None if self.drives is None else [dict(drive.public()) for drive in self.drives]
        return {"servers": [dict(server.public()) for server in self.servers], "drives": drives}

    @classmethod
    def from_cache(cls, kept: Any) -> Optional[ZoneListing]:
        """Return the listing from the cached JSON, or None if it is not one."""
        if not isinstance(kept, Mapping) or not isinstance(kept.get("servers"), list):
            return None
        drives = kept.get("drives")
        return cls([Server(item) for item in kept["servers"]], None if drives is None else list(map(Drive, drives)))


ZoneResult = Union[ZoneListing, ElasticHostsError]


def zones_of(
    options: Mapping[str, Any],
    several: Optional[Sequence[Any]],
    template: Callable[[Any], Any],
) -> Tuple[InventoryZone, ...]:
    """Return the zones of a file. `options`: all options of the plugin; `several`: its `zones`; `template` resolves
    templates.

    Raises InvalidOption, or ConfigurationError for the form of an endpoint or of credentials.
    """
    if several is None:
        zones: Tuple[InventoryZone, ...] = (_zone_of_file(options, template),)
    else:
        if not several:
            raise InvalidOption("zones", "the list is empty, name at least one zone or leave the option out")
        zones = tuple(_entry_of_zones(item, number, options, template) for number, item in enumerate(several))
    _all_different(zones)
    return zones


def _zone_of_file(options: Mapping[str, Any], template: Callable[[Any], Any]) -> InventoryZone:
    settings = {name: template(options[name]) for name in CONNECTION}
    name = template(options["zone"])
    require(settings, "endpoint", "auth")
    name = _checked_name("zone", _host_of(settings["endpoint"]) if name is None else name)
    return InventoryZone(name, settings, amounts(template(options["limits"]), "limits"))


def _entry_of_zones(
    item: Any, number: int, options: Mapping[str, Any], template: Callable[[Any], Any]
) -> InventoryZone:
    where = f"zones[{number}]"
    if not isinstance(item, Mapping):
        raise InvalidOption(where, f"must be a dictionary with name, endpoint, auth or limits, not {item!r:.80}")
    unknown = sorted(str(key) for key in item if key not in OF_A_ZONE)
    if unknown:
        raise InvalidOption(where, f"{unknown[0]!r} is no option of a zone, choose from {', '.join(OF_A_ZONE)}")
    given = {key: template(value) for key, value in item.items() if value is not None}
    name = _checked_name(f"{where}.name", given.get("name"))
    settings = {key: given[key] if key in given else template(options[key]) for key in CONNECTION}
    for key in ("connect_timeout", "timeout"):
        if isinstance(settings[key], bool) or not isinstance(settings[key], (int, float)):
            raise InvalidOption(f"{where}.{key}", f"{settings[key]!r} is no number, give seconds above 0")
    if not isinstance(settings["validate_certs"], bool):
        raise InvalidOption(f"{where}.validate_certs", f"{settings['validate_certs']!r} is neither true nor false")
    require(settings, "endpoint", "auth")
    return InventoryZone(name, settings, amounts(given.get("limits"), f"{where}.limits"))


def _host_of(endpoint: str) -> str:
    """Return the host and port of an endpoint, as the name of a zone that was given none."""
    return _NOT_IN_NAME.sub("-", urlsplit(parse_endpoint(endpoint)).netloc).strip("-")


def _checked_name(where: str, name: Any) -> str:
    if name is None or not _NAME.fullmatch(str(name)):
        shown = "not given" if name is None else f"{str(name)[:40]!r} is no name"
        raise InvalidOption(where, f"{shown}; a zone needs a name of letters, digits, _, . and -, such as london")
    return str(name)


def _all_different(zones: Sequence[InventoryZone]) -> None:
    by_group: Dict[str, InventoryZone] = {}
    by_account: Dict[Tuple[str, str], InventoryZone] = {}
    for zone in zones:
        if zone.group in by_group:
            other = by_group[zone.group].name
            raise InvalidOption("zones", f"{other!r} and {zone.name!r} are the same name for groups, rename one")
        if zone.account in by_account:
            other = by_account[zone.account].name
            problem = f"{other!r} and {zone.name!r} are the same account at the same endpoint, remove one"
            raise InvalidOption("zones", problem)
        by_group[zone.group] = by_account[zone.account] = zone


def ask(zones: Sequence[InventoryZone], drives: bool) -> Dict[str, ZoneResult]:
    """Read all zones in parallel: one call each (`GET /servers/info`), and one more with `drives`.

    Returns the listing or the error of each zone. Raises ConfigurationError for wrong settings, before the first call.
    """
    clients = {zone.name: connect(zone.options) for zone in zones}
    if not clients:
        return {}
    with ThreadPoolExecutor(max_workers=min(MAX_PARALLEL, len(clients))) as pool:
        flights = {name: pool.submit(_listing, client, drives) for name, client in clients.items()}
        return {name: flight.result() for name, flight in flights.items()}


def _listing(client: ElasticHosts, drives: bool) -> ZoneResult:
    left_out: List[str] = []
    try:
        servers = client.servers.info(left_out)
        return ZoneListing(servers, client.drives.info(left_out) if drives else None, tuple(left_out))
    except ElasticHostsError as error:
        return error
    finally:
        client.close()
