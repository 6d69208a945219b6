# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A state file that is lost, older than the drives, or damaged costs no drive its bytes."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.endpoint import KEY, USER, Endpoint
from tests.support.extent import WHOLE
from tests.unit.endpoint.conftest import Wire, as_format_1
from tests.unit.endpoint.test_endpoint_process import run

MIB = 1 << 20
STEP = 1 if WHOLE else 7
"""every STEPth damage is tried; 7 has no factor in common with the 6 kinds of damage to a page"""


@contextlib.contextmanager
def zone(state: Path) -> Iterator[Wire]:
    with Endpoint(state) as endpoint, Wire(endpoint) as wire:
        yield wire


def content(wire: Wire, drive: str, size: int = 5) -> bytes:
    return wire.send("GET", f"/drives/{drive}/read/0/{size}").content


def listed(wire: Wire) -> set[str]:
    return {row["uuid"] for row in wire.send("GET", "/drives/list", Accept="application/json").json}


def filled(wire: Wire, data: bytes) -> str:
    drive = wire.drive()
    assert wire.send("POST", f"/drives/{drive}/write", data).status == 204
    return drive


def log(state: Path) -> str:
    return (state.parent / f"{state.name}.log").read_text()


@pytest.mark.parametrize("left", ["nothing", "an empty file", "no tables"])
def test_drives_of_a_state_that_was_lost_are_set_aside_and_come_back_with_it(tmp_path: Path, left: str) -> None:
    state = tmp_path / "zone"
    with zone(state) as wire:
        drive = filled(wire, b"bytes")
    (state / "state.sqlite").rename(tmp_path / "kept.sqlite")
    if left == "an empty file":
        (state / "state.sqlite").touch()
    if left == "no tables":  # a process that was killed before it made them
        with contextlib.closing(sqlite3.connect(state / "state.sqlite")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
    with zone(state) as wire:
        assert listed(wire) == set()
        assert wire.send("GET", f"/drives/{drive}/info").status == 404
    aside = state / "drives" / "unknown" / f"{drive}.raw"
    assert aside.read_bytes()[:5] == b"bytes"
    assert f"{aside}: the state names no drive {drive}, so its file was set aside" in log(state)
    (tmp_path / "kept.sqlite").replace(state / "state.sqlite")
    with zone(state) as wire:
        assert content(wire, drive) == b"bytes"
    assert not aside.exists()


def test_an_older_state_sets_newer_drives_aside_and_cuts_none(tmp_path: Path) -> None:
    state = tmp_path / "zone"
    with zone(state) as wire:
        grown = filled(wire, b"first")
    shutil.copy(state / "state.sqlite", tmp_path / "older.sqlite")
    with zone(state) as wire:
        assert wire.json(f"/drives/{grown}/set", {"size": 16 * MIB}).status == 200
        assert wire.send("POST", f"/drives/{grown}/write/{12 * MIB}", b"later").status == 204
        newer = filled(wire, b"newer")
    shutil.copy(tmp_path / "older.sqlite", state / "state.sqlite")
    with zone(state) as wire:
        assert listed(wire) == {grown}
        assert f"drive {grown}: its file has {16 * MIB} bytes, and the state says {8 * MIB}" in log(state)
        assert wire.json(f"/drives/{grown}/set", {"size": 16 * MIB}).status == 200
        assert wire.send("GET", f"/drives/{grown}/read/{12 * MIB}/5").content == b"later"
    assert (state / "drives" / "unknown" / f"{newer}.raw").read_bytes()[:5] == b"newer"


def test_a_drive_without_its_file_is_told_of(tmp_path: Path) -> None:
    state = tmp_path / "zone"
    with zone(state) as wire:
        drive = filled(wire, b"bytes")
    (state / "drives" / f"{drive}.raw").unlink()
    with zone(state) as wire:
        assert content(wire, drive) == bytes(5)
    assert f"drive {drive}: its file was lost, and it is empty now" in log(state)


def test_files_that_are_set_aside_replace_none(tmp_path: Path) -> None:
    state = tmp_path / "zone"
    aside = state / "drives" / "unknown"
    aside.mkdir(parents=True)
    (aside / "x.raw").write_bytes(b"older")
    (state / "drives" / "x.raw").write_bytes(b"newer")
    (state / "drives" / "notes.txt").write_bytes(b"mine")
    with zone(state) as wire:
        assert listed(wire) == set()
    assert sorted(path.read_bytes() for path in aside.iterdir()) == [b"newer", b"older"]
    assert (state / "drives" / "notes.txt").exists()


def test_a_removal_that_a_killed_process_noted_is_done_at_the_next_start(tmp_path: Path) -> None:
    state = tmp_path / "zone"
    with zone(state) as wire:
        gone, kept = filled(wire, b"gone"), filled(wire, b"kept")
        # unlink() of a folder fails, as that of a file does on a disk that has become read-only
        file = state / "drives" / f"{gone}.raw"
        file.unlink()
        (file / "in the way").mkdir(parents=True)
        assert wire.send("POST", f"/drives/{gone}/destroy").status == 204
        assert f"the file of drive {gone} cannot be removed now" in log(state)
    shutil.rmtree(file)
    file.write_bytes(b"gone")
    with zone(state) as wire:
        assert listed(wire) == {kept}
    assert not file.exists()
    assert not (state / "drives" / "unknown").exists()


@pytest.mark.parametrize("written", [b"", b"bytes"])
def test_an_older_state_of_the_moment_in_which_a_drive_was_made_removes_no_byte(tmp_path: Path, written: bytes) -> None:
    state = tmp_path / "zone"
    with zone(state):
        pass
    uuid = "22222222-2222-4333-8444-555555555555"
    with contextlib.closing(sqlite3.connect(state / "state.sqlite")) as database:
        database.execute("INSERT INTO removed VALUES (?, 1)", (uuid,))
        database.commit()
    file = state / "drives" / f"{uuid}.raw"
    file.write_bytes(written)
    os.truncate(file, 4 * MIB)
    with zone(state) as wire:
        assert listed(wire) == set()
    assert not file.exists()
    assert (state / "drives" / "unknown" / file.name).exists() == bool(written)


def test_a_state_of_the_older_format_is_taken_over(tmp_path: Path) -> None:
    state = tmp_path / "zone"
    with zone(state) as wire:
        drive = filled(wire, b"bytes")
    as_format_1(state / "state.sqlite")
    for _start in range(2):
        with zone(state) as wire:
            assert content(wire, drive) == b"bytes"
            assert wire.json(f"/drives/{drive}/set", {"name": "another"}).status == 200


def damages(pages: int, size: int) -> list[tuple[int, str]]:
    """Every page with every kind of damage, in a random order that is always the same."""
    kinds = ("zeros", "ones", "random", "bit", "swap", "cut")
    found = [(page, kind) for page in range(pages) for kind in kinds]
    random.Random(7).shuffle(found)
    return found


def damage(file: Path, page: int, size: int, kind: str) -> None:
    data = bytearray(file.read_bytes())
    source = random.Random(f"{page} {kind}")
    begin, end = page * size, (page + 1) * size
    if kind == "cut":
        data = data[: begin + size // 2]
    elif kind == "bit":
        used = [at for at in range(begin, end) if data[at]]
        at = source.choice(used or [begin])
        data[at] ^= 1 << source.randrange(8)
    elif kind == "swap":
        other = (page + 1) * size % len(data)
        data[begin:end], data[other : other + size] = data[other : other + size], data[begin:end]
    else:
        data[begin:end] = {"zeros": bytes(size), "ones": b"\xff" * size, "random": source.randbytes(size)}[kind]
    file.write_bytes(data)


def files(folder: Path) -> dict[str, bytes]:
    """The files of a state folder that hold bytes, without the index that SQLite makes of the log of changes."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    held = {name: path.read_bytes() for name, path in found.items() if not name.endswith("-shm")}
    return {name: data for name, data in held.items() if data}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with drives, servers, and long documents that fill pages of their own."""
    state = tmp_path_factory.mktemp("sound") / "zone"
    with zone(state) as wire:
        for number in range(30):
            drive = wire.drive(name=f"drive {number}", size=MIB)
            wire.server("create/stopped", name=f"server {number}", ide__0__0=drive, persistent="true")
        wire.server("create/stopped", **{f"user__{number}": "long " * 200 for number in range(20)})
    return state


def described(state: Path) -> tuple[str, str]:
    with zone(state) as wire:
        return wire.send("GET", "/drives/info").text, wire.send("GET", "/servers/info").text


def test_a_damaged_state_is_one_sentence_and_nothing_is_touched(tmp_path: Path, sound: Path) -> None:
    """Any damage is either found before anything is changed, or it has hit no byte that means anything."""
    before = described(sound)
    sound_files = files(sound)
    size = 4096
    refused = 0
    for page, kind in list(damages(len(sound_files["state.sqlite"]) // size, size))[::STEP]:
        state = tmp_path / f"{page}-{kind}"
        shutil.copytree(sound, state)
        damage(state / "state.sqlite", page, size, kind)
        damaged = files(state)
        if damaged == sound_files:
            continue
        arguments = ("--listen", "127.0.0.1:0", "--auth", f"{USER}:{KEY}", "--request-log", "/no/such/folder/log")
        ended = run("--state", str(state), *arguments)
        if "the request log" in ended.stderr:  # the next thing that it does after it has read the state
            assert described(state) == before, (page, kind)
        else:
            refused += 1
            assert (ended.returncode, ended.stdout) == (2, ""), (page, kind, ended.stderr)
            assert ended.stderr.startswith(f"eh_endpoint: the state file {state / 'state.sqlite'} "), (page, kind)
            assert ended.stderr.count("\n") == 1, (page, kind, ended.stderr)
            assert files(state) == damaged, (page, kind)
        shutil.rmtree(state)
    assert refused > 5


def test_what_a_killed_process_left_in_the_log_of_changes_is_not_lost_with_its_file(tmp_path: Path) -> None:
    state = tmp_path / "zone"
    endpoint = Endpoint(state)
    with Wire(endpoint) as wire:
        drive = filled(wire, b"bytes")
    endpoint.kill()
    assert (state / "state.sqlite-wal").stat().st_size
    kept = (state / "state.sqlite").read_bytes()
    os.truncate(state / "state.sqlite", 0)
    damaged = files(state)
    ended = run("--state", str(state), "--listen", "127.0.0.1:0", "--auth", f"{USER}:{KEY}")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "state.sqlite-wal" in ended.stderr
    assert files(state) == damaged
    (state / "state.sqlite").write_bytes(kept)
    with zone(state) as wire:
        assert content(wire, drive) == b"bytes"


def test_a_damaged_log_of_changes_that_has_the_whole_state_is_one_sentence(tmp_path: Path) -> None:
    """SQLite ignores it, so that the state looks like one that was never written."""
    state = tmp_path / "zone"
    endpoint = Endpoint(state)
    with Wire(endpoint) as wire:
        filled(wire, b"bytes")
    endpoint.kill()
    damage(state / "state.sqlite-wal", 0, 4096, "random")
    damaged = files(state)
    ended = run("--state", str(state), "--listen", "127.0.0.1:0", "--auth", f"{USER}:{KEY}")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "is damaged (its log of changes" in ended.stderr
    assert files(state) == damaged


CHANGE_AND_DIE = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = DELETE")
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN")
connection.execute("UPDATE objects SET document = document || ' '")
os._exit(0)
"""


def change_and_die(file: Path) -> None:
    subprocess.run([sys.executable, "-c", CHANGE_AND_DIE, file], check=True)
    assert file.with_name(f"{file.name}-journal").stat().st_size


def test_a_change_that_a_killed_process_began_without_the_log_of_changes_is_undone(tmp_path: Path, sound: Path) -> None:
    """As the first start after a restore, which turns that log on."""
    before = described(sound)
    state = tmp_path / "zone"
    shutil.copytree(sound, state)
    change_and_die(state / "state.sqlite")
    assert described(state) == before


def test_a_log_of_changes_without_a_change_is_not_damaged(tmp_path: Path) -> None:
    state = tmp_path / "zone"
    with contextlib.closing(sqlite3.connect(tmp_path / "new.sqlite")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE one (two)")
        state.mkdir()
        head = (tmp_path / "new.sqlite-wal").read_bytes()[:32]
    with contextlib.closing(sqlite3.connect(state / "state.sqlite")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    (state / "state.sqlite-wal").write_bytes(head)
    with zone(state) as wire:
        assert listed(wire) == set()
