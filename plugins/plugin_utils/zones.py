# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Zones: an account at an endpoint each, asked all at the same time."""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union
from urllib.parse import urlsplit

from ..module_utils.connection import connect, require
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
from ..module_utils.elastichosts.zones import ZONES, zone_endpoint
from ..module_utils.forms import InvalidOption
from .capacity import CapacityError, Number, amounts

CONNECTION = ("endpoint", "auth", "validate_certs", "ca_path", "connect_timeout", "timeout")
OF_A_ZONE = ("name", *CONNECTION, "limits")
DOWN = (TransportError, ProtocolError, SystemFault, FailedError, ThrottledError)
"""Errors of a zone that does not work; wrong credentials or settings are not among them, they are the file's."""
AT_ONCE = 16
CACHE_FORMAT = "2"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_NOT_IN_GROUP = re.compile(r"[^A-Za-z0-9_]")


class Zone(NamedTuple):
    """Where to ask and as whom. `limits`: what the user says may be used there."""

    name: str
    options: Mapping[str, Any]
    limits: Mapping[str, Number]

    def __repr__(self) -> str:
        return f"Zone({self.name!r})"

    @property
    def group(self) -> str:
        return "elastichosts_zone_" + _NOT_IN_GROUP.sub("_", self.name)

    @property
    def account(self) -> Tuple[str, str]:
        """Endpoint and user, without the secret."""
        return parse_endpoint(self.options["endpoint"]), parse_auth(self.options["auth"]).user

    def key(self, query: str) -> str:
        """What the listing is called in the cache: made of endpoint, user, what is asked and the plugin's version."""
        return hashlib.sha256("\n".join((CACHE_FORMAT, VERSION, *self.account, query)).encode()).hexdigest()[:24]


class Listing(NamedTuple):
    """What a zone has. `drives` is None where they were not asked for."""

    servers: List[Server]
    drives: Optional[List[Drive]]

    def to_cache(self) -> Dict[str, Any]:
        """Plain JSON without secrets."""
        drives = None if self.drives is None else [dict(drive.public()) for drive in self.drives]
        return {"servers": [dict(server.public()) for server in self.servers], "drives": drives}

    @classmethod
    def from_cache(cls, kept: Any) -> Optional[Listing]:
        """None when this is no listing."""
        if not isinstance(kept, Mapping) or not isinstance(kept.get("servers"), list):
            return None
        drives = kept.get("drives")
        return cls([Server(item) for item in kept["servers"]], None if drives is None else list(map(Drive, drives)))


Answer = Union[Listing, ElasticHostsError]


def zones_of(
    options: Mapping[str, Any],
    several: Optional[Sequence[Any]],
    *,
    in_file: Mapping[str, Any],
    template: Callable[[Any], Any],
) -> Tuple[Zone, ...]:
    """The zones of a file. `options`: all options of the plugin; `several`: its `zones`; `in_file`: what the file says
    itself, in contrast to the environment; `template` resolves templates.

    Raises InvalidOption, or ConfigurationError for the form of an endpoint or of credentials.
    """
    if several is None:
        zones: Tuple[Zone, ...] = (_single(options, in_file, template),)
    else:
        if not several:
            raise InvalidOption("zones", "the list is empty, name at least one zone or leave the option out")
        zones = tuple(_one_of_several(item, number, options, template) for number, item in enumerate(several))
    _all_different(zones)
    return zones


def _single(options: Mapping[str, Any], in_file: Mapping[str, Any], template: Callable[[Any], Any]) -> Zone:
    settings = {name: template(options[name]) for name in CONNECTION}
    name = template(options["zone"])
    if name in ZONES and "endpoint" not in in_file:
        settings["endpoint"] = zone_endpoint(name)
    require(settings, "endpoint", "auth")
    name = _checked_name("zone", _known_as(settings["endpoint"]) if name is None else name)
    return Zone(name, settings, _limits(template(options["limits"]), "limits"))


def _one_of_several(item: Any, number: int, options: Mapping[str, Any], template: Callable[[Any], Any]) -> Zone:
    where = f"zones[{number}]"
    if not isinstance(item, Mapping):
        raise InvalidOption(where, f"must be a dictionary with name, endpoint, auth or limits, not {item!r:.80}")
    unknown = sorted(str(key) for key in item if key not in OF_A_ZONE)
    if unknown:
        raise InvalidOption(where, f"{unknown[0]!r} is no option of a zone, choose from {', '.join(OF_A_ZONE)}")
    given = {key: template(value) for key, value in item.items() if value is not None}
    name = _checked_name(f"{where}.name", given.get("name"))
    settings = {key: given[key] if key in given else template(options[key]) for key in CONNECTION}
    if "endpoint" not in given and name in ZONES:
        settings["endpoint"] = zone_endpoint(name)
    for key in ("connect_timeout", "timeout"):
        if isinstance(settings[key], bool) or not isinstance(settings[key], (int, float)):
            raise InvalidOption(f"{where}.{key}", f"{settings[key]!r} is no number, give seconds above 0")
    if not isinstance(settings["validate_certs"], bool):
        raise InvalidOption(f"{where}.validate_certs", f"{settings['validate_certs']!r} is neither true nor false")
    require(settings, "endpoint", "auth")
    return Zone(name, settings, _limits(given.get("limits"), f"{where}.limits"))


def _known_as(endpoint: str) -> str:
    """A name for an endpoint that was given none: that of the ElasticHosts zone, or its host and port."""
    base = parse_endpoint(endpoint)
    for zone in ZONES:
        if base in (zone_endpoint(zone), f"https://api.{zone}.elastichosts.com"):
            return zone
    return _NOT_IN_NAME.sub("-", urlsplit(base).netloc).strip("-")


def _checked_name(where: str, name: Any) -> str:
    if name is None or not _NAME.fullmatch(str(name)):
        shown = "not given" if name is None else f"{str(name)[:40]!r} is no name"
        raise InvalidOption(where, f"{shown}; a zone needs a name of letters, digits, _, . and -, such as lon-p")
    return str(name)


def _limits(given: Any, where: str) -> Dict[str, Number]:
    try:
        return amounts(given, where)
    except CapacityError as error:
        option, _colon, problem = str(error).partition(": ")
        raise InvalidOption(option, problem) from None


def _all_different(zones: Sequence[Zone]) -> None:
    by_group: Dict[str, Zone] = {}
    by_account: Dict[Tuple[str, str], Zone] = {}
    for zone in zones:
        if zone.group in by_group:
            other = by_group[zone.group].name
            raise InvalidOption("zones", f"{other!r} and {zone.name!r} are the same name for groups, rename one")
        if zone.account in by_account:
            other = by_account[zone.account].name
            problem = f"{other!r} and {zone.name!r} are the same account at the same endpoint, remove one"
            raise InvalidOption("zones", problem)
        by_group[zone.group] = by_account[zone.account] = zone


def ask(zones: Sequence[Zone], drives: bool) -> Dict[str, Answer]:
    """The listing, or what went wrong, of each zone: one call (`GET /servers/info`), one more for `drives`.

    Raises ConfigurationError before the first call when the settings of a zone are wrong.
    """
    clients = {zone.name: connect(zone.options) for zone in zones}
    if not clients:
        return {}
    with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(clients))) as pool:
        flights = {name: pool.submit(_listing, client, drives) for name, client in clients.items()}
        return {name: flight.result() for name, flight in flights.items()}


def _listing(client: ElasticHosts, drives: bool) -> Answer:
    try:
        return Listing(client.servers.info(), client.drives.info() if drives else None)
    except ElasticHostsError as error:
        return error
    finally:
        client.close()
