# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The purpose of each action of the core for a cloud server, by the state of the VM (opennebula-drivers 2.7)."""

from __future__ import annotations

from enum import Enum
from typing import Mapping, Optional, Tuple

from .protocol_versions import VM_2_0


class Purpose(str, Enum):
    """What the driver has to do for an action of the core."""

    CREATE = "create"
    """create the VM's server, or adopt the existing server with the VM's ownership keys"""
    START = "start"
    """start the VM's existing server if it is stopped, with the VM's current CPU, memory and drives"""
    STOP = "stop"
    """hard power-off, keep the server"""
    SHUTDOWN = "shutdown"
    """ACPI power-off, keep the server"""
    TERMINATE = "terminate"
    """ACPI power-off, then destroy the server"""
    DESTROY = "destroy"
    """destroy the server at once"""
    SAVE = "save"
    """ACPI power-off for suspend and stop, keep the server"""
    SAVE_AWAY = "save away"
    """ACPI power-off as first half of a cold migration, which is possible only within an account"""
    STOP_AWAY = "stop away"
    """hard power-off as first half of a cold migration"""
    RESTORE = "restore"
    """start the server that SAVE stopped"""
    REBOOT = "reboot"
    """ACPI power-off, then start"""
    RESET = "reset"
    ATTACH = "attach"
    """add a drive to a stopped server"""
    DETACH = "detach"
    """remove a drive from a stopped server"""
    RESIZE = "resize"
    """change CPU and memory of a server"""
    MIGRATE = "migrate"
    """set another OpenNebula host, without a stop"""
    POLL = "poll"
    """report state and consumption"""
    ABORT = "abort"
    """cancel the VM's current action (DRIVER_CANCEL); the core expects no reply"""
    ACCEPT = "accept"
    """reply SUCCESS at once: nothing has to be done on a cloud server"""
    REFUSE = "refuse"
    """reply FAILURE at once: a cloud server cannot do it"""
    IGNORE = "ignore"
    """do nothing: the core expects no reply"""


_ByState = Tuple[Mapping[int, Purpose], Purpose]
"""(purposes by LCM_STATE, purpose in any other state), which destroys only for CLEANUP (opennebula-drivers 7.4)"""

_PURPOSES: Mapping[str, _ByState] = {
    # 2 BOOT, 36 BOOT_FAILURE. In BOOT_UNKNOWN, _POWEROFF, _UNDEPLOY and unknown later states the server exists.
    "DEPLOY": ({2: Purpose.CREATE, 36: Purpose.CREATE}, Purpose.START),
    # 12 SHUTDOWN. In 18 SHUTDOWN_POWEROFF, 29 SHUTDOWN_UNDEPLOY and 7 SAVE_MIGRATE (poff-migrate) the server is kept.
    "SHUTDOWN": ({12: Purpose.TERMINATE, 7: Purpose.SAVE_AWAY}, Purpose.SHUTDOWN),
    # 0 LCM_INIT: delete in 3.2 to 3.8, as transcripts show; 12 SHUTDOWN; 13 CANCEL; 15 and 23 CLEANUP_*.
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
    # 65 HOTPLUG_NIC_POWEROFF: the server has no interface for that NIC, so the core may remove the NIC.
    "DETACHNIC": ({65: Purpose.ACCEPT}, Purpose.REFUSE),
    "RESIZE": ({}, Purpose.RESIZE),
    "MIGRATE": ({}, Purpose.MIGRATE),
    "POLL": ({}, Purpose.POLL),
    "DRIVER_CANCEL": ({}, Purpose.ABORT),
    "UPDATECONF": ({}, Purpose.ACCEPT),
    "CHECKPOINT": ({}, Purpose.IGNORE),
    "BACKUPCANCEL": ({}, Purpose.IGNORE),
}

_PURPOSES_2_0: Mapping[str, Purpose] = {
    "DEPLOY": Purpose.CREATE,
    "SHUTDOWN": Purpose.TERMINATE,
    "CANCEL": Purpose.DESTROY,
}
"""purposes in 2.0 to 3.0, which have neither VM documents nor power-off (opennebula-drivers 2.7)"""


def purpose(action: str, protocol: str, lcm_state: Optional[int]) -> Purpose:
    """Return the purpose of ``action`` for a VM in ``lcm_state`` (opennebula-drivers 2.7).

    :param protocol: key of :data:`.protocol_versions.VMM`
    :param lcm_state: None: unknown
    """
    if protocol == VM_2_0 and action in _PURPOSES_2_0:
        return _PURPOSES_2_0[action]
    by_state, otherwise = _PURPOSES.get(action, ({}, Purpose.REFUSE))
    return otherwise if lcm_state is None else by_state.get(lcm_state, otherwise)
