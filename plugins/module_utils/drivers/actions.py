# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The VM driver's actions on an existing server: one function for each :class:`~.action_table.Purpose`.

Each function takes an :class:`~.action_context.ActionContext` and returns the text of the SUCCESS reply; failures are
exceptions whose ``str()`` is one sentence. API calls are planned by ``elastichosts.plan`` and made by its ``apply``.
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
"""LCM_STATEs in which a failed CANCEL sets the VM back to RUNNING; in all others the core ends the VM all the same"""
KEEP: Mapping[str, Optional[str]] = {"persistent": "true"}
"""keeps a server when it stops; the cloud destroys servers that are not persistent (elastichosts-api 2.2)"""


# --- actions


def start(context: ActionContext) -> str:
    """Start the server of a VM that was off, with the CPU, memory and drives that the VM has now; return its UUID.

    See opennebula-drivers 7.13, 7.14.
    """
    server = _required_server(context)
    if context.request.action == "DEPLOY":
        for sentence in undelivered(context.vm) if context.vm is not None else ():
            context.log("W", sentence)
    desired: Dict[str, Optional[str]] = {}
    if server.status == "active":
        _warn_of_old_drives(context, server)
    else:
        desired.update(_prepare_start(context, server))
    desired[HOST_KEY] = context.host
    if context.vm is not None:
        desired[SEQ_KEY] = str(context.vm.history_seq)
    bring(context, server, "started", desired, context.deadline())
    return server.uuid


def _warn_of_old_drives(context: ActionContext, server: Server) -> None:
    """Warn in the VM's log if disks were attached or detached while the server ran, which keeps its old drives."""
    drives = server.drives
    try:
        wanted = named(context.vm) if context.vm is not None else {}
    except TemplateError as error:
        context.log("W", str(error))
        return
    detached = _of_disks(server) - set(wanted)
    changed = {device for device, drive in wanted.items() if drive not in drives.values()} | (detached & set(drives))
    if changed:
        context.log(
            "W",
            f"Server {server.uuid} runs already, so its drives at {', '.join(sorted(changed))} stay as they are: "
            "power the VM off and resume it for what its DISKs say.",
        )


def restore(context: ActionContext) -> str:
    """Start the server of a VM that was saved; the reply has no text."""
    start(context)
    return ""


def stop(context: ActionContext) -> str:
    """Power the server off at once and keep it; never destroys it (opennebula-drivers 7.4)."""
    bring(context, _required_server(context), "stopped", KEEP, context.deadline())
    return ""


def shutdown(context: ActionContext) -> str:
    """Power the server off by ACPI and keep it."""
    power_off(context, _required_server(context))
    return ""


def save_away(context: ActionContext) -> str:
    """Power the server off by ACPI for a cold migration between two hosts with one account; nothing is moved."""
    _check_migration(context, context.vm.history_host if context.vm else "")
    return shutdown(context)


def stop_away(context: ActionContext) -> str:
    """Power the server off at once for a migration between two hosts with one account (``--poff-hard``)."""
    _check_migration(context, context.vm.history_host if context.vm else "")
    return stop(context)


def migrate(context: ActionContext) -> str:
    """Set the server's host key to another host with the same account; nothing is moved."""
    target = context.request.fields.get("MIGR_HOST", "")
    _check_migration(context, target)
    bring(context, _required_server(context), "present", {HOST_KEY: target}, context.deadline())
    return ""


def _check_migration(context: ActionContext, target: str) -> None:
    """Check that the VM can migrate from its host to the host ``target``.

    :raises ActionFailed: the hosts have different accounts, or ``target`` has another VM driver
    """
    source, destination = context.settings, context.factory.settings.host(target)
    if (source.endpoint, source.auth) != (destination.endpoint, destination.auth):
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
    """Change CPU (MHz) and memory of a server; memory only while it is stopped (elastichosts-api 2.2)."""
    server = _required_server(context)
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
    attached = server.drives.get(device, "")
    if attached not in ("", drive):
        raise ActionFailed(
            f"Choose another TARGET: server {server.uuid} has drive {attached} at {device}, and nothing was done."
        )
    disks_property = {} if device in _of_eh(server) else _disks_property({*_of_disks(server), device})
    bring(context, server, "present", {device: drive, **disks_property}, context.deadline())
    return ""


def detach(context: ActionContext) -> str:
    """Remove a drive from a stopped server, unless the server does not have it or EH names it too."""
    server, device, drive = _disk(context)
    if server.drives.get(device) == drive and device not in _of_eh(server):
        disks_property = _disks_property(_of_disks(server) - {device})
        bring(context, server, "present", {device: None, **disks_property}, context.deadline())
    return ""


def _disk(context: ActionContext) -> Tuple[Server, str, str]:
    """Return (stopped server, device, drive UUID) of the disk to attach or detach.

    :raises ActionFailed: the disk has no drive or no TARGET that the API knows, or the server is not stopped
    """
    disk = context.vm.disk if context.vm else {}
    device, drive = device_of(disk.get("TARGET", "")), disk.get("SOURCE", "")
    if not device or not is_uuid(drive):
        raise ActionFailed(refusal(context.request.action))
    server = _required_server(context)
    if server.status != "stopped":
        raise ActionFailed(
            f"Power the VM off, attach or detach the disk, and resume it: server {server.uuid} is {server.status}, "
            "and its drives can only change while it is stopped. Nothing was done."
        )
    return server, device, drive


def terminate(context: ActionContext) -> str:
    """Power the server off by ACPI, then destroy it; if the guest ignores ACPI, the server stays."""
    context, server = context.located()
    if server is not None:
        server = take_over(context, server)
        power_off(context, server)
    end(context, [] if server is None else [server])
    return ""


def destroy(context: ActionContext) -> str:
    """Destroy all servers and drives with the VM's ownership keys; succeed when there are none.

    The core also sends CLEANUP after a failed import: the server then has no such keys, and stays.
    """
    if _forgotten(context):
        _note_end(context)
    context, found = _all_own(context)
    unowned = [server for server in found if context.request.action == "CLEANUP" and not context.owns(server)]
    for server in unowned:
        context.log("W", f"Server {server.uuid} was never taken over by this VM and is left as it was.")
    if end(context, [server for server in found if server not in unowned]):
        context.try_to_note(context.journal.resolved, end_of(context.vm_id))
    return ""


def _forgotten(context: ActionContext) -> bool:
    """Return whether the core forgets the VM even if the action fails (opennebula-drivers 2.3)."""
    if context.request.action == "CLEANUP":
        return True
    return context.job.after_abort if context.vm is None else context.vm.lcm_state not in WAITING_FOR_CANCEL


def _note_end(context: ActionContext) -> None:
    """Record in the journal that what the VM has in the cloud is still to be destroyed."""
    # Without a VM document, as in 2.0, the entry has no SEQ; the next DEPLOY on this front-end settles it first.
    seq = None if context.vm is None else context.vm.history_seq
    context.try_to_note(context.journal.unresolved, end_of(context.vm_id), context.vm_id, context.host, ENDED, seq)


def end(context: ActionContext, servers: Sequence[Server]) -> bool:
    """Destroy the servers of a VM, then the drives that were made for it.

    The properties of a server say whether it had such drives. Without a server they are looked up, since a deploy may
    have been interrupted between drive and server.

    :returns: False if a drive is left for the journal to retry, which is no failure once the servers are destroyed
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
    """Power the server off by ACPI and start it, since the API has no reboot; if the guest ignores ACPI, it runs on."""
    server = _required_server(context)
    if server.status == "active":
        power_off(context, server)
        server = context.account.client.servers.get(server.uuid)
    bring(context, server, "started", {}, context.deadline())
    return ""


def reset(context: ActionContext) -> str:
    """Reset the server without shutting its guest down."""
    bring(context, _required_server(context), "reset", {}, context.deadline())
    return ""


# --- the server and its drives


def _required_server(context: ActionContext) -> Server:
    """Return the VM's server, with its ownership keys.

    :raises ActionFailed: there is none, or it is in another account than that of the VM's host
    """
    found_in, server = context.located()
    if server is None:
        raise context.gone()
    if found_in is not context:
        raise ActionFailed(
            "Give the VM back to the host where its server is, or recover it with --recreate: server "
            f"{server.uuid} of VM {context.vm_id} is at another account ({found_in.settings.endpoint}) than that of "
            f"host {context.host!r}, and cannot move. Its host is "
            f"{server.properties.get(HOST_KEY, found_in.settings.host)!r}."
        )
    return take_over(context, server)


def _all_own(context: ActionContext) -> Tuple[ActionContext, List[Server]]:
    """Return (context for the account of the VM's servers, the servers)."""
    if context.deploy_id:
        context, server = context.located()
        return context, [] if server is None else [server]
    # The shared listing may be older than the last deploy of this VM, so make a new one.
    return context, context.own_now()


def _prepare_start(context: ActionContext, server: Server) -> Dict[str, Optional[str]]:
    """Return the properties to change on a stopped server before it starts, so that it matches the VM's template.

    If copies of IMAGE are missing, they are made, and all properties are set here: should the start fail, the copies
    are recorded on the server or in the journal.
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
    for device, drive_uuid in sorted(disks.items()):
        if not drive_uuid or device == DISKS_KEY:
            continue
        try:
            drive = context.account.client.drives.get(drive_uuid)
        except MissingError:
            raise ActionFailed(
                f"Detach the disk, or make its image anew: drive {drive_uuid} of a DISK of VM {context.vm_id} is not "
                f"at {context.settings.endpoint}. The server was left as it is."
            ) from None
        context.check_drive(drive)
        if drive.claimed and drive.properties.get("claim:type") != "shared":
            raise ActionFailed(
                f"Detach the disk, or stop what uses its drive: drive {drive_uuid} of a DISK of VM {context.vm_id} is "
                f"in use by {' '.join(drive.claimed)}. The server was left as it is."
            )


def _of_disks(server: Server) -> FrozenSet[str]:
    """Return the devices whose drives come from DISKs of the VM."""
    return frozenset(server.properties.get(DISKS_KEY, "").split())


def _of_eh(server: Server) -> FrozenSet[str]:
    """Return the devices whose drives come from EH=[...]."""
    return frozenset(key for name in (DRIVES_KEY, PRIVATE_KEY) for key in server.properties.get(name, "").split())


def _disks_property(devices: Collection[str]) -> Dict[str, Optional[str]]:
    """Return the property that lists the devices whose drives come from DISKs; None removes it."""
    return {DISKS_KEY: " ".join(sorted(devices)) or None}


# --- shared steps


def bring(
    context: ActionContext, server: Server, state: str, desired: Mapping[str, Optional[str]], deadline: Deadline
) -> Optional[Server]:
    """Change the server to ``state`` and the properties ``desired``; return it as it is then, None if destroyed.

    :param state: as in :func:`~.elastichosts.plan.plan_server`
    """
    return apply_server(context.account.client, plan_server(desired, state, server), server, deadline)


def take_over(context: ActionContext, server: Server) -> Server:
    """Set the VM's ownership keys on the server of an imported VM, unless it has them; return the server.

    ``onehost importvm`` sends no DEPLOY up to 6.10 (opennebula-drivers 4), so any action may be the driver's first for
    this VM. ``ActionContext.check_owner`` has refused a server with the keys of another VM.
    """
    if context.vm is None or context.owns(server):
        return server
    return bring(context, server, "present", imported_marks(context, context.vm), context.deadline()) or server


def imported_marks(context: ActionContext, vm: VirtualMachine) -> Mapping[str, Optional[str]]:
    """Return the properties to set on the server of an imported VM: its ownership keys, and ``persistent``."""
    return {**ownership(vm, context.cloud, context.host), **KEEP}


def power_off(context: ActionContext, server: Server) -> None:
    """Press the ACPI power button and wait until the server is stopped; it is kept.

    :raises ActionFailed: the guest did not switch off within SHUTDOWN_TIMEOUT seconds
    """
    deadline = context.deadline("SHUTDOWN_TIMEOUT")
    try:
        try:
            bring(context, server, "shutdown", KEEP if server.status == "active" else {}, deadline)
        except ElasticHostsError as error:
            # FAILURE would set the VM back to RUNNING while its guest may be shutting down (opennebula-drivers 7.10).
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
    """Destroy the server in any state, with one retry that has a deadline of its own.

    A destroy call whose response was lost may still take effect, while FAILURE would tell the core that the server
    runs on (opennebula-drivers 7.10).
    """
    context.check_owner(server)
    try:
        _destroy(context, server, deadline)
    except ElasticHostsError:
        _destroy(context, server, context.clean_up())


def _destroy(context: ActionContext, server: Server, deadline: Deadline) -> None:
    """Destroy a server in one call; if the cloud refuses that for a running server, stop it first."""
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
"""the function for each purpose except CREATE, which is in ``create_server``"""
