# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a VM gets its server: made once, adopted, imported, or taken back, whatever happens in between.

The ownership keys and the mark of the attempt are in the create call itself. What a call may have made, or may make
yet, is known to the journal before the call is sent, until it is certain (opennebula-drivers 7.1, 7.2).
"""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass
from typing import Callable, Optional

from ..elastichosts.apply import apply_server, wait_status
from ..elastichosts.clock import Deadline
from ..elastichosts.errors import (
    ApiError,
    AuthError,
    BillingError,
    ConfigurationError,
    ConnectError,
    ElasticHostsError,
    MethodError,
    Refused,
    SystemFault,
    ThrottledError,
    UsageError,
)
from ..elastichosts.formats import Properties
from ..elastichosts.plan import plan_server
from ..elastichosts.servers import Server
from ..opennebula.errors import OpenNebulaError
from .action_context import ActionContext, ActionFailed, attempt_of
from .actions import bring, destroy, imported_marks
from .answers import details
from .image_drives import ImageDrives
from .job_queue import Cancelled
from .journal import DONE, ENDED, LEFT, UNANSWERED, Journal, JournalError, UnresolvedAttempt, attempted
from .limits import Limits, check_switch
from .translate import ATTEMPT_KEY, SEQ_KEY, Specification, of_life, specification

NOTHING_MADE = (
    ConfigurationError,
    ConnectError,
    Refused,
    UsageError,
    AuthError,
    BillingError,
    MethodError,
    ThrottledError,
)
"""answers to a create call after which there is certainly no server"""
LOOKS = (0.0, 0.5, 1.0, 2.0)
"""seconds before each look for a server whose create call was not answered; what appears later, is mended later"""


@dataclass
class _Attempt:
    """One create call, and what came of it."""

    key: str
    refused: bool = False
    """there is certainly no server"""
    lost: bool = False
    """a server may be there, or appear"""


class ServerCreation:
    """Makes servers, and looks after those whose making went wrong.

    :param log: takes a level letter, a VM id and a sentence for the administrator
    """

    def __init__(self, journal: Journal, copies: ImageDrives, log: Callable[[str, int, str], None]) -> None:
        self._journal = journal
        self._copies = copies
        self._limits = Limits()
        self._log = log

    def create(self, context: ActionContext) -> str:
        """Make the VM's server, or adopt the one that carries its keys. The text is its UUID."""
        if context.imported:
            return self._import(context)
        if context.vm is None:
            raise ActionFailed(
                f"Repeat the action, or report this as a fault: DEPLOY of VM {context.vm_id} came without its "
                "description, so nothing could be made of it."
            )
        # Before the first call, so that a template that cannot be used is reported whether the cloud answers or not.
        wanted = specification(context.vm, context.host, context.settings, context.factory.settings.template_defaults())
        for doubt in context.begun.doubts:
            if self.mend(context, doubt):
                self._journal.settle(doubt.attempt)
        found = context.one_own()
        if found is not None:
            return self._adopt(context, found, wanted.server)
        context.check_named_drives(wanted.server)
        with self._limits.room(context, wanted.server):
            return self._make(context, wanted, _Attempt(context.begun.attempt)).uuid

    def _make(self, context: ActionContext, wanted: Specification, attempt: _Attempt, *, again: bool = True) -> Server:
        """Create and start; whatever goes wrong, nothing is left behind, or the journal remembers the attempt."""
        if context.cancelled:
            raise Cancelled
        try:
            devices: Properties = {}
            if wanted.images:
                self._copies.clear(context)
                devices = self._copies.make(context, wanted.images, wanted.drive, wanted.server["name"], attempt.key)
                self._journal.creating(attempt.key, context.vm_id, context.host)
            elif again:
                self._journal.sending(attempt.key, context.vm_id)
            deadline = context.deadline()
            check_switch(context)  # copies may have taken an hour
            server = self._ask(context, attempt, {**wanted.creation, **devices, ATTEMPT_KEY: attempt.key}, deadline)
            if context.cancelled:
                raise Cancelled
            server = self._active(context, server, deadline)
            self._journal.settle_at_end(attempt.key, context.vm_id)
            return server
        except (ElasticHostsError, OpenNebulaError, ActionFailed, JournalError, Cancelled) as error:
            if attempt.refused and not wanted.images:
                self._settle(context, attempt)
                raise
            looked = self._take_back(context, attempt, copies=bool(wanted.images))
            if again and attempt.lost and looked and not context.cancelled:
                return self._make(context, wanted, self._another(context), again=False)
            if looked and not attempt.lost:
                raise
            raise ActionFailed(
                f"Try again when the cloud answers. {details(error)} Whether a server was made is not known yet; if "
                "one appears, it is destroyed."
            ) from error

    def _another(self, context: ActionContext) -> _Attempt:
        attempt = _Attempt(uuid.uuid4().hex)
        self._journal.creating(attempt.key, context.vm_id, context.host)
        return attempt

    def _ask(self, context: ActionContext, attempt: _Attempt, properties: Properties, deadline: Deadline) -> Server:
        """The create call, and after an answer that leaves it open the looks for what it made."""
        try:
            with context.account.client.transport.within(deadline):
                return context.account.client.servers.create(properties)
        except ElasticHostsError as error:
            attempt.refused = isinstance(error, NOTHING_MADE)
            attempt.lost = error.maybe_done and not _said(error)
            if not error.maybe_done or (isinstance(error, ApiError) and not isinstance(error, SystemFault)):
                raise
            for pause in LOOKS:
                deadline.sleep(pause)
                found: Optional[Server] = None
                with contextlib.suppress(ElasticHostsError, ActionFailed):  # the create call's own error is the news
                    found = context.made_by(attempt.key)
                if found is not None:
                    attempt.lost = False
                    self._log(
                        "I", context.vm_id, f"The answer to a create call was lost; server {found.uuid} was made."
                    )
                    return found
            raise

    def _active(self, context: ActionContext, server: Server, deadline: Deadline) -> Server:
        """The core may hear of the server when it runs, not before (opennebula-drivers 7.5)."""
        if server.status == "active":
            return server
        plan = plan_server({}, "started", server)
        started = apply_server(context.account.client, plan, server, deadline)
        if started is None:
            raise context.gone()
        return wait_status(context.account.client, started.uuid, "active", deadline) or started

    def _take_back(self, context: ActionContext, attempt: _Attempt, *, copies: bool) -> bool:
        """Destroy what the attempt made, if anything; false when the cloud could not be asked.

        The journal knows of it until that is certain: after a lost answer something may still appear, and a drive that
        is being imaged cannot be destroyed yet.
        """
        try:
            self._note(context, lambda: self._journal.doubt(attempt.key, context.vm_id, context.host))
            found = context.made_by(attempt.key)
            if found is not None:
                destroy(context, found, context.clean_up())
            clean = self._copies.drop(context, attempt.key) if copies else True
            if clean and (found is not None or not attempt.lost):
                self._settle(context, attempt)
        except (ElasticHostsError, ActionFailed) as error:
            self._log("E", context.vm_id, f"A server or drive may be left behind: {error}")
            return False
        return True

    def _settle(self, context: ActionContext, attempt: _Attempt) -> None:
        self._note(context, lambda: self._journal.settle(attempt.key))

    def _note(self, context: ActionContext, note: Callable[[], None]) -> None:
        """What is in the cloud by now has to be seen to the end, with the journal or without."""
        attempted(note, lambda sentence: self._log("W", context.vm_id, sentence))

    def mend(self, context: ActionContext, doubt: UnresolvedAttempt) -> bool:
        """Destroy what nobody wants; true when there was something, and it is gone."""
        if doubt.state == ENDED:
            self._finish(context, doubt)
            return True
        found = None if doubt.state == LEFT else context.made_by(doubt.attempt)
        if found is not None:
            if doubt.state == UNANSWERED and len(context.own_now()) == 1:
                return True  # the VM's only server: the core asks for it again, or hears of it from monitoring
            destroy(context, found, context.clean_up())
            self._log(
                "W", context.vm_id, f"Server {found.uuid} of a create call that was given up appeared; it is destroyed."
            )
        there = any(attempt_of(drive) == doubt.attempt for drive in context.own_drives())
        gone = self._copies.drop(context, doubt.attempt) if there else True
        return gone and (there or found is not None)

    def _finish(self, context: ActionContext, doubt: UnresolvedAttempt) -> None:
        """Destroy what an end that was interrupted has left; a later life of the same VM id is not meant."""
        for server in context.own_now():
            if of_life(server, doubt.seq):
                destroy(context, server, context.clean_up())
                self._log("W", context.vm_id, f"Server {server.uuid} was left when this VM ended; it is destroyed.")
        self._copies.release(context, context.clean_up(), doubt.seq)

    def _adopt(self, context: ActionContext, found: Server, wanted: Properties) -> str:
        """The server of an earlier DEPLOY of this VM. One that runs is taken as it is; another is brought up."""
        attempt = attempt_of(found)
        marks: Properties = {ATTEMPT_KEY: uuid.uuid4().hex, SEQ_KEY: wanted[SEQ_KEY]}
        desired = marks if found.status == "active" else {**wanted, **marks}
        try:
            # The new mark goes first: nobody's doubt about the earlier attempt reaches this server any more.
            context.account.client.servers.set(found.uuid, marks)
            if attempt:
                self._note(context, lambda: self._journal.settle(attempt))
            bring(context, found, "started", desired, context.deadline())
        except ElasticHostsError:
            before = context.previous
            if before is not None and before.creates and before.state != DONE:
                destroy(context, found, context.clean_up())
            raise
        self._log("I", context.vm_id, f"Server {found.uuid} was made by an earlier DEPLOY and is used now.")
        return found.uuid

    def _import(self, context: ActionContext) -> str:
        """A server that was there before becomes the VM's: it is marked, and started if need be."""
        found = context.recorded()
        if found is None or context.vm is None:
            raise context.gone()
        bring(context, found, "started", imported_marks(context, context.vm), context.deadline())
        return found.uuid


def _said(error: ElasticHostsError) -> bool:
    """Whether the cloud itself said no, so that asking again would only hear it again; a gateway's word is not its."""
    return isinstance(error, ApiError) and not (isinstance(error, SystemFault) and error.status != 500)
