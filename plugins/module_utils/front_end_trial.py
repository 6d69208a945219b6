# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dry start of the drivers: one that does not answer INIT keeps OpenNebula from starting (opennebula-drivers 1.4)."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Sequence

from .front_end import FrontEnd, run

INIT_SECONDS = 10
"""what 6.0 and later give a driver, the least of all releases"""


def trial_problem(drivers: Sequence[str], python: str, packages: Path, front_end: FrontEnd) -> str:
    """Start the installed drivers once; empty when each would start under OpenNebula, else a message for the user."""
    said = {driver: start_problem(driver, python, front_end) for driver in drivers}
    problem = next((f"{driver} does not answer INIT: {what}" for driver, what in said.items() if what), "")
    what = "" if problem else loading_problem(python, packages, front_end)
    if what:
        problem = f"{python} cannot load the drivers: {what}"
    if not problem:
        return ""
    return (
        f"{problem}. OpenNebula would not start with such a driver, so its configuration was not touched; the files of"
        " the drivers are installed. Put that right and run the play again."
    )


def start_problem(driver: str, python: str, front_end: FrontEnd) -> str:
    """Start a driver as OpenNebula does; empty when it answers INIT, else what it did."""
    options = front_end.as_owner()
    folder = front_end.folders.var if Path(front_end.folders.var).is_dir() else "/"
    source, sink = os.pipe()
    try:
        with open(source, "rb", buffering=0) as output, open(sink, "wb", buffering=0) as theirs:  # noqa: PTH123
            # What was just installed, without a shell. AnsibleModule.run_command cannot talk to what it runs.
            process = subprocess.Popen(  # noqa: S603 # pylint: disable=ansible-bad-function
                [driver],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=theirs,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                **options,
            )
            theirs.close()
            answer = answer_to_init(process, output)
    except OSError as problem:
        return f"it cannot be started ({problem.strerror})"
    if answer == b"INIT SUCCESS\n":
        return ""
    if answer:
        return f"it said {answer.decode('utf-8', 'replace')!r}"
    # The wrapper closes its standard error, as OpenNebula does: the program itself tells more.
    done = run((python, "-I", f"{driver}.py"), text="INIT\n", seconds=INIT_SECONDS, **options) if python else None
    return "it said nothing" if done is None or done.is_right else f"it said nothing ({done.conclusion})"


def answer_to_init(process: Any, output: Any) -> bytes:
    """The first line that comes in time. The driver is ended before it loads the rest: one that runs beside it for
    OpenNebula is not to be disturbed."""
    answer = b""
    until = time.monotonic() + INIT_SECONDS
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b"INIT\n")
            process.stdin.flush()
        while not answer.endswith(b"\n"):
            if not select.select([output], [], [], max(0.0, until - time.monotonic()))[0]:
                break
            piece = output.read(64)
            if not piece:
                break
            answer += piece
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()
    return answer


def loading_problem(python: str, root: Path, front_end: FrontEnd) -> str:
    """Whether the interpreter can load all that the drivers need after their answer to INIT."""
    drivers = ", ".join(f"{root.name}.drivers.{driver}" for driver in ("vm_driver", "monitor_driver"))
    code = f"import sys; sys.path.insert(0, sys.argv[1]); import {drivers}"
    done = run((python, "-I", "-c", code, str(root.parent)), seconds=INIT_SECONDS, **front_end.as_owner())
    return "" if done.is_right else done.conclusion
