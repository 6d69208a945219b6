# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Converts the options of a drive to API properties, and a drive to the result of the modules.

Pure functions; the keys are those of elastichosts-api 2.1.
"""

from __future__ import annotations

from typing import Any, Collection, Dict, Mapping

from .elastichosts.compare import parse_size, rounded
from .elastichosts.drives import Drive
from .elastichosts.errors import Refused
from .options import (
    Desired,
    Field,
    encode_extra,
    encode_fields,
    encode_user_keys,
    text,
    uuid,
    verbatim,
    words,
)

EVERYONE = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_UPLOAD = "the upload of src keeps its checksum and progress there"
_COPY = "a copy of source keeps there what it is a copy of"
RESERVED = {"sha256": _UPLOAD, "upload": _UPLOAD, "image": _COPY, "copying": _COPY}


def _size(value: Any) -> str:
    """Return the size in bytes, rounded as the API does, so that check mode and diff show the final number."""
    try:
        return str(rounded(parse_size(str(value))))
    except Refused:
        raise ValueError(
            f"{value!r} is not a size such as 10G; give a whole number of bytes, or with k, M, G or T"
        ) from None


def _reader(value: Any) -> str:
    return EVERYONE if value == "everyone" else uuid(value)


DRIVE_FIELDS = (
    Field("name", "name", text(1, 80), removable=False),
    Field("size", "size", _size, removable=False),
    Field("tier", "tier", verbatim, removable=False),
    Field("encryption", "encryption:cipher", verbatim, removable=False),
    Field("claim_type", "claim:type", verbatim, removable=False),
    Field("readers", "readers", words(_reader)),
    Field("tags", "tags", words()),
    Field("avoid", "avoid", words(uuid)),
)
_OWN_OPTION = {field.key: field.option for field in DRIVE_FIELDS}


def drive_desired(params: Mapping[str, Any], given: Collection[str]) -> Desired:
    """Return the properties for the options that are given; None unsets."""
    desired = encode_fields(DRIVE_FIELDS, params, given)
    desired.update(encode_user_keys(params.get("user_keys"), RESERVED))
    desired.update(encode_extra(params.get("extra"), _OWN_OPTION, desired))
    return desired


def drive_view(drive: Drive) -> Dict[str, Any]:
    """Return a drive as all results show it: plain JSON types, sizes in bytes."""
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
