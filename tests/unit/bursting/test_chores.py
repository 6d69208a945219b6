# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the driver does while the cloud has its first look: done once, before anything is changed, and told first."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.bursting.chores import Chore
from tests.unit.bursting.conftest import Site, until
from tests.unit.bursting.proxy import Proxy


def written(site: Site) -> list[tuple[str, str]]:
    """State and verb of the actions in the journal; none before a driver has laid its tables out."""
    with contextlib.closing(sqlite3.connect(site.installation.journal)) as rows:
        if not rows.execute("SELECT name FROM sqlite_master WHERE name = 'action'").fetchall():
            return []
        return rows.execute("SELECT state, verb FROM action").fetchall()


def test_a_chore_is_done_once_whoever_comes_first() -> None:
    done: list[str] = []

    def work() -> str:
        done.append("work")
        return "result"

    early, late = Chore(work), Chore(work)
    early()
    early()
    assert (early.result(), early.result(), len(done)) == ("result", "result", 1)
    assert (late.result(), len(done)) == ("result", 2)
    late()
    assert len(done) == 2


def test_what_a_chore_raises_is_kept_for_who_asks_for_its_result() -> None:
    attempts: list[int] = []

    def fails() -> None:
        attempts.append(1)
        raise ValueError("no")

    chore = Chore(fails)
    chore()
    for _unused in range(2):
        with pytest.raises(ValueError, match="no"):
            chore.result()
    assert attempts == [1]


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


def test_an_action_whose_first_look_hangs_is_in_the_journal_meanwhile(site: Site, proxy: Proxy) -> None:
    """The look goes on once the note is there."""
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
