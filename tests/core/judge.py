# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges each line of a driver: whether the core of that release accepts it and reads what was meant."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from .grammar import GrammarError, Item, Vector, parse_template, single, vectors
from .releases import Release


class Verdict(AssertionError):
    """Raised for a line that the real core would refuse or misread; says what is wrong and what would follow."""

    def __init__(self, line: bytes, why: str) -> None:
        shown = line if len(line) <= 300 else line[:300] + b"..."
        super().__init__(f"{shown!r}: {why}")
        self.why = why


@dataclass(frozen=True)
class Answer:
    """An accepted line."""

    kind: str
    """reply, log, or message (5.12-7.4)"""
    action: str
    ok: bool
    id: int
    text: str = ""
    level: str = ""
    timestamp: int = 0
    items: tuple[Item, ...] = field(default=(), repr=False)
    """template attributes in the text, where it is template text"""

    @property
    def facts(self) -> dict[str, str]:
        return single(list(self.items))

    def vectors(self, name: str) -> list[Vector]:
        return vectors(list(self.items), name)


VMM_ACTIONS = re.compile(
    r"DEPLOY|SHUTDOWN|CANCEL|SAVE|RESTORE|MIGRATE|DRIVER_CANCEL|REBOOT|RESET|POLL|CHECKPOINT|CLEANUP"
    r"|(ATTACH|DETACH)(DISK|NIC)|SNAPSHOT(CREATE|REVERT|DELETE)|DISKSNAPSHOT(CREATE|REVERT)|RESIZE(DISK)?"
    r"|UPDATE(SG|NIC|CONF)|BACKUP(CANCEL)?|EXEC(_CANCEL)?"
)
IM_STREAM = re.compile(r"(START|STOP)_MONITOR|SYSTEM_HOST|MONITOR_HOST|STATE_VM|MONITOR_VM")
DISK = ("DS_LOCATION_TOTAL_MB", "DS_LOCATION_USED_MB", "DS_LOCATION_FREE_MB")
"""the host's room for system datastores"""
CAPACITY = ("TOTALCPU", "FREECPU", "USEDCPU", "TOTALMEMORY", "FREEMEMORY", "USEDMEMORY")
_INT_32 = 2**31 - 1
_WHOLE = re.compile(r"\d+\Z")
_DECIMAL = re.compile(r"\d+(\.\d+)?\Z")
_BAD_SIGN = re.compile("[^\t\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\x7f-\x9f\u2028\u2029]")


def judge_vmm(release: Release, line: bytes) -> Answer:
    """Judge a line (without newline) of the VM driver.

    :raises Verdict: when the core would not take it as meant
    """
    text = _text(release.old_vmm, release, line)
    if text.startswith("LOG "):
        return _log(release, line, text)
    found = re.match(r"([A-Z_]+) (SUCCESS|FAILURE) (\S+)(?: (.*))?\Z", text)
    if not found:
        raise Verdict(line, "not 'ACTION SUCCESS|FAILURE id text': the core ignores it or reads another status")
    action, status, number, rest = found[1], found[2], found[3], found[4] or ""
    if not VMM_ACTIONS.fullmatch(action) or (action == "POLL" and not release.poll):
        raise Verdict(line, f"{action} is no action that OpenNebula {release.name} knows an answer for")
    if not _WHOLE.match(number):
        raise Verdict(
            line, f"the id {number!r} is no number: the core acts on VM 0 or ignores it (opennebula-drivers 9.2)"
        )
    answer = Answer("reply", action, status == "SUCCESS", int(number), rest)
    if not answer.ok:
        _failure(line, action, rest)
        return answer
    check = _ON_SUCCESS.get(action)
    return check(release, line, answer) if check else answer


def _text(old: bool, release: Release, line: bytes) -> str:
    if b"\0" in line:
        raise Verdict(line, "a NUL byte: the rest of the line and the next line are lost (opennebula-drivers 9.2)")
    if old and len(line) >= release.pipe_limit:
        raise Verdict(
            line, "longer than a pipe holds: the old reader sees a pause inside the line (opennebula-drivers 1.3)"
        )
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise Verdict(line, "not UTF-8: the VM's XML becomes invalid (opennebula-drivers 1.3)") from None
    bad = _BAD_SIGN.search(text)
    if bad:
        raise Verdict(
            line,
            f"the character {bad.group()!r}: the VM's XML becomes invalid, or a line ends early "
            "(opennebula-drivers 1.3)",
        )
    if not text.strip() or text != text.lstrip():
        raise Verdict(line, "an empty line, or one that begins with a blank")
    return text


def _failure(line: bytes, action: str, text: str) -> None:
    reason = text
    if action in ("UPDATESG", "UPDATENIC"):
        number, _blank, reason = text.partition(" ")
        if not _WHOLE.match(number):
            raise Verdict(line, "the object's id does not come first: the VM or group hangs (opennebula-drivers 2.3)")
    if not reason.strip() or reason.startswith("-"):
        raise Verdict(
            line, "a failure without a reason, or one that begins with '-': the core drops it (opennebula-drivers 2.3)"
        )


def _deploy(_release: Release, line: bytes, answer: Answer) -> Answer:
    if not re.match(r"\S+\Z", answer.text) or answer.text.startswith("-"):
        raise Verdict(
            line,
            "DEPLOY SUCCESS needs a deploy id, one word: only the first counts, none is BOOT_FAILURE "
            "(opennebula-drivers 8.9)",
        )
    return answer


def _object_first(_release: Release, line: bytes, answer: Answer) -> Answer:
    if not re.match(r"\d+( |\Z)", answer.text):
        raise Verdict(line, "the object's id does not come first: the VM or group hangs (opennebula-drivers 9.3)")
    return answer


def _snapshot(_release: Release, line: bytes, answer: Answer) -> Answer:
    if not re.match(r"\S+\Z", answer.text) or answer.text == "-":
        raise Verdict(line, "SNAPSHOTCREATE SUCCESS needs the snapshot's id, one word")
    return answer


def _poll(release: Release, line: bytes, answer: Answer) -> Answer:
    return Answer("reply", "POLL", True, answer.id, answer.text, items=tuple(poll_items(release, line, answer.text)))


_ON_SUCCESS: dict[str, Callable[[Release, bytes, Answer], Answer]] = {
    "DEPLOY": _deploy,
    "UPDATESG": _object_first,
    "UPDATENIC": _object_first,
    "SNAPSHOTCREATE": _snapshot,
    "POLL": _poll,
}


def poll_items(release: Release, line: bytes, text: str) -> list[Item]:
    """Return the tokens of a POLL answer (opennebula-drivers 3.2, 8.12); in 3.8 one bad token discards all of it."""
    items: list[Item] = []
    cpu, memory = ("CPU", "MEMORY") if release.plain_words else ("USEDCPU", "USEDMEMORY")
    numbers = {cpu: _DECIMAL, memory: _WHOLE, "NETRX": _WHOLE, "NETTX": _WHOLE}
    for token in text.split():
        key, sign, value = token.partition("=")
        if not sign or not value or not re.match(r"[A-Z0-9_]+\Z", key) or '"' in value:
            raise Verdict(line, f"the token {token!r} is not KEY=VALUE")
        if release.plain_words and re.search(r"[,=#\[\]]", value):
            raise Verdict(
                line,
                f"the value of {token!r} ends before its sign ,=#[]: the sample is dropped (opennebula-drivers 5.5)",
            )
        if key == "STATE" and value not in ("a", "p", "e", "d", "-"):
            raise Verdict(line, f"STATE={value} says nothing: a, p, e, d and - are known")
        if key in numbers and not numbers[key].match(value):
            raise Verdict(line, f"{token} is no number")
        if release.vmm == "2.0-3.0" and key in numbers and (not _WHOLE.match(value) or int(value) > _INT_32):
            raise Verdict(line, f"{token} does not fit into 32 bits, which is what this release reads")
        if not release.plain_words and key in ("CPU", "MEMORY", "NAME", "EH"):
            raise Verdict(line, f"{key} would replace the VM template's {key}: this release wants USED{key}")
        items.append((key, value))
    if not items:
        raise Verdict(line, "no token at all")
    return items


def _log(release: Release, line: bytes, text: str) -> Answer:
    found = re.match(r"LOG ([EWID]) (\S+) (.*\S.*)\Z", text)
    if not found:
        raise Verdict(line, "not 'LOG E|W|I|D id text'")
    level, number, rest = found.groups()
    nobody = "-1" if release.vmm == "6.0-7.4" else "-"
    if number != nobody and not _WHOLE.match(number):
        raise Verdict(
            line,
            f"LOG about no VM has the id {nobody} in this release; {number} is VM 0 or lost (opennebula-drivers 1.5)",
        )
    return Answer("log", "LOG", True, -1 if number == nobody else int(number), rest, level)


def judge_im(release: Release, line: bytes) -> Answer:
    """Judge a line (without newline) of the information driver.

    :raises Verdict: when the core would not take it as meant
    """
    text = _text(release.old_im, release, line)
    if release.im == "5.12-7.4":
        return _im_stream(release, line, text)
    if text.startswith("LOG "):
        found = re.match(r"LOG ([EWID]) (\d+) (.*\S.*)\Z", text)
        if not found:
            raise Verdict(
                line,
                "not 'LOG E|W|I|D number text': an IM driver's text is lost without a number (opennebula-drivers 1.5)",
            )
        return Answer("log", "LOG", True, int(found[2]), found[3], found[1])
    found = re.match(r"(MONITOR|STOPMONITOR) (SUCCESS|FAILURE) (\d+)(?: (.*))?\Z", text)
    if not found:
        raise Verdict(
            line, "not 'MONITOR SUCCESS|FAILURE id text': the host stays MONITORING for 600 s (opennebula-drivers 8.15)"
        )
    action, ok, number, rest = found[1], found[2] == "SUCCESS", int(found[3]), found[4] or ""
    if action == "STOPMONITOR":
        if release.im != "4.4-5.10":
            raise Verdict(line, "this release has no STOPMONITOR")
        return Answer("reply", action, ok, number, rest)
    body = rest if release.im == "2.0-3.8" else _unpacked(line, rest, optional_zlib=release.zlib_hosts)
    if not ok:
        _failure(line, action, body)
        return Answer("reply", action, ok, number, body)
    items = _host_items(release, line, body)
    return Answer("reply", action, ok, number, body, items=tuple(items))


def _parsed(line: bytes, text: str) -> list[Item]:
    try:
        return parse_template(text)
    except GrammarError as error:
        raise Verdict(line, f"the text {text!r} is no template text: {error}") from None


def _host_items(release: Release, line: bytes, body: str) -> list[Item]:
    if release.im == "2.0-3.8":
        for part in body.split(","):
            if not re.match(r'[A-Z0-9_]+=([^\s"=#\[\]]+|"[^"]*")\Z', part):
                raise Verdict(line, f"{part!r} between two commas is not KEY=VALUE (opennebula-drivers 8.15)")
        body = body.replace(",", "\n")
    items = _parsed(line, body)
    _integers(line, single(items), CAPACITY, complete=True)
    memory = int(single(items)["TOTALMEMORY"])
    if release.im == "2.0-3.8" and memory > _INT_32:
        raise Verdict(line, "TOTALMEMORY does not fit into 32 bits")
    _disk(release, line, single(items))
    listed = vectors(items, "VM")
    if listed and single(items).get("VM_POLL") != "YES":
        raise Verdict(line, "VM lines without VM_POLL=YES are not read (opennebula-drivers 3.3)")
    for vm in listed:
        _listed(line, vm, ("ID", "DEPLOY_ID", "POLL"), least_id=-1)
        poll_items(release, line, vm["POLL"])
    return items


def _disk(release: Release, line: bytes, facts: dict[str, str]) -> None:
    """Check that a host has DS_LOCATION_* where the scheduler of its release needs them, and nowhere else."""
    given = [name for name in DISK if name in facts]
    if not given:
        return
    version = tuple(int(part) for part in release.name.split(".")[:2])
    if version < (4, 4):
        raise Verdict(line, f"{given[0]} means nothing before 4.4: it stays among the host's attributes")
    if version >= (5, 0):
        raise Verdict(line, f"{given[0]} lets the scheduler choose a datastore that is not shared for this host")
    _integers(line, facts, DISK, complete=True)


def _integers(line: bytes, facts: dict[str, str], names: tuple[str, ...], *, complete: bool) -> None:
    for name in names:
        value = facts.get(name)
        if value is None and complete:
            raise Verdict(line, f"{name} is missing: the core takes it for 0 (opennebula-drivers 3.3)")
        if value is not None and not _WHOLE.match(value):
            raise Verdict(line, f"{name}={value} is no whole number, or negative")


def _listed(line: bytes, vm: Vector, needed: tuple[str, ...], least_id: int) -> None:
    for name in needed:
        if not vm.get(name):
            raise Verdict(
                line, f"a VM line without {name}: the core keeps the line before's value (opennebula-drivers 3.4)"
            )
    if not re.match(r"-?\d+\Z", vm["ID"]) or int(vm["ID"]) < least_id:
        raise Verdict(line, f"a VM line with the id {vm['ID']}")
    if re.search(r"\s", vm["DEPLOY_ID"]):
        raise Verdict(line, f"the deploy id {vm['DEPLOY_ID']!r} is not one word")


def _unpacked(line: bytes, payload: str, *, optional_zlib: bool = False, always_zlib: bool = False) -> str:
    try:
        data = base64.b64decode(payload.encode("ascii", "replace"), validate=True)
    except binascii.Error:
        raise Verdict(line, "the text is not base64") from None
    if not data:
        raise Verdict(line, "an empty text is ignored (opennebula-drivers 3.3)")
    if always_zlib or (optional_zlib and data[:1] == b"\x78"):
        try:
            data = zlib.decompress(data)
        except zlib.error:
            if not always_zlib:
                return _utf8(line, data)
            raise Verdict(
                line,
                "the text is not zlib inside its base64: the core calls the line UNDEFINED (opennebula-drivers 9.4)",
            ) from None
    return _utf8(line, data)


def _utf8(line: bytes, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Verdict(line, "the text is not UTF-8") from None


def _im_stream(release: Release, line: bytes, text: str) -> Answer:
    """Judge a line of 5.12 to 7.4: ``TYPE STATUS id timestamp base64(zlib(text))`` (opennebula-drivers 3.4)."""
    words = text.split(" ")
    if words[0] == "LOG":
        if len(words) != 5 or words[1] not in "EWID" or not _WHOLE.match(words[2]) or not _WHOLE.match(words[3]):
            raise Verdict(
                line, "not 'LOG E|W|I|D id timestamp payload': plain text is UNDEFINED (opennebula-drivers 9.4)"
            )
        return Answer("log", "LOG", True, int(words[2]), _unpacked(line, words[4], always_zlib=True), words[1])
    if words[0] == "BEACON_HOST":
        raise Verdict(
            line, "BEACON_HOST is dropped on a driver's output: MONITOR_HOST is the heartbeat (opennebula-drivers 9.4)"
        )
    found = re.match(r"([A-Z_]+) (SUCCESS|FAILURE) (\d+) (\d+)(?: (\S*))?\Z", text)
    if not found or not IM_STREAM.fullmatch(found[1]):
        raise Verdict(
            line, "not 'TYPE SUCCESS|FAILURE id timestamp payload' of a type the core knows (opennebula-drivers 9.4)"
        )
    kind, ok, payload = found[1], found[2] == "SUCCESS", found[5] or ""
    body = _unpacked(line, payload, always_zlib=True) if payload else ""
    items: list[Item] = []
    if not ok:
        _failure(line, kind, body)
    elif kind in _STREAM_TEXT:
        items = _parsed(line, body)
        _STREAM_TEXT[kind](line, items)
        _disk(release, line, single(items))
    return Answer("message", kind, ok, int(found[3]), body, timestamp=int(found[4]), items=tuple(items))


def _system_host(line: bytes, items: list[Item]) -> None:
    _integers(line, single(items), ("TOTALCPU", "TOTALMEMORY"), complete=True)
    _integers(line, single(items), ("CPUSPEED",), complete=False)
    for vm in vectors(items, "VM"):
        _listed(line, vm, ("ID", "DEPLOY_ID", "VM_NAME"), least_id=-1)
        if vm["ID"] != "-1":
            raise Verdict(line, "SYSTEM_HOST lists wild servers only, with ID=-1 (4)")


def _monitor_host(line: bytes, items: list[Item]) -> None:
    _integers(line, single(items), ("USEDCPU", "FREECPU", "USEDMEMORY", "FREEMEMORY"), complete=True)


def _state_vm(line: bytes, items: list[Item]) -> None:
    head = single(items)
    if ("SYNC_STATE" in head) is not ("MISSING_STATE" in head):
        raise Verdict(line, "SYNC_STATE and MISSING_STATE only work together (opennebula-drivers 3.4)")
    if head.get("SYNC_STATE", "yes") != "yes" or head.get("MISSING_STATE", "UNKNOWN") not in ("UNKNOWN", "POWEROFF"):
        raise Verdict(line, "SYNC_STATE must be yes, MISSING_STATE UNKNOWN or POWEROFF")
    seen: set[str] = set()
    for vm in vectors(items, "VM"):
        _listed(line, vm, ("ID", "DEPLOY_ID", "STATE"), least_id=0)
        if vm["STATE"] not in ("RUNNING", "POWEROFF", "SUSPENDED", "FAILURE"):
            raise Verdict(line, f"STATE={vm['STATE']} is ignored (opennebula-drivers 9.4)")
        if vm["ID"] in seen:
            raise Verdict(line, f"VM {vm['ID']} is listed twice")
        seen.add(vm["ID"])


def _monitor_vm(line: bytes, items: list[Item]) -> None:
    for vm in vectors(items, "VM"):
        _listed(line, vm, ("ID", "DEPLOY_ID", "MONITOR"), least_id=0)
        inner = single(_parsed(line, _unpacked(line, vm["MONITOR"])))
        for name in ("CPU", "MEMORY", "NETRX", "NETTX"):
            if name in inner and not _DECIMAL.match(inner[name]):
                raise Verdict(line, f"{name}={inner[name]} of VM {vm['ID']} is no number")


_STREAM_TEXT: dict[str, Callable[[bytes, list[Item]], None]] = {
    "SYSTEM_HOST": _system_host,
    "MONITOR_HOST": _monitor_host,
    "STATE_VM": _state_vm,
    "MONITOR_VM": _monitor_vm,
}


def monitor_facts(vm: Vector) -> dict[str, str]:
    """Return what a MONITOR_VM line that was judged says about one VM."""
    return single(parse_template(base64.b64decode(vm["MONITOR"]).decode("utf-8")))
