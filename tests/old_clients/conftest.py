# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The old clients, unmodified, each script in a process of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.old_clients.environment import interpreter
from tests.support.endpoint import Endpoint

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def old_python() -> Path:
    """The interpreter that sees the old clients. A set-up that fails is a failure, not a reason to skip."""
    return interpreter()


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
