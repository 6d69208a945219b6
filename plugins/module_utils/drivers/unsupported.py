# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Error sentences for actions that a server at ElasticHosts does not support, with the alternative."""

from __future__ import annotations

from typing import Mapping

_REFUSAL = "{instead}. Nothing was done."
_DISK = (
    "Use a disk whose SOURCE is the UUID of a drive, and a TARGET such as hdb: no other disk can be attached to a "
    "server at ElasticHosts. Its other drives are those that DRIVE and IMAGE of its EH=[...] name (onevm update)"
)
_NIC = (
    "Change NICDHCP, NICVLAN or NICMODEL of EH, power off and resume: a server at ElasticHosts has no interfaces of "
    "OpenNebula, and no address that OpenNebula gives"
)
_COPY = "Power the VM off and copy its drive: there are no snapshots of a server at ElasticHosts"
INSTEAD: Mapping[str, str] = {
    "ATTACHDISK": _DISK,
    "DETACHDISK": _DISK,
    "RESIZEDISK": (
        "Power the VM off and resize its drive in the cloud: a drive at ElasticHosts cannot change its size while a "
        "running server uses it"
    ),
    "ATTACHNIC": _NIC,
    "DETACHNIC": _NIC,
    "UPDATENIC": _NIC,
    "UPDATESG": ("Use nic:0:firewall:policy in EXTRA of EH: security groups do not reach a server at ElasticHosts"),
    "SNAPSHOTCREATE": _COPY,
    "SNAPSHOTREVERT": _COPY,
    "SNAPSHOTDELETE": _COPY,
    "DISKSNAPSHOTCREATE": _COPY,
    "DISKSNAPSHOTREVERT": _COPY,
    "BACKUP": "Power the VM off and copy its drive: there are no backups of a server at ElasticHosts",
    "EXEC": "Log in at the address of the VM: OpenNebula does not reach into the guest of a server at ElasticHosts",
}
"""what to do instead of a refused action; drives and NICs of a server change only while it is stopped
(elastichosts-api 2.2)"""
OTHER = "Use another action: this one is not possible for a server at ElasticHosts"


def refusal(action: str) -> str:
    """Return the sentence for an action that is not possible."""
    return _REFUSAL.format(instead=INSTEAD.get(action, OTHER))
