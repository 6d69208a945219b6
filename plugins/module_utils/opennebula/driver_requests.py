# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parses the core's lines into requests (opennebula-drivers 1.3, 1.7, 2, 3.4, 8, 9)."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import zlib
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Mapping, NoReturn, Optional, Tuple, Union
from xml.etree.ElementTree import Element

from .driver_replies import one_line
from .errors import DocumentError, MalformedLine
from .protocol_versions import IM_2_0, IM_4_0, IM_4_4, IM_5_12, VM_2_0, VM_3_2, VM_6_0, VMM
from .vm import VirtualMachine, from_payload
from .xml import MAX_DOCUMENT, parse_xml

BARE = ("INIT", "FINALIZE")
BLANKS = " \t\r\n\v\f"
"""ASCII whitespace only: FINALIZE followed by other Unicode whitespace is no FINALIZE"""
ID_FIRST: Mapping[str, str] = {"UPDATESG": "SECURITY_GROUP_ID", "UPDATENIC": "VIRTUAL_NETWORK_ID"}
"""actions whose reply, also a FAILURE, begins with an object id, and the payload field with this id
(opennebula-drivers 2.3)"""

_FIELDS_AFTER_HOST: Mapping[str, Tuple[str, ...]] = {
    "DEPLOY": ("file", "-"),
    "SHUTDOWN": ("deploy_id", "-"),
    "CANCEL": ("deploy_id", "-"),
    "POLL": ("deploy_id", "-"),
    "SAVE": ("deploy_id", "file"),
    "RESTORE": ("deploy_id", "file"),
    "CHECKPOINT": ("deploy_id", "file"),
    "MIGRATE": ("deploy_id", "to"),
}
"""the two words after the host in a line of 2.0 to 3.0; the host itself may be empty or contain blanks
(opennebula-drivers 2.1, 8.8)"""

_ACTION = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_NUMBER = re.compile(r"(0|-?[1-9][0-9]{0,9})\Z")  # no leading zeros: a host may be called 007
_ID = re.compile(r"-?[0-9]{1,10}\Z")


@dataclass(frozen=True)
class VmmRequest:
    """One request of the core to the VMM driver."""

    action: str
    id: int
    """VM id; -1: none (INIT, FINALIZE)"""
    protocol: str
    """key of :data:`.protocol_versions.VMM`; VM_2_0 for DRIVER_CANCEL up to 5.12; empty for INIT and FINALIZE"""
    host: str = ""
    deploy_id: str = ""
    file: str = ""
    """2.0 to 3.0: path of the deployment file *on the node*; SAVE and RESTORE: path of the checkpoint"""
    vm: Optional[VirtualMachine] = None
    fields: Mapping[str, str] = field(default_factory=dict, repr=False)
    """flat elements of VMM_DRIVER_ACTION_DATA by name; 2.0 to 3.0: empty, or ``MIGR_HOST``"""
    reply_prefix: str = ""
    """prefix of the reply's text, such as "3 ", for the actions of :data:`ID_FIRST`"""


@dataclass(frozen=True)
class ImRequest:
    """One request of the core to the IM driver."""

    action: str
    id: int
    """host id; -1: none"""
    protocol: str
    """a key of :data:`.protocol_versions.IM`; empty for INIT and FINALIZE"""
    host: str = ""
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """5.12 and later: the monitor's configuration (numbers as int, sections as dict), and ``HOST``"""

    @property
    def periods(self) -> Dict[str, int]:
        """5.12 and later: PROBES_PERIOD, seconds by message type; missing ones have the core's default.

        See opennebula-drivers 5.1.
        """
        given = self.document.get("PROBES_PERIOD")
        sane = {k: v for k, v in given.items() if isinstance(v, int) and v > 0} if isinstance(given, dict) else {}
        return {**_PERIODS, **sane}

    @property
    def interval(self) -> int:
        """5.12 and later: MONITORING_INTERVAL_HOST, seconds without a report until START_MONITOR is sent again."""
        given = self.document.get("MONITORING_INTERVAL_HOST")
        return given if isinstance(given, int) and given > 0 else 180


_PERIODS: Mapping[str, int] = {
    "BEACON_HOST": 30,
    "SYSTEM_HOST": 600,
    "MONITOR_HOST": 120,
    "STATE_VM": 5,
    "MONITOR_VM": 30,
    "SYNC_STATE_VM": 180,
}


def parse_vmm(line: bytes) -> VmmRequest:
    """Parse a line to the VM driver, whose form shows the protocol (opennebula-drivers 1.7).

    :raises MalformedLine: the line has no known form
    """
    text = _clean(line)
    if text.strip(BLANKS) in BARE:
        return VmmRequest(text.strip(BLANKS), -1, "")
    action, number, rest, gap = _head(text)
    modern = gap == VMM[VM_6_0].gap.decode()
    if action == "DRIVER_CANCEL":
        return VmmRequest(action, number, VM_6_0 if modern else VM_2_0)
    words = rest.split()
    # A payload is one word; the fields of 2.0 contain blanks even if host and deploy id are empty.
    if modern or " " not in rest.rstrip(" "):
        protocol = VM_6_0 if modern else VM_3_2
        if len(words) != 1:
            _refuse(f"it has {len(words)} words after the id where one base64 payload belongs", action, number)
        return _from_payload(protocol, action, number, words[0])
    return _from_fields(action, number, rest)


def parse_im(line: bytes, protocol: Callable[[], str] = str) -> ImRequest:
    """Parse a line to the monitoring driver.

    :param protocol: called if the line may be of 2.0 to 3.8 or of 4.0 to 4.2; returns the protocol, or an empty string
        if it is not known (opennebula-drivers 1.7)
    :raises MalformedLine: the line has no known form, or ``protocol`` returned an empty string
    """
    text = _clean(line)
    if text.strip(BLANKS) in BARE:
        return ImRequest(text.strip(BLANKS), -1, "")
    action = text.split(" ", 1)[0]
    if action in ("START_MONITOR", "STOP_MONITOR"):
        return _im_document(text)
    action, number, rest, _gap = _head(text)
    if action == "STOPMONITOR":
        return ImRequest(action, number, IM_4_4, rest.strip())
    words = rest.split(" ")
    if action != "MONITOR" or len(words) < 2 or words[-1] not in ("0", "1"):
        _refuse("it is not 'MONITOR id host [datastores] 0|1'", action, number)
    # The word before the last is the datastores' folder if it is an absolute path; host names do not begin with "/".
    if len(words) > 2 and words[-2].startswith("/"):
        return ImRequest(action, number, IM_4_4, " ".join(words[:-2]))
    known = protocol()
    if known not in (IM_2_0, IM_4_0):
        _refuse(
            "it is that of OpenNebula 2.0 to 4.2, and nothing tells which of them this is; add --one-version X.Y to "
            "the ARGUMENTS of the IM_MAD section in oned.conf",
            action,
            number,
        )
    return ImRequest(action, number, known, " ".join(words[:-1]))


def _refuse(why: str, action: str = "", number: Optional[int] = None) -> NoReturn:
    what = f"a {action} line" if action else "a line"
    whose = "" if number is None else f" for id {number}"
    raise MalformedLine(
        f"Repeat the action, and check that the driver knows this release of OpenNebula: {what} from OpenNebula{whose} "
        f"cannot be understood, {why}. Nothing was done.",
        action,
        number,
    )


def _clean(line: bytes) -> str:
    text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
    if "\0" in text or "\n" in text:
        action, number = _glimpse(text)
        _refuse("it contains a NUL byte or a newline", action, number)
    if not text.strip():
        _refuse("it is empty")
    return text


def _glimpse(text: str) -> Tuple[str, Optional[int]]:
    """Return (action, id) of a malformed line; empty or None if no blank follows, since the word may be cut off."""
    words = re.split(r" +", text)
    action = words[0] if len(words) > 1 and _ACTION.match(words[0]) else ""
    whole = len(words) > 2 and _ID.match(words[1])
    return action, int(words[1]) if action and whole else None


def _head(text: str) -> Tuple[str, int, str, str]:
    """Return (action, id, rest of the line, blanks between action and id).

    :raises MalformedLine: action or id is missing or invalid
    """
    found = re.match(r"(\S+)( +)(\S+)(?: (.*))?\Z", text, re.DOTALL)
    if not found:
        _refuse("it ends before the id", text.strip() if _ACTION.match(text.strip()) else "")
    action, gap, number, rest = found.groups()
    if not _ACTION.match(action):
        _refuse(f"{_shown(action)} is no action")
    if not _ID.match(number) or int(number) < 0:
        _refuse(f"{_shown(number)} is no id", action)
    return action, int(number), rest or "", gap


def _shown(word: str) -> str:
    return repr(one_line(word)[:40])


def _from_fields(action: str, number: int, rest: str) -> VmmRequest:
    """Parse a line of 2.0 to 3.0 from both ends, because the host may be empty or contain blanks.

    See opennebula-drivers 8.8.
    """
    ends = _FIELDS_AFTER_HOST.get(action)
    words = rest.split(" ")
    if ends is None:
        return VmmRequest(action, number, VM_2_0)
    if ends == ("deploy_id", "-") and len(words) == 2 and words[1] == "-":
        words.insert(1, "")  # an empty deploy id without its second blank (opennebula-drivers 2.1)
    if len(words) < 3:
        _refuse(f"it has {len(words)} words after the id where 3 belong", action, number)
    last = dict(zip(ends, words[-2:]))
    if last.get("-", "-") != "-" or not words[-1]:
        _refuse("its last word is missing", action, number)
    if "file" in last and not last["file"].startswith("/"):
        _refuse(f"{_shown(last['file'])} is no absolute path", action, number)
    return VmmRequest(
        action,
        number,
        VM_2_0,
        host=" ".join(words[:-2]),
        deploy_id=last.get("deploy_id", ""),
        file=last.get("file", ""),
        fields={"MIGR_HOST": last["to"]} if "to" in last else {},
    )


_FLAT = (
    "HOST", "MIGR_HOST", "NET_DRV", "MIGR_NET_DRV", "DEPLOY_ID", "LOCAL_DEPLOYMENT_FILE", "REMOTE_DEPLOYMENT_FILE",
    "CHECKPOINT_FILE", "DISK_TARGET_PATH",
)  # fmt: skip
"""elements of a payload that the core writes without escaping what is in them (opennebula-drivers 2.4)"""
_RAW = re.compile(rf"<({'|'.join(_FLAT)})>(.*?)</\1>", re.DOTALL)
_VANISHING = (b"<!-", b"<?")
"""beginnings of comments and processing instructions, which the parser drops silently"""
_BARE_AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#[0-9]+|#x[0-9A-Fa-f]+);)")


def _escape_element(found: re.Match[str]) -> str:
    """Return a flat element with its text escaped, unless that is CDATA."""
    name, text = found.groups()
    if text.startswith("<![CDATA["):
        return found.group(0)
    return f"<{name}>{_BARE_AMPERSAND.sub('&amp;', text).replace('<', '&lt;')}</{name}>"


def _document(payload: bytes) -> Element:
    """Return the payload's root; if it is no XML, escape its flat elements first, as a host may be called R&D or C<B>.

    :raises DocumentError: the payload is no XML even then
    :raises UnicodeDecodeError: the payload is not UTF-8
    """
    if not any(mark in payload for mark in _VANISHING):
        with contextlib.suppress(DocumentError):
            root = parse_xml(payload)
            if not any(len(child) for child in root if child.tag in _FLAT):
                return root
    return parse_xml(_escaped(payload.decode("utf-8")))


def _escaped(document: str) -> str:
    """Return the payload with its flat elements escaped."""
    head, vm, tail = document.partition("<VM>")
    return _RAW.sub(_escape_element, head) + vm + tail


def _from_payload(protocol: str, action: str, number: int, payload: str) -> VmmRequest:
    try:
        root = _document(_decode(payload))
        if root.tag != "VMM_DRIVER_ACTION_DATA":
            raise DocumentError(f"its root element is <{root.tag}>, not <VMM_DRIVER_ACTION_DATA>")
        element = root.find("VM")
        vm = None if element is None else from_payload(element)
        if vm is not None and vm.id != number:
            raise DocumentError(f"it describes VM {vm.id}")
    except UnicodeDecodeError:
        _refuse("its payload is not UTF-8", action, number)
    except DocumentError as error:
        _refuse(f"its payload is damaged, {error.sentence}", action, number)
    fields = {child.tag: (child.text or "") for child in root if child.tag not in ("VM", "DATASTORE")}
    object_id = fields.get(ID_FIRST.get(action, ""), "")
    return VmmRequest(
        action,
        number,
        protocol,
        host=fields.get("HOST", ""),
        deploy_id=fields.get("DEPLOY_ID", "").strip(),
        file=fields.get("CHECKPOINT_FILE", ""),
        vm=vm,
        fields=fields,
        reply_prefix=f"{object_id} " if object_id else "",
    )


def _decode(payload: str) -> bytes:
    try:
        return base64.b64decode(payload.encode("ascii", "replace"), validate=True)
    except binascii.Error:
        raise DocumentError("it is not base64, or cut off") from None


def _inflate(packed: bytes) -> bytes:
    """Decompress zlib data to at most MAX_DOCUMENT bytes."""
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(packed, MAX_DOCUMENT)
    except zlib.error:
        raise DocumentError("it is not zlib, or damaged") from None
    if not stream.eof:
        raise DocumentError("it is cut off, or too large")
    return data


def _im_document(text: str) -> ImRequest:
    """Parse ``START_MONITOR - hid ts base64(zlib(xml))`` and STOP_MONITOR (opennebula-drivers 3.4)."""
    words = text.split()
    action = words[0]
    if len(words) < 3 or not _ID.match(words[2]) or int(words[2]) < 0:
        _refuse("it is not 'START_MONITOR - id timestamp payload'", action)
    number = int(words[2])
    if len(words) != 5:
        _refuse(f"it has {len(words)} words where 5 belong", action, number)
    try:
        root = parse_xml(_inflate(_decode(words[4])))
        if root.tag != "MONITOR_DRIVER_ACTION":
            raise DocumentError(f"its root element is <{root.tag}>, not <MONITOR_DRIVER_ACTION>")
    except DocumentError as error:
        _refuse(f"its payload is damaged, {error.sentence}", action, number)
    tree = _tree(root)
    sections: Dict[str, Any] = tree if isinstance(tree, dict) else {}
    host = sections.get("HOST")
    about: Dict[str, Any] = host if isinstance(host, dict) else {}
    configuration = sections.get("MONITOR_CONFIGURATION")
    document = dict(configuration) if isinstance(configuration, dict) else {}
    document["HOST"] = about
    return ImRequest(action, number, IM_5_12, str(about.get("NAME", "")), document)


def _tree(element: Element) -> Union[str, int, Dict[str, Any]]:
    """Return an element with children as dict, an integer as int, other text as str; of equal names the first wins."""
    if len(element):
        tree: Dict[str, Any] = {}
        for child in element:
            tree.setdefault(child.tag, _tree(child))
        return tree
    text = (element.text or "").strip()
    return int(text) if _NUMBER.match(text) else text
