# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden answers of every drive call, in both formats (elastichosts-api 2.1, 4)."""

from __future__ import annotations

import gzip
import os
import re
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.endpoint import ROOT, USER, Endpoint
from tests.unit.endpoint.conftest import UUID, Wire, basic, eventually, peak_memory

SIZE = 8 << 20


def text_of(drive: str, name: str = "a drive", **more: str) -> str:
    """The info of a drive in text, as elastichosts-api 4.1 shows it: keys sorted, one line each."""
    found = {
        "drive": drive,
        "encryption:cipher": "aes-xts-plain",
        "name": name,
        "read:bytes": "4096",
        "read:requests": "1",
        "size": str(SIZE),
        "status": "active",
        "tier": "disk",
        "user": USER,
        "write:bytes": "4096",
        "write:requests": "1",
        **more,
    }
    return "".join(f"{key} {value}\n" for key, value in sorted(found.items()))


def json_of(drive: str, name: str = "a drive", **more: object) -> dict[str, object]:
    return {
        "drive": drive,
        "encryption:cipher": "aes-xts-plain",
        "name": name,
        "read:bytes": "4096",
        "read:requests": "1",
        "size": SIZE,
        "status": "active",
        "tier": "disk",
        "user": USER,
        "write:bytes": "4096",
        "write:requests": "1",
        **more,
    }


def test_create_in_text_answers_the_info_in_text(wire: Wire) -> None:
    answer = wire.text("/drives/create", "name web-root\nsize 9000000\ntier ssd")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-elastic-output"] == "properties"
    uuid = answer.text.split()[1]
    assert re.fullmatch(UUID, uuid)
    assert answer.text == text_of(uuid, "web-root", tier="ssd", size="12582912")


def test_create_in_json_answers_numbers_and_counters_as_strings(wire: Wire) -> None:
    answer = wire.json("/drives/create", {"name": "node1", "size": "160G"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-elastic-output"] == "properties"
    assert answer.json == json_of(answer.json["drive"], "node1", size=160 << 30)
    assert list(answer.json) == sorted(answer.json)


def test_a_drive_of_160_gib_takes_no_room(wire: Wire) -> None:
    drive = wire.drive(size="160G")
    file = wire.endpoint.state / "drives" / f"{drive}.raw"
    assert file.stat().st_size == 160 << 30
    assert file.stat().st_blocks == 0


@pytest.mark.parametrize("size", ["0", "0G", 0, "00"])
def test_a_size_of_0_keeps_the_size(wire: Wire, size: object) -> None:
    """jclouds sends it with each change that names no size."""
    drive = wire.drive(size="8M")
    found = wire.json(f"/drives/{drive}/set", {"name": "other", "size": size})
    assert (found.status, found.json["size"], found.json["name"]) == (200, 8 << 20, "other")
    wire.server(ide__0__0=drive)
    assert wire.text(f"/drives/{drive}/set", f"name used\nsize {size}").status == 200
    for call in ("create", f"{wire.drive(size='4M')}/read/0/0"):
        assert wire.json(f"/drives/{call}", {"size": size}).error == (400, "usage")


@pytest.mark.parametrize(
    ("given", "kept"),
    [("1", 4 << 20), ("4194304", 4 << 20), ("4194305", 8 << 20), ("5m", 8 << 20), ("4096k", 4 << 20), ("1G", 1 << 30)],
)
def test_sizes_are_rounded_up_to_4_mib(wire: Wire, given: str, kept: int) -> None:
    assert wire.json("/drives/create", {"size": given}).json["size"] == kept
    assert f"\nsize {kept}\n" in wire.text("/drives/create", f"size {given}").text


def test_list_is_a_row_per_drive(wire: Wire) -> None:
    first, second = wire.drive(), wire.drive()
    in_text = wire.send("GET", "/drives/list")
    assert (in_text.status, in_text.headers["x-elastic-output"]) == (200, "list")
    assert in_text.text.endswith(f"{first}\n{second}\n")
    in_json = wire.json("/drives/list")
    assert (in_json.status, in_json.headers["x-elastic-output"]) == (200, "list")
    assert in_json.json[-2:] == [{"uuid": first}, {"uuid": second}]


@pytest.mark.parametrize("call", ["/drives/info", "/drives/info/full"])
def test_info_of_all_has_a_blank_line_between_two(wire: Wire, call: str) -> None:
    first, second = wire.drive(), wire.drive()
    in_text = wire.send("GET", call)
    assert (in_text.status, in_text.headers["x-elastic-output"]) == (200, "properties")
    assert in_text.text.endswith(text_of(first) + "\n" + text_of(second))
    assert wire.json(call).json[-2:] == [json_of(first), json_of(second)]


@pytest.mark.parametrize("call", ["info", "info/full"])
def test_info_of_one(wire: Wire, call: str) -> None:
    drive = wire.drive()
    for method in ("GET", "POST"):
        assert wire.send(method, f"/drives/{drive}/{call}").text == text_of(drive)
    assert wire.json(f"/drives/{drive}/{call}").json == json_of(drive)


def test_set_changes_what_is_given_and_keeps_the_rest(wire: Wire) -> None:
    drive = wire.drive(tags="a b")
    answer = wire.text(f"/drives/{drive}/set", "name x\nuser:owner me and you")
    assert answer.status == 200
    assert answer.text == text_of(drive, "x", tags="a b", **{"user:owner": "me and you"})
    answer = wire.json(f"/drives/{drive}/set", {"size": 4 << 20, "tags": None, "user:owner": None})
    assert answer.json == json_of(drive, "x", size=4 << 20)
    assert wire.json(f"/drives/{drive}/info").json == answer.json


def test_set_takes_back_its_own_info(wire: Wire) -> None:
    drive = wire.drive(tags="a", readers="ffffffff-ffff-ffff-ffff-ffffffffffff", **{"claim:type": "shared"})
    info = wire.json(f"/drives/{drive}/info").json
    assert wire.json(f"/drives/{drive}/set", info).json == info
    as_text = wire.text(f"/drives/{drive}/info").text
    assert wire.text(f"/drives/{drive}/set", as_text).text == as_text


def test_shrinking_and_growing_keeps_the_bytes_and_adds_zeros(wire: Wire) -> None:
    drive = wire.drive()
    wire.send("POST", f"/drives/{drive}/write", b"\xff" * SIZE)
    wire.json(f"/drives/{drive}/set", {"size": "4M"})
    wire.json(f"/drives/{drive}/set", {"size": "8M"})
    assert wire.send("GET", f"/drives/{drive}/read/4194300/8").content == b"\xff" * 4 + bytes(4)


def test_destroy_is_204_with_no_content_and_then_404(wire: Wire) -> None:
    drive = wire.drive()
    answer = wire.send("POST", f"/drives/{drive}/destroy")
    assert (answer.status, answer.content) == (204, b"")
    assert "content-type" not in answer.headers
    assert not (wire.endpoint.state / "drives" / f"{drive}.raw").exists()
    for call in ("info", "set", "destroy", "write/0"):
        again = wire.send("POST", f"/drives/{drive}/{call}")
        assert again.error == (404, "missing")
        assert drive in again.text


def test_written_bytes_are_read_back_raw_at_any_offset(wire: Wire) -> None:
    drive = wire.drive()
    data = os.urandom(100_000)
    assert wire.send("POST", f"/drives/{drive}/write/4194301", data).status == 204
    answer = wire.send("GET", f"/drives/{drive}/read/4194300/100002", Accept="application/json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/octet-stream")
    assert answer.content == b"\0" + data + b"\0"
    assert wire.send("POST", f"/drives/{drive}/read/0/4k").content == bytes(4096)


def test_write_without_an_offset_begins_at_0(wire: Wire) -> None:
    drive = wire.drive()
    assert wire.send("POST", f"/drives/{drive}/write", b"boot").status == 204
    assert wire.send("GET", f"/drives/{drive}/read/0/5").content == b"boot\0"


def test_gzip_is_expanded_and_the_offset_counts_expanded_bytes(wire: Wire) -> None:
    drive = wire.drive()
    data = os.urandom(70_000) + bytes(2 << 20) + b"end"
    several = gzip.compress(data[:50_000]) + gzip.compress(data[50_000:])
    answer = wire.send("POST", f"/drives/{drive}/write/512", several, content_encoding="gzip")
    assert answer.status == 204
    assert wire.send("GET", f"/drives/{drive}/read/512/{len(data)}").content == data


def test_zeros_on_an_untouched_drive_take_no_room_but_overwrite_data(wire: Wire) -> None:
    drive = wire.drive()
    file = wire.endpoint.state / "drives" / f"{drive}.raw"
    wire.send("POST", f"/drives/{drive}/write", bytes(SIZE))
    assert file.stat().st_blocks == 0
    wire.send("POST", f"/drives/{drive}/write/65536", b"\xff" * 65536)
    wire.send("POST", f"/drives/{drive}/write", bytes(SIZE))
    assert file.read_bytes() == bytes(SIZE)


def test_a_read_is_cut_at_the_end_of_the_drive(wire: Wire) -> None:
    drive = wire.drive()
    assert len(wire.send("GET", f"/drives/{drive}/read/{SIZE - 10}/4M").content) == 10


@pytest.mark.parametrize(
    ("path", "body", "encoding", "error"),
    [
        (f"read/{SIZE}/1", b"", "", (400, "usage")),
        ("read/0/4194305", b"", "", (400, "usage")),
        ("read/0/0", b"", "", (400, "usage")),
        ("read/-1/1", b"", "", (400, "usage")),
        ("read/x/1", b"", "", (400, "usage")),
        (f"write/{SIZE}", b"x", "", (507, "full")),
        (f"write/{SIZE - 1}", b"xx", "", (507, "full")),
        (f"write/{10**17}", b"x", "", (507, "full")),
        ("write/1e3", b"x", "", (400, "usage")),
        ("write/0", b"not gzip", "gzip", (400, "usage")),
        ("write/0", gzip.compress(bytes(1000), mtime=0)[:-9], "gzip", (400, "usage")),
        ("write/0", b"x", "br", (400, "usage")),
    ],
)
def test_bad_reads_and_writes_say_why_and_leave_the_drive_alone(
    wire: Wire, path: str, body: bytes, encoding: str, error: tuple[int, str]
) -> None:
    drive = wire.drive()
    answer = wire.send("POST", f"/drives/{drive}/{path}", body, content_encoding=encoding)
    assert answer.error == error
    assert "invalid" in answer.text or "beyond" in answer.text
    assert (wire.endpoint.state / "drives" / f"{drive}.raw").read_bytes() == bytes(SIZE)


def test_a_gzip_bomb_ends_at_the_end_of_the_drive(wire: Wire) -> None:
    drive = wire.drive()
    bomb = gzip.compress(bytes(200 << 20))
    before = peak_memory(wire.endpoint.pid)
    assert wire.send("POST", f"/drives/{drive}/write", bomb, content_encoding="gzip").error == (507, "full")
    file = wire.endpoint.state / "drives" / f"{drive}.raw"
    assert file.stat().st_size == SIZE
    assert peak_memory(wire.endpoint.pid) - before < 16 << 20


def test_readers_may_read_but_not_change(wire: Wire) -> None:
    answer = wire.json("/drives/create", {"size": "4M", "readers": f"{USER} {USER}"})
    assert answer.json["readers"] == f"{USER} {USER}"


def test_standard_drives_are_listed_apart_and_read_by_anyone(wire: Wire) -> None:
    rows = wire.send("GET", "/drives/list/standard").text.split()
    infos = wire.json("/drives/info/standard").json
    assert [info["drive"] for info in infos] == rows
    assert "82890da7-a036-4427-ac24-caea6c644a2f" in rows
    assert not set(rows) & set(wire.text("/drives/list").text.split())
    for info in infos:
        assert info["claim:type"] == "shared"
        assert info["readers"] == "ffffffff-ffff-ffff-ffff-ffffffffffff"
        assert ("format" in info) == ("rawsize" in info) == (info["media"] == "disk")
        assert wire.json(f"/drives/{info['drive']}/info").json == info
    assert wire.send("POST", f"/drives/{rows[0]}/destroy").error == (404, "missing")
    assert wire.send("POST", f"/drives/{rows[0]}/write", b"x").error == (404, "missing")


def test_a_standard_disk_is_gzip_and_says_what_it_is(wire: Wire) -> None:
    """test_imaging_on_the_wire expands a whole one."""
    for info in [info for info in wire.json("/drives/info/standard").json if info["media"] == "disk"][:3]:
        stored = wire.send("GET", f"/drives/{info['drive']}/read/0/8k").content
        piece = zlib.decompressobj(wbits=31).decompress(stored)
        assert info["name"].encode() in piece[:512]
        assert piece[510:512] == b"\x55\xaa"


HISTORIC = [  # of libcloud 3.7.0, then those that each zone had of its own, then those of jclouds' ServerLove
    "38df0986-4d85-4b76-b502-3878ffc80161",
    "980cf63c-f21e-4382-997b-6541d5809629",
    "aee5589a-88c3-43ef-bb0a-9cab6e64192d",
    "62f512cd-82c7-498e-88d8-a09ac2ef20e7",
    "b9d0eb72-d273-43f1-98e3-0d4b87d372c0",
    "30824e97-05a4-410c-946e-2ba5a92b07cb",
    "9ecf810e-6ad1-40ef-b360-d606f0444671",
    "10a88d1c-6575-46e3-8d2c-7744065ea530",
    "2567f25c-8fb8-45c7-95fc-bfe3c3d84c47",
    "6acfe7ea-1bb0-466e-992d-3830966e9da8",
    "e994eedf-ce5c-4efd-9d0d-a16f690004f7",
    "73f7cc6a-1c48-418a-80de-886b28a56a4d",
    "ff7c5f7b-1cc8-42e5-afe1-ca00c5faaaa6",
    "e97e0a2a-08d7-4624-b796-708f2adfc6b0",
    "9405cddf-8d01-472c-b7e3-e8c062dcde51",
    "24ea9dad-f014-4836-bcb0-f03184c74e7a",
    "13f9f85d-ed1c-4fb0-aa26-3e84da826faf",
    "8d8aee18-8744-452c-94b2-69a2a34b8460",
    "b405b598-4ae4-4ba8-8a2b-a9487d693f34",
    "88ed067f-d2b8-42ce-a25f-5297818a3b6f",
    "bcd758d4-cfc8-4d42-a707-c4bebe47900b",
    "aca2fa0b-40bc-4e06-ad99-f1467690d5de",
    "574a3921-2926-4a61-bdd9-8d9282b32810",
    "80f7b359-b25f-48ea-b208-cc1f39d8bf07",
    "41993a02-0b22-4e49-bb47-0aa8975217e4",
    "7a488d27-7b79-472c-8fbc-84dca822027e",
    "a90a65b0-9452-4ac8-acfa-3e607c77cc9c",
    "85623ca1-9c2a-4398-a771-9a43c347e86b",
    "9183de46-ca66-43aa-aa8a-8d172acca51d",
]


@pytest.mark.parametrize("uuid", HISTORIC)
def test_a_historic_image_answers_and_can_be_cloned(wire: Wire, uuid: str) -> None:
    info = wire.json(f"/drives/{uuid}/info").json
    assert (info["drive"], info["format"], info["media"]) == (uuid, "gzip", "disk")
    clone = wire.json(f"/drives/{uuid}/clone/gunzip", {"name": "x"})
    assert (clone.status, clone.json["size"]) == (200, info["rawsize"])


def test_the_listing_is_that_of_may_2014_and_the_names_of_2019(wire: Wire) -> None:
    listed = wire.json("/drives/info/standard").json
    found = {info["name"]: info for info in listed}
    assert (len(listed), len(found)) == (39, 39)
    reference = (ROOT / "docs" / "reference" / "elastichosts-api.rst").read_text()
    captured = re.findall(r"^\* ``([0-9a-f-]{36})`` (.+), (\d+)$", reference, re.MULTILINE)
    assert len(captured) == 36
    shown = {(info["drive"], info["name"], str(info["size"])) for info in listed}
    assert set(captured) <= shown
    assert [info["media"] for info in listed].count("cdrom") == 24
    assert (found["Windows Server 2012 + SQL"]["rawsize"], found["Windows Server 2012 + SQL"]["size"]) == (
        32212254720,
        17192452096,
    )
    for name in ("Ubuntu 18.04", "Debian 9", "CentOS 7"):
        assert [info["media"] for info in found.values() if info["name"].startswith(name)] == ["disk"]


def test_counters_count_what_the_api_moved(wire: Wire) -> None:
    drive = wire.drive()
    wire.send("POST", f"/drives/{drive}/write", b"x" * 1000)
    wire.send("POST", f"/drives/{drive}/write/7", gzip.compress(bytes(2000)), content_encoding="gzip")
    wire.send("GET", f"/drives/{drive}/read/0/100")
    info = wire.json(f"/drives/{drive}/info").json
    assert [info[f"write:{unit}"] for unit in ("bytes", "requests")] == ["7096", "3"]
    assert [info[f"read:{unit}"] for unit in ("bytes", "requests")] == ["4196", "2"]


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(b"x" * SIZE + b"one more"),
        gzip.compress(os.urandom(3 << 20))[:-1],
        gzip.compress(b"y" * 2000) + b"no gzip",
    ],
    ids=["too long", "cut off", "followed by something else"],
)
def test_bad_gzip_leaves_the_drive_as_it_was(wire: Wire, body: bytes) -> None:
    drive = wire.drive()
    wire.send("POST", f"/drives/{drive}/write", b"as it was" * 1000)
    file = wire.endpoint.state / "drives" / f"{drive}.raw"
    before = file.read_bytes()
    assert wire.send("POST", f"/drives/{drive}/write", body, content_encoding="gzip").status in (400, 507)
    assert file.read_bytes() == before
    assert len(list(file.parent.iterdir())) == len(wire.send("GET", "/drives/list").text.split())


def test_a_standard_cdrom_is_attached_as_it_is_by_many(wire: Wire) -> None:
    info = next(info for info in wire.json("/drives/info/standard").json if info["media"] == "cdrom")
    for _unused in range(2):
        server = wire.server(ide__0__0=info["drive"], ide__0__0__media="cdrom", boot="ide:0:0")
        assert wire.json(f"/servers/{server}/info").json["ide:0:0:media"] == "cdrom"


def test_a_disk_without_space_is_507(wire: Wire) -> None:
    drive = wire.drive()
    file = wire.endpoint.state / "drives" / f"{drive}.raw"
    file.unlink()
    file.symlink_to("/dev/full")
    answer = wire.send("POST", f"/drives/{drive}/write", b"x")
    assert answer.error == (507, "full")
    assert wire.send("POST", f"/drives/{drive}/destroy").status == 204


# Callers that are lost on the way


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with Endpoint(tmp_path_factory.mktemp("impatient") / "state", "--body-timeout", "0.5") as endpoint:
        yield endpoint


@contextmanager
def half_a_call(endpoint: Endpoint, path: str, size: int = 1000, encoding: str = "") -> Iterator[socket.socket]:
    """A caller that was told to go on, and has sent the first half of a body of size bytes."""
    fields = {
        **basic(endpoint.auth),
        "Expect": "100-continue",
        "Content-Encoding": encoding,
        "Content-Length": str(size),
    }
    head = f"POST {path} HTTP/1.1\r\nHost: here\r\n" + "".join(f"{key}: {value}\r\n" for key, value in fields.items())
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=20) as caller:
        caller.sendall(head.encode() + b"\r\n")
        assert caller.recv(100).startswith(b"HTTP/1.1 100")
        caller.sendall(b"x" * (size // 2))
        yield caller


def busy(wire: Wire, drive: str) -> bool:
    return wire.send("POST", f"/drives/{drive}/write", b"mine").error == (409, "busy")


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_a_caller_that_falls_silent_loses_its_connection_and_the_drive_is_free_again(
    impatient: Endpoint, encoding: str
) -> None:
    with Wire(impatient) as wire:
        drive = wire.drive()
        with half_a_call(impatient, f"/drives/{drive}/write/4096", encoding=encoding) as caller:
            assert busy(wire, drive)
            with pytest.raises(ConnectionResetError):
                caller.recv(1)
        assert not busy(wire, drive)
        assert wire.send("GET", f"/drives/{drive}/read/0/4").content == b"mine"


def test_a_slow_caller_that_is_never_silent_is_heard_to_its_end(impatient: Endpoint) -> None:
    with Wire(impatient) as wire:
        drive = wire.drive()
        with half_a_call(impatient, f"/drives/{drive}/write", 10) as caller:
            for _pause in range(5):
                time.sleep(0.2)
                caller.sendall(b"y")
            assert caller.recv(100).startswith(b"HTTP/1.1 204")
        assert wire.send("GET", f"/drives/{drive}/read/0/10").content == b"x" * 5 + b"y" * 5


def test_silence_ends_a_call_with_properties_too_and_the_endpoint_goes_on(impatient: Endpoint) -> None:
    with half_a_call(impatient, "/drives/create") as caller, pytest.raises(ConnectionResetError):
        caller.recv(1)
    with Wire(impatient) as wire:
        assert wire.drive()
    assert " 499 " in impatient.log.read_text()
    assert "Traceback" not in impatient.log.read_text()


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_caller_that_leaves_on_the_way_frees_its_drive(wire: Wire, end: str) -> None:
    drive = wire.drive()
    with half_a_call(wire.endpoint, f"/drives/{drive}/write") as caller:
        assert busy(wire, drive)
        if end == "reset":
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
    assert eventually(lambda: not busy(wire, drive))
