# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two data formats, as one dict of strings."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import formats
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.errors import ProtocolError

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"

keys = st.sampled_from(["name", "size", "ide:0:0", "ide:0:0:media", "nic:0:dhcp:ip", "user:one-vm", "\u00e9", "{"])
values = st.text(st.characters(exclude_categories=["Cs"]))
properties = st.dictionaries(keys, values, max_size=8)


def as_text(given_properties: dict[str, str]) -> bytes:
    """An object as the cloud writes it in text/plain."""
    escapes = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r"})
    return "".join(f"{key} {value.translate(escapes)}\n" for key, value in given_properties.items()).encode()


@given(properties)
def test_json_gives_back_what_it_was_given(given_properties: dict[str, str]) -> None:
    assert formats.parse_object(formats.format_json(given_properties), JSON) == given_properties


@given(properties)
def test_text_gives_back_what_it_was_given(given_properties: dict[str, str]) -> None:
    assert formats.parse_object(as_text(given_properties), TEXT) == given_properties


@given(st.lists(st.dictionaries(keys, values, min_size=1, max_size=4), max_size=4))
def test_several_objects_in_text_are_parted_by_a_blank_line(objects: list[dict[str, str]]) -> None:
    content = b"\n".join(as_text(item) for item in objects)
    assert formats.parse_objects(content, TEXT) == objects


@given(st.lists(properties, max_size=4))
def test_several_objects_in_json_are_an_array(objects: list[dict[str, str]]) -> None:
    assert formats.parse_objects(json.dumps(objects).encode(), JSON) == objects


@given(st.binary(), st.sampled_from([JSON, TEXT, "", "application/octet-stream", "text/html"]))
def test_any_bytes_are_either_properties_or_a_protocol_error(content: bytes, kind: str) -> None:
    for parse in (formats.parse_object, formats.parse_objects, formats.parse_rows):
        try:
            parse(content, kind)
        except ProtocolError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ('{"size": 12582912}', {"size": "12582912"}),
        ('{"read:bytes": "4096"}', {"read:bytes": "4096"}),
        ('{"persistent": true, "x": false}', {"persistent": "true", "x": "false"}),
        ('{"boot": ["ide:0:0", "ide:0:1"]}', {"boot": "ide:0:0 ide:0:1"}),
        ('{"tags": null, "name": ""}', {"name": ""}),
        ('{"n": 0.50, "big": 123456789012345678901234567890}', {"n": "0.50", "big": "123456789012345678901234567890"}),
        ('[{"server": "a"}]', {"server": "a"}),
        ('\ufeff{"a": "b"}', {"a": "b"}),
        ("", {}),
        ('{"name": "\\ud800"}', {"name": "?"}),
    ],
)
def test_json_values_of_every_observed_type_become_text(sent: str, seen: dict[str, str]) -> None:
    assert formats.parse_object(sent.encode(), JSON) == seen


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (b"\n\nname web root\nsize 5\n", {"name": "web root", "size": "5"}),
        (b"name web\r\nsize 5\r\n", {"name": "web", "size": "5"}),
        (b"name a\\nb\\\\c\\r\\d", {"name": "a\nb\\c\r\\d"}),
        (b"tags\nname ", {"tags": "", "name": ""}),
        (b"ide:0:0 disk\nide:0:0 1234", {"ide:0:0": "1234"}),
        ("name caf\u00e9\u2028x".encode(), {"name": "caf\u00e9\u2028x"}),
    ],
)
def test_text_lines_are_read_as_the_manual_and_old_clients_have_them(sent: bytes, seen: dict[str, str]) -> None:
    assert formats.parse_object(sent, "text/plain") == seen
    assert formats.parse_object(sent, "") == seen


def test_lists_are_read_in_every_known_form() -> None:
    assert formats.parse_rows(b"u1\nu2\n", TEXT) == [("u1",), ("u2",)]
    assert formats.parse_rows(b"u1 2000 512\n", TEXT) == [("u1", "2000", "512")]
    assert formats.parse_rows(b'[{"uuid":"u1"},{"drive":"u2"},"u3"]', JSON) == [("u1",), ("u2",), ("u3",)]
    assert formats.parse_rows(b"ip 192.0.2.1\n", TEXT) == [("ip", "192.0.2.1")]
    assert formats.parse_rows(b'[{"resource":"192.0.2.1","type":"ip"}]', JSON) == [("ip", "192.0.2.1")]
    assert formats.parse_rows(b"", TEXT) == formats.parse_rows(b"[]", JSON) == []


@pytest.mark.parametrize(
    ("content", "kind", "word"),
    [
        (b"<html><body>Welcome</body></html>", "text/html", "text/html"),
        (b"\n <!DOCTYPE html>", "text/plain", "HTML"),
        (b"{", JSON, "JSON"),
        (b'{"a": NaN}', JSON, "JSON"),
        (b'{"a": {"b": "c"}}', JSON, "flat"),
        (b'["x"]', JSON, "properties"),
        (b"[" * 100_000, JSON, "JSON"),
        (b"name \xff", TEXT, "UTF-8"),
        (b'[{"a":"1"},{"a":"2"}]', JSON, "one object"),
        (b'[{"cpu":"1"}]', JSON + "-rows", "names no object"),
    ],
)
def test_what_is_not_this_api_is_told_so(content: bytes, kind: str, word: str) -> None:
    parse = formats.parse_rows if kind.endswith("-rows") else formats.parse_object
    with pytest.raises(ProtocolError, match=word):
        parse(content, kind.removesuffix("-rows"))


def test_none_unsets() -> None:
    assert formats.format_json({"tags": None, "name": "a"}) == b'{"tags":null,"name":"a"}'
