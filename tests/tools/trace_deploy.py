# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts through how many files one DEPLOY passes in the VM driver, and how often the file changes.

    python -m tests.tools.trace_deploy            # two numbers, and the files with their numbers of calls
    python -m tests.tools.trace_deploy --path     # the calls one by one, in their order

The driver runs in this process, from the line of OpenNebula 7.4 to the answer, against the real endpoint. Every call of
a Python function of the installed packages counts; the file changes when a call is of another file than the call before
it. The first DEPLOY is not counted: it connects, and compiles what is compiled once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from tests.core.model import Host, Vm
from tests.core.releases import release
from tests.core.speech import vmm_line
from tests.support.endpoint import Endpoint
from tests.unit.drivers.conftest import Installation

RELEASE = release("7.4.0")
SECONDS = 60.0


class Trace:
    """The calls of functions below ``folder``, in all threads, while it is switched on."""

    def __init__(self, folder: Path) -> None:
        self._prefix = f"{folder}/"
        self.on = False
        self.calls: list[tuple[str, str]] = []
        """file and function"""

    def start(self) -> None:
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    def _note(self, frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if self.on and event == "call" and code.co_filename.startswith(self._prefix):
            self.calls.append((code.co_filename[len(self._prefix) :], code.co_name))

    @property
    def changes(self) -> int:
        """How often a call is of another file than the one before it."""
        return sum(1 for (before, _f), (after, _g) in zip(self.calls, self.calls[1:]) if before != after)


def traced(folder: Path) -> Trace:
    """The trace of one DEPLOY of a driver below ``folder``."""
    with Endpoint(folder / "endpoint", "--quiet") as endpoint:
        installation = Installation(folder / "one")
        installation.configure(EHURI=endpoint.url, EHAUTH=endpoint.auth, EHCLOUD="traced")
        python = installation.root / "lib" / "python"
        sys.path.insert(0, str(python))
        trace = Trace(python / "one_eh")
        trace.start()
        answers: dict[int, threading.Event] = {1: threading.Event(), 2: threading.Event()}
        accept = _driver(installation, answers)
        for number in answers:
            drive = endpoint.call("/drives/create", {"name": "boot", "size": "4M"}).json()["drive"]
            line = _line(number, drive, installation.var)
            trace.on = number == 2
            accept(line)
            if not answers[number].wait(SECONDS):
                raise TimeoutError(f"DEPLOY {number} was not answered")
        trace.on = False
        return trace


def _driver(installation: Installation, answers: dict[int, threading.Event]) -> Any:
    """The driver's function that takes a line."""
    from one_eh.drivers.accounts import CloudAccounts
    from one_eh.drivers.journal import Journal
    from one_eh.drivers.protocol_loop import Arguments
    from one_eh.drivers.settings import Settings
    from one_eh.drivers.translate import template_defaults
    from one_eh.drivers.vm_driver import VmDriver
    from one_eh.elastichosts.clock import Clock
    from one_eh.opennebula.layout import layout

    def send(line: bytes) -> None:
        words = line.split()
        if words[:2] == [b"DEPLOY", b"SUCCESS"]:
            answers[int(words[2])].set()

    clock, place = Clock(), layout(str(installation.root))
    journal = Journal(str(installation.journal), clock)
    settings = Settings(place, {}, template_defaults)
    return VmDriver(place, settings, journal, CloudAccounts(clock), send, Arguments(), clock).accept


def _line(number: int, drive: str, var: Path) -> bytes:
    eh = {"NAME": "traced", "CPUMHZ": "500", "MEMORY": "500", "DRIVE": f"ide:0:0 {drive}", "BOOT": "ide:0:0"}
    vm = Vm(number, "traced", (("CPU", "0.5"), ("MEMORY", "500"), ("EH", eh)), "BOOT", host=Host(0, "eh"))
    return vmm_line(RELEASE, "DEPLOY", vm, var, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the files that one DEPLOY passes, and how often they change.")
    parser.add_argument("--path", action="store_true", help="print every call in its order")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trace = traced(Path(folder))
    if options.path:
        for file, function in trace.calls:
            print(f"{file}: {function}")
    files = Counter(file for file, _function in trace.calls)
    for file, calls in files.most_common():
        print(f"{calls:5} {file}")
    print(f"{len(files)} files, {trace.changes} changes of file, {len(trace.calls)} calls")


if __name__ == "__main__":
    main()
