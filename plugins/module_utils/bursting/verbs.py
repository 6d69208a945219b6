# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the VM driver does to a server: one method for each purpose an action of the core can have.

Every method gets an :class:`~.orders.Order` and returns the text of the SUCCESS; every failure is an exception whose
``str()`` is one sentence. Steps are planned and carried out by ``elastichosts.plan``, and carried out by its ``apply``.
"""

from __future__ import annotations

import uuid
from typing import Callable, Collection, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from ..elastichosts.errors import ElasticHostsError, MissingError
from ..elastichosts.identifiers import is_uuid
from ..elastichosts.servers import Server
from ..opennebula.errors import TemplateError
from ..opennebula.vm import Purpose, device_of, eh_vector
from .copies import Copies
from .creation import Creation
from .daemon import Cancelled
from .disks import DISKS_KEY, named, undelivered
from .journal import Journal, attempted
from .mapping import (
    DRIVES_KEY,
    HOST_KEY,
    PRIVATE_KEY,
    SEQ_KEY,
    restated,
    size_of,
    unstated,
    with_defaults,
    with_disks,
)
from .orders import Failure, Order
from .refusals import refusal
from .steps import KEEP, bring, destroy, power_off, take_over

WAITING_FOR_CANCEL = (12, 13)
"""LCM_STATEs in which a failed CANCEL makes the VM RUNNING again; in any other it is gone"""


class Verbs:
    """The purposes of ``opennebula.vm.Purpose`` as methods.

    :param log: takes a level letter, a VM id and a sentence for the administrator
    """

    def __init__(self, journal: Journal, log: Callable[[str, int, str], None]) -> None:
        self._journal = journal
        self._log = log
        self._copies = Copies(journal, log)
        self._creation = Creation(journal, self._copies, log)
        self.mend = self._creation.mend
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
            Purpose.ATTACH: self.attach,
            Purpose.DETACH: self.detach,
        }

    def create(self, order: Order) -> str:
        self._tell_undelivered(order)
        return self._creation.create(order)

    def _tell_undelivered(self, order: Order) -> None:
        """Write into the VM's log which parts of its template do not reach the server."""
        for sentence in undelivered(order.vm) if order.vm is not None else ():
            self._log("W", order.vm_id, sentence)

    # --- the server exists

    def start(self, order: Order) -> str:
        """DEPLOY of a VM that was off: start its server, with CPU, memory and drives as they are now (7.13, 7.14)."""
        server = self._needed(order)
        if order.request.action == "DEPLOY":
            self._tell_undelivered(order)
        desired: Dict[str, Optional[str]] = {}
        if server.status == "active":
            self._tell_late(order, server)
        else:
            desired.update(self._restated(order, server))
        desired[HOST_KEY] = order.host
        if order.vm is not None:
            desired[SEQ_KEY] = str(order.vm.history_seq)
        bring(order, server, "started", desired, order.deadline())
        return server.uuid

    def _tell_late(self, order: Order, server: Server) -> None:
        """Write into the VM's log that disks were attached or detached, and the server runs with its old drives."""
        drives = server.drives
        try:
            wanted = named(order.vm) if order.vm is not None else {}
        except TemplateError as error:
            self._log("W", order.vm_id, str(error))
            return
        gone = _of_disks(server) - set(wanted)
        late = {device for device, drive in wanted.items() if drive not in drives.values()} | (gone & set(drives))
        if late:
            self._log(
                "W",
                order.vm_id,
                f"Server {server.uuid} runs already, so its drives at {', '.join(sorted(late))} stay as they are: "
                "power the VM off and resume it for what its DISKs say.",
            )

    def restore(self, order: Order) -> str:
        self.start(order)
        return ""

    def stop(self, order: Order) -> str:
        """Cut the power, keep the server. Never destroys (opennebula-drivers 7.4)."""
        bring(order, self._needed(order), "stopped", KEEP, order.deadline())
        return ""

    def shutdown(self, order: Order) -> str:
        """ACPI power-off, keep the server."""
        power_off(order, self._needed(order))
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
        bring(order, self._needed(order), "present", {HOST_KEY: target}, order.deadline())
        return ""

    def _check_way(self, order: Order, target: str) -> None:
        here, there = order.settings, order.desk.settings.host(target)
        if (here.endpoint, here.auth) != (there.endpoint, there.auth):
            raise Failure(
                f"Deploy a new VM there instead: a server cannot move from host {order.host!r} to {target!r}, which "
                "are separate clouds."
            )

    def resize(self, order: Order) -> str:
        """Another size for a server that runs: MHz change at once, memory does not (elastichosts-api 2.2)."""
        server = self._needed(order)
        if order.vm is None:
            raise Failure(
                f"Power the VM off, resize it, and resume it: RESIZE of VM {order.vm_id} came without its description, "
                "and nothing was done."
            )
        vector = with_defaults(eh_vector(order.vm, order.host), order.desk.settings.template_defaults(), order.host)
        if vector.get("CPUMHZ") and vector.get("MEMORY"):
            raise Failure(
                "Change CPUMHZ and MEMORY of EH (onevm update), power the VM off and resume it: they decide about the "
                "server, not CPU and MEMORY of the VM, and nothing was done."
            )
        wanted = size_of(vector, order.vm, order.settings)
        if server.status != "stopped" and wanted["mem"] != str(server.mem):
            raise Failure(
                f"Power the VM off, resize it, and resume it: the memory of server {server.uuid} can only change while "
                "it is stopped, and nothing was done."
            )
        bring(order, server, "present", wanted, order.deadline())
        return ""

    def attach(self, order: Order) -> str:
        """A drive for a server that is stopped; the cloud changes none of one that runs (elastichosts-api 2.2)."""
        server, device, drive = self._disk(order)
        held = server.drives.get(device, "")
        if held not in ("", drive):
            raise Failure(
                f"Choose another TARGET: server {server.uuid} has drive {held} at {device}, and nothing was done."
            )
        marks = {} if device in _of_eh(server) else _marks({*_of_disks(server), device})
        bring(order, server, "present", {device: drive, **marks}, order.deadline())
        return ""

    def detach(self, order: Order) -> str:
        """Fine when the drive is not there. A drive that EH names as well stays."""
        server, device, drive = self._disk(order)
        if server.drives.get(device) == drive and device not in _of_eh(server):
            marks = _marks(_of_disks(server) - {device})
            bring(order, server, "present", {device: None, **marks}, order.deadline())
        return ""

    def _disk(self, order: Order) -> Tuple[Server, str, str]:
        """The stopped server, and device and drive of the disk that the action is about."""
        disk = order.vm.disk if order.vm else {}
        device, drive = device_of(disk.get("TARGET", "")), disk.get("SOURCE", "")
        if not device or not is_uuid(drive):
            raise Failure(refusal(order.request.action))
        server = self._needed(order)
        if server.status != "stopped":
            raise Failure(
                f"Power the VM off, attach or detach the disk, and resume it: server {server.uuid} is {server.status}, "
                "and its drives can only change while it is stopped. Nothing was done."
            )
        return server, device, drive

    def terminate(self, order: Order) -> str:
        """ACPI power-off, then destroy. A guest that does not obey keeps its server."""
        order, server = order.located()
        if server is not None:
            server = take_over(order, server)
            power_off(order, server)
        self.end(order, [] if server is None else [server])
        return ""

    def destroy(self, order: Order) -> str:
        """Destroy all that carries the VM's keys; fine when there is nothing.

        CLEANUP also follows an import that failed: the server is then still its owner's.
        """
        if self._forgotten(order):
            self._note_end(order)
        order, found = self._all_own(order)
        strangers = [] if order.request.action != "CLEANUP" else [one for one in found if not order.owns(one)]
        for server in strangers:
            self._log("W", order.vm_id, f"Server {server.uuid} was never taken over by this VM and is left as it was.")
        if self.end(order, [server for server in found if server not in strangers]):
            self._remember(lambda: self._journal.end_is_over(order.vm_id), order)
        return ""

    def _forgotten(self, order: Order) -> bool:
        """Whether the VM is gone for the core whatever is answered (opennebula-drivers 2.3)."""
        if order.request.action == "CLEANUP":
            return True
        return order.job.after_abort if order.vm is None else order.vm.lcm_state not in WAITING_FOR_CANCEL

    def _note_end(self, order: Order) -> None:
        # V1 says nothing of lives; there a later DEPLOY of the same front-end finishes this first.
        seq = None if order.vm is None else order.vm.history_seq
        self._remember(lambda: self._journal.ended(order.vm_id, order.host, seq), order)

    def _remember(self, note: Callable[[], None], order: Order) -> None:
        """An end goes on without the journal: a server that stays is worse than a doubt that is forgotten."""
        attempted(note, lambda sentence: self._log("W", order.vm_id, sentence))

    def end(self, order: Order, servers: Sequence[Server]) -> bool:
        """Destroy the servers of a VM, then the drives that were made for it.

        A server says whether it had any; where there is none, a deploy may have ended between drive and server. Once
        the server is gone, the VM is; a drive that cannot go yet is the journal's then. False when there is one.
        """
        for server in servers:
            destroy(order, take_over(order, server), order.deadline())
        self._remember(lambda: self._journal.give_up(order.vm_id), order)
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
            power_off(order, server)
            server = order.zone.client.servers.get(server.uuid)
        bring(order, server, "started", {}, order.deadline())
        return ""

    def reset(self, order: Order) -> str:
        bring(order, self._needed(order), "reset", {}, order.deadline())
        return ""

    # --- parts

    def _needed(self, order: Order) -> Server:
        where, server = order.located()
        if server is None:
            raise order.gone()
        if where is not order:
            raise Failure(
                "Give the VM back to the host where its server is, or recover it with --recreate: server "
                f"{server.uuid} of VM {order.vm_id} is at another account ({where.settings.endpoint}) than that of "
                f"host {order.host!r}, and cannot move. Its host is "
                f"{server.properties.get(HOST_KEY, where.settings.host)!r}."
            )
        return take_over(order, server)

    def _all_own(self, order: Order) -> Tuple[Order, List[Server]]:
        """The VM's servers, with an order for the account where they are."""
        if order.deploy_id:
            order, server = order.located()
            return order, [] if server is None else [server]
        # A look shared with others may be older than what this VM's own deploy has just made.
        return order, order.own_now()

    def _restated(self, order: Order, server: Server) -> Dict[str, Optional[str]]:
        """What the template says now about a server that is off; nothing where it cannot be said.

        New copies of IMAGE are made for it. Should the start fail then, they are there, and known to the server or to
        the journal.
        """
        if order.vm is None:
            return {}
        stated, changes = unstated(server), {}
        try:
            defaults = order.desk.settings.template_defaults()
            stated = restated(order.vm, order.host, order.settings, defaults, server)
            changes = stated.server
        except TemplateError as error:
            if order.vm.eh:
                self._log("W", order.vm_id, f"The server is started as it was, without the changes in EH: {error}")
        disks = with_disks(order.vm, server, stated)
        self._check_drives(order, disks)
        changes = {**changes, **disks}
        if not stated.images:
            return changes
        attempt = uuid.uuid4().hex
        try:
            devices = self._copies.make(order, stated.images, stated.drive, server.name, attempt)
            order.zone.client.servers.set(server.uuid, {**changes, **devices})
            self._remember(lambda: self._journal.settle(attempt), order)
        except (ElasticHostsError, Failure, Cancelled):
            self._remember(lambda: self._journal.leave(attempt, order.vm_id, order.host), order)
            self._copies.drop(order, attempt)
            raise
        return {}

    def _check_drives(self, order: Order, disks: Mapping[str, Optional[str]]) -> None:
        """Look at the drives of DISKs before anything is changed.

        :raises Failure: a drive is not in the account, or somebody else uses it
        """
        for device, uuid_ in sorted(disks.items()):
            if not uuid_ or device == DISKS_KEY:
                continue
            try:
                drive = order.zone.client.drives.get(uuid_)
            except MissingError:
                raise Failure(
                    f"Detach the disk, or make its image anew: drive {uuid_} of a DISK of VM {order.vm_id} is not at "
                    f"{order.settings.endpoint}. The server was left as it is."
                ) from None
            if drive.claimed and drive.properties.get("claim:type") != "shared":
                raise Failure(
                    f"Detach the disk, or stop what uses its drive: drive {uuid_} of a DISK of VM {order.vm_id} is in "
                    f"use by {' '.join(drive.claimed)}. The server was left as it is."
                )


def _of_disks(server: Server) -> FrozenSet[str]:
    """Devices whose drives come from DISKs."""
    return frozenset(server.properties.get(DISKS_KEY, "").split())


def _of_eh(server: Server) -> FrozenSet[str]:
    """Devices whose drives come from EH=[...]."""
    return frozenset(key for name in (DRIVES_KEY, PRIVATE_KEY) for key in server.properties.get(name, "").split())


def _marks(devices: Collection[str]) -> Dict[str, Optional[str]]:
    return {DISKS_KEY: " ".join(sorted(devices)) or None}
