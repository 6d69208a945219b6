# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder calls, as far as clients used them; containers mount folders (elastichosts-api 2.4)."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from ..errors import Busy, Missing, about
from ..state.objects import Folder
from ..state.state import State
from ..testing.clock import monotonic_of
from .formats import Given, Properties, Value
from .properties import FOLDER_KEYS, changes
from .quotas import Quotas

MIB = 1 << 20
_NOBODY = "00000000-0000-0000-0000-000000000000"
_STANDARD = {
    folder.uuid: folder
    for folder in (
        Folder("f1804000-0000-4000-8000-000000000001", _NOBODY, {"name": "Ubuntu 18.04 LTS (container)"}, 620 * MIB),
        Folder("f1804000-0000-4000-8000-000000000002", _NOBODY, {"name": "Debian 9 (container)"}, 410 * MIB),
        Folder("f1804000-0000-4000-8000-000000000003", _NOBODY, {"name": "CentOS 7 (container)"}, 540 * MIB),
    )
}


class Folders:
    """The folder calls. Folders hold no files. seconds: how long info shows `syncing` after a clone."""

    def __init__(self, state: State, quotas: Quotas, seconds: float) -> None:
        self._state = state
        self._quotas = quotas
        self._seconds = seconds
        self._cloned = {folder.uuid: monotonic_of(state.clock, folder.cloned) for folder in state.folders}

    def uuids(self, user: str) -> list[str]:
        return [folder.uuid for folder in self._state.folders.of(user)]

    def every(self, user: str) -> list[Properties]:
        return [self._describe(folder) for folder in self._state.folders.of(user)]

    def library(self, _user: str) -> list[Properties]:
        return [{"folder": uuid, "name": folder.config["name"]} for uuid, folder in _STANDARD.items()]

    def info(self, user: str, uuid: str) -> Properties:
        standard = _STANDARD.get(uuid.lower())
        if standard is not None:
            return {"folder": standard.uuid, "name": standard.config["name"], "used": standard.used}
        return self._describe(self.own(user, uuid))

    def own(self, user: str, uuid: str) -> Folder:
        folder = self._state.folders.get(uuid.lower())
        if folder is None or folder.user != user:
            raise Missing(f"Folder {uuid[:60]} not found")
        return folder

    def ready(self, user: str, uuid: str) -> None:
        """Check that a container of the user can mount the folder now. Raises Missing or Busy."""
        if self._syncing(self.own(user, uuid)):
            raise Busy(f"Folder {uuid} is being synchronised")

    def clone(self, user: str, source: str, given: Given) -> Properties:
        original = _STANDARD.get(source.lower()) or self.own(user, source)
        wanted = {"tier": "disk", "name": original.config.get("name"), **changes(FOLDER_KEYS, given, None, live=False)}
        folder = Folder(
            str(uuid4()), user, self._quotas.config(user, {}, wanted), original.used, self._state.clock.now()
        )
        self._state.commit(folder)
        self._cloned[folder.uuid] = self._state.clock.monotonic()
        return self._describe(folder)

    def set(self, user: str, uuid: str, given: Given) -> Properties:
        folder = self.own(user, uuid)
        with about(f"Folder {folder.uuid}"):
            wanted = changes(FOLDER_KEYS, given, folder.config, live=False)
            after = replace(folder, config=self._quotas.config(user, folder.config, wanted))
        if wanted:
            self._state.commit(after)
        return self._describe(after)

    def destroy(self, user: str, uuid: str) -> None:
        folder = self.own(user, uuid)
        claims = self._state.claims(folder.uuid)
        if claims:
            raise Busy(f"Folder {folder.uuid} is claimed by {' '.join(claims)}")
        if self._syncing(folder):
            raise Busy(f"Folder {folder.uuid} is being synchronised")
        self._state.commit(remove=[folder])
        del self._cloned[folder.uuid]

    def _syncing(self, folder: Folder) -> bool:
        return self._state.clock.monotonic() < self._cloned[folder.uuid] + self._seconds

    def _describe(self, folder: Folder) -> Properties:
        found: dict[str, Value] = {**folder.config, "folder": folder.uuid, "used": folder.used, "user": folder.user}
        claims = self._state.claims(folder.uuid)
        if claims:
            found["claimed"] = " ".join(claims)
        if self._syncing(folder):
            found["syncing"] = "true"
        return dict(sorted(found.items()))
