# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any dict survives text and JSON, and negotiation follows the manual (elastichosts-api 1.4, 1.5)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eh_endpoint.api import formats
from eh_endpoint.errors import Usage
from tests.unit.endpoint.conftest import Wire

CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
KEYS = st.text(CHARACTERS, min_size=1).filter(lambda key: not set(key) & set(" \n\r"))
VALUES = st.text(CHARACTERS)
DICTS = st.dictionaries(KEYS, VALUES, max_size=20)


@given(DICTS)
def test_any_properties_round_trip_through_text(found: dict[str, str]) -> None:
    sent = formats.properties(found, as_json=False)
    assert formats.parse(bytes(sent.body), sent.headers["content-type"]) == found


@given(DICTS)
def test_any_properties_round_trip_through_json(found: dict[str, str]) -> None:
    sent = formats.properties(found, as_json=True)
    assert formats.parse(bytes(sent.body), sent.headers["content-type"]) == found


@given(st.lists(DICTS.filter(bool), min_size=1, max_size=5))
def test_objects_in_text_can_be_told_apart_by_the_blank_line(found: list[dict[str, str]]) -> None:
    sent = bytes(formats.objects(found, as_json=False).body)
    assert [formats.parse(part + b"\n", None) for part in sent.removesuffix(b"\n").split(b"\n\n")] == found


@given(st.binary(max_size=400), st.sampled_from(["application/json", "text/plain", None]))
def test_any_bytes_parse_or_are_refused_as_usage(body: bytes, content_type: str | None) -> None:
    try:
        found = formats.parse(body, content_type)
    except Usage as error:
        assert "invalid" in error.message
    else:
        assert all(isinstance(key, str) for key in found)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", {}),
        (b"\n\nname a b\r\nsize 5", {"name": "a b", "size": "5"}),
        (b"note one\\ntwo\\\\n\\t\\r", {"note": "one\ntwo\\n\\t\r"}),
        (b"a 1\na 2", {"a": "2"}),
        (b"tags\ntier ", {"tags": "", "tier": ""}),
        ("name é\u2028ü".encode(), {"name": "é\u2028ü"}),
    ],
)
def test_text_is_read_as_the_manual_says(body: bytes, found: dict[str, str]) -> None:
    assert formats.parse(body, "text/plain; charset=utf-8") == found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("", {}),
        (
            '{"a": 5, "b": true, "c": false, "d": null, "e": "x"}',
            {"a": "5", "b": "true", "c": "false", "d": None, "e": "x"},
        ),
        ('{"boot": ["ide:0:0", "block:1"]}', {"boot": "ide:0:0 block:1"}),
        ('{"size": 5.0}', {"size": "5"}),
        ('{"a": 1, "a": 2}', {"a": "2"}),
    ],
)
def test_json_is_read_liberally(body: str, found: dict[str, str | None]) -> None:
    assert formats.parse(body.encode(), "application/json") == found


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"name"',
        b'{"a": {"b": 1}}',
        b'{"a": [[1]]}',
        b'{"a": NaN}',
        b'{"a": "\\ud800"}',
        b'{"a": "\\u0000"}',
        b'{"a": ' + b"1" * 5000 + b"}",
        b'{"a": 1e999}'.replace(b"1e999", b"[" * 100_000),
        b"\xff",
        json.dumps({f"user:{number}": "x" for number in range(1000)}).encode(),
    ],
)
def test_what_is_not_one_flat_object_is_refused(body: bytes) -> None:
    with pytest.raises(Usage, match="invalid"):
        formats.parse(body, "application/json")


@pytest.mark.parametrize(
    ("accept", "as_json"),
    [
        (None, False),
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/json, text/plain", True),
        ("application/json;q=0.4, text/plain", False),
        ("text/plain;q=0.5, application/json", True),
        ("application/json;q=0", False),
        ("application/xml", False),
    ],
)
def test_json_is_answered_to_those_who_ask_for_it(accept: str | None, as_json: bool) -> None:
    assert formats.wants_json(accept) is as_json


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "text/plain; charset=utf-8", "application/octet-stream", "header"]
)
@pytest.mark.parametrize("accept", ["", "application/json", "text/plain"])
def test_input_and_output_formats_are_independent(wire: Wire, content_type: str, accept: str) -> None:
    answer = wire.send("POST", "/drives/create", "size 4M\nname x", content_type=content_type, Accept=accept)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json" if accept.endswith("json") else "text/plain")
    as_json = wire.send("POST", "/drives/create", '{"size": "4M"}', content_type="application/json", Accept=accept)
    assert as_json.headers["content-type"] == answer.headers["content-type"]


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_an_empty_body_is_never_a_parse_error(wire: Wire, content_type: str) -> None:
    for method in ("GET", "POST"):
        assert wire.send(method, "/servers/list", content_type=content_type).status == 200
    drive = wire.drive()
    assert wire.send("POST", f"/drives/{drive}/set", content_type=content_type).status == 200
    assert wire.send("POST", f"/drives/{drive}/destroy", content_type=content_type).status == 204


def test_empty_collections_are_empty_text_and_an_empty_array(fresh_endpoint: object, connect: object) -> None:
    wire = connect(fresh_endpoint)  # type: ignore[operator]
    for call in ("/drives/list", "/drives/info", "/servers/list", "/servers/info", "/resources/list"):
        in_text = wire.send("GET", call)
        assert (in_text.status, in_text.content) == (200, b"")
        assert wire.json(call).content == b"[]"


def test_a_line_break_in_a_value_travels_as_two_characters(wire: Wire) -> None:
    drive = wire.drive(**{"user:note": "one\ntwo\\three\r"})
    text = wire.text(f"/drives/{drive}/info").text
    assert "\nuser:note one\\ntwo\\\\three\\r\n" in text
    assert wire.text(f"/drives/{drive}/set", text).text == text
    assert wire.json(f"/drives/{drive}/info").json["user:note"] == "one\ntwo\\three\r"
