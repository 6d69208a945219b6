# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drives into files: every byte, none twice, and not again while nothing was written."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import download, errors
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import ElasticHosts
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.drives import Drive
from tests.unit.elastichosts.scripted import Relay, says

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
