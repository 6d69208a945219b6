# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From connection options to a client: the same for modules and inventory."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from .elastichosts.client import ElasticHosts
from .elastichosts.clock import Clock
from .elastichosts.http_client import Timeouts
from .elastichosts.zones import zone_endpoint
from .forms import InvalidOption

_WHERE_FROM = {
    "endpoint": "set it to the address of the API, or the environment variable EHURI, or give a zone",
    "auth": "set it to <user uuid>:<secret API key>, or the environment variable EHAUTH",
}


def require(options: Mapping[str, Any], *names: str) -> None:
    """Raises InvalidOption when one of the connection options `names` is missing or empty."""
    for name in names:
        if not options.get(name):
            raise InvalidOption(name, "not given; " + _WHERE_FROM[name])


def address(options: Mapping[str, Any]) -> str:
    """The endpoint that `endpoint` or `zone` names. Raises InvalidOption for both or none, ConfigurationError."""
    zone = options.get("zone")
    if not zone:
        require(options, "endpoint")
        return str(options["endpoint"])
    if options.get("endpoint"):
        raise InvalidOption("zone", f"{zone!r} is given beside endpoint {options['endpoint']!r}; give one of the two")
    return zone_endpoint(zone)


def connect(options: Mapping[str, Any], clock: Optional[Clock] = None) -> ElasticHosts:
    """The client for the connection options; nothing is sent yet.

    Raises InvalidOption when one is missing or impossible, ConfigurationError when its form is wrong.
    """
    endpoint = address(options)
    require(options, "auth")
    for name in ("connect_timeout", "timeout"):
        if options[name] <= 0:
            raise InvalidOption(name, f"{options[name]} is out of range, give seconds above 0")
    return ElasticHosts(
        endpoint,
        options["auth"],
        timeouts=Timeouts(options["connect_timeout"], options["timeout"]),
        verify=(options.get("ca_path") or True) if options["validate_certs"] else False,
        clock=clock or Clock(),
    )
