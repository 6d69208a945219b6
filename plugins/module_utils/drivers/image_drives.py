# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drives of IMAGE: copies that are made for one VM before its server, and destroyed after the server.

The ownership keys and the key of the attempt are in the create call of each drive. A drive that no server has is
orphaned and destroyed when its VM has ended, or when its attempt is over: as the journal of this front-end knows, or
because the VM's server has had another one for longer than any attempt takes (see ``leftovers``). Until then another
driver may be at work on it. A drive of any server is never touched.
"""

from __future__ import annotations

from typing import Dict, Iterable, List, Mapping, Optional, Tuple

from ..elastichosts.apply import apply_drive
from ..elastichosts.clock import Deadline
from ..elastichosts.drive_copy import Source, check_unused, copy_onto, find_source
from ..elastichosts.drives import Drive
from ..elastichosts.errors import BusyError, ElasticHostsError, MissingError
from ..elastichosts.formats import Properties
from ..elastichosts.plan import Plan, Step, plan_drive
from ..elastichosts.servers import attached_drives
from ..elastichosts.values import parse_size, rounded
from ..opennebula.eh_template import ImageCopy
from ..opennebula.errors import TemplateError
from .action_context import ActionContext
from .job_queue import Cancelled
from .journal import COPYING, LEFT
from .translate import ATTEMPT_KEY, DEVICE_KEY, LONGEST_NAME, of_life

BUSY_PAUSE = 0.5
SHORT = 3.0
"""seconds that something else waits for a drive to be destroyed; after that it is the journal's"""


def make(
    context: ActionContext, images: Tuple[ImageCopy, ...], keys: Properties, name: str, attempt: str
) -> Properties:
    """Copy drives one after the other, wait until each is complete, and return the UUID of the copy by device.

    What is made when this fails carries ``attempt``, for :meth:`drop`.

    :raises TemplateError: a SIZE is too small
    :raises ElasticHostsError: a source is not there or in use, a call failed, or IMAGE_TIMEOUT is over
    """
    sources = _sources(context, images)
    context.journal.unresolved(attempt, context.vm_id, context.host, COPYING)
    deadline = context.deadline("IMAGE_TIMEOUT")
    made: Properties = {}
    for image in images:
        source, size = sources[image.device]
        properties = {
            **keys,
            "name": f"{name[: LONGEST_NAME - 10]} {image.device}",
            "size": str(size),
            DEVICE_KEY: image.device,
            ATTEMPT_KEY: attempt,
        }
        made[image.device] = _copy(context, properties, source, deadline)
    return made


def _copy(context: ActionContext, properties: Mapping[str, str], source: Source, deadline: Deadline) -> str:
    if context.cancelled.is_set():
        raise Cancelled
    drive = apply_drive(context.account.client, plan_drive(properties, "present", None), None, deadline)
    if context.cancelled.is_set() or drive is None:
        raise Cancelled
    copy_onto(context.account.client, drive.uuid, source, deadline)
    return drive.uuid


def _sources(context: ActionContext, images: Tuple[ImageCopy, ...]) -> Dict[str, Tuple[Source, int]]:
    """Return source and size (bytes) by device. All are checked before the first copy is made."""
    own = context.drives()
    may_be_in_use = context.settings.choice("SOURCE_IN_USE") == "allow"
    found: Dict[str, Tuple[Source, int]] = {}
    for image in images:
        source = find_source(context.account.client, image.source, own, may_be_in_use=may_be_in_use)
        context.check_drive(source.drive)
        check_unused(context.account.client, source)
        size = rounded(parse_size(image.size)) if image.size else source.size
        if size < source.size:
            raise TemplateError(
                f"Give IMAGE of EH=[...] a larger SIZE, or none: {image.device} is to have {image.size}, but "
                f"{image.source} needs {source.size} bytes."
            )
        found[image.device] = (source, size)
    return found


# --- the end of drives


def drop(context: ActionContext, attempt: str) -> bool:
    """Destroy the drives of ``attempt`` that no server has; return false when one of them is still there.

    :raises ElasticHostsError: the cloud could not be asked
    """
    return _drop_all(context, [drive for drive in context.own_drives() if drive.properties.get(ATTEMPT_KEY) == attempt])


def drop_copy(context: ActionContext, uuid: str) -> bool:
    """Destroy the drive ``uuid`` of this VM if no server has it. Returns and raises as :func:`drop`."""
    return _drop_all(context, [drive for drive in context.own_drives() if drive.uuid == uuid])


def _drop_all(context: ActionContext, drives: List[Drive]) -> bool:
    unnamed = _unnamed(context, drives, since=context.plain_clock.monotonic())
    results = [_drop_or_note(context, drive) for drive in unnamed]  # each of them, also after one that stays
    return all(results)


def release(context: ActionContext, deadline: Deadline, seq: Optional[int] = None) -> None:
    """Destroy all drives of a VM that has ended, and wait for those that are busy.

    :param seq: only those of this life of the VM, and before
    :raises ElasticHostsError: one is still there, or the cloud could not be asked
    """
    drives = [drive for drive in context.own_drives() if of_life(drive, seq)]
    for drive in _unnamed(context, drives, since=context.plain_clock.monotonic()):
        _drop(context, drive, deadline)


def _unnamed(context: ActionContext, drives: Iterable[Drive], *, since: float) -> List[Drive]:
    """Return the drives that no server of the account has."""
    wanted = list(drives)
    named = attached_drives(context.servers(since=since)) if wanted else set()
    for drive in wanted:
        if drive.uuid in named:
            context.log("W", f"Drive {drive.uuid} of this VM is named by another server, so it was kept.")
    return [drive for drive in wanted if drive.uuid not in named]


def _drop_or_note(context: ActionContext, drive: Drive) -> bool:
    try:
        _drop(context, drive, Deadline(SHORT, context.plain_clock))
    except ElasticHostsError as error:
        attempt = drive.properties.get(ATTEMPT_KEY, drive.uuid)
        context.try_to_note(context.journal.unresolved, attempt, context.vm_id, context.host, LEFT)
        context.log("W", f"Drive {drive.uuid} is left over and is destroyed when it is free: {error}")
        return False
    return True


def _drop(context: ActionContext, drive: Drive, deadline: Deadline) -> None:
    """Destroy a drive; wait while it is busy, as it is just after the end of its server, or while it is imaged."""
    client = context.account.client
    while True:
        try:
            apply_drive(client, Plan((Step("destroy"),)), drive, deadline)
            return
        except MissingError:
            return
        except BusyError:
            if not deadline.left():
                raise
        deadline.sleep(BUSY_PAUSE)
