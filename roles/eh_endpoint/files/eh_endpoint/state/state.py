# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All objects of the cloud in memory; every change goes through commit()."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Generic, TypeVar, Union

from ..errors import Full, SystemFault
from ..testing.clock import Clock
from .addresses import AddressPool
from .objects import Drive, Folder, Resource, Server
from .store import Row, Store

StoredObject = Union[Drive, Folder, Server, Resource]
KINDS: dict[str, type[StoredObject]] = {"drive": Drive, "folder": Folder, "server": Server, "resource": Resource}
T = TypeVar("T", Drive, Folder, Server, Resource)


class ObjectIndex(Generic[T]):
    """Objects of one kind by UUID, and by user in the order of their creation."""

    def __init__(self) -> None:
        self._all: dict[str, T] = {}
        self._of: dict[str, dict[str, None]] = {}

    def get(self, uuid: str) -> T | None:
        return self._all.get(uuid)

    def of(self, user: str) -> list[T]:
        return [self._all[uuid] for uuid in self._of.get(user, ())]

    def put(self, thing: T) -> None:
        self._all[thing.uuid] = thing
        self._of.setdefault(thing.user, {})[thing.uuid] = None

    def remove(self, thing: T) -> None:
        del self._all[thing.uuid]
        del self._of[thing.user][thing.uuid]

    def __iter__(self) -> Iterator[T]:
        return iter(self._all.values())

    def __len__(self) -> int:
        return len(self._all)


class State:
    """The objects, addresses and claims. A change is a new object, first in the database, then in memory."""

    def __init__(self, store: Store, clock: Clock, addresses: AddressPool) -> None:
        self.clock = clock
        self.addresses = addresses
        self.drives: ObjectIndex[Drive] = ObjectIndex()
        self.folders: ObjectIndex[Folder] = ObjectIndex()
        self.servers: ObjectIndex[Server] = ObjectIndex()
        self.resources: ObjectIndex[Resource] = ObjectIndex()
        self._claims: dict[str, dict[str, None]] = {}
        self._store = store
        for row in store.rows():
            self._enter(KINDS[row.kind](**row.document))

    def commit(self, *put: StoredObject, remove: Iterable[StoredObject] = ()) -> None:
        """Store and remove objects in one transaction. Raises Full or SystemFault, and then nothing has changed."""
        remove = tuple(remove)
        try:
            self._store.commit([_row(thing) for thing in put], [thing.uuid for thing in remove])
        except sqlite3.Error as error:
            if "full" in str(error):
                raise Full("The state folder of the endpoint has no space left") from error
            raise SystemFault("The state of the endpoint cannot be written, see its log") from error
        for thing in remove:
            self._leave(thing)
        for thing in put:
            self._enter(thing)

    def claims(self, uuid: str) -> tuple[str, ...]:
        """Return the UUIDs of active servers that use a drive or folder, and of the other drive of a copy.

        A stopped server claims nothing (elastichosts-api 7.4).
        """
        return tuple(self._claims.get(uuid, ()))

    def _enter(self, thing: StoredObject) -> None:
        if isinstance(thing, Drive):
            before = self.drives.get(thing.uuid)
            if before is not None:
                self._release(_ends(before))
            self.drives.put(thing)
            self._claim(_ends(thing))
        elif isinstance(thing, Folder):
            self.folders.put(thing)
        elif isinstance(thing, Resource):
            self.resources.put(thing)
            if thing.type == "ip":
                self.addresses.claim(thing.uuid)
        else:
            known = self.servers.get(thing.uuid)
            if known is not None:
                self._power_down(known)
            self.servers.put(thing)
            if thing.address:
                self.addresses.claim(thing.address)
            self._claim(_uses(thing))

    def _leave(self, thing: StoredObject) -> None:
        if isinstance(thing, Drive):
            self._release(_ends(thing))
            self.drives.remove(thing)
        elif isinstance(thing, Folder):
            self.folders.remove(thing)
        elif isinstance(thing, Resource):
            self.resources.remove(thing)
            self.addresses.release(thing.uuid)
        else:
            self._power_down(thing)
            self.servers.remove(thing)

    def _power_down(self, server: Server) -> None:
        if server.address and self.resources.get(server.address) is None:
            self.addresses.release(server.address)
        self._release(_uses(server))

    def _claim(self, pairs: Iterable[tuple[str, str]]) -> None:
        for used, user in pairs:
            self._claims.setdefault(used, {})[user] = None

    def _release(self, pairs: Iterable[tuple[str, str]]) -> None:
        for used, user in pairs:
            holders = self._claims.get(used, {})
            holders.pop(user, None)
            if not holders:
                self._claims.pop(used, None)


def _uses(server: Server) -> list[tuple[str, str]]:
    """Return the claims of an active server: (drive or folder, server)."""
    return [(used, server.uuid) for used in (*server.drives.values(), *server.folders)] if server.active else []


def _ends(drive: Drive) -> list[tuple[str, str]]:
    """Return the claims of a copy: source and target claim each other (elastichosts-api 2.1)."""
    if drive.imaging is None:
        return []
    return [(drive.uuid, drive.imaging["source"]), (drive.imaging["source"], drive.uuid)]


def _row(thing: StoredObject) -> Row:
    return Row(thing.uuid, type(thing).__name__.lower(), asdict(thing))
