# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All objects of the cloud in memory; every change goes through commit()."""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, Generic, TypeVar, Union

from ..errors import DiskFull, SystemFault
from ..testing.clock import Clock
from .addresses import AddressPool
from .objects import Drive, Folder, Resource, Server, config_size
from .reserve import NoSpace
from .store import Row, Store

LOG = logging.getLogger("eh_endpoint")
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

    def put(self, item: T) -> None:
        self._all[item.uuid] = item
        self._of.setdefault(item.user, {})[item.uuid] = None

    def remove(self, item: T) -> None:
        del self._all[item.uuid]
        del self._of[item.user][item.uuid]

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
        self._indexes: dict[type[StoredObject], ObjectIndex[Any]] = {
            Drive: self.drives,
            Folder: self.folders,
            Server: self.servers,
            Resource: self.resources,
        }
        self._claims: dict[str, dict[str, None]] = {}
        self._config_sizes: Counter[str] = Counter()
        self._store = store
        for row in store.rows():
            self._enter(KINDS[row.kind](**row.document))

    def commit(self, *put: StoredObject, remove: Iterable[StoredObject] = ()) -> None:
        """Store and remove objects in one transaction. Raises DiskFull or SystemFault, and then nothing has changed."""
        remove = tuple(remove)
        drives = [(item.uuid, False) for item in remove if isinstance(item, Drive)]
        self._write([_row(item) for item in put], [item.uuid for item in remove], drives)
        for item in remove:
            self._leave(item)
        for item in put:
            self._enter(item)

    def begin_file(self, drive: Drive) -> None:
        """Note that the file of a drive is to be removed unless the drive is committed. Raises what commit raises."""
        self._write(note=[(drive.uuid, True)])

    def file_gone(self, drive: Drive) -> None:
        """Note that the file of a drive that is no longer there is removed too."""
        self._store.file_gone(drive.uuid)

    def claims(self, uuid: str) -> tuple[str, ...]:
        """Return the UUIDs of active servers that use a drive or folder, and of the other drive of a copy.

        A stopped server claims nothing (elastichosts-api 7.4).
        """
        return tuple(self._claims.get(uuid, ()))

    def config_size(self, user: str) -> int:
        """Return the bytes of all keys and values of a user."""
        return self._config_sizes[user]

    def _write(
        self, put: Iterable[Row] = (), remove: Iterable[str] = (), note: Iterable[tuple[str, bool]] = ()
    ) -> None:
        try:
            self._store.commit(put, remove, note)
        except NoSpace as error:
            raise DiskFull("The state folder of the endpoint has no space left") from error
        except (OSError, sqlite3.Error) as error:
            LOG.error("the state cannot be written: %s", error)
            raise SystemFault("The state of the endpoint cannot be written, see its log") from error

    def _enter(self, item: StoredObject) -> None:
        index = self._indexes[type(item)]
        before = index.get(item.uuid)
        if before is not None:
            self._release(before)
        index.put(item)
        self._config_sizes[item.user] += config_size(item.config)
        address = _address(item)
        if address:
            self.addresses.claim(address)
        for used, user in _claims(item):
            self._claims.setdefault(used, {})[user] = None

    def _leave(self, item: StoredObject) -> None:
        self._release(item)
        self._indexes[type(item)].remove(item)

    def _release(self, item: StoredObject) -> None:
        """Release what an object uses; a server's static address stays with its resource."""
        self._config_sizes[item.user] -= config_size(item.config)
        address = _address(item)
        if address and (isinstance(item, Resource) or self.resources.get(address) is None):
            self.addresses.release(address)
        for used, user in _claims(item):
            holders = self._claims.get(used, {})
            holders.pop(user, None)
            if not holders:
                self._claims.pop(used, None)


def _address(item: StoredObject) -> str | None:
    if isinstance(item, Resource):
        return item.uuid if item.type == "ip" else None
    return item.address if isinstance(item, Server) else None


def _claims(item: StoredObject) -> list[tuple[str, str]]:
    """Return pairs of what an object claims, and the UUID that claims it.

    An active server claims its drives and folders. Source and target of a copy claim each other (elastichosts-api 2.1).
    """
    if isinstance(item, Server) and item.active:
        return [(used, item.uuid) for used in (*item.drives.values(), *item.folders)]
    if isinstance(item, Drive) and item.imaging is not None:
        source = item.imaging["source"]
        return [(item.uuid, source), (source, item.uuid)]
    return []


def _row(item: StoredObject) -> Row:
    return Row(item.uuid, type(item).__name__.lower(), asdict(item))
