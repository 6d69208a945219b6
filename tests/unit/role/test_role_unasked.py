# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Front-ends whose OpenNebula cannot be told anything now: the role says what it has not been told, and what to do.

One does not run, one is to be restarted by its administrator, one is not to be registered with. They are installed,
installed again, removed, removed again. The removal also meets three that nobody can tell what to remove from.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.front_ends import FrontEnd
from tests.support.endpoint import Endpoint
from tests.support.plays import Played, Plays

STOPPED, KEPT, UNTOLD = "stopped", "kept", "untold"
BROKEN = ("settings", "release", "sections")
pytestmark = pytest.mark.whole  # four plays for six front-ends
State = dict[str, dict[str, tuple[int, bytes]]]


class Unasked(NamedTuple):
    hosts: dict[str, FrontEnd]
    installed: Played
    registered: dict[str, list[str]]
    again: Played
    registered_again: dict[str, list[str]]
    stock: State
    removed: Played
    after_removal: State
    left: dict[str, list[str]]
    removed_again: Played


def registered(front_end: FrontEnd) -> list[str]:
    state = front_end.state()
    return [item["name"] for kind in ("hosts", "datastores", "clusters") for item in state[kind] if item["id"] > 99]


def spoil(broken: dict[str, FrontEnd]) -> None:
    """Each of them has lost what tells the role something."""
    (broken["settings"].folders["etc"] / "vmm_eh/vmm_ehrc").mkdir(parents=True)
    (broken["release"].folders["bin"] / "oned").unlink()
    (broken["release"].folders["var"] / "remotes/VERSION").unlink()
    oned = broken["sections"].folders["etc"] / "oned.conf"
    oned.write_text(oned.read_text() + 'TM_MAD = [ ARGUMENTS = "-d dummy,eh" ]\n')


@pytest.fixture(scope="module")
def unasked(tmp_path_factory: pytest.TempPathFactory, endpoint: Endpoint) -> Unasked:
    folder = tmp_path_factory.mktemp("unasked")
    told = {name: FrontEnd(folder / name, "7.4", running=name == KEPT) for name in (STOPPED, KEPT)}
    broken = {name: FrontEnd(folder / name, "7.4") for name in BROKEN}
    spoil(broken)
    hosts = {**told, UNTOLD: FrontEnd(folder / UNTOLD, "7.4"), **broken}
    special = {KEPT: {"one_eh_driver_restart": False}, UNTOLD: {"one_eh_driver_register": False}}
    plays = Plays(folder, endpoint, hosts, special)

    def look() -> dict[str, list[str]]:
        return {name: registered(front_end) for name, front_end in told.items()}

    def state() -> State:
        return {name: front_end.files() for name, front_end in broken.items()}

    installed, first = plays.play("install_driver", "--limit", f"{STOPPED},{KEPT},{UNTOLD}"), look()
    told[KEPT].by_hand("one", "stop")
    for front_end in told.values():
        front_end.by_hand("one", "start")
    again, second = plays.play("install_driver", "--limit", f"{STOPPED},{KEPT}"), look()
    told[STOPPED].by_hand("one", "stop")
    stock = state()
    removed, after_removal, left = plays.play("remove_driver"), state(), look()
    told[STOPPED].by_hand("one", "start")
    forced = Plays(folder, endpoint, hosts, {"settings": {"one_eh_driver_force": True}})
    removed_again = forced.play("remove_driver", "--limit", f"{STOPPED},settings")
    return Unasked(hosts, installed, first, again, second, stock, removed, after_removal, left, removed_again)


def said(played: Played) -> str:
    return " ".join(played.output.split())


def test_nothing_is_registered_with_an_opennebula_that_does_not_know_the_drivers_yet(unasked: Unasked) -> None:
    assert [unasked.installed.failed(name) for name in (STOPPED, KEPT)] == [0, 0]
    assert unasked.registered == {STOPPED: [], KEPT: []}


def test_an_installation_says_what_remains_to_be_done(unasked: Unasked) -> None:
    text = said(unasked.installed)
    assert "OpenNebula on stopped does not run, and will see that when it is started." in text
    assert "OpenNebula on stopped has not been told of the hosts eh: start it, then run this play again." in text
    assert "OpenNebula on kept has to be restarted when no action is under way." in text
    assert "OpenNebula on kept has not been told of the hosts eh: restart it, then run this play again." in text


def test_the_next_run_does_it_and_says_nothing_more(unasked: Unasked) -> None:
    assert unasked.registered_again == {name: ["eh", "eh_system", "eh"] for name in (STOPPED, KEPT)}
    assert [unasked.again.changed(name) for name in (STOPPED, KEPT)] == [1, 1]
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


def test_what_is_not_to_be_registered_is_not_missed(unasked: Unasked) -> None:
    assert f"OpenNebula on {UNTOLD} has not been told of the hosts" not in said(unasked.installed)
    text = said(unasked.removed)
    assert f"OpenNebula on {UNTOLD} was not asked (one_eh_driver_register), so it keeps what it has" in text
    assert "Run this play again without that variable, or delete them by hand." in text


def test_a_removal_is_refused_when_nobody_can_tell_what_is_to_be_removed(unasked: Unasked) -> None:
    removed = unasked.removed
    assert unasked.after_removal == unasked.stock
    assert [(removed.failed(name), removed.changed(name)) for name in BROKEN] == [(1, 0)] * 3
    assert (
        "vmm_ehrc cannot be read (Is a directory): put that right. So nobody knows whether servers of this cloud"
        in removed.message("settings")
    )
    assert removed.message("release").startswith("The release of OpenNebula is unknown: neither ")
    assert "TM_MAD stands more than once, at lines " in removed.message("sections")


def test_a_forced_removal_goes_on_without_the_settings(unasked: Unasked) -> None:
    assert unasked.removed_again.failed("settings") == 0
    assert not (unasked.hosts["settings"].folders["etc"] / "vmm_eh").exists()
