# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wire: a line from the core -> request, a reply -> line (opennebula-drivers 1.3, 2, 3, 9).

Every wire generation is a row of :data:`VMM` or :data:`IM`; nothing else in the driver knows their forms.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Mapping, NamedTuple, NoReturn, Optional, Tuple, Union
from xml.etree.ElementTree import Element

from .documents import MAX_DOCUMENT, parse_xml
from .errors import DocumentError
from .errors import MalformedLine as MalformedLine
from .vm import VirtualMachine, from_payload

INIT_REPLY = b"INIT SUCCESS\n"
MAX_TEXT = 1000
"""characters of a reply's free text: a line stays far below the 64 KiB that fit into a pipe"""
BARE = ("INIT", "FINALIZE")
ID_FIRST: Mapping[str, str] = {"UPDATESG": "SECURITY_GROUP_ID", "UPDATENIC": "VIRTUAL_NETWORK_ID"}
"""actions whose reply begins with an object id, also on FAILURE, and the payload field it stands in (2.3)"""


@dataclass(frozen=True)
class VmmGeneration:
    """A row of the VMM's wire table."""

    name: str
    gap: bytes
    """between action and id"""
    payload: bool
    """base64 of XML, or plain fields"""
    nobody: str
    """id of a LOG line that is about no VM"""


VMM: Mapping[str, VmmGeneration] = {
    row.name: row
    for row in (
        VmmGeneration("V1", gap=b" ", payload=False, nobody="-"),
        VmmGeneration("V2", gap=b" ", payload=True, nobody="-"),
        VmmGeneration("V3", gap=b"  ", payload=True, nobody="-1"),
    )
}


@dataclass(frozen=True)
class ImGeneration:
    """A row of the IM's wire table."""

    name: str
    encoding: str
    """of texts: ``plain``, ``base64`` or ``zlib`` (base64 of zlib)"""
    separator: str
    """between the attributes of a text"""
    stamped: bool
    """lines carry a timestamp"""
    encoded_log: bool


IM: Mapping[str, ImGeneration] = {
    row.name: row
    for row in (
        ImGeneration("I1", encoding="plain", separator=",", stamped=False, encoded_log=False),
        ImGeneration("I2", encoding="base64", separator="\n", stamped=False, encoded_log=False),
        ImGeneration("I3", encoding="base64", separator="\n", stamped=False, encoded_log=False),
        ImGeneration("I4", encoding="zlib", separator="\n", stamped=True, encoded_log=True),
    )
}

_V1_ENDS: Mapping[str, Tuple[str, ...]] = {
    "DEPLOY": ("file", "-"),
    "SHUTDOWN": ("deploy_id", "-"),
    "CANCEL": ("deploy_id", "-"),
    "POLL": ("deploy_id", "-"),
    "SAVE": ("deploy_id", "file"),
    "RESTORE": ("deploy_id", "file"),
    "CHECKPOINT": ("deploy_id", "file"),
    "MIGRATE": ("deploy_id", "to"),
}
"""what follows the host in a V1 line, each one word; the host itself may be empty or contain blanks (2.1, 8.8)"""

_ACTION = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_ID = re.compile(r"-?[0-9]{1,10}\Z")


@dataclass(frozen=True)
class VmmRequest:
    """One request of the core to the VMM driver."""

    action: str
    id: int
    """VM id; -1: none (INIT, FINALIZE)"""
    generation: str
    """``V1``, ``V2``, ``V3``; empty for INIT and FINALIZE. DRIVER_CANCEL of V2 looks like V1's."""
    host: str = ""
    deploy_id: str = ""
    file: str = ""
    """V1: the deployment file as named *on the node*; SAVE and RESTORE: the checkpoint"""
    vm: Optional[VirtualMachine] = None
    fields: Mapping[str, str] = field(default_factory=dict, repr=False)
    """flat elements of VMM_DRIVER_ACTION_DATA by name; V1: empty, or ``MIGR_HOST``"""

    @property
    def reply_prefix(self) -> str:
        """What the reply's text must begin with ("3 "), for the actions of :data:`ID_FIRST`."""
        number = self.fields.get(ID_FIRST.get(self.action, ""), "")
        return f"{number} " if number else ""


@dataclass(frozen=True)
class ImRequest:
    """One request of the core to the IM driver."""

    action: str
    id: int
    """host id; -1: none"""
    generation: str
    """``I1`` to ``I4``; empty when the line alone cannot tell I1 from I2 (1.7)"""
    host: str = ""
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """I4: the monitor's configuration (numbers as int, sections as dict), and ``HOST``"""

    @property
    def periods(self) -> Dict[str, int]:
        """I4: PROBES_PERIOD, seconds by message type; what is missing has the core's default (5.1)."""
        given = self.document.get("PROBES_PERIOD")
        sane = {k: v for k, v in given.items() if isinstance(v, int) and v > 0} if isinstance(given, dict) else {}
        return {**_PERIODS, **sane}

    @property
    def interval(self) -> int:
        """I4: MONITORING_INTERVAL_HOST, seconds: START_MONITOR comes again when nothing was heard for so long."""
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


# --- requests -------------------------------------------------------------------------------------------------------


def parse_vmm(line: bytes) -> VmmRequest:
    """A line to the VMM driver, with or without its newline; the generation is seen from the line itself (1.7).

    :raises MalformedLine: when it cannot be understood
    """
    text = _clean(line)
    if text.strip() in BARE:
        return VmmRequest(text.strip(), -1, "")
    action, number, rest, gap = _head(text)
    modern = gap == VMM["V3"].gap.decode()
    if action == "DRIVER_CANCEL":
        return VmmRequest(action, number, "V3" if modern else "V1")
    words = rest.split()
    if modern or len(words) <= 1:
        generation = "V3" if modern else "V2"
        if len(words) != 1:
            _refuse(f"it has {len(words)} words after the id where one base64 payload belongs", action, number)
        return _from_payload(generation, action, number, words[0])
    return _from_fields(action, number, rest)


def parse_im(line: bytes, generation: Optional[str] = None) -> ImRequest:
    """A line to the IM driver.

    :param generation: what is known from elsewhere, to tell I1 from I2 (1.7); the line's own form outranks it
    :raises MalformedLine: when it cannot be understood
    """
    text = _clean(line)
    if text.strip() in BARE:
        return ImRequest(text.strip(), -1, "")
    action = text.split(" ", 1)[0]
    if action in ("START_MONITOR", "STOP_MONITOR"):
        return _im_document(text)
    action, number, rest, _gap = _head(text)
    if action == "STOPMONITOR":
        return ImRequest(action, number, "I3", rest.strip())
    words = rest.split(" ")
    if action != "MONITOR" or len(words) < 2 or words[-1] not in ("0", "1"):
        _refuse("it is not 'MONITOR id host [datastores] 0|1'", action, number)
    # A host name has no slash in front; the folder of the datastores is absolute.
    if len(words) > 2 and words[-2].startswith("/"):
        return ImRequest(action, number, "I3", " ".join(words[:-2]))
    known = generation if generation in ("I1", "I2") else ""
    return ImRequest(action, number, known or "", " ".join(words[:-1]))


def _refuse(why: str, action: str = "", number: Optional[int] = None) -> NoReturn:
    what = f"A {action} line" if action else "A line"
    whose = "" if number is None else f" for id {number}"
    raise MalformedLine(
        f"{what} from OpenNebula{whose} cannot be understood: {why}. Nothing was done; repeat the action, and check "
        "that the release of OpenNebula is one that this driver knows.",
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
    """Action and id of a broken line, as far as they are surely whole: a word that a blank ends."""
    words = re.split(r" +", text)
    action = words[0] if len(words) > 1 and _ACTION.match(words[0]) else ""
    whole = len(words) > 2 and _ID.match(words[1])
    return action, int(words[1]) if action and whole else None


def _head(text: str) -> Tuple[str, int, str, str]:
    """Action, id, the rest as it stands, and the gap between action and id."""
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
    return repr(_one_line(word)[:40])


def _from_fields(action: str, number: int, rest: str) -> VmmRequest:
    """V1: single blanks separate, from both ends, because the host may be empty or contain blanks (8.8)."""
    ends = _V1_ENDS.get(action)
    words = rest.split(" ")
    if ends is None:
        return VmmRequest(action, number, "V1")
    if ends == ("deploy_id", "-") and len(words) == 2 and words[1] == "-":
        words.insert(1, "")  # an empty deploy id without its second blank (2.1)
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
        "V1",
        host=" ".join(words[:-2]),
        deploy_id=last.get("deploy_id", ""),
        file=last.get("file", ""),
        fields={"MIGR_HOST": last["to"]} if "to" in last else {},
    )


_RAW = re.compile(
    r"<(HOST|MIGR_HOST|NET_DRV|MIGR_NET_DRV|DEPLOY_ID|LOCAL_DEPLOYMENT_FILE|REMOTE_DEPLOYMENT_FILE|CHECKPOINT_FILE"
    r"|DISK_TARGET_PATH)>(.*?)</\1>",
    re.DOTALL,
)
_BARE_AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#[0-9]+|#x[0-9A-Fa-f]+);)")


def _mend(found: re.Match[str]) -> str:
    name, text = found.groups()
    if text.startswith("<![CDATA["):
        return found.group(0)
    return f"<{name}>{_BARE_AMPERSAND.sub('&amp;', text).replace('<', '&lt;')}</{name}>"


def _mended(document: str) -> str:
    """The payload with those flat elements escaped that the core writes as they are (2.4): a host may be called R&D."""
    head, vm, tail = document.partition("<VM>")
    return _RAW.sub(_mend, head) + vm + tail


def _from_payload(generation: str, action: str, number: int, payload: str) -> VmmRequest:
    try:
        document = _decode(payload).decode("utf-8")
        root = parse_xml(_mended(document))
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
    return VmmRequest(
        action,
        number,
        generation,
        host=fields.get("HOST", ""),
        deploy_id=fields.get("DEPLOY_ID", "").strip(),
        file=fields.get("CHECKPOINT_FILE", ""),
        vm=vm,
        fields=fields,
    )


def _decode(payload: str) -> bytes:
    try:
        return base64.b64decode(payload.encode("ascii", "replace"), validate=True)
    except binascii.Error:
        raise DocumentError("it is not base64, or cut off") from None


def _inflate(packed: bytes) -> bytes:
    """RFC 1950, at most MAX_DOCUMENT bytes of it."""
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(packed, MAX_DOCUMENT)
    except zlib.error:
        raise DocumentError("it is not zlib, or damaged") from None
    if not stream.eof:
        raise DocumentError("it is cut off, or too large")
    return data


def _im_document(text: str) -> ImRequest:
    """``START_MONITOR - hid ts base64(zlib(xml))`` and STOP_MONITOR (3.4)."""
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
    return ImRequest(action, number, "I4", str(about.get("NAME", "")), document)


def _tree(element: Element) -> Union[str, int, Dict[str, Any]]:
    """Sections as dict, whole numbers as int, the rest as text; of a repeated name the first stays.

    A host's name stays text, also when it is a number."""
    if len(element):
        tree: Dict[str, Any] = {}
        for child in element:
            tree.setdefault(child.tag, _tree(child))
        return tree
    text = (element.text or "").strip()
    return int(text) if _ID.match(text) else text


# --- replies --------------------------------------------------------------------------------------------------------

_BREAKS = re.compile(r"\s*[\r\n\v\f\x85\u2028\u2029]+\s*")
# Everything that XML 1.0 does not allow, the control characters among it.
_NOT_XML = re.compile("[^\t\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\x7f-\x9f]")


def _one_line(text: str) -> str:
    """``text`` as the core can store it: one line, valid XML characters only (1.3)."""
    return _NOT_XML.sub(" ", _BREAKS.sub("; ", text.strip())).replace("\t", " ").strip()


def _free_text(text: str, limit: int = MAX_TEXT) -> str:
    line = _one_line(text)
    return line if len(line) <= limit else line[: limit - 4].rstrip() + " ..."


def _reason(text: str) -> str:
    """A failure's text: the core drops one that begins with '-' (2.3), and an empty one tells nobody anything."""
    return _free_text(text).lstrip("- ") or "No reason was given."


def vmm_reply(action: str, ok: bool, id: int, text: str = "") -> bytes:  # noqa: A002
    """The answer to a request, one line with its newline (2.3).

    :param text: on SUCCESS of DEPLOY the deploy id, on FAILURE the reason; for UPDATESG and UPDATENIC put
        ``request.reply_prefix`` before it
    :raises ValueError: for a reply that the core would misread: no action, no id, a deploy id that is not one word
    """
    if not _ACTION.match(action) or id < 0:
        raise ValueError(f"no reply can be made for action {action!r} and id {id}")
    if not ok:
        return f"{action} FAILURE {id} {_reason(text)}\n".encode()
    if action == "DEPLOY" and (not re.match(r"[!-~]+\Z", text) or text.startswith("-")):
        raise ValueError(f"the deploy id {text!r} is not one word")
    return f"{action} SUCCESS {id} {_free_text(text) or '-'}\n".encode()


def _level(level: str) -> str:
    return level[:1].upper() if level[:1].upper() in ("E", "W", "I", "D") else "I"


def vmm_log(generation: str, level: str, id: int, text: str) -> bytes:  # noqa: A002
    """A LOG line (1.5).

    :param level: ``E``, ``W``, ``I``, ``D`` or a word that begins so; the core reads an unknown one as INFO
    :param id: VM id; -1: about no VM
    """
    row = VMM.get(generation, VMM["V1"])
    return f"LOG {_level(level)} {row.nobody if id < 0 else id} {_free_text(text)}\n".encode()


def _packed(row: ImGeneration, text: str) -> str:
    if row.encoding == "plain":
        return text
    data = text.encode("utf-8", "replace")
    return base64.b64encode(zlib.compress(data) if row.encoding == "zlib" else data).decode("ascii")


def _im_row(generation: str, stamped: bool) -> ImGeneration:
    row = IM.get(generation)
    if row is None or row.stamped is not stamped:
        raise ValueError(f"{generation!r} is no generation for this message")
    return row


Value = Union[str, int, float]


class VmFacts(NamedTuple):
    """One server in a host message of I2 and I3, or in a MONITOR_VM of I4."""

    id: int
    """VM id; -1 for a server that is not OpenNebula's (not in I4's MONITOR_VM)"""
    deploy_id: str
    facts: Mapping[str, Value]
    """see :func:`poll_data`"""
    name: str = ""


class VmState(NamedTuple):
    """One server in a STATE_VM of I4."""

    id: int
    deploy_id: str
    state: str
    """RUNNING, POWEROFF, SUSPENDED or FAILURE"""


class WildVm(NamedTuple):
    """A server that is not OpenNebula's, for SYSTEM_HOST of I4 (4)."""

    deploy_id: str
    name: str
    import_template: str
    """OpenNebula template text"""


def im_host_reply(
    generation: str,
    host_id: int,
    facts: Mapping[str, Value],
    vms: Optional[Iterable[VmFacts]] = None,
    *,
    monitoring: bool = True,
) -> bytes:
    """MONITOR SUCCESS of I1 to I3 (3.3).

    :param vms: I2 and I3: every server of the host, or None to say nothing about VMs; I1 has no place for them
    :param monitoring: words of 4.14 and later in the VMs' facts, see :func:`poll_data`
    """
    row = _im_row(generation, stamped=False)
    if row.encoding == "plain":
        # A comma separates even inside quotation marks (8.15), and a vector would need commas.
        body = row.separator.join(f"{_name(key)}={_plain(value)}" for key, value in facts.items())
        return f"MONITOR SUCCESS {host_id} {body}\n".encode()
    lines = template_text(facts)
    if vms is not None:
        lines += "VM_POLL=YES\n" + "".join(
            _assignment(
                "VM",
                {
                    "ID": vm.id,
                    "DEPLOY_ID": vm.deploy_id,
                    **({"VM_NAME": vm.name} if vm.name else {}),
                    "POLL": poll_data("V2", vm.facts, monitoring=monitoring),
                },
            )
            for vm in vms
        )
    return f"MONITOR SUCCESS {host_id} {_packed(row, lines)}\n".encode()


def im_host_failure(generation: str, host_id: int, text: str) -> bytes:
    """MONITOR FAILURE of I1 to I3. From I2 on it turns every RUNNING VM of the host UNKNOWN (7.7)."""
    row = _im_row(generation, stamped=False)
    return f"MONITOR FAILURE {host_id} {_packed(row, _reason(text))}\n".encode()


def im_message(type: str, ok: bool, host_id: int, timestamp: int, text: str = "") -> bytes:  # noqa: A002
    """A message of I4: ``TYPE STATUS id timestamp base64(zlib(text))`` (3.4).

    :param timestamp: epoch seconds; must not go back for the same type and host
    """
    status = "SUCCESS" if ok else "FAILURE"
    body = text if ok else _reason(text)
    payload = f" {_packed(IM['I4'], body)}" if body else ""
    return f"{type} {status} {host_id} {timestamp}{payload}\n".encode()


def im_log(generation: str, level: str, host_id: int, text: str, timestamp: int = 0) -> bytes:
    """A LOG line of the IM driver (1.5): its id must be a number in every release; I4 packs the text."""
    row = IM.get(generation, IM["I1"])
    number = max(host_id, 0)
    if row.encoded_log:
        return f"LOG {_level(level)} {number} {timestamp} {_packed(row, _free_text(text))}\n".encode()
    return f"LOG {_level(level)} {number} {_free_text(text)}\n".encode()


_POLL_WORDS: Mapping[bool, Mapping[str, str]] = {
    False: {"CPU": "USEDCPU", "MEMORY": "USEDMEMORY"},
    True: {},
}
_INT_32 = 2**31 - 1


def poll_data(generation: str, facts: Mapping[str, Value], *, monitoring: bool = False) -> str:
    """Payload of POLL SUCCESS, and of POLL="..." in a host message (3.2).

    :param facts: STATE (a, p, e, d or -), CPU (% of one core), MEMORY (KB), NETRX, NETTX (bytes), and others
    :param monitoring: ``vm.monitoring``: the words of 4.14 and later instead of USEDCPU and USEDMEMORY
    """
    words = _POLL_WORDS[monitoring and generation != "V1"]
    tokens = []
    for key, value in facts.items():
        # 2.0 reads 32-bit integers (8.12).
        number = min(int(value), _INT_32) if generation == "V1" and isinstance(value, (int, float)) else value
        token = re.sub(r"[\s\"\\]+", "_", _one_line(str(number)))
        if token:
            tokens.append(f"{words.get(key, _name(key))}={token}")
    return " ".join(tokens)


def vm_state_text(vms: Iterable[VmState], *, sync: bool = False, missing: str = "UNKNOWN") -> str:
    """Text of STATE_VM (3.4). Every line is complete: the core reuses the line before for what is missing.

    :param sync: say that this is every VM of the host; one that is not listed becomes ``missing``
    """
    head = f"SYNC_STATE=yes\nMISSING_STATE={missing}\n" if sync else ""
    return head + "".join(
        _assignment("VM", {"ID": str(vm.id), "DEPLOY_ID": vm.deploy_id, "STATE": vm.state}) for vm in vms
    )


def monitor_vm_text(vms: Iterable[VmFacts]) -> str:
    """Text of MONITOR_VM (3.2): CPU (% of one core), MEMORY (KB), NETRX, NETTX, DISKRDBYTES ... and free ones."""
    return "".join(
        _assignment(
            "VM",
            {
                "ID": str(vm.id),
                "DEPLOY_ID": vm.deploy_id,
                "MONITOR": base64.b64encode(template_text(vm.facts).encode("utf-8", "replace")).decode("ascii"),
            },
        )
        for vm in vms
    )


def wild_text(vms: Iterable[WildVm]) -> str:
    """Lines for SYSTEM_HOST that name servers which are not OpenNebula's (4, 9.4)."""
    return "".join(
        _assignment(
            "VM",
            {
                "ID": "-1",
                "DEPLOY_ID": vm.deploy_id,
                "VM_NAME": vm.name,
                "IMPORT_TEMPLATE": base64.b64encode(vm.import_template.encode("utf-8", "replace")).decode("ascii"),
            },
        )
        for vm in vms
    )


def template_text(attributes: Mapping[str, Union[Value, Mapping[str, Value]]]) -> str:
    """OpenNebula template text, one attribute a line, texts in quotation marks (5.5)."""
    return "".join(_assignment(key, value) for key, value in attributes.items())


def _assignment(name: str, value: Union[Value, Mapping[str, Value]]) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_name(key)}={_quoted(item)}" for key, item in value.items())
        return f"{_name(name)} = [ {inner} ]\n"
    return f"{_name(name)}={_quoted(value)}\n"


def _name(key: str) -> str:
    return re.sub(r"[^A-Z0-9_]", "_", key.upper())


def _quoted(value: Value) -> str:
    """A number bare, a text in quotation marks: only ``\\"`` is an escape, ``]]>`` stops the parser (5.5)."""
    if isinstance(value, (int, float)):
        return str(value)
    text = _one_line(value).replace("]]>", "]] >").replace('"', '\\"')
    return f'"{text} "' if text.endswith("\\") else f'"{text}"'


def _plain(value: Value) -> str:
    """A value of I1: no comma, no newline; in quotation marks when it is not one plain word."""
    text = re.sub(r"[,\"\\\[\]]", " ", _one_line(str(value)))
    text = re.sub(r" +", " ", text).strip()
    return text if re.match(r"[^\s=#]+\Z", text) else f'"{text}"'
