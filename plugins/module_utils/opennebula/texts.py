# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Texts inside the lines: what the core can store, template text, facts of VMs (opennebula-drivers 1.3, 3, 5.5)."""

from __future__ import annotations

import base64
import functools
import re
from typing import Iterable, Mapping, NamedTuple, Union

MAX_TEXT = 1000
"""characters of a reply's free text: a line stays far below the 64 KiB that fit into a pipe"""

_BREAKS = re.compile(r"\s*[\r\n\v\f\x85\u2028\u2029]+\s*")
# Everything that XML 1.0 does not allow, the control characters among it.
_NOT_XML = re.compile("[^\t\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\x7f-\x9f]")


def one_line(text: str) -> str:
    """``text`` as the core can store it: one line, valid XML characters only (1.3)."""
    text = text.strip()
    if text.isprintable():  # nearly always: nothing of what follows finds anything then
        return text
    return _NOT_XML.sub(" ", _BREAKS.sub("; ", text)).replace("\t", " ").strip()


def free_text(text: str, limit: int = MAX_TEXT) -> str:
    line = one_line(text)
    return line if len(line) <= limit else line[: limit - 4].rstrip() + " ..."


Value = Union[str, int, float]


class VmFacts(NamedTuple):
    """One server in a host message of I2 and I3, or in a MONITOR_VM of I4."""

    id: int
    """VM id; -1 for a server that is not OpenNebula's (not in I4's MONITOR_VM)"""
    deploy_id: str
    facts: Mapping[str, Value]
    """see :func:`poll_data`"""
    name: str = ""
    import_template: str = ""
    """OpenNebula template text that imports a server which is not OpenNebula's (4.14 to 5.10)"""


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


_POLL_WORDS: Mapping[bool, Mapping[str, str]] = {
    False: {"CPU": "USEDCPU", "MEMORY": "USEDMEMORY"},
    True: {},
}
_INT_32 = 2**31 - 1
_NO_TOKEN = re.compile(r"[\s\"\\]+")


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
        token = _NO_TOKEN.sub("_", one_line(str(number)))
        if token:
            tokens.append(f"{words.get(key, attribute_name(key))}={token}")
    return " ".join(tokens)


def vm_state_text(vms: Iterable[VmState], *, sync: bool = False, missing: str = "UNKNOWN") -> str:
    """Text of STATE_VM (3.4). Every line is complete: the core reuses the line before for what is missing.

    :param sync: say that this is every VM of the host; one that is not listed becomes ``missing``
    """
    head = f"SYNC_STATE=yes\nMISSING_STATE={missing}\n" if sync else ""
    return head + "".join(
        assignment("VM", {"ID": str(vm.id), "DEPLOY_ID": vm.deploy_id, "STATE": vm.state}) for vm in vms
    )


def monitor_vm_text(vms: Iterable[VmFacts]) -> str:
    """Text of MONITOR_VM (3.2): CPU (% of one core), MEMORY (KB), NETRX, NETTX, DISKRDBYTES ... and free ones."""
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
    """Lines for SYSTEM_HOST that name servers which are not OpenNebula's (4, 9.4)."""
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
    """OpenNebula template text, one attribute a line, texts in quotation marks (5.5)."""
    return "".join(assignment(key, value) for key, value in attributes.items())


def assignment(name: str, value: Union[Value, Mapping[str, Value]]) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{attribute_name(key)}={_quoted(item)}" for key, item in value.items())
        return f"{attribute_name(name)} = [ {inner} ]\n"
    return f"{attribute_name(name)}={_quoted(value)}\n"


@functools.lru_cache(maxsize=256)
def attribute_name(key: str) -> str:
    return re.sub(r"[^A-Z0-9_]", "_", key.upper())


def _quoted(value: Value) -> str:
    """A number bare, a text in quotation marks: only ``\\"`` is an escape, ``]]>`` stops the parser (5.5)."""
    if isinstance(value, (int, float)):
        return str(value)
    text = one_line(value).replace("]]>", "]] >").replace('"', '\\"')
    return f'"{text} "' if text.endswith("\\") else f'"{text}"'


def plain_value(value: Value) -> str:
    """A value of I1: no comma, no newline; in quotation marks when it is not one plain word."""
    text = re.sub(r"[,\"\\\[\]]", " ", one_line(str(value)))
    text = re.sub(r" +", " ", text).strip()
    return text if re.match(r"[^\s=#]+\Z", text) else f'"{text}"'
