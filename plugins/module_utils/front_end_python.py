# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The interpreter of the drivers: found on the front-end, or of a virtual environment that the role makes."""

from __future__ import annotations

import sys
from typing import Tuple

from .front_end import run
from .opennebula.layout import Layout

INTERPRETERS = ("python3", *(f"python3.{minor}" for minor in range(14, 8, -1)), "/usr/bin/python3")
FITS = (
    "import sys, requests, ssl, zlib, xml.etree.ElementTree; "
    "print(sys.executable if sys.version_info >= (3, 9) else str())"
)
CAN_MAKE_VENV = "import sys, venv, ensurepip; print(sys.executable if sys.version_info >= (3, 9) else str())"
COMMAND_SECONDS = 20
"""that an interpreter, or another program that is asked for its version, may take"""


def output_of(*command: str) -> str:
    """What a program prints, empty when it cannot be run or fails."""
    done = run(command, seconds=COMMAND_SECONDS)
    return done.output + done.errors if done.is_right else ""


def first_that(code: str, candidates: Tuple[str, ...]) -> str:
    """The path of the first interpreter that runs ``code`` and prints it."""
    # Isolated, as the drivers run: without the packages of a home folder, PYTHONPATH and PYTHONHOME.
    return next(filter(None, (output_of(candidate, "-I", "-c", code).strip() for candidate in candidates)), "")


def interpreter_of(wanted: str, folders: Layout) -> Tuple[str, str, str]:
    """The interpreter of the drivers, the one to make its virtual environment with, and the problem."""
    wanted = wanted or "system"
    candidates = (*INTERPRETERS, sys.executable) if wanted in ("system", "venv") else (wanted,)
    if wanted == "venv":
        path = f"{folders.python}/eh_venv/bin/python"
        if first_that(FITS, (path,)):
            return path, "", ""
        base = first_that(CAN_MAKE_VENV, candidates)
        if base:
            return path, base, ""
        return (
            "",
            "",
            (
                "There is no Python 3.9 or later that can make a virtual environment: install python3-venv, or set"
                " one_eh_driver_python to system."
            ),
        )
    path = first_that(FITS, candidates)
    if path:
        return path, "", ""
    where = "in PATH" if wanted == "system" else f"at {wanted}"
    return (
        "",
        "",
        (
            f"There is no Python 3.9 or later with the package requests {where}: install python3-requests, or set"
            " one_eh_driver_python to one that has it, or to venv. What pip install --user or PYTHONPATH adds does not"
            " count, since the drivers run isolated (python -I)."
        ),
    )
