# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A driver's engine: reads requests, runs them one at a time per VM, answers each exactly once.

The reader never waits for work: a core whose pipe is full stands still (opennebula-drivers 8.5). Work runs in lanes:
one queue per VM (or host), so that a slow deploy delays nobody else, and a bounded number of jobs works at any time.
A job that only waits (for a guest to shut down, say) gives its place away meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import select
import shlex
import sys
import threading
import time
import traceback
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable, Deque, Dict, Hashable, List, Optional, Protocol, Sequence

from ..elastichosts.clock import Clock

THREADS = 16
WAITING = 240
"""jobs that may wait at the same time, beside those that work"""
LAST_MOMENTS = 0.7
"""seconds that running jobs get when the core has ended the conversation; it kills after 1 s (1.4)"""
_CHUNK = 65536
_PIPE = 1 << 20
"""bytes: a long line then goes out at once, and the old cores see no pause in it (1.3)"""
_F_SETPIPE_SZ = 1031
"""of Linux; the fcntl module of Python 3.9 does not name it"""


class Cancelled(Exception):
    """The core does not want this action any more (DRIVER_CANCEL)."""


class Outlet:
    """The pipe to the core: whole lines, one write each, from any thread (opennebula-drivers 1.3)."""

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self.closed = threading.Event()
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _PIPE)

    def send(self, line: bytes) -> None:
        """Write one line, which ends in a newline; silently nothing when the core is gone."""
        with self._lock:
            try:
                while line and not self.closed.is_set():
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                self.closed.set()


class Ticket:
    """The right to answer one request, once."""

    def __init__(self, send: Callable[[bytes], None], line: Callable[[bool, str], bytes]) -> None:
        self._send = send
        self._line = line
        self._lock = threading.Lock()
        self.answered = False

    def answer(self, ok: bool, text: str = "") -> bool:
        """Send the answer, if none was sent yet; false when one was."""
        return self.redeem(self._line(ok, text))

    def redeem(self, line: bytes) -> bool:
        """Send a line of the caller's own as the answer, if none was sent yet; false when one was."""
        with self._lock:
            if self.answered:
                return False
            self.answered = True
            self._send(line)
            return True


class Job:
    """One request on its way through a lane."""

    def __init__(self, ticket: Ticket, work: Callable[[Job], None]) -> None:
        self.ticket = ticket
        self.work = work
        self.arrived = time.monotonic()
        self.cancelled = threading.Event()
        self.held = False
        """whether the answer is somebody else's to give, later"""
        self.after_abort = False
        """whether DRIVER_CANCEL came right before: in 2.0 to 3.0 this alone tells a delete from a cancel (8.17)"""


class Lanes:
    """A queue per key on a shared pool: jobs of one key run in order, one at a time; keys do not wait for each other.

    :param threads: jobs that work at the same time; those that only wait do not count
    """

    def __init__(self, threads: int = THREADS) -> None:
        self._most = threads + WAITING
        self._pool = ThreadPoolExecutor(max_workers=self._most, thread_name_prefix="lane")
        self._change = threading.Condition()
        self._queues: Dict[Hashable, Deque[Job]] = {}
        self._ready: Deque[Hashable] = deque()
        self._places = threads
        self._returning = 0
        """jobs that have waited and want their place back; they come before new ones"""
        self._under_way = 0
        self._closing = False

    def submit(self, key: Hashable, job: Job) -> None:
        """Queue ``job`` behind those of the same key."""
        with self._change:
            if self._closing:
                job.ticket.answer(False, STOPPING)
                return
            queue = self._queues.setdefault(key, deque())
            queue.append(job)
            if len(queue) == 1:
                self._ready.append(key)
                self._dispatch()

    def cancel(self, key: Hashable) -> List[Job]:
        """Tell the jobs of ``key``, running or queued, that they are not wanted any more."""
        with self._change:
            jobs = list(self._queues.get(key, ()))
        for job in jobs:
            job.cancelled.set()
        return jobs

    def clock(self, job: Job) -> Clock:
        """A clock for the job's waits: sleeping gives the place away, and ends with Cancelled when the job is."""
        return _Waiting(self, job)

    def close(self, seconds: float) -> None:
        """Take no more jobs, wait a moment for those that run, and answer what is left with FAILURE."""
        with self._change:
            self._closing = True
            self._change.wait_for(lambda: self._under_way == 0, seconds)
            left = [job for queue in self._queues.values() for job in queue]
        for job in left:
            job.ticket.answer(False, STOPPING)
            job.cancelled.set()
        self._pool.shutdown(wait=False)

    def wait(self, job: Job, seconds: float) -> None:
        """Let another job have the place for so long, or until this one is cancelled."""
        with self._change:
            self._places += 1
            self._dispatch()
        job.cancelled.wait(seconds)
        with self._change:
            self._returning += 1
            self._change.wait_for(lambda: self._places > 0)
            self._returning -= 1
            self._places -= 1

    def _dispatch(self) -> None:
        """With the lock held: start what may start."""
        while self._may_start():
            self._pool.submit(self._run, self._started())
        self._change.notify_all()

    def _may_start(self) -> bool:
        free = self._places > self._returning and self._under_way < self._most
        return bool(self._ready) and free and not self._closing

    def _started(self) -> Hashable:
        self._places -= 1
        self._under_way += 1
        return self._ready.popleft()

    def _run(self, key: Hashable) -> None:
        """The next job of ``key``, and then whatever is ready: another thread would have to wake up first."""
        with self._change:
            queue = self._queues[key]
        while True:
            _work(queue[0])
            with self._change:
                self._places += 1
                self._under_way -= 1
                queue.popleft()
                if queue:
                    self._ready.append(key)
                else:
                    del self._queues[key]
                if not self._may_start():
                    self._change.notify_all()
                    return
                key = self._started()
                queue = self._queues[key]


def _work(job: Job) -> None:
    """Whatever comes of the job, the lane goes on."""
    try:
        try:
            job.work(job)
        except BaseException as error:
            log_exception(error)
            job.ticket.answer(False, internal_error(error))
        if not job.held:
            job.ticket.answer(False, NO_ANSWER)
    except BaseException as error:
        log_exception(error)


NO_ANSWER = "Report this as a fault, please: the driver has no answer to this request."
STOPPING = "Repeat the action when the driver runs again: it is being stopped."


class _Waiting(Clock):
    def __init__(self, lanes: Lanes, job: Job) -> None:
        self._lanes = lanes
        self._job = job

    def sleep(self, seconds: float) -> None:
        self._lanes.wait(self._job, seconds)
        if self._job.cancelled.is_set():
            raise Cancelled


class Service(Protocol):
    """What a driver does with its lines."""

    def accept(self, line: bytes) -> None:
        """Take one line; must not wait for anything."""

    def close(self) -> None:
        """The conversation is over."""


class Daemon:
    """The conversation with the core: lines in, until end of file, FINALIZE, or the death of the parent."""

    def __init__(self, service: Service, source: int = 0, outlet: Optional[Outlet] = None) -> None:
        self._service = service
        self._source = source
        self._outlet = outlet
        self._parent = os.getppid()

    def serve(self, early: bytes = b"") -> None:
        """Read and hand over lines until the end; returns when the driver should exit.

        :param early: bytes that were read already
        """
        # What is there by now stays: collections look at what requests make, and no answer waits for a long one.
        gc.freeze()
        lines = LineBuffer()
        chunk = early
        while self._hand_over(lines.feed(chunk)):
            received = self._receive()
            if not received:
                break
            chunk = received
        self._service.close()

    def _receive(self) -> bytes:
        """The next bytes; empty when the core is gone."""
        while True:
            ready, _unused, _unused = select.select([self._source], [], [], 1.0)
            if ready:
                return os.read(self._source, _CHUNK)
            gone = os.getppid() != self._parent or (self._outlet is not None and self._outlet.closed.is_set())
            if gone:
                return b""

    def _hand_over(self, lines: Sequence[bytes]) -> bool:
        """False at FINALIZE."""
        for line in lines:
            words = line.split(None, 1)
            if not words:
                continue
            if words[0] == b"FINALIZE":
                return False
            try:
                self._service.accept(line)
            except Exception as error:  # a fault of ours costs this one line, not the driver
                log_exception(error)
        return True


class LineBuffer:
    """Bytes in, whole lines out; a line has no limit, and finding its end costs each byte one look."""

    def __init__(self) -> None:
        self._pieces: List[bytes] = []

    def feed(self, chunk: bytes) -> List[bytes]:
        """The lines that ``chunk`` completes, without their newlines."""
        *whole, rest = chunk.split(b"\n")
        if whole:
            whole[0] = b"".join([*self._pieces, whole[0]])
            self._pieces = []
        if rest:
            self._pieces.append(rest)
        return whole


@dataclass(frozen=True)
class Arguments:
    """What ARGUMENTS of the section in oned.conf may say; the rest of it belongs to other drivers and is ignored."""

    threads: int = THREADS
    generation: str = ""
    """wire generation, where the lines alone do not tell (``--generation I2``)"""
    one_version: str = ""
    """release of OpenNebula (``--one-version 4.2``)"""


def arguments(argv: Sequence[str]) -> Arguments:
    """ARGUMENTS arrives as one word, or as none, or empty (opennebula-drivers 1.2)."""
    try:
        words = shlex.split(" ".join(argv))
    except ValueError:
        words = " ".join(argv).split()
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    values = dict(zip(words, words[1:]))
    threads = values.get("-t", values.get("--threads", ""))
    return Arguments(
        threads=min(int(threads), 128) if threads.isdigit() and int(threads) else THREADS,
        generation=values.get("--generation", "").upper(),
        one_version=values.get("--one-version", ""),
    )


def internal_error(error: BaseException) -> str:
    """What the core may hear of a fault of ours: its kind, never its text, which may hold anything."""
    return (
        f"See the driver's log, and report this as a fault: the driver met a fault of its own ({type(error).__name__})."
    )


def log_exception(error: BaseException) -> None:
    """The way to the fault, on the driver's log; values and messages stay out, they may be secrets."""
    trace = "".join(traceback.format_tb(error.__traceback__))
    log(f"{type(error).__name__}\n{trace}")


def log(text: str) -> None:
    """A line for the driver's own log, which exists when ONE_MAD_DEBUG is set (opennebula-drivers 5.4)."""
    if sys.stderr is not None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        sys.stderr.write(f"{stamp} {text.rstrip()}\n")
        sys.stderr.flush()
