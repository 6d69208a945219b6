# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Journal, listing and mapping by themselves."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.journal import (
    COPYING,
    CREATING,
    GIVEN_UP,
    INTERRUPTED,
    LEFT,
    RUNNING,
    UNANSWERED,
    BegunAction,
    Journal,
    JournalError,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.listing_cache import (
    ListingCache,
    ListingLate,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.monitoring_facts import (
    poll_facts,
    vm_facts,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.settings import (
    HostSettings,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.translate import (
    owner,
    specification,
    template_defaults,
    with_defaults,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.clock import Clock
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.errors import ConnectError
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.servers import Server
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.vm import VirtualMachine

# --- journal


def test_a_journal_of_a_newer_form_is_kept_and_told_of_and_an_older_one_is_not(tmp_path: Path) -> None:
    for form in (7, 0):
        path = tmp_path / f"journal of form {form}"
        with contextlib.closing(sqlite3.connect(path)) as rows:
            rows.execute("PRAGMA journal_mode = WAL")
            rows.execute("CREATE TABLE doubt (later TEXT)")
            rows.execute("INSERT INTO doubt VALUES ('an attempt that newer drivers began')")
            rows.execute(f"PRAGMA user_version = {form}")
            rows.commit()
            own, other = Journal(str(path), Clock()), Journal(str(path), Clock())
            own.begin(7, "DEPLOY", "eh", attempt="a7")
        kept = sorted(tmp_path.glob(f"{path.name}.form-*"))
        assert [own.kept(), other.kept()] == [other.kept()] * 2
        assert other.last_actions()[7].verb == "DEPLOY"
        own.close()
        other.close()
        if form == 0:
            assert (kept, own.kept()) == ([], [])
            continue
        (copy,) = kept
        (sentence,) = own.kept()
        assert sentence.startswith(f"Delete {copy} when nothing")
        assert copy.stat().st_mode & 0o777 == 0o600
        with contextlib.closing(sqlite3.connect(copy)) as rows:
            assert rows.execute("SELECT * FROM doubt").fetchall() == [("an attempt that newer drivers began",)]


def test_a_journal_of_a_newer_form_that_cannot_be_copied_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j"
    with contextlib.closing(sqlite3.connect(path)) as rows:
        rows.execute("PRAGMA user_version = 7")
    clock = Clock()
    monkeypatch.setattr(clock, "now", lambda: 5.0)
    (tmp_path / "j.form-7-5").mkdir()
    with pytest.raises(JournalError, match="Make room on the disk of the journal"):
        Journal(str(path), clock).last_actions()
    with contextlib.closing(sqlite3.connect(path)) as rows:
        assert rows.execute("PRAGMA user_version").fetchone() == (7,)


def test_an_action_under_way_outdates_every_listing_and_a_finished_one_those_before_it(tmp_path: Path) -> None:
    clock = Clock()
    journal = Journal(str(tmp_path / "j"), clock)
    journal.begin(7, "DEPLOY", "eh", attempt="a7")
    entry = journal.last_action(7)
    assert entry is not None and entry.outdates(clock.monotonic() + 100)
    before = clock.monotonic()
    journal.end(7)
    entry = journal.last_actions()[7]
    assert entry.outdates(before)
    assert not entry.outdates(clock.monotonic())


def test_an_end_is_known_to_both_drivers(tmp_path: Path) -> None:
    clock = Clock()
    own, other = (Journal(str(tmp_path / "j"), clock) for _unused in range(2))
    own.begin(7, "DEPLOY", "eh", attempt="a7")
    assert other.last_actions()[7].outdates(clock.monotonic())
    own.end(7)
    for journal in (own, other):
        record = journal.last_action(7)
        assert record is not None and not record.outdates(clock.monotonic())
    own.begin(7, "SHUTDOWN", "eh")
    record = own.last_action(7)
    assert record is not None and record.outdates(clock.monotonic())


OTHER_DRIVER = """
import sys
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.journal import Journal
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.clock import Clock
journal = Journal(sys.argv[1], Clock())
journal.begin(7, "DEPLOY", "eh", attempt="a7")
journal.unresolved("a7", 7, "eh", "copying")
journal.begin(8, "DEPLOY", "eh", attempt="a8")
journal.unresolved("a8", 8, "eh", "creating")
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other_driver(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A living process that has two deploys under way in the journal ``j``."""
    command = [sys.executable, "-c", OTHER_DRIVER, str(tmp_path / "j")]
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=path) as process:
        assert process.stdout is not None and process.stdout.readline()
        yield process
        process.kill()


def states(journal: Journal) -> list[tuple[str, str]]:
    return [(doubt.attempt, doubt.state) for doubt in journal.all_unresolved()]


def test_actions_of_a_driver_that_died_outdate_nothing_and_are_taken_over_once(
    tmp_path: Path, other_driver: subprocess.Popen[str]
) -> None:
    clock = Clock()
    journal = Journal(str(tmp_path / "j"), clock)
    other_driver.kill()
    os.waitid(os.P_PID, other_driver.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet buried: a zombie does not live
    assert not journal.last_actions()[7].outdates(clock.monotonic())
    assert states(journal) == []
    assert [(entry.vm, entry.state) for entry in journal.take_over()] == [(7, RUNNING), (8, RUNNING)]
    assert {entry.state for entry in journal.last_actions().values()} == {INTERRUPTED}
    assert states(journal) == [("a7", LEFT), ("a8", UNANSWERED)]
    assert journal.take_over() == []


def test_what_a_living_driver_does_is_its_own_until_it_ends(
    tmp_path: Path, other_driver: subprocess.Popen[str]
) -> None:
    clock = Clock()
    journal = Journal(str(tmp_path / "j"), clock)
    journal.begin(9, "SHUTDOWN", "eh")
    journal.unresolved("a9", 9, "eh", COPYING)
    assert journal.take_over() == []
    assert journal.last_actions()[7].outdates(clock.monotonic())
    assert states(journal) == []
    other_driver.kill()
    other_driver.wait()
    assert [entry.vm for entry in journal.take_over()] == [7, 8]
    assert journal.last_actions()[9].state == RUNNING
    assert states(journal) == [("a7", LEFT), ("a8", UNANSWERED)]


def test_a_create_call_of_another_driver_stays_in_doubt_when_its_vm_is_deployed_again(
    tmp_path: Path, other_driver: subprocess.Popen[str]
) -> None:
    journal = Journal(str(tmp_path / "j"), Clock())
    assert journal.begin(8, "DEPLOY", "eh", attempt="b8").unresolved == ()
    journal.end(8)
    assert states(journal) == []
    other_driver.kill()
    other_driver.wait()
    assert [entry.vm for entry in journal.take_over()] == [7]
    assert ("a8", UNANSWERED) in states(journal)


def test_a_process_id_that_was_given_out_again_is_not_the_driver_that_had_it(
    tmp_path: Path, other_driver: subprocess.Popen[str]
) -> None:
    journal = Journal(str(tmp_path / "j"), Clock())
    with contextlib.closing(sqlite3.connect(tmp_path / "j")) as rows:
        rows.execute("UPDATE action SET process = ? || '@1'", (other_driver.pid,))
        rows.commit()
    assert [entry.vm for entry in journal.take_over()] == [7, 8]


def test_a_journal_of_another_form_is_begun_anew(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "j")) as rows:
        rows.execute("CREATE TABLE action (vm INTEGER PRIMARY KEY, pid INTEGER)")
        rows.execute("INSERT INTO action VALUES (7, 1)")
        rows.commit()
    journal = Journal(str(tmp_path / "j"), Clock())
    assert journal.begin(7, "DEPLOY", "eh") == BegunAction()
    assert list(journal.last_actions()) == [7]


def test_what_was_given_up_stays_given_up(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "j"), Clock())
    journal.unresolved("a7", 7, "eh", GIVEN_UP)
    journal.unresolved("a7", 7, "eh", LEFT)
    assert states(journal) == [("a7", GIVEN_UP)]


def test_an_attempt_of_this_driver_is_not_cleaned_up_while_it_is_under_way(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "j"), Clock())
    journal.begin(7, "DEPLOY", "eh", attempt="a7")
    for state in (COPYING, CREATING):
        journal.unresolved("a7", 7, "eh", state)
        assert states(journal) == []
    journal.unresolved("a7", 7, "eh", LEFT)
    assert states(journal) == [("a7", LEFT)]


def test_the_first_call_of_a_driver_of_the_first_edition_is_known_from_its_action(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "j"), Clock())
    for vm in (7, 8):
        journal.begin(vm, "DEPLOY", "eh", attempt=f"a{vm}")
    with contextlib.closing(sqlite3.connect(tmp_path / "j")) as rows:
        rows.execute("UPDATE action SET process = 'gone'")
        rows.commit()
    journal.begin(8, "DEPLOY", "eh", attempt="b8")
    assert [record.vm for record in journal.take_over()] == [7]
    assert sorted(states(journal)) == [("a7", UNANSWERED), ("a8", UNANSWERED)]


def test_after_a_reboot_no_old_time_is_trusted(tmp_path: Path) -> None:
    first = Journal(str(tmp_path / "j"), Clock(), boot="one")
    first.begin(7, "SHUTDOWN", "eh")
    first.end(7)
    first.begin(8, "DEPLOY", "eh", attempt="a8")
    first.close()
    second = Journal(str(tmp_path / "j"), Clock(), boot="two")
    entries = second.last_actions()
    assert not entries[7].outdates(0.1)
    assert not entries[8].outdates(0.1)
    assert [entry.vm for entry in second.take_over()] == [8]


def test_rows_of_finished_actions_go_when_no_listing_is_that_old(tmp_path: Path) -> None:
    class Later(Clock):
        ahead = 0.0

        def monotonic(self) -> float:
            return super().monotonic() + self.ahead

    clock = Later()
    journal = Journal(str(tmp_path / "j"), clock)
    for vm in (1, 2):
        journal.begin(vm, "SHUTDOWN", "eh")
    journal.end(1)
    journal.prune()
    assert set(journal.last_actions()) == {1, 2}
    clock.ahead = 3700
    journal.prune()
    assert set(journal.last_actions()) == {2}


def test_attempts_are_unresolved_until_they_are_resolved(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "j"), Clock())
    journal.unresolved("a1", 7, "eh", GIVEN_UP)
    journal.unresolved("a2", 7, "eh", GIVEN_UP)
    journal.close()
    again = Journal(str(tmp_path / "j"), Clock())
    assert [(doubt.attempt, doubt.vm) for doubt in again.all_unresolved()] == [("a1", 7), ("a2", 7)]
    again.resolved("a1")
    assert [doubt.attempt for doubt in again.all_unresolved()] == ["a2"]


def test_both_drivers_can_use_the_journal_at_once(tmp_path: Path) -> None:
    writer, reader = (Journal(str(tmp_path / "j"), Clock()) for _unused in range(2))
    version = reader.version()
    errors: list[Exception] = []

    def read() -> None:
        try:
            for _unused in range(200):
                reader.last_actions()
        except JournalError as error:
            errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    for vm in range(200):
        writer.begin(vm, "DEPLOY", "eh")
        writer.end(vm)
    thread.join()
    assert errors == []
    assert reader.version() != version
    assert len(reader.last_actions()) == 200


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b"not a database" * 100)
    with pytest.raises(JournalError, match=rf"{tmp_path}/j cannot be used .*move it away"):
        Journal(str(tmp_path / "j"), Clock()).begin(7, "DEPLOY", "eh")


# --- listing


class SlowCloud:
    def __init__(self) -> None:
        self.calls = 0
        self.go = threading.Event()
        self.fails = False

    def fetch(self) -> list[Server]:
        self.calls += 1
        assert self.go.wait(5)
        if self.fails:
            raise ConnectError("no way")
        return []


def test_all_who_ask_before_a_listing_begins_share_it() -> None:
    cloud, clock = SlowCloud(), Clock()
    listing = ListingCache(cloud.fetch, clock)
    moment = clock.monotonic()
    threads = [threading.Thread(target=listing.since, args=(moment, 5)) for _unused in range(20)]
    for thread in threads:
        thread.start()
    cloud.go.set()
    for thread in threads:
        thread.join()
    assert cloud.calls == 1


def test_a_listing_that_hangs_can_be_overtaken_once(tmp_path: Path) -> None:
    cloud, clock = SlowCloud(), Clock()
    listing = ListingCache(cloud.fetch, clock)
    for _unused in range(5):
        with pytest.raises(ListingLate):
            listing.since(clock.monotonic(), 0.01)
    assert cloud.calls == 2
    cloud.go.set()
    assert listing.since(clock.monotonic(), 5).begun >= 0


def test_a_failure_is_for_those_who_asked_and_the_last_listing_stays() -> None:
    cloud, clock = SlowCloud(), Clock()
    listing = ListingCache(cloud.fetch, clock)
    cloud.go.set()
    good = listing.since(clock.monotonic(), 5)
    cloud.fails = True
    with pytest.raises(ConnectError):
        listing.since(clock.monotonic(), 5)
    assert listing.last is good
    assert listing.since(good.begun, 5) is good


def test_only_after_a_quick_listing_may_a_poll_fetch_the_next_one_itself() -> None:
    """The fetch of one who waits ends with his patience; that of a slow cloud has to go on, for whoever asks next."""

    class Hours(Clock):
        passed = 0.0

        def monotonic(self) -> float:
            return super().monotonic() + self.passed

    cloud, clock = SlowCloud(), Hours()
    cloud.go.set()
    listing = ListingCache(cloud.fetch, clock)
    assert not listing.is_quick
    listing.since(clock.monotonic(), 5)
    assert listing.is_quick

    def slowly() -> list[Server]:
        clock.passed += 2
        return []

    listing._fetch = slowly
    listing.since(clock.monotonic(), 5)
    assert not listing.is_quick
    listing._fetch = cloud.fetch
    listing.since(clock.monotonic(), 5)
    assert listing.is_quick
    cloud.fails = True
    with pytest.raises(ConnectError):
        listing.since(clock.monotonic(), 5)
    assert not listing.is_quick


# --- mapping


def virtual(**fields: object) -> VirtualMachine:
    values: dict[str, object] = {
        "cpu": 0.5,
        "memory": 512,
        "eh": (),
        **fields,
    }
    return VirtualMachine(7, "web", 3, 2, "", **values)  # type: ignore[arg-type]


HOST = HostSettings("eh", {}, {}, "vmm_ehrc")


def test_what_the_template_leaves_out_is_sent_all_the_same() -> None:
    drive = "6f0c8a52-1b0e-4c6e-9d57-2f1f0c7f7a11"
    vm = virtual(eh=({"DRIVE": f"block:1 {drive}, block:0 {drive}"},))
    assert specification(vm, "eh", "c1", HOST, ()).creation == {
        "name": "web",
        "cpu": "1000",
        "mem": "512",
        "smp": "auto",
        "persistent": "true",
        "block:0": drive,
        "block:1": drive,
        "boot": "block:0",
        "nic:0:model": "e1000",
        "nic:0:dhcp": "auto",
        "user:one-cloud": "c1",
        "user:one-vm": "7",
        "user:one-host": "eh",
        "user:one-seq": "0",
        "user:one-drives": "block:0 block:1",
    }


def test_a_size_taken_from_the_vm_is_one_the_cloud_sells() -> None:
    wanted = specification(virtual(cpu=0.01, memory=1, eh=({},)), "eh", "c1", HOST, ()).server
    assert (wanted["cpu"], wanted["mem"]) == ("500", "256")


def test_defaults_fill_in_and_those_of_the_host_win() -> None:
    defaults = template_defaults('EH=[HOST="EH", MEMORY="2"] EH=[MEMORY="1", TAGS="x"] EH=[HOST="b", TAGS="y"] A="b"')
    assert with_defaults({"CPUMHZ": "500", "MEMORY": ""}, defaults, "eh") == {
        "CPUMHZ": "500",
        "MEMORY": "2",
        "TAGS": "x",
    }


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"user:one-cloud": "c1", "user:one-vm": "7"}, 7),
        ({"user:one-cloud": "c2", "user:one-vm": "7"}, None),
        ({"user:one-cloud": "c1"}, None),
        ({"user:one-cloud": "c1", "user:one-vm": "-7"}, None),
        ({"user:one-vm": "7"}, None),
        ({}, None),
    ],
)
def test_a_server_belongs_to_a_vm_by_both_keys(properties: dict[str, str], expected: int | None) -> None:
    assert owner(Server({"server": "u", **properties}), "c1") == expected
    assert owner(Server({"server": "u", **properties}), "") is None


@pytest.mark.parametrize(
    "counters",
    [
        {"nic:0:rx:bytes": "10", "nic:1:rx:bytes": "5", "nic:0:tx:bytes": "3", "nic:0:ip": "192.0.2.1"},
        {"rx": "15", "tx": "3", "nic:0:dhcp": "192.0.2.1"},
    ],
    ids=["new platform", "old platform"],
)
def test_facts_of_both_platform_generations_are_the_same(counters: dict[str, str]) -> None:
    server = Server(
        {
            "server": "u-1",
            "status": "active",
            "cpu": "500",
            "mem": "500",
            "ide:0:0": "d",
            "ide:0:0:read:bytes": "9",
            **counters,
        }
    )
    facts = vm_facts(server, HOST)
    assert (facts["CPU"], facts["MEMORY"], facts["NETRX"], facts["NETTX"]) == (25, 512000, 15, 3)
    assert (facts["DISKRDBYTES"], facts["GUEST_IP"]) == (9, "192.0.2.1")


def test_several_addresses_are_told_to_a_core_that_takes_a_comma() -> None:
    server = Server({"server": "s", "status": "active", "nic:0:dhcp:ip": "192.0.2.1 192.0.2.2"})
    assert vm_facts(server, HOST)["GUEST_IP_ADDRESSES"] == "192.0.2.1,192.0.2.2"
    for plain in (True, False):  # up to 5.10 the comma would end the value, and the sample be dropped
        facts = poll_facts(server, HOST, plain=plain)
        assert facts["GUEST_IP"] == "192.0.2.1"
        assert "GUEST_IP_ADDRESSES" not in facts
