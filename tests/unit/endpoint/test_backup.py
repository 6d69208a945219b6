# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups: state and drives fit together also where they are copied under load, and a restore loses nothing either."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.endpoint import SOURCES, Endpoint
from tests.unit.endpoint.conftest import Wire
from tests.unit.endpoint.state.test_lost_state import change_and_die, content, damage, files, filled, listed, log, zone
from tests.unit.endpoint.test_endpoint_process import run

MIB = 1 << 20
RUNNING = "is in use by another endpoint"


def backup(state: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return run("backup", "--state", str(state), "--to", str(folder))


def restore(state: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return run("restore", "--state", str(state), "--from", str(folder))


@contextmanager
def repeated(work: Callable[[], object], threads: int = 1) -> Iterator[None]:
    """Do some work again and again in threads, for as long as the block takes."""
    over = threading.Event()
    failures: list[BaseException] = []

    def go_on() -> None:
        try:
            while not over.is_set():
                work()
        except BaseException as failure:
            failures.append(failure)

    running = [threading.Thread(target=go_on) for _number in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in running:
            thread.join()
    assert not failures


def test_a_backup_under_load_is_the_state_and_the_drives_of_one_moment(tmp_path: Path) -> None:
    state = tmp_path / "zone"
    with Endpoint(state) as endpoint:

        def live() -> None:
            """A drive's life: what its name says was written before it was named so."""
            with Wire(endpoint) as wire:
                go_through(wire)

        def go_through(wire: Wire) -> None:
            drive = wire.drive(name="empty", size=4 * MIB)
            wire.send("POST", f"/drives/{drive}/write", drive)
            wire.json(f"/drives/{drive}/set", {"name": "written"})
            wire.json(f"/drives/{drive}/set", {"size": 8 * MIB})
            wire.send("POST", f"/drives/{drive}/write/{8 * MIB - 36}", drive)
            wire.json(f"/drives/{drive}/set", {"name": "grown"})
            if drive < "c":
                assert wire.send("POST", f"/drives/{drive}/destroy").status == 204

        with repeated(live, threads=2):
            made = [backup(state, tmp_path / f"backup{number}") for number in range(2)]
    for number, one in enumerate(made):
        written = set(one.stderr.rpartition(": ")[2].split())
        assert one.returncode == bool(written), one.stderr
        again = tmp_path / f"again{number}"
        assert restore(again, tmp_path / f"backup{number}").returncode == 0
        with zone(again) as wire:
            for info in wire.json("/drives/info").json:
                uuid, size = info["drive"], info["size"]
                if uuid in written:
                    continue
                begin, end = content(wire, uuid, 36), wire.send("GET", f"/drives/{uuid}/read/{size - 36}/36").content
                if info["name"] != "empty":
                    assert begin == uuid.encode()
                if info["name"] == "grown":
                    assert end == uuid.encode()
            assert len(listed(wire)) > 3
        assert "its file" not in log(again)


def test_a_drive_that_is_written_to_all_the_time_is_named(tmp_path: Path) -> None:
    state = tmp_path / "zone"
    with zone(state) as wire:
        busy, quiet = filled(wire, b"busy"), filled(wire, b"quiet")
        file = os.open(state / "drives" / f"{busy}.raw", os.O_WRONLY)  # as a guest does
        with repeated(lambda: os.pwrite(file, b"later", 0)):
            made = backup(state, tmp_path / "backup")
        os.close(file)
    assert made.returncode == 1
    assert busy in made.stderr
    assert quiet not in made.stderr
    assert made.stderr.count("\n") == 1
    assert {path.stem for path in (tmp_path / "backup" / "drives").iterdir()} == {busy, quiet}


def test_a_restore_keeps_what_was_there(tmp_path: Path) -> None:
    state = tmp_path / "zone"
    with zone(state) as wire:
        drive = filled(wire, b"older")
        assert backup(state, tmp_path / "backup").returncode == 0
        assert wire.send("POST", f"/drives/{drive}/write", b"newer").status == 204
        later = filled(wire, b"later")
        refused = restore(state, tmp_path / "backup")
        assert (refused.returncode, RUNNING in refused.stderr) == (2, True)
    with (state / "state.sqlite").open("r+b") as file:
        file.write(b"damaged too")
    assert restore(state, tmp_path / "backup").returncode == 0
    with zone(state) as wire:
        assert listed(wire) == {drive}
        assert content(wire, drive) == b"older"
    aside = state / "drives" / "unknown"
    assert {path.stem: path.read_bytes()[:5] for path in aside.iterdir()} == {drive: b"newer", later: b"later"}
    assert (state / "state.1.sqlite").read_bytes().startswith(b"damaged too")
    assert [path.name for path in (state / "drives").iterdir() if path.name.startswith("restoring")] == []


@pytest.mark.parametrize("seen", ["drives/restoring.*", "state.1.sqlite", "drives/unknown/*", "drives/*.raw"])
def test_a_restore_that_was_killed_is_run_again(tmp_path: Path, seen: str) -> None:
    state = tmp_path / "zone"
    with zone(state) as wire:
        kept = [filled(wire, b"older") for _number in range(10)]
        assert backup(state, tmp_path / "backup").returncode == 0
        later = [filled(wire, b"later") for _number in range(10)]
    (state / "drives").rename(tmp_path / "before")
    (state / "drives").mkdir()
    for drive in later:
        (tmp_path / "before" / f"{drive}.raw").rename(state / "drives" / f"{drive}.raw")
    found = set(state.glob(seen))
    arguments = ("restore", "--state", str(state), "--from", str(tmp_path / "backup"))
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    with subprocess.Popen([sys.executable, "-m", "eh_endpoint", *arguments], env=environment) as running:
        while running.poll() is None and set(state.glob(seen)) <= found:
            pass
        running.kill()
    assert restore(state, tmp_path / "backup").returncode == 0
    with zone(state) as wire:
        assert listed(wire) == set(kept)
        assert {content(wire, drive) for drive in kept} == {b"older"}
    aside = {path.stem: path.read_bytes()[:5] for path in (state / "drives" / "unknown").iterdir()}
    assert aside.items() >= dict.fromkeys(later, b"later").items()
    assert list((state / "drives").glob("restoring.*")) == []


def test_a_state_folder_that_was_copied_by_hand_is_restored_with_its_log_of_changes(tmp_path: Path) -> None:
    """After a crash of the box the latest changes are in the log of changes only."""
    with zone(tmp_path / "zone") as wire:
        drive = filled(wire, b"bytes")
        shutil.copytree(tmp_path / "zone", tmp_path / "copy")
    assert (tmp_path / "copy" / "state.sqlite-wal").stat().st_size
    copied = files(tmp_path / "copy")
    assert restore(tmp_path / "again", tmp_path / "copy").returncode == 0
    assert files(tmp_path / "copy") == copied
    with zone(tmp_path / "again") as wire:
        assert listed(wire) == {drive}
        assert content(wire, drive) == b"bytes"


def test_a_journal_of_the_old_state_does_not_damage_the_restored_one(tmp_path: Path) -> None:
    state = tmp_path / "zone"
    with zone(state) as wire:
        drives = {filled(wire, b"bytes") for _number in range(50)}
        assert backup(state, tmp_path / "backup").returncode == 0
    change_and_die(state / "state.sqlite")
    assert restore(state, tmp_path / "backup").returncode == 0
    with zone(state) as wire:
        assert listed(wire) == drives
    assert (state / "state.1.sqlite-journal").exists()


def test_a_copy_that_was_under_way_is_begun_again(tmp_path: Path) -> None:
    state = tmp_path / "zone"
    with Endpoint(state, "--imaging-seconds", "600") as endpoint, Wire(endpoint) as wire:
        source, target = filled(wire, b"bytes"), wire.drive()
        assert wire.json(f"/drives/{target}/image/{source}").status == 200
        assert backup(state, tmp_path / "backup").returncode == 0
    assert restore(tmp_path / "again", tmp_path / "backup").returncode == 0
    with zone(tmp_path / "again") as wire:
        while "imaging" in wire.json(f"/drives/{target}/info").json:
            pass
        assert content(wire, target) == b"bytes"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State folders: one that is sound, one with a damaged state, one that lacks the file of a drive."""
    made = tmp_path_factory.mktemp("folders")
    with zone(made / "zone") as wire:
        drive = filled(wire, b"bytes")
    for name in ("damaged", "without"):
        shutil.copytree(made / "zone", made / name)
    damage(made / "damaged" / "state.sqlite", 0, 4096, "random")
    (made / "without" / "drives" / f"{drive}.raw").unlink()
    return made


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("backup", ("--to", "new"), "the following arguments are required: --state"),
        ("backup", ("--state", "nowhere", "--to", "new"), "--state nowhere has no state.sqlite"),
        ("backup", ("--state", "zone", "--to", "zone"), "--to zone exists already"),
        ("backup", ("--state", "zone", "--to", "no/such/new"), "No such file or directory"),
        ("backup", ("--state", "damaged", "--to", "new"), "is damaged"),
        ("backup", ("--state", "without", "--to", "new"), "are lost: "),
        ("restore", ("--state", "zone", "--from", "nowhere"), "--from nowhere has no state.sqlite"),
        ("restore", ("--state", "zone", "--from", "without"), "lacks the files of drives"),
        ("restore", ("--state", "zone", "--from", "damaged"), "is damaged"),
    ],
)
def test_what_cannot_be_copied_is_one_sentence_and_changes_nothing(
    folders: Path, monkeypatch: pytest.MonkeyPatch, command: str, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(folders)
    before = files(folders)
    ended = run(command, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert words in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(f"eh_endpoint {command}: ")
    assert "Traceback" not in ended.stderr
    assert files(folders) == before


def test_a_full_disk_under_a_backup_leaves_nothing_half_done(tmp_path: Path) -> None:
    state = tmp_path / "zone"
    with zone(state) as wire:
        filled(wire, os.urandom(2 * MIB))
        before = files(tmp_path)
        limited = ["sh", "-c", 'ulimit -f 1024; exec "$@"', "limited"]  # in units of 512 bytes
        ended = run("backup", "--state", str(state), "--to", str(tmp_path / "backup"), before=limited)
        assert ended.returncode == 2
        assert "File too large" in ended.stderr
        assert files(tmp_path) == before
