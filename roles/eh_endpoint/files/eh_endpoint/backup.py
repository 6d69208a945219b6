# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m eh_endpoint backup, restore: copies of a state folder; the endpoint may run while a backup is made.

A backup is a folder with `state.sqlite` and `drives`. SQLite copies the state, then the drives that it names are
copied. That is repeated with the drives that have changed meanwhile, until no drive has changed between its copy and
the copy of the state.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from .errors import DiskFull
from .libvirt.file_copy import reflinked
from .serving import CannotServe, lock
from .state.drive_files import DriveFiles
from .state.store import StoreError, connect_to_read, read
from .state.streams import stored

COPIES = 2
"""How often a drive is copied that is written to while it is copied."""
TRIES = 20
"""How often the state is copied until all drives that it names are still there to be copied."""
FRESH = 100_000_000
"""Nanoseconds: a file that was changed a shorter time ago can change again without a new time stamp."""
Stamp = tuple[int, ...]


class CannotCopy(Exception):
    """A backup cannot be made or restored; the text is one sentence for the operator."""


def main(command: str, arguments: Sequence[str]) -> int:
    """Make or restore a backup. Returns the exit status: 1 for a backup with drives that were written to meanwhile."""
    description, folder, copy = COMMANDS[command]
    parser = argparse.ArgumentParser(prog=f"eh_endpoint {command}", description=description, allow_abbrev=False)
    parser.add_argument("--state", metavar="DIR", type=Path, required=True, help="state folder of an endpoint")
    parser.add_argument(folder, metavar="DIR", type=Path, required=True, dest="folder", help="folder of the backup")
    given = parser.parse_args(arguments)
    os.umask(0o077)  # the state contains passwords
    try:
        return copy(given.state, given.folder)
    except (CannotCopy, CannotServe, StoreError, DiskFull, OSError, sqlite3.Error) as error:
        sys.stderr.write(f"eh_endpoint {command}: {error}\n")
        return 2


def backup(state: Path, folder: Path) -> int:
    """Copy a state folder, whose endpoint may run, into a new folder. Raises CannotCopy, StoreError, OSError."""
    if not (state / "state.sqlite").exists():
        raise CannotCopy(f"--state {state} has no state.sqlite, so it is not the state folder of an endpoint")
    if folder.exists():
        raise CannotCopy(f"--to {folder} exists already: name a folder that does not")
    read(state / "state.sqlite")
    making = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.absolute().parent))
    try:
        written = _copy_state(state, making)
        _flush(making)
        making.rename(folder)
    except BaseException:
        shutil.rmtree(making)
        raise
    if written:
        sys.stderr.write(
            "eh_endpoint backup: drives were written to meanwhile, so their copies may mix older and newer bytes: "
            f"{' '.join(sorted(written))}\n"
        )
    return 1 if written else 0


def restore(state: Path, folder: Path) -> int:
    """Put a backup in the place of a state, which is kept beside it. Raises CannotCopy, CannotServe, OSError, ...

    All files are copied before anything is changed. The new state comes last: before it is there, no drive is served.
    """
    if not (folder / "state.sqlite").exists():
        raise CannotCopy(f"--from {folder} has no state.sqlite, so it is not a backup")
    drives = _sizes(folder / "state.sqlite").keys()
    lost = [uuid for uuid in drives if not (folder / "drives" / f"{uuid}.raw").exists()]
    if lost:
        raise CannotCopy(f"--from {folder} lacks the files of drives {' '.join(lost)}: nothing was changed")
    with lock(state):
        files = DriveFiles(state / "drives")
        for left in (state / "drives").glob("restoring.*"):  # copies of a restore that was killed
            shutil.rmtree(left)
        restoring = Path(tempfile.mkdtemp(prefix="restoring.", dir=state / "drives"))
        try:
            for uuid in drives:
                _copied(folder / "drives" / f"{uuid}.raw", DriveFiles(restoring), uuid)
            _copy_database(folder / "state.sqlite", restoring / "state.sqlite")
            _flush(restoring)
            _set_state_aside(state)
            for path in (state / "drives").glob("*.raw"):
                files.set_aside(path)
            for path in restoring.glob("*.raw"):
                path.rename(files.path(path.stem))
            (restoring / "state.sqlite").rename(state / "state.sqlite")
        finally:
            shutil.rmtree(restoring)
        _give_to_owner(state)
    return 0


COMMANDS: Mapping[str, tuple[str, str, Callable[[Path, Path], int]]] = {
    "backup": ("Copy state and drives into a new folder. The endpoint may run.", "--to", backup),
    "restore": ("Put a backup in the place of state and drives. The endpoint must not run.", "--from", restore),
}
"""Description, option for the folder of the backup, function."""


def _copy_state(state: Path, making: Path) -> list[str]:
    """Copy state and drives; return the UUIDs of drives that may have changed between their copy and the state's."""
    drives, copies = DriveFiles(state / "drives"), DriveFiles(making / "drives")
    stamps: dict[str, Stamp | None] = {}
    for number in range(TRIES):
        _copy_database(state / "state.sqlite", making / "state.sqlite")
        sizes = _sizes(making / "state.sqlite")
        found = {uuid: _stamp(drives.path(uuid)) for uuid in sizes}
        changed = [uuid for uuid in sizes if found[uuid] is None or found[uuid] != stamps.get(uuid)]
        for uuid in changed:
            if (number < COPIES or uuid not in stamps) and _copied(drives.path(uuid), copies, uuid):
                stamps[uuid] = found[uuid]
        if not changed or (number >= COPIES and sizes.keys() <= stamps.keys()):
            for uuid in stamps.keys() - sizes.keys():
                copies.remove(uuid)
            for uuid, size in sizes.items():
                copies.resize(uuid, size)
            return changed
    lost = " ".join(uuid for uuid in sizes if uuid not in stamps)
    raise CannotCopy(f"the files of drives {lost} are lost: destroy these drives, or start the endpoint again")


def _copy_database(source: Path, target: Path) -> None:
    with closing(connect_to_read(source)) as original, closing(sqlite3.connect(target)) as copy:
        original.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file


def _sizes(database: Path) -> dict[str, int]:
    return {row.uuid: row.document["size"] for row in read(database) if row.kind == "drive"}


def _copied(source: Path, target: DriveFiles, uuid: str) -> bool:
    """Copy the file of a drive as it is; return False if it is not there (any more)."""
    try:
        size = source.stat().st_size
        target.create(uuid, size)
        if not reflinked(source, target.path(uuid)):
            with target.writer(uuid, 0) as writer:
                for piece in stored(source, size):
                    writer.write(piece)
    except FileNotFoundError:
        target.remove(uuid)
        return False
    return True


def _stamp(path: Path) -> Stamp | None:
    """Return what is different after a file was changed, None if there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    age = abs(time.time_ns() - found.st_mtime_ns)
    return found.st_ino, found.st_size, found.st_mtime_ns, age if age < FRESH else 0


def _set_state_aside(state: Path) -> None:
    """Rename the files of a state; SQLite finds them together under the new name too."""
    number = 1
    while (state / f"state.{number}.sqlite").exists():
        number += 1
    for suffix in ("", "-wal", "-shm", "-journal"):
        path = state / f"state.sqlite{suffix}"
        if path.exists():
            path.rename(state / f"state.{number}.sqlite{suffix}")


def _flush(folder: Path) -> None:
    """Wait until the files of a folder are on the disk."""
    for path in folder.rglob("*"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _give_to_owner(state: Path) -> None:
    """Give all that root has restored to the owner of the state folder, the user of the endpoint."""
    if os.geteuid() == 0:
        owner = state.stat()
        for path in state.rglob("*"):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
