# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may call, by HTTP Basic authentication (elastichosts-api 1.2)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable

from .errors import Unauthorised

USER = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_NOBODY = hashlib.sha256(b"").digest()


class BadAccount(ValueError):
    """An account that is not of the form UUID:KEY. The text never holds the key."""


def parse_account(text: str) -> tuple[str, str]:
    """Split `UUID:KEY` at the first colon (the key may hold further ones)."""
    user, _, key = text.strip().partition(":")
    if not USER.fullmatch(user):
        raise BadAccount("an account has the form UUID:KEY, and what stands before the first colon is not a UUID")
    if not key:
        raise BadAccount(f"the account of user {user} has no key: write it as UUID:KEY")
    return user.lower(), key


class Accounts:
    """The users and the digests of their keys; a key itself is not kept."""

    def __init__(self, accounts: Iterable[tuple[str, str]]) -> None:
        self._digests = {user: hashlib.sha256(key.encode()).digest() for user, key in accounts}

    def __len__(self) -> int:
        return len(self._digests)

    def authenticate(self, authorization: str | None) -> str:
        """The user behind an Authorization header, or Unauthorised.

        The work done is the same for an unknown user and for a wrong key.
        """
        user, key = _credentials(authorization)
        expected = self._digests.get(user, _NOBODY)
        same = hmac.compare_digest(hashlib.sha256(key).digest(), expected)
        if not (same and user in self._digests):
            raise Unauthorised("Authentication failed: send the user UUID and the secret API key as HTTP Basic")
        return user


def _credentials(authorization: str | None) -> tuple[str, bytes]:
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return "", b""
    try:
        user, _, key = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return user.decode("ascii").lower(), key
    except (binascii.Error, ValueError):
        return "", b""
