# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds an OpenNebula installation on this machine, and runs its programs as the user that runs OpenNebula."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from .opennebula.layout import layout

COMMAND_SECONDS = 60
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "ONE_AUTH", "ONE_XMLRPC", "RUBYLIB", "GEM_HOME", "GEM_PATH")
WARNING = ": warning: "
"""part of the warnings that Ruby prints before a program begins, whether or not the program fails"""
Call = Tuple[str, ...]


class CommandResult(NamedTuple):
    """Exit status and output of a program; ``status`` is None if it could not be run or timed out."""

    status: Optional[int]
    output: str
    errors: str
    timed_out: bool = False

    @property
    def is_right(self) -> bool:
        return self.status == 0

    @property
    def reason(self) -> str:
        """The first line of output: there OpenNebula's programs print their error, before Ruby's backtrace."""
        lines = self._lines()
        return next((line for line in lines if WARNING not in line), lines[0])

    @property
    def conclusion(self) -> str:
        """The last line of output: there Python and pip print their error, after a traceback."""
        return self._lines()[-1]

    def _lines(self) -> List[str]:
        lines = [line.strip().rstrip(".") for line in (self.errors or self.output).splitlines() if line.strip()]
        return lines or [f"exit status {self.status}"]


def user_name(uid: int) -> str:
    """Return the name of a user; the number if there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Return the name of a group; the number if there is none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def run(command: Sequence[str], *, seconds: float = COMMAND_SECONDS, text: str = "", **options: Any) -> CommandResult:
    """Run a program, and kill it with its child processes after a time-out.

    The output goes to files, since a daemon that the program starts could hold a pipe open forever.

    :param seconds: time-out
    :param text: standard input
    :param options: keyword arguments of subprocess.Popen
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            # Programs of the installation itself, without a shell. AnsibleModule.run_command has no time-out and cannot
            # run a program as another user.
            process = subprocess.Popen(  # noqa: S603 # pylint: disable=ansible-bad-function
                list(command),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                **options,
            )
        except OSError as problem:
            return CommandResult(None, "", f"{problem.filename or command[0]}: {problem.strerror}")
        try:
            process.communicate(text.encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            # Kill a script's child processes, too: the next start must not run beside those of a start that hangs.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return CommandResult(None, "", f"no answer within {seconds:g} s", timed_out=True)
        return CommandResult(process.returncode, _text(output), _text(errors))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def location(wanted: str) -> str:
    """Return the folder of the self-contained installation; empty for a system-wide installation.

    :param wanted: folder to use; if empty, a system-wide installation is preferred, then ONE_LOCATION in the
        environment of this process or of the core
    """
    if wanted or Path(layout("").mads).is_dir():
        return wanted
    return os.environ.get("ONE_LOCATION", "") or next(filter(None, map(_location_of, _cores())), "")


def _cores() -> Iterator[Path]:
    """Yield the folders in /proc of the processes of OpenNebula's core."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "comm").read_text(encoding="utf-8", errors="replace").strip() == "oned":
                yield folder


def _location_of(process: Path) -> str:
    with contextlib.suppress(OSError):
        for variable in (process / "environ").read_bytes().split(b"\0"):
            name, _sign, value = variable.partition(b"=")
            if name == b"ONE_LOCATION":
                return os.fsdecode(value)
    return ""


class FrontEnd:
    """An OpenNebula installation on this machine.

    :param one_location: value of $ONE_LOCATION, empty for a system-wide installation
    :param owner: name of the user that runs OpenNebula, empty for the current user
    """

    def __init__(self, one_location: str, owner: str) -> None:
        self.one_location = one_location.rstrip("/")
        self.folders = layout(one_location)
        self.owner = owner

    def program(self, name: str) -> str:
        return f"{self.one_location}/bin/{name}" if self.one_location else f"/usr/bin/{name}"

    def has(self, name: str) -> bool:
        return os.access(self.program(name), os.X_OK)

    def as_owner(self) -> Dict[str, Any]:
        """Return the options of subprocess.Popen that run a program as the owner, in a clean environment."""
        environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        options: Dict[str, Any] = {"env": environment}
        if self.one_location:
            environment["ONE_LOCATION"] = self.one_location
            environment["PATH"] = f"{self.one_location}/bin{os.pathsep}{environment.get('PATH', os.defpath)}"
            # Programs of 7.0 and later, and those that they start, find their library by RUBYLIB.
            ruby = (f"{self.one_location}/lib/ruby", environment.get("RUBYLIB", ""))
            environment["RUBYLIB"] = os.pathsep.join(filter(None, ruby))
        try:
            entry = pwd.getpwnam(self.owner) if self.owner else pwd.getpwuid(os.geteuid())
        except KeyError:
            return options
        environment.update(HOME=entry.pw_dir, USER=entry.pw_name, LOGNAME=entry.pw_name)
        if os.geteuid() == 0 and entry.pw_uid != 0:
            groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
            options.update(user=entry.pw_uid, group=entry.pw_gid, extra_groups=groups)
        return options

    def call(self, name: str, *arguments: str, text: str = "", seconds: float = COMMAND_SECONDS) -> CommandResult:
        """Run a program of OpenNebula, such as ``onehost``, as the owner, with ``text`` as standard input."""
        folder = self.folders.var if Path(self.folders.var).is_dir() else "/"
        return run((self.program(name), *arguments), seconds=seconds, text=text, cwd=folder, **self.as_owner())

    def answers(self) -> CommandResult:
        """Run ``onehost list``, which succeeds if the core answers."""
        return self.call("onehost", "list")


def wait_until(seconds: float, step: float, ready: Callable[[], bool]) -> bool:
    """Call ``ready`` every ``step`` seconds until it returns true; return false if ``seconds`` are over before."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() + step > end:
            return False
        time.sleep(step)
    return True
