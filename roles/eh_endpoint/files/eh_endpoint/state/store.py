# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects on disk: an SQLite database, written before the reply to a change."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    document TEXT NOT NULL
)"""
_PUT = (
    "INSERT INTO objects (uuid, kind, document) VALUES (?, ?, ?)"
    " ON CONFLICT (uuid) DO UPDATE SET document = excluded.document"
)
_VERSION = 1


class StoreError(Exception):
    """The database cannot be used; the text is a sentence for the operator."""


class Row(NamedTuple):
    uuid: str
    kind: str
    document: dict[str, Any]


class Store:
    """Rows by UUID, in the order in which they were first written.

    In WAL mode with synchronous=NORMAL a committed row survives the end of the process (kill -9); with `sync` every
    commit waits for the disk and survives a power failure too.
    """

    def __init__(self, path: Path, *, sync: bool = False) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise StoreError(f"{path} was written by another version of this program (format {version})")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
        self._connection.execute(_SCHEMA)
        self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    def rows(self) -> Iterator[Row]:
        for uuid, kind, document in self._connection.execute(
            "SELECT uuid, kind, document FROM objects ORDER BY number"
        ):
            yield Row(uuid, kind, json.loads(document))

    def commit(self, put: Iterable[Row] = (), remove: Iterable[str] = ()) -> None:
        """Write and remove rows in one transaction. Raises sqlite3.Error, and then nothing has changed."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany(_PUT, ((row.uuid, row.kind, json.dumps(row.document)) for row in put))
            self._connection.executemany("DELETE FROM objects WHERE uuid = ?", ((uuid,) for uuid in remove))
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._connection.close()
