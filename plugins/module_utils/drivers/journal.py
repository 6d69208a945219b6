# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The journal: a file of begun actions and unresolved attempts, so that a crash leaves no orphaned server or drive.

It has one row for each VM, the last action. The VM driver writes the rows; the monitoring driver reads them to know
which servers of a listing may be older than their last action (opennebula-drivers 7.1, 7.5). Who owns what is said by
the ownership keys in the cloud: the file is this front-end's memory only, and may be lost.

Times are seconds of the machine's monotonic clock, which both drivers share; rows of an earlier boot keep no times.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Mapping, NamedTuple, Optional, Tuple

from ..elastichosts.clock import Clock
from .processes import boot_id, is_alive, this_process

RUNNING = "running"
DONE = "done"
INTERRUPTED = "interrupted"
"""under way when the driver that did it died"""

KEPT = 3600.0
"""seconds that the row of a finished action is kept: no listing that is still used is older"""

FORM = 1
"""of the tables; a file of an older form holds nothing that is worth its translation, and is begun anew; one of a newer
form, which a downgrade finds, is begun anew as well, but first copied for the drivers that have written it"""
_TABLES = {
    "boot": "id TEXT PRIMARY KEY",
    "action": "vm INTEGER PRIMARY KEY, state TEXT NOT NULL, verb TEXT NOT NULL, host TEXT NOT NULL, "
    "attempt TEXT NOT NULL, process TEXT NOT NULL, begun REAL NOT NULL, ended REAL",
    "doubt": "attempt TEXT PRIMARY KEY, vm INTEGER NOT NULL, host TEXT NOT NULL, at REAL NOT NULL, "
    "state TEXT NOT NULL, seq INTEGER, process TEXT NOT NULL",
}
"""``process``: of the driver that wrote the row, see :func:`~.processes.this_process`; empty: of another boot"""


class JournalError(Exception):
    """The journal cannot be read or written; ``str()`` is a sentence that names the file."""


class ActionRecord(NamedTuple):
    """A VM's last action."""

    vm: int
    state: str
    verb: str
    """the core's action, like ``DEPLOY``"""
    host: str
    """OpenNebula host"""
    attempt: str
    """key of the first create call, if the action may make a server; else empty"""
    process: str
    begun: float
    ended: Optional[float]

    @property
    def creates(self) -> bool:
        """Return whether the action may make a server."""
        return bool(self.attempt)

    def outdates(self, listing: float) -> bool:
        """Whether a listing that was begun at ``listing`` may show this VM as it was before or during the action."""
        return is_alive(self.process) if self.ended is None else self.ended >= listing


COPYING = "copying"
"""copies are being made for a server that is not asked for yet"""
CREATING = "creating"
"""a create call is about to be sent, or was sent"""
UNANSWERED = "unanswered"
"""the driver died during a create call: its server may be there, or appear, and is wanted if it is the only one"""
LEFT = "left"
"""copies were left behind; a server of the same attempt is wanted"""
GIVEN_UP = "given up"
"""nothing of the attempt is wanted"""
ENDED = "ended"
"""the VM has ended for the core, whatever the cloud says: nothing of it is wanted"""


@dataclass(frozen=True)
class UnresolvedAttempt:
    """An attempt to make a server whose outcome is not known, or which has left something behind."""

    attempt: str
    vm: int
    host: str
    at: float
    """epoch seconds"""
    state: str
    """UNANSWERED, LEFT, GIVEN_UP or ENDED"""
    seq: Optional[int] = None
    """ENDED: of the VM's last history record; None: not known"""


@dataclass(frozen=True)
class BegunAction:
    """An action that has begun, and what this front-end knew of its VM before."""

    previous: Optional[ActionRecord] = None
    attempt: str = ""
    """as in :class:`ActionRecord`"""
    unresolved: Tuple[UnresolvedAttempt, ...] = ()
    """of an action that may make a server: what earlier ones have left unresolved"""


UNWRITTEN = BegunAction()
"""an action that the journal could not take, or that is none of the core's"""


def end_of(vm: int) -> str:
    """Return the key of the VM's end, which stands in the place of an attempt's key with ENDED."""
    return f"vm {vm}"


class Journal:
    """The journal's file. Safe for all threads of a process, and for both drivers at once.

    :param path: made with mode 0600 when it is missing
    """

    def __init__(self, path: str, clock: Clock, boot: Optional[str] = None) -> None:
        self.path = path
        self._clock = clock
        self._boot = boot_id() if boot is None else boot
        self._process = this_process()
        self._lock = threading.Lock()
        self._connection: Optional[sqlite3.Connection] = None

    def begin(self, vm: int, verb: str, host: str, *, attempt: str = "") -> BegunAction:
        """Write that an action begins, and return what is known of the VM from before.

        :param attempt: key of the first create call, for an action that may make a server
        :raises JournalError:
        """
        with self._change() as rows:
            rows.execute(_TOGETHER)
            row = rows.execute(f"{_SELECT} WHERE vm = ?", (vm,)).fetchone()
            previous = ActionRecord._make(row) if row else None
            if previous is not None and previous.state == RUNNING:
                self._keep_attempt(rows, previous, CREATING)
            rows.execute(
                "INSERT OR REPLACE INTO action VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
                (vm, RUNNING, verb, host, attempt, self._process, self._clock.monotonic()),
            )
            unresolved = self._unresolved(rows, vm) if attempt else []
        return BegunAction(previous, attempt, tuple(unresolved))

    def end(self, vm: int) -> None:
        """Write that the VM's action has ended.

        :raises JournalError:
        """
        with self._change() as rows:
            rows.execute("UPDATE action SET state = ?, ended = ? WHERE vm = ?", (DONE, self._clock.monotonic(), vm))

    def unresolved(self, attempt: str, vm: int, host: str, state: str, seq: Optional[int] = None) -> None:
        """Write that ``attempt`` may have made, or may still make, something in the cloud.

        :param state: one of COPYING to ENDED; an attempt that was GIVEN_UP stays so
        :param seq: with ENDED: SEQ of the VM's last history record
        :raises JournalError:
        """
        with self._change() as rows:
            rows.execute(
                "INSERT INTO doubt VALUES (:attempt, :vm, :host, :at, :state, :seq, :process) "
                "ON CONFLICT (attempt) DO UPDATE SET vm = :vm, host = :host, at = :at, seq = :seq, "
                "process = :process, state = CASE state WHEN :given_up THEN state ELSE :state END",
                {
                    "attempt": attempt, "vm": vm, "host": host, "at": self._clock.now(), "state": state, "seq": seq,
                    "process": self._process, "given_up": GIVEN_UP,
                },
            )  # fmt: skip

    def resolved(self, attempt: str) -> None:
        """Write that it is known what became of ``attempt``.

        :raises JournalError:
        """
        with self._change() as rows:
            rows.execute("DELETE FROM doubt WHERE attempt = ?", (attempt,))

    def give_up(self, vm: int) -> None:
        """Write that the VM ends: what an unanswered create call makes of it is not wanted any more.

        :raises JournalError:
        """
        with self._change() as rows:
            rows.execute("UPDATE doubt SET state = ? WHERE vm = ? AND state = ?", (GIVEN_UP, vm, UNANSWERED))

    @contextlib.contextmanager
    def action(self, vm: int, verb: str, host: str) -> Iterator[None]:
        """Note the block as an action of the VM that the core has not asked for.

        :raises JournalError:
        """
        self.begin(vm, verb, host)
        try:
            yield
        finally:
            self.end(vm)

    def take_over(self) -> List[ActionRecord]:
        """Mark the unfinished actions and attempts of drivers that have died as interrupted, and return the actions.

        It needs no work: the core may ask again, and then finds what was made by its ownership keys. A driver that
        still ends its actions (the core has started another beside it) is left alone; it is asked for again later.

        :raises JournalError:
        """
        with self._change() as rows:
            rows.execute(_TOGETHER)
            writers = [row[0] for row in rows.execute(_UNFINISHED, (RUNNING, COPYING, CREATING))]
            left: List[ActionRecord] = []
            for process in writers:
                if process != self._process and not is_alive(process):
                    left += self._inherit(rows, process)
            return left

    def _inherit(self, rows: sqlite3.Connection, process: str) -> List[ActionRecord]:
        """Mark the unfinished actions and attempts of ``process`` as interrupted, and return the actions."""
        found = [
            ActionRecord._make(row)
            for row in rows.execute(f"{_SELECT} WHERE state = ? AND process = ?", (RUNNING, process))
        ]
        rows.execute(
            "UPDATE action SET state = ?, ended = ? WHERE state = ? AND process = ?",
            (INTERRUPTED, self._clock.monotonic(), RUNNING, process),
        )
        for before, after in ((COPYING, LEFT), (CREATING, UNANSWERED)):
            rows.execute("UPDATE doubt SET state = ? WHERE state = ? AND process = ?", (after, before, process))
        for record in found:
            self._keep_attempt(rows, record, UNANSWERED)
        return found

    def _keep_attempt(self, rows: sqlite3.Connection, record: ActionRecord, state: str) -> None:
        """Keep the attempt of an action that has not ended, if the attempt has no row of its own.

        Drivers of the first edition wrote nothing else of the first create call of an action.
        """
        if record.creates:
            rows.execute(
                "INSERT OR IGNORE INTO doubt VALUES (?, ?, ?, ?, ?, NULL, ?)",
                (record.attempt, record.vm, record.host, self._clock.now(), state, record.process),
            )

    def all_unresolved(self, vm: Optional[int] = None) -> List[UnresolvedAttempt]:
        """Return the unresolved attempts that no living driver is at work on, of all VMs or of one.

        :raises JournalError:
        """
        with self._change() as rows:
            return self._unresolved(rows, vm)

    @staticmethod
    def _unresolved(rows: sqlite3.Connection, vm: Optional[int]) -> List[UnresolvedAttempt]:
        found = rows.execute(
            f"{_ATTEMPTS} WHERE state NOT IN (?, ?) AND vm = coalesce(?, vm) ORDER BY at", (COPYING, CREATING, vm)
        )
        return [UnresolvedAttempt(*row) for row in found]

    def prune(self) -> None:
        """Delete the rows of old finished actions, and move SQLite's log into the file.

        That waits for the disk. In a connection of its own nobody waits with it.

        :raises JournalError:
        """
        old = self._clock.monotonic() - KEPT
        with self._change() as rows:
            rows.execute("DELETE FROM action WHERE state = ? AND ended < ?", (DONE, old))
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=5.0)) as own:
                own.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            raise self._useless(error) from None

    def last_action(self, vm: int) -> Optional[ActionRecord]:
        """Return the VM's last action, if this front-end knows one.

        :raises JournalError:
        """
        with self._change() as rows:
            row = rows.execute(f"{_SELECT} WHERE vm = ?", (vm,)).fetchone()
        return ActionRecord._make(row) if row else None

    def last_actions(self) -> Mapping[int, ActionRecord]:
        """Return the last action of every VM, by its id.

        :raises JournalError:
        """
        with self._change() as rows:
            return {row[0]: ActionRecord._make(row) for row in rows.execute(_SELECT)}

    def version(self) -> int:
        """Return a number that changes when the other driver has written.

        :raises JournalError:
        """
        with self._change() as rows:
            return int(rows.execute("PRAGMA data_version").fetchone()[0])

    def kept(self) -> List[str]:
        """Return a sentence for each copy of a journal that newer drivers have written.

        :raises JournalError:
        """
        with self._change():
            journal = Path(self.path)
            copies = sorted(file for file in journal.parent.iterdir() if file.name.startswith(f"{journal.name}{_KEPT}"))
        return [
            f"Delete {file} when nothing that newer drivers began is in doubt: these drivers cannot read what "
            f"newer ones have written into {self.path}, so it was copied there, and the journal was begun anew."
            for file in copies
        ]

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextlib.contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                with self._connection:
                    yield self._connection
            except (sqlite3.Error, OSError) as error:
                if self._connection is not None:
                    self._connection.close()
                self._connection = None
                raise self._useless(error) from None

    def _useless(self, error: Exception) -> JournalError:
        return JournalError(
            f"Make room on the disk of the journal, and make it writable: {self.path} cannot be used ({error}). It and "
            "its folder have to be writable for the user that runs OpenNebula; if the file is damaged, move it away."
        )

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self.path, timeout=5.0, check_same_thread=False, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        with connection:
            connection.execute(_TOGETHER)
            (form,) = connection.execute("PRAGMA user_version").fetchone()
            if form > FORM:
                self._keep(form)
            if form != FORM:
                for name, columns in _TABLES.items():
                    connection.execute(f"DROP TABLE IF EXISTS {name}")
                    connection.execute(f"CREATE TABLE {name} ({columns})")
                connection.execute(f"PRAGMA user_version = {FORM}")
            known = [row[0] for row in connection.execute("SELECT id FROM boot")]
            if known != [self._boot]:
                connection.execute("UPDATE action SET process = '', begun = 0, ended = ended * 0")
                connection.execute("UPDATE doubt SET process = ''")
                connection.execute("DELETE FROM boot")
                connection.execute("INSERT INTO boot VALUES (?)", (self._boot,))
        return connection

    def _keep(self, form: int) -> None:
        """Copy a journal of a newer form to a file beside it.

        :raises OSError, sqlite3.Error: there is no copy
        """
        copy = f"{self.path}{_KEPT}{form}-{self._clock.now():.0f}"
        os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        try:
            # By a connection of its own: SQLite copies nothing for one that is about to write.
            with (
                contextlib.closing(sqlite3.connect(self.path)) as source,
                contextlib.closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target)
        except sqlite3.Error:
            Path(copy).unlink()
            raise


_KEPT = ".form-"
"""between the name of the journal and the number of the form, in the name of a copy"""
_LOG_PAGES = 8000
"""of 4 KiB; :meth:`Journal.prune` comes long before"""
_TOGETHER = "BEGIN IMMEDIATE"
"""what follows is one transaction; a statement alone is one anyway"""
_ATTEMPTS = "SELECT attempt, vm, host, at, state, seq FROM doubt"
_SELECT = "SELECT vm, state, verb, host, attempt, process, begun, ended FROM action"
_UNFINISHED = "SELECT process FROM action WHERE state = ? UNION SELECT process FROM doubt WHERE state IN (?, ?)"
