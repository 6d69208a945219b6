# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The attributes of ``EH=[...]``: template text -> keys of a cloud server.

The nine attributes of the 2010 driver keep their exact form; each attribute is a row of a table.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Callable, Dict, List, Mapping, NamedTuple, Tuple

from ..elastichosts.properties import SECRET_KEYS, SERVER, property_of
from ..elastichosts.values import DEVICE
from .errors import TemplateError

_DEVICE = re.compile(rf"({DEVICE.pattern})\Z")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")
_MODEL_KEY = re.compile(r"nic:[0-3]:model\Z")
_DHCP_KEY = re.compile(r"nic:[0-3]:dhcp\Z")
_VLAN_KEY = re.compile(r"nic:[1-3]:vlan\Z")
_AVOID_KEY = re.compile(r"avoid:(servers|drives)\Z")
_KEY = re.compile(r"[a-z][a-z0-9]*([:_.-][a-z0-9]+)*\Z")
_WORD = re.compile(r"[^\s,]+\Z")
_COUNT = re.compile(r"[1-9][0-9]{0,8}\Z")
_SOURCE = re.compile(r"\S.*\Z")
_SIZE = re.compile(r"[1-9][0-9]{0,11}[kKmMgGtT]\Z|[1-9][0-9]{6,15}\Z")
_AUTO_OR_ADDRESS = re.compile(r"(auto|[0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]+)\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BOOLEANS: Mapping[str, str] = {"YES": "true", "TRUE": "true", "NO": "false", "FALSE": "false"}

OWNERSHIP_PREFIX = "user:one-"
"""keys that say whose server it is; a template must not set them"""


class _Wrong(ValueError):
    """``str()`` is the part of the value that is wrong, or why."""


def _one(key: str, form: re.Pattern[str], value: str) -> Dict[str, str]:
    if not form.match(value):
        raise _Wrong
    return {key: value}


def _name(value: str) -> Dict[str, str]:
    try:
        return {"name": property_of(SERVER, "name").kind.encode(value) or ""}
    except ValueError as error:
        raise _Wrong(str(error)) from None


def _smp(value: str) -> Dict[str, str]:
    return {"smp": "auto"} if value.lower() == "auto" else _one("smp", _COUNT, value)


def _persistent(value: str) -> Dict[str, str]:
    if value.upper() not in _BOOLEANS:
        raise _Wrong
    return {"persistent": _BOOLEANS[value.upper()]}


def _words(key: str, each: re.Pattern[str], value: str) -> Dict[str, str]:
    """Words separated by blanks or commas, each of one form."""
    words = re.split(r"[\s,]+", value.strip(" ,"))
    for word in words:
        if not each.match(word):
            raise _Wrong(word)
    return {key: " ".join(words)}


def _pairs(key: re.Pattern[str], item: re.Pattern[str], value: str) -> Dict[str, str]:
    """``KEY VALUE``, comma-separated."""
    found: Dict[str, str] = {}
    for part in _parts(value):
        name, _blank, rest = part.partition(" ")
        rest = rest.strip()
        if not key.match(name) or not item.match(rest):
            raise _Wrong(part)
        if name in found:
            raise _Wrong(f"{name} twice")
        found[name] = rest
    return found


def _parts(value: str) -> List[str]:
    return [" ".join(part.split()) for part in value.split(",")]


def _prefixed(key: str, item: re.Pattern[str], value: str) -> Dict[str, str]:
    """``KEY VALUE`` with one fixed key, as the 2010 driver wanted it: ``vnc:ip auto``."""
    name, _blank, rest = value.partition(" ")
    if name != key or not item.match(rest.strip()):
        raise _Wrong
    return {key: rest.strip()}


def _avoid(value: str) -> Dict[str, str]:
    """``avoid:servers UUID UUID, avoid:drives UUID``; UUIDs alone are servers."""
    found: Dict[str, str] = {}
    for part in _parts(value):
        first, *others = part.split() or [""]
        key, uuids = (first, others) if _AVOID_KEY.match(first) else ("avoid:servers", [first, *others])
        if not uuids or not all(_UUID.match(uuid) for uuid in uuids):
            raise _Wrong(part)
        found[key] = " ".join(filter(None, (found.get(key, ""), *uuids)))
    return found


def _extra(value: str) -> Dict[str, str]:
    """``key value`` pairs; a complaint names the key only, because the value may be a password."""
    found: Dict[str, str] = {}
    for part in _parts(value):
        key, _blank, rest = part.partition(" ")
        if not _KEY.match(key):
            raise _Wrong("no key of the API before the first blank")
        if not rest:
            raise _Wrong(f"{key} without a value")
        if key in found:
            raise _Wrong(f"{key} twice")
        if key.startswith(OWNERSHIP_PREFIX):
            raise _Wrong(f"{key} belongs to the driver")
        found[key] = rest
    return found


class EhAttribute(NamedTuple):
    """A row of the table."""

    read: Callable[[str], Dict[str, str]]
    form: str
    secret: bool = False


ATTRIBUTES: Mapping[str, EhAttribute] = {
    "NAME": EhAttribute(_name, "a name, for example bitrot"),
    "CPUMHZ": EhAttribute(partial(_one, "cpu", _COUNT), "a whole number of MHz, for example 500"),
    "MEMORY": EhAttribute(partial(_one, "mem", _COUNT), "a whole number of MB, for example 500"),
    "DRIVE": EhAttribute(
        partial(_pairs, _DEVICE, _UUID),
        '"DEVICE UUID", comma-separated, for example "ide:0:0 6f0c8a52-1b0e-4c6e-9d57-2f1f0c7f7a11"; devices are '
        "ide:0:0 to ide:1:1, scsi:0:0 to scsi:0:7, ata:0:0 to ata:0:5 and block:0 to block:7",
    ),
    "NICMODEL": EhAttribute(partial(_pairs, _MODEL_KEY, _WORD), '"nic:N:model MODEL", for example "nic:0:model e1000"'),
    "NICDHCP": EhAttribute(
        partial(_pairs, _DHCP_KEY, _AUTO_OR_ADDRESS), '"nic:0:dhcp auto" or "nic:0:dhcp ADDRESS" with an own address'
    ),
    "NICVLAN": EhAttribute(partial(_pairs, _VLAN_KEY, _UUID), '"nic:N:vlan UUID" with N from 1 to 3'),
    "BOOT": EhAttribute(partial(_words, "boot", _DEVICE), "one or more devices of DRIVE or IMAGE, for example ide:0:0"),
    "VNCIP": EhAttribute(partial(_prefixed, "vnc:ip", _AUTO_OR_ADDRESS), '"vnc:ip auto" or "vnc:ip ADDRESS"'),
    "VNCPASSWORD": EhAttribute(
        partial(_prefixed, "vnc:password", re.compile(r"\S+\Z")),
        '"vnc:password SECRET", a secret without blanks',
        secret="vnc:password" in SECRET_KEYS,
    ),
    "SMP": EhAttribute(_smp, "a number of cores, or auto"),
    "PERSISTENT": EhAttribute(_persistent, "YES or NO"),
    "TAGS": EhAttribute(partial(_words, "tags", _WORD), "words separated by blanks"),
    "AVOID": EhAttribute(_avoid, 'UUIDs of servers, or "avoid:servers UUID ..., avoid:drives UUID ..."'),
    "EXTRA": EhAttribute(
        _extra,
        '"KEY VALUE" pairs of the API, comma-separated, for example "nic:1:mac 02:00:00:00:00:01"',
        secret=True,
    ),
}

DRIVE_ATTRIBUTES: Mapping[str, EhAttribute] = {
    "TIER": EhAttribute(partial(_one, "tier", re.compile(r"[a-z0-9-]+\Z")), "one word, for example ssd or disk"),
}
"""what a drive gets that the driver makes for the VM"""

IMAGE = "IMAGE"
IMAGES: Mapping[str, EhAttribute] = {
    IMAGE: EhAttribute(
        partial(_pairs, _DEVICE, _SOURCE),
        '"DEVICE SOURCE [SIZE]", comma-separated, where SOURCE is the UUID or unique name of a drive, for example '
        '"ide:0:0 debian-12 10G"',
    ),
}
"""of which drives the VM gets copies of its own"""
ROWS: Mapping[str, EhAttribute] = {**ATTRIBUTES, **DRIVE_ATTRIBUTES, **IMAGES}


class ImageCopy(NamedTuple):
    """A drive that the VM gets as a copy of another one."""

    device: str
    source: str
    """UUID or unique name of the drive to copy"""
    size: str
    """with a unit, or in bytes; empty: as large as the source"""


CHOOSING = ("HOST", "CLOUD")
"""choose the vector, see :func:`~.vm.eh_vector`"""


def parse_attribute(name: str, value: str) -> Dict[str, str]:
    """Return the API keys that one attribute of EH stands for.

    :raises TemplateError: naming the attribute, its value (never VNCPASSWORD's) and the right form
    """
    row = ROWS.get(name)
    if row is None:
        known = ", ".join(sorted({*ROWS, "HOST"}))
        raise TemplateError(f"Take out or correct an attribute of EH=[...]: {name} is not known; use one of {known}.")
    try:
        return row.read(value.strip())
    except _Wrong as wrong:
        shown = "its value" if row.secret else f'"{_short(value)}"'
        detail = f" ({_short(str(wrong))})" if str(wrong) not in ("", value) else ""
        raise TemplateError(f"Correct {name} of EH=[...]: {shown} is wrong{detail}, it must be {row.form}.") from None


def key_values(text: str) -> Dict[str, str]:
    """Parse the API's own lines, ``key value``: what 2.0 with the original guide's patch (``type = "eh"``) writes.

    :raises TemplateError: naming the first line that is none
    """
    found: Dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        key, _blank, value = line.strip().partition(" ")
        if not key:
            continue
        if not _KEY.match(key) or not value.strip():
            raise TemplateError(
                'Check TYPE of the VM_MAD section in oned.conf, "xml" is right without patches: line '
                f'{number} of the deployment file is neither XML nor "key value".'
            )
        if key.startswith(OWNERSHIP_PREFIX) or key in found:
            why = "belongs to the driver" if key not in found else "stands there twice"
            raise TemplateError(f"Take a key out of the VM's template: {key} in line {number} of its file {why}.")
        found[key] = value.strip()
    return found


def _short(text: str) -> str:
    text = _CONTROL.sub(" ", text)
    return text if len(text) <= 100 else text[:97] + "..."


class EhValues(NamedTuple):
    """What an EH vector asks for."""

    server: Dict[str, str]
    """API keys of the server, but for the drives of ``images``"""
    images: Tuple[ImageCopy, ...]
    """drives that the server gets as copies, by device"""
    drive: Dict[str, str]
    """API keys of the drives that are made for the VM"""


def eh_values(vector: Mapping[str, str]) -> EhValues:
    """Read an EH vector. An empty attribute counts as absent.

    PERSISTENT=NO gives ``persistent false``; defaults, CPU and MEMORY of the VM, and ownership are the driver's. A last
    word in IMAGE that is a size is one, so a drive with such a name needs its UUID.

    :raises TemplateError: one sentence about the first attribute (in alphabetical order) that is wrong
    """
    server: Dict[str, str] = {}
    drive: Dict[str, str] = {}
    images: Dict[str, str] = {}
    set_by: Dict[str, str] = {}
    for name, value in _given(vector):
        keys = parse_attribute(name, value)
        if name in DRIVE_ATTRIBUTES:
            drive.update(keys)
            continue
        for key in keys:
            if key in set_by:
                raise TemplateError(f"Keep one of two attributes of EH=[...]: {set_by[key]} and {name} both set {key}.")
            set_by[key] = name
        (images if name == IMAGE else server).update(keys)
    _check_boot({**server, **images})
    return EhValues(server, tuple(_image(device, text) for device, text in sorted(images.items())), drive)


def _image(device: str, text: str) -> ImageCopy:
    source, _blank, last = text.rpartition(" ")
    return ImageCopy(device, source, last) if source and _SIZE.match(last) else ImageCopy(device, text, "")


def _given(vector: Mapping[str, str]) -> List[Tuple[str, str]]:
    return [(name, value.strip()) for name, value in sorted(vector.items()) if value.strip() and name not in CHOOSING]


def _check_boot(properties: Mapping[str, str]) -> None:
    drives = [key for key in properties if _DEVICE.match(key)]
    for device in properties.get("boot", "").split():
        if drives and device not in drives:
            raise TemplateError(
                f"Name a device of DRIVE or IMAGE in BOOT of EH=[...]: BOOT is {device}, but the drives are at "
                f"{', '.join(sorted(drives))} only."
            )
