# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The old clients in a virtual environment of their own below .cache, made once for each Python and set of pins."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoint import ROOT, Endpoint

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"


@pytest.fixture(scope="session")
def old_python() -> Path:
    """The interpreter that sees the old clients. A set-up that fails is a failure, not a reason to skip."""
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


Run = Callable[..., Any]


@pytest.fixture(scope="session")
def run(old_python: Path) -> Run:
    """Runs a script of this folder in the old environment and gives back what it printed as JSON."""

    def run_script(name: str, *arguments: str) -> Any:
        done = subprocess.run(
            [str(old_python), str(HERE / name), *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    return run_script


@pytest.fixture(params=["new", "old"])
def platform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cloud(platform: str, tmp_path: Path) -> Iterator[Endpoint]:
    """An endpoint of either generation whose copies take long enough to be waited for."""
    arguments = ("--platform", platform, "--imaging-seconds", "0.1", "--acpi-delay", "0")
    with Endpoint(tmp_path / "state", *arguments, "--request-log", str(tmp_path / "requests")) as running:
        yield running
