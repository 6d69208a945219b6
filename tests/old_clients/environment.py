# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The old clients in a virtual environment of their own below .cache, made once for each Python and set of pins.

python -m tests.old_clients.environment
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.endpoint import ROOT

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def interpreter() -> Path:
    """The interpreter that sees the old clients, made if need be. A set-up that fails is an AssertionError."""
    version = "{}.{}".format(*sys.version_info)
    pins = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = ROOT / ".cache" / "old_clients" / f"{version}-{pins}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not (folder / ".ready").exists():
            _make(folder)
    return folder / "bin" / "python"


def _make(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    python = str(folder / "bin" / "python")
    install = ["--disable-pip-version-check", "--require-hashes", "--quiet", "--requirement", str(REQUIREMENTS)]
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", str(folder)],
        [sys.executable, "-m", "pip", "--python", python, "install", *install],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    (folder / ".ready").touch()


if __name__ == "__main__":
    interpreter()
