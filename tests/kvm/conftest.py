# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real guests: `make test-kvm` runs these tests as root, after its install script."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kvm.box import FOLDER, Box
from tests.kvm.guest import build


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The raw image of the test's guest."""
    return build(tmp_path_factory.mktemp("guest"), FOLDER / "kernel")


@pytest.fixture(scope="session")
def place() -> Path:
    """A folder that the user of QEMU can get through, as under /var/lib. It goes with the run."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o711)
    return folder


@pytest.fixture(scope="module")
def box(place: Path, request: pytest.FixtureRequest) -> Iterator[Box]:
    running = Box(place / request.module.__name__.rpartition(".")[2], "10.177.0.0/24")
    try:
        yield running
    finally:
        running.stop()
        running.empty()


@pytest.fixture(scope="module")
def boot_drive(box: Box, image: Path) -> str:
    """UUID of a drive that holds the guest."""
    import requests

    drive: str = box.call("/drives/create", {"name": "guest", "size": image.stat().st_size}).json()["drive"]
    done = requests.post(
        f"{box.url}/drives/{drive}/write",
        data=image.read_bytes(),
        auth=(box.user, box.key),
        timeout=60,
        headers={"Content-Type": "application/octet-stream"},
    )
    assert done.status_code == 204, done.text
    return drive
