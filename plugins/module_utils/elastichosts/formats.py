# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data formats of the API, text/plain and JSON, both as one dict of strings (elastichosts-api 1.4, 1.5)."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, NoReturn, Optional, Tuple

from .errors import ProtocolError

Properties = Dict[str, str]
Row = Tuple[str, ...]

TEXT_TYPES = frozenset({"", "text/plain", "application/octet-stream"})
IDENTITY_KEYS = ("uuid", "server", "drive", "folder")
_UNESCAPE = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}
_ESCAPED = re.compile(r"\\[\\nr]")
_TYPE = re.compile(r"(application|audio|image|message|multipart|text|video)/[a-z.+-]{1,20}")
"""what may be repeated of a header that can hold anything"""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_TO_JSON = json.JSONEncoder(separators=(",", ":"))
_JSON = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_constant)
"""Numbers stay the text they are: exact, and without a limit on digits."""


def parse_object(content: bytes, content_type: str) -> Properties:
    """One object. An empty body is an object without properties (204). Raises ProtocolError."""
    objects = parse_objects(content, content_type)
    if len(objects) > 1:
        raise ProtocolError(f"one object was expected and {len(objects)} came")
    return objects[0] if objects else {}


def parse_objects(content: bytes, content_type: str, left_out: Optional[List[str]] = None) -> List[Properties]:
    """Several objects: a JSON array, or blocks of lines with a blank line between them. Raises ProtocolError.

    With `left_out`, an item that is no object has no properties, and a property that is an object is left out, for
    which the list takes the reason; without it both raise ProtocolError.
    """
    if _is_json(content_type):
        return [_properties(item, left_out) for item in _items(content)]
    return [dict(_split(line) for line in block) for block in _blocks(_text(content, content_type))]


def parse_rows(content: bytes, content_type: str) -> List[Row]:
    """The rows of a list call, identity first: ("UUID",) or ("ip", "192.0.2.1"). Raises ProtocolError."""
    if _is_json(content_type):
        return [_row(item) for item in _items(content)]
    return [tuple(line.split()) for block in _blocks(_text(content, content_type)) for line in block]


def format_json(properties: Mapping[str, Optional[str]]) -> bytes:
    """One flat JSON object; None becomes null, which unsets the key."""
    return _TO_JSON.encode(dict(properties)).encode()


def normalise(value: object) -> Optional[str]:
    """Any JSON value as the API's own text: 500 -> "500", True -> "true", ["a", "b"] -> "a b", None -> None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return " ".join(text for text in map(normalise, value) if text is not None)
    if isinstance(value, dict):
        raise ProtocolError("a property holds an object, and this API has only flat ones")
    return str(value)


def _is_json(content_type: str) -> bool:
    return _bare(content_type) == "application/json"


def _bare(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProtocolError(f"the answer is not UTF-8 (byte {error.start})") from None


def _text(content: bytes, content_type: str) -> str:
    kind = _bare(content_type)
    if content and kind not in TEXT_TYPES:
        shown = kind if _TYPE.fullmatch(kind) else "of no known type"
        raise ProtocolError(f"the answer is {shown}, neither text/plain nor application/json")
    text = _decode(content)
    if text.lstrip()[:1] == "<":
        raise ProtocolError("the answer is a page of HTML or XML")
    return text


def _items(content: bytes) -> List[Any]:
    text = _decode(content)
    if not text.strip():
        return []
    try:
        value = _JSON.decode(text)
        if "\\ud" in text or "\\uD" in text:
            # JSON can spell lone surrogates, which nothing can encode afterwards.
            value = json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the answer calls itself JSON and is not: {_short(error)}") from None
    return value if isinstance(value, list) else [value]


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:100]


def _properties(item: Any, left_out: Optional[List[str]] = None) -> Properties:
    if not isinstance(item, dict):
        if left_out is None:
            raise ProtocolError(f"an object with properties was expected, not {type(item).__name__}")
        return {}
    # Nearly all values are text already; a listing has a quarter of a million of them, and nobody else has this dict.
    for key in [key for key, value in item.items() if value.__class__ is not str]:
        try:
            text = normalise(item[key])
        except ProtocolError as error:
            if left_out is None:
                raise
            left_out.append(str(error))
            text = None
        if text is None:
            del item[key]
        else:
            item[key] = text
    return item


def _row(item: Any) -> Row:
    if isinstance(item, str):
        return (item,)
    found = _properties(item)
    if "type" in found and "resource" in found:
        return (found["type"], found["resource"])
    for key in IDENTITY_KEYS:
        if key in found:
            return (found.pop(key), *found.values())
    raise ProtocolError("a row of the list names no object")


def _blocks(text: str) -> List[List[str]]:
    blocks: List[List[str]] = [[]]
    for line in text.split("\n"):
        line = line.removesuffix("\r")
        if line.strip():
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def _split(line: str) -> Tuple[str, str]:
    key, _space, value = line.partition(" ")
    return key, _ESCAPED.sub(lambda found: _UNESCAPE[found[0]], value)
