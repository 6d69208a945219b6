# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the VM driver does to a server that exists: one function for each purpose an action of the core can have.

Every function gets an :class:`~.action_context.ActionContext` and returns the text of the SUCCESS; every failure is an
exception whose ``str()`` is one sentence. Steps are planned by ``elastichosts.plan`` and carried out by its ``apply``.
"""

from __future__ import annotations

import uuid
from typing import Callable, Collection, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from ..elastichosts.apply import apply_server, wait_status
from ..elastichosts.clock import Deadline
from ..elastichosts.errors import BusyError, ElasticHostsError, FailedError, MissingError, WaitTimeout
from ..elastichosts.identifiers import is_uuid
from ..elastichosts.plan import Plan, plan_server
from ..elastichosts.servers import Server
from ..opennebula.action_table import Purpose
from ..opennebula.errors import TemplateError
from ..opennebula.vm import VirtualMachine, device_of, eh_vector
from . import image_drives
from .action_context import ActionContext, ActionFailed
from .job_queue import Cancelled
from .journal import ENDED, LEFT, end_of
from .translate import (
    DISKS_KEY,
    DRIVES_KEY,
    HOST_KEY,
    PRIVATE_KEY,
    SEQ_KEY,
    named,
    ownership,
    restated,
    size_of,
    undelivered,
    unstated,
    with_defaults,
    with_disks,
)
from .unsupported import refusal

WAITING_FOR_CANCEL = (12, 13)
"""LCM_STATEs in which a failed CANCEL makes the VM RUNNING again; in any other it is gone"""
KEEP: Mapping[str, Optional[str]] = {"persistent": "true"}
"""without it the cloud destroys a server that stops (elastichosts-api 2.2)"""


# --- the server exists


def start(context: ActionContext) -> str:
    """DEPLOY of a VM that was off: start its server, with CPU, memory and drives as they are now.

    See opennebula-drivers 7.13, 7.14.
    """
    server = _needed(context)
    if context.request.action == "DEPLOY":
        for sentence in undelivered(context.vm) if context.vm is not None else ():
            context.log("W", sentence)
    desired: Dict[str, Optional[str]] = {}
    if server.status == "active":
        _tell_late(context, server)
    else:
        desired.update(_restated(context, server))
    desired[HOST_KEY] = context.host
    if context.vm is not None:
        desired[SEQ_KEY] = str(context.vm.history_seq)
    bring(context, server, "started", desired, context.deadline())
    return server.uuid


def _tell_late(context: ActionContext, server: Server) -> None:
    """Write into the VM's log that disks were attached or detached, and the server runs with its old drives."""
    drives = server.drives
    try:
        wanted = named(context.vm) if context.vm is not None else {}
    except TemplateError as error:
        context.log("W", str(error))
        return
    gone = _of_disks(server) - set(wanted)
    late = {device for device, drive in wanted.items() if drive not in drives.values()} | (gone & set(drives))
    if late:
        context.log(
            "W",
            f"Server {server.uuid} runs already, so its drives at {', '.join(sorted(late))} stay as they are: "
            "power the VM off and resume it for what its DISKs say.",
        )


def restore(context: ActionContext) -> str:
    start(context)
    return ""


def stop(context: ActionContext) -> str:
    """Cut the power, keep the server. Never destroys (opennebula-drivers 7.4)."""
    bring(context, _needed(context), "stopped", KEEP, context.deadline())
    return ""


def shutdown(context: ActionContext) -> str:
    """ACPI power-off, keep the server."""
    power_off(context, _needed(context))
    return ""


def save_away(context: ActionContext) -> str:
    """Shut the server down for a cold migration between two hosts of one account; the server stays where it is."""
    _check_way(context, context.vm.history_host if context.vm else "")
    return shutdown(context)


def stop_away(context: ActionContext) -> str:
    """Cut the server's power for a migration between two hosts of one account (``--poff-hard``)."""
    _check_way(context, context.vm.history_host if context.vm else "")
    return stop(context)


def migrate(context: ActionContext) -> str:
    """Mark the server as that of another host with the same account; nothing has to be moved."""
    target = context.request.fields.get("MIGR_HOST", "")
    _check_way(context, target)
    bring(context, _needed(context), "present", {HOST_KEY: target}, context.deadline())
    return ""


def _check_way(context: ActionContext, target: str) -> None:
    """Check that the VM can go from its host to the host ``target``: both have to be this driver's, with one account.

    :raises ActionFailed:
    """
    here, there = context.settings, context.factory.settings.host(target)
    if (here.endpoint, here.auth) != (there.endpoint, there.auth):
        raise ActionFailed(
            f"Deploy a new VM there instead: a server cannot move from host {context.host!r} to {target!r}, which "
            "are separate clouds."
        )
    other = context.factory.other_driver(context.request, target)
    if other:
        raise ActionFailed(
            f"Deploy a new VM there instead: the server of VM {context.vm_id} cannot leave ElasticHosts for host "
            f"{target!r}, which has the VM driver {other}. Nothing was done."
        )


def resize(context: ActionContext) -> str:
    """Change the size of a running server: MHz change at once, memory does not (elastichosts-api 2.2)."""
    server = _needed(context)
    if context.vm is None:
        raise ActionFailed(
            f"Power the VM off, resize it, and resume it: RESIZE of VM {context.vm_id} came without its "
            "description, and nothing was done."
        )
    vector = with_defaults(
        eh_vector(context.vm, context.host), context.factory.settings.template_defaults(), context.host
    )
    if vector.get("CPUMHZ") and vector.get("MEMORY"):
        raise ActionFailed(
            "Change CPUMHZ and MEMORY of EH (onevm update), power the VM off and resume it: they decide about the "
            "server, not CPU and MEMORY of the VM, and nothing was done."
        )
    wanted = size_of(vector, context.vm, context.settings)
    if server.status != "stopped" and wanted["mem"] != str(server.mem):
        raise ActionFailed(
            f"Power the VM off, resize it, and resume it: the memory of server {server.uuid} can only change while "
            "it is stopped, and nothing was done."
        )
    bring(context, server, "present", wanted, context.deadline())
    return ""


def attach(context: ActionContext) -> str:
    """Add a drive to a stopped server; the drives of a running one cannot change (elastichosts-api 2.2)."""
    server, device, drive = _disk(context)
    held = server.drives.get(device, "")
    if held not in ("", drive):
        raise ActionFailed(
            f"Choose another TARGET: server {server.uuid} has drive {held} at {device}, and nothing was done."
        )
    marks = {} if device in _of_eh(server) else _marks({*_of_disks(server), device})
    bring(context, server, "present", {device: drive, **marks}, context.deadline())
    return ""


def detach(context: ActionContext) -> str:
    """Remove a drive from a stopped server, if the server has the drive and EH does not name it as well."""
    server, device, drive = _disk(context)
    if server.drives.get(device) == drive and device not in _of_eh(server):
        marks = _marks(_of_disks(server) - {device})
        bring(context, server, "present", {device: None, **marks}, context.deadline())
    return ""


def _disk(context: ActionContext) -> Tuple[Server, str, str]:
    """Return the stopped server, and device and drive of the disk that the action is about."""
    disk = context.vm.disk if context.vm else {}
    device, drive = device_of(disk.get("TARGET", "")), disk.get("SOURCE", "")
    if not device or not is_uuid(drive):
        raise ActionFailed(refusal(context.request.action))
    server = _needed(context)
    if server.status != "stopped":
        raise ActionFailed(
            f"Power the VM off, attach or detach the disk, and resume it: server {server.uuid} is {server.status}, "
            "and its drives can only change while it is stopped. Nothing was done."
        )
    return server, device, drive


def terminate(context: ActionContext) -> str:
    """Switch the server off by ACPI, then destroy it. The server of a guest that does not obey stays."""
    context, server = context.located()
    if server is not None:
        server = take_over(context, server)
        power_off(context, server)
    end(context, [] if server is None else [server])
    return ""


def destroy(context: ActionContext) -> str:
    """Destroy all servers and drives that carry the VM's keys; succeed when there are none.

    CLEANUP also follows an import that failed: the server is then still its owner's.
    """
    if _forgotten(context):
        _note_end(context)
    context, found = _all_own(context)
    strangers = [] if context.request.action != "CLEANUP" else [one for one in found if not context.owns(one)]
    for server in strangers:
        context.log("W", f"Server {server.uuid} was never taken over by this VM and is left as it was.")
    if end(context, [server for server in found if server not in strangers]):
        context.try_to_note(context.journal.resolved, end_of(context.vm_id))
    return ""


def _forgotten(context: ActionContext) -> bool:
    """Return whether the core forgets the VM even if the action fails (opennebula-drivers 2.3)."""
    if context.request.action == "CLEANUP":
        return True
    return context.job.after_abort if context.vm is None else context.vm.lcm_state not in WAITING_FOR_CANCEL


def _note_end(context: ActionContext) -> None:
    # 2.0 says nothing of lives; there a later DEPLOY of the same front-end finishes this first.
    seq = None if context.vm is None else context.vm.history_seq
    context.try_to_note(context.journal.unresolved, end_of(context.vm_id), context.vm_id, context.host, ENDED, seq)


def end(context: ActionContext, servers: Sequence[Server]) -> bool:
    """Destroy the servers of a VM, then the drives that were made for it.

    A server says whether it had any; where there is none, a deploy may have ended between drive and server. Once
    the server is gone, the VM is; a drive that cannot go yet is the journal's then. False when there is one.
    """
    for server in servers:
        destroy_server(context, take_over(context, server), context.deadline())
    context.try_to_note(context.journal.give_up, context.vm_id)
    if servers and not any(PRIVATE_KEY in server.properties for server in servers):
        return True
    try:
        image_drives.release(context, context.deadline())
    except (ElasticHostsError, ActionFailed) as error:
        if not servers:
            raise
        _note_end(context)
        context.log("W", f"A drive of this VM is left over and is destroyed as soon as it can be: {error}")
        return False
    return True


def reboot(context: ActionContext) -> str:
    """Switch the server off by ACPI and start it, since the API has no reboot. A guest that does not obey runs on."""
    server = _needed(context)
    if server.status == "active":
        power_off(context, server)
        server = context.account.client.servers.get(server.uuid)
    bring(context, server, "started", {}, context.deadline())
    return ""


def reset(context: ActionContext) -> str:
    bring(context, _needed(context), "reset", {}, context.deadline())
    return ""


# --- parts


def _needed(context: ActionContext) -> Server:
    where, server = context.located()
    if server is None:
        raise context.gone()
    if where is not context:
        raise ActionFailed(
            "Give the VM back to the host where its server is, or recover it with --recreate: server "
            f"{server.uuid} of VM {context.vm_id} is at another account ({where.settings.endpoint}) than that of "
            f"host {context.host!r}, and cannot move. Its host is "
            f"{server.properties.get(HOST_KEY, where.settings.host)!r}."
        )
    return take_over(context, server)


def _all_own(context: ActionContext) -> Tuple[ActionContext, List[Server]]:
    """Return the VM's servers, with a context for the account where they are."""
    if context.deploy_id:
        context, server = context.located()
        return context, [] if server is None else [server]
    # A look shared with others may be older than what this VM's own deploy has just made.
    return context, context.own_now()


def _restated(context: ActionContext, server: Server) -> Dict[str, Optional[str]]:
    """Return the changes that the VM's template asks for, for a stopped server; make missing copies of IMAGE.

    New copies of IMAGE are made for it. Should the start fail then, they are there, and known to the server or to
    the journal.
    """
    if context.vm is None:
        return {}
    stated, changes = unstated(server), {}
    try:
        defaults = context.factory.settings.template_defaults()
        stated = restated(context.vm, context.host, context.cloud, context.settings, defaults, server)
        changes = stated.server
    except TemplateError as error:
        if context.vm.eh:
            context.log("W", f"The server is started as it was, without the changes in EH: {error}")
    disks = with_disks(context.vm, server, stated)
    _check_drives(context, disks)
    context.check_named_drives({key: value for key, value in changes.items() if value != server.drives.get(key)})
    changes = {**changes, **disks}
    if not stated.images:
        return changes
    attempt = uuid.uuid4().hex
    try:
        devices = image_drives.make(context, stated.images, stated.drive, server.name, attempt)
        held = context.account.client.servers.get(server.uuid).drives
        if any(held.get(device) != server.drives.get(device) for device in devices):
            # Another driver that was asked for the same start has been here meanwhile.
            if image_drives.drop(context, attempt):
                context.try_to_note(context.journal.resolved, attempt)
            return {}
        context.account.client.servers.set(server.uuid, {**changes, **devices})
        context.try_to_note(context.journal.resolved, attempt)
    except (ElasticHostsError, ActionFailed, Cancelled):
        context.try_to_note(context.journal.unresolved, attempt, context.vm_id, context.host, LEFT)
        image_drives.drop(context, attempt)
        raise
    return {}


def _check_drives(context: ActionContext, disks: Mapping[str, Optional[str]]) -> None:
    """Check that the drives of the VM's DISKs exist and are free, before anything is changed.

    :raises ActionFailed: a drive is not in the account, or somebody else uses it
    """
    for device, uuid_ in sorted(disks.items()):
        if not uuid_ or device == DISKS_KEY:
            continue
        try:
            drive = context.account.client.drives.get(uuid_)
        except MissingError:
            raise ActionFailed(
                f"Detach the disk, or make its image anew: drive {uuid_} of a DISK of VM {context.vm_id} is not at "
                f"{context.settings.endpoint}. The server was left as it is."
            ) from None
        context.check_drive(drive)
        if drive.claimed and drive.properties.get("claim:type") != "shared":
            raise ActionFailed(
                f"Detach the disk, or stop what uses its drive: drive {uuid_} of a DISK of VM {context.vm_id} is "
                f"in use by {' '.join(drive.claimed)}. The server was left as it is."
            )


def _of_disks(server: Server) -> FrozenSet[str]:
    """Return the devices whose drives come from DISKs of the VM."""
    return frozenset(server.properties.get(DISKS_KEY, "").split())


def _of_eh(server: Server) -> FrozenSet[str]:
    """Return the devices whose drives come from EH=[...]."""
    return frozenset(key for name in (DRIVES_KEY, PRIVATE_KEY) for key in server.properties.get(name, "").split())


def _marks(devices: Collection[str]) -> Dict[str, Optional[str]]:
    return {DISKS_KEY: " ".join(sorted(devices)) or None}


# --- steps that several actions take


def bring(
    context: ActionContext, server: Server, state: str, desired: Mapping[str, Optional[str]], deadline: Deadline
) -> Optional[Server]:
    return apply_server(context.account.client, plan_server(desired, state, server), server, deadline)


def take_over(context: ActionContext, server: Server) -> Server:
    """Mark the server of an imported VM as this VM's, if it is not marked yet.

    ``onehost importvm`` sends no DEPLOY up to 6.10 (opennebula-drivers 4), so any action may be the first that the
    driver hears of. ActionContext.check_owner has seen that nobody else's mark is on the server.
    """
    if context.vm is None or context.owns(server):
        return server
    return bring(context, server, "present", imported_marks(context, context.vm), context.deadline()) or server


def imported_marks(context: ActionContext, vm: VirtualMachine) -> Mapping[str, Optional[str]]:
    """Return what is set on the server of an imported VM: the ownership keys, and that the server outlives a stop."""
    return {**ownership(vm, context.cloud, context.host), **KEEP}


def power_off(context: ActionContext, server: Server) -> None:
    """Press the ACPI power button and wait until the server is off, but still there.

    :raises ActionFailed: the guest does not obey
    """
    deadline = context.deadline("SHUTDOWN_TIMEOUT")
    try:
        try:
            bring(context, server, "shutdown", KEEP if server.status == "active" else {}, deadline)
        except ElasticHostsError as error:
            # A FAILURE would make the VM RUNNING again while its guest may be going off (opennebula-drivers 7.10).
            if not error.maybe_done:
                raise
            wait_status(context.account.client, server.uuid, "stopped", deadline)
    except WaitTimeout as error:
        raise ActionFailed(
            "Use the hard form of the action, or raise SHUTDOWN_TIMEOUT in vmm_ehrc: the guest of server "
            f"{server.uuid} did not switch off within {deadline.seconds:g} s of the ACPI power button, the server is "
            f"still {error.last}."
        ) from error


def destroy_server(context: ActionContext, server: Server, deadline: Deadline) -> None:
    """Destroy the server, whatever it is doing.

    What has been asked for may still come true after an answer that was lost, and a FAILURE would tell the core that
    the server runs on: so before there is one, everything is tried again, in a time of its own
    (opennebula-drivers 7.10).
    """
    context.check_owner(server)
    try:
        _destroy(context, server, deadline)
    except ElasticHostsError:
        _destroy(context, server, context.clean_up())


def _destroy(context: ActionContext, server: Server, deadline: Deadline) -> None:
    """Destroy a server in one call; where the cloud refuses that for a running one, stop it first."""
    client = context.account.client
    plan = plan_server({}, "absent", server)
    try:
        apply_server(client, Plan(plan.steps[-1:]), server, deadline)
    except (BusyError, FailedError):
        if len(plan.steps) == 1:
            raise
        apply_server(client, plan, server, deadline)


ACTIONS: Mapping[Purpose, Callable[[ActionContext], str]] = {
    Purpose.START: start,
    Purpose.STOP: stop,
    Purpose.SHUTDOWN: shutdown,
    Purpose.TERMINATE: terminate,
    Purpose.DESTROY: destroy,
    Purpose.SAVE: shutdown,
    Purpose.SAVE_AWAY: save_away,
    Purpose.STOP_AWAY: stop_away,
    Purpose.MIGRATE: migrate,
    Purpose.RESTORE: restore,
    Purpose.REBOOT: reboot,
    Purpose.RESET: reset,
    Purpose.RESIZE: resize,
    Purpose.ATTACH: attach,
    Purpose.DETACH: detach,
}
"""what carries out each purpose, but for CREATE: see ``create_server``"""
