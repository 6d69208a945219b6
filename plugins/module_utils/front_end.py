# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An OpenNebula front-end as a machine: its programs, run as the user that OpenNebula runs as."""

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
from typing import IO, Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from .opennebula.layout import layout

COMMAND_SECONDS = 60
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "ONE_AUTH", "ONE_XMLRPC", "RUBYLIB", "GEM_HOME", "GEM_PATH")
WARNING = ": warning: "
"""in a line that Ruby writes before a program begins, whether or not the program then fails"""
Call = Tuple[str, ...]


class Done(NamedTuple):
    """What a program said. ``status`` is None when it could not be run or was not ready in time."""

    status: Optional[int]
    output: str
    errors: str
    timed_out: bool = False

    @property
    def is_right(self) -> bool:
        return self.status == 0

    @property
    def reason(self) -> str:
        """The first line that it said: a program of OpenNebula names its error there, before a backtrace of Ruby."""
        lines = self._lines()
        return next((line for line in lines if WARNING not in line), lines[0])

    @property
    def conclusion(self) -> str:
        """The last line that it said: Python and pip name their error there, after a backtrace."""
        return self._lines()[-1]

    def _lines(self) -> List[str]:
        lines = [line.strip().rstrip(".") for line in (self.errors or self.output).splitlines() if line.strip()]
        return lines or [f"exit status {self.status}"]


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def run(command: Sequence[str], *, seconds: float = COMMAND_SECONDS, text: str = "", **options: Any) -> Done:
    """Run a program; ``text`` is its standard input, ``options`` go to subprocess.Popen.

    What it says goes into files: a daemon that it leaves behind may hold a pipe open for ever.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            # Programs of the installation itself, without a shell. AnsibleModule.run_command knows neither a limit of
            # time nor another user.
            process = subprocess.Popen(  # noqa: S603 # pylint: disable=ansible-bad-function
                list(command),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                **options,
            )
        except OSError as problem:
            return Done(None, "", f"{problem.filename or command[0]}: {problem.strerror}")
        try:
            process.communicate(text.encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            # A script's children, too: another start must not run beside the rest of one that hangs.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return Done(None, "", f"no answer within {seconds:g} s", timed_out=True)
        return Done(process.returncode, _text(output), _text(errors))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def location(wanted: str) -> str:
    """The folder of the self-contained installation that is here, empty for a system-wide one.

    Without a wish: a system-wide one if there is one, else what ONE_LOCATION says, here or where the core runs.
    """
    if wanted or Path(layout("").mads).is_dir():
        return wanted
    return os.environ.get("ONE_LOCATION", "") or next(filter(None, map(_location_of, _cores())), "")


def _cores() -> Iterator[Path]:
    """The processes that are OpenNebula's core."""
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
    """One installation.

    :param one_location: value of $ONE_LOCATION, empty for a system-wide installation
    :param owner: name of the user that runs OpenNebula, empty for whoever runs this
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
        """Options of subprocess for a program that is to run as OpenNebula's own user, with nothing of ours around."""
        environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        options: Dict[str, Any] = {"env": environment}
        if self.one_location:
            environment["ONE_LOCATION"] = self.one_location
            environment["PATH"] = f"{self.one_location}/bin{os.pathsep}{environment.get('PATH', os.defpath)}"
            # The programs of 7.0 and later load their first file by it, as does what they start.
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

    def call(self, name: str, *arguments: str, text: str = "", seconds: float = COMMAND_SECONDS) -> Done:
        """Run a program of OpenNebula, such as ``onehost``, as its user."""
        folder = self.folders.var if Path(self.folders.var).is_dir() else "/"
        return run((self.program(name), *arguments), seconds=seconds, text=text, cwd=folder, **self.as_owner())

    def answers(self) -> Done:
        """Whether the core answers its own command line."""
        return self.call("onehost", "list")


def wait_until(seconds: float, step: float, ready: Any) -> bool:
    """Ask ``ready()`` every ``step`` seconds until it says true or ``seconds`` are over."""
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() + step > until:
            return False
        time.sleep(step)
    return True
