# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The zones of the ElasticHosts cloud: each an API of its own, with its own accounts (elastichosts-api 1.1)."""

from __future__ import annotations

from .errors import ConfigurationError

ZONES = {
    "ams-e": "Amsterdam",
    "dal-a": "Dallas",
    "hkg-e": "Hong Kong",
    "lax-p": "Los Angeles",
    "lon-b": "London Maidenhead",
    "lon-p": "London Portsmouth",
    "mmi-a": "Miami",
    "sat-p": "San Antonio",
    "sjc-c": "San Jose",
    "syd-v": "Sydney",
    "tor-p": "Toronto",
}


def zone_endpoint(zone: str) -> str:
    """The address of a zone's API: "lon-p" -> "https://api-lon-p.elastichosts.com". Raises ConfigurationError."""
    if zone not in ZONES:
        raise ConfigurationError(f"{zone[:40]!r} is no zone: choose one of {', '.join(ZONES)}, or give an endpoint")
    return f"https://api-{zone}.elastichosts.com"
