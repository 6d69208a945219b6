# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image files onto drives: every byte in its place, none twice, and a cut is no loss."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import errors
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import ElasticHosts
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.clock import Clock, Deadline
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.drives import Drive
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.upload import (
    checksum,
    holds,
    inspect,
    upload,
)
from tests.support.block_device import block_device
from tests.support.endpoint import Endpoint
from tests.unit.elastichosts import scripted as script
from tests.unit.elastichosts.scripted import FakeClock, Relay, says

CHUNK = 64 * 1024
WRITES = "POST /drives/.*/write/.*"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Five chunks and a bit, the third and fourth of zeros."""
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(2 * CHUNK) + bytes(2 * CHUNK) + os.urandom(CHUNK + 100))
    return path


def empty(client: ElasticHosts, size: str = "4M") -> Drive:
    return client.drives.create({"name": "root", "size": size})


def content(client: ElasticHosts, drive: Drive, size: int) -> bytes:
    return client.drives.read(drive.uuid, 0, size)


def test_an_image_arrives_whole_with_its_checksum(cloud: ElasticHosts, file: Path) -> None:
    seen: list[tuple[int, int]] = []
    done = upload(cloud, file, empty(cloud), chunk=CHUNK, progress=lambda *state: seen.append(state))
    size = file.stat().st_size
    assert content(cloud, done.drive, size) == file.read_bytes()
    assert (done.changed, done.sent) == (True, size)
    assert done.drive.user_keys == {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert seen == [*((n * CHUNK, size) for n in range(1, 6)), (size, size)]


def test_an_image_that_is_there_already_costs_no_bytes(relayed: ElasticHosts, relay: Relay, file: Path) -> None:
    first = upload(relayed, file, empty(relayed), chunk=CHUNK)
    relay.calls.clear()
    again = upload(relayed, file, relayed.drives.get(first.drive.uuid), chunk=CHUNK)
    assert (again.changed, again.sent) == (False, 0)
    assert relay.count("POST .*") == 0


def test_another_image_replaces_the_first(cloud: ElasticHosts, file: Path, tmp_path: Path) -> None:
    drive = upload(cloud, file, empty(cloud), chunk=CHUNK, fresh=True).drive
    other = tmp_path / "other.img"
    other.write_bytes(bytes(3 * CHUNK) + b"end")
    # It is no longer fresh, whatever the caller believes: zeros must be written over the old bytes.
    done = upload(cloud, other, drive, chunk=CHUNK, fresh=True)
    assert content(cloud, done.drive, 3 * CHUNK + 3) == other.read_bytes()
    assert done.sent == 3 * CHUNK + 3


def test_zeros_are_not_sent_to_a_fresh_drive(relayed: ElasticHosts, relay: Relay, file: Path) -> None:
    done = upload(relayed, file, empty(relayed), chunk=CHUNK, workers=1, fresh=True)
    assert done.sent == file.stat().st_size - 2 * CHUNK
    assert relay.count(WRITES) == 4
    assert content(relayed, done.drive, file.stat().st_size) == file.read_bytes()


def test_zeros_are_sent_where_a_fresh_drive_reads_as_noise(relayed: ElasticHosts, relay: Relay, file: Path) -> None:
    drive = empty(relayed)
    relayed.drives.write(drive.uuid, 2 * CHUNK, b"\xff" * 2 * CHUNK)
    done = upload(relayed, file, drive, chunk=CHUNK, fresh=True)
    assert done.sent == file.stat().st_size
    assert content(relayed, done.drive, file.stat().st_size) == file.read_bytes()


def test_a_cut_upload_goes_on_at_the_first_chunk_that_was_not_acknowledged(
    relayed: ElasticHosts, relay: Relay, cloud: ElasticHosts, file: Path
) -> None:
    drive = empty(relayed)
    relay.on(f"POST /drives/.*/write/{4 * CHUNK}", says(507, "full", "no space"))
    with pytest.raises(errors.FullError):
        upload(relayed, file, drive, chunk=CHUNK)
    cut = cloud.drives.get(drive.uuid)
    assert not holds(cut, inspect(file))
    assert cut.user_keys["upload"].split()[1] == str(4 * CHUNK)
    relay.rules.clear()
    relay.calls.clear()
    done = upload(relayed, file, cut, chunk=CHUNK)
    assert done.sent == CHUNK + 100
    assert relay.count(WRITES) == 2
    assert set(done.drive.user_keys) == {"sha256"}
    assert content(cloud, drive, file.stat().st_size) == file.read_bytes()


def test_a_killed_upload_resends_little(cloud: ElasticHosts, file: Path) -> None:
    """No last word could be recorded: the drive knows what was recorded on the way."""
    drive = empty(cloud)
    image = inspect(file)
    begin = hashlib.sha256(file.read_bytes()[: 2 * CHUNK]).hexdigest()
    cloud.drives.set(drive.uuid, {"user:upload": f"{begin} {2 * CHUNK} over"})
    cloud.drives.write(drive.uuid, 0, file.read_bytes()[: 3 * CHUNK])
    done = upload(cloud, image, cloud.drives.get(drive.uuid), chunk=CHUNK)
    assert done.sent == image.size - 2 * CHUNK
    assert content(cloud, drive, image.size) == file.read_bytes()


def test_a_cut_upload_of_another_file_is_not_gone_on_with(cloud: ElasticHosts, file: Path) -> None:
    drive = empty(cloud)
    cloud.drives.set(drive.uuid, {"user:upload": f"{'0' * 64} {4 * CHUNK} fresh"})
    done = upload(cloud, file, cloud.drives.get(drive.uuid), chunk=CHUNK, fresh=True)
    assert done.sent == file.stat().st_size


@pytest.mark.parametrize("mark", ["", "x", "{sha} -1 over", "{sha} 99999999999 over", "{sha} \u0665 over"])
def test_a_mark_that_is_garbage_does_no_harm(cloud: ElasticHosts, file: Path, mark: str) -> None:
    drive = empty(cloud)
    image = inspect(file)
    cloud.drives.set(drive.uuid, {"user:upload": mark.format(sha=checksum(image))})
    done = upload(cloud, image, cloud.drives.get(drive.uuid), chunk=CHUNK)
    assert content(cloud, done.drive, image.size) == file.read_bytes()


@pytest.mark.parametrize(
    "fault", [script.cut_before, script.cut_after, says(503), script.fails_after(500, "system"), says(429)]
)
def test_a_lost_answer_costs_one_chunk_and_no_byte(
    relayed: ElasticHosts, relay: Relay, file: Path, fault: script.Action
) -> None:
    relay.on(WRITES, fault, times=2)
    done = upload(relayed, file, empty(relayed), chunk=CHUNK, workers=1)
    assert relay.count(WRITES) == 8
    assert content(relayed, done.drive, file.stat().st_size) == file.read_bytes()


def test_a_drive_that_is_busy_from_the_start_is_not_waited_for(relayed: ElasticHosts, relay: Relay, file: Path) -> None:
    relay.on(WRITES, says(409, "busy"))
    with pytest.raises(errors.BusyError):
        upload(relayed, file, empty(relayed), chunk=CHUNK)
    assert relay.count(WRITES) == 1


def test_a_mark_that_cannot_be_recorded_does_not_stop_the_upload(
    relayed: ElasticHosts, relay: Relay, file: Path
) -> None:
    drive = empty(relayed)
    relay.on("POST /drives/.*/set", script.forward, times=1).on("POST /drives/.*/set", says(500, "failed"), times=1)
    assert upload(relayed, file, drive, chunk=CHUNK).changed


def test_the_checksum_is_never_there_before_the_last_byte(
    relayed: ElasticHosts, relay: Relay, cloud: ElasticHosts, file: Path
) -> None:
    drive = upload(relayed, file, empty(relayed), chunk=CHUNK).drive
    file.write_bytes(os.urandom(2 * CHUNK))
    relay.on(f"POST /drives/.*/write/{CHUNK}", says(507, "full"))
    with pytest.raises(errors.FullError):
        upload(relayed, file, drive, chunk=CHUNK)
    assert "sha256" not in cloud.drives.get(drive.uuid).user_keys


# Side by side

KILLED = """
import sys
sys.path[:0] = {paths!r}
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.upload import upload
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import ElasticHosts
client = ElasticHosts({url!r}, {auth!r})
upload(client, {path!r}, client.drives.find("root"), chunk={chunk}, workers={workers})
"""


def slow(seconds_per_megabyte: float) -> script.Action:
    """A line that takes its time for every byte."""

    def act(handler: script.Handler) -> None:
        time.sleep(len(handler.body) / 1e6 * seconds_per_megabyte)
        handler.answer(204, {}, b"")

    return act


def test_chunks_travel_side_by_side_where_the_cloud_lets_them(
    client: ElasticHosts, scripted: Relay, file: Path
) -> None:
    meeting = threading.Barrier(2, timeout=5)

    def together(handler: script.Handler) -> None:
        meeting.wait()
        handler.answer(204, {}, b"")

    file.write_bytes(os.urandom(5 * CHUNK))
    scripted.on("POST /drives/.*/write/0", says(204)).on(WRITES, together)
    scripted.on("POST /drives/.*", says(200, text="drive d\nsize 4194304\n"))
    upload(client, file, Drive({"drive": "d", "size": "4194304"}), chunk=CHUNK)
    assert scripted.count(WRITES) == 5


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_a_cloud_with_one_writer_per_drive_gets_every_byte_once_it_has_said_so(
    relayed: ElasticHosts, relay: Relay, tmp_path: Path, workers: int
) -> None:
    path = tmp_path / "noise.img"
    path.write_bytes(os.urandom(20 * CHUNK))
    done = upload(relayed, path, empty(relayed), chunk=CHUNK, workers=workers)
    assert content(relayed, done.drive, 20 * CHUNK) == path.read_bytes()
    assert 20 <= relay.count(WRITES) <= 20 + workers - 1


@pytest.mark.parametrize(
    ("data", "packed"), [(b"some text " * 50_000, True), (os.urandom(500_000), False)], ids=["text", "noise"]
)
def test_on_a_slow_line_what_shrinks_is_gzipped_while_it_waits(
    client: ElasticHosts, scripted: Relay, tmp_path: Path, data: bytes, packed: bool
) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(data)
    scripted.on(WRITES, slow(8)).on("POST /drives/.*", says(200, text="drive d\nsize 4194304\n"))
    upload(client, path, Drive({"drive": "d", "size": "4194304"}), chunk=CHUNK, workers=4)
    writes = [headers for call, headers, _body in scripted.requests if "/write/" in call]
    assert len(writes) == 8
    assert any(headers.get("content-encoding") == "gzip" for headers in writes) is packed


def test_a_killed_program_costs_the_chunks_in_flight_and_no_more(
    relay: Relay, cloud: ElasticHosts, endpoint: Endpoint, tmp_path: Path
) -> None:
    chunks, workers = 24, 3
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(chunks * CHUNK))
    drive = empty(cloud)
    reached = threading.Event()

    def counted(handler: script.Handler) -> None:
        script.forward(handler)
        if relay.count(WRITES) >= 14:
            reached.set()

    relay.on(WRITES, counted)
    program = KILLED.format(
        paths=sys.path, url=relay.url, auth=endpoint.auth, path=str(path), chunk=CHUNK, workers=workers
    )
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        assert reached.wait(20)
        process.kill()
    arrived = contiguous(cloud, drive, path, chunks)
    relay.rules.clear()
    done = upload(cloud, path, cloud.drives.get(drive.uuid), chunk=CHUNK, workers=workers)
    assert content(cloud, drive, chunks * CHUNK) == path.read_bytes()
    assert arrived >= 10
    assert done.sent <= (chunks - arrived + workers) * CHUNK


def contiguous(client: ElasticHosts, drive: Drive, path: Path, chunks: int) -> int:
    """Whole chunks of the file that are on the drive, from its start."""
    there, wanted = content(client, drive, chunks * CHUNK), path.read_bytes()
    return next((n for n in range(chunks) if there[n * CHUNK :][:CHUNK] != wanted[n * CHUNK :][:CHUNK]), chunks)


# Bad input


def test_a_file_that_does_not_fit_changes_nothing(relayed: ElasticHosts, relay: Relay, tmp_path: Path) -> None:
    big = tmp_path / "big.img"
    with big.open("wb") as file:
        file.truncate((4 << 20) + 1)
    drive = empty(relayed)
    relay.calls.clear()
    with pytest.raises(errors.Refused, match=r"has 4194305 bytes and drive .* only 4194304: make the drive larger"):
        upload(relayed, big, drive)
    assert relay.calls == []


def test_a_drive_in_use_is_not_written_to(cloud: ElasticHosts, file: Path) -> None:
    drive = empty(cloud)
    server = cloud.servers.create({"cpu": "500", "mem": "512", "persistent": "true", "ide:0:0": drive.uuid})
    with pytest.raises(errors.Refused, match=f"in use by {server.uuid}: stop that server"):
        upload(cloud, file, cloud.drives.get(drive.uuid))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(errors.Refused, match=r"none\.img' cannot be read \(No such file or directory\): correct src"):
        inspect(tmp_path / "none.img")
    with pytest.raises(errors.Refused, match="is a folder: give the path of a file or of a block device"):
        inspect(tmp_path)
    (tmp_path / "empty.img").touch()
    with pytest.raises(errors.Refused, match="is empty"):
        inspect(tmp_path / "empty.img")


def test_a_file_that_changes_on_the_way_is_noticed(cloud: ElasticHosts, file: Path) -> None:
    drive = empty(cloud)

    def meddle(done: int, total: int) -> None:
        if done == 2 * CHUNK:
            file.write_bytes(b"other")

    with pytest.raises(errors.Refused, match="was changed while it was uploaded"):
        upload(cloud, file, drive, chunk=CHUNK, progress=meddle)
    assert "sha256" not in cloud.drives.get(drive.uuid).user_keys


def test_a_file_that_changes_is_named_whatever_its_calls_ran_into(
    relayed: ElasticHosts, relay: Relay, cloud: ElasticHosts, file: Path
) -> None:
    """A call that broke off because the file became shorter keeps the drive busy for a moment."""
    drive = empty(relayed)

    def shortened_meanwhile(handler: script.Handler) -> None:
        file.write_bytes(b"other")
        script.says(409, "busy")(handler)

    relay.on(f"POST /drives/.*/write/{CHUNK}", shortened_meanwhile)
    with pytest.raises(errors.Refused, match="was changed while it was uploaded"):
        upload(relayed, file, drive, chunk=CHUNK, workers=1)
    assert "sha256" not in cloud.drives.get(drive.uuid).user_keys


def test_what_is_changed_between_reading_and_sending_is_not_vouched_for(
    relayed: ElasticHosts, relay: Relay, cloud: ElasticHosts, tmp_path: Path
) -> None:
    """No mark may have a checksum that is not that of the bytes on the drive."""
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(3 * CHUNK))
    drive = empty(relayed)

    def changed_meanwhile(handler: script.Handler) -> None:
        path.write_bytes(os.urandom(3 * CHUNK))
        script.forward(handler)

    relay.on(f"POST /drives/.*/write/{CHUNK}", changed_meanwhile)
    with pytest.raises(errors.Refused, match="was changed while it was uploaded"):
        upload(relayed, path, drive, chunk=CHUNK, workers=1)
    keys = cloud.drives.get(drive.uuid).user_keys
    assert "sha256" not in keys
    sha256, offset, _fresh = keys["upload"].split()
    assert sha256 == hashlib.sha256(content(cloud, drive, int(offset))).hexdigest()


def test_a_file_that_is_taken_away_after_the_first_look_is_named(
    relayed: ElasticHosts, relay: Relay, file: Path
) -> None:
    image, drive = inspect(file), empty(relayed)
    file.unlink()
    relay.calls.clear()
    for read in (checksum, lambda image: upload(relayed, image, drive)):
        with pytest.raises(errors.Refused, match=r"cannot be read \(No such file or directory\): correct src"):
            read(image)
    assert relay.calls == []


# --- what is at the place


def test_a_block_device_arrives_with_its_size(relayed: ElasticHosts, relay: Relay, tmp_path: Path) -> None:
    with block_device(tmp_path, 3 * CHUNK + 512) as volume:
        data = os.urandom(3 * CHUNK + 512)
        volume.write_bytes(data)
        link = tmp_path / "by-name"
        link.symlink_to(volume)
        assert inspect(link).size == len(data)
        drive = upload(relayed, link, empty(relayed), chunk=CHUNK).drive
        assert content(relayed, drive, len(data)) == data
        assert drive.user_keys == {"sha256": hashlib.sha256(data).hexdigest()}
        relay.calls.clear()
        assert not upload(relayed, volume, drive, chunk=CHUNK).changed
        assert relay.calls == []
        with pytest.raises(errors.Refused, match="make the drive larger"):
            upload(relayed, volume, Drive({**drive.properties, "size": "512"}), anew=True)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("pipe", "is a named pipe"), ("socket", "is a socket"), ("device", "is a character device"), ("link", "a socket")],
)
def test_what_has_no_end_or_no_size_is_refused_at_once(tmp_path: Path, kind: str, words: str) -> None:
    place = tmp_path / "disk.img"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place = Path(os.devnull)
    else:
        os.mknod(tmp_path / "socket", stat.S_IFSOCK)
        place.symlink_to(tmp_path / "socket")
    with pytest.raises(errors.Refused, match=f"^src .* {words}: give the path of a file or of a block device"):
        inspect(place)


# --- time


def test_an_upload_whose_time_is_over_says_how_far_it_is_and_goes_on_from_there(
    relayed: ElasticHosts, relay: Relay, clock: FakeClock, cloud: ElasticHosts, tmp_path: Path
) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(8 * CHUNK))
    drive = empty(relayed)
    deadline = Deadline(10, clock)
    with pytest.raises(errors.WaitTimeout, match=r"within 10 s.* [0-9]+ of 524288 bytes .*transfer_timeout") as caught:
        upload(relayed, path, drive, chunk=CHUNK, workers=1, deadline=deadline, progress=lambda *_state: clock.sleep(4))
    there = int(cloud.drives.get(drive.uuid).user_keys["upload"].split()[1])
    assert f" {there} of " in str(caught.value)
    assert 0 < there < 8 * CHUNK
    done = upload(relayed, path, cloud.drives.get(drive.uuid), chunk=CHUNK)
    assert done.sent == 8 * CHUNK - there
    assert content(cloud, drive, 8 * CHUNK) == path.read_bytes()


def test_an_upload_does_not_wait_longer_for_an_answer_than_it_has_time(
    relay: Relay, endpoint: Endpoint, cloud: ElasticHosts, file: Path
) -> None:
    release = threading.Event()
    relay.on(f"POST /drives/.*/write/{CHUNK}", script.hang(release))
    try:
        with ElasticHosts(relay.url, endpoint.auth) as client, pytest.raises(errors.WaitTimeout, match="within 1 s"):
            upload(client, file, empty(client), chunk=CHUNK, workers=1, deadline=Deadline(1, Clock()))
    finally:
        release.set()


# Any file


pieces = st.lists(st.sampled_from([b"\0" * 512, b"\xff" * 512, b"a" * 300]), min_size=1, max_size=12)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(first=pieces, second=pieces, chunk=st.sampled_from([512, 700, 4096]), fresh=st.booleans())
def test_any_two_files_after_each_other_arrive(
    endpoint: Endpoint, tmp_path: Path, first: list[bytes], second: list[bytes], chunk: int, fresh: bool
) -> None:
    path = tmp_path / "any.img"
    with ElasticHosts(endpoint.url, endpoint.auth) as client:
        drive = empty(client)
        for parts in (first, second):
            path.write_bytes(b"".join(parts))
            drive = upload(client, path, drive, chunk=chunk, fresh=fresh).drive
            assert content(client, drive, path.stat().st_size) == path.read_bytes()
        client.drives.destroy(drive.uuid)
