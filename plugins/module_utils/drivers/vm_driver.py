# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The VM driver: takes requests of the core, and answers each of them once.

``opennebula.action_table`` says what a request means, ``actions`` and ``create_server`` do it. What lies between is
here: the journal, cancellation, POLL, and the answers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import uuid
from functools import partial
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Set

from ..elastichosts.clock import Clock
from ..opennebula.action_table import Purpose, purpose
from ..opennebula.driver_replies import INIT_REPLY, poll_data, vmm_log, vmm_reply
from ..opennebula.driver_requests import VmmRequest, parse_vmm
from ..opennebula.errors import MalformedLine
from ..opennebula.layout import Layout, deployment_file, layout
from ..opennebula.protocol_versions import VM_2_0, VM_6_0
from ..opennebula.vm import VirtualMachine, from_deployment_file
from .accounts import CloudAccounts
from .action_context import KNOWN_ERRORS, ActionContext, ActionFailed, ContextFactory
from .actions import ACTIONS
from .answers import internal_error, sentence
from .core_api import CoreApi
from .core_version import CoreVersion
from .create_server import Limits, clean_up, create
from .driver_log import LEVELS, log_exception
from .job_queue import Cancelled, Job, JobQueue, PendingReply, job_without_reply
from .journal import UNWRITTEN, ActionRecord, BegunAction, Journal, JournalError, UnresolvedAttempt
from .listing_cache import ListingLate
from .monitoring_facts import Facts, poll_facts
from .protocol_loop import LAST_MOMENTS, Arguments, ProtocolLoop, ReplyPipe, arguments
from .settings import Settings
from .sweep import CoreQueries, Sweep
from .translate import template_defaults
from .unsupported import refusal

logger = logging.getLogger(__name__)

ENDS_BEFORE_HARD = (Purpose.TERMINATE, Purpose.SHUTDOWN, Purpose.SAVE, Purpose.STOP, Purpose.DESTROY)
"""actions whose FAILURE would send the VM back to RUNNING while the core is about to send CANCEL"""
HOLD = 10.0
"""seconds that the answer to a cancelled action waits for the action that follows"""
CLEAN_UP_PERIOD = 30.0
CLEAN_UP_SOON = 1.0
"""seconds until unresolved attempts are looked at again, twice as many each time, up to CLEAN_UP_PERIOD"""
CLEAN_UP_FOR = 3600.0
"""seconds after a lost create call during which its server may still appear"""
POLL_WAIT = 10.0
LATE = "Look whether the endpoint is up: the cloud did not answer in time."


class VmDriver:
    """The VM driver: handles the lines of the core, and answers each request once."""

    def __init__(
        self,
        place: Layout,
        settings: Settings,
        journal: Journal,
        accounts: CloudAccounts,
        send: Callable[[bytes], None],
        options: Arguments,
        clock: Clock,
        queue: Optional[JobQueue] = None,
        core: Optional[CoreQueries] = None,
    ) -> None:
        self._place = place
        self._settings = settings
        self._journal = journal
        self._accounts = accounts
        self._send = send
        self._clock = clock
        self._core: CoreQueries = core or CoreApi(os.environ)
        self._contexts = ContextFactory(settings, accounts, journal, clock, self._log, self._core.hosts)
        self._queue = queue or JobQueue(options.threads)
        self._actions: Mapping[Purpose, Callable[[ActionContext], str]] = {
            **ACTIONS,
            Purpose.CREATE: partial(create, Limits()),
        }
        self._protocol = ""
        self._held: Dict[int, List[PendingReply]] = {}
        self._held_lock = threading.Lock()
        self._stopping = threading.Event()
        release = CoreVersion(place, options.one_version, options.protocol)
        self._sweep = Sweep(
            settings,
            accounts,
            journal,
            self._queue,
            clock,
            self._core,
            release,
            self._log,
        )
        self._aborted: Set[int] = set()
        """VMs whose last line was DRIVER_CANCEL"""
        self._direct: Mapping[Purpose, Callable[[VmmRequest, PendingReply], None]] = {
            Purpose.REFUSE: self._refuse,
            Purpose.ACCEPT: lambda _request, reply: _done(reply),
            Purpose.IGNORE: lambda _request, _reply: None,
            Purpose.ABORT: self._abort,
        }

    # --- lines

    def accept(self, line: bytes) -> None:
        """Take one line of the core; returns at once."""
        try:
            request = parse_vmm(line)
        except MalformedLine as error:
            self._malformed(error)
            return
        if request.action == "INIT":
            self._send(INIT_REPLY)
            return
        reply = PendingReply(self._send, partial(_reply, request))
        try:
            self._take(request, reply)
        except Exception as error:
            log_exception(logger, error)
            if request.action != "DRIVER_CANCEL":
                reply.send(False, internal_error(error))

    def _take(self, request: VmmRequest, reply: PendingReply) -> None:
        if request.action != "DRIVER_CANCEL":
            self._learn(request)
        meaning = purpose(request.action, request.protocol, request.vm.lcm_state if request.vm else None)
        if meaning in self._direct:
            self._direct[meaning](request, reply)
        elif meaning is Purpose.POLL:
            # All polls of a host take one place, however many there are.
            self._queue.submit(("poll", request.host), Job(reply, partial(self._poll, request)))
        else:
            job = Job(reply, partial(self._run, request, meaning))
            job.after_abort = request.id in self._aborted
            self._aborted.discard(request.id)
            self._queue.submit(request.id, job)

    def close(self) -> None:
        """End all work: the core is gone."""
        self._stopping.set()
        self._queue.close(LAST_MOMENTS)
        with self._held_lock:
            held = [reply for replies in self._held.values() for reply in replies]
        for reply in held:
            reply.send(False, GIVEN_UP)
        self._journal.close()

    def _learn(self, request: VmmRequest) -> None:
        """Note protocol and name of this driver from a request; after the first request LOG lines may be sent."""
        first = not self._protocol
        self._protocol = request.protocol
        vm = request.vm
        if vm is not None and vm.history_host == request.host and vm.history_driver:
            self._contexts.driver_name = vm.history_driver
        if first:
            warnings = self._settings.warnings()
            with contextlib.suppress(JournalError):
                warnings += self._journal.kept()
            for warning in warnings:
                self._log("W", -1, warning)

    def _malformed(self, error: MalformedLine) -> None:
        if error.id is not None and error.action and error.id >= 0:
            self._send(vmm_reply(error.action, False, error.id, error.sentence))
        else:
            self._log("E", -1, error.sentence)

    def _refuse(self, request: VmmRequest, reply: PendingReply) -> None:
        reply.send(False, refusal(request.action))

    def _abort(self, request: VmmRequest, _reply: PendingReply) -> None:
        """Cancel the jobs of the VM that run or wait (DRIVER_CANCEL), which has no answer of its own."""
        self._queue.cancel(request.id)
        self._aborted.add(request.id)

    def _log(self, level: str, vm_id: int, text: str) -> None:
        """Send a LOG line; before the first request only write it to the driver's own log (opennebula-drivers 1.4)."""
        logger.log(LEVELS[level], "VM %s: %s", vm_id, text)
        if self._protocol:
            self._send(vmm_log(self._protocol, level, vm_id, text))

    # --- actions

    def _run(self, request: VmmRequest, meaning: Purpose, job: Job) -> None:
        """Carry out one action, write its end into the journal, and reply."""
        logger.info("%s VM %s (%s) on host %r", request.action, request.id, meaning.value, request.host)
        try:
            ok, text = True, self._carry_out(request, meaning, job)
        except Cancelled:
            ok, text = False, GIVEN_UP
        except KNOWN_ERRORS as error:
            ok, text = False, sentence(error)
        except Exception as error:
            log_exception(logger, error)
            ok, text = False, internal_error(error)
        self._end(request.id)
        if not ok and job.cancelled.is_set() and meaning in ENDS_BEFORE_HARD:
            logger.info("%s VM %s, cancelled: %s", request.action, request.id, text)
            self._hold(request.id, job)
            return
        job.reply.send(ok, text)
        logger.info("%s VM %s: %s %s", request.action, request.id, "SUCCESS" if ok else "FAILURE", text)
        if not ok and request.action == "REBOOT" and request.protocol == VM_6_0:
            # 6.0 and later drop the answer's text (opennebula-drivers 2.3)
            self._log("E", request.id, f"REBOOT failed: {text}")
        self._release(request.id)

    def _carry_out(self, request: VmmRequest, meaning: Purpose, job: Job) -> str:
        """Write the beginning of an action into the journal, and carry the action out."""
        if job.cancelled.is_set():
            raise Cancelled
        vm = request.vm
        if meaning is Purpose.CREATE:
            vm = vm or self._described(request)
        begun = self._begin(request, creates=meaning is Purpose.CREATE)
        context = self._contexts.make(request, vm, job, begun=begun)
        return self._actions[meaning](context)

    def _described(self, request: VmmRequest) -> VirtualMachine:
        """Return the VM as its deployment file describes it (2.0 to 3.0, without VM documents)."""
        path = deployment_file(self._place.var, request.file)
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                content = file.read()
        except OSError as error:
            raise ActionFailed(
                f"Check VM_DIR in oned.conf, and the rights of its folder: the deployment file {path} cannot be read "
                f"({error.strerror})."
            ) from None
        return from_deployment_file(content, request.id)

    def _begin(self, request: VmmRequest, *, creates: bool) -> BegunAction:
        """Write the beginning of an action into the journal.

        Without a memory of what was begun, no server is made. An action on one that exists goes on without the
        journal; only its news to the core may be late.
        """
        try:
            attempt = uuid.uuid4().hex if creates else ""
            return self._journal.begin(request.id, request.action, request.host, attempt=attempt)
        except JournalError as error:
            if creates:
                raise
            self._log("W", request.id, str(error))
            return UNWRITTEN

    def _end(self, vm_id: int) -> None:
        try:
            self._journal.end(vm_id)
        except JournalError as error:
            self._log("W", vm_id, str(error))

    def _last(self, vm_id: int) -> Optional[ActionRecord]:
        try:
            return self._journal.last_action(vm_id)
        except JournalError:
            return None

    # --- cancellation

    def _hold(self, vm_id: int, job: Job) -> None:
        """Keep back the FAILURE of a cancelled action until the action that takes its place has been answered.

        For a shutdown the core expects the answer to CANCEL next; a FAILURE before it would send the VM back to
        RUNNING, and CANCEL's SUCCESS would then be in a wrong state (opennebula-drivers 2.3, 9.3).
        """
        job.held = True
        with self._held_lock:
            self._held.setdefault(vm_id, []).append(job.reply)
        timer = threading.Timer(HOLD, self._release, [vm_id])
        timer.daemon = True
        timer.start()

    def _release(self, vm_id: int) -> None:
        with self._held_lock:
            held = self._held.pop(vm_id, [])
        for reply in held:
            reply.send(False, GIVEN_UP)

    # --- POLL

    def _poll(self, request: VmmRequest, job: Job) -> None:
        """Answer POLL from the account's last listing, unless it is older than the VM's last action."""
        try:
            facts = self._poll_facts(request)
        except (*KNOWN_ERRORS, ListingLate) as error:
            if request.protocol == VM_2_0:
                job.reply.send(False, sentence(error) or LATE)
                return
            logger.info("POLL VM %s: %s", request.id, error)
            facts = {"STATE": "-"}
        job.reply.send(True, poll_data(request.protocol, facts, monitoring=_plain(request)))

    def _poll_facts(self, request: VmmRequest) -> Facts:
        host = self._settings.host(request.host)
        listing = self._accounts.of(host).servers
        quick = listing.is_quick
        snapshot = listing.since(self._clock.monotonic() - host.number("LISTING_PERIOD"), POLL_WAIT, own=quick)
        record = self._last(request.id)
        if record is not None and record.ended is not None and record.outdates(snapshot.begun):
            snapshot = listing.since(record.ended, POLL_WAIT, own=quick)
        if record is not None and record.outdates(snapshot.begun):
            return {"STATE": "-"}
        found = snapshot.of(host.cloud).get(request.id, [])
        if len(found) == 1:
            return poll_facts(found[0], host, plain=_plain(request))
        return {"STATE": "-" if found or _listed_by_host(request) else "d"}

    # --- what no request tells

    def sweep(self) -> None:
        """Run the sweep until the driver stops, see :class:`~.sweep.Sweep`."""
        self._sweep.run(self._stopping)

    # --- unresolved attempts

    def clean_up(self) -> None:
        """Clean up after unresolved attempts, and keep the journal small; runs until the driver stops."""
        pause = CLEAN_UP_SOON
        while True:
            found = self.clean_up_once()
            pause = min(2 * pause, CLEAN_UP_PERIOD) if found else CLEAN_UP_SOON
            if self._stopping.wait(pause if found else CLEAN_UP_PERIOD):
                return

    def clean_up_once(self) -> int:
        """Queue a job for each unresolved attempt of the journal, and return their number."""
        try:
            for record in self._journal.take_over():
                logger.info(
                    "%s VM %s was under way when an earlier driver ended; the core may ask again.",
                    record.verb,
                    record.vm,
                )
            self._journal.prune()
            attempts = self._journal.all_unresolved()
        except JournalError as error:
            logger.warning("%s", error)
            return 0
        for attempt in attempts:
            self._queue.submit(attempt.vm, job_without_reply(partial(self._clean_up, attempt)))
        return len(attempts)

    def _clean_up(self, attempt: UnresolvedAttempt, job: Job) -> None:
        try:
            request = VmmRequest("CLEANUP", attempt.vm, self._protocol, host=attempt.host)
            context = self._contexts.make(request, None, job)
            if clean_up(context, attempt) or self._clock.now() - attempt.at > CLEAN_UP_FOR:
                self._journal.resolved(attempt.attempt)
        except KNOWN_ERRORS as error:
            logger.warning("VM %s: what a lost create call has made cannot be cleaned up yet: %s", attempt.vm, error)


GIVEN_UP = "Repeat the action if it is still wanted: it was given up because OpenNebula cancelled it."


def _reply(request: VmmRequest, ok: bool, text: str) -> bytes:
    return vmm_reply(request.action, ok, request.id, request.reply_prefix + text)


def _done(reply: PendingReply) -> None:
    reply.send(True)


def _plain(request: VmmRequest) -> bool:
    """Return whether the core is of 4.14 or later, as its VM documents show."""
    return request.vm is not None and request.vm.monitoring


def _listed_by_host(request: VmmRequest) -> bool:
    """Return whether the core learns of missing servers from the host's message: 4.0 and later.

    Up to 3.8 nothing but POLL does: its ``d`` makes the VM UNKNOWN. Later ``d`` is not needed for that, and from 4.10
    on it means POWEROFF, which a server that is gone is not (opennebula-drivers 3.2, 3.3, 8.13).
    """
    return request.protocol != VM_2_0 and (request.vm is None or request.vm.user_template)


def main(argv: Sequence[str], early: bytes = b"") -> int:
    """Serve until the core ends the conversation. ``early``: what was read after INIT."""
    clock = Clock()
    place = layout(os.environ.get("ONE_LOCATION", ""))
    outlet = ReplyPipe()
    service = VmDriver(
        place,
        Settings(place, os.environ, template_defaults),
        Journal(f"{place.var}/eh_journal.sqlite", clock),
        CloudAccounts(clock),
        outlet.send,
        arguments(argv),
        clock,
    )
    for work in (service.clean_up, service.sweep):
        threading.Thread(target=work, name=work.__name__, daemon=True).start()
    ProtocolLoop(service, 0, outlet).serve(early)
    return 0
