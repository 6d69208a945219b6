# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parses ``endpoint`` and ``auth`` before any call is made."""

from __future__ import annotations

import base64
import re
from typing import NamedTuple, Optional
from urllib.parse import urlsplit

from .errors import HIDDEN, ConfigurationError

_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")


class Account(NamedTuple):
    """A user UUID and its secret API key."""

    user: str
    key: str

    def __repr__(self) -> str:
        return f"Account(user={self.user!r}, key={HIDDEN!r})"

    def header(self) -> str:
        """Return the value of the Authorization header (elastichosts-api 1.2)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.key}".encode()).decode()


def parse_auth(auth: Optional[str]) -> Account:
    """Parse ``<user uuid>:<secret API key>``, which is split at the first colon.

    :raises ConfigurationError: the text has another form
    """
    if not auth:
        raise ConfigurationError("no credentials: set EHAUTH or auth to <user uuid>:<secret API key>")
    user, colon, key = auth.strip().partition(":")
    if not (user and colon and key):
        missing = "its secret API key" if user else "its user UUID"
        raise ConfigurationError(f"EHAUTH or auth lacks {missing}: write <user uuid>:<secret API key>")
    if _UNPRINTABLE.search(user) or re.search(r"[\x00-\x1f\x7f]", key):
        raise ConfigurationError("EHAUTH or auth holds white space or control characters: write it on one line, bare")
    if re.search("[\ud800-\udfff]", user + key):  # bytes of a file or variable that are no text
        raise ConfigurationError("EHAUTH or auth holds bytes that are not UTF-8: write <user uuid>:<secret API key>")
    return Account(user, key)


def parse_endpoint(endpoint: Optional[str]) -> str:
    """Return the API's base URL without a final slash; a path prefix is kept (elastichosts-api 1.1).

    :raises ConfigurationError: the text is no http or https URL, or has credentials, a query or a fragment
    """
    text = (endpoint or "").strip()
    if not text:
        raise ConfigurationError(
            "no endpoint: set EHURI or endpoint to the API's address, such as https://cloud.example/"
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ConfigurationError(f"{shown_address(text)!r} is no address: correct EHURI or endpoint") from None
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname or _UNPRINTABLE.search(text) or port == 0:
        raise ConfigurationError(
            f"{shown_address(text)!r} is no http:// or https:// address: correct EHURI or endpoint (https://HOST[:PORT][/PREFIX])"
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            f"the endpoint {shown_address(text)!r} carries credentials: take them out and set EHAUTH or auth instead"
        )
    if parts.query or parts.fragment:
        raise ConfigurationError(f"the endpoint {shown_address(text)!r} carries a query or a fragment: take it out")
    return f"{parts.scheme.lower()}://{parts.netloc}{parts.path.rstrip('/')}"


def shown_address(text: str) -> str:
    """Return a URL for an error sentence: one line, without anything before an @ and without a query."""
    scheme, separator, rest = text.rpartition("://")
    rest = re.split(r"[?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    return _UNPRINTABLE.sub("?", scheme.rpartition("@")[2] + separator + rest)[:200]
