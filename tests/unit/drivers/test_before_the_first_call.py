# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the VM driver does before its first call to the cloud: it notes the action, and checks the template."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from tests.unit.drivers.conftest import Site, until
from tests.unit.drivers.proxy import Proxy


def written(site: Site) -> list[tuple[str, str]]:
    """State and verb of the actions in the journal; none before a driver has laid its tables out."""
    with contextlib.closing(sqlite3.connect(site.installation.journal)) as rows:
        if not rows.execute("SELECT name FROM sqlite_master WHERE name = 'action'").fetchall():
            return []
        return rows.execute("SELECT state, verb FROM action").fetchall()


@pytest.mark.parametrize("verb", ["DEPLOY", "RESET"])
def test_an_action_is_in_the_journal_before_anything_is_changed(site: Site, proxy: Proxy, verb: str) -> None:
    seen: list[tuple[str, str]] = []
    change = {"DEPLOY": "POST /servers/create", "RESET": "/reset"}[verb]
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = site.running(core) if verb == "RESET" else core.create_vm(site.template())
        proxy.fault(change, before=0.1, meanwhile=lambda: seen.extend(written(site)))
        if verb == "RESET":
            core.reboot(vm, hard=True)
            until(lambda: proxy.count(change), "the call")
        else:
            core.deploy(vm, core.create_host("eh"))
        core.answered()
    assert seen == [("running", verb)]


def test_an_action_is_in_the_journal_before_its_first_listing_is_answered(site: Site, proxy: Proxy) -> None:
    """The listing is held back until the note is there."""
    noted: list[bool] = []

    def note_is_there() -> bool:
        noted.append(until(lambda: written(site) == [("running", "DEPLOY")], "the note"))
        return False

    with site.core("7.4.0") as core:
        core.start_vmm()
        proxy.fault("GET /servers/info", arrived=note_is_there)
        vm = core.create_vm(site.template())
        core.deploy(vm, core.create_host("eh"))
        core.wait(vm, "RUNNING")
    assert noted == [True]


def test_a_template_that_cannot_be_used_is_told_before_a_cloud_that_does_not_answer(site: Site) -> None:
    site.configure(EHURI="http://127.0.0.1:1", ACTION_TIMEOUT=2)
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = core.create_vm({"CPU": "1", "MEMORY": "512"})
        core.deploy(vm, core.create_host("eh"))
        core.wait(vm, "BOOT_FAILURE")
        assert "CPU is not known" in vm.log[-1]


def test_a_journal_that_cannot_be_written_lets_no_server_be_made(site: Site, proxy: Proxy) -> None:
    site.installation.journal.mkdir()
    with site.core("7.4.0") as core:
        core.start_vmm()
        vm = core.create_vm(site.template())
        core.deploy(vm, core.create_host("eh"))
        core.wait(vm, "BOOT_FAILURE")
        assert "eh_journal.sqlite cannot be used" in vm.log[-1]
    assert proxy.count("POST /servers/create") == 0
    assert site.servers() == []
