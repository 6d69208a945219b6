# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts and HTTP Basic authentication (elastichosts-api 1.2)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import Iterable
from typing import NamedTuple

from starlette.requests import HTTPConnection
from starlette.types import Receive

from ..connections import UnauthenticatedConnections, source_of
from ..errors import Unauthorised
from ..state.objects import UUID_FORM
from .quotas import MEASURES, Quota
from .wrong_keys import WrongKeys

_IN_PROCESS = ("192.0.2.0", 0)
"""the source of a call without a connection: an address that no host has (RFC 5737)"""
_NOBODY = hashlib.sha256(b"").digest()


class BadAccount(ValueError):
    """An account that is not of the form UUID:KEY. The text never holds the key."""


def parse_account(text: str) -> tuple[str, str]:
    """Split `UUID:KEY` at the first colon (the key may hold further ones)."""
    user, _unused, key = text.strip().partition(":")
    if not UUID_FORM.fullmatch(user.lower()):
        raise BadAccount("an account has the form UUID:KEY, and what stands before the first colon is not a UUID")
    if not key:
        raise BadAccount(f"the account of user {user} has no key: write it as UUID:KEY")
    if not _is_utf8(key):
        raise BadAccount(f"the key of user {user} is not UTF-8")
    return user.lower(), key


class Account(NamedTuple):
    """A user, the secret key and the limits of the subscription."""

    user: str
    key: str
    quota: Quota


def read_accounts(text: str) -> list[Account]:
    """Parse a JSON file of accounts: {"accounts": [{"user": UUID, "key": "...", "quota": {"servers": 5}}]}.

    Raises BadAccount with a sentence that names the account by its number and never holds a key.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise BadAccount("it is not JSON") from None
    rows = document.get("accounts") if isinstance(document, dict) and set(document) == {"accounts"} else None
    if not isinstance(rows, list):
        raise BadAccount('one object {"accounts": [...]} is expected')
    return [_account(number, row) for number, row in enumerate(rows, 1)]


def _account(number: int, row: object) -> Account:
    where = f"account {number}"
    if not isinstance(row, dict) or not {"user", "key"} <= set(row) <= {"user", "key", "quota", "comment"}:
        raise BadAccount(f"{where}: an object with user and key, and quota and comment if you like, is expected")
    user, key, quota = row["user"], row["key"], row.get("quota", {})
    if not isinstance(user, str) or not UUID_FORM.fullmatch(user.lower()):
        raise BadAccount(f"{where}: its user is not a UUID")
    if not isinstance(key, str) or not key or not _is_utf8(key):
        raise BadAccount(f"{where}: its key is not a text")
    if not isinstance(quota, dict):
        raise BadAccount(f"{where}: its quota is not an object")
    for name, limit in quota.items():
        if name not in MEASURES:
            raise BadAccount(f"{where}: quota {name[:40]!r} is none of {', '.join(MEASURES)}")
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise BadAccount(f"{where}: quota {name} is not a whole number from 0")
    return Account(user.lower(), key, quota)


def _is_utf8(text: str) -> bool:
    """Tell whether a text can be encoded; foreign bytes of a command line and half a surrogate pair of JSON cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Accounts:
    """The users, with digests of their keys; the keys themselves are not kept."""

    def __init__(self, accounts: Iterable[Account], unauthenticated: UnauthenticatedConnections) -> None:
        self._unauthenticated = unauthenticated
        self._wrong_keys = WrongKeys()
        self._digests = {account.user: hashlib.sha256(account.key.encode()).digest() for account in accounts}

    def __len__(self) -> int:
        return len(self._digests)

    async def admit(self, connection: HTTPConnection, receive: Receive) -> str:
        """Return the user of a request or WebSocket, whose connection has no limit from now on.

        Raises Unauthorised; after a wrong key not at once, if the source has sent many.
        """
        host, port = connection.client or _IN_PROCESS
        authorization = connection.headers.get("authorization")
        try:
            user = self._authenticate(authorization)
        except Unauthorised:
            if authorization is not None:
                await _pause(self._wrong_keys.delay(source_of(host), time.monotonic()), receive)
            raise
        self._unauthenticated.remove((host, port))
        return user

    def _authenticate(self, authorization: str | None) -> str:
        """Return the user of an Authorization header. Raises Unauthorised.

        An unknown user and a wrong key take the same time.
        """
        user, key = _credentials(authorization)
        expected = self._digests.get(user, _NOBODY)
        same = hmac.compare_digest(hashlib.sha256(key).digest(), expected)
        if not (same and user in self._digests):
            raise Unauthorised("Authentication failed: send the user UUID and the secret API key as HTTP Basic")
        return user


async def _pause(seconds: float, receive: Receive) -> None:
    """Wait, but no longer than the client stays."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not (await receive())["type"].endswith(".disconnect"):
                pass


def _credentials(authorization: str | None) -> tuple[str, bytes]:
    scheme, _unused, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return "", b""
    try:
        user, _colon, key = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return user.decode("ascii").lower(), key
    except (binascii.Error, ValueError):
        return "", b""
