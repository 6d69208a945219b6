# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Converts the options of a drive to API properties, and a drive to the result of the modules.

The keys are those of elastichosts-api 2.1.
"""

from __future__ import annotations

from typing import Any, Collection, Dict, List, Mapping, Optional

from .check_mode import is_placeholder, placeholder
from .elastichosts.drive_copy import Source, find_source
from .elastichosts.drives import Drive
from .elastichosts.errors import SourceMissing
from .elastichosts.identifiers import is_uuid
from .elastichosts.properties import DRIVE
from .elastichosts.values import BLOCK
from .module import Task
from .options import Desired, encode_extra, encode_fields, encode_user_keys, fields_of

_UPLOAD = "the upload of src keeps its checksum and progress there"
_COPY = "a copy of source keeps there what it is a copy of"
RESERVED = {"sha256": _UPLOAD, "upload": _UPLOAD, "image": _COPY, "copying": _COPY}
SOURCE_IN_USE = {"source_in_use": {"type": "str", "choices": ["refuse", "allow"], "default": "refuse"}}
DRIVE_FIELDS = fields_of(DRIVE)
_OWN_OPTION = {field.key: field.option for field in DRIVE_FIELDS}


def drive_desired(params: Mapping[str, Any], given: Collection[str]) -> Desired:
    """Return the properties for the options that are given; None unsets a property.

    :raises InvalidOption: an option has a wrong value
    """
    desired = encode_fields(DRIVE_FIELDS, params, given)
    desired.update(encode_user_keys(params.get("user_keys"), RESERVED))
    desired.update(encode_extra(params.get("extra"), _OWN_OPTION, desired))
    return desired


def source_for(task: Task, wanted: str, own: Optional[List[Drive]] = None) -> Source:
    """Return the drive to copy, for tasks with the option `source_in_use`. Raises SourceMissing and NotUnique.

    In check mode, an earlier task may be the one that would make it: that gives a warning, and a source as small as a
    drive can be. `own`: listing of the account's drives, where the caller has it.
    """
    try:
        return find_source(task.client, wanted, own, may_be_in_use=task.params["source_in_use"] == "allow")
    except SourceMissing:
        if not task.check_mode or (is_uuid(wanted) and not is_placeholder(wanted)):
            raise
    task.warn(f"no drive {wanted!r} to copy from yet, the real run needs it")
    uuid = wanted if is_placeholder(wanted) else placeholder("drive", wanted)
    return Source(Drive({"drive": uuid}), None, BLOCK)


def drive_view(drive: Drive) -> Dict[str, Any]:
    """Return a drive as shown in all results, in JSON types, with sizes in bytes."""
    return {
        "uuid": drive.uuid,
        "name": drive.name,
        "size": drive.size,
        "status": drive.status,
        "tier": drive.tier,
        "claimed": list(drive.claimed),
        "imaging": drive.imaging,
        "readers": list(drive.readers),
        "tags": list(drive.tags),
        "user_keys": dict(drive.user_keys),
        "properties": drive.public(),
    }
