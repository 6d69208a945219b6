# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Formats replies, log lines and monitoring messages as lines to the core, and the template texts in them.

Sources: opennebula-drivers 1.3, 1.5, 2.3, 3, 5.5 and 9.
"""

from __future__ import annotations

import base64
import functools
import re
import zlib
from dataclasses import replace
from typing import Dict, Iterable, Mapping, NamedTuple, Optional, Union

from .protocol_versions import IM, IM_2_0, IM_5_12, VM_2_0, VM_3_2, VMM, ImProtocol

INIT_REPLY = b"INIT SUCCESS\n"
_ACTION = re.compile(r"[A-Z][A-Z0-9_]*\Z")
MAX_TEXT = 1000
"""characters of a reply's free text at most, so that a line stays far below the 64 KiB of a pipe"""

_BREAKS = re.compile(r"\s*[\r\n\v\f\x85\u2028\u2029]+\s*")
# Characters that XML 1.0 does not allow, and control characters.
_NOT_XML = re.compile("[^\t\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\x7f-\x9f]")


# --- lines


def _reason(text: str) -> str:
    """Return the text of a FAILURE, without leading '-': the core would drop the text (opennebula-drivers 2.3)."""
    return free_text(text).lstrip("- ") or "No reason was given."


def vmm_reply(action: str, ok: bool, id: int, text: str = "") -> bytes:  # noqa: A002
    """Return the line that answers a request, with its newline (opennebula-drivers 2.3).

    :param text: on SUCCESS of DEPLOY the deploy id, on FAILURE the reason; for UPDATESG and UPDATENIC it must begin
        with ``request.reply_prefix``
    :raises ValueError: the core would misread the reply: no action, no id, or a deploy id that is not one word
    """
    if not _ACTION.match(action) or id < 0:
        raise ValueError(f"no reply can be made for action {action!r} and id {id}")
    if not ok:
        return f"{action} FAILURE {id} {_reason(text)}\n".encode()
    if action == "DEPLOY" and (not re.match(r"[!-~]+\Z", text) or text.startswith("-")):
        raise ValueError(f"the deploy id {text!r} is not one word")
    return f"{action} SUCCESS {id} {free_text(text) or '-'}\n".encode()


def _level(level: str) -> str:
    return level[:1].upper() if level[:1].upper() in ("E", "W", "I", "D") else "I"


def vmm_log(protocol: str, level: str, id: int, text: str) -> bytes:  # noqa: A002
    """Return a LOG line of the VM driver (opennebula-drivers 1.5).

    :param level: ``E``, ``W``, ``I``, ``D`` or a word that begins with one of them; any other counts as ``I``
    :param id: VM id; -1 for a line about no VM
    """
    row = VMM.get(protocol, VMM[VM_2_0])
    return f"LOG {_level(level)} {row.nobody if id < 0 else id} {free_text(text)}\n".encode()


def _packed(row: ImProtocol, text: str) -> str:
    if row.encoding == "plain":
        return text
    data = text.encode("utf-8", "replace")
    return base64.b64encode(zlib.compress(data) if row.encoding == "zlib" else data).decode("ascii")


def _im_row(protocol: str, stamped: bool) -> ImProtocol:
    """:raises ValueError: the protocol is unknown, or ``stamped`` is not as in the protocol"""
    row = IM.get(protocol)
    if row is None or row.stamped is not stamped:
        raise ValueError(f"{protocol!r} is no protocol for this message")
    return row


def im_host_reply(
    protocol: str,
    host_id: int,
    facts: Mapping[str, Value],
    vms: Optional[Iterable[VmFacts]] = None,
    *,
    monitoring: bool = False,
    packed: bool = False,
) -> bytes:
    """Return the line MONITOR SUCCESS of 2.0 to 5.10 (opennebula-drivers 3.3).

    :param vms: from 4.0 on: every server of the host, or None to report no VM
    :param monitoring: use the attribute names of 4.14 and later in the VMs' facts, see :func:`poll_data`
    :param packed: compress the payload with zlib, for 5.0 and later: a thousand VMs then fit into a pipe
    :raises ValueError: ``protocol`` is unknown, or that of 5.12
    """
    row = _im_row(protocol, stamped=False)
    if packed and row.encoding == "base64":
        row = replace(row, encoding="zlib")
    if row.encoding == "plain":
        # The core splits at commas even inside quotation marks (opennebula-drivers 8.15), so there are no vectors.
        body = row.separator.join(f"{attribute_name(key)}={plain_value(value)}" for key, value in facts.items())
        return f"MONITOR SUCCESS {host_id} {body}\n".encode()
    lines = template_text(facts)
    if vms is not None:
        lines += "VM_POLL=YES\n" + "".join(_host_vm(vm, monitoring) for vm in vms)
    return f"MONITOR SUCCESS {host_id} {_packed(row, lines)}\n".encode()


def _host_vm(vm: VmFacts, monitoring: bool) -> str:
    facts: Dict[str, Value] = {"ID": vm.id, "DEPLOY_ID": vm.deploy_id}
    if vm.name:
        facts["VM_NAME"] = vm.name
    if vm.import_template:
        facts["IMPORT_TEMPLATE"] = base64.b64encode(vm.import_template.encode("utf-8", "replace")).decode("ascii")
    return assignment("VM", {**facts, "POLL": poll_data(VM_3_2, vm.facts, monitoring=monitoring)})


def im_host_failure(protocol: str, host_id: int, text: str) -> bytes:
    """Return MONITOR FAILURE of 2.0 to 5.10, which sets every RUNNING VM of the host to UNKNOWN from 4.0 on.

    See opennebula-drivers 7.7.
    """
    row = _im_row(protocol, stamped=False)
    return f"MONITOR FAILURE {host_id} {_packed(row, _reason(text))}\n".encode()


def im_message(type: str, ok: bool, host_id: int, timestamp: int, text: str = "") -> bytes:  # noqa: A002
    """Return a message of 5.12 and later: ``TYPE STATUS id timestamp base64(zlib(text))`` (opennebula-drivers 3.4).

    :param timestamp: epoch seconds; must not decrease for the same type and host
    """
    status = "SUCCESS" if ok else "FAILURE"
    body = text if ok else _reason(text)
    payload = f" {_packed(IM[IM_5_12], body)}" if body else ""
    return f"{type} {status} {host_id} {timestamp}{payload}\n".encode()


def im_log(protocol: str, level: str, host_id: int, text: str, timestamp: int = 0) -> bytes:
    """Return a LOG line of the monitoring driver (opennebula-drivers 1.5); a negative ``host_id`` is written as 0."""
    row = IM.get(protocol, IM[IM_2_0])
    number = max(host_id, 0)
    if row.encoded_log:
        return f"LOG {_level(level)} {number} {timestamp} {_packed(row, free_text(text))}\n".encode()
    return f"LOG {_level(level)} {number} {free_text(text)}\n".encode()


# --- texts


def one_line(text: str) -> str:
    """Return ``text`` as the core can store it: one line, valid XML characters only (opennebula-drivers 1.3)."""
    text = text.strip()
    if text.isprintable():  # the usual case: then there is nothing to replace
        return text
    return _NOT_XML.sub(" ", _BREAKS.sub("; ", text)).replace("\t", " ").strip()


def free_text(text: str, limit: int = MAX_TEXT) -> str:
    """Return ``text`` as one line of at most ``limit`` characters."""
    line = one_line(text)
    return line if len(line) <= limit else line[: limit - 4].rstrip() + " ..."


Value = Union[str, int, float]


class VmFacts(NamedTuple):
    """One server in a host message of 4.0 to 5.10, or in a MONITOR_VM of 5.12 and later."""

    id: int
    """VM id; -1 for a wild server (not in 5.12's MONITOR_VM)"""
    deploy_id: str
    facts: Mapping[str, Value]
    """see :func:`poll_data`"""
    name: str = ""
    import_template: str = ""
    """OpenNebula template text that imports a wild server (4.14 to 5.10)"""


class VmState(NamedTuple):
    """One server in a STATE_VM of 5.12 and later."""

    id: int
    deploy_id: str
    state: str
    """RUNNING, POWEROFF, SUSPENDED or FAILURE"""


class WildVm(NamedTuple):
    """A server without an OpenNebula VM, for SYSTEM_HOST of 5.12 and later (opennebula-drivers 4)."""

    deploy_id: str
    name: str
    import_template: str
    """OpenNebula template text"""


_POLL_WORDS: Mapping[bool, Mapping[str, str]] = {
    False: {"CPU": "USEDCPU", "MEMORY": "USEDMEMORY"},
    True: {},
}
_INT_32 = 2**31 - 1
_NO_TOKEN = re.compile(r"[\s\"\\]+")


def poll_data(protocol: str, facts: Mapping[str, Value], *, monitoring: bool = False) -> str:
    """Return the payload of POLL SUCCESS, and of POLL="..." in a host message (opennebula-drivers 3.2).

    :param facts: STATE (a, p, e, d or -), CPU (% of one core), MEMORY (KB), NETRX, NETTX (bytes), and others
    :param monitoring: ``vm.monitoring``: use CPU and MEMORY (4.14 and later) instead of USEDCPU and USEDMEMORY
    """
    words = _POLL_WORDS[monitoring and protocol != VM_2_0]
    tokens = []
    for key, value in facts.items():
        # 2.0 reads 32-bit integers (opennebula-drivers 8.12).
        number = min(int(value), _INT_32) if protocol == VM_2_0 and isinstance(value, (int, float)) else value
        token = _NO_TOKEN.sub("_", one_line(str(number)))
        if token:
            tokens.append(f"{words.get(key, attribute_name(key))}={token}")
    return " ".join(tokens)


def vm_state_text(vms: Iterable[VmState], *, sync: bool = False, missing: str = "UNKNOWN") -> str:
    """Return the text of STATE_VM, with all keys in each line: for a missing key the core uses the line before.

    See opennebula-drivers 3.4.

    :param sync: whether ``vms`` are all VMs of the host; the core sets others to the state ``missing``
    """
    head = f"SYNC_STATE=yes\nMISSING_STATE={missing}\n" if sync else ""
    return head + "".join(
        assignment("VM", {"ID": str(vm.id), "DEPLOY_ID": vm.deploy_id, "STATE": vm.state}) for vm in vms
    )


def monitor_vm_text(vms: Iterable[VmFacts]) -> str:
    """Return the text of MONITOR_VM: CPU (% of one core), MEMORY (KB), NETRX, DISKRDBYTES ... and any other attribute.

    See opennebula-drivers 3.2.
    """
    return "".join(
        assignment(
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
    """Return the lines of SYSTEM_HOST that list wild servers (opennebula-drivers 4, 9.4)."""
    return "".join(
        assignment(
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
    """Return OpenNebula template text: one attribute per line, strings in quotation marks (opennebula-drivers 5.5)."""
    return "".join(assignment(key, value) for key, value in attributes.items())


def assignment(name: str, value: Union[Value, Mapping[str, Value]]) -> str:
    """Return a line of template text; a mapping becomes a vector."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{attribute_name(key)}={_quoted(item)}" for key, item in value.items())
        return f"{attribute_name(name)} = [ {inner} ]\n"
    return f"{attribute_name(name)}={_quoted(value)}\n"


@functools.lru_cache(maxsize=256)
def attribute_name(key: str) -> str:
    """Return ``key`` as an attribute name: upper case, with ``_`` for characters that are not allowed."""
    return re.sub(r"[^A-Z0-9_]", "_", key.upper())


def _quoted(value: Value) -> str:
    """Return a number as it is, a string in quotation marks; the only escape is ``\\"``, and ``]]>`` breaks the parser.

    See opennebula-drivers 5.5.
    """
    if isinstance(value, (int, float)):
        return str(value)
    text = one_line(value).replace("]]>", "]] >").replace('"', '\\"')
    return f'"{text} "' if text.endswith("\\") else f'"{text}"'


def plain_value(value: Value) -> str:
    """Return a value for a line of 2.0 to 3.8: no comma, no newline, in quotation marks unless it is a single word."""
    text = re.sub(r"[,\"\\\[\]]", " ", one_line(str(value)))
    text = re.sub(r" +", " ", text).strip()
    return text if re.match(r"[^\s=#]+\Z", text) else f'"{text}"'
