# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images and clones: golden answers, claims, states, order, durability, memory (elastichosts-api 2.1, 4.3, 7, 8)."""

from __future__ import annotations

import gzip
import os
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eh_endpoint.state import streams
from tests.support.endpoint import Endpoint
from tests.unit.endpoint.conftest import Control, Wire, eventually, peak_memory

UBUNTU = "62f512cd-82c7-498e-88d8-a09ac2ef20e7"
CDROM = "e58ad21f-c53f-47a1-95bd-c6d614a59d2d"
SECONDS = 1000.0
MIB = 1 << 20


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """Copies take 1000 seconds of a clock that the tests move."""
    arguments = ("--imaging-seconds", str(SECONDS), "--control", "127.0.0.1:0")
    with Endpoint(tmp_path_factory.mktemp("slow"), *arguments) as running:
        yield running


@pytest.fixture
def clock(slow: Endpoint) -> Iterator[Control]:
    """Moves the clock, and in the end lets whatever is still under way end."""
    with Control(slow) as control:
        yield control
        with Wire(slow) as wire:
            eventually(lambda: control.advance(SECONDS) and imaged(wire))


def imaged(wire: Wire) -> bool:
    return not [drive for drive in wire.json("/drives/info").json if "imaging" in drive]


def done(wire: Wire, drive: str) -> dict[str, Any]:
    """The drive's info, once it is neither imaged nor claimed."""
    found: dict[str, Any] = eventually(
        lambda: (info := wire.json(f"/drives/{drive}/info").json) and not {"imaging", "claimed"} & set(info) and info
    )
    return found


def filled(wire: Wire, data: bytes, size: str = "8M") -> str:
    drive = wire.drive(size=size)
    assert wire.send("POST", f"/drives/{drive}/write", data).status == 204
    return drive


def content(wire: Wire, drive: str) -> bytes:
    return (wire.endpoint.state / "drives" / f"{drive}.raw").read_bytes()


DATA = random.Random(7).randbytes(700_000) + bytes(2 * MIB) + b"the end"


def test_image_copies_raw_and_answers_the_drive_claimed_by_its_source(wire: Wire) -> None:
    source, target = filled(wire, DATA), filled(wire, b"\xff" * 8 * MIB)
    answer = wire.json(f"/drives/{target}/image/{source}")
    assert (answer.status, answer.headers["x-elastic-output"]) == (200, "properties")
    assert answer.json["drive"] == target
    assert answer.json["claimed"] == source
    assert answer.json["imaging"] in ("true", "queued")
    done(wire, target)
    assert content(wire, target) == DATA.ljust(8 * MIB, b"\0")
    assert "claimed" not in wire.json(f"/drives/{source}/info").json


def test_image_answers_in_text_too(wire: Wire) -> None:
    target = wire.drive(size="1G")
    answer = wire.send("POST", f"/drives/{target}/image/{UBUNTU}/gunzip")
    assert answer.status == 200
    assert f"\ndrive {target}\n" in answer.text
    assert "\nimaging true\n" in answer.text
    done(wire, target)


def test_gunzip_expands_and_gzip_compresses(wire: Wire) -> None:
    packed, target, again = filled(wire, gzip.compress(DATA)), filled(wire, b"\xff" * 4 * MIB), wire.drive()
    assert wire.send("POST", f"/drives/{target}/image/{packed}/gunzip").status == 200
    done(wire, target)
    assert content(wire, target) == DATA + b"\xff" * (4 * MIB - len(DATA)) + bytes(4 * MIB)
    assert wire.send("POST", f"/drives/{again}/image/{target}/gzip").status == 200
    done(wire, again)
    assert gzip.decompress(content(wire, again).rstrip(b"\0") + bytes(8)) == content(wire, target)


def test_a_standard_disk_expands_to_what_its_gzip_holds(wire: Wire) -> None:
    by_call, by_hand = wire.drive(size="1G"), wire.drive(size="1G")
    wire.send("POST", f"/drives/{by_call}/image/{UBUNTU}/gunzip")
    raw = wire.drive(size="256M")
    wire.send("POST", f"/drives/{raw}/image/{UBUNTU}")
    done(wire, raw)
    wire.send("POST", f"/drives/{by_hand}/image/{raw}/gunzip")
    for drive in (by_call, by_hand):
        done(wire, drive)
        path = wire.endpoint.state / "drives" / f"{drive}.raw"
        with path.open("rb") as file:
            assert b"Precise Pangolin" in file.read(512)
        assert path.stat().st_blocks * 512 <= MIB, "zeros take no room"


def test_clone_makes_the_drive_itself(wire: Wire) -> None:
    answer = wire.json(f"/drives/{UBUNTU}/clone/gunzip", {"name": "c", "size": 10 << 30, "tier": "ssd"})
    assert answer.status == 200
    found = answer.json
    assert (found["name"], found["size"], found["tier"], found["claimed"]) == ("c", 10 << 30, "ssd", UBUNTU)
    done(wire, found["drive"])
    source = filled(wire, DATA)
    as_text = wire.text(f"/drives/{source}/clone", "name copy")
    copy = dict(line.split(" ", 1) for line in as_text.text.splitlines())
    assert (copy["name"], copy["size"]) == ("copy", str(8 * MIB))
    done(wire, copy["drive"])
    assert content(wire, copy["drive"]) == content(wire, source)
    assert wire.json(f"/drives/{UBUNTU}/clone/gunzip").json["size"] == 1 << 30


def test_both_ends_are_claimed_and_the_target_is_busy(slow: Endpoint, clock: Control) -> None:
    with Wire(slow) as wire:
        source, target, other = wire.drive(), wire.drive(), wire.drive()
        assert wire.json(f"/drives/{target}/image/{source}").json["imaging"] == "true"
        assert wire.json(f"/drives/{source}/info").json["claimed"] == target
        assert wire.json(f"/drives/{target}/info").json["claimed"] == source
        body = {"cpu": 500, "mem": 500}
        refused = {
            "start with the target": wire.json("/servers/create", {**body, "ide:0:0": target}),
            "start with the source": wire.json("/servers/create", {**body, "ide:0:0": source}),
            "write": wire.send("POST", f"/drives/{target}/write", b"x"),
            "write to the source": wire.send("POST", f"/drives/{source}/write", b"x"),
            "destroy": wire.send("POST", f"/drives/{target}/destroy"),
            "destroy the source": wire.send("POST", f"/drives/{source}/destroy"),
            "resize": wire.json(f"/drives/{target}/set", {"size": "16M"}),
            "second image": wire.json(f"/drives/{target}/image/{other}"),
            "image from the target": wire.json(f"/drives/{other}/image/{target}"),
            "clone of the target": wire.json(f"/drives/{target}/clone", {"name": "x"}),
        }
        assert {what: answer.error for what, answer in refused.items()} == dict.fromkeys(refused, (409, "busy"))
        assert wire.json(f"/drives/{target}/set", {"name": "renamed"}).json["imaging"] == "true"
        assert wire.send("GET", f"/drives/{source}/read/0/1").status == 200
        eventually(lambda: clock.advance(SECONDS) and imaged(wire))
        found = done(wire, target)
        assert found["name"] == "renamed"
        assert "claimed" not in wire.json(f"/drives/{source}/info").json


def test_a_standard_source_shows_its_claim_to_the_caller_alone(slow: Endpoint, clock: Control) -> None:
    with Wire(slow) as wire:
        target = wire.drive(size="1G")
        wire.json(f"/drives/{target}/image/{UBUNTU}/gunzip")
        assert wire.json(f"/drives/{UBUNTU}/info").json["claimed"] == target
        shown = {info["drive"]: info for info in wire.json("/drives/info/standard").json}
        assert shown[UBUNTU]["claimed"] == target
        assert clock.offset >= 0


def test_the_percentage_is_in_full_info_and_one_copy_runs_at_a_time(slow: Endpoint, clock: Control) -> None:
    with Wire(slow) as wire:
        first, second = wire.drive(size="1G"), wire.drive(size="1G")
        wire.json(f"/drives/{first}/image/{UBUNTU}/gunzip")
        assert wire.json(f"/drives/{second}/image/{UBUNTU}/gunzip").json["imaging"] == "queued"
        assert wire.json(f"/drives/{first}/info/full").json["imaging"] == "0%"
        clock.advance(SECONDS * 0.43)
        eventually(lambda: wire.json(f"/drives/{first}/info/full").json["imaging"] == "43%")
        assert wire.json(f"/drives/{first}/info").json["imaging"] == "true"
        full = {drive["drive"]: drive for drive in wire.json("/drives/info/full").json}
        plain = {drive["drive"]: drive for drive in wire.json("/drives/info").json}
        assert (full[first]["imaging"], full[second]["imaging"]) == ("43%", "queued")
        assert (plain[first]["imaging"], plain[second]["imaging"]) == ("true", "queued")
        clock.advance(SECONDS * 0.57)
        eventually(lambda: "imaging" not in wire.json(f"/drives/{first}/info").json)
        assert wire.json(f"/drives/{second}/info").json["imaging"] == "true"
        assert wire.json(f"/drives/{second}/info/full").json["imaging"] == "0%"


def test_the_old_platform_answers_204_and_shows_the_percentage_everywhere(tmp_path: Path) -> None:
    arguments = ("--platform", "old", "--imaging-seconds", "100", "--control", "127.0.0.1:0")
    with Endpoint(tmp_path / "old", *arguments) as old, Wire(old) as wire, Control(old) as clock:
        drive, second = (wire.json("/drives/create", {"name": "x", "size": "1G"}).json["drive"] for _number in "ab")
        answer = wire.send("POST", f"/drives/{drive}/image/{UBUNTU}/gunzip")
        assert (answer.status, answer.content) == (204, b"")
        wire.send("POST", f"/drives/{second}/image/{UBUNTU}/gunzip")
        clock.advance(50)
        eventually(lambda: 50 <= int(wire.json(f"/drives/{drive}/info").json["imaging"].rstrip("%")) < 60)
        assert wire.json(f"/drives/{second}/info").json["imaging"] == "queued"
        assert wire.json(f"/drives/{UBUNTU}/clone/gunzip", {"name": "x"}).error == (404, "missing")


@pytest.mark.parametrize(
    ("source", "conversion", "error", "words"),
    [
        ("00000000-0000-4000-8000-000000000000", "", (404, "missing"), "00000000-0000-4000-8000-000000000000"),
        (UBUNTU, "/gunzip", (507, "full"), "expands to 1073741824 bytes"),
        (UBUNTU, "", (507, "full"), "201326592 bytes"),
        (CDROM, "/gunzip", (400, "usage"), "invalid source"),
        ("itself", "", (400, "usage"), "itself"),
        ("plain", "/gunzip", (400, "usage"), "does not hold gzip"),
        (UBUNTU, "/bunzip2", (404, "missing"), "no call"),
    ],
)
def test_a_copy_that_cannot_be_is_refused_at_once(
    wire: Wire, source: str, conversion: str, error: tuple[int, str], words: str
) -> None:
    drive = wire.drive()
    named = {"itself": drive, "plain": filled(wire, b"plain")}.get(source, source)
    answer = wire.send("POST", f"/drives/{drive}/image/{named}{conversion}")
    assert answer.error == error
    assert words in answer.text
    assert not {"imaging", "claimed"} & set(wire.json(f"/drives/{drive}/info").json)


@pytest.mark.parametrize("packed", [gzip.compress(DATA)[:-9], gzip.compress(bytes(9 * MIB))], ids=["cut off", "bomb"])
def test_a_copy_that_fails_ends_with_a_line_in_the_log_and_within_the_drive(wire: Wire, packed: bytes) -> None:
    source, target = filled(wire, packed), wire.drive()
    assert wire.send("POST", f"/drives/{target}/image/{source}/gunzip").status == 200
    done(wire, target)
    assert f"imaging of drive {target} failed: Drive " in wire.endpoint.log.read_text()
    assert len(content(wire, target)) == 8 * MIB
    assert wire.send("POST", f"/drives/{target}/destroy").status == 204


def test_a_copy_that_was_killed_is_begun_again(tmp_path: Path) -> None:
    arguments = ("--imaging-seconds", "1000", "--control", "127.0.0.1:0")
    with Endpoint(tmp_path / "killed", *arguments) as running:
        with Wire(running) as wire:
            source = filled(wire, gzip.compress(DATA))
            first, second = wire.drive(), wire.drive()
            for target in (first, second):
                wire.json(f"/drives/{target}/image/{source}/gunzip")
        running.kill()
        (running.state / "drives" / f"{first}.raw").write_bytes(b"half of it")
        running.start()
        with Wire(running) as wire, Control(running) as clock:
            assert wire.json(f"/drives/{first}/info").json["imaging"] == "true"
            assert wire.json(f"/drives/{second}/info").json["imaging"] == "queued"
            assert set(wire.json(f"/drives/{source}/info").json["claimed"].split()) == {first, second}
            eventually(lambda: clock.advance(1000) and imaged(wire))
            for target in (first, second):
                assert content(wire, target) == DATA.ljust(8 * MIB, b"\0")


def test_a_copy_of_a_large_drive_takes_no_memory_and_delays_nobody(wire: Wire) -> None:
    block = os.urandom(4 * MIB)
    source = wire.drive(size="64M")
    for number in range(16):
        wire.send("POST", f"/drives/{source}/write/{number * len(block)}", block)
    before = peak_memory(wire.endpoint.pid)
    targets = [wire.json(f"/drives/{source}/clone{way}", {"size": "80M"}).json["drive"] for way in ("", "")]
    packed = wire.drive(size="80M")
    wire.send("POST", f"/drives/{packed}/image/{source}/gzip")
    answered = 0
    while "imaging" in wire.json(f"/drives/{packed}/info").json:
        answered += 1
    assert answered > 20
    assert peak_memory(wire.endpoint.pid) - before < 24 * MIB
    for target in targets:
        done(wire, target)
        assert wire.send("GET", f"/drives/{target}/read/{60 * MIB}/4M").content == block


def test_a_2_tb_drive_is_copied_without_its_holes(wire: Wire) -> None:
    source, target = wire.drive(size="2T"), wire.drive(size="2T")
    wire.send("POST", f"/drives/{source}/write/{(2 << 40) - 3}", b"end")
    wire.send("POST", f"/drives/{target}/image/{source}")
    done(wire, target)
    path = wire.endpoint.state / "drives" / f"{target}.raw"
    assert path.stat().st_blocks * 512 < MIB
    assert wire.send("GET", f"/drives/{target}/read/{(2 << 40) - 3}/3").content == b"end"


PIECES = st.lists(st.one_of(st.binary(max_size=300), st.integers(0, 3000)), max_size=20)


def joined(pieces: Any) -> bytes:
    return b"".join(bytes(piece) if isinstance(piece, int) else piece for piece in pieces)


@given(PIECES)
def test_any_pieces_round_trip_through_gzip(pieces: list[streams.Piece]) -> None:
    packed = joined(streams.gzipped(pieces))
    assert (gzip.decompress(packed) if packed else b"") == joined(pieces)
    assert joined(streams.gunzipped([packed, 5000])) == joined(pieces)


@given(st.binary(max_size=4000), st.lists(st.integers(1, 900), max_size=8), st.integers(0, 9))
def test_gzip_may_come_in_any_pieces(data: bytes, cuts: list[int], level: int) -> None:
    packed = zlib.compressobj(level, wbits=31)
    left = packed.compress(data) + packed.flush()
    pieces: list[bytes] = []
    for cut in cuts:
        pieces.append(left[:cut])
        left = left[cut:]
    assert joined(streams.gunzipped([*pieces, left])) == data


def test_a_member_that_ends_on_a_full_piece_is_not_cut() -> None:
    for size in (streams.PIECE, streams.PIECE * 2, streams.PIECE + 1, streams.PIECE - 1):
        assert sum(map(len, streams.Gunzip().feed(gzip.compress(bytes(size))))) == size


@given(PIECES)
def test_holes_of_files_are_kept(tmp_path_factory: pytest.TempPathFactory, pieces: list[streams.Piece]) -> None:
    path = tmp_path_factory.mktemp("holes") / "file"
    whole = joined(pieces)
    path.write_bytes(whole)
    assert joined(streams.stored(path, len(whole) + 10)) == whole + bytes(10)
