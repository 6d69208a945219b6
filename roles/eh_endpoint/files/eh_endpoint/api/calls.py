# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls of the API as a table: path, methods, what does it, what comes back (elastichosts-api 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import Missing
from . import formats
from .api_platform import Platform
from .drives import Drives
from .folders import Folders
from .formats import NOTHING, Reply
from .resources import Resources
from .servers import Servers

READ, CHANGE = frozenset({"GET", "POST"}), frozenset({"POST"})
Shape = Callable[[Any, bool], Reply]


def _nothing(_found: object, _as_json: bool) -> Reply:
    return NOTHING


def _raw(found: Reply, _as_json: bool) -> Reply:
    return found


def _uuids(found: Iterable[str], as_json: bool) -> Reply:
    return formats.rows([{"uuid": uuid} for uuid in found], as_json)


_ONE, _MANY, _ROWS = formats.properties, formats.objects, formats.rows


@dataclass(frozen=True)
class Call:
    """A row: path with {arguments}, the methods, what does it, the shape of the reply, what the body is.

    The handler is called with the user, the path's arguments, the body if the call takes one, and then `more`.
    unheard: does it instead of the handler when the guest ignores what it is told.
    """

    path: str
    methods: frozenset[str]
    handler: Callable[..., Any]
    shape: Shape
    takes: str = ""
    more: tuple[str, ...] = ()
    unheard: Callable[..., Any] | None = None


def calls(
    drives: Drives, folders: Folders, servers: Servers, resources: Resources, platform: Platform
) -> tuple[Call, ...]:
    """Every call of the API, as far as the generation has it."""
    library = (*_library(drives), *_folders(folders)) if platform.library else ()
    return (*_drives(drives, platform), *library, *_resources(resources), *_servers(servers))


def _drives(drives: Drives, platform: Platform) -> tuple[Call, ...]:
    imaged = _nothing if platform.image_empty else _ONE
    return (
        Call("drives/list", READ, drives.uuids, _uuids),
        Call("drives/info", READ, drives.every, _MANY),
        Call("drives/info/full", READ, drives.every_in_full, _MANY),
        Call("drives/create", CHANGE, drives.create, _ONE, "properties"),
        Call("drives/{drive}/info", READ, drives.info, _ONE),
        Call("drives/{drive}/info/full", READ, drives.info_in_full, _ONE),
        Call("drives/{drive}/set", CHANGE, drives.set, _ONE, "properties"),
        Call("drives/{drive}/destroy", CHANGE, drives.destroy, _nothing),
        Call("drives/{drive}/image/{source}", CHANGE, drives.image, imaged),
        Call("drives/{drive}/image/{source}/gunzip", CHANGE, drives.image, imaged, more=("gunzip",)),
        Call("drives/{drive}/image/{source}/gzip", CHANGE, drives.image, imaged, more=("gzip",)),
        Call("drives/{drive}/read/{offset}/{size}", READ, drives.read, _raw),
        Call("drives/{drive}/write", CHANGE, drives.write_from_start, _nothing, "stream"),
        Call("drives/{drive}/write/{offset}", CHANGE, drives.write, _nothing, "stream"),
    )


def _library(drives: Drives) -> tuple[Call, ...]:
    return (
        Call("drives/list/standard", READ, drives.library_uuids, _uuids),
        Call("drives/info/standard", READ, drives.library, _MANY),
        Call("drives/{source}/clone", CHANGE, drives.clone, _ONE, "properties"),
        Call("drives/{source}/clone/gunzip", CHANGE, drives.clone, _ONE, "properties", more=("gunzip",)),
    )


def _folders(folders: Folders) -> tuple[Call, ...]:
    return (
        Call("folders/list", READ, folders.uuids, _uuids),
        Call("folders/info", READ, folders.every, _MANY),
        Call("folders/info/standard", READ, folders.library, _MANY),
        Call("folders/{folder}/info", READ, folders.info, _ONE),
        Call("folders/{folder}/set", CHANGE, folders.set, _ONE, "properties"),
        Call("folders/{folder}/destroy", CHANGE, folders.destroy, _nothing),
        Call("folders/{source}/clone", CHANGE, folders.clone, _ONE, "properties"),
    )


def _resources(resources: Resources) -> tuple[Call, ...]:
    return (
        Call("resources/list", READ, resources.rows, _ROWS),
        Call("resources/info", READ, resources.every, _MANY),
        Call("resources/{type}/list", READ, resources.rows_of, _ROWS),
        Call("resources/{type}/info", READ, resources.every_of, _MANY),
        Call("resources/{type}/create", CHANGE, resources.create, _ONE, "properties"),
        Call("resources/{type}/{resource}/info", READ, resources.info, _ONE),
        Call("resources/{type}/{resource}/set", CHANGE, resources.set, _ONE, "properties"),
        Call("resources/{type}/{resource}/destroy", CHANGE, resources.destroy, _nothing),
    )


def _servers(servers: Servers) -> tuple[Call, ...]:
    return (
        Call("servers/list", READ, servers.uuids, _uuids),
        Call("servers/info", READ, servers.every, _MANY),
        Call("servers/info/full", READ, servers.every, _MANY),
        Call("servers/create", CHANGE, servers.create, _ONE, "properties"),
        Call("servers/create/stopped", CHANGE, servers.create_stopped, _ONE, "properties"),
        Call("servers/{server}/info", READ, servers.info, _ONE),
        Call("servers/{server}/info/full", READ, servers.info, _ONE),
        Call("servers/{server}/set", CHANGE, servers.set, _ONE, "properties"),
        Call("servers/{server}/start", CHANGE, servers.start, _ONE),
        Call("servers/{server}/stop", CHANGE, servers.stop, _nothing),
        Call("servers/{server}/shutdown", CHANGE, servers.shutdown, _nothing, unheard=servers.shutdown_unheard),
        Call("servers/{server}/reset", CHANGE, servers.reset, _nothing),
        Call("servers/{server}/destroy", CHANGE, servers.destroy, _nothing),
    )


class Table:
    """Finds the call of a path: fixed words before arguments, as `drives/info/full` before `drives/{drive}/full`."""

    def __init__(self, rows: Iterable[Call]) -> None:
        self._root: dict[str, Any] = {}
        for call in rows:
            node = self._root
            for segment in call.path.split("/"):
                node = node.setdefault("{}" if segment.startswith("{") else segment, {})
            node[""] = call

    def find(self, path: str) -> tuple[Call, list[str]]:
        """The call and its arguments, or Missing. Doubled and trailing slashes are of no account."""
        segments = [segment for segment in path.split("/") if segment]
        found = _walk(self._root, segments, 0, [])
        if found is None:
            raise Missing(f"There is no call {path[:120]!a}")
        return found


def _walk(node: dict[str, Any], segments: list[str], depth: int, arguments: list[str]) -> tuple[Call, list[str]] | None:
    if depth == len(segments):
        return (node[""], arguments) if "" in node else None
    segment = segments[depth]
    if segment in node:
        found = _walk(node[segment], segments, depth + 1, arguments)
        if found is not None:
            return found
    if "{}" in node:
        return _walk(node["{}"], segments, depth + 1, [*arguments, segment])
    return None
