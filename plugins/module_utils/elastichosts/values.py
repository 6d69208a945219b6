# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of property values: encoding for the API, and comparison of the API's texts.

The API returns some values in another form than it accepts, so texts are compared by rules. Pure functions.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Callable, Mapping, NamedTuple, Optional, Tuple

from . import identifiers
from .errors import Refused

Current = Mapping[str, str]
"""The properties of an existing object."""
Encoder = Callable[[Any], Optional[str]]
"""A value -> its text; None for no property. Raises ValueError with a sentence without the property's name."""
Rule = Callable[[str, Optional[str], Current], bool]
"""(key, wanted text or None, properties of the object) -> whether the object already has the wanted value."""

DEVICE = re.compile(r"ide:[01]:[01]|scsi:0:[0-7]|ata:0:[0-5]|block:[0-7]")
EVERYONE = "ffffffff-ffff-ffff-ffff-ffffffffffff"
FALSE = frozenset({"", "0", "false", "no", "off"})
BLOCK = 4 * 1024 * 1024
"""bytes: the cloud rounds the size of a drive up to a multiple of this (elastichosts-api 2.1)"""
PASSWORDS = ("password", "vnc:password")
VNC = ("vnc", "vnc:ip")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SPACE = re.compile(r"\s")
_SIZE = re.compile(r"([0-9]{1,18})\s*([kKmMgGtT]?)(?:[iI]?[bB])?")
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


class Kind(NamedTuple):
    """A kind of value.

    encode: value of a module's option -> text. same: rule of comparison; None compares for equality. normal: applied
    to a text before it is compared and sent. type, choices: those of the module's option.
    """

    encode: Encoder
    same: Optional[Rule] = None
    normal: Callable[[Optional[str]], Optional[str]] = lambda text: text
    type: str = "str"
    choices: Tuple[str, ...] = ()


# --- Values to text ---


def verbatim(value: Any) -> str:
    return str(value)


def line(shortest: int, longest: int) -> Encoder:
    """Return the encoder of a line of ``shortest`` to ``longest`` characters, whose errors do not contain the value."""

    def encode(value: Any) -> str:
        text = str(value)
        if not shortest <= len(text) <= longest:
            raise ValueError(f"{len(text)} characters given, {shortest} to {longest} are possible")
        if _CONTROL.search(text):
            raise ValueError("contains a control character such as a line feed, give one line of text")
        return text

    return encode


def uuid(value: Any) -> str:
    if not identifiers.is_uuid(str(value)):
        raise ValueError(f"{str(value)!r} is not a UUID such as 0d9a1c52-7c1e-4c53-9d5e-3f0a6f1e2b34")
    return str(value).lower()


def reader(value: Any) -> str:
    return EVERYONE if value == "everyone" else uuid(value)


def device(value: Any) -> str:
    if not DEVICE.fullmatch(value):
        choices = "ide:0:0 to ide:1:1, scsi:0:0 to scsi:0:7, ata:0:0 to ata:0:5, block:0 to block:7"
        raise ValueError(f"{value!r} is not a device, the devices are {choices}")
    return str(value)


def joined(each: Encoder = verbatim) -> Encoder:
    """Return the encoder of a list, which is sent as words separated by spaces; an empty list unsets the property."""

    def encode(value: Any) -> Optional[str]:
        for word in value:
            if not word or _SPACE.search(word):
                raise ValueError(f"{word!r} must be one word, the API separates the list by spaces")
        return " ".join(each(word) or "" for word in value) or None

    return encode


def dhcp_address(value: Any) -> Optional[str]:
    if value in ("auto", "none"):
        return None if value == "none" else "auto"
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(f"{value!r} is neither auto, none nor an IP address of the account") from None


def mac_address(value: Any) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", value):
        raise ValueError(f"{value!r} is not a MAC address such as 6a:00:00:12:34:56")
    return str(value).lower()


def _whole_number(low: int, high: int, unit: str) -> Encoder:
    def encode(value: Any) -> str:
        if not low <= int(value) <= high:
            raise ValueError(f"{value} is out of range, give {low} to {high} {unit}")
        return str(int(value))

    return encode


def _cores(value: Any) -> Optional[str]:
    if value == "auto":
        return "auto"
    try:
        return _whole_number(1, 8, "cores")(value)
    except ValueError:
        raise ValueError(f"{value!r} is neither auto nor a number of 1 to 8 cores") from None


def _vnc_ip(value: Any) -> str:
    if value != "auto":
        raise ValueError(f"{str(value)!r} is not possible, the old platform knows auto only")
    return "auto"


def _size(value: Any) -> str:
    """Return the size in bytes, rounded as in the API, so that check mode and diff show the final number."""
    try:
        return str(rounded(parse_size(str(value))))
    except Refused:
        raise ValueError(
            f"{value!r} is not a size such as 10G; give a whole number of bytes, or with k, M, G or T"
        ) from None


def parse_size(text: str) -> int:
    """Return the number of bytes in "500M", "10G" or "4194304", in binary multiples (elastichosts-api 2.1).

    :raises Refused: the text is no size
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or not int(match[1]):
        raise Refused(f"the size {text!r} is invalid: write bytes, or a whole number with k, M, G or T, such as 10G")
    return int(match[1]) * _UNITS[match[2].lower()]


def rounded(size: int) -> int:
    """Round `size` in bytes up to a multiple of 4 MiB, as the cloud does."""
    return -(-size // BLOCK) * BLOCK


# --- Comparison ---


def is_off(value: Optional[str]) -> bool:
    """Return whether the text is missing or means false."""
    return value is None or value.strip().lower() in FALSE


def is_old_platform(current: Current) -> bool:
    """Return whether this server's properties come from a platform of 2009-2012 (elastichosts-api 8)."""
    if any(key in current for key in ("rx", "tx", "vnc:password")) or ("vnc:ip" in current and "vnc" not in current):
        return True
    return current.get("status") == "active" and any(
        identifiers.is_address(current.get(f"nic:{nic}:dhcp", ""))
        and not any(f"nic:{nic}:{key}" in current for key in ("dhcp:ip", "ip"))
        for nic in "0123"
    )


def _number_of(text: str) -> str:
    text = text.strip()
    return str(int(text)) if text.isascii() and text.isdigit() and len(text) < 20 else text


def _same_number(key: str, wanted: Optional[str], current: Current) -> bool:
    return _number_of(wanted or "") == _number_of(current.get(key, ""))


def _same_set(key: str, wanted: Optional[str], current: Current) -> bool:
    return set(identifiers.words(wanted or "")) == set(identifiers.words(current.get(key, "")))


def _same_order(key: str, wanted: Optional[str], current: Current) -> bool:
    return identifiers.words(wanted or "") == identifiers.words(current.get(key, ""))


def _same_identifier(key: str, wanted: Optional[str], current: Current) -> bool:
    return (wanted or "").strip().lower() == current.get(key, "").strip().lower()


def _same_flag(key: str, wanted: Optional[str], current: Current) -> bool:
    return is_off(wanted) == is_off(current.get(key))


def _same_password(key: str, wanted: Optional[str], current: Current) -> bool:
    """Return whether the server has the password, which old platforms return in another key."""
    return (wanted or None) == _first(current, PASSWORDS)


def _same_vnc(key: str, wanted: Optional[str], current: Current) -> bool:
    """Return whether VNC is as wanted; for ``auto`` the API returns "auto", or the address that it chose."""
    found = _first(current, VNC)
    if wanted is None or wanted == "" or found is None:
        return (wanted or None) == found
    return wanted == found or wanted == current.get(key) or (wanted == "auto" and identifiers.is_address(found))


def _same_cores(key: str, wanted: Optional[str], current: Current) -> bool:
    """Return whether ``smp`` is as wanted; for ``auto`` old platforms return the number that they chose."""
    found = current.get("smp", "auto")
    if (wanted or "auto") == "auto" and found != "auto":
        return current.get("status") == "active" and "smp:cores" not in current
    return _number_of(wanted or "auto") == _number_of(found)


def _same_dhcp(key: str, wanted: Optional[str], current: Current) -> bool:
    """Return whether the address is as wanted; for ``auto`` old platforms return the address that they chose."""
    found = current.get(key)
    if wanted == "auto" and found is not None and identifiers.is_address(found):
        return is_old_platform(current)
    return (wanted or None) == (None if found in ("", "0") else found)


def _same_size(key: str, wanted: Optional[str], current: Current) -> bool:
    """Return whether the size is as wanted; None asks for no change, since a drive always has a size."""
    return wanted in (None, current.get(key))


def _first(current: Current, keys: Tuple[str, ...]) -> Optional[str]:
    return next((current[key] for key in keys if current.get(key)), None)


# --- The kinds ---


def text(shortest: int, longest: int) -> Kind:
    return Kind(line(shortest, longest))


def number(low: int, high: int, unit: str) -> Kind:
    return Kind(_whole_number(low, high, unit), _same_number, type="int")


def choice(*words: str) -> Kind:
    return Kind(verbatim, choices=words)


def flag(word: str) -> Kind:
    """Return the kind of a boolean: ``word`` for true, no property for false, since "false" was once misread.

    See elastichosts-api 2.2.
    """
    return Kind(
        lambda value: word if value else None,
        _same_flag,
        lambda text: None if is_off(text) else word,
        type="bool",
    )


def words(each: Encoder = verbatim) -> Kind:
    return Kind(joined(each), _same_set, type="list")


TEXT = Kind(verbatim)
CORES = Kind(_cores, _same_cores)
DEVICES_IN_ORDER = Kind(joined(device), _same_order, type="list")
# "0" means no address on some platforms, a missing key on all.
DHCP = Kind(dhcp_address, _same_dhcp, lambda text: None if text in ("0", "") else text)
DRIVE_UUID = Kind(uuid, _same_identifier)
MAC = Kind(mac_address, _same_identifier)
PASSWORD = Kind(line(1, 8), _same_password)
SIZE = Kind(_size, _same_size, lambda text: None if text is None else str(rounded(parse_size(text))))
VNC_ON = Kind(lambda value: "auto" if value else None, _same_vnc, type="bool")
VNC_IP = Kind(_vnc_ip, _same_vnc)
