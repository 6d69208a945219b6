# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An empty account at a real endpoint, for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.endpoint import Endpoint
from tests.unit.modules.cloud import Cloud


@pytest.fixture(scope="module")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Endpoint, Path]]:
    folder = tmp_path_factory.mktemp("cloud")
    log = folder / "requests.jsonl"
    log.touch()
    with Endpoint(folder / "state", "--request-log", str(log), "--acpi-delay", "0.05") as endpoint:
        yield endpoint, log


@pytest.fixture
def cloud(_running: tuple[Endpoint, Path], capsys: pytest.CaptureFixture[str]) -> Iterator[Cloud]:
    """An empty account; the endpoint is one for all tests of a file."""
    endpoint, log = _running
    yield Cloud(endpoint, log, capsys)
    for kind in ("server", "drive"):
        for item in endpoint.call(f"/{kind}s/list", method="GET").json():
            endpoint.call(f"/{kind}s/{item['uuid']}/destroy")
    for item in endpoint.call("/resources/list", method="GET").json():
        endpoint.call(f"/resources/{item['type']}/{item['resource']}/destroy")
