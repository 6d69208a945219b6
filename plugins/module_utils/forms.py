# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules -> properties of the API: what servers and drives have in common.

Pure functions. A value that cannot be right raises InvalidOption before any call is made. What `null` means: an
option that is not in the task leaves the property alone, an option that is there with `null` unsets it.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Collection, Dict, Mapping, NamedTuple, Optional, Sequence

from .elastichosts.errors import ConfigurationError
from .elastichosts.identifiers import is_uuid

Desired = Dict[str, Optional[str]]
Encoder = Callable[[Any], Optional[str]]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SPACE = re.compile(r"\s")


class InvalidOption(ConfigurationError):
    """An option that no call could make right: the sentence names the option, the value and the range."""

    code = "option"

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(f"{option}: {problem}")
        self.option = option


class Field(NamedTuple):
    """One option that is one property. `removable`: whether `null` may unset it."""

    option: str
    key: str
    encode: Encoder
    removable: bool = True


def number(low: int, high: int, unit: str) -> Encoder:
    def encode(value: Any) -> str:
        if not low <= int(value) <= high:
            raise ValueError(f"{value} is out of range, give {low} to {high} {unit}")
        return str(int(value))

    return encode


def text(shortest: int, longest: int) -> Encoder:
    """A line of text. The value is not repeated in the error, it may be a secret."""

    def encode(value: Any) -> str:
        line = str(value)
        if not shortest <= len(line) <= longest:
            raise ValueError(f"{len(line)} characters given, {shortest} to {longest} are possible")
        if _CONTROL.search(line):
            raise ValueError("contains a control character such as a line feed, give one line of text")
        return line

    return encode


def flag(word: str) -> Encoder:
    """true -> the word that the API knows; false -> the property is left out (elastichosts-api 2.2, persistent)."""
    return lambda value: word if value else None


def verbatim(value: Any) -> str:
    return str(value)


def uuid(value: Any) -> str:
    if not is_uuid(str(value)):
        raise ValueError(f"{str(value)!r} is not a UUID such as 0d9a1c52-7c1e-4c53-9d5e-3f0a6f1e2b34")
    return str(value).lower()


def words(each: Encoder = verbatim) -> Encoder:
    """A list -> one space-separated value; an empty list unsets."""

    def encode(value: Any) -> Optional[str]:
        for word in value:
            if not word or _SPACE.search(word):
                raise ValueError(f"{word!r} must be one word, the API separates the list by spaces")
        return " ".join(each(word) or "" for word in value) or None

    return encode


def encode_fields(fields: Sequence[Field], params: Mapping[str, Any], given: Collection[str], at: str = "") -> Desired:
    """The properties for all options of `fields` that are given. `at` names the surrounding option in errors."""
    desired: Desired = {}
    for field in fields:
        value = params.get(field.option)
        if value is not None:
            try:
                desired[field.key] = field.encode(value)
            except ValueError as error:
                raise InvalidOption(at + field.option, str(error)) from None
        elif field.option in given:
            if not field.removable:
                problem = "cannot be unset; leave the option out to keep the value, or give one"
                raise InvalidOption(at + field.option, problem)
            desired[field.key] = None
    return desired


def encode_user_keys(keys: Optional[Mapping[str, Any]], reserved: Mapping[str, str]) -> Desired:
    """`{role: web, old: null}` -> `user:role web`, and `user:old` unset; keys that are not named stay.

    `reserved` maps the keys that this collection keeps for itself to the reason why.
    """
    desired: Desired = {}
    for key, value in (keys or {}).items():
        if not key or _SPACE.search(key) or _CONTROL.search(key):
            raise InvalidOption("user_keys", f"{key!r} must be one word")
        if key in reserved:
            raise InvalidOption("user_keys", f"{key!r} is reserved, {reserved[key]}")
        if isinstance(value, (dict, list)):
            raise InvalidOption("user_keys", f"the value of {key!r} must be text or null, not a {_kind(value)}")
        desired["user:" + key] = None if value is None else _scalar(value)
    return desired


def _scalar(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _kind(value: Any) -> str:
    return "dictionary" if isinstance(value, dict) else "list"


def encode_extra(extra: Optional[Mapping[str, Any]], elsewhere: Mapping[str, str], desired: Desired) -> Desired:
    """API keys handed over as they are; one that has an option of its own, or is given twice, is refused."""
    result: Desired = {}
    for key, value in (extra or {}).items():
        if not key or _SPACE.search(key):
            raise InvalidOption("extra", f"{key!r} must be one word")
        if isinstance(value, (dict, list)):
            raise InvalidOption("extra", f"the value of {key!r} must be text or null, not a {_kind(value)}")
        option = elsewhere.get(key) or ("user_keys" if key.startswith("user:") else None)
        if option is not None:
            raise InvalidOption("extra", f"{key!r} has an option of its own, use {option}")
        if key in desired:
            raise InvalidOption("extra", f"{key!r} is given by another option already")
        result[key] = None if value is None else _scalar(value)
    return result


def wanted(params: Mapping[str, Any]) -> str:
    """What to look up: `uuid` goes before `name`. Raises InvalidOption when one is in the place of the other."""
    if params.get("uuid") is not None:
        try:
            return uuid(params["uuid"])
        except ValueError as error:
            raise InvalidOption("uuid", str(error)) from None
    name = str(params["name"])
    if is_uuid(name):
        raise InvalidOption("name", f"{name!r} is a UUID, give it as uuid")
    return name


def must_exist(params: Mapping[str, Any], current: Optional[object], kind: str) -> None:
    """A UUID cannot be chosen: raises InvalidOption when `uuid` names nothing, so there is nothing to change."""
    if current is None and params["uuid"] is not None:
        problem = f"no {kind} has the UUID {params['uuid']}; correct it, or give only a name to create one"
        raise InvalidOption("uuid", problem)
