# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real endpoint process, for every test that wants a cloud; a folder for what another user runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.endpoint import Endpoint


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """One endpoint for all tests of a module."""
    with Endpoint(tmp_path_factory.mktemp("endpoint")) as running:
        yield running


@pytest.fixture
def fresh_endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    """An endpoint of the test's own, empty, for tests that count calls or kill it."""
    with Endpoint(tmp_path / "endpoint") as running:
        yield running


@pytest.fixture(scope="module")
def readable() -> Iterator[Path]:
    """A folder that the user of OpenNebula may read as well."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
