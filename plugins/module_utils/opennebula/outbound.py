# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A reply, a log line or a monitoring message -> its line (opennebula-drivers 1.3, 1.5, 2.3, 3.3, 3.4, 9)."""

from __future__ import annotations

import base64
import re
import zlib
from dataclasses import replace
from typing import Dict, Iterable, Mapping, Optional

from .generations import IM, VMM, ImGeneration
from .texts import Value, VmFacts, assignment, attribute_name, free_text, plain_value, poll_data, template_text

INIT_REPLY = b"INIT SUCCESS\n"
_ACTION = re.compile(r"[A-Z][A-Z0-9_]*\Z")


def _reason(text: str) -> str:
    """A failure's text: the core drops one that begins with '-' (2.3), and an empty one tells nobody anything."""
    return free_text(text).lstrip("- ") or "No reason was given."


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
    return f"{action} SUCCESS {id} {free_text(text) or '-'}\n".encode()


def _level(level: str) -> str:
    return level[:1].upper() if level[:1].upper() in ("E", "W", "I", "D") else "I"


def vmm_log(generation: str, level: str, id: int, text: str) -> bytes:  # noqa: A002
    """A LOG line (1.5).

    :param level: ``E``, ``W``, ``I``, ``D`` or a word that begins so; the core reads an unknown one as INFO
    :param id: VM id; -1: about no VM
    """
    row = VMM.get(generation, VMM["V1"])
    return f"LOG {_level(level)} {row.nobody if id < 0 else id} {free_text(text)}\n".encode()


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


def im_host_reply(
    generation: str,
    host_id: int,
    facts: Mapping[str, Value],
    vms: Optional[Iterable[VmFacts]] = None,
    *,
    monitoring: bool = False,
    packed: bool = False,
) -> bytes:
    """MONITOR SUCCESS of I1 to I3 (3.3).

    :param vms: I2 and I3: every server of the host, or None to say nothing about VMs; I1 has no place for them
    :param monitoring: words of 4.14 and later in the VMs' facts, see :func:`poll_data`
    :param packed: zlib inside the base64, which I3 understands from 5.0 on: a thousand VMs then fit into a pipe
    """
    row = _im_row(generation, stamped=False)
    if packed and row.encoding == "base64":
        row = replace(row, encoding="zlib")
    if row.encoding == "plain":
        # A comma separates even inside quotation marks (8.15), and a vector would need commas.
        body = row.separator.join(f"{attribute_name(key)}={plain_value(value)}" for key, value in facts.items())
        return f"MONITOR SUCCESS {host_id} {body}\n".encode()
    lines = template_text(facts)
    if vms is not None:
        lines += "VM_POLL=YES\n" + "".join(_listed(vm, monitoring) for vm in vms)
    return f"MONITOR SUCCESS {host_id} {_packed(row, lines)}\n".encode()


def _listed(vm: VmFacts, monitoring: bool) -> str:
    facts: Dict[str, Value] = {"ID": vm.id, "DEPLOY_ID": vm.deploy_id}
    if vm.name:
        facts["VM_NAME"] = vm.name
    if vm.import_template:
        facts["IMPORT_TEMPLATE"] = base64.b64encode(vm.import_template.encode("utf-8", "replace")).decode("ascii")
    return assignment("VM", {**facts, "POLL": poll_data("V2", vm.facts, monitoring=monitoring)})


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
        return f"LOG {_level(level)} {number} {timestamp} {_packed(row, free_text(text))}\n".encode()
    return f"LOG {_level(level)} {number} {free_text(text)}\n".encode()
