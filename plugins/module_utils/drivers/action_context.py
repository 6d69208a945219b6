# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The context of one action: its request, its settings, its account, and the servers and drives that it may change.

An action may change only what carries the ownership keys of its VM.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from typing import Callable, Iterator, List, Mapping, Optional, Tuple, Union

from ..elastichosts.clock import Clock, Deadline
from ..elastichosts.drives import Drive
from ..elastichosts.errors import ElasticHostsError, MissingError
from ..elastichosts.identifiers import is_uuid
from ..elastichosts.servers import Server
from ..elastichosts.values import DEVICE
from ..opennebula.driver_requests import VmmRequest
from ..opennebula.errors import OpenNebulaError
from ..opennebula.vm import VirtualMachine
from .accounts import CloudAccount, CloudAccounts
from .core_api import CoreHost, CoreSilent
from .job_queue import Job
from .journal import UNWRITTEN, BegunAction, Journal, JournalError
from .listing_cache import Listed, ListingCache, ListingLate, Snapshot
from .settings import HostSettings, Settings, SettingsError
from .translate import ATTEMPT_KEY, CLOUD_KEY, VM_KEY, owner

logger = logging.getLogger(__name__)

CLEAN_UP = 60.0
"""seconds for taking back what a failed action made"""
ELSEWHERE = 10.0
"""seconds that another account gets to say whether it has the server"""


class ActionFailed(Exception):
    """Raised to end an action with FAILURE; ``str()`` is the sentence for the core."""


KNOWN_ERRORS = (ActionFailed, ElasticHostsError, OpenNebulaError, SettingsError, JournalError)
"""failures whose text is a sentence for the user"""


Log = Callable[[str, int, str], None]
"""takes a level letter, a VM id (-1: none) and a sentence for the administrator"""


@dataclass(frozen=True)
class ActionContext:
    """What the function of an action needs: request, settings, account, journal and clocks."""

    request: VmmRequest
    vm_id: int
    host: str
    """OpenNebula host of the request"""
    vm: Optional[VirtualMachine]
    """None in a protocol without VM documents (2.0 to 3.0), but for DEPLOY"""
    settings: HostSettings
    cloud: str
    """id of this OpenNebula cloud, EHCLOUD"""
    account: CloudAccount
    factory: ContextFactory
    job: Job
    cancelled: threading.Event
    """set when the core does not want the action any more"""
    begun: BegunAction
    """what the journal knew of the VM when this action began"""
    journal: Journal
    clock: Clock
    """for waits: another job may run meanwhile, and a cancellation ends the wait"""
    plain_clock: Clock
    """for waits that no cancellation ends"""

    @property
    def fresh(self) -> float:
        """Monotonic seconds: a listing that was begun earlier may be older than what was done to this VM."""
        previous = self.begun.previous
        return max(self.job.arrived, (previous.ended or 0.0) if previous else 0.0)

    def log(self, level: str, text: str) -> None:
        """Write a sentence into the VM's log."""
        self.factory.log(level, self.vm_id, text)

    def try_to_note(self, write: Callable[..., None], *arguments: Union[str, int, None]) -> None:
        """Call ``write``, a method of the journal; if the journal cannot be used, log that and go on.

        For what has happened in the cloud already, and has to be seen to the end with the journal or without.
        """
        try:
            write(*arguments)
        except JournalError as error:
            self.log("W", str(error))

    def deadline(self, setting: str = "ACTION_TIMEOUT") -> Deadline:
        """Return a deadline that is as many seconds away as ``setting`` says."""
        return Deadline(self.settings.number(setting), self.clock)

    def clean_up(self) -> Deadline:
        """Return the deadline for destroying what a failed action has made; a cancellation does not end it."""
        return Deadline(CLEAN_UP, self.plain_clock)

    # --- look-ups

    def listing(self) -> Snapshot[Server]:
        """Return a listing of the account's servers that was begun at ``fresh`` or later.

        :raises ActionFailed: no listing came in time
        :raises ElasticHostsError:
        """
        return self._since(self.account.servers, self.fresh)

    def servers(self, *, since: float) -> Tuple[Server, ...]:
        """Return all servers of the account, by a listing that was begun at ``since`` or later. Raises as listing."""
        return self._since(self.account.servers, since).things

    def drives(self) -> List[Drive]:
        """Return all drives of the account. Raises as :meth:`listing`."""
        return list(self._since(self.account.drives, self.fresh).things)

    def own_drives(self) -> List[Drive]:
        """Return the drives with this VM's ownership keys, by a listing that begins now. Raises as :meth:`listing`."""
        return self._since(self.account.drives, self.plain_clock.monotonic()).of(self.cloud).get(self.vm_id, [])

    def _since(self, cache: ListingCache[Listed], moment: float) -> Snapshot[Listed]:
        wait = self.settings.number("ACTION_TIMEOUT")
        try:
            return cache.since(moment, wait, own=True)
        except ListingLate:
            raise ActionFailed(
                f"Look whether the endpoint is up: {self.settings.endpoint} did not answer within {wait:g} s when it "
                "was asked for a listing."
            ) from None

    def listing_now(self) -> Snapshot[Server]:
        """Return a listing of the account's servers that begins now. Raises as :meth:`listing`."""
        return self._since(self.account.servers, self.plain_clock.monotonic())

    def own_now(self) -> List[Server]:
        """Return the servers with this VM's ownership keys, by a listing that begins now. Raises as :meth:`listing`."""
        return self.listing_now().of(self.cloud).get(self.vm_id, [])

    def made_by(self, attempt: str) -> Optional[Server]:
        """Return the server that the create call of ``attempt`` has made, by a listing that begins now."""
        return next((server for server in self.own_now() if server.properties.get(ATTEMPT_KEY) == attempt), None)

    def one_own(self, listing: Optional[Snapshot[Server]] = None) -> Optional[Server]:
        """Return the one server with this VM's ownership keys, by ``listing`` or a fresh one.

        :raises ActionFailed: there are several
        """
        found = (listing or self.listing()).of(self.cloud).get(self.vm_id, [])
        if len(found) > 1:
            uuids = ", ".join(server.uuid for server in found)
            raise ActionFailed(
                f"Look which server is the VM's, and destroy the others: VM {self.vm_id} has {len(found)} servers in "
                f"the cloud ({uuids})."
            )
        return found[0] if found else None

    def recorded(self) -> Optional[Server]:
        """Return the VM's server: the one that the core has recorded, else the one with the ownership keys.

        :raises ActionFailed: the recorded one belongs to somebody else
        """
        uuid = self.deploy_id
        if uuid:
            try:
                found = self.account.client.servers.get(uuid)
            except MissingError:
                return self.one_own()
            self.check_owner(found)
            return found
        return self.one_own()

    @property
    def deploy_id(self) -> str:
        """Return the UUID of the server that the core has recorded for the VM; empty when the deploy id is no UUID."""
        known = self.request.deploy_id or (self.vm.deploy_id if self.vm else "")
        return known if is_uuid(known) else ""

    def located(self) -> Tuple[ActionContext, Optional[Server]]:
        """Find the VM's server, at other accounts of this front-end as well; return it with a context for its account.

        A VM that was moved to a host of another account, which cannot work, still has its server where it was
        (opennebula-drivers 7.15).
        """
        found = self.recorded()
        if found is not None or not self.deploy_id:
            return self, found
        for other in self._elsewhere():
            try:
                with other.account.client.transport.within(Deadline(ELSEWHERE, self.plain_clock)):
                    there = other.account.client.servers.get(self.deploy_id)
            except ElasticHostsError:
                continue  # not there, or nobody knows: it is not the account that was asked about
            if other.owns(there):
                return other, there
        return self, None

    def _elsewhere(self) -> Iterator[ActionContext]:
        for settings in self.factory.settings.all_hosts():
            try:
                if (settings.endpoint, settings.auth) != (self.settings.endpoint, self.settings.auth):
                    yield replace(
                        self, settings=settings, cloud=settings.cloud, account=self.factory.accounts.of(settings)
                    )
            except (SettingsError, ElasticHostsError):
                continue

    @property
    def imported(self) -> bool:
        """Whether the VM was made from a server that was there before (opennebula-drivers 9.4)."""
        return self.vm is not None and self.vm.imported and bool(self.deploy_id)

    def owns(self, server: Server) -> bool:
        """Whether the server carries this VM's ownership keys."""
        return owner(server, self.cloud) == self.vm_id

    def check_owner(self, server: Server) -> None:
        """:raises ActionFailed: the server is neither marked as this VM's, nor unmarked and imported"""
        if self.owns(server):
            return
        if self.imported and CLOUD_KEY not in server.properties and VM_KEY not in server.properties:
            return
        raise ActionFailed(
            f"Check EHCLOUD in vmm_ehrc, or mark the server if it is this VM's: server {server.uuid} is not marked as "
            f"that of VM {self.vm_id} (user:one-cloud {self.cloud}, user:one-vm {self.vm_id}), so it was left alone."
        )

    def check_drive(self, drive: Drive) -> None:
        """Check that a drive which the template names may be used: it is not another VM's of this cloud.

        All users of OpenNebula share one account, so the cloud itself would let them.

        :raises ActionFailed:
        """
        if owner(drive, self.cloud) not in (None, self.vm_id):
            raise ActionFailed(
                f"Name another drive in the template: drive {drive.uuid} belongs to another VM than VM {self.vm_id}, "
                "and nothing was done with it."
            )

    def check_named_drives(self, wanted: Mapping[str, Optional[str]]) -> None:
        """Check the drives at the devices of ``wanted``, before anything is changed.

        :raises ActionFailed: one belongs to another VM
        """
        named = {value for key, value in wanted.items() if DEVICE.fullmatch(key) and value}
        for drive in self.drives() if named else ():
            if drive.uuid in named:
                self.check_drive(drive)

    def gone(self) -> ActionFailed:
        """Return the error of an action that needs the server, when the server is missing."""
        name = f"server {self.deploy_id}" if self.deploy_id else "the server"
        return ActionFailed(
            f"Recover the VM with --recreate to have a new server made, or delete it: {name} of VM {self.vm_id} is not "
            f"at {self.settings.endpoint} any more."
        )


@dataclass
class ContextFactory:
    """Makes the contexts of a driver's actions.

    :param log: of the driver
    :param core_hosts: asks the core for all its hosts; raises CoreSilent
    """

    settings: Settings
    accounts: CloudAccounts
    journal: Journal
    clock: Clock
    log: Log
    core_hosts: Callable[[], List[CoreHost]]
    driver_name: str = ""
    """NAME of our VM_MAD section in oned.conf, once a request has told it"""

    def other_driver(self, request: VmmRequest, target: str) -> str:
        """Return the name of the VM driver of the host ``target`` if it is another one than ours; else nothing.

        The newest history record of a VM that is to migrate names its new host and the driver of that host
        (opennebula-drivers 9.3). What the request does not tell is asked from the core; a core that does not answer
        proves nothing.
        """
        vm, own = request.vm, self.driver_name
        there = vm.history_driver if vm is not None and vm.history_host == target else ""
        if not own or not there:
            try:
                drivers = {host.name: host.vm_driver for host in self.core_hosts()}
            except CoreSilent as silence:
                logger.info("MIGRATE VM %s: %s", request.id, silence)
                drivers = {}
            own, there = own or drivers.get(request.host, ""), there or drivers.get(target, "")
        return there if own and there != own else ""

    def make(
        self,
        request: VmmRequest,
        vm: Optional[VirtualMachine],
        job: Job,
        *,
        begun: BegunAction = UNWRITTEN,
    ) -> ActionContext:
        """Return the context of the action that ``request`` asks for.

        :raises SettingsError: the settings of the request's host are missing or wrong
        :raises ConfigurationError: endpoint or auth have a wrong form
        """
        settings = self.settings.host(request.host)
        return ActionContext(
            request=request,
            vm_id=request.id,
            host=request.host,
            vm=vm,
            settings=settings,
            account=self.accounts.of(settings),
            cloud=settings.cloud,
            factory=self,
            job=job,
            cancelled=job.cancelled,
            begun=begun,
            journal=self.journal,
            clock=job.clock or self.clock,
            plain_clock=self.clock,
        )


def attempt_of(thing: Union[Server, Drive]) -> str:
    return thing.properties.get(ATTEMPT_KEY, "")
