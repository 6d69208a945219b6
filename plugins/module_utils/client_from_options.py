# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Creates the client from the connection options of modules and inventory."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from .elastichosts.client import ElasticHosts
from .elastichosts.clock import Clock
from .elastichosts.http_client import Timeouts
from .options import InvalidOption

_WHERE_FROM = {
    "endpoint": "set it to the address of the API, or the environment variable EHURI",
    "auth": "set it to <user uuid>:<secret API key>, or the environment variable EHAUTH",
}


def require(options: Mapping[str, Any], *names: str) -> None:
    """Check that the connection options ``names`` are given.

    :raises InvalidOption: an option is missing or empty
    """
    for name in names:
        if not options.get(name):
            raise InvalidOption(name, "not given; " + _WHERE_FROM[name])


def connect(options: Mapping[str, Any], clock: Optional[Clock] = None) -> ElasticHosts:
    """Return a client for the connection options, without making a call.

    :raises InvalidOption: an option is missing or out of range
    :raises ConfigurationError: endpoint or auth has a wrong form
    """
    require(options, "endpoint", "auth")
    for name in ("connect_timeout", "timeout"):
        if options[name] <= 0:
            raise InvalidOption(name, f"{options[name]} is out of range, give seconds above 0")
    return ElasticHosts(
        options["endpoint"],
        options["auth"],
        timeouts=Timeouts(options["connect_timeout"], options["timeout"]),
        verify=(options.get("ca_path") or True) if options["validate_certs"] else False,
        clock=clock or Clock(),
    )
