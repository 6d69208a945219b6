# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that is full, a real one of a few MiB in a mount namespace: what frees space works, also after a restart."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.endpoint import KEY, USER, Endpoint
from tests.unit.endpoint.conftest import Wire, eventually
from tests.unit.endpoint.state.test_lost_state import content, filled
from tests.unit.endpoint.test_endpoint_process import run

MIB = 1 << 20
MOUNT = 'mount -t tmpfs -o size="$1" none "$0" && echo mounted && exec cat'
START = ("--listen", "127.0.0.1:0", "--auth", f"{USER}:{KEY}")
"""Options of a start that is expected to fail."""


class Disk:
    """A small file system under a folder, for the commands that begin with `inside`. seen: the folder from outside."""

    def __init__(self, folder: Path, process: int) -> None:
        own_users = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        self.folder = folder
        self.inside = ["nsenter", "--target", str(process), *own_users, "--mount"]
        self.seen = Path(f"/proc/{process}/root{folder}")

    def fill(self) -> None:
        """Fill it to the last byte, as a guest or another program does that writes without asking the endpoint."""
        with (self.seen / "filler").open("ab", buffering=0) as file:
            for size in (MIB, 4096):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass

    def empty(self) -> None:
        (self.seen / "filler").unlink()


@contextmanager
def small_disk(folder: Path, size: str = "48m") -> Iterator[Disk]:
    folder.mkdir()
    own_users = [] if os.geteuid() == 0 else ["--map-root-user", "--user"]
    command = ["unshare", "--mount", "--propagation", "private", *own_users, "sh", "-c", MOUNT, str(folder), size]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        if holder.stdout.readline() != b"mounted\n":
            pytest.skip("this machine gives us no mount namespace (unshare --mount)")
        try:
            yield Disk(folder, holder.pid)
        finally:
            holder.stdin.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "zone") as small:
        yield small


def written_until_full(wire: Wire, drive: str) -> int:
    """Write to a sparse drive until its disk is full; return the bytes that were taken."""
    for number in range(1000):
        answer = wire.send("POST", f"/drives/{drive}/write/{number * MIB}", os.urandom(MIB))
        if answer.status != 204:
            assert answer.error == (507, "full")
            assert "no space" in answer.text
            return number * MIB
    raise AssertionError("the disk has room without end")


def change_a_lot(wire: Wire, drive: str) -> None:
    for number in range(300):
        assert wire.json(f"/drives/{drive}/set", {"name": f"name {number}", "user:long": "x" * 4000}).status == 200
        server = wire.json("/servers/create/stopped", {"name": "x" * 70, "cpu": 500, "mem": 500, "ide:0:0": drive})
        assert server.status == 200
        assert wire.send("POST", f"/servers/{server.json['server']}/destroy").status == 204


@pytest.mark.parametrize("by", ["a sparse drive", "others"])
def test_what_frees_space_works_on_a_full_disk_and_after_a_restart(disk: Disk, by: str) -> None:
    with Endpoint(disk.folder, "--reserve", "8M", before=disk.inside) as endpoint, Wire(endpoint) as wire:
        large, small = wire.drive(size="1G"), filled(wire, b"bytes")
        if by == "others":
            disk.fill()
        taken = written_until_full(wire, large)
        assert "no space" in endpoint.log.read_text()
        for end in (endpoint.stop, endpoint.kill):
            change_a_lot(wire, large)
            assert wire.json(f"/drives/{large}/set", {"size": "2G"}).status == 200
            assert wire.json("/drives/create", {"name": "x", "size": "4M"}).error == (507, "full")
            end()
            wire.close()
            endpoint.start()
            assert content(wire, small) == b"bytes"
        assert "Traceback" not in endpoint.log.read_text()
        assert wire.send("POST", f"/drives/{large}/destroy").status == 204
        if by == "others":
            disk.empty()
        more = wire.drive(size="1G")
        assert written_until_full(wire, more) > taken // 2
        assert (disk.seen / "reserve").stat().st_blocks * 512 >= 8 * MIB


def test_space_is_kept_as_soon_as_there_is_some(disk: Disk) -> None:
    disk.fill()
    with (disk.seen / "filler").open("ab") as file:
        file.truncate((disk.seen / "filler").stat().st_size - MIB)
    with Endpoint(disk.folder, "--reserve", "8M", before=disk.inside) as endpoint, Wire(endpoint) as wire:
        assert wire.json("/drives/create", {"name": "x", "size": "4M"}).error == (507, "full")
        assert "--reserve" in endpoint.log.read_text()
        disk.empty()
        filled(wire, b"bytes")
        assert (disk.seen / "reserve").stat().st_size == 8 * MIB


def test_a_disk_that_was_full_before_the_first_start_is_one_sentence(disk: Disk) -> None:
    disk.fill()
    for option in ("0", "8M"):
        ended = run("--state", str(disk.folder), "--reserve", option, *START, before=disk.inside)
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended.stderr
        assert "eh_endpoint: the state" in ended.stderr


def test_a_copy_that_fills_the_disk_says_so(disk: Disk) -> None:
    with Endpoint(disk.folder, "--reserve", "8M", before=disk.inside) as endpoint, Wire(endpoint) as wire:
        source, target = wire.drive(size="1G"), wire.drive(size="1G")
        half = written_until_full(wire, source)
        assert wire.send("POST", f"/drives/{source}/destroy").status == 204
        source = wire.drive(size="1G")
        for number in range(half // MIB * 3 // 4):
            assert wire.send("POST", f"/drives/{source}/write/{number * MIB}", os.urandom(MIB)).status == 204
        assert wire.json(f"/drives/{target}/image/{source}").status == 200
        eventually(lambda: "imaging" not in wire.json(f"/drives/{target}/info").json)
        failed = f"imaging of drive {target} failed: The disk under the drives has no space left"
        assert failed in endpoint.log.read_text()
        assert wire.send("POST", f"/drives/{target}/destroy").status == 204
        assert wire.send("POST", f"/drives/{source}/write", b"bytes").status == 204


def test_a_standard_drive_that_has_no_room_leaves_nothing(disk: Disk) -> None:
    with Endpoint(disk.folder, "--reserve", "8M", before=disk.inside) as endpoint, Wire(endpoint) as wire:
        written_until_full(wire, wire.drive(size="1G"))
        standard = wire.send("GET", "/drives/list/standard", Accept="application/json").json[0]["uuid"]
        assert wire.send("GET", f"/drives/{standard}/read/0/512").error == (507, "full")
        assert list((disk.seen / "standard").iterdir()) == []


def test_a_reserve_that_is_no_size_is_one_sentence(tmp_path: Path) -> None:
    ended = run("--state", str(tmp_path / "zone"), "--reserve", "much", *START)
    assert (ended.returncode, ended.stderr) == (
        2,
        "eh_endpoint: --reserve: 'much' is not a size in bytes, like 256M or 0\n",
    )
