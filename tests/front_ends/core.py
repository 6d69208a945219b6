# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the core that starts the drivers of a system-wide installation at their real paths."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.core import Core

from . import ROOT, FrontEnd


class SystemWide(Core):
    """Starts drivers from /usr/lib/one/mads in /var/lib/one without ONE_LOCATION; for use inside the namespace."""

    def __init__(self, release: str, scratch: str) -> None:
        super().__init__(release, one_location=scratch)
        self.var = Path("/var/lib/one")
        del self._environment["ONE_LOCATION"]

    def start_drivers(self) -> None:
        self.start_vmm("/usr/lib/one/mads/one_vmm_eh")
        self.start_im("/usr/lib/one/mads/one_im_eh")


def run_inside(front_end: FrontEnd, code: str, *arguments: str) -> str:
    """Return the output of Python code that runs inside the namespace of the installation."""
    done = subprocess.run(
        [*front_end.enter(), sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.stdout + done.stderr
