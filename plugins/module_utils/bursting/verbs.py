# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the VM driver does to a server: one method for each purpose an action of the core can have.

Every method gets an :class:`~.orders.Order` and returns the text of the SUCCESS; every failure is an exception whose
``str()`` is one sentence. Steps are planned and carried out by ``elastichosts.ensure``, as in the modules.
"""

from __future__ import annotations

import uuid
from typing import Callable, Dict, List, Mapping, Optional, Sequence

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
from ..opennebula.errors import OpenNebulaError, TemplateError
from ..opennebula.vm import Purpose, eh_vector
from .copies import Copies
from .daemon import Cancelled
from .journal import DONE, ENDED, GIVEN_UP, Doubt, Journal, JournalError
from .mapping import (
    ATTEMPT_KEY,
    HOST_KEY,
    PRIVATE_KEY,
    SEQ_KEY,
    Specification,
    of_life,
    ownership,
    restated,
    size_of,
    specification,
    with_defaults,
)
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
WAITING_FOR_CANCEL = (12, 13)
"""LCM_STATEs in which a failed CANCEL makes the VM RUNNING again; in any other it is gone"""
KEEP: Mapping[str, Optional[str]] = {"persistent": "true"}
"""without it the cloud destroys a server that stops (elastichosts-api 2.2)"""


class Verbs:
    """The purposes of ``opennebula.vm.Purpose`` as methods.

    :param log: takes a level letter, a VM id and a sentence for the administrator
    """

    def __init__(self, journal: Journal, log: Callable[[str, int, str], None]) -> None:
        self._journal = journal
        self._log = log
        self._copies = Copies(journal, log)
        self.table: Mapping[Purpose, Callable[[Order], str]] = {
            Purpose.CREATE: self.create,
            Purpose.START: self.start,
            Purpose.STOP: self.stop,
            Purpose.SHUTDOWN: self.shutdown,
            Purpose.TERMINATE: self.terminate,
            Purpose.DESTROY: self.destroy,
            Purpose.SAVE: self.shutdown,
            Purpose.SAVE_AWAY: self.save_away,
            Purpose.STOP_AWAY: self.stop_away,
            Purpose.MIGRATE: self.migrate,
            Purpose.RESTORE: self.restore,
            Purpose.REBOOT: self.reboot,
            Purpose.RESET: self.reset,
            Purpose.RESIZE: self.resize,
        }

    # --- creation

    def create(self, order: Order) -> str:
        """Make the VM's server, or adopt the one that carries its keys. The text is its UUID."""
        if order.imported:
            return self._import(order)
        if order.vm is None:
            raise Failure(f"DEPLOY of VM {order.vm_id} came without its description, so nothing could be made of it.")
        wanted = specification(order.vm, order.host, order.settings, order.defaults)
        self._begin_create(order, wanted.server["name"])
        before = self._journal.end_of(order.vm_id)
        if before is not None:
            self._finish(order, before)
        found = order.one_own()
        if found is not None:
            return self._adopt(order, found, wanted.server)
        server = self._make(order, wanted)
        return server.uuid

    def _begin_create(self, order: Order, name: str) -> None:
        """Without a memory of what was begun, nothing is: this may raise JournalError."""
        self._journal.begin(order.vm_id, order.request.action, order.host, creates=True, name=name)

    def _make(self, order: Order, wanted: Specification, *, again: bool = True) -> Server:
        """Create and start; whatever goes wrong, nothing is left behind, or the journal remembers the attempt."""
        if order.cancelled:
            raise Cancelled
        attempt = uuid.uuid4().hex
        try:
            devices: Properties = {}
            if wanted.images:
                self._copies.clear(order)
                devices = self._copies.make(order, wanted.images, wanted.drive, wanted.server["name"], attempt)
            deadline = order.deadline()
            server = self._created(order, {**wanted.server, **devices, ATTEMPT_KEY: attempt}, deadline)
            if order.cancelled:
                raise Cancelled
            server = self._active(order, server, deadline)
            if devices:
                self._journal.settle(attempt)
            return server
        except (ElasticHostsError, OpenNebulaError, Failure, Cancelled) as error:
            if isinstance(error, NOTHING_MADE) and not wanted.images:
                raise
            lost = isinstance(error, ElasticHostsError) and error.maybe_done and not _said(error)
            looked = self._take_back(order, attempt, copies=bool(wanted.images), doubtful=lost)
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

    def _take_back(self, order: Order, attempt: str, *, copies: bool, doubtful: bool) -> bool:
        """Destroy what ``attempt`` made, if anything; false when the cloud could not be asked.

        The journal knows of it until that is certain: something may still appear after a look (``doubtful``), and a
        drive that is being imaged cannot be destroyed yet.
        """
        try:
            self._journal.doubt(attempt, order.vm_id, order.host)
            found = order.made_by(attempt)
            if found is not None:
                self._destroy(order, found, order.clean_up())
            clean = self._copies.drop(order, attempt) if copies else True
            if clean and (found is not None or not doubtful):
                self._journal.settle(attempt)
        except (ElasticHostsError, Failure, JournalError) as error:
            self._log("E", order.vm_id, f"A server or drive may be left behind: {error}")
            return False
        return True

    def mend(self, order: Order, doubt: Doubt) -> bool:
        """Destroy what nobody wants; true when there was something, and it is gone."""
        if doubt.state == ENDED:
            self._finish(order, doubt)
            return True
        found = order.made_by(doubt.attempt) if doubt.state == GIVEN_UP else None
        if found is not None:
            self._destroy(order, found, order.clean_up())
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
                self._destroy(order, server, order.clean_up())
                self._log("W", order.vm_id, f"Server {server.uuid} was left when this VM ended; it is destroyed.")
        self._copies.release(order, order.clean_up(), doubt.seq)
        self._journal.settle(doubt.attempt)

    def _adopt(self, order: Order, found: Server, wanted: Properties) -> str:
        """The server of an earlier DEPLOY of this VM. One that runs is taken as it is; another is brought up."""
        attempt = attempt_of(found)
        marks: Properties = {ATTEMPT_KEY: uuid.uuid4().hex, SEQ_KEY: wanted[SEQ_KEY]}
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
        if order.vm is None:
            raise order.gone()
        marks = {**ownership(order.vm, order.cloud, order.host), **KEEP}
        self._bring(order, found, "started", marks, order.deadline())
        return found.uuid

    # --- the server exists

    def start(self, order: Order) -> str:
        """DEPLOY of a VM that was off: start its server, with CPU and memory as they are now (7.13, 7.14)."""
        server = self._needed(order)
        desired: Dict[str, Optional[str]] = {} if server.status == "active" else self._restated(order, server)
        desired[HOST_KEY] = order.host
        if order.vm is not None:
            desired[SEQ_KEY] = str(order.vm.history_seq)
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
        """First half of a cold migration: between two hosts of one account the server stays where it is."""
        self._check_way(order, order.vm.history_host if order.vm else "")
        return self.shutdown(order)

    def stop_away(self, order: Order) -> str:
        """The same, by cutting the power."""
        self._check_way(order, order.vm.history_host if order.vm else "")
        return self.stop(order)

    def migrate(self, order: Order) -> str:
        """Between two hosts of one account there is nothing to move but the mark."""
        target = order.request.fields.get("MIGR_HOST", "")
        self._check_way(order, target)
        self._bring(order, self._needed(order), "present", {HOST_KEY: target}, order.deadline())
        return ""

    def _check_way(self, order: Order, target: str) -> None:
        here, there = order.settings, order.settings_of(target)
        if (here.endpoint, here.auth) != (there.endpoint, there.auth):
            raise Failure(
                f"A server cannot move from host {order.host!r} to {target!r}: they are separate clouds. Deploy a new "
                "VM there instead."
            )

    def resize(self, order: Order) -> str:
        """Another size for a server that runs: MHz change at once, memory does not (elastichosts-api 2.2)."""
        server = self._needed(order)
        if order.vm is None:
            raise Failure(f"RESIZE of VM {order.vm_id} came without its description, so nothing was done.")
        vector = with_defaults(eh_vector(order.vm, order.host), order.defaults, order.host)
        if vector.get("CPUMHZ") and vector.get("MEMORY"):
            raise Failure(
                "CPUMHZ and MEMORY of the VM's EH=[...] decide about the server, not its CPU and MEMORY, and nothing "
                "was done: change them there (onevm update), power the VM off and resume it."
            )
        wanted = size_of(vector, order.vm, order.settings)
        if server.status != "stopped" and wanted["mem"] != str(server.mem):
            raise Failure(
                f"The memory of server {server.uuid} can only change while it is stopped, and nothing was done: power "
                "the VM off, resize it, and resume it."
            )
        self._bring(order, server, "present", wanted, order.deadline())
        return ""

    def terminate(self, order: Order) -> str:
        """ACPI power-off, then destroy. A guest that does not obey keeps its server."""
        server = order.recorded()
        if server is not None:
            self._power_off(order, server)
        self._end(order, [] if server is None else [server])
        return ""

    def destroy(self, order: Order) -> str:
        """Destroy all that carries the VM's keys; fine when there is nothing.

        CLEANUP also follows an import that failed: the server is then still its owner's.
        """
        if self._forgotten(order):
            self._note_end(order)
        found = self._all_own(order)
        strangers = [] if order.request.action != "CLEANUP" else [one for one in found if not order.owns(one)]
        for server in strangers:
            self._log("W", order.vm_id, f"Server {server.uuid} was never taken over by this VM and is left as it was.")
        if self._end(order, [server for server in found if server not in strangers]):
            self._settle_end(order)
        return ""

    def _forgotten(self, order: Order) -> bool:
        """Whether the VM is gone for the core whatever is answered (opennebula-drivers 2.3)."""
        lcm = order.vm.lcm_state if order.vm else None
        return order.request.action == "CLEANUP" or lcm not in WAITING_FOR_CANCEL

    def _note_end(self, order: Order) -> None:
        # V1 says nothing of lives; there a later DEPLOY of the same front-end finishes this first.
        seq = None if order.vm is None else order.vm.history_seq
        self._journal.ended(order.vm_id, order.host, seq)

    def _settle_end(self, order: Order) -> None:
        before = self._journal.end_of(order.vm_id)
        if before is not None:
            self._journal.settle(before.attempt)

    def _end(self, order: Order, servers: Sequence[Server]) -> bool:
        """Destroy the servers of a VM, then the drives that were made for it.

        A server says whether it had any; where there is none, a deploy may have ended between drive and server. Once
        the server is gone, the VM is; a drive that cannot go yet is the journal's then. False when there is one.
        """
        for server in servers:
            self._destroy(order, server, order.deadline())
        if servers and not any(PRIVATE_KEY in server.properties for server in servers):
            return True
        try:
            self._copies.release(order, order.deadline())
        except (ElasticHostsError, Failure) as error:
            if not servers:
                raise
            self._note_end(order)
            self._log(
                "W", order.vm_id, f"A drive of this VM is left over and is destroyed as soon as it can be: {error}"
            )
            return False
        return True

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

    def _restated(self, order: Order, server: Server) -> Dict[str, Optional[str]]:
        """What the template says now about a server that is off; nothing where it cannot be said.

        New copies of IMAGE are made for it. Should the start fail then, they are there, and known to the server or to
        the journal.
        """
        if order.vm is None:
            return {}
        try:
            wanted = restated(order.vm, order.host, order.settings, order.defaults, server)
        except TemplateError as error:
            if order.vm.eh:
                self._log("W", order.vm_id, f"The server is started as it was, without the changes in EH: {error}")
            return {}
        if not wanted.images:
            return wanted.server
        attempt = uuid.uuid4().hex
        try:
            devices = self._copies.make(order, wanted.images, wanted.drive, server.name, attempt)
            order.zone.client.servers.set(server.uuid, {**wanted.server, **devices})
            self._journal.settle(attempt)
        except (ElasticHostsError, Failure, Cancelled):
            self._journal.leave(attempt, order.vm_id, order.host)
            self._copies.drop(order, attempt)
            raise
        return {}

    def _bring(
        self, order: Order, server: Server, state: str, desired: Mapping[str, Optional[str]], deadline: Deadline
    ) -> Optional[Server]:
        plan = plan_server(desired, state, server)
        return apply_server(order.zone.client, plan, server, deadline)

    def _power_off(self, order: Order, server: Server) -> None:
        deadline = order.deadline("SHUTDOWN_TIMEOUT")
        try:
            try:
                self._bring(order, server, "shutdown", KEEP if server.status == "active" else {}, deadline)
            except ElasticHostsError as error:
                # A FAILURE would make the VM RUNNING again while its guest may be going off (opennebula-drivers 7.10).
                if not error.maybe_done:
                    raise
                wait_status(order.zone.client, server.uuid, "stopped", deadline)
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
