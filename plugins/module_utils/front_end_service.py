# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restarts OpenNebula through the machine's init system; stops it only after a check that it can start again."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Tuple

from .front_end import CommandResult, FrontEnd, run, wait_until

PID_FILES = ("/run/one/oned.pid", "/var/run/one/oned.pid")
STEP_SECONDS = 0.5
SHOWN_VARIABLES = ("ONE_LOCATION", "RUBYLIB")
NOT_RUN = (None, 126, 127)
"""exit statuses of a program that could not be executed"""
BACKTRACE = re.compile(r"^\s*from .+:\d+:in |:in .+\((\w+::)*\w*Error\)", re.MULTILINE)
"""output of Ruby for a program that it cannot load"""


class Service:
    """The service OpenNebula on this machine.

    :param kind: ``systemd``, ``sysv``, ``one`` (OpenNebula's script of that name), ``none``, or ``auto`` to detect it
    :param name: of the unit or the init script
    """

    def __init__(self, front_end: FrontEnd, kind: str = "auto", name: str = "opennebula") -> None:
        self.front_end = front_end
        self.name = name
        self.kind = self._found() if kind == "auto" else kind

    def _found(self) -> str:
        if not self.front_end.one_location:
            if Path("/run/systemd/system").is_dir() and shutil.which("systemctl"):
                return "systemd"
            if os.access(f"/etc/init.d/{self.name}", os.X_OK):
                return "sysv"
        return "one" if self.front_end.has("one") else "none"

    def runs(self) -> bool:
        if self.kind == "systemd":
            return run(("systemctl", "is-active", "--quiet", self.name)).is_right
        if self.kind == "sysv":
            return run((f"/etc/init.d/{self.name}", "status")).is_right
        return any(_lives(path) for path in (f"{self.front_end.folders.var}/oned.pid", *PID_FILES))

    def start_problem(self) -> str:
        """Check, while OpenNebula runs, that it could start again; return what prevents that, empty if nothing.

        The core must load, and so must a Ruby program: the start itself runs one from 5.12 on, and in every release the
        core's drivers are Ruby programs. Without ``onehost`` Ruby is not checked.
        """
        if self.kind == "one" and not self.front_end.has("one"):
            return f"{self.front_end.program('one')} is not there, or no program"
        core = self.front_end.call("oned", "-v")
        if not core.is_right:
            return f"{self.front_end.program('oned')} -v fails: {core.reason}"
        if self.front_end.has("onehost"):
            list_ = self.front_end.answers()
            # A program that times out because the core hangs has loaded; then only a restart helps.
            cannot_load = list_.status in NOT_RUN and not list_.timed_out
            if cannot_load or (not list_.is_right and BACKTRACE.search(list_.errors)):
                return f"{self.front_end.program('onehost')} list fails: {list_.reason}"
        return ""

    def restart(self, scheduler: bool, seconds: float) -> str:
        """Stop and start OpenNebula, with one retry of the start; return an error sentence, empty on success.

        :param scheduler: whether to restart the scheduler's own service as well, if it runs
        :param seconds: time-out of a restart, and again of the wait for the core's answer
        """
        problem = self.start_problem()
        if problem:
            return (
                f"OpenNebula was not stopped, because it would not start again: {problem}. Put that right, and run the"
                " play again."
            )
        problem = self._problem_after("restart", scheduler, seconds)
        if problem and not self.runs():
            problem = self._problem_after("start", scheduler, seconds)
        log = f"{self.front_end.folders.log}/oned.log"
        if not problem:
            return ""
        if self.runs():
            return f"The restart of OpenNebula failed ({self.kind}): {problem}. Look into {log}."
        return (
            f"OpenNebula was stopped, and two starts failed ({self.kind}): {problem}. Look into {log}, and start it as"
            f" {self._user()} with: {self.by_hand()}"
        )

    def by_hand(self) -> str:
        """Return the shell command that starts OpenNebula."""
        if self.kind != "one":
            return shlex.join(self._words("start"))
        environment = self.front_end.as_owner()["env"]
        shown = [f"{name}={shlex.quote(environment[name])}" for name in SHOWN_VARIABLES if name in environment]
        return " ".join((*shown, shlex.join((self.front_end.program("one"), "start"))))

    def _user(self) -> str:
        return self.front_end.owner if self.kind == "one" and self.front_end.owner else "root"

    def _words(self, word: str) -> Tuple[str, ...]:
        return (f"/etc/init.d/{self.name}", word) if self.kind == "sysv" else ("systemctl", word, self.name)

    def _problem_after(self, word: str, scheduler: bool, seconds: float) -> str:
        """Start or restart OpenNebula and wait until the core answers; return the error, empty on success.

        :param word: ``start`` or ``restart``
        """
        done = self._do(word, seconds)
        if done.is_right and scheduler and self.kind == "systemd":
            done = self._restart_scheduler(seconds)
        if not done.is_right:
            return done.reason
        if not self.front_end.has("onehost"):
            return ""
        last = []

        def answers() -> bool:
            last[:] = [self.front_end.answers()]
            return bool(last[0].is_right)

        if wait_until(seconds, STEP_SECONDS, answers):
            return ""
        return f"it does not answer after {seconds:g} s: {last[0].reason}"

    def _restart_scheduler(self, seconds: float) -> CommandResult:
        unit = f"{self.name}-scheduler"
        found = run(("systemctl", "is-active", "--quiet", unit))
        return run(("systemctl", "restart", unit), seconds=seconds) if found.is_right else CommandResult(0, "", "")

    def _do(self, word: str, seconds: float) -> CommandResult:
        if self.kind != "one":
            return run(self._words(word), seconds=seconds)
        if word == "restart":
            stopped = self.front_end.call("one", "stop", seconds=seconds)
            if not stopped.is_right and self.runs():
                return stopped
        return self.front_end.call("one", "start", seconds=seconds)


def _lives(pid_file: str) -> bool:
    try:
        pid = int(Path(pid_file).read_text(encoding="ascii").split()[0])
        return Path("/proc", str(pid)).exists()
    except (OSError, ValueError, IndexError):
        return False
