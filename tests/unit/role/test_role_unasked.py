# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Front-ends whose OpenNebula cannot be told anything now: the role says what it has not been told, and what to do.

One does not run, one is to be restarted by its administrator. Both are installed, installed again, removed, removed
again.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.front_ends import FrontEnd
from tests.support.endpoint import Endpoint
from tests.support.plays import Played, Plays

STOPPED, KEPT = "stopped", "kept"


class Unasked(NamedTuple):
    hosts: dict[str, FrontEnd]
    installed: Played
    registered: dict[str, list[str]]
    again: Played
    registered_again: dict[str, list[str]]
    removed: Played
    left: dict[str, list[str]]
    removed_again: Played


def one(front_end: FrontEnd, word: str) -> None:
    """What an administrator does by hand."""
    subprocess.run([front_end.folders["bin"] / "one", word], check=True)


def registered(front_end: FrontEnd) -> list[str]:
    state = front_end.state()
    return [item["name"] for kind in ("hosts", "datastores", "clusters") for item in state[kind] if item["id"] > 99]


@pytest.fixture(scope="module")
def unasked(tmp_path_factory: pytest.TempPathFactory, endpoint: Endpoint) -> Unasked:
    folder = tmp_path_factory.mktemp("unasked")
    hosts = {name: FrontEnd(folder / name, "7.4", running=name == KEPT) for name in (STOPPED, KEPT)}
    plays = Plays(folder, endpoint, hosts, {KEPT: {"one_eh_driver_restart": False}})

    def look() -> dict[str, list[str]]:
        return {name: registered(front_end) for name, front_end in hosts.items()}

    installed, first = plays.play("install_driver"), look()
    one(hosts[KEPT], "stop")
    for front_end in hosts.values():
        one(front_end, "start")
    again, second = plays.play("install_driver"), look()
    one(hosts[STOPPED], "stop")
    removed, left = plays.play("remove_driver"), look()
    one(hosts[STOPPED], "start")
    removed_again = plays.play("remove_driver", "--limit", STOPPED)
    return Unasked(hosts, installed, first, again, second, removed, left, removed_again)


def said(played: Played) -> str:
    return " ".join(played.output.split())


def test_nothing_is_registered_with_an_opennebula_that_does_not_know_the_drivers_yet(unasked: Unasked) -> None:
    assert [unasked.installed.failed(name) for name in unasked.hosts] == [0, 0]
    assert unasked.registered == {STOPPED: [], KEPT: []}


def test_an_installation_says_what_remains_to_be_done(unasked: Unasked) -> None:
    text = said(unasked.installed)
    assert "OpenNebula on stopped does not run, and will see that when it is started." in text
    assert "OpenNebula on stopped has not been told of the hosts eh: start it, then run this play again." in text
    assert "OpenNebula on kept has to be restarted when no action is under way." in text
    assert "OpenNebula on kept has not been told of the hosts eh: restart it, then run this play again." in text


def test_the_next_run_does_it_and_says_nothing_more(unasked: Unasked) -> None:
    assert unasked.registered_again == {name: ["eh", "eh_system", "eh"] for name in unasked.hosts}
    assert [unasked.again.changed(name) for name in unasked.hosts] == [1, 1]
    assert "has not been told of the hosts" not in unasked.again.output


def test_a_removal_says_what_an_opennebula_that_does_not_run_keeps(unasked: Unasked) -> None:
    assert (unasked.removed.failed(STOPPED), unasked.left) == (0, {STOPPED: ["eh", "eh_system", "eh"], KEPT: []})
    assert (
        "OpenNebula on stopped does not run, so it keeps what it has for ElasticHosts: the hosts eh, the system"
        " datastore eh_system, the cluster eh. Start it, and run this play again, or delete them by hand."
    ) in said(unasked.removed)
    assert "OpenNebula on kept does not run" not in said(unasked.removed)


def test_the_next_removal_takes_it_out(unasked: Unasked) -> None:
    assert registered(unasked.hosts[STOPPED]) == []
    assert (unasked.removed_again.changed(STOPPED), unasked.removed_again.failed(STOPPED)) == (1, 0)
    assert "it keeps" not in unasked.removed_again.output


def test_what_is_not_to_be_registered_is_not_missed(tmp_path: Path, endpoint: Endpoint) -> None:
    front_end = FrontEnd(tmp_path / "one", "3.8")
    plays = Plays(tmp_path, endpoint, {"one": front_end}, {"one": {"one_eh_driver_register": False}})
    assert "has not been told of the hosts" not in plays.play("install_driver").output
    text = said(plays.play("remove_driver"))
    assert "OpenNebula on one was not asked (one_eh_driver_register), so it keeps what it has" in text
    assert "Run this play again without that variable, or delete them by hand." in text


def test_a_removal_is_refused_when_nobody_can_tell_what_is_to_be_removed(tmp_path: Path, endpoint: Endpoint) -> None:
    hosts = {name: FrontEnd(tmp_path / name, "7.4") for name in ("settings", "release", "sections")}
    (hosts["settings"].folders["etc"] / "vmm_eh/vmm_ehrc").mkdir(parents=True)
    (hosts["release"].folders["bin"] / "oned").unlink()
    (hosts["release"].folders["var"] / "remotes/VERSION").unlink()
    oned = hosts["sections"].folders["etc"] / "oned.conf"
    oned.write_text(oned.read_text() + 'TM_MAD = [ ARGUMENTS = "-d dummy,eh" ]\n')
    stock = {name: front_end.files() for name, front_end in hosts.items()}
    plays = Plays(tmp_path, endpoint, hosts)
    played = plays.play("remove_driver")
    assert {name: front_end.files() for name, front_end in hosts.items()} == stock
    assert [(played.failed(name), played.changed(name)) for name in hosts] == [(1, 0)] * 3
    assert (
        "vmm_ehrc cannot be read (Is a directory): put that right. So nobody knows whether servers of this cloud"
        in (played.message("settings"))
    )
    assert played.message("release").startswith("The release of OpenNebula is unknown: neither ")
    assert "TM_MAD stands more than once, at lines " in played.message("sections")
    forced = plays.play("remove_driver", "--limit", "settings", "-e", "one_eh_driver_force=true")
    assert forced.failed("settings") == 0
    assert not (hosts["settings"].folders["etc"] / "vmm_eh").exists()
