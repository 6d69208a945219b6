# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Job queue with a bounded number of threads: jobs of one VM or host run in order, each request gets one reply.

A slow deploy delays no other VM. While a job sleeps, for example until a guest has shut down, another job may run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Deque, Dict, Hashable, List, Optional

from ..elastichosts.clock import Clock
from .answers import internal_error
from .driver_log import log_exception

logger = logging.getLogger(__name__)

THREADS = 16
WAITING = 240
"""jobs that may sleep at the same time, in addition to those that run"""


class Cancelled(Exception):
    """The core has cancelled this action (DRIVER_CANCEL)."""


class PendingReply:
    """The reply to one request, which is sent once.

    :param send: writes a line to the core
    :param line: returns the reply's line for (success, text)
    """

    def __init__(self, send: Callable[[bytes], None], line: Callable[[bool, str], bytes]) -> None:
        self._send = send
        self._line = line
        self._lock = threading.Lock()
        self.is_sent = False

    def send(self, ok: bool, text: str = "") -> bool:
        """Send SUCCESS or FAILURE with ``text``; return false if a reply was sent already."""
        return self.send_line(self._line(ok, text))

    def send_line(self, line: bytes) -> bool:
        """Send ``line`` as the reply; return false if a reply was sent already."""
        with self._lock:
            if self.is_sent:
                return False
            self.is_sent = True
            self._send(line)
            return True


class Job:
    """The work for one request in the queue of its VM or host."""

    def __init__(self, reply: PendingReply, work: Callable[[Job], None]) -> None:
        self.reply = reply
        self.work = work
        self.arrived = time.monotonic()
        self.cancelled = threading.Event()
        self.clock: Optional[Clock] = None
        """set by ``submit``; its ``sleep`` lets another job run meanwhile, and raises Cancelled"""
        self.held = False
        """whether the reply is sent later, by other code than this job"""
        self.after_abort = False
        """whether DRIVER_CANCEL came right before: in 2.0 to 3.0 only this distinguishes a delete from a cancel
        (opennebula-drivers 8.17)"""


def job_without_reply(work: Callable[[Job], None]) -> Job:
    """Return a job that was not requested by the core, so that its reply is discarded."""
    return Job(PendingReply(lambda _line: None, lambda _ok, _text: b""), work)


class JobQueue:
    """Runs the jobs of each key one at a time and in order; different keys run in parallel.

    :param threads: jobs that run at the same time, not counting those that sleep
    """

    def __init__(self, threads: int = THREADS) -> None:
        self._most = threads + WAITING
        self._pool = ThreadPoolExecutor(max_workers=self._most, thread_name_prefix="job")
        self._change = threading.Condition()
        self._queues: Dict[Hashable, Deque[Job]] = {}
        self._ready: Deque[Hashable] = deque()
        self._places = threads
        self._returning = 0
        """jobs that have slept and continue before new jobs start"""
        self._under_way = 0
        """jobs that were started and have not ended, also those that sleep"""
        self._closing = False

    def submit(self, key: Hashable, job: Job) -> None:
        """Queue ``job`` behind the other jobs of ``key``; after :meth:`close` answer it with FAILURE."""
        job.clock = _WaitingClock(self, job)
        with self._change:
            if self._closing:
                job.reply.send(False, STOPPING)
                return
            queue = self._queues.setdefault(key, deque())
            queue.append(job)
            if len(queue) == 1:
                self._ready.append(key)
                self._dispatch()

    def cancel(self, key: Hashable) -> List[Job]:
        """Set ``cancelled`` of all jobs of ``key``, running or queued, and return them."""
        with self._change:
            jobs = list(self._queues.get(key, ()))
        for job in jobs:
            job.cancelled.set()
        return jobs

    def close(self, seconds: float) -> None:
        """Take no more jobs, wait up to ``seconds`` for those that run, then answer and cancel the remaining ones."""
        with self._change:
            self._closing = True
            self._change.wait_for(lambda: self._under_way == 0, seconds)
            remaining = [job for queue in self._queues.values() for job in queue]
        for job in remaining:
            job.reply.send(False, STOPPING)
            job.cancelled.set()
        self._pool.shutdown(wait=False)

    def wait(self, job: Job, seconds: float) -> None:
        """Sleep so many seconds, or until ``job`` is cancelled, while another job may run."""
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
        """Start the jobs that may start. The caller holds the lock."""
        while self._may_start():
            self._pool.submit(self._run, self._start_next())
        self._change.notify_all()

    def _may_start(self) -> bool:
        free = self._places > self._returning and self._under_way < self._most
        return bool(self._ready) and free and not self._closing

    def _start_next(self) -> Hashable:
        """Return the key of the next job, and count the job as running. The caller holds the lock."""
        self._places -= 1
        self._under_way += 1
        return self._ready.popleft()

    def _run(self, key: Hashable) -> None:
        """Run the next job of ``key``, then other jobs that are ready, in the same thread."""
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
                key = self._start_next()
                queue = self._queues[key]


def _work(job: Job) -> None:
    """Run a job; if it ends without a reply, answer with FAILURE."""
    try:
        try:
            job.work(job)
        except BaseException as error:
            log_exception(logger, error)
            job.reply.send(False, internal_error(error))
        if not job.held and not job.reply.is_sent:
            job.reply.send(False, NO_ANSWER)
    except BaseException as error:
        log_exception(logger, error)


NO_ANSWER = "Report this as a fault, please: the driver has no answer to this request."
STOPPING = "Repeat the action when the driver runs again: it is being stopped."


class _WaitingClock(Clock):
    """A clock whose ``sleep`` gives the job's place to another job meanwhile.

    :raises Cancelled: by ``sleep``, if the job was cancelled
    """

    def __init__(self, queue: JobQueue, job: Job) -> None:
        self._queue = queue
        self._job = job

    def sleep(self, seconds: float) -> None:
        self._queue.wait(self._job, seconds)
        if self._job.cancelled.is_set():
            raise Cancelled
