# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse and format the API's two formats, text/plain and JSON (elastichosts-api 1.4, 1.5)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Union

from starlette.responses import Response

from ..errors import Usage

Scalar = Union[str, int]
Value = Union[Scalar, "list[str]"]
Properties = Mapping[str, Value]
Given = dict[str, Union[str, None]]
"""The keys of a request: every value as text, None for a key that is to be removed."""

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
OCTETS = "application/octet-stream"
MAX_KEYS = 500
_ESCAPE = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_UNESCAPE = {escaped: plain for plain, escaped in _ESCAPE.items()}


# ---- requests


def refuse_multipart(content_type: str | None) -> None:
    """Raise Usage for a body in parts: its envelope is neither properties nor bytes of a drive."""
    if _media(content_type).startswith("multipart/"):
        raise Usage("invalid Content-Type: multipart is not possible, send properties or bytes as the whole body")


def _media(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()


def parse(body: bytes, content_type: str | None) -> Given:
    """Parse the body of a request; any content type but application/json is text. Raises Usage."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Usage(f"invalid body: it is not UTF-8 at byte {error.start}") from None
    given = _parse_json(text) if _media(content_type) == JSON else _parse_text(text)
    if len(given) > MAX_KEYS:
        raise Usage(f"invalid body: {len(given)} keys, where at most {MAX_KEYS} are taken")
    for key, value in given.items():
        if "\0" in key or (value is not None and "\0" in value):
            raise Usage("invalid body: it holds a NUL character")
    return given


def _parse_text(text: str) -> Given:
    given: Given = {}
    for number, line in enumerate(text.split("\n"), 1):
        key, _unused, value = line.removesuffix("\r").partition(" ")
        if key:
            given[key] = unescape(value)
        elif value:
            raise Usage(f"invalid body: line {number} begins with a space, where a key is expected")
    return given


def _parse_json(text: str) -> Given:
    if not text.strip():
        return {}
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Usage(f"invalid body: it is not JSON: {_first_line(error)}") from None
    if not isinstance(document, dict):
        raise Usage("invalid body: one JSON object is expected")
    return {_text("a key", key): _scalar(key, value) for key, value in document.items()}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]


def _scalar(key: str, value: Any) -> str | None:
    if isinstance(value, list):
        parts = [_scalar(key, part) or "" for part in value if not isinstance(part, list)]
        if len(parts) == len(value):
            return " ".join(parts)
    elif value is None:
        return None
    elif isinstance(value, bool):
        return "true" if value else "false"
    elif isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    elif isinstance(value, int):
        return _integer(key, value)
    elif isinstance(value, str):
        return _text(key, value)
    raise Usage(f"{_shown(key)}: invalid value: a text, a number, a boolean or null is expected")


def _integer(key: str, value: int) -> str:
    try:
        return str(value)
    except ValueError:
        raise Usage(f"{_shown(key)}: invalid value: the number has too many digits") from None


def _text(key: str, value: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise Usage(f"{_shown(key)}: invalid value: it holds half of a surrogate pair") from None
    return value


def _shown(key: str) -> str:
    return ascii(key[:60]).strip("'") if not key.isprintable() or len(key) > 60 else key


def printable(text: str) -> str:
    """Return a text for people: control characters, which a terminal would obey, and halves of pairs are escaped."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def escape(value: str) -> str:
    r"""Put a value on one line: backslash, line feed and carriage return become \\, \n and \r."""
    if "\\" in value or "\n" in value or "\r" in value:
        return "".join(_ESCAPE.get(character, character) for character in value)
    return value


def unescape(value: str) -> str:
    """Undo escape(); other backslashes stay as they are."""
    if "\\" not in value:
        return value
    return re.sub(r"\\[\\nr]", lambda match: _UNESCAPE[match.group()], value)


# ---- replies


def wants_json(accept: str | None) -> bool:
    """Tell whether an Accept header prefers JSON; text is the default, also for */* (elastichosts-api 1.4)."""
    quality = {JSON: 0.0, "text/plain": 0.0}
    for part in (accept or "").lower().split(","):
        media, _unused, parameters = part.partition(";")
        if media.strip() in quality:
            quality[media.strip()] = _quality(parameters)
    return quality[JSON] > quality["text/plain"] or (quality[JSON] > 0 and quality[JSON] == quality["text/plain"])


def _quality(parameters: str) -> float:
    found = re.search(r"\bq\s*=\s*([01](?:\.\d{0,3})?)", parameters)
    return float(found.group(1)) if found else 1.0


def properties(found: Properties, as_json: bool) -> Response:
    """Return the reply with one object."""
    return _reply(json.dumps(found) if as_json else _lines(found), as_json, "properties")


def objects(found: Iterable[Properties], as_json: bool) -> Response:
    """Return the reply with several objects; in text a blank line is between two (elastichosts-api 4.7)."""
    return _reply(json.dumps(list(found)) if as_json else "\n".join(map(_lines, found)), as_json, "properties")


def rows(found: Iterable[Mapping[str, str]], as_json: bool) -> Response:
    """Return the reply with a list: a row per object; in text, columns are separated by spaces."""
    text = json.dumps(list(found)) if as_json else "".join(" ".join(row.values()) + "\n" for row in found)
    return _reply(text, as_json, "list")


def _reply(text: str, as_json: bool, output: str) -> Response:
    # Not by media_type: Starlette would add a charset to it.
    return Response(text, headers={"X-Elastic-Output": output, "Content-Type": JSON if as_json else TEXT})


def _lines(found: Properties) -> str:
    return "".join(f"{key} {_flat(value)}\n" for key, value in found.items())


def _flat(value: Value) -> str:
    return str(value) if isinstance(value, int) else escape(words(value))


def words(value: Value) -> str:
    """Return a value of an info object as a request has it: several words are separated by spaces."""
    return " ".join(value) if isinstance(value, list) else str(value)
