# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the VM driver does to a server: one method for each purpose an action of the core can have.

Every method gets an :class:`~.orders.Order` and returns the text of the SUCCESS; every failure is an exception whose
``str()`` is one sentence. Steps are planned and carried out by ``elastichosts.ensure``, as in the modules.
"""

from __future__ import annotations

import uuid
from typing import Callable, List, Mapping, Optional

from ..elastichosts.clock import Deadline
from ..elastichosts.ensure import apply_server, plan_server, wait_status
from ..elastichosts.errors import (
    ApiError,
    AuthError,
    BillingError,
    BusyError,
    ConfigurationError,
    ConnectError,
    ElasticHostsError,
    FailedError,
    MethodError,
    Refused,
    SystemFault,
    ThrottledError,
    UsageError,
    WaitTimeout,
)
from ..elastichosts.plan import Plan
from ..elastichosts.servers import Server
from ..elastichosts.wire import Properties
from ..opennebula.errors import TemplateError
from ..opennebula.vm import Purpose, eh_vector
from .daemon import Cancelled
from .journal import DONE, Journal, JournalError
from .mapping import ATTEMPT_KEY, ownership, size_of, specification, with_defaults
from .orders import Failure, Order, attempt_of

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
KEEP: Mapping[str, Optional[str]] = {"persistent": "true"}
"""without it the cloud destroys a server that stops (elastichosts-api 2.2)"""


class Verbs:
    """The purposes of ``opennebula.vm.Purpose`` as methods.

    :param log: takes a level letter, a VM id and a sentence for the administrator
    """

    def __init__(self, journal: Journal, log: Callable[[str, int, str], None]) -> None:
        self._journal = journal
        self._log = log
        self.table: Mapping[Purpose, Callable[[Order], str]] = {
            Purpose.CREATE: self.create,
            Purpose.START: self.start,
            Purpose.STOP: self.stop,
            Purpose.SHUTDOWN: self.shutdown,
            Purpose.TERMINATE: self.terminate,
            Purpose.DESTROY: self.destroy,
            Purpose.SAVE: self.shutdown,
            Purpose.SAVE_AWAY: self.save_away,
            Purpose.RESTORE: self.restore,
            Purpose.REBOOT: self.reboot,
            Purpose.RESET: self.reset,
        }

    # --- creation

    def create(self, order: Order) -> str:
        """Make the VM's server, or adopt the one that carries its keys. The text is its UUID."""
        if order.imported:
            return self._import(order)
        if order.vm is None:
            raise Failure(f"DEPLOY of VM {order.vm_id} came without its description, so nothing could be made of it.")
        wanted = specification(order.vm, order.host, order.settings, order.defaults)
        self._begin_create(order, wanted["name"])
        found = order.one_own()
        if found is not None:
            return self._adopt(order, found, wanted)
        server = self._make(order, wanted)
        return server.uuid

    def _begin_create(self, order: Order, name: str) -> None:
        """Without a memory of what was begun, nothing is: this may raise JournalError."""
        self._journal.begin(order.vm_id, order.request.action, order.host, creates=True, name=name)

    def _make(self, order: Order, wanted: Properties, *, again: bool = True) -> Server:
        """Create and start; whatever goes wrong, no server is left behind, or the journal remembers the attempt."""
        if order.cancelled:
            raise Cancelled
        attempt = uuid.uuid4().hex
        deadline = order.deadline()
        try:
            server = self._created(order, {**wanted, ATTEMPT_KEY: attempt}, deadline)
            if order.cancelled:
                raise Cancelled
            return self._active(order, server, deadline)
        except (ElasticHostsError, Failure, Cancelled) as error:
            if isinstance(error, NOTHING_MADE):
                raise
            lost = isinstance(error, ElasticHostsError) and error.maybe_done and not _said(error)
            looked = self._take_back(order, attempt, doubtful=lost)
            if again and lost and looked and not order.cancelled:
                return self._make(order, wanted, again=False)
            if looked and not lost:
                raise
            raise Failure(
                f"{error} Whether a server was made is not known yet; if one appears, it is destroyed. "
                "Try again when the cloud answers."
            ) from error

    def _created(self, order: Order, properties: Properties, deadline: Deadline) -> Server:
        """The create call, and after an answer that leaves it open the looks for what it made."""
        (step,) = plan_server(properties, "started", None).steps
        try:
            with order.zone.client.transport.within(deadline):
                return order.zone.client.servers.create(
                    {key: value for key, value in step.properties.items() if value is not None}
                )
        except ElasticHostsError as error:
            if not error.maybe_done or (isinstance(error, ApiError) and not isinstance(error, SystemFault)):
                raise
            for pause in LOOKS:
                deadline.sleep(pause)
                found = order.made_by(properties[ATTEMPT_KEY])
                if found is not None:
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

    def _take_back(self, order: Order, attempt: str, *, doubtful: bool) -> bool:
        """Destroy what ``attempt`` made, if anything; false when the cloud could not be asked.

        The journal knows of it until that is certain: a server may still appear after a look (``doubtful``).
        """
        try:
            self._journal.doubt(attempt, order.vm_id, order.host)
            found = order.made_by(attempt)
            if found is not None:
                self._destroy(order, found, order.clean_up())
            if found is not None or not doubtful:
                self._journal.settle(attempt)
        except (ElasticHostsError, Failure, JournalError) as error:
            self._log("E", order.vm_id, f"A server may be left behind: {error}")
            return False
        return True

    def mend(self, order: Order, attempt: str) -> bool:
        """Destroy the server of an attempt that was given up; false when there is none (yet)."""
        found = order.made_by(attempt)
        if found is None:
            return False
        self._destroy(order, found, order.clean_up())
        self._log(
            "W", order.vm_id, f"Server {found.uuid} of a create call that was given up appeared; it is destroyed."
        )
        return True

    def _adopt(self, order: Order, found: Server, wanted: Properties) -> str:
        """The server of an earlier DEPLOY of this VM. One that runs is taken as it is; another is brought up."""
        attempt = attempt_of(found)
        marks: Properties = {ATTEMPT_KEY: uuid.uuid4().hex}
        desired = marks if found.status == "active" else {**wanted, **marks}
        try:
            # The new mark goes first: nobody's doubt about the earlier attempt reaches this server any more.
            order.zone.client.servers.set(found.uuid, marks)
            if attempt:
                self._journal.settle(attempt)
            self._bring(order, found, "started", desired, order.deadline())
        except ElasticHostsError:
            before = order.previous
            if before is not None and before.creates and before.state != DONE:
                self._destroy(order, found, order.clean_up())
            raise
        self._log("I", order.vm_id, f"Server {found.uuid} was made by an earlier DEPLOY and is used now.")
        return found.uuid

    def _import(self, order: Order) -> str:
        """A server that was there before becomes the VM's: it is marked, and started if need be."""
        self._begin_create(order, order.deploy_id)
        found = order.recorded()
        if found is None:
            raise order.gone()
        marks = {**ownership(order.vm_id, order.cloud), **KEEP}
        self._bring(order, found, "started", marks, order.deadline())
        return found.uuid

    # --- the server exists

    def start(self, order: Order) -> str:
        """DEPLOY of a VM that was off: start its server, with CPU and memory as they are now (7.13, 7.14)."""
        server = self._needed(order)
        desired: Mapping[str, Optional[str]] = {} if server.status == "active" else self._size(order)
        self._bring(order, server, "started", desired, order.deadline())
        return server.uuid

    def restore(self, order: Order) -> str:
        self.start(order)
        return ""

    def stop(self, order: Order) -> str:
        """Cut the power, keep the server. Never destroys (opennebula-drivers 7.4)."""
        self._bring(order, self._needed(order), "stopped", KEEP, order.deadline())
        return ""

    def shutdown(self, order: Order) -> str:
        """ACPI power-off, keep the server."""
        self._power_off(order, self._needed(order))
        return ""

    def save_away(self, order: Order) -> str:
        """First half of a cold migration: the server can only stay where it is."""
        target = order.vm.history_host if order.vm else ""
        raise Failure(
            f"A server cannot move from host {order.host!r} to {target!r}: hosts of ElasticHosts are separate clouds. "
            "Deploy a new VM there instead."
        )

    def terminate(self, order: Order) -> str:
        """ACPI power-off, then destroy. A guest that does not obey keeps its server."""
        server = order.recorded()
        if server is not None:
            self._power_off(order, server)
            self._destroy(order, server, order.deadline())
        return ""

    def destroy(self, order: Order) -> str:
        """Destroy all that carries the VM's keys; fine when there is nothing.

        CLEANUP also follows an import that failed: the server is then still its owner's.
        """
        for server in self._all_own(order):
            if order.request.action == "CLEANUP" and not order.owns(server):
                self._log(
                    "W", order.vm_id, f"Server {server.uuid} was never taken over by this VM and is left as it was."
                )
                continue
            self._destroy(order, server, order.deadline())
        return ""

    def reboot(self, order: Order) -> str:
        """The API has no reboot: ACPI power-off and start. A guest that does not obey is left running."""
        server = self._needed(order)
        if server.status == "active":
            self._power_off(order, server)
            server = order.zone.client.servers.get(server.uuid)
        self._bring(order, server, "started", {}, order.deadline())
        return ""

    def reset(self, order: Order) -> str:
        self._bring(order, self._needed(order), "reset", {}, order.deadline())
        return ""

    # --- parts

    def _needed(self, order: Order) -> Server:
        server = order.recorded()
        if server is None:
            raise order.gone()
        return server

    def _all_own(self, order: Order) -> List[Server]:
        if order.deploy_id:
            server = order.recorded()
            return [] if server is None else [server]
        # A look shared with others may be older than what this VM's own deploy has just made.
        return order.own_now()

    def _size(self, order: Order) -> Properties:
        """What the template says now about CPU and memory; nothing where it cannot be said."""
        if order.vm is None:
            return {}
        try:
            vector = with_defaults(eh_vector(order.vm, order.host), order.defaults, order.host)
        except TemplateError:
            return {}
        return size_of(vector, order.vm, order.settings)

    def _bring(
        self, order: Order, server: Server, state: str, desired: Mapping[str, Optional[str]], deadline: Deadline
    ) -> Optional[Server]:
        plan = plan_server(desired, state, server)
        return apply_server(order.zone.client, plan, server, deadline)

    def _power_off(self, order: Order, server: Server) -> None:
        deadline = order.deadline("SHUTDOWN_TIMEOUT")
        try:
            self._bring(order, server, "shutdown", KEEP if server.status == "active" else {}, deadline)
        except WaitTimeout as error:
            raise Failure(
                f"The guest of server {server.uuid} did not switch off within {deadline.seconds:g} s of the ACPI power "
                f"button, the server is still {error.last}: use the hard form of the action, or raise SHUTDOWN_TIMEOUT "
                "in vmm_ehrc."
            ) from error

    def _destroy(self, order: Order, server: Server, deadline: Deadline) -> None:
        """One call where the cloud destroys running servers (elastichosts-api 2.2), else stop and destroy."""
        order.check_owner(server)
        client = order.zone.client
        plan = plan_server({}, "absent", server)
        try:
            apply_server(client, Plan(plan.steps[-1:]), server, deadline)
        except (BusyError, FailedError):
            if len(plan.steps) == 1:
                raise
            apply_server(client, plan, server, deadline)


def _said(error: ElasticHostsError) -> bool:
    """Whether the cloud itself said no, so that asking again would only hear it again; a gateway's word is not its."""
    return isinstance(error, ApiError) and not (isinstance(error, SystemFault) and error.status != 500)
