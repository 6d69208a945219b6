# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Converts options of the modules to properties of the API: functions shared by servers, drives and resources.

Pure functions, which raise InvalidOption for a wrong value. The property of an option that is not in the task is not
changed; null unsets the property.
"""

from __future__ import annotations

import re
from typing import Any, Collection, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from .elastichosts.errors import ConfigurationError
from .elastichosts.identifiers import is_uuid
from .elastichosts.properties import options_of
from .elastichosts.values import Encoder, uuid

Desired = Dict[str, Optional[str]]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SPACE = re.compile(r"\s")


class InvalidOption(ConfigurationError):
    """An option has a wrong value; the sentence has the option, the value and the possible values."""

    code = "option"

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(f"{option}: {problem}")
        self.option = option


class Field(NamedTuple):
    """An option for one property. ``removable``: null unsets the property."""

    option: str
    key: str
    encode: Encoder
    removable: bool = True


def fields_of(kind: str) -> Tuple[Field, ...]:
    """Return the fields of an object's kind (SERVER, DRIVE or RESOURCE), from the table of properties."""
    return tuple(Field(row.option, row.key, row.kind.encode, row.removable) for row in options_of(kind))


def arguments_of(kind: str, *, single: bool = True) -> Dict[str, Any]:
    """Return the argument spec of the options in the table of properties.

    :param single: whether to include options that members of a group do not have
    """
    arguments: Dict[str, Any] = {}
    for row in options_of(kind):
        if single or not row.single:
            argument: Dict[str, Any] = {"type": row.kind.type, "no_log": row.secret}
            if row.kind.type == "list":
                argument["elements"] = "str"
            if row.kind.choices:
                argument["choices"] = list(row.kind.choices)
            arguments[row.option] = argument
    return arguments


def encode_fields(fields: Sequence[Field], params: Mapping[str, Any], given: Collection[str], at: str = "") -> Desired:
    """Return the properties for the options that have a value; null options in ``given`` unset their property.

    :param at: prefix of option names in errors
    :raises InvalidOption: a value is wrong, or an option that is null cannot be unset
    """
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
    """Return the properties for the option user_keys: {"role": "web", "old": None} sets user:role, unsets user:old.

    :param reserved: keys that the collection uses itself -> the reason, for the error
    :raises InvalidOption: a key or value is wrong
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
    """Return the properties for the option ``extra``.

    :param elsewhere: key -> the option that sets this property
    :param desired: properties that other options have set
    :raises InvalidOption: a key is wrong, or belongs to another option
    """
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
    """Return the UUID or, without one, the name to look up.

    :raises InvalidOption: the UUID is none, or the name is a UUID
    """
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
    """Check that an object given by ``uuid`` exists, since the UUID of a new object cannot be chosen.

    :param current: the object that was found, or None
    :raises InvalidOption: there is no such object
    """
    if current is None and params["uuid"] is not None:
        problem = f"no {kind} has the UUID {params['uuid']}; correct it, or give only a name to create one"
        raise InvalidOption("uuid", problem)
