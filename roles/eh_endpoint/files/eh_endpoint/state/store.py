# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects on disk: an SQLite database, written before the reply to a change."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from .reserve import Reserve

_CREATE = """
CREATE TABLE objects (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    document TEXT NOT NULL
)"""
_UPGRADES = {
    0: (_CREATE,),
    1: (
        "ALTER TABLE objects ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0",
        "UPDATE objects SET checksum = checksum(uuid, kind, document)",
        "CREATE TABLE removed (uuid TEXT PRIMARY KEY, empty INTEGER NOT NULL)",
    ),
}
"""Statements that make the next format of a format. Format 0 is an empty file."""
_VERSION = 2
_ROWS = {
    1: "SELECT uuid, kind, document, NULL FROM objects ORDER BY number",
    2: "SELECT uuid, kind, document, checksum FROM objects ORDER BY number",
}
_COLUMNS = {1: 4, 2: 5}
"""The number of columns of the table `objects` in each format."""
_LOG_HEAD = 32
"""Bytes of a log of changes before the first change."""
_DAMAGE = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PUT = (
    "INSERT INTO objects (uuid, kind, document, checksum) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (uuid) DO UPDATE SET document = excluded.document, checksum = excluded.checksum"
)


class StoreError(Exception):
    """The database cannot be used; the text is a sentence for the operator."""


class Row(NamedTuple):
    uuid: str
    kind: str
    document: dict[str, Any]


class Store:
    """Rows by UUID, in the order in which they were first written.

    In WAL mode with synchronous=NORMAL a committed row survives the end of the process (kill -9); with `sync` every
    commit waits for the disk and survives a power failure too. Raises StoreError, OSError or sqlite3.Error for a
    file that cannot be used, and then nothing has changed.
    """

    def __init__(self, path: Path, reserve: Reserve, *, sync: bool = False) -> None:
        self._reserve = reserve
        self._rows = reserve.run(lambda: read(path))
        self._gone: list[str] = []
        self._connection = reserve.run(lambda: self._open(path, sync))

    def _open(self, path: Path, sync: bool) -> sqlite3.Connection:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite would give it the mode of the umask
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.create_function("checksum", 3, _checksum)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
        for version in range(_version(connection), _VERSION):
            with _transaction(connection):
                for statement in _UPGRADES[version]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1}")
        return connection

    def rows(self) -> Iterator[Row]:
        """Yield the rows as they were when the file was opened, once."""
        rows, self._rows = self._rows, []
        yield from rows

    def commit(
        self, put: Iterable[Row] = (), remove: Iterable[str] = (), note: Iterable[tuple[str, bool]] = ()
    ) -> None:
        """Write and remove rows in one transaction. Raises NoSpace or sqlite3.Error, and then nothing has changed.

        note: UUIDs of drives whose files are to be removed, at the next start at the latest, and whether only if
        nothing was written to the file: that of a drive whose row is not there yet. The note ends when a row is put,
        or with `file_gone`.
        """
        rows = [_values(row) for row in put]
        removed = [(uuid,) for uuid in remove]
        ended = [(uuid,) for uuid in (*(row[0] for row in rows), *self._gone)]
        noted = list(note)

        def write() -> None:
            with _transaction(self._connection):
                self._connection.executemany(_PUT, rows)
                self._connection.executemany("DELETE FROM objects WHERE uuid = ?", removed)
                self._connection.executemany("DELETE FROM removed WHERE uuid = ?", ended)
                self._connection.executemany("INSERT OR REPLACE INTO removed VALUES (?, ?)", noted)

        self._reserve.run(write)
        self._gone.clear()

    def removed(self) -> dict[str, bool]:
        """Return the UUIDs of drives whose files are to be removed, and whether only if nothing was written to them."""
        return {uuid: bool(empty) for uuid, empty in self._connection.execute("SELECT uuid, empty FROM removed")}

    def file_gone(self, uuid: str) -> None:
        """End the note about the file of a drive with the next commit."""
        self._gone.append(uuid)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls back after some errors
            connection.execute("ROLLBACK")
        raise


def read(path: Path) -> list[Row]:
    """Return the rows of a database without changing it. Raises StoreError if anything in it is damaged."""
    log = path.with_name(f"{path.name}-wal")
    changes = log.exists() and log.stat().st_size > _LOG_HEAD
    if not (path.exists() and path.stat().st_size):
        if changes:
            # SQLite would take the database for a new one, and remove the log.
            raise StoreError(f"the state file {path} is lost, and changes of it are in {log.name}: {_ADVICE}")
        return []
    try:
        with closing(connect_to_read(path)) as connection:
            version = _version(connection)
            if version == 0 and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                if changes:
                    raise _damaged(path, f"its log of changes {log.name} cannot be read")
                return []  # a process that made the file was killed
            if not 0 < version <= _VERSION:
                raise StoreError(f"the state file {path} was written by another version of the endpoint ({version})")
            problem = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if problem != "ok":
                raise _damaged(path, problem)
            columns = connection.execute("SELECT count(*) FROM pragma_table_info('objects')").fetchone()[0]
            if columns != _COLUMNS[version]:
                raise _damaged(path, f"{columns} columns in format {version}")
            return [_checked(path, *values) for values in connection.execute(_ROWS[version])]
    except sqlite3.DatabaseError as error:
        # Other codes tell that the file could not be read; errors of Python, such as text that is not UTF-8, have none.
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF not in _DAMAGE:
            raise
        raise _damaged(path, str(error)) from error


def connect_to_read(path: Path) -> sqlite3.Connection:
    # A killed process can leave a journal, before the log of changes is on: SQLite has to undo its changes to read.
    mode = "rw" if path.with_name(f"{path.name}-journal").exists() else "ro"
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True)


_ADVICE = (
    "nothing was changed; restore a backup (python -m eh_endpoint restore), or move all state.sqlite* files away"
    " to start without servers, which keeps the files of drives in drives/unknown"
)


def _damaged(path: Path, problem: str) -> StoreError:
    return StoreError(f"the state file {path} is damaged ({' '.join(problem.split())[:120]}): {_ADVICE}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _checked(path: Path, uuid: str, kind: str, document: str, checksum: int | None) -> Row:
    """Return a row. checksum: None for a row of format 1. Raises StoreError for a damaged row."""
    try:
        if checksum is None or checksum == _checksum(uuid, kind, document):
            return Row(uuid, kind, json.loads(document))
    except (ValueError, TypeError):
        pass
    raise _damaged(path, f"object {uuid}")


def _values(row: Row) -> tuple[str, str, str, int]:
    document = json.dumps(row.document)
    return row.uuid, row.kind, document, _checksum(row.uuid, row.kind, document)


def _checksum(uuid: str, kind: str, document: str) -> int:
    return crc32(f"{uuid} {kind} {document}".encode())
