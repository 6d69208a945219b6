# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log of a driver process: what is in it, and that a log that cannot be written stops nothing."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.driver_log import DescriptorHandler
from tests.unit.drivers.conftest import VNC_SECRET, Site
from tests.unit.drivers.proxy import Proxy


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("driver", logging.WARNING, __file__, 1, text, None, None)


def test_a_line_has_time_level_and_text(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        DescriptorHandler(file.fileno()).handle(record("something\nin two lines\n"))
    line = (tmp_path / "log").read_text()
    assert line.endswith(" WARNING something\nin two lines\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is full")
def test_lines_that_cannot_be_written_are_counted_and_that_is_said_once(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    handler = DescriptorHandler(full)
    for number in range(3):
        handler.handle(record(f"lost {number}"))
    with (tmp_path / "log").open("wb") as file:
        os.dup2(file.fileno(), full)
        handler.handle(record("written"))
        handler.handle(record("written, too"))
        os.close(full)
    first, second, third = (tmp_path / "log").read_text().splitlines()
    assert first == "3 lines of this log are missing: they could not be written."
    assert second.endswith(" WARNING written")
    assert third.endswith(" WARNING written, too")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is full")
@pytest.mark.parametrize("release", ["3.8.5", "7.4.0"])
def test_a_deploy_is_answered_while_the_disk_of_the_log_is_full(site: Site, release: str) -> None:
    for driver in ("vmm", "im"):
        (site.installation.var / f"one_{driver}_eh.log").symlink_to("/dev/full")
    with site.core(release) as core:
        core.start_vmm()
        vm = site.running(core)
        core.terminate(vm)
        core.wait(vm, "DONE")
    assert site.servers() == []


def test_calls_that_are_repeated_are_in_the_log_without_secrets(site: Site) -> None:
    with Proxy(site.endpoint.url) as proxy, site.core("7.4.0") as core:
        site.configure(EHURI=proxy.url)
        proxy.fault("GET /servers/info", cut="before")
        core.start_vmm()
        site.running(core)
    log = site.log()
    assert " DEBUG GET /servers/info: " in log
    assert "; trying again in " in log
    assert " INFO DEPLOY VM 0: SUCCESS " in log
    assert VNC_SECRET not in log
    assert site.endpoint.key not in log
