# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does a property already have the wanted value? The API gives some values back in other words than it takes them."""

from __future__ import annotations

import functools
import re
from typing import Callable, Dict, Mapping, Optional, Tuple

from . import identifiers
from .errors import Refused
from .servers import DEVICE, FALSE

Current = Mapping[str, str]
Wanted = Mapping[str, Optional[str]]
Changes = Dict[str, Optional[str]]

BLOCK = 4 * 1024 * 1024
"""Bytes: the cloud rounds the size of a drive up to a multiple of this (elastichosts-api 2.1)."""
_SIZE = re.compile(r"([0-9]{1,18})\s*([kKmMgGtT]?)(?:[iI]?[bB])?")
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_READ_ONLY = re.compile(
    r"server|drive|user|status|started|claimed|imaging|smp:cores|[rt]x(:packets)?|nic:\d:(dhcp:ip|ip|block)"
    r"|nic:\d:[rt]x:\w+|(.+:)?(read|write):(bytes|requests)"
)
WORD_SETS = frozenset({"tags", "readers", "avoid", "avoid:drives", "avoid:servers"})
PASSWORDS = ("password", "vnc:password")
VNC = ("vnc", "vnc:ip")
DEFAULTS = {
    "type": "vm",
    "nic:0:firewall:policy": "accept",
    "claim:type": "exclusive",
    "encryption:cipher": "aes-xts-plain",
    "tier": "disk",
}
"""What a missing key means (elastichosts-api 2.1, 3)."""


def parse_size(text: str) -> int:
    """Bytes of "500M", "10G" or "4194304", in binary multiples (elastichosts-api 2.1). Raises Refused."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or not int(match[1]):
        raise Refused(f"the size {text!r} is invalid: write bytes, or a whole number with k, M, G or T, such as 10G")
    return int(match[1]) * _UNITS[match[2].lower()]


def rounded(size: int) -> int:
    """`size` in bytes, as the cloud makes it: a multiple of 4 MiB."""
    return -(-size // BLOCK) * BLOCK


def is_off(value: Optional[str]) -> bool:
    """Does it mean false, or no value at all?"""
    return value is None or value.strip().lower() in FALSE


def is_old_platform(current: Current) -> bool:
    """Does this server's info come from a platform of 2009-2012 (elastichosts-api 8)?"""
    if any(key in current for key in ("rx", "tx", "vnc:password")) or ("vnc:ip" in current and "vnc" not in current):
        return True
    return current.get("status") == "active" and any(
        identifiers.is_address(current.get(f"nic:{nic}:dhcp", ""))
        and not any(f"nic:{nic}:{key}" in current for key in ("dhcp:ip", "ip"))
        for nic in "0123"
    )


def server_changes(wanted: Wanted, current: Current) -> Changes:
    """The keys of `wanted` that `current` does not fulfil, with the values to send; None unsets."""
    changes: Changes = {}
    for key, value in wanted.items():
        if _read_only(key):
            continue
        rule = _rule(key)
        value = _to_send(key, value)
        if not rule(key, value, current):
            changes[key] = value
    return changes


def drive_changes(wanted: Wanted, current: Current) -> Changes:
    """Like server_changes, for a drive: sizes in any spelling are compared as the cloud rounds them. Raises Refused."""
    changes: Changes = {}
    for key, value in wanted.items():
        if _read_only(key) or key == "avoid":
            continue
        if key == "size":
            size = None if value is None else str(rounded(parse_size(value)))
            if size not in (None, current.get(key)):
                changes[key] = size
        elif not _rule(key)(key, value, current):
            changes[key] = value
    return changes


def resource_changes(wanted: Wanted, current: Current) -> Changes:
    """Like server_changes, for a static address or a VLAN."""
    return {key: value for key, value in wanted.items() if not _same(key, value, current)}


def _to_send(key: str, value: Optional[str]) -> Optional[str]:
    # "false" was misread at least once, and a NIC's 0 means no address: leaving a key out is understood everywhere.
    if key == "persistent":
        return None if is_off(value) else "true"
    if re.fullmatch(r"nic:\d:dhcp", key) and value in ("0", ""):
        return None
    return value


Rule = Callable[[str, Optional[str], Current], bool]


@functools.lru_cache(maxsize=1024)
def _read_only(key: str) -> bool:
    return _READ_ONLY.fullmatch(key) is not None


@functools.lru_cache(maxsize=1024)
def _rule(key: str) -> Rule:
    for pattern, rule in _RULES:
        if pattern.fullmatch(key):
            return rule
    return _same


def _same(key: str, value: Optional[str], current: Current) -> bool:
    default = DEFAULTS.get(key)
    found = current.get(key, default)
    if value is None or value == "":
        return found in (None, "", default)
    return found == value


def _plain(text: str) -> str:
    text = text.strip()
    return str(int(text)) if text.isascii() and text.isdigit() and len(text) < 20 else text


def _same_number(key: str, value: Optional[str], current: Current) -> bool:
    return _plain(value or "") == _plain(current.get(key, ""))


def _same_words(key: str, value: Optional[str], current: Current) -> bool:
    return set(identifiers.words(value or "")) == set(identifiers.words(current.get(key, "")))


def _same_order(key: str, value: Optional[str], current: Current) -> bool:
    return identifiers.words(value or "") == identifiers.words(current.get(key, ""))


def _same_identifier(key: str, value: Optional[str], current: Current) -> bool:
    return (value or "").strip().lower() == current.get(key, "").strip().lower()


def _same_media(key: str, value: Optional[str], current: Current) -> bool:
    return (value or "disk") == (current.get(key) or "disk")


def _same_truth(key: str, value: Optional[str], current: Current) -> bool:
    return is_off(value) == is_off(current.get(key))


def _same_password(key: str, value: Optional[str], current: Current) -> bool:
    return (value or None) == _first(current, PASSWORDS)


def _same_vnc(key: str, value: Optional[str], current: Current) -> bool:
    """`auto` is answered by "auto", or by the address that came of it."""
    found = _first(current, VNC)
    if value is None or value == "" or found is None:
        return (value or None) == found
    return value == found or value == current.get(key) or (value == "auto" and identifiers.is_address(found))


def _same_cores(key: str, value: Optional[str], current: Current) -> bool:
    """Old platforms show the number that `auto` came to."""
    found = current.get("smp", "auto")
    if (value or "auto") == "auto" and found != "auto":
        return current.get("status") == "active" and "smp:cores" not in current
    return _plain(value or "auto") == _plain(found)


def _same_dhcp(key: str, value: Optional[str], current: Current) -> bool:
    """Old platforms show the address that `auto` came to."""
    found = current.get(key)
    if value == "auto" and found is not None and identifiers.is_address(found):
        return is_old_platform(current)
    return (value or None) == (None if found in ("", "0") else found)


def _first(current: Current, keys: Tuple[str, ...]) -> Optional[str]:
    return next((current[key] for key in keys if current.get(key)), None)


_RULES: Tuple[Tuple[re.Pattern[str], Rule], ...] = (
    (re.compile("|".join(map(re.escape, sorted(WORD_SETS)))), _same_words),
    (re.compile("boot"), _same_order),
    (re.compile("persistent"), _same_truth),
    (re.compile("|".join(PASSWORDS)), _same_password),
    (re.compile("|".join(VNC)), _same_vnc),
    (re.compile("cpu|mem"), _same_number),
    (re.compile("smp"), _same_cores),
    (re.compile(r"nic:\d:dhcp"), _same_dhcp),
    (re.compile(r"nic:\d:(vlan|mac)"), _same_identifier),
    (re.compile(f"(?:{DEVICE.pattern}):media"), _same_media),
    (DEVICE, _same_identifier),
)
