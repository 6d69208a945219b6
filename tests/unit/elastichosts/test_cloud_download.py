# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drives into files: every byte, none twice, and not again while nothing was written."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import stat
import threading
from pathlib import Path

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import download, errors
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import ElasticHosts
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.clock import Clock, Deadline
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.drives import Drive
from tests.support.block_device import block_device
from tests.support.endpoint import Endpoint
from tests.unit.elastichosts.scripted import FakeClock, Relay, hang, says

CHUNK = 512 * 1024
SIZE = 8 * CHUNK
READS = "GET /drives/.*/read/.*"


def filled(client: ElasticHosts) -> tuple[Drive, bytes]:
    data = os.urandom(SIZE)
    drive = client.drives.create({"name": "root", "size": "4M"})
    client.drives.write(drive.uuid, 0, data)
    return client.drives.get(drive.uuid), data


def test_a_drive_arrives_whole_and_for_its_owner_only(cloud: ElasticHosts, tmp_path: Path) -> None:
    drive, data = filled(cloud)
    path, seen = tmp_path / "disk.img", []
    done = download.download(cloud, drive, path, chunk=CHUNK, progress=lambda *state: seen.append(state))
    assert path.read_bytes() == data
    assert done == (True, SIZE, hashlib.sha256(data).hexdigest())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert seen == [(n * CHUNK, SIZE) for n in range(1, 9)]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["disk.img", "disk.img.elastichosts"]


def test_a_current_file_costs_no_bytes(relayed: ElasticHosts, relay: Relay, tmp_path: Path) -> None:
    drive, _data = filled(relayed)
    first = download.download(relayed, drive, tmp_path / "disk.img", chunk=CHUNK)
    relay.calls.clear()
    again = download.download(relayed, relayed.drives.get(drive.uuid), tmp_path / "disk.img", chunk=CHUNK)
    assert again == (False, 0, first.sha256)
    assert relay.count(READS) == 0


@pytest.mark.parametrize("where", ["drive", "file", "note"])
def test_what_was_written_since_makes_a_file_old(cloud: ElasticHosts, tmp_path: Path, where: str) -> None:
    drive, data = filled(cloud)
    path = tmp_path / "disk.img"
    download.download(cloud, drive, path, chunk=CHUNK)
    if where == "drive":
        cloud.drives.write(drive.uuid, 0, b"new")
        data = b"new" + data[3:]
    elif where == "file":
        path.write_bytes(b"other")
    else:
        path.with_name("disk.img.elastichosts").write_text("garbage")
    assert download.download(cloud, cloud.drives.get(drive.uuid), path, chunk=CHUNK).changed
    assert path.read_bytes() == data


def test_a_cut_download_reads_at_most_the_chunks_in_flight_again(
    relayed: ElasticHosts, relay: Relay, tmp_path: Path
) -> None:
    drive, data = filled(relayed)
    relay.on(f"GET /drives/.*/read/{5 * CHUNK}/.*", says(404, "missing"))
    path = tmp_path / "disk.img"
    with pytest.raises(errors.MissingError):
        download.download(relayed, drive, path, chunk=CHUNK, workers=2)
    assert not path.exists()
    relay.rules.clear()
    relay.calls.clear()
    done = download.download(relayed, drive, path, chunk=CHUNK, workers=2)
    assert done.received == 3 * CHUNK
    assert relay.count(READS) == 3
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    "note", [{"length": 10**12}, {"length": -1}, {"length": "x"}, {"sha256": "0"}, {"content": {}}]
)
def test_a_note_that_is_wrong_does_no_harm(
    relayed: ElasticHosts, relay: Relay, tmp_path: Path, note: dict[str, object]
) -> None:
    drive, data = filled(relayed)
    relay.on(f"GET /drives/.*/read/{5 * CHUNK}/.*", says(404, "missing"))
    path = tmp_path / "disk.img"
    with pytest.raises(errors.MissingError):
        download.download(relayed, drive, path, chunk=CHUNK)
    relay.rules.clear()
    file = tmp_path / "disk.img.part.elastichosts"
    file.write_text(json.dumps({**json.loads(file.read_text()), **note}))
    assert download.download(relayed, drive, path, chunk=CHUNK).received == SIZE
    assert path.read_bytes() == data


def test_a_drive_in_use_is_not_read(cloud: ElasticHosts, tmp_path: Path) -> None:
    drive, _data = filled(cloud)
    server = cloud.servers.create({"cpu": "500", "mem": "512", "persistent": "true", "ide:0:0": drive.uuid})
    with pytest.raises(errors.Refused, match=f"in use by {server.uuid}, and would change while it is read"):
        download.download(cloud, cloud.drives.get(drive.uuid), tmp_path / "disk.img")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(cloud: ElasticHosts, tmp_path: Path) -> None:
    drive, _data = filled(cloud)
    with pytest.raises(errors.Refused, match="is a folder: give the path of a file"):
        download.download(cloud, drive, tmp_path)
    with pytest.raises(errors.Refused, match="is in no folder that exists"):
        download.download(cloud, drive, tmp_path / "none" / "disk.img")


def test_a_drive_that_shrinks_meanwhile_is_noticed(client: ElasticHosts, scripted: Relay, tmp_path: Path) -> None:
    scripted.on(READS, says(200, text="short", Content_Type="application/octet-stream"))
    with pytest.raises(errors.Refused, match="gave 5 bytes where 4194304 were asked for"):
        download.download(client, Drive({"drive": "d", "size": "4194304"}), tmp_path / "disk.img")
    assert not (tmp_path / "disk.img").exists()


def test_a_download_whose_time_is_over_says_how_far_it_is_and_goes_on_from_there(
    relayed: ElasticHosts, clock: FakeClock, tmp_path: Path
) -> None:
    drive, data = filled(relayed)
    path = tmp_path / "disk.img"

    def slow(*_state: int) -> None:
        clock.sleep(4)

    with pytest.raises(errors.WaitTimeout, match=f"within 10 s.* {3 * CHUNK} of {SIZE} bytes .*transfer_timeout"):
        download.download(relayed, drive, path, chunk=CHUNK, deadline=Deadline(10, clock), progress=slow)
    assert not path.exists()
    assert download.download(relayed, drive, path, chunk=CHUNK).received == SIZE - 3 * CHUNK
    assert path.read_bytes() == data


def test_a_download_does_not_wait_longer_for_an_answer_than_it_has_time(
    relay: Relay, endpoint: Endpoint, cloud: ElasticHosts, tmp_path: Path
) -> None:
    drive, _data = filled(cloud)
    release = threading.Event()
    relay.on(f"GET /drives/.*/read/{CHUNK}/.*", hang(release))
    try:
        with ElasticHosts(relay.url, endpoint.auth) as client, pytest.raises(errors.WaitTimeout, match="within 1 s"):
            download.download(client, drive, tmp_path / "disk.img", chunk=CHUNK, deadline=Deadline(1, Clock()))
    finally:
        release.set()


# --- what is at the place


def test_a_block_device_gets_the_bytes_and_stays_a_device(cloud: ElasticHosts, tmp_path: Path) -> None:
    drive, data = filled(cloud)
    with block_device(tmp_path, SIZE + CHUNK) as volume:
        volume.write_bytes(b"\xff" * (SIZE + CHUNK))
        link = tmp_path / "by-name"
        link.symlink_to(volume)
        for path in (volume, link):
            done = download.download(cloud, drive, path, chunk=CHUNK)
            assert (done.changed, done.received, done.sha256) == (True, SIZE, hashlib.sha256(data).hexdigest())
            assert stat.S_ISBLK(volume.lstat().st_mode)
            assert volume.read_bytes() == data + b"\xff" * CHUNK
        assert link.is_symlink()
        assert not download.is_current(volume, drive), "nothing tells what was written to a device since"
        assert sorted(file.name for file in tmp_path.iterdir()) == ["by-name", "volume", "volume.backing"]


def test_a_block_device_that_is_too_small_or_in_use_is_left_as_it_is(cloud: ElasticHosts, tmp_path: Path) -> None:
    drive, _data = filled(cloud)
    with block_device(tmp_path, SIZE - CHUNK) as volume:
        with pytest.raises(errors.Refused, match=f"has {SIZE - CHUNK} bytes, and the drive {SIZE}"):
            download.download(cloud, drive, volume)
        assert volume.read_bytes() == bytes(SIZE - CHUNK)
    with block_device(tmp_path, SIZE) as volume:
        held = os.open(volume, os.O_RDONLY | os.O_EXCL)  # as a mounted file system holds it
        try:
            with pytest.raises(errors.Refused, match="in use"):
                download.check(volume, drive)
        finally:
            os.close(held)
        assert volume.read_bytes() == bytes(SIZE)


def test_a_link_to_a_file_is_followed_and_stays(cloud: ElasticHosts, tmp_path: Path) -> None:
    drive, data = filled(cloud)
    link, file = tmp_path / "link", tmp_path / "elsewhere" / "disk.img"
    file.parent.mkdir()
    file.write_bytes(b"old")
    link.symlink_to(file)
    assert download.download(cloud, drive, link, chunk=CHUNK).changed
    assert link.is_symlink()
    assert file.read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "link"]
    assert not download.download(cloud, cloud.drives.get(drive.uuid), link, chunk=CHUNK).changed
    assert download.is_current(file, cloud.drives.get(drive.uuid))


@pytest.mark.parametrize(
    "name", ["disk.img", "disk.img.part", "disk.img.elastichosts", "disk.img.part.elastichosts.new"]
)
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "to device", "to nothing", "to itself"])
def test_what_is_no_file_is_neither_replaced_nor_written_to(
    relayed: ElasticHosts, relay: Relay, tmp_path: Path, kind: str, name: str
) -> None:
    drive, _data = filled(relayed)
    place = tmp_path / name
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place))
    elif kind == "device":
        try:
            os.mknod(place, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        except OSError as error:
            pytest.skip(f"no device node can be made here: {error.strerror}")
    else:
        place.symlink_to({"to device": "/dev/null", "to nothing": "nowhere", "to itself": name}[kind])
    before = place.lstat()
    for act in (download.check, lambda path, drive: download.download(relayed, drive, path)):
        with pytest.raises(errors.Refused, match=re.escape(name)):
            act(tmp_path / "disk.img", drive)
    after = place.lstat()
    assert (after.st_ino, after.st_mode, after.st_rdev) == (before.st_ino, before.st_mode, before.st_rdev)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert relay.count(READS) == 0


@pytest.mark.parametrize("name", ["disk.img.part", "disk.img.part.elastichosts.new", "disk.img.elastichosts.new"])
def test_a_link_beside_the_file_does_not_lead_a_download_into_another_file(
    cloud: ElasticHosts, tmp_path: Path, name: str
) -> None:
    drive, _data = filled(cloud)
    other = tmp_path / "other"
    other.write_text("precious")
    (tmp_path / name).symlink_to(other)
    with pytest.raises(errors.Refused, match="is a symbolic link"):
        download.download(cloud, drive, tmp_path / "disk.img")
    assert other.read_text() == "precious"
