# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was begun, on disk, so that a crash leaves no orphan and no stale news reaches the core.

One row per VM: its last action. The VM driver writes it; the information driver reads it to know which lines of a
listing are older than what was done since (opennebula-drivers 7.1, 7.5). The truth about who owns what stays in the
cloud, in the ownership keys: this file is this front-end's memory only, and may be lost.

Times are seconds of the machine's monotonic clock, which both drivers share; rows of an earlier boot keep no times.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from ..elastichosts.clock import Clock
from .processes import boot_id, is_alive, this_process

RUNNING = "running"
DONE = "done"
INTERRUPTED = "interrupted"
"""under way when the driver that did it died"""

KEPT = 3600.0
"""seconds that the row of a finished action is kept: no listing that is still used is older"""

FORM = 1
"""of the tables; a file of another form holds nothing that is worth its translation, and is begun anew"""
_TABLES = {
    "boot": "id TEXT PRIMARY KEY",
    "action": "vm INTEGER PRIMARY KEY, state TEXT NOT NULL, verb TEXT NOT NULL, host TEXT NOT NULL, "
    "attempt TEXT NOT NULL, process TEXT NOT NULL, begun REAL NOT NULL, ended REAL",
    "doubt": "attempt TEXT PRIMARY KEY, vm INTEGER NOT NULL, host TEXT NOT NULL, at REAL NOT NULL, "
    "state TEXT NOT NULL, seq INTEGER, process TEXT NOT NULL",
}
"""``process``: of the driver that wrote the row, see :func:`~.processes.this_process`; empty: of another boot"""


class JournalError(Exception):
    """The journal cannot be written: the sentence names the file."""


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
        """Whether the action may make a server."""
        return bool(self.attempt)

    def outdates(self, listing: float) -> bool:
        """Whether a listing that was begun at ``listing`` may show this VM as it was before or during the action."""
        return is_alive(self.process) if self.ended is None else self.ended >= listing


COPYING = "copying"
"""copies are being made for a server that is not asked for yet"""
CREATING = "creating"
"""another create call than the action's first is about to be sent, or was; the first is known by the action itself"""
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
    """An attempt to make a server, known by its attempt key: what nobody wants of it goes when it appears."""

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
    doubts: Tuple[UnresolvedAttempt, ...] = ()
    """of an action that may make a server: what earlier ones have left in doubt"""


UNWRITTEN = BegunAction()
"""an action that the journal could not take, or that is none of the core's"""


def attempted(note: Callable[[], None], tell: Callable[[str], None]) -> None:
    """Write a note without which the action goes on all the same; ``tell`` gets the sentence when it cannot be."""
    try:
        note()
    except JournalError as error:
        tell(str(error))


class Journal:
    """The file; safe for all threads of a process, and for both drivers at once.

    :param path: made with mode 0600 when it is missing
    """

    def __init__(self, path: str, clock: Clock, boot: Optional[str] = None) -> None:
        self.path = path
        self._clock = clock
        self._boot = boot_id() if boot is None else boot
        self._process = this_process()
        self._lock = threading.Lock()
        self._connection: Optional[sqlite3.Connection] = None
        self._own: Dict[int, ActionRecord] = {}
        """last actions of this process: no need to read them"""
        self._sent: Dict[int, str] = {}
        """attempts by VM whose call was sent, and of which only the VM's action tells on disk"""
        self._settled: Dict[int, str] = {}
        """attempts by VM of which nothing is to tell when its action is over"""

    def begin(self, vm: int, verb: str, host: str, *, attempt: str = "") -> BegunAction:
        """An action begins.

        :param attempt: of one that may make a server: the key of its first create call
        :raises JournalError:
        """
        now = self._clock.monotonic()
        with self._change() as rows:
            rows.execute(_TOGETHER)
            row = rows.execute(f"{_SELECT} WHERE vm = ?", (vm,)).fetchone()
            before = ActionRecord._make(row) if row else None
            if before is not None and before.state == RUNNING:
                self._keep_attempt(rows, before, CREATING)
            rows.execute(
                "INSERT OR REPLACE INTO action VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
                (vm, RUNNING, verb, host, attempt, self._process, now),
            )
            doubts = self._doubts(rows, vm) if attempt else ()
        self._own[vm] = ActionRecord(vm, RUNNING, verb, host, attempt, self._process, now, None)
        return BegunAction(before, attempt, tuple(doubts))

    def _keep_attempt(self, rows: sqlite3.Connection, record: ActionRecord, state: str) -> None:
        """What the row of an action that has not ended tells of its create call, for when the row says it no more."""
        if record.creates:
            rows.execute(
                "INSERT OR IGNORE INTO doubt VALUES (?, ?, ?, ?, ?, NULL, ?)",
                (record.attempt, record.vm, record.host, self._clock.now(), state, record.process),
            )

    def is_over(self, vm: int) -> None:
        """The VM's action is over. This process knows it from now on; :meth:`end` writes it down.

        Until then the other driver takes it to be under way, and says nothing of the VM.
        """
        if vm in self._own:
            self._own[vm] = self._own[vm]._replace(state=DONE, ended=self._clock.monotonic())

    def end(self, vm: int) -> None:
        """The VM's action is over, or was when :meth:`is_over` said so.

        :raises JournalError:
        """
        settled, sent = self._settled.pop(vm, None), self._sent.pop(vm, None)
        if vm in self._own and self._own[vm].ended is None:
            self.is_over(vm)
        own = self._own.get(vm)
        ended = self._clock.monotonic() if own is None else own.ended
        with self._change() as rows:
            if settled or sent:
                rows.execute(_TOGETHER)
            if settled:
                rows.execute("DELETE FROM doubt WHERE attempt = ?", (settled,))
            if own and sent:  # nobody has said what came of it
                self._write_doubt(rows, sent, vm, own.host, GIVEN_UP)
            rows.execute("UPDATE action SET state = ?, ended = ? WHERE vm = ?", (DONE, ended, vm))

    @contextlib.contextmanager
    def action(self, vm: int, verb: str, host: str) -> Iterator[None]:
        """A block that is an action of the drivers' own: the core has not asked for it.

        :raises JournalError:
        """
        self.begin(vm, verb, host)
        try:
            yield
        finally:
            self.end(vm)

    def take_over(self) -> List[ActionRecord]:
        """Mark what drivers of this front-end left unfinished that do not live any more, and return it.

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
        """What ``process`` had under way, marked."""
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

    def copying(self, attempt: str, vm: int, host: str) -> None:
        """Drives are about to be made. Should the driver die before :meth:`settle`, the next one looks after them.

        :raises JournalError:
        """
        self._attempt(attempt, vm, host, COPYING)

    def creating(self, attempt: str, vm: int, host: str) -> None:
        """A create call is about to be sent. Should the driver die before :meth:`settle`, the next one looks after it.

        :raises JournalError:
        """
        self._attempt(attempt, vm, host, CREATING)

    def give_up(self, vm: int) -> None:
        """The VM ends: what an unanswered create call makes of it is not wanted any more.

        :raises JournalError:
        """
        with self._change() as rows:
            rows.execute("UPDATE doubt SET state = ? WHERE vm = ? AND state = ?", (GIVEN_UP, vm, UNANSWERED))

    def leave(self, attempt: str, vm: int, host: str) -> None:
        """Drives of ``attempt`` could not be destroyed.

        :raises JournalError:
        """
        self._attempt(attempt, vm, host, LEFT)

    def doubt(self, attempt: str, vm: int, host: str) -> None:
        """Nothing of ``attempt`` is wanted, and something may be there, or appear.

        :raises JournalError:
        """
        self._attempt(attempt, vm, host, GIVEN_UP)

    def ended(self, vm: int, host: str, seq: Optional[int]) -> None:
        """The core counts the VM as gone, or is about to; what is left of it has to go.

        :raises JournalError:
        """
        self._attempt(f"vm {vm}", vm, host, ENDED, seq)

    def end_is_over(self, vm: int) -> None:
        """Nothing is left of what :meth:`ended` said.

        :raises JournalError:
        """
        with self._change() as rows:
            rows.execute("DELETE FROM doubt WHERE vm = ? AND state = ?", (vm, ENDED))

    def _attempt(self, attempt: str, vm: int, host: str, state: str, seq: Optional[int] = None) -> None:
        with self._change() as rows:
            self._write_doubt(rows, attempt, vm, host, state, seq)
        if self._sent.get(vm) == attempt:
            del self._sent[vm]

    def _write_doubt(
        self, rows: sqlite3.Connection, attempt: str, vm: int, host: str, state: str, seq: Optional[int] = None
    ) -> None:
        """What was given up once stays so."""
        rows.execute(
            "INSERT INTO doubt VALUES (:attempt, :vm, :host, :at, :state, :seq, :process) "
            "ON CONFLICT (attempt) DO UPDATE SET vm = :vm, host = :host, at = :at, seq = :seq, process = :process, "
            "state = CASE state WHEN :given_up THEN state ELSE :state END",
            {
                "attempt": attempt, "vm": vm, "host": host, "at": self._clock.now(), "state": state, "seq": seq,
                "process": self._process, "given_up": GIVEN_UP,
            },
        )  # fmt: skip

    def settle(self, attempt: str) -> None:
        """The doubt about ``attempt`` is over.

        :raises JournalError:
        """
        with self._change() as rows:
            rows.execute("DELETE FROM doubt WHERE attempt = ?", (attempt,))
        for vm in [vm for vm, sent in list(self._sent.items()) if sent == attempt]:
            self._sent.pop(vm, None)

    def settle_at_end(self, attempt: str, vm: int) -> None:
        """The same, with the end of the VM's action, which comes next."""
        if self._sent.pop(vm, None) != attempt:
            self._settled[vm] = attempt

    def sending(self, attempt: str, vm: int) -> None:
        """The first create call of the VM's action is about to be sent: it is in doubt until something is said of it.

        That needs no writing. Should the driver die, the next one learns of the attempt from the action.
        """
        self._sent[vm] = attempt

    def doubts(self, vm: Optional[int] = None) -> List[UnresolvedAttempt]:
        """What is to be looked after, of all VMs or of one.

        :raises JournalError:
        """
        with self._change() as rows:
            return self._doubts(rows, vm)

    @staticmethod
    def _doubts(rows: sqlite3.Connection, vm: Optional[int]) -> List[UnresolvedAttempt]:
        found = rows.execute(
            f"{_DOUBTS} WHERE state NOT IN (?, ?) AND vm = coalesce(?, vm) ORDER BY at", (COPYING, CREATING, vm)
        )
        return [UnresolvedAttempt(*row) for row in found]

    def prune(self) -> None:
        """Clear out rows that nobody needs any more, and move the rest from SQLite's log to the file itself.

        That waits for the disk. In a connection of its own nobody waits with it.

        :raises JournalError:
        """
        old = self._clock.monotonic() - KEPT
        for vm, record in list(self._own.items()):
            if record.ended is not None and record.ended < old:
                self._own.pop(vm, None)
        with self._change() as rows:
            rows.execute("DELETE FROM action WHERE state = ? AND ended < ?", (DONE, old))
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=5.0)) as own:
                own.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            raise self._useless(error) from None

    def last_action(self, vm: int) -> Optional[ActionRecord]:
        """The VM's last action, if this front-end knows one.

        :raises JournalError:
        """
        own = self._own.get(vm)
        if own is not None:
            return own
        with self._change() as rows:
            row = rows.execute(f"{_SELECT} WHERE vm = ?", (vm,)).fetchone()
        return ActionRecord._make(row) if row else None

    def last_actions(self) -> Mapping[int, ActionRecord]:
        """Every VM's last action.

        :raises JournalError:
        """
        with self._change() as rows:
            return {row[0]: ActionRecord._make(row) for row in rows.execute(_SELECT)}

    def version(self) -> int:
        """A number that changes when the other driver has written.

        :raises JournalError:
        """
        with self._change() as rows:
            return int(rows.execute("PRAGMA data_version").fetchone()[0])

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
            if connection.execute("PRAGMA user_version").fetchone() != (FORM,):
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


_LOG_PAGES = 8000
"""of 4 KiB; :meth:`Journal.prune` comes long before"""
_TOGETHER = "BEGIN IMMEDIATE"
"""what follows is one transaction; a statement alone is one anyway"""
_DOUBTS = "SELECT attempt, vm, host, at, state, seq FROM doubt"
_SELECT = "SELECT vm, state, verb, host, attempt, process, begun, ended FROM action"
_UNFINISHED = "SELECT process FROM action WHERE state = ? UNION SELECT process FROM doubt WHERE state IN (?, ?)"
