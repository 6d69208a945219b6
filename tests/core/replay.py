# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorded conversations of real cores: judged as they are, or replayed to a live driver.

.. code-block:: python

    with Core("2.0.1", one_location=tmp_path) as core:
        core.start_vmm()
        report = replay(core, recordings("2.0"), drives=lambda vm: make_a_drive())
    assert not report.mismatches
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .judge import Answer, Verdict, judge_im, judge_vmm
from .model import LCM, Host, Model, Vm
from .oned import Core
from .releases import release

FOLDER = Path(__file__).parent / "transcripts"
RECORDED_LOCATION = "/srv/one"
RECORDED_DRIVE = "0a1b2c3d-1111-2222-3333-444455556666"
STABLE = re.compile(r"RUNNING|UNKNOWN|BOOT_FAILURE|SUSPENDED|STOPPED|POWEROFF|UNDEPLOYED|FAILED|DONE|PENDING")
"""recorded states that are compared: those that last until something happens"""


@dataclass(frozen=True)
class Event:
    """One line of a recording."""

    at: float
    kind: str
    """core, driver, file, call, state"""
    role: str
    text: str
    path: str = ""


@dataclass(frozen=True)
class Recording:
    scenario: str
    release: str
    path: Path
    events: tuple[Event, ...] = field(repr=False)


def load(path: Path) -> Recording:
    head, *lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return Recording(head["scenario"], head["release"], path, tuple(_event(line) for line in lines))


def _event(line: Mapping[str, Any]) -> Event:
    role = str(line.get("role", "")).removesuffix("_rec")
    if "line" in line:
        return Event(line["at"], line["sender"], role, line["line"])
    if "file" in line:
        return Event(line["at"], "file", role, line["text"], line["file"])
    kind = "call" if "call" in line else "state"
    return Event(line["at"], kind, role, line[kind])


def recordings(folder: str) -> list[Recording]:
    """Every recording of ``2.0``, ``3.8``, ``5.10`` or ``7.4``, in order."""
    return [load(path) for path in sorted((FOLDER / folder).glob("*.jsonl"))]


# --- what the core did, seen from outside ---------------------------------------------------------------------------

_CALL = re.compile(r"one\.vm\.(action|recover|deploy)\((?:'SESSION', )?(.*?)\)(?: ->.*)?\Z")
_V1_CALLS = {"suspend": "SAVE_SUSPEND", "stop": "SAVE_STOP", "shutdown": "SHUTDOWN", "cancel": "CANCEL"}
_ASLEEP = ("POWEROFF", "SUSPENDED", "STOPPED", "UNDEPLOYED", "PENDING", "HOLD")
_LCM_NAMES = {number: name for name, number in LCM.items()}


class Director:
    """Leads a model through the calls and the core's lines of a recording."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def vm(self, number: int) -> Vm:
        if number not in self.model.vms:
            self.model.vms[number] = Vm(number, f"vm-{number}", host=self.host(0))
        return self.model.vms[number]

    def host(self, number: int, name: str = "") -> Host:
        host = self.model.hosts.setdefault(number, Host(number, name))
        host.name = name or host.name
        return host

    def call(self, text: str, now: float) -> None:
        found = _CALL.match(text)
        if not found:
            return
        kind, rest = found.groups()
        words = [word.strip(" '") for word in rest.split(",")]
        if kind == "recover":
            self._recover(self.vm(int(words[0])), int(words[1]), now)
        elif kind == "action":
            self._action(self.vm(int(words[1])), words[0], now)

    def _action(self, vm: Vm, action: str, now: float) -> None:
        old = not self.model.release.cleanup
        if (action == "finalize" and old) or (action.startswith("terminate") and vm.state in _ASLEEP):
            self.model.turn(vm, "DONE", now)
        elif action == "resume" and vm.state in ("STOPPED", "UNDEPLOYED"):
            vm.state = "PENDING"  # the scheduler places it anew; it keeps its deploy id
        elif self.model.release.vmm == "2.0-3.0" and action in _V1_CALLS:
            self.model.turn(vm, _V1_CALLS[action], now)

    def _recover(self, vm: Vm, operation: int, now: float) -> None:
        """0 failure, 1 success, 2 retry, 3 delete, 4 recreate, 5 delete from the database; 2 to 4 send lines."""
        if operation == 5:
            self.model.turn(vm, "DONE", now)
        elif operation in (0, 1):
            for action in ("DEPLOY", "RESTORE", "SAVE", "SHUTDOWN", "CANCEL"):
                state = self.model.outcome(action, vm.state, operation == 1)
                if state:
                    self.model.turn(vm, state, now)
                    return

    def line(self, role: str, text: str, now: float) -> None:
        """A line of the core."""
        words = text.split()
        if role == "im":
            if words[0] == "MONITOR":
                self.host(int(words[1]), words[2])
            elif words[0] == "START_MONITOR":
                document = zlib.decompress(base64.b64decode(words[4])).decode()
                self.host(int(words[2]), _element(document, "NAME"))
            return
        if role != "vmm" or len(words) < 2 or words[0] == "DRIVER_CANCEL":
            return
        vm = self.vm(int(words[1]))
        if self.model.release.vmm == "2.0-3.0":
            if words[0] in ("DEPLOY", "RESTORE"):
                self.model.turn(vm, "BOOT", now)
            return
        document = base64.b64decode(words[-1]).decode()
        if vm.state != "DONE" and _element(document, "STATE") == "3":
            self.model.turn(vm, _LCM_NAMES[int(_element(document, "LCM_STATE"))], now)


def _element(document: str, name: str) -> str:
    found = re.search(rf"<{name}>(.*?)</{name}>", document)
    return found[1] if found else ""


def recorded_states(text: str) -> tuple[int, str] | None:
    """VM id and the state that was shown last, when it is one that can be compared."""
    found = re.match(r"VM (\d+): (?:.* -> )?(?:ACTIVE/)?([A-Z_]+)", text)
    return (int(found[1]), found[2]) if found and STABLE.fullmatch(found[2]) else None


# --- judging recorded drivers ---------------------------------------------------------------------------------------


@dataclass
class Report:
    """The result of judging or replaying a recording."""

    lines: int = 0
    """driver lines that were judged"""
    states: int = 0
    """recorded states that were compared"""
    refused: list[str] = field(default_factory=list)
    """lines that the judge refuses"""
    mismatches: list[str] = field(default_factory=list)
    """where the model's state is not the recorded one"""


def judge_recordings(all_recordings: Iterable[Recording]) -> Report:
    """Judges the recorded driver's lines and follows the states, as if it were live."""
    report, model, director, start = Report(), None, None, 0.0
    for recording in all_recordings:
        if model is None or director is None:
            model = Model(release(recording.release))
            director = Director(model)
        start += 1000.0
        for event in recording.events:
            now = start + event.at
            if event.kind == "core":
                director.line(event.role, event.text, now)
            elif event.kind == "call":
                director.call(event.text, now)
            elif event.kind == "driver" and event.role in ("vmm", "im"):
                _judge_one(report, model, event, now)
            elif event.kind == "state":
                _compare(report, model, recording, event)
    return report


def _judge_one(report: Report, model: Model, event: Event, now: float) -> None:
    if event.text.startswith(("INIT", "FINALIZE")):
        return
    report.lines += 1
    judge = judge_vmm if event.role == "vmm" else judge_im
    try:
        answer = judge(model.release, event.text.encode())
    except Verdict as verdict:
        report.refused.append(str(verdict))
        return
    (model.vmm if event.role == "vmm" else model.im)(answer, now)


def _compare(report: Report, model: Model, recording: Recording, event: Event) -> None:
    wanted = recorded_states(event.text)
    if wanted is None or wanted[0] not in model.vms:
        return
    report.states += 1
    state = model.vms[wanted[0]].state
    if state != wanted[1]:
        where = f"{recording.path.parent.name}/{recording.path.stem} at {event.at}"
        report.mismatches.append(f"{where}: VM {wanted[0]} was {wanted[1]}, here {state}")


# --- replaying to a live driver -------------------------------------------------------------------------------------


class _Replay:
    """One replay: the recorded core's lines go to the live driver, with what is different here put in."""

    def __init__(self, core: Core, drives: Callable[[int], str]) -> None:
        self.core = core
        self.director = Director(core.model)
        self.substitutions = {RECORDED_LOCATION: str(core.one_location)}
        self._drives = drives
        self._drive_of: dict[int, str] = {}
        self.report = Report()
        self.diverged: set[int] = set()
        """VMs whose live answer was not the recorded one: their states cannot be compared"""

    def drive(self, vm: int) -> str:
        """The drive of this VM: one that a server claims cannot be another's."""
        if vm not in self._drive_of:
            self._drive_of[vm] = self._drives(vm)
        return self._drive_of[vm]

    def text(self, text: str, vm: int) -> str:
        if RECORDED_DRIVE in text:
            text = text.replace(RECORDED_DRIVE, self.drive(vm))
        for old, new in self.substitutions.items():
            text = re.sub(rf"{re.escape(old)}(?![A-Za-z0-9-])", new.replace("\\", r"\\"), text)
        return text

    def line(self, text: str, vm: int) -> str:
        """Return the line with its values replaced, inside base64 and zlib as well."""
        head, _blank, payload = text.rpartition(" ")
        if payload.startswith("PFZN"):
            return f"{head} {base64.b64encode(self.text(base64.b64decode(payload).decode(), vm).encode()).decode()}"
        if payload.startswith("eJ"):
            document = self.text(zlib.decompress(base64.b64decode(payload)).decode(), vm)
            return f"{head} {base64.b64encode(zlib.compress(document.encode())).decode()}"
        return self.text(text, vm)

    def run(self, recording: Recording, seconds: float) -> None:
        events = recording.events
        for index, event in enumerate(events):
            now = event.at
            if event.kind == "core" and event.role in ("vmm", "im") and event.text not in ("INIT", "FINALIZE"):
                if event.role == "vmm":
                    self._files(int(event.text.split()[1]), events[index + 1 :])
                self._ask(event, _recorded_answer(event, events[index + 1 :]), now, seconds)
            elif event.kind == "call":
                self.director.call(event.text, now)
            elif event.kind == "state":
                wanted = recorded_states(event.text)
                if wanted and wanted[0] not in self.diverged:
                    _compare(self.report, self.core.model, recording, event)

    def _files(self, vm: int, following: tuple[Event, ...]) -> None:
        """Writes the deployment file that the recording shows after the line that names it."""
        for event in following:
            if event.kind == "core":
                return
            if event.kind == "file" and "deployment" in event.path and "(does not exist)" not in event.text:
                path = Path(self.text(event.path, vm))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(self.text(event.text, vm), encoding="utf-8")

    def _ask(self, event: Event, recorded: str, now: float, seconds: float) -> None:
        driver = self.core.vmm if event.role == "vmm" else self.core.im
        if driver is None:
            return
        self.director.line(event.role, event.text, now)
        words = event.text.split()
        action, number = words[0], int(words[2] if words[0] == "START_MONITOR" else words[1])
        before = len(self.core.answers)
        self.report.lines += 1
        self.core.say(event.role, self.line(event.text, number).encode(), answer=(action, number))
        if action in ("DRIVER_CANCEL", "START_MONITOR", "STOP_MONITOR", "STOPMONITOR"):
            return
        self.core.answered(seconds)
        mine = [a for a in self.core.answers[before:] if (a.kind, a.action, a.id) == ("reply", action, number)]
        if event.role == "vmm":
            self._follow(action, number, mine[0], recorded)
        elif _lists_vms(recorded):
            self.diverged.update(self.core.model.vms)  # what it said of them then is not what is true here

    def _follow(self, action: str, number: int, answer: Answer, recorded: str) -> None:
        words = recorded.split()
        agrees = len(words) > 1 and (words[1] == "SUCCESS") is answer.ok
        if not agrees or (action == "POLL" and _letter(recorded) != _letter(answer.text)):
            self.diverged.add(number)
        elif action in ("DEPLOY", "RESTORE"):
            self.diverged.discard(number)
        if action == "DEPLOY" and answer.ok and len(words) > 3:
            self.substitutions[words[3]] = answer.text


def _lists_vms(recorded: str) -> bool:
    """Return whether a line is a host message of 4.0 to 5.10 that lists VMs."""
    payload = recorded.rpartition(" ")[2]
    return bool(re.fullmatch(r"[A-Za-z0-9+/=]{40,}", payload)) and b"VM_POLL" in base64.b64decode(payload)


def _letter(text: str) -> str:
    """Return the state letter that an answer to POLL reports."""
    found = re.search(r"\bSTATE=(\S+)", text)
    return found[1] if found else ""


def _recorded_answer(event: Event, following: tuple[Event, ...]) -> str:
    head = event.text.split()[:2]
    for later in following:
        words = later.text.split()
        if (
            later.kind == "driver"
            and later.role == event.role
            and [words[0], words[2] if len(words) > 2 else ""] == head
        ):
            return later.text
        if later.kind == "core" and later.text.split()[:2] == head:
            return ""
    return ""


def replay(
    core: Core,
    all_recordings: Iterable[Recording],
    *,
    drives: Callable[[int], str],
    seconds: float = 15.0,
) -> Report:
    """Send the recorded core's lines to the drivers that ``core`` has started, one after the other.

    Every request must get exactly one acceptable answer; the states that follow are compared with the recorded ones as
    long as the driver's answers agree with the recorded driver's.

    The installation's folder, the deploy ids and the drives of the recording are replaced by what is true here.

    :param drives: UUID of a drive that exists, for a VM id; called once for each VM
    :param seconds: for each answer
    :raises CoreFailure: when an answer is missing, or one that the core would not accept
    """
    run = _Replay(core, drives)
    for recording in all_recordings:
        run.run(recording, seconds)
    core.check()
    return run.report
