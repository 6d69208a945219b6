# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server at ElasticHosts cannot do, and what to do instead."""

from __future__ import annotations

from typing import Mapping

_REFUSAL = "{action} is not possible for a server at ElasticHosts, and nothing was done{instead}."
_DRIVES = (
    ": only a disk whose SOURCE is the UUID of a drive can be attached, and only while the server is stopped. Change "
    "DRIVE or IMAGE of its EH=[...] (onevm update), power it off and resume it"
)
_NICS = (
    ": it has no interfaces of OpenNebula. Change NICDHCP, NICVLAN or NICMODEL of its EH=[...] (onevm update), power "
    "it off and resume it"
)
_COPY = ": the cloud has no snapshots. Power the VM off and make a copy of its drive"
INSTEAD: Mapping[str, str] = {
    "ATTACHDISK": _DRIVES,
    "DETACHDISK": _DRIVES,
    "RESIZEDISK": ": the cloud resizes only drives that no running server uses. Power the VM off and resize the drive",
    "ATTACHNIC": _NICS,
    "DETACHNIC": _NICS,
    "UPDATENIC": _NICS,
    "UPDATESG": ": security groups do not reach the cloud. Use nic:0:firewall:policy in EXTRA of its EH=[...]",
    "SNAPSHOTCREATE": _COPY,
    "SNAPSHOTREVERT": _COPY,
    "SNAPSHOTDELETE": _COPY,
    "DISKSNAPSHOTCREATE": _COPY,
    "DISKSNAPSHOTREVERT": _COPY,
    "BACKUP": ": the cloud makes no backups. Power the VM off and make a copy of its drive",
    "EXEC": ": the cloud does not reach into guests. Use the address of the VM",
}
"""what to do in place of an action that is refused; both lists of a server change only while it is stopped (2.2)"""


def refusal(action: str) -> str:
    """The sentence for an action that is not possible."""
    return _REFUSAL.format(action=action, instead=INSTEAD.get(action, ""))
