# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of values: each converts the text of a request to the stored value or raises BadValue."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Union

from ..errors import Usage
from ..state.objects import UUID_FORM

Kept = Union[str, int, None]
Kind = Callable[[str], Kept]
IGNORED = "\0"
"""Returned by a kind for a value without effect. No client can send it: bodies with NUL are rejected."""
_SIZE = re.compile(r"(-?[0-9]{1,30}) ?([kmgt]?)", re.IGNORECASE)
_MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}", re.IGNORECASE)
_FACTOR = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


class BadValue(ValueError):
    """A value that cannot be stored; the text is the end of a sentence."""


def take(key: str, kind: Kind, text: str, *, secret: bool = False) -> Kept:
    """Return the value to store for a key. Raises Usage with key, value (unless secret) and reason."""
    try:
        return kind(text)
    except BadValue as error:
        shown = "" if secret else f" {text[:60]!r}{'...' if len(text) > 60 else ''}"
        raise Usage(f"{key}: invalid value{shown}: {error}") from None


def integer(low: int, high: int, unit: str = "") -> Kind:
    """Return the kind of whole numbers within a range."""

    def kind(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text.strip()):
            raise BadValue("a whole number is expected")
        number = int(text)
        if number < 0:
            raise BadValue("it must not be negative")
        if not low <= number <= high:
            raise BadValue(f"{low} to {high}{unit} are possible")
        return number

    return kind


def size(limit: int, multiple: int, *, ignore_zero: bool = False) -> Kind:
    """Return the kind of sizes in bytes with an optional k, M, G or T (elastichosts-api 2.1, 7.14).

    A size is rounded up to a multiple. ignore_zero: a size of 0 is as good as none.
    """

    def kind(text: str) -> int | str:
        found = _SIZE.fullmatch(text.strip())
        if not found:
            raise BadValue("a number of bytes is expected, with k, M, G or T if you like")
        wanted = int(found.group(1)) << _FACTOR[found.group(2).lower()]
        if wanted < 0:
            raise BadValue("a size must not be negative")
        if not wanted and ignore_zero:
            return IGNORED
        if not 1 <= wanted <= limit:
            raise BadValue(f"1 to {limit} bytes are possible")
        return rounded_up(wanted, multiple)

    return kind


def rounded_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def choice(*words: str) -> Kind:
    def kind(text: str) -> str:
        if text not in words:
            raise BadValue(f"{' or '.join(words)} is expected")
        return text

    return kind


def text(limit: int) -> Kind:
    """Return the kind of texts up to a number of characters; the only control characters are line ends and tabs."""

    def kind(given: str) -> str:
        if len(given) > limit:
            raise BadValue(f"at most {limit} characters are possible")
        if any(ord(character) < 32 and character not in "\n\r\t" for character in given):
            raise BadValue("it holds control characters")
        return given

    return kind


def flag(given: str) -> str | None:
    """Return `true`, or None for a false value (elastichosts-api 2.2)."""
    lowered = given.strip().lower()
    if lowered in ("true", "1"):
        return "true"
    if lowered in ("false", "0", ""):
        return None
    raise BadValue("true or false is expected")


def uuid(given: str) -> str:
    lowered = given.strip().lower()
    if not UUID_FORM.fullmatch(lowered):
        raise BadValue("a UUID is expected")
    return lowered


def folder(given: str) -> str:
    """Return the UUID of a folder with an optional path in it (elastichosts-api 2.4)."""
    name, slash, path = given.strip().partition("/")
    if slash and (not path.isprintable() or ".." in path.split("/") or len(path) > 1000):
        raise BadValue("a folder's UUID is expected, followed by a /subpath without .. if you like")
    return f"{uuid(name)}{slash}{path}"


def mount_point(given: str) -> str:
    if not given.startswith("/") or not given.isprintable() or len(given) > 1000:
        raise BadValue("an absolute path is expected")
    return given


def uuids(given: str) -> str | None:
    """Return UUIDs separated by spaces."""
    return " ".join(str(uuid(part)) for part in given.split()) or None


def words(limit: int) -> Kind:
    """Return the kind of words that are separated by spaces; several spaces become one."""
    inner = text(limit)

    def kind(given: str) -> str | None:
        inner(given)
        return " ".join(given.split()) or None

    return kind


def mac(given: str) -> str:
    lowered = given.strip().lower()
    if not _MAC.fullmatch(lowered):
        raise BadValue("a unicast MAC address like 6a:00:00:12:34:56 is expected")
    return lowered


def dhcp(given: str) -> str | None:
    """Return `auto` or an IPv4 address; None for `0` (elastichosts-api 3)."""
    stripped = given.strip()
    if stripped in ("auto", "0"):
        return stripped if stripped == "auto" else None
    parts = stripped.split(".")
    if len(parts) != 4 or not all(re.fullmatch(r"0|[1-9][0-9]{0,2}", part) and int(part) < 256 for part in parts):
        raise BadValue("auto or a static IP address of the account is expected")
    return stripped


def vnc_address(given: str) -> str:
    """Return `auto`; an address is ignored, since clients send whole info objects back."""
    return "auto" if given.strip() == "auto" else IGNORED
