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
from .answers import details
from .copies import Copies
from .daemon import Cancelled
from .journal import DONE, ENDED, LEFT, UNANSWERED, Doubt, Journal, JournalError, attempted
from .limits import Limits
from .mapping import ATTEMPT_KEY, SEQ_KEY, Specification, of_life, specification
from .orders import Failure, Order, attempt_of
from .steps import bring, destroy, imported_marks

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


class Creation:
    """Makes servers, and looks after those whose making went wrong.

    :param log: takes a level letter, a VM id and a sentence for the administrator
    """

    def __init__(self, journal: Journal, copies: Copies, log: Callable[[str, int, str], None]) -> None:
        self._journal = journal
        self._copies = copies
        self._limits = Limits()
        self._log = log

    def create(self, order: Order) -> str:
        """Make the VM's server, or adopt the one that carries its keys. The text is its UUID."""
        if order.imported:
            return self._import(order)
        if order.vm is None:
            raise Failure(
                f"Repeat the action, or report this as a fault: DEPLOY of VM {order.vm_id} came without its "
                "description, so nothing could be made of it."
            )
        # Before the first call, so that a template that cannot be used is reported whether the cloud answers or not.
        wanted = specification(order.vm, order.host, order.settings, order.desk.settings.template_defaults())
        for doubt in order.begun.doubts:
            if self.mend(order, doubt):
                self._journal.settle(doubt.attempt)
        found = order.one_own()
        if found is not None:
            return self._adopt(order, found, wanted.server)
        with self._limits.room(order, wanted.server):
            return self._make(order, wanted, _Attempt(order.begun.attempt)).uuid

    def _make(self, order: Order, wanted: Specification, attempt: _Attempt, *, again: bool = True) -> Server:
        """Create and start; whatever goes wrong, nothing is left behind, or the journal remembers the attempt."""
        if order.cancelled:
            raise Cancelled
        try:
            devices: Properties = {}
            if wanted.images:
                self._copies.clear(order)
                devices = self._copies.make(order, wanted.images, wanted.drive, wanted.server["name"], attempt.key)
                self._journal.creating(attempt.key, order.vm_id, order.host)
            elif again:
                self._journal.sending(attempt.key, order.vm_id)
            deadline = order.deadline()
            server = self._ask(order, attempt, {**wanted.creation, **devices, ATTEMPT_KEY: attempt.key}, deadline)
            if order.cancelled:
                raise Cancelled
            server = self._active(order, server, deadline)
            self._journal.settle_at_end(attempt.key, order.vm_id)
            return server
        except (ElasticHostsError, OpenNebulaError, Failure, JournalError, Cancelled) as error:
            if attempt.refused and not wanted.images:
                self._settle(order, attempt)
                raise
            looked = self._take_back(order, attempt, copies=bool(wanted.images))
            if again and attempt.lost and looked and not order.cancelled:
                return self._make(order, wanted, self._another(order), again=False)
            if looked and not attempt.lost:
                raise
            raise Failure(
                f"Try again when the cloud answers. {details(error)} Whether a server was made is not known yet; if "
                "one appears, it is destroyed."
            ) from error

    def _another(self, order: Order) -> _Attempt:
        attempt = _Attempt(uuid.uuid4().hex)
        self._journal.creating(attempt.key, order.vm_id, order.host)
        return attempt

    def _ask(self, order: Order, attempt: _Attempt, properties: Properties, deadline: Deadline) -> Server:
        """The create call, and after an answer that leaves it open the looks for what it made."""
        try:
            with order.zone.client.transport.within(deadline):
                return order.zone.client.servers.create(properties)
        except ElasticHostsError as error:
            attempt.refused = isinstance(error, NOTHING_MADE)
            attempt.lost = error.maybe_done and not _said(error)
            if not error.maybe_done or (isinstance(error, ApiError) and not isinstance(error, SystemFault)):
                raise
            for pause in LOOKS:
                deadline.sleep(pause)
                found: Optional[Server] = None
                with contextlib.suppress(ElasticHostsError, Failure):  # the create call's own error is the news
                    found = order.made_by(attempt.key)
                if found is not None:
                    attempt.lost = False
                    self._log("I", order.vm_id, f"The answer to a create call was lost; server {found.uuid} was made.")
                    return found
            raise

    def _active(self, order: Order, server: Server, deadline: Deadline) -> Server:
        """The core may hear of the server when it runs, not before (opennebula-drivers 7.5)."""
        if server.status == "active":
            return server
        plan = plan_server({}, "started", server)
        started = apply_server(order.zone.client, plan, server, deadline)
        if started is None:
            raise order.gone()
        return wait_status(order.zone.client, started.uuid, "active", deadline) or started

    def _take_back(self, order: Order, attempt: _Attempt, *, copies: bool) -> bool:
        """Destroy what the attempt made, if anything; false when the cloud could not be asked.

        The journal knows of it until that is certain: after a lost answer something may still appear, and a drive that
        is being imaged cannot be destroyed yet.
        """
        try:
            self._note(order, lambda: self._journal.doubt(attempt.key, order.vm_id, order.host))
            found = order.made_by(attempt.key)
            if found is not None:
                destroy(order, found, order.clean_up())
            clean = self._copies.drop(order, attempt.key) if copies else True
            if clean and (found is not None or not attempt.lost):
                self._settle(order, attempt)
        except (ElasticHostsError, Failure) as error:
            self._log("E", order.vm_id, f"A server or drive may be left behind: {error}")
            return False
        return True

    def _settle(self, order: Order, attempt: _Attempt) -> None:
        self._note(order, lambda: self._journal.settle(attempt.key))

    def _note(self, order: Order, note: Callable[[], None]) -> None:
        """What is in the cloud by now has to be seen to the end, with the journal or without."""
        attempted(note, lambda sentence: self._log("W", order.vm_id, sentence))

    def mend(self, order: Order, doubt: Doubt) -> bool:
        """Destroy what nobody wants; true when there was something, and it is gone."""
        if doubt.state == ENDED:
            self._finish(order, doubt)
            return True
        found = None if doubt.state == LEFT else order.made_by(doubt.attempt)
        if found is not None:
            if doubt.state == UNANSWERED and len(order.own_now()) == 1:
                return True  # the VM's only server: the core asks for it again, or hears of it from monitoring
            destroy(order, found, order.clean_up())
            self._log(
                "W", order.vm_id, f"Server {found.uuid} of a create call that was given up appeared; it is destroyed."
            )
        there = any(attempt_of(drive) == doubt.attempt for drive in order.own_drives())
        gone = self._copies.drop(order, doubt.attempt) if there else True
        return gone and (there or found is not None)

    def _finish(self, order: Order, doubt: Doubt) -> None:
        """Destroy what an end that was interrupted has left; a later life of the same VM id is not meant."""
        for server in order.own_now():
            if of_life(server, doubt.seq):
                destroy(order, server, order.clean_up())
                self._log("W", order.vm_id, f"Server {server.uuid} was left when this VM ended; it is destroyed.")
        self._copies.release(order, order.clean_up(), doubt.seq)

    def _adopt(self, order: Order, found: Server, wanted: Properties) -> str:
        """The server of an earlier DEPLOY of this VM. One that runs is taken as it is; another is brought up."""
        attempt = attempt_of(found)
        marks: Properties = {ATTEMPT_KEY: uuid.uuid4().hex, SEQ_KEY: wanted[SEQ_KEY]}
        desired = marks if found.status == "active" else {**wanted, **marks}
        try:
            # The new mark goes first: nobody's doubt about the earlier attempt reaches this server any more.
            order.zone.client.servers.set(found.uuid, marks)
            if attempt:
                self._note(order, lambda: self._journal.settle(attempt))
            bring(order, found, "started", desired, order.deadline())
        except ElasticHostsError:
            before = order.previous
            if before is not None and before.creates and before.state != DONE:
                destroy(order, found, order.clean_up())
            raise
        self._log("I", order.vm_id, f"Server {found.uuid} was made by an earlier DEPLOY and is used now.")
        return found.uuid

    def _import(self, order: Order) -> str:
        """A server that was there before becomes the VM's: it is marked, and started if need be."""
        found = order.recorded()
        if found is None or order.vm is None:
            raise order.gone()
        bring(order, found, "started", imported_marks(order, order.vm), order.deadline())
        return found.uuid


def _said(error: ElasticHostsError) -> bool:
    """Whether the cloud itself said no, so that asking again would only hear it again; a gateway's word is not its."""
    return isinstance(error, ApiError) and not (isinstance(error, SystemFault) and error.status != 500)
