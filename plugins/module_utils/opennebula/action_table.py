# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an action of the core means for a cloud server, by the state of its VM (opennebula-drivers 2.7)."""

from __future__ import annotations

from enum import Enum
from typing import Mapping, Optional, Tuple

from .protocol_versions import VM_2_0


class Purpose(str, Enum):
    """What an action of the core asks of a cloud server."""

    CREATE = "create"
    """make the VM's server, or adopt the one that carries the VM's id"""
    START = "start"
    """the VM's server exists: start it if it is stopped, with CPU and memory applied anew"""
    STOP = "stop"
    """hard power-off, keep the server"""
    SHUTDOWN = "shutdown"
    """ACPI power-off, keep the server"""
    TERMINATE = "terminate"
    """ACPI power-off, then destroy the server"""
    DESTROY = "destroy"
    """destroy the server at once"""
    SAVE = "save"
    """suspend, stop: stop the server, keep it with its drives"""
    SAVE_AWAY = "save away"
    """SAVE as first half of a cold migration: possible only inside the same account"""
    STOP_AWAY = "stop away"
    """the same by cutting the power: migration with a hard power-off"""
    RESTORE = "restore"
    """start the server that SAVE stopped"""
    REBOOT = "reboot"
    """ACPI off, and on again"""
    RESET = "reset"
    ATTACH = "attach"
    """a drive to a server that is stopped"""
    DETACH = "detach"
    RESIZE = "resize"
    """CPU and memory of a server that runs"""
    MIGRATE = "migrate"
    """to another OpenNebula host, without a stop"""
    POLL = "poll"
    ABORT = "abort"
    """DRIVER_CANCEL: give up the action that is under way for this VM; an answer is not needed"""
    ACCEPT = "accept"
    """nothing to do on a cloud server: SUCCESS at once"""
    REFUSE = "refuse"
    """not possible on a cloud server: FAILURE with a sentence at once"""
    IGNORE = "ignore"
    """no answer is expected, nothing is done"""


_ByState = Tuple[Mapping[int, Purpose], Purpose]
"""meaning by LCM_STATE, and in any other state. The last never destroys (opennebula-drivers 7.4)."""

_MEANING: Mapping[str, _ByState] = {
    # 2 BOOT, 36 BOOT_FAILURE; BOOT_UNKNOWN, _POWEROFF, _UNDEPLOY and what a later release may add: the server exists.
    "DEPLOY": ({2: Purpose.CREATE, 36: Purpose.CREATE}, Purpose.START),
    # 12 SHUTDOWN; 18 SHUTDOWN_POWEROFF, 29 SHUTDOWN_UNDEPLOY keep, and so does 7 SAVE_MIGRATE (poff-migrate).
    "SHUTDOWN": ({12: Purpose.TERMINATE, 7: Purpose.SAVE_AWAY}, Purpose.SHUTDOWN),
    # 0 LCM_INIT: delete in 3.2 to 3.8, as recorded; 13 CANCEL; 15 and 23 CLEANUP_*.
    "CANCEL": (
        {
            7: Purpose.STOP_AWAY,
            0: Purpose.DESTROY,
            12: Purpose.DESTROY,
            13: Purpose.DESTROY,
            15: Purpose.DESTROY,
            23: Purpose.DESTROY,
        },
        Purpose.STOP,
    ),
    "CLEANUP": ({}, Purpose.DESTROY),
    "SAVE": ({7: Purpose.SAVE_AWAY}, Purpose.SAVE),
    "RESTORE": ({}, Purpose.RESTORE),
    "REBOOT": ({}, Purpose.REBOOT),
    "RESET": ({}, Purpose.RESET),
    "ATTACHDISK": ({}, Purpose.ATTACH),
    "DETACHDISK": ({}, Purpose.DETACH),
    # 65 HOTPLUG_NIC_POWEROFF: the server has no interface of that NIC, so that the core may forget it.
    "DETACHNIC": ({65: Purpose.ACCEPT}, Purpose.REFUSE),
    "RESIZE": ({}, Purpose.RESIZE),
    "MIGRATE": ({}, Purpose.MIGRATE),
    "POLL": ({}, Purpose.POLL),
    "DRIVER_CANCEL": ({}, Purpose.ABORT),
    "UPDATECONF": ({}, Purpose.ACCEPT),
    "CHECKPOINT": ({}, Purpose.IGNORE),
    "BACKUPCANCEL": ({}, Purpose.IGNORE),
}

_MEANING_2_0: Mapping[str, Purpose] = {
    "DEPLOY": Purpose.CREATE,
    "SHUTDOWN": Purpose.TERMINATE,
    "CANCEL": Purpose.DESTROY,
}
"""2.0 to 3.0 have no VM document and no power-off: one meaning for each action (opennebula-drivers 2.7)"""


def purpose(action: str, protocol: str, lcm_state: Optional[int]) -> Purpose:
    """Return what ``action`` of ``protocol`` means for a VM in ``lcm_state`` (opennebula-drivers 2.7)."""
    if protocol == VM_2_0 and action in _MEANING_2_0:
        return _MEANING_2_0[action]
    by_state, otherwise = _MEANING.get(action, ({}, Purpose.REFUSE))
    return otherwise if lcm_state is None else by_state.get(lcm_state, otherwise)
