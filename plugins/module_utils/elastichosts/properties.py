# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of the API's properties (elastichosts-api 2.1, 2.2, 2.3, 3).

Module options, devices and secrets of EH attributes, and the comparison of desired and current state are derived from
it. A property without a row is a text that is compared for equality.
"""

from __future__ import annotations

import functools
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from . import values
from .errors import HIDDEN
from .values import DEVICE, Current, Kind

Wanted = Mapping[str, Optional[str]]
Changes = Dict[str, Optional[str]]

SERVER, DRIVE, RESOURCE = "server", "drive", "resource"
ALL = (SERVER, DRIVE, RESOURCE)


class Property(NamedTuple):
    """A row of the table, for the keys that the regular expression ``key`` matches, of the kinds of objects ``of``.

    option: name of the module option, empty if the key has no option of its own.
    live: can be changed while the server runs.
    secret: the value appears in no log, result or error.
    removable: null unsets the property.
    default: value that a missing key stands for.
    fixed: cannot be changed after creation; the text says what to do instead.
    read_only: the API sets it, or never returns it, so it is not compared.
    single: an option of the module `server` only, not of the members of a group.
    """

    key: str
    of: tuple[str, ...] = (SERVER,)
    kind: Kind = values.TEXT
    option: str = ""
    live: bool = False
    secret: bool = False
    removable: bool = True
    default: Optional[str] = None
    fixed: str = ""
    read_only: bool = False
    single: bool = False


PROPERTIES = (
    Property("name", ALL, values.text(1, 80), "name", live=True, removable=False, single=True),
    Property("user:.+", ALL, live=True),
    # Servers
    Property(
        "type",
        kind=values.choice("vm", "container"),
        option="type",
        removable=False,
        default="vm",
        fixed="destroy it and create it anew",
        single=True,
    ),
    Property("cpu", kind=values.number(500, 20000, "MHz"), option="cpu", live=True, removable=False),
    Property("mem", kind=values.number(256, 32768, "MB"), option="mem", removable=False),
    Property("smp", kind=values.CORES, option="smp"),
    Property("persistent", kind=values.flag("true"), option="persistent", live=True, single=True),
    Property("boot", kind=values.DEVICES_IN_ORDER, option="boot", single=True),
    Property("vnc", kind=values.VNC_ON, option="vnc"),
    Property("vnc:tls", kind=values.flag("on"), option="vnc_tls"),
    Property("vnc:ip", kind=values.VNC_IP, option="vnc_ip", single=True),
    Property("password", kind=values.PASSWORD, option="password", live=True, secret=True),
    Property("vnc:password", kind=values.PASSWORD, live=True, secret=True),
    Property("ssh:0:key", kind=values.text(1, 65536), option="ssh_key", single=True),
    Property("tags", kind=values.words(), option="tags", live=True),
    Property("avoid:(drives|servers)", kind=values.words(values.uuid)),
    Property(DEVICE.pattern, kind=values.DRIVE_UUID),
    Property(f"(?:{DEVICE.pattern}):media", default="disk"),
    Property(r"nic:\d:dhcp", kind=values.DHCP),
    Property(r"nic:\d:vlan", kind=values.DRIVE_UUID),
    Property(r"nic:\d:mac", kind=values.MAC),
    Property("nic:0:firewall:policy", default="accept"),
    # Drives
    Property("size", (DRIVE,), values.SIZE, "size", removable=False),
    Property(
        "tier",
        (DRIVE,),
        values.choice("disk", "ssd"),
        "tier",
        removable=False,
        default="disk",
        fixed="make a new drive in the other tier and image this one onto it",
    ),
    Property(
        "encryption:cipher",
        (DRIVE,),
        values.choice("aes-xts-plain", "none"),
        "encryption",
        removable=False,
        default="aes-xts-plain",
        fixed="make a new drive with the other cipher and image this one onto it",
    ),
    Property(
        "claim:type", (DRIVE,), values.choice("exclusive", "shared"), "claim_type", removable=False, default="exclusive"
    ),
    Property("readers", (DRIVE,), values.words(values.reader), "readers"),
    Property("tags", (DRIVE,), values.words(), "tags"),
    Property("avoid", (DRIVE,), values.words(values.uuid), "avoid", read_only=True),
    # Set by the API
    Property(r"server|drive|user|status|started|claimed|imaging|smp:cores", ALL, read_only=True),
    Property(r"[rt]x(:packets)?|nic:\d:(dhcp:ip|ip|block)|nic:\d:[rt]x:\w+", ALL, read_only=True),
    Property(r"(.+:)?(read|write):(bytes|requests)", ALL, read_only=True),
)
SECRET_KEYS = frozenset(row.key for row in PROPERTIES if row.secret)


def options_of(kind: str) -> List[Property]:
    """Return the rows of servers, drives or resources that have a module option."""
    return [row for row in PROPERTIES if kind in row.of and row.option]


@functools.lru_cache(maxsize=2048)
def property_of(kind: str, key: str) -> Property:
    """Return the row of a key; a plain text property if there is none."""
    for row in PROPERTIES:
        if kind in row.of and re.fullmatch(row.key, key):
            return row
    return Property(key, (kind,))


def is_live(key: str) -> bool:
    """Return whether the property can be changed while the server runs (elastichosts-api 2.2)."""
    return property_of(SERVER, key).live


def hidden(properties: Mapping[str, Any]) -> Dict[str, Any]:
    """Return `properties` with the values of secret keys hidden."""
    return {key: HIDDEN if key in SECRET_KEYS and value else value for key, value in properties.items()}


def changes(kind: str, wanted: Wanted, current: Current) -> Changes:
    """Return the properties to send so that ``current`` becomes ``wanted``; None unsets a property.

    :param kind: SERVER, DRIVE or RESOURCE
    :raises Refused: a drive's size is invalid
    """
    differing: Changes = {}
    for key, text in wanted.items():
        row = property_of(kind, key)
        if row.read_only:
            continue
        text = row.kind.normal(text)
        same = row.kind.same(key, text, current) if row.kind.same else _same_text(text, current.get(key), row.default)
        if not same:
            differing[key] = text
    return differing


def _same_text(wanted: Optional[str], found: Optional[str], default: Optional[str]) -> bool:
    found = default if found is None else found
    if wanted is None or wanted == "":
        return found in (None, "", default)
    return found == wanted


server_changes = functools.partial(changes, SERVER)
drive_changes = functools.partial(changes, DRIVE)
resource_changes = functools.partial(changes, RESOURCE)
