# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong on a real machine: each ends with one clear sentence, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.kvm.box import Box, Libvirtd, until, virsh
from tests.kvm.guest import FILLER

MIB = 1 << 20


def node(**more: Any) -> dict[str, Any]:
    """A server that boots from nothing, which takes no time."""
    return {"name": "node", "cpu": 500, "mem": 256, "persistent": "true", **more}


def processes(word: str) -> list[int]:
    """The processes of this machine with a word in their command line; setpriv's are on the way to become one."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            content = file.read_bytes()
        except OSError:
            continue
        if word.encode() in content and not content.startswith(b"setpriv"):
            found.append(int(file.parent.name))
    return found


def return_libvirtd(box: Box) -> None:
    """Start it again, and wait until the endpoint has found that out."""
    before = len(box.logged("is back"))
    Libvirtd.start()
    until(lambda: len(box.logged("is back")) > before, "the endpoint has found libvirt again", seconds=15)


@pytest.fixture
def server(box: Box) -> Iterator[str]:
    uuid = str(
        box.call("/servers/create", node(**{"nic:0:dhcp": "auto", "vnc": "auto", "password": "x"})).json()["server"]
    )
    try:
        yield uuid
    finally:
        assert box.call(f"/servers/{uuid}/destroy").status_code == 204
        until(lambda: box.domains() == [], "libvirt has cleared up", seconds=15)


def test_libvirtd_dies_and_comes_back_while_a_guest_runs_on(box: Box, server: str) -> None:
    process = box.process(server)
    Libvirtd.kill()
    assert box.status(server) == "active"
    refused = box.call("/servers/create", node())
    assert refused.status_code == 500
    assert "libvirt" in refused.text and len(refused.text.splitlines()) == 1
    assert box.servers() == [server]
    return_libvirtd(box)
    assert (box.status(server), box.process(server)) == ("active", process)
    second = box.call("/servers/create", node()).json()["server"]
    virsh("destroy", f"{box.zone}-{second}")
    until(lambda: box.status(second) == "stopped", "events come again", seconds=5)
    box.call(f"/servers/{second}/destroy")


def test_a_guest_ends_while_libvirtd_is_away(box: Box, server: str) -> None:
    process = box.process(server)
    Libvirtd.kill()
    os.kill(process, signal.SIGKILL)
    until(lambda: box.status(server) == "stopped", "stopped", seconds=1)
    return_libvirtd(box)
    until(lambda: box.call(f"/servers/{server}/start").status_code == 200, "it starts again", seconds=30)


def test_libvirtd_dies_in_the_middle_of_a_create(box: Box) -> None:
    with ThreadPoolExecutor(1) as threads:
        creating = threads.submit(box.call, "/servers/create", node())
        until(lambda: processes(f"guest={box.zone}-"), "the guest's process is there", seconds=30)
        Libvirtd.kill()
        answer = creating.result(timeout=30)
    return_libvirtd(box)
    owned = [answer.json()["server"]] if answer.status_code == 200 else []
    assert box.servers() == owned
    until(lambda: box.domains() == owned, "no guest runs that nobody owns", seconds=30)
    until(lambda: len(processes(f"guest={box.zone}-")) == len(owned), "nor a process of one", seconds=30)
    for uuid in owned:
        box.call(f"/servers/{uuid}/destroy")


def test_the_endpoint_is_killed_in_the_middle_of_a_create(box: Box) -> None:
    with ThreadPoolExecutor(1) as threads:
        creating = threads.submit(box.call, "/servers/create", node())
        until(lambda: processes(f"guest={box.zone}-"), "the guest's process is there", seconds=30)
        box.kill()
        with pytest.raises(requests.ConnectionError):
            creating.result(timeout=30)
    box.start()
    found = box.call("/servers/info").json()
    assert len(found) == 1, "the record came before the guest"
    active = [one["server"] for one in found if one["status"] == "active"]
    until(lambda: box.domains() == active, "a guest for every server that is said to run", seconds=15)
    assert box.call(f"/servers/{found[0]['server']}/destroy").status_code == 204
    assert processes(f"guest={box.zone}-") == []


def test_the_endpoint_is_ended_while_it_tries_a_guest_and_is_started_again_at_once(place: Path) -> None:
    box = Box(place / "early", "10.178.0.0/24", start=False)
    try:
        with ThreadPoolExecutor(1) as threads:
            starting = threads.submit(box.start)
            (trial,) = until(lambda: processes("-trial-"), "a trial runs", seconds=30)
            os.kill(trial, signal.SIGSTOP)  # so libvirt is seconds about clearing up after it
            os.kill(box.pid, signal.SIGTERM)
            with pytest.raises(RuntimeError):
                starting.result(timeout=30)
        box.start()
        assert box.logged("already exists") == [], "its trial does not meet the one before"
        with suppress(ProcessLookupError):
            os.kill(trial, signal.SIGKILL)
        until(lambda: box.domains() == [], "libvirt has cleared up", seconds=30)
    finally:
        box.stop()
        box.empty()


def test_the_endpoint_is_killed_in_the_middle_of_a_copy(box: Box) -> None:
    part, parts = os.urandom(MIB) * 64, 8  # a fast machine copies 64 MiB between two looks
    size = len(part) * parts
    source, target = (box.call("/drives/create", {"size": size}).json()["drive"] for _unused in "st")
    for offset in range(0, size, len(part)):
        path = f"/drives/{source}/write/{offset}"
        assert requests.post(f"{box.url}{path}", data=part, auth=(box.user, box.key), timeout=60).status_code == 204
    assert box.call(f"/drives/{target}/image/{source}").status_code == 200
    (copying,) = until(lambda: processes("qemu-img\0convert"), "qemu-img is at work")
    os.kill(copying, signal.SIGSTOP)
    box.kill()
    until(lambda: not Path(f"/proc/{copying}").exists(), "no copy outlives the endpoint", seconds=5)
    box.start()
    until(lambda: "imaging" not in box.call(f"/drives/{target}/info").json(), "the copy is made again")
    with (box.state / "drives" / f"{target}.raw").open("rb") as copy:
        assert all(copy.read(len(part)) == part for _unused in range(parts))
    for drive in (source, target):
        assert box.call(f"/drives/{drive}/destroy").status_code == 204


def test_somebody_takes_the_network_away(box: Box) -> None:
    virsh("net-destroy", box.zone)
    made = box.call("/servers/create", node(**{"nic:0:dhcp": "auto"}))
    assert made.status_code == 200, made.text
    assert box.zone in virsh("net-list", "--name").split()
    box.call(f"/servers/{made.json()['server']}/destroy")


def test_two_zones_live_on_one_libvirt_if_their_addresses_differ(box: Box, server: str, place: Path) -> None:
    other = Box(place / "other", "10.178.0.0/24")
    try:
        mine = other.call("/servers/create", node(**{"nic:0:dhcp": "auto"})).json()["server"]
        for one in (box, other):
            one.kill()
            one.start()
        assert (box.domains(), other.domains()) == ([server], [mine])
        assert other.call(f"/servers/{server}/info").status_code == 404
    finally:
        other.stop()
        other.empty()
    same = Box(place / "same", "10.177.0.0/24", start=False)
    with pytest.raises(RuntimeError):
        same.start()
    (sentence,) = same.logged("eh_endpoint: ")
    assert "addresses of 10.177.0.0/24 are in use on this machine already" in sentence
    assert "Traceback" not in same.log.read_text()


def test_a_zone_whose_addresses_change_says_what_runs_on_the_old_ones(box: Box, server: str) -> None:
    box.stop()
    arguments, box.arguments = (
        box.arguments,
        tuple("10.177.9.0/24" if "/" in one and one[0] == "1" else one for one in box.arguments),
    )
    with pytest.raises(RuntimeError):
        box.start()
    box.arguments = arguments
    box.start()
    assert "guests are running on network" in box.logged("eh_endpoint: ")[-1]
    assert box.status(server) == "active"


@pytest.fixture
def small(place: Path) -> Iterator[Box]:
    """A zone with little disk."""
    drives = place / "small" / "drives"
    drives.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "small", str(drives)], check=True)
    box = Box(place / "small", "10.178.0.0/24")
    try:
        yield box
    finally:
        box.stop()
        box.empty()
        subprocess.run(["umount", "--lazy", str(drives)], check=True)


def test_a_guest_that_fills_the_disk_waits_for_room_and_goes_on(small: Box) -> None:
    drive = small.call("/drives/create", {"size": 128 * MIB}).json()["drive"]
    requests.post(f"{small.url}/drives/{drive}/write", data=FILLER, auth=(small.user, small.key), timeout=60)
    uuid = small.call("/servers/create", node(**{"ide:0:0": drive, "boot": "ide:0:0"})).json()["server"]
    until(lambda: small.status(uuid) == "paused", "the guest is paused")
    assert len(small.logged(f"guest {uuid} is paused: the disk under its drives has no space left")) == 1
    full = small.call("/drives/create", {"size": 4 * MIB}).json()["drive"]
    refused = requests.post(
        f"{small.url}/drives/{full}/write", data=os.urandom(MIB), auth=(small.user, small.key), timeout=60
    )
    assert refused.status_code >= 400 and "no space left" in refused.text
    written = int(small.call(f"/servers/{uuid}/info").json()["ide:0:0:write:bytes"])
    subprocess.run(["mount", "-o", "remount,size=256m", str(small.state / "drives")], check=True)
    until(lambda: small.status(uuid) == "active", "the guest goes on", seconds=15)
    until(lambda: int(small.call(f"/servers/{uuid}/info").json()["ide:0:0:write:bytes"]) > written, "and writes")
    assert small.call(f"/servers/{uuid}/destroy").status_code == 204
