# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of drives on a file system that can share blocks between files: they cost neither time nor room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.kvm.box import Box, until

MIB = 1 << 20


@pytest.fixture(scope="module")
def sharing(place: Path) -> Iterator[Box]:
    """A zone whose drives are on Btrfs. The file system and its loop device end with the room of the run."""
    disk, drives = place / "disk", place / "sharing" / "drives"
    drives.mkdir(parents=True)
    with disk.open("wb") as file:
        file.truncate(256 * MIB)
    subprocess.run(["mkfs.btrfs", "--quiet", str(disk)], check=True)
    mount = ["mount", "-t", "btrfs", "-o", "loop", str(disk), str(drives)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    # Asked afterwards: mounting is what brings in a file system that is a module.
    if "\tbtrfs" not in Path("/proc/filesystems").read_text() or not Path("/dev/loop-control").exists():
        pytest.skip("this kernel has no Btrfs, or no loop devices to mount one from a file")
    assert mounted.returncode == 0, mounted.stderr
    box = Box(place / "sharing", "10.178.0.0/24", uri="test:///default")
    try:
        yield box
    finally:
        box.stop()
        subprocess.run(["umount", str(drives)], check=True)


def write(box: Box, drive: str, data: bytes) -> None:
    done = requests.post(f"{box.url}/drives/{drive}/write", data=data, auth=(box.user, box.key), timeout=60)
    assert done.status_code == 204, done.text


def file(box: Box, drive: str) -> Path:
    return box.state / "drives" / f"{drive}.raw"


def own_bytes(path: Path) -> int:
    """What a file has for itself: bytes in extents that no other file shares."""
    subprocess.run(["sync", "--file-system", str(path)], check=True)
    said = subprocess.run(["filefrag", "-v", "-b1", str(path)], check=True, capture_output=True, text=True).stdout
    # "   0:        0.. 8388607:   13631488..  22020095: 8388608:             last,shared,eof"
    extents = [line.split(":") for line in said.splitlines() if line.strip()[:1].isdigit()]
    assert extents, said
    return sum(int(extent[3]) for extent in extents if "shared" not in extent[-1])


def test_a_copy_shares_its_blocks_until_one_of_them_is_written_to(sharing: Box) -> None:
    data = os.urandom(8 * MIB)
    source = str(sharing.call("/drives/create", {"size": len(data)}).json()["drive"])
    write(sharing, source, data)
    assert own_bytes(file(sharing, source)) == len(data)
    clone = str(sharing.call(f"/drives/{source}/clone", {"name": "clone"}).json()["drive"])
    larger = str(sharing.call("/drives/create", {"size": 2 * len(data)}).json()["drive"])
    assert sharing.call(f"/drives/{larger}/image/{source}").status_code == 200
    for copy in (clone, larger):
        until(lambda drive=copy: "imaging" not in sharing.call(f"/drives/{drive}/info").json(), "the copy is done")
        assert file(sharing, copy).read_bytes()[: len(data)] == data
    assert [own_bytes(file(sharing, drive)) for drive in (source, clone, larger)] == [0, 0, 0]
    assert file(sharing, larger).stat().st_size == 2 * len(data)

    write(sharing, clone, bytes([1]) * MIB)
    assert own_bytes(file(sharing, clone)) == MIB
    assert file(sharing, source).read_bytes() == data
