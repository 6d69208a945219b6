# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""``delete`` of the transfer driver: the only word about a VM that ends while it is off (opennebula-drivers 2.3, 7.3).

A VM that is terminated in POWEROFF, SUSPENDED, STOPPED or UNDEPLOYED never reaches the VM driver. The core runs the
transfer driver's ``delete`` for the VM's folder then, and also at the end of any other VM, whose server has gone by
then. Nothing is reclaimed unless the core itself says that the VM ends.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import Callable, MutableMapping, NamedTuple, Optional, Sequence

from ..elastichosts.clock import Clock
from ..opennebula.driver_requests import VmmRequest
from ..opennebula.layout import layout
from ..opennebula.vm import ACTIVE, DONE, VirtualMachine
from .accounts import CloudAccounts
from .action_context import KNOWN_ERRORS, ActionContext, ActionFailed, ContextFactory
from .actions import destroy
from .answers import sentence
from .core_api import CoreApi, CoreSilent
from .driver_log import LEVELS
from .job_queue import job_without_reply
from .journal import Journal
from .settings import Settings
from .translate import template_defaults

logger = logging.getLogger(__name__)

FAILED = 7
ENDING = (11, 14, 15, 23, 40)
"""LCM_STATE of a VM that ends: EPILOG, FAILURE (to 4.12), CLEANUP_RESUBMIT, CLEANUP_DELETE, EPILOG_FAILURE
(opennebula-drivers 2.7)"""
_FOLDER = re.compile(r"(?:(?P<host>[^:/]*):)?(?P<path>.*?)/*\Z", re.DOTALL)


class Target(NamedTuple):
    """What the core wants deleted."""

    host: str
    """of the folder: the OpenNebula host, or the front-end for a VM that was stopped or undeployed"""
    vm: Optional[int]
    """None: it is not the folder of a VM, but a disk or a snapshot in it"""


def target(arguments: Sequence[str]) -> Target:
    """``host:/path/<datastore>/<vm> <vm> <datastore>``; in the first releases the path alone."""
    found = _FOLDER.match(arguments[0] if arguments else "")
    path = found.group("path") if found else ""
    last = path.rpartition("/")[2]
    host = (found.group("host") or "") if found else ""
    named = arguments[1] if len(arguments) > 1 else last
    is_folder = last.isascii() and last.isdigit() and last == named
    return Target(host, int(last) if is_folder else None)


def ends(vm: VirtualMachine) -> bool:
    """Return whether the core says that this VM has ended."""
    return vm.state in (DONE, FAILED) or (vm.state == ACTIVE and vm.lcm_state in ENDING)


class ReleaseDrives:
    """Releases what a VM has in the cloud.

    :param ask: the core's word about a VM; raises CoreSilent
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        accounts: CloudAccounts,
        clock: Clock,
        ask: Callable[[int], VirtualMachine],
        say: Callable[[str, int, str], None],
    ) -> None:
        self._contexts = ContextFactory(settings, accounts, journal, clock, say, core_hosts=list)
        self._journal = journal
        self._ask = ask

    def __call__(self, where: Target) -> str:
        """Release what the VM has in the cloud if it has ended, and return a sentence about it.

        :raises ActionFailed: the VM may have something in the cloud that could not be released
        :raises ElasticHostsError:
        :raises SettingsError:
        """
        if where.vm is None:
            return "It is not the folder of a VM: nothing to do."
        try:
            vm = self._ask(where.vm)
        except CoreSilent as silence:
            self._must_be_empty(where.vm, where.host, silence)
            return "The VM has nothing in the cloud."
        if not ends(vm):
            return f"VM {vm.id} has not ended (state {vm.state}, LCM state {vm.lcm_state}): nothing was touched."
        host = vm.history_host or where.host
        context = self._context(vm.id, host, vm)
        with self._journal.action(vm.id, "TM_DELETE", host):
            destroy(context)
        return f"VM {vm.id} has nothing in the cloud any more."

    def _must_be_empty(self, vm_id: int, host: str, silence: CoreSilent) -> None:
        context = self._context(vm_id, host, None)
        found = [*(one.uuid for one in context.own_now()), *(one.uuid for one in context.own_drives())]
        if found:
            raise ActionFailed(
                f"Try again when OpenNebula answers. {silence} VM {vm_id} still has {' '.join(found)} in the cloud, "
                "which was left as it is."
            )

    def _context(self, vm_id: int, host: str, vm: Optional[VirtualMachine]) -> ActionContext:
        job = job_without_reply(lambda _job: None)
        return self._contexts.make(VmmRequest("CLEANUP", vm_id, "", host=host), vm, job)


def main(arguments: Sequence[str], environment: Optional[MutableMapping[str, str]] = None) -> int:
    """Exit status 0, or 1 with one sentence on stdout for the core's error message."""
    known = os.environ if environment is None else environment
    clock = Clock()
    place = layout(known.get("ONE_LOCATION", ""))
    where = target(arguments)
    journal = Journal(f"{place.var}/eh_journal.sqlite", clock)
    release = ReleaseDrives(
        Settings(place, known, template_defaults),
        journal,
        CloudAccounts(clock),
        clock,
        CoreApi(known).vm,
        lambda level, vm_id, text: logger.log(LEVELS[level], "VM %s: %s", vm_id, text),
    )
    try:
        logger.info("delete %s: %s", " ".join(arguments), release(where))
    except KNOWN_ERRORS as error:
        logger.error("delete %s: %s", " ".join(arguments), error)
        sys.stdout.write(f"{' '.join(sentence(error).split())}\n")
        return 1
    finally:
        journal.close()
    return 0
