# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every row of the call tables in both formats: method, status, headers, shape, and the same content twice.

The rows are written from the reference (elastichosts-api 2.1 to 2.4) and compared with the program's own table, so that
neither can have a call that the other does not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from eh_endpoint.api.api_platform import PLATFORMS
from eh_endpoint.api.calls import calls
from tests.support.endpoint import USER
from tests.unit.endpoint.conftest import Answer, Wire

UBUNTU = "62f512cd-82c7-498e-88d8-a09ac2ef20e7"
FOLDER = "f1804000-0000-4000-8000-000000000001"
LIST, OBJECTS, OBJECT, NOTHING, BYTES = "list", "objects", "object", "nothing", "bytes"
READS = {
    "drives/list": LIST,
    "drives/list/standard": LIST,
    "drives/info": OBJECTS,
    "drives/info/standard": OBJECTS,
    "drives/info/full": OBJECTS,
    "drives/{drive}/info": OBJECT,
    "drives/{drive}/info/full": OBJECT,
    "drives/{drive}/read/{offset}/{size}": BYTES,
    "servers/list": LIST,
    "servers/info": OBJECTS,
    "servers/info/full": OBJECTS,
    "servers/{server}/info": OBJECT,
    "servers/{server}/info/full": OBJECT,
    "resources/list": LIST,
    "resources/info": OBJECTS,
    "resources/{type}/list": LIST,
    "resources/{type}/info": OBJECTS,
    "resources/{type}/{resource}/info": OBJECT,
    "folders/list": LIST,
    "folders/info": OBJECTS,
    "folders/info/standard": OBJECTS,
    "folders/{folder}/info": OBJECT,
}
CHANGES = {
    "drives/create": ({"name": "n", "size": "8M"}, OBJECT),
    "drives/{drive}/set": ({"name": "n"}, OBJECT),
    "drives/{drive}/destroy": ({}, NOTHING),
    "drives/{drive}/image/{source}": ({}, OBJECT),
    "drives/{drive}/image/{source}/gunzip": ({}, OBJECT),
    "drives/{drive}/image/{source}/gzip": ({}, OBJECT),
    "drives/{source}/clone": ({"name": "n", "size": "300M"}, OBJECT),
    "drives/{source}/clone/gunzip": ({"name": "n", "size": "1G"}, OBJECT),
    "drives/{drive}/write": ({}, NOTHING),
    "drives/{drive}/write/{offset}": ({}, NOTHING),
    "servers/create": ({"name": "n", "cpu": "500", "mem": "256"}, OBJECT),
    "servers/create/stopped": ({"name": "n", "cpu": "500", "mem": "256"}, OBJECT),
    "servers/{stopped}/set": ({"name": "n", "mem": "512"}, OBJECT),
    "servers/{stopped}/start": ({}, OBJECT),
    "servers/{server}/stop": ({}, NOTHING),
    "servers/{server}/shutdown": ({}, NOTHING),
    "servers/{server}/reset": ({}, NOTHING),
    "servers/{server}/destroy": ({}, NOTHING),
    "resources/{type}/create": ({"name": "n"}, OBJECT),
    "resources/{type}/{resource}/set": ({"name": "n"}, OBJECT),
    "resources/{type}/{resource}/destroy": ({}, NOTHING),
    "folders/{source_folder}/clone": ({"name": "n", "tier": "ssd"}, OBJECT),
    "folders/{folder}/set": ({"name": "n"}, OBJECT),
    "folders/{folder}/destroy": ({}, NOTHING),
}
PER_CALL = re.compile(r"drive|server|folder|resource|started|claimed|imaging|.*:(ip|mac|bytes|requests)$")
"""Keys whose values differ from object to object."""


def things(wire: Wire) -> dict[str, str]:
    """A fresh object of every kind."""
    return {
        "drive": wire.drive(size="1G"),
        "source": UBUNTU,
        "server": wire.server(persistent="true", nic__0__dhcp="auto"),
        "stopped": wire.server("create/stopped", persistent="true"),
        "type": "ip",
        "resource": wire.json("/resources/ip/create", {"name": "r"}).json["resource"],
        "folder": wire.json(f"/folders/{FOLDER}/clone", {"name": "f"}).json["folder"],
        "source_folder": FOLDER,
        "offset": "512",
        "size": "1k",
    }


def objects(text: str) -> list[dict[str, str]]:
    """Blocks of `key value` lines, a blank line between two (elastichosts-api 1.5)."""
    blocks = [block for block in text.split("\n\n") if block]
    return [dict(line.split(" ", 1) for line in block.splitlines()) for block in blocks]


def plain(found: Any) -> list[dict[str, str]]:
    """A JSON answer as text would have it."""
    rows = found if isinstance(found, list) else [found]
    return [{key: " ".join(v) if isinstance(v, list) else str(v) for key, v in row.items()} for row in rows]


def check_shape(shape: str, in_text: Answer, in_json: Answer) -> None:
    if shape == NOTHING:
        for answer in (in_text, in_json):
            assert (answer.status, answer.content) == (204, b"")
            assert not {"content-type", "x-elastic-output", "x-elastic-error"} & set(answer.headers)
        return
    assert (in_text.status, in_json.status) == (200, 200), in_text.text + in_json.text
    if shape == BYTES:
        assert in_text.content == in_json.content == bytes(1024)
        assert in_text.headers["content-type"] == in_json.headers["content-type"] == "application/octet-stream"
        return
    assert in_text.headers["content-type"] == "text/plain; charset=utf-8"
    assert in_json.headers["content-type"] == "application/json"
    for answer in (in_text, in_json):
        assert answer.headers["x-elastic-output"] == ("list" if shape == LIST else "properties")
        assert int(answer.headers["content-length"]) == len(answer.content)
    assert isinstance(in_json.json, dict) == (shape == OBJECT)


@pytest.mark.parametrize("path", READS)
def test_a_read_call(wire: Wire, path: str) -> None:
    path_now = "/" + path.format(**things(wire))
    in_text = wire.send("GET", path_now)
    in_json = wire.send("GET", path_now, Accept="application/json")
    check_shape(READS[path], in_text, in_json)
    assert wire.send("POST", path_now).content == in_text.content
    assert wire.send("DELETE", path_now).error == (405, "method")
    if READS[path] == LIST:
        assert [row.split(" ") for row in in_text.text.splitlines()] == [list(row.values()) for row in in_json.json]
        kinds = {"uuid"} if not path.startswith("resources") else {"type", "resource"}
        assert all(set(row) == kinds for row in in_json.json)
    elif READS[path] != BYTES:
        assert objects(in_text.text) == plain(in_json.json)
        assert all(list(row) == sorted(row) for row in plain(in_json.json))


@pytest.mark.parametrize("path", CHANGES)
def test_a_changing_call(wire: Wire, path: str) -> None:
    body, shape = CHANGES[path]
    first, second = "/" + path.format(**things(wire)), "/" + path.format(**things(wire))
    assert wire.send("GET", first).error == (405, "method")
    lines = "".join(f"{key} {value}\n" for key, value in body.items())
    in_text = wire.send("POST", first, lines, content_type="text/plain")
    in_json = wire.json(second, dict(body)) if body else wire.send("POST", second, Accept="application/json")
    check_shape(shape, in_text, in_json)
    if shape == OBJECT:
        fixed = [
            {key: value for key, value in found.items() if not PER_CALL.fullmatch(key)}
            for found in (*objects(in_text.text), *plain(in_json.json))
        ]
        assert fixed[0] == fixed[1]
        assert fixed[0].get("user") == USER
        assert body.items() <= {**fixed[0], "size": body.get("size", "")}.items()


def test_the_tables_of_the_reference_and_of_the_program_are_the_same() -> None:
    def generic(paths: Any) -> set[str]:
        return {re.sub(r"\{.*?\}", "{}", path) for path in paths}

    anything: Any = Anything()
    new, old_one = (calls(anything, anything, anything, anything, PLATFORMS[name]) for name in ("new", "old"))
    assert generic(call.path for call in new) == generic([*READS, *CHANGES])
    old = generic(call.path for call in old_one)
    assert {path.split("/")[0] for path in generic([*READS, *CHANGES]) - old} == {"drives", "folders"}
    assert not [path for path in old if "standard" in path or "clone" in path]


class Anything:
    """Has every method."""

    def __getattr__(self, name: str) -> Callable[[], None]:
        return lambda: None
