# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drive module against a real endpoint."""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.block_device import block_device
from tests.support.endpoint import Endpoint
from tests.unit.modules.cloud import Cloud

MIB = 2**20
NOWHERE = "0d9a1c52-7c1e-4c53-9d5e-3f0a6f1e2b34"
"""UUID of nothing; no earlier task can choose one"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """5 MiB that do not compress."""
    path = tmp_path / "image.raw"
    path.write_bytes(random.Random(7).randbytes(5 * MIB))
    return path


def content(cloud: Cloud, uuid: str, size: int) -> bytes:
    pieces = (
        cloud.endpoint.call(f"/drives/{uuid}/read/{offset}/{min(4 * MIB, size - offset)}", method="GET").content
        for offset in range(0, size, 4 * MIB)
    )
    return b"".join(pieces)


def test_a_drive_is_created_as_check_mode_says_and_only_once(cloud: Cloud) -> None:
    task = {"size": "10M", "tier": "ssd", "claim_type": "shared", "readers": ["everyone"], "tags": ["b", "a"]}
    drive = cloud.thrice("drive", name="data", **task, user_keys={"role": "x"})["drive"]
    assert (drive["size"], drive["tier"], drive["user_keys"]) == (12 * MIB, "ssd", {"role": "x"})


def test_every_spelling_of_a_size_is_the_same_size(cloud: Cloud) -> None:
    cloud.drive(name="data", size="10M")
    for size in ("12M", "12582912", "9000000", "12288k", "12MiB"):
        assert not cloud.drive(name="data", size=size)["changed"]


def test_a_drive_is_changed_where_the_task_says(cloud: Cloud) -> None:
    cloud.drive(name="data", size="4M", tags=["a"], readers=["everyone"], user_keys={"old": "1", "kept": "2"})
    result = cloud.thrice("drive", name="data", size="8M", readers=None, user_keys={"old": None})
    drive = result["drive"]
    assert (drive["size"], drive["tags"], drive["readers"]) == (8 * MIB, ["a"], [])
    assert drive["user_keys"] == {"kept": "2"}
    assert result["diff"]["before"]["size"] == "4194304"


def test_a_drive_shrinks_only_when_allowed(cloud: Cloud) -> None:
    cloud.drive(name="data", size="8M")
    before = cloud.changes
    assert "allow_shrink" in cloud.drive(name="data", size="4M")["msg"]
    assert cloud.changes == before
    assert cloud.thrice("drive", name="data", size="4M", allow_shrink=True)["drive"]["size"] == 4 * MIB


@pytest.mark.parametrize("option", [{"tier": "ssd"}, {"encryption": "none"}])
def test_what_is_fixed_at_creation_is_refused_later(cloud: Cloud, option: dict[str, Any]) -> None:
    cloud.drive(name="data", size="4M")
    before = cloud.changes
    result = cloud.drive(name="data", **option)
    assert "cannot be changed after creation" in result["msg"]
    assert result["failure"]["code"] == "refused"
    assert cloud.changes == before


def test_a_drive_in_use_is_not_destroyed(cloud: Cloud) -> None:
    cloud.drive(name="data", size="4M")
    cloud.server(name="web", cpu=500, mem=256, drives=[{"device": "ide:0:0", "drive": "data"}])
    before = cloud.changes
    for check in (True, False):
        assert "stop or destroy that server first" in cloud.drive(name="data", state="absent", check=check)["msg"]
    assert cloud.changes == before


def test_a_drive_is_destroyed_once(cloud: Cloud) -> None:
    cloud.drive(name="data", size="4M")
    assert cloud.thrice("drive", name="data", state="absent")["drive"] == {}


def test_an_image_is_sent_once_and_arrives_whole(cloud: Cloud, image: Path) -> None:
    result = cloud.thrice("drive", name="root", src=str(image))
    assert (result["sent"], result["drive"]["size"]) == (5 * MIB, 8 * MIB)
    assert content(cloud, result["drive"]["uuid"], 5 * MIB) == image.read_bytes()
    assert cloud.drive(name="root", src=str(image))["sent"] == 0


def test_another_image_is_sent_over_the_first(cloud: Cloud, image: Path) -> None:
    first = cloud.drive(name="root", src=str(image))
    image.write_bytes(random.Random(8).randbytes(MIB) + bytes(4 * MIB))
    second = cloud.thrice("drive", name="root", src=str(image))
    assert second["sent"] == 5 * MIB
    assert second["drive"]["uuid"] == first["drive"]["uuid"]
    assert content(cloud, second["drive"]["uuid"], 5 * MIB) == image.read_bytes()
    assert second["diff"]["before"]["user:sha256"] != second["diff"]["after"]["user:sha256"]


def test_a_new_drive_gets_the_size_of_the_task_when_it_is_larger_than_the_image(cloud: Cloud, image: Path) -> None:
    assert cloud.thrice("drive", name="root", src=str(image), size="20M")["drive"]["size"] == 20 * MIB


def test_an_existing_drive_grows_before_the_image_comes(cloud: Cloud, image: Path) -> None:
    cloud.drive(name="root", size="4M")
    assert cloud.thrice("drive", name="root", src=str(image), size="8M")["sent"] == 5 * MIB


@pytest.mark.parametrize("check", [True, False])
def test_an_image_that_cannot_go_there_changes_nothing(cloud: Cloud, image: Path, check: bool) -> None:
    cloud.drive(name="small", size="4M")
    cloud.drive(name="used", size="8M")
    cloud.server(name="web", cpu=500, mem=256, drives=[{"device": "ide:0:0", "drive": "used"}])
    before = cloud.changes
    for task, words in (
        ({"name": "small", "tags": ["new"]}, "src has 5242880 bytes and drive 'small' only 4194304"),
        ({"name": "fresh", "size": "4M"}, "src has 5242880 bytes and drive 'fresh' only 4194304"),
        ({"name": "used", "tags": ["new"]}, "stop that server before the upload"),
        ({"name": "used", "src": "/no/such/file"}, "'/no/such/file' cannot be read"),
    ):
        result = cloud.drive(check=check, **{"src": str(image), **task})
        assert words in result["msg"]
        assert result["failure"]["code"] == "refused"
    assert cloud.changes == before


def test_two_drives_of_one_name_are_told_apart_by_uuid_only(cloud: Cloud) -> None:
    made = [
        cloud.endpoint.call("/drives/create", {"name": "data", "size": size}).json()["drive"] for size in ("4M", "8M")
    ]
    result = cloud.drive(name="data", size="8M")
    assert result["failure"]["code"] == "not_unique"
    assert all(uuid in result["msg"] for uuid in made)
    server = cloud.server(name="web", cpu=500, mem=256, drives=[{"device": "ide:0:0", "drive": "data"}])
    assert server["failure"]["code"] == "not_unique"
    assert all(uuid in server["msg"] for uuid in made)


def test_a_drive_is_copied_from_another_once(cloud: Cloud, image: Path) -> None:
    source = cloud.drive(name="golden", src=str(image))["drive"]
    copy = cloud.thrice("drive", name="copy", source="golden")
    assert copy["drive"]["size"] == source["size"]
    assert copy["drive"]["user_keys"] == {"image": source["uuid"]}
    assert content(cloud, copy["drive"]["uuid"], 5 * MIB) == image.read_bytes()
    other = cloud.drive(name="other", size="4M")["drive"]["uuid"]
    assert cloud.thrice("drive", name="copy", source=other)["diff"]["before"] == {"user:image": source["uuid"]}
    assert content(cloud, copy["drive"]["uuid"], 4 * MIB) == bytes(4 * MIB)


def test_an_upload_over_a_copy_and_a_copy_over_an_upload_forget_what_was_there(cloud: Cloud, image: Path) -> None:
    cloud.drive(name="golden", size="8M")
    cloud.drive(name="root", source="golden")
    assert set(cloud.thrice("drive", name="root", src=str(image))["drive"]["user_keys"]) == {"sha256"}
    assert set(cloud.thrice("drive", name="root", source="golden")["drive"]["user_keys"]) == {"image"}


def test_a_drive_is_downloaded_once(cloud: Cloud, image: Path, tmp_path: Path) -> None:
    drive = cloud.drive(name="root", src=str(image))["drive"]
    target = tmp_path / "back.raw"
    result = cloud.run("drive", name="root", dest=str(target), check=True)
    assert (result["changed"], result["received"], target.exists()) == (True, 0, False)
    done = cloud.run("drive", name="root", dest=str(target))
    assert (done["changed"], done["received"], done["diff"]) == (True, drive["size"], result["diff"])
    assert target.read_bytes() == image.read_bytes() + bytes(drive["size"] - 5 * MIB)
    assert cloud.run("drive", name="root", dest=str(target))["changed"] is False
    cloud.drive(name="root", source=drive["uuid"], check=True)
    image.write_bytes(b"other" * MIB)
    both = cloud.run("drive", name="root", src=str(image), dest=str(target))
    assert (both["sent"], both["received"]) == (5 * MIB, drive["size"])
    assert target.read_bytes()[:5] == b"other"


@pytest.mark.parametrize("check", [True, False])
def test_a_source_or_a_place_that_cannot_be_changes_nothing(cloud: Cloud, tmp_path: Path, check: bool) -> None:
    cloud.drive(name="golden", size="8M")
    cloud.drive(name="small", size="4M")
    cloud.drive(name="used", size="8M")
    cloud.server(name="web", cpu=500, mem=256, drives=[{"device": "ide:0:0", "drive": "used"}])
    before = cloud.changes
    for task, words in (
        ({"name": "new", "source": NOWHERE}, f"no drive '{NOWHERE}' to copy from"),
        ({"name": "small", "source": "golden"}, "source has 8388608 bytes and drive 'small' only 4194304"),
        ({"name": "used", "source": "golden"}, "stop that server before it is copied to"),
        ({"name": "used", "dest": str(tmp_path / "x")}, "stop that server before it is downloaded"),
        ({"name": "small", "dest": str(tmp_path)}, "is a folder"),
        ({"name": "small", "dest": "/no/such/folder/x"}, "is in no folder that exists"),
        ({"name": "small", "src": "/x", "source": "golden"}, "mutually exclusive: src|source"),
    ):
        assert words in cloud.drive(check=check, **task)["msg"]
    assert cloud.changes == before
    assert list(tmp_path.iterdir()) == []


def test_a_drive_is_restored_to_a_volume_each_time_and_never_in_check_mode(
    cloud: Cloud, image: Path, tmp_path: Path
) -> None:
    drive = cloud.drive(name="root", src=str(image))["drive"]
    with block_device(tmp_path, 12 * MIB) as volume:
        checked = cloud.drive(name="root", dest=str(volume), check=True)
        assert (checked["changed"], checked["received"]) == (True, 0)
        assert volume.read_bytes() == bytes(12 * MIB)
        for _time in range(2):
            assert cloud.drive(name="root", dest=str(volume))["received"] == drive["size"]
            assert volume.read_bytes() == image.read_bytes() + bytes(7 * MIB)


@pytest.mark.parametrize("check", [True, False])
def test_a_place_that_is_no_file_is_refused_and_stays(cloud: Cloud, tmp_path: Path, check: bool) -> None:
    cloud.drive(name="golden", size="4M")
    os.mkfifo(tmp_path / "pipe")
    before = cloud.changes
    result = cloud.drive(name="golden", tags=["new"], dest=str(tmp_path / "pipe"), check=check)
    assert "is a named pipe: give the path of a file or of a block device" in result["msg"]
    assert (tmp_path / "pipe").is_fifo()
    assert cloud.changes == before


@pytest.mark.parametrize("check", [True, False])
def test_a_volume_that_is_missing_does_not_become_a_file_in_memory(cloud: Cloud, check: bool) -> None:
    cloud.drive(name="golden", size="4M")
    volume = Path("/dev/no-such-volume-of-the-tests")
    before = cloud.changes
    try:
        result = cloud.drive(name="golden", tags=["new"], dest=str(volume), check=check)
        assert "is not there, and a file among the devices would be in memory only" in result["msg"]
        assert not volume.exists()
        assert cloud.changes == before
    finally:
        for file in Path("/dev").glob(f"{volume.name}*"):
            file.unlink()


def test_a_volume_is_the_source_of_an_upload_like_a_file(cloud: Cloud, image: Path, tmp_path: Path) -> None:
    with block_device(tmp_path, 5 * MIB) as volume:
        volume.write_bytes(image.read_bytes())
        result = cloud.thrice("drive", name="root", src=str(volume))
    assert (result["sent"], result["drive"]["size"]) == (5 * MIB, 8 * MIB)
    assert content(cloud, result["drive"]["uuid"], 5 * MIB) == image.read_bytes()


@pytest.mark.parametrize("check", [True, False])
def test_an_image_that_is_a_pipe_and_a_time_of_0_change_nothing(cloud: Cloud, tmp_path: Path, check: bool) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = cloud.changes
    result = cloud.drive(name="new", src=str(tmp_path / "pipe"), check=check)
    assert "is a named pipe: give the path of a file or of a block device" in result["msg"]
    result = cloud.drive(name="new", size="4M", transfer_timeout=0, check=check)
    assert result["msg"] == "transfer_timeout: 0 is out of range, give seconds above 0"
    assert cloud.changes == before


def test_transfers_end_with_their_time_and_the_next_run_goes_on(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults, log, target = tmp_path / "faults.json", tmp_path / "requests.jsonl", tmp_path / "back.raw"
    rules = [{"path": f"/drives/*/{verb}/**", "delay": 3, "count": 1} for verb in ("write", "read")]
    faults.write_text(json.dumps(rules))
    log.touch()
    with Endpoint(tmp_path / "state", "--request-log", str(log), "--faults", str(faults)) as endpoint:
        cloud = Cloud(endpoint, log, capsys)
        cloud.drive(name="root", size="8M")
        sentence = r"did not end within 1 s, (\d+) of \d+ bytes are there: run the task again, it goes on from there"
        late = cloud.drive(name="root", src=str(image), transfer_timeout=1)
        there = re.search(sentence, late["msg"])
        assert there, late["msg"]
        assert (late["failure"]["code"], late["changed"]) == ("timeout", True)
        assert cloud.drive(name="root", src=str(image))["sent"] == 5 * MIB - int(there[1])
        late = cloud.drive(name="root", dest=str(target), transfer_timeout=1)
        there = re.search(sentence, late["msg"])
        assert there, late["msg"]
        assert not target.exists()
        assert cloud.drive(name="root", dest=str(target))["received"] == 8 * MIB - int(there[1])
        assert target.read_bytes() == image.read_bytes() + bytes(3 * MIB)


@pytest.mark.parametrize("check", [True, False])
def test_a_source_that_a_running_server_uses_is_refused_before_anything_is_changed(cloud: Cloud, check: bool) -> None:
    cloud.drive(name="golden", size="8M")
    server = cloud.server(name="web", cpu=500, mem=256, drives=[{"device": "ide:0:0", "drive": "golden"}])["server"]
    before = cloud.changes
    result = cloud.drive(name="copy", source="golden", check=check)
    assert result["msg"].endswith(
        f"is in use by {server['uuid']}, and may change while it is copied: "
        "stop that server first, or allow it with source_in_use: allow"
    )
    assert (result["failure"]["code"], result["changed"]) == ("refused", False)
    assert cloud.changes == before


def test_a_source_in_use_is_copied_where_that_is_allowed_and_no_matter_where_the_copy_is_there(cloud: Cloud) -> None:
    cloud.drive(name="golden", size="8M")
    cloud.server(name="web", cpu=500, mem=256, drives=[{"device": "ide:0:0", "drive": "golden"}])
    cloud.thrice("drive", name="copy", source="golden", source_in_use="allow")
    again = cloud.drive(name="copy", source="golden")
    assert (again.get("failed", False), again["changed"]) == (False, False)
    cloud.server(name="web", state="stopped")
    cloud.thrice("drive", name="another", source="golden")
