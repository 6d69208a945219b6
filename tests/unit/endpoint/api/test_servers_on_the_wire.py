# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden answers of every server call, in both formats, and the life of a server (elastichosts-api 2.2, 3, 4)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoint import USER, Endpoint
from tests.unit.endpoint.conftest import UUID, Wire, as_format_1


def create_text(drive: str) -> str:
    """The example of the manual (elastichosts-api 4.5), without a final newline as jclouds sends it."""
    return (
        f"name web1\ncpu 2000\nsmp auto\nmem 1024\npersistent true\nide:0:0 {drive}\nboot ide:0:0\n"
        "nic:0:model e1000\nnic:0:dhcp auto\nvnc auto\npassword Xx12yy34"
    )


def active_text(drive: str, server: str, address: str, mac: str, started: str) -> str:
    return f"""\
boot ide:0:0
cpu 2000
ide:0:0 {drive}
ide:0:0:read:bytes 0
ide:0:0:read:requests 0
ide:0:0:write:bytes 0
ide:0:0:write:requests 0
mem 1024
name web1
nic:0:dhcp auto
nic:0:dhcp:ip {address}
nic:0:ip {address}
nic:0:mac {mac}
nic:0:model e1000
nic:0:rx:bytes 0
nic:0:rx:packets 0
nic:0:tx:bytes 0
nic:0:tx:packets 0
password Xx12yy34
persistent true
server {server}
smp auto
smp:cores 1
started {started}
status active
type vm
user {USER}
vnc auto
vnc:ip {address}
"""


def stopped_text(drive: str, server: str) -> str:
    return f"""\
boot ide:0:0
cpu 2000
ide:0:0 {drive}
mem 1024
name web1
nic:0:dhcp auto
nic:0:model e1000
password Xx12yy34
persistent true
server {server}
smp auto
status stopped
type vm
user {USER}
vnc auto
vnc:ip auto
"""


def lines(text: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in text.splitlines())


def status(wire: Wire, server: str) -> str:
    answer = wire.json(f"/servers/{server}/info")
    return str(answer.json["status"]) if answer.status == 200 else f"{answer.status}"


def test_create_starts_the_server_and_shows_all_of_it(wire: Wire) -> None:
    drive = wire.drive()
    before = int(time.time())
    answer = wire.send("POST", "/servers/create", create_text(drive), content_type="application/octet-stream")
    assert (answer.status, answer.headers["x-elastic-output"]) == (200, "properties")
    found = lines(answer.text)
    assert re.fullmatch(UUID, found["server"])
    assert re.fullmatch(r"198\.1[89]\.\d+\.\d+", found["nic:0:dhcp:ip"])
    assert re.fullmatch(r"6a(:[0-9a-f]{2}){5}", found["nic:0:mac"])
    assert before <= int(found["started"]) <= time.time()
    assert answer.text == active_text(
        drive, found["server"], found["nic:0:dhcp:ip"], found["nic:0:mac"], found["started"]
    )
    assert f"\nclaimed {found['server']}\n" in "\n" + wire.text(f"/drives/{drive}/info").text


def test_create_in_json_has_numbers_where_the_service_had_numbers(wire: Wire) -> None:
    drive = wire.drive()
    answer = wire.json(
        "/servers/create",
        {
            "name": "node",
            "cpu": 2000,
            "mem": "1024",
            "smp": 2,
            "ide:0:0": drive,
            "boot": ["ide:0:0"],
            "persistent": True,
            "nic:0:model": "e1000",
            "nic:0:dhcp": "auto",
        },
    )
    found = answer.json
    kinds = {key: type(value) for key, value in found.items()}
    numbers = {"cpu", "mem", "smp", "smp:cores", "started", *(key for key in found if re.match(r"nic:0:[rt]x:", key))}
    assert {key for key, kind in kinds.items() if kind is int} == numbers
    assert all(kind is str for key, kind in kinds.items() if key not in numbers)
    assert found["persistent"] == "true"
    assert found["boot"] == "ide:0:0"
    assert found["ide:0:0:read:bytes"] == "0"
    assert list(found) == sorted(found)


def test_create_stopped_claims_nothing_and_shows_what_is_configured(wire: Wire) -> None:
    drive = wire.drive()
    answer = wire.text("/servers/create/stopped", create_text(drive))
    assert answer.status == 200
    server = lines(answer.text)["server"]
    assert answer.text == stopped_text(drive, server)
    assert "claimed" not in wire.json(f"/drives/{drive}/info").json
    in_json = wire.json(f"/servers/{server}/info").json
    assert {key: str(value) for key, value in in_json.items()} == lines(answer.text)


def test_list_and_info_of_all(wire: Wire) -> None:
    first, second = wire.server("create/stopped"), wire.server("create/stopped")
    assert wire.send("GET", "/servers/list").text.endswith(f"{first}\n{second}\n")
    assert wire.json("/servers/list").json[-2:] == [{"uuid": first}, {"uuid": second}]
    one, two = (wire.text(f"/servers/{server}/info") for server in (first, second))
    for call in ("/servers/info", "/servers/info/full"):
        answer = wire.send("GET", call)
        assert answer.headers["x-elastic-output"] == "properties"
        assert answer.text.endswith(one.text + "\n" + two.text)
        assert [found["server"] for found in wire.json(call).json[-2:]] == [first, second]
    assert wire.text(f"/servers/{first}/info/full").text == one.text


def test_the_life_of_a_persistent_server(wire: Wire) -> None:
    drive = wire.drive()
    server = lines(wire.text("/servers/create/stopped", create_text(drive)).text)["server"]
    started = wire.send("POST", f"/servers/{server}/start")
    assert (started.status, lines(started.text)["status"]) == (200, "active")
    assert wire.send("POST", f"/servers/{server}/start").error == (409, "busy")
    reset = wire.send("POST", f"/servers/{server}/reset")
    assert (reset.status, reset.content) == (204, b"")
    assert status(wire, server) == "active"
    stop = wire.send("POST", f"/servers/{server}/stop")
    assert (stop.status, stop.content) == (204, b"")
    assert wire.text(f"/servers/{server}/info").text == stopped_text(drive, server)
    assert "claimed" not in wire.json(f"/drives/{drive}/info").json
    for verb in ("stop", "shutdown", "reset"):
        answer = wire.send("POST", f"/servers/{server}/{verb}")
        assert answer.error == (409, "busy"), "clients repeat a 500 (elastichosts-api 2.2)"
        assert server in answer.text and "stopped" in answer.text
    destroy = wire.send("POST", f"/servers/{server}/destroy")
    assert (destroy.status, destroy.content) == (204, b"")
    for call in ("info", "set", "start", "stop", "shutdown", "reset", "destroy"):
        answer = wire.send("POST", f"/servers/{server}/{call}")
        assert answer.error == (404, "missing")
        assert server in answer.text
    assert wire.json(f"/drives/{drive}/info").status == 200


def test_a_server_that_is_not_persistent_is_gone_after_stop_and_keeps_its_drive(wire: Wire) -> None:
    drive = wire.drive()
    server = wire.server(ide__0__0=drive, boot="ide:0:0")
    assert "persistent" not in wire.json(f"/servers/{server}/info").json
    assert wire.send("POST", f"/servers/{server}/stop").status == 204
    assert status(wire, server) == "404"
    assert "claimed" not in wire.json(f"/drives/{drive}/info").json


@pytest.mark.parametrize("word", ["false", False, "0", "", None])
def test_what_counts_as_not_persistent_is_not_echoed(wire: Wire, word: object) -> None:
    server = wire.server("create/stopped", persistent=word)
    assert "persistent" not in wire.json(f"/servers/{server}/info").json


def test_destroy_takes_a_running_server_at_once(wire: Wire) -> None:
    server = wire.server(persistent="true")
    assert wire.send("POST", f"/servers/{server}/destroy").status == 204
    assert status(wire, server) == "404"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Guests that obey ACPI without delay."""
    with Endpoint(tmp_path_factory.mktemp("quick"), "--acpi-delay", "0") as running:
        yield running


def test_a_guest_obeys_the_power_button(quick: Endpoint, connect: Callable[..., Wire]) -> None:
    wire = connect(quick)
    stays, goes = wire.server(persistent="true"), wire.server()
    for server in (stays, goes):
        assert wire.send("POST", f"/servers/{server}/shutdown").status == 204
    assert (status(wire, stays), status(wire, goes)) == ("stopped", "404")


def test_a_pressed_power_button_outlives_the_endpoint_and_is_forgotten_at_a_reset(
    tmp_path: Path, connect: Callable[..., Wire]
) -> None:
    with Endpoint(tmp_path / "slow", "--acpi-delay", "1000") as slow:
        wire = connect(slow)
        obeys, forgets = wire.server(persistent="true"), wire.server(persistent="true")
        for server in (obeys, forgets):
            assert wire.send("POST", f"/servers/{server}/shutdown").status == 204
            assert status(wire, server) == "active"
        wire.send("POST", f"/servers/{forgets}/reset")
        slow.kill()
        slow.arguments = ("--acpi-delay", "0")
        slow.start()
        wire = connect(slow)
        assert (status(wire, obeys), status(wire, forgets)) == ("stopped", "active")


def test_a_guest_that_ignores_acpi_stays_active(tmp_path: Path, connect: Callable[..., Wire]) -> None:
    with Endpoint(tmp_path / "deaf", "--acpi-delay", "never") as deaf:
        wire = connect(deaf)
        server = wire.server()
        assert wire.send("POST", f"/servers/{server}/shutdown").status == 204
        assert status(wire, server) == "active"
        assert wire.send("POST", f"/servers/{server}/stop").status == 204


def test_an_address_can_come_late(tmp_path: Path, connect: Callable[..., Wire]) -> None:
    with Endpoint(tmp_path / "late", "--address-delay", "1000") as late:
        wire = connect(late)
        server = wire.server(nic__0__dhcp="auto", vnc="auto", password="geheim")
        found = wire.json(f"/servers/{server}/info").json
        assert found["status"] == "active"
        assert found["nic:0:dhcp"] == "auto"
        assert not {"nic:0:ip", "nic:0:dhcp:ip", "vnc:ip"} & set(found)


def test_set_on_a_stopped_server_takes_any_key_and_keeps_the_rest(wire: Wire) -> None:
    drive, other = wire.drive(), wire.drive()
    server = lines(wire.text("/servers/create/stopped", create_text(drive)).text)["server"]
    answer = wire.text(f"/servers/{server}/set", f"ide:0:0 {other}\nmem 512\npersistent false\nuser:a b c")
    assert answer.status == 200
    expected = {**lines(stopped_text(other, server)), "mem": "512", "user:a": "b c"}
    del expected["persistent"]
    assert lines(answer.text) == expected
    assert wire.text(f"/servers/{server}/info").text == answer.text


def test_set_on_an_active_server_takes_the_live_keys_only(wire: Wire) -> None:
    server = wire.server()
    live = {"name": "n", "cpu": 600, "persistent": "true", "tags": "a b", "user:x": "y", "password": "12345678"}
    answer = wire.json(f"/servers/{server}/set", live)
    assert answer.status == 200
    assert {key: answer.json[key] for key in live} == live
    for key, value in {"mem": 512, "smp": 2, "nic:0:model": "virtio", "vnc": "auto", "boot": "ide:0:0"}.items():
        refused = wire.json(f"/servers/{server}/set", {"name": "other", key: value})
        assert refused.error == (400, "usage")
        assert key in refused.text
        assert server in refused.text
    assert wire.json(f"/servers/{server}/info").json["name"] == "n"


def test_set_takes_back_a_whole_info_object_of_an_active_server(wire: Wire) -> None:
    drive = wire.drive()
    server = lines(wire.text("/servers/create", create_text(drive)).text)["server"]
    info = wire.json(f"/servers/{server}/info").json
    info["name"] = "renamed"
    answer = wire.json(f"/servers/{server}/set", info)
    assert (answer.status, answer.json["name"]) == (200, "renamed")


def test_null_and_an_empty_value_unset_a_key(wire: Wire) -> None:
    server = wire.server("create/stopped", tags="a", user__k="v", vnc="auto")
    assert "tags" not in wire.json(f"/servers/{server}/set", {"tags": None}).json
    assert "user:k" not in wire.text(f"/servers/{server}/set", "user:k \nvnc").text
    for key in ("cpu", "mem"):
        assert wire.json(f"/servers/{server}/set", {key: None}).error == (400, "usage")


def test_a_server_without_smp_starts_with_as_many_cores_as_it_needs(wire: Wire) -> None:
    server = wire.server("create/stopped", smp=4, cpu=6000)
    assert "smp" not in wire.json(f"/servers/{server}/set", {"smp": None}).json
    assert wire.json(f"/servers/{server}/start").json["smp:cores"] == 3


def test_a_device_that_is_taken_away_takes_its_media_with_it_but_not_the_boot_order(wire: Wire) -> None:
    drive = wire.drive()
    server = wire.server("create/stopped", ide__0__1=drive, ide__0__1__media="cdrom", boot="ide:0:1")
    assert wire.json(f"/servers/{server}/set", {"ide:0:1": None}).error == (400, "usage")
    found = wire.json(f"/servers/{server}/set", {"ide:0:1": None, "boot": None}).json
    assert not [key for key in found if key.startswith(("ide", "boot"))]


def test_the_older_vnc_spellings_are_taken(wire: Wire) -> None:
    server = wire.server(vnc__ip="auto", vnc__password="geheim")
    found = wire.json(f"/servers/{server}/info").json
    assert (found["vnc"], found["password"]) == ("auto", "geheim")
    assert re.fullmatch(r"198\.18\.0\.\d", found["vnc:ip"])
    assert "vnc:password" not in found


@pytest.fixture(scope="module", params=["new", "old"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """An endpoint of each generation."""
    with Endpoint(tmp_path_factory.mktemp(request.param), "--platform", request.param) as running:
        yield running


@pytest.mark.parametrize("as_json", [True, False])
def test_the_whole_info_of_a_server_can_be_sent_back(
    either: Endpoint, connect: Callable[..., Wire], as_json: bool
) -> None:
    wire = connect(either)
    vlan = wire.json("/resources/vlan/create", {"name": "net"}).json["resource"]
    settings = {"ide__0__0": wire.drive(), "ide__0__1": wire.drive(), "boot": "ide:0:1 ide:0:0", "persistent": "true"}
    nics = {"nic__0__dhcp": "auto", "nic__1__vlan": vlan, "nic__1__model": "virtio"}
    server = wire.server(
        vnc__ip="auto", vnc__password="geheim", user__note="two\nlines \\n", cpu=4000, **settings, **nics
    )

    def send_back(info: dict[str, Any], **changed: Any) -> dict[str, Any]:
        if as_json:
            answer = wire.json(f"/servers/{server}/set", info | changed)
        else:
            answer = wire.text(
                f"/servers/{server}/set", info["text"] + "".join(f"{k} {v}\n" for k, v in changed.items())
            )
        assert answer.status == 200, answer.text
        return without_counters(wire.json(f"/servers/{server}/info").json)

    def shown() -> dict[str, Any]:
        return (
            wire.json(f"/servers/{server}/info").json
            if as_json
            else {"text": wire.text(f"/servers/{server}/info").text}
        )

    before = without_counters(wire.json(f"/servers/{server}/info").json)
    running = shown()
    assert send_back(running) == before
    assert send_back(running, name="renamed", password="anders") == before | {
        key: "anders" for key in before if "password" in key
    } | {"name": "renamed"}
    assert wire.send("POST", f"/servers/{server}/stop").status == 204
    stopped = wire.json(f"/servers/{server}/info").json
    assert send_back(shown()) == stopped
    assert send_back(running)["nic:0:dhcp"] == "auto", "the address that it had is no static one"
    assert wire.send("POST", f"/servers/{server}/start").status == 200


def without_counters(info: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in info.items() if not re.search(r"bytes|requests|packets|^[rt]x$", key)}


def test_an_address_that_the_server_has_or_had_is_read_as_auto(either: Endpoint, connect: Callable[..., Wire]) -> None:
    """jclouds sends the address of an earlier start as `nic:0:dhcp`, once the server is stopped."""
    wire = connect(either)
    shown = "nic:0:dhcp:ip" if "old" not in either.arguments else "nic:0:dhcp"
    other = wire.server(nic__0__dhcp="auto")
    server = wire.server(persistent="true", nic__0__dhcp="auto")
    had = [wire.json(f"/servers/{server}/info").json[shown]]
    for _start in range(2):
        assert wire.send("POST", f"/servers/{server}/stop").status == 204
        had.append(wire.json(f"/servers/{server}/start").json[shown])
    foreign = wire.json(f"/servers/{other}/info").json[shown]
    either.kill()
    either.start()
    wire = connect(either)
    for active in (True, False):
        for address in had:
            assert wire.json(f"/servers/{server}/set", {"nic:0:dhcp": address, "name": "x"}).status == 200
        assert wire.json(f"/servers/{server}/set", {"nic:0:dhcp": foreign}).status == (400 if active else 404)
        if active:
            assert wire.send("POST", f"/servers/{server}/stop").status == 204
    assert wire.json(f"/servers/{server}/info").json["nic:0:dhcp"] == "auto"


def test_a_server_of_an_older_state_takes_its_own_address_back(tmp_path: Path, connect: Callable[..., Wire]) -> None:
    with Endpoint(tmp_path / "state") as older:
        server = connect(older).server(nic__0__dhcp="auto")
        older.stop()
        without = "UPDATE objects SET document = json_remove(document, '$.past_addresses')"
        as_format_1(tmp_path / "state" / "state.sqlite", without)
        older.start()
        wire = connect(older)
        found = wire.json(f"/servers/{server}/info").json
        assert wire.json(f"/servers/{server}/set", {"nic:0:dhcp": found["nic:0:ip"]}).status == 200


def test_a_static_address_of_the_account_is_never_read_as_auto(wire: Wire) -> None:
    address = wire.json("/resources/ip/create", {"name": "a"}).json["resource"]
    server = wire.server(persistent="true", nic__0__dhcp=address)
    wire.send("POST", f"/servers/{server}/stop")
    assert wire.json(f"/servers/{server}/set", {"nic:0:dhcp": "auto"}).json["nic:0:dhcp"] == "auto"
    assert wire.json(f"/servers/{server}/set", {"nic:0:dhcp": address}).json["nic:0:dhcp"] == address


def test_what_jclouds_adds_to_the_info_of_a_running_server_changes_nothing(wire: Wire) -> None:
    """It sends the cores in use as `smp`, defaults of devices and NICs, and `auto` for NICs without an address."""
    vlan = wire.json("/resources/vlan/create", {"name": "net"}).json["resource"]
    server = wire.server(cpu=4000, nic__0__dhcp="auto", nic__1__vlan=vlan, ide__0__0=wire.drive())
    before = wire.json(f"/servers/{server}/info").json
    added = {"smp": "2", "ide:0:0:media": "disk", "nic:0:model": "e1000", "nic:1:model": "e1000", "nic:1:dhcp": "auto"}
    added |= {"nic:0:dhcp": before["nic:0:ip"]}
    after = wire.json(f"/servers/{server}/set", {**added, "name": "renamed"})
    assert after.status == 200, after.text
    assert without_counters(after.json) == without_counters(before) | {"name": "renamed"}
    for other in ({"smp": "3"}, {"ide:0:0:media": "cdrom"}, {"nic:1:dhcp": "198.18.0.9"}):
        assert wire.json(f"/servers/{server}/set", other).error == (400, "usage")


def test_the_last_of_a_duplicated_key_counts(wire: Wire) -> None:
    drive = wire.drive()
    answer = wire.text("/servers/create/stopped", f"cpu 500\nmem 500\nide:0:0 disk\nide:0:0 {drive}")
    assert lines(answer.text)["ide:0:0"] == drive


def test_several_boot_devices_are_an_array_in_json_and_words_in_text(wire: Wire) -> None:
    first, second = wire.drive(), wire.drive()
    server = wire.server("create/stopped", ide__0__0=first, block__1=second, boot="block:1 ide:0:0")
    assert wire.json(f"/servers/{server}/info").json["boot"] == ["block:1", "ide:0:0"]
    assert lines(wire.text(f"/servers/{server}/info").text)["boot"] == "block:1 ide:0:0"


def test_an_exclusive_drive_serves_one_active_server(wire: Wire) -> None:
    drive = wire.drive()
    first = wire.server(ide__0__0=drive)
    body = {"cpu": 500, "mem": 500, "ide:0:0": drive}
    refused = wire.json("/servers/create", body)
    assert refused.error == (409, "busy")
    assert drive in refused.text
    assert first in refused.text
    second = wire.server("create/stopped", ide__0__0=drive)
    assert wire.send("POST", f"/servers/{second}/start").error == (409, "busy")
    for call, sent in (("destroy", {}), ("set", {"size": "16M"}), ("write/0", {"x": "y"})):
        busy = wire.json(f"/drives/{drive}/{call}", sent)
        assert busy.error == (409, "busy")
        assert drive in busy.text
    assert wire.json(f"/drives/{drive}/set", {"name": "renamed"}).status == 200
    assert wire.send("GET", f"/drives/{drive}/read/0/512").status == 200
    wire.send("POST", f"/servers/{first}/destroy")
    assert wire.send("POST", f"/servers/{second}/start").status == 200


def test_a_shared_drive_serves_many(wire: Wire) -> None:
    drive = wire.drive(**{"claim:type": "shared"})
    servers = [wire.server(ide__0__0=drive) for _unused in range(2)]
    assert wire.json(f"/drives/{drive}/info").json["claimed"] == " ".join(servers)
    assert wire.json(f"/drives/{drive}/set", {"claim:type": "exclusive"}).error == (409, "busy")


def test_starting_a_server_whose_drive_is_gone_fails_with_the_drives_uuid(wire: Wire) -> None:
    drive = wire.drive()
    server = wire.server("create/stopped", ide__0__0=drive)
    assert wire.send("POST", f"/drives/{drive}/destroy").status == 204
    answer = wire.send("POST", f"/servers/{server}/start")
    assert answer.error == (500, "failed")
    assert drive in answer.text
    assert status(wire, server) == "stopped"


def test_each_active_server_has_an_address_of_its_own_and_gives_it_back(
    tmp_path: Path, connect: Callable[..., Wire]
) -> None:
    with Endpoint(tmp_path / "small", "--addresses", "192.0.2.0/29") as small:
        wire = connect(small)
        servers = [wire.server(nic__0__dhcp="auto") for _unused in range(3)]
        addresses = [wire.json(f"/servers/{server}/info").json["nic:0:ip"] for server in servers]
        assert addresses == ["192.0.2.4", "192.0.2.5", "192.0.2.6"]
        full = wire.json("/servers/create", {"cpu": 500, "mem": 500, "nic:0:dhcp": "auto"})
        assert full.error == (507, "full")
        assert wire.json("/servers/list").json == [{"uuid": server} for server in servers]
        wire.send("POST", f"/servers/{servers[1]}/destroy")
        again = wire.json("/servers/create", {"cpu": 500, "mem": 500, "nic:0:dhcp": "auto"})
        assert again.json["nic:0:ip"] == "192.0.2.5"


GOOD = {"cpu": "500", "mem": "500"}
GHOST = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"cpu": None}, (400, "usage"), "cpu"),
        ({"mem": None}, (400, "usage"), "mem"),
        ({"cpu": "fast"}, (400, "usage"), "cpu: invalid value 'fast'"),
        ({"cpu": "-5"}, (400, "usage"), "negative"),
        ({"cpu": "499"}, (400, "usage"), "500 to 20000 MHz"),
        ({"cpu": "20001"}, (400, "usage"), "invalid"),
        ({"mem": "255"}, (400, "usage"), "256 to 32768 MB"),
        ({"mem": "1" * 5000}, (400, "usage"), "invalid"),
        ({"smp": "9"}, (400, "usage"), "smp"),
        ({"boot": "ide:0:0"}, (400, "usage"), "names no drive"),
        ({"boot": "floppy"}, (400, "usage"), "boot"),
        ({"ide:0:0": "xxxxxxx-xxxx"}, (400, "usage"), "ide:0:0: invalid value 'xxxxxxx-xxxx'"),
        ({"ide:0:0": GHOST}, (404, "missing"), GHOST),
        ({"ide:2:0": GHOST}, (400, "usage"), "invalid key 'ide:2:0'"),
        ({"ide:0:0:media": "cdrom"}, (400, "usage"), "names no drive"),
        ({"nic:0:model": "ne2000"}, (400, "usage"), "nic:0:model"),
        ({"nic:0:dhcp": "198.18.0.77"}, (404, "missing"), "198.18.0.77"),
        ({"nic:0:dhcp": "300.1.1.1"}, (400, "usage"), "nic:0:dhcp"),
        ({"nic:1:vlan": GHOST}, (404, "missing"), GHOST),
        ({"name": "x" * 81}, (400, "usage"), "name"),
        ({"name": "bell\a"}, (400, "usage"), "name"),
        ({"persistent": "maybe"}, (400, "usage"), "persistent"),
        ({"colour": "red"}, (400, "usage"), "invalid key 'colour'"),
        ({"user:": "x"}, (400, "usage"), "invalid key"),
    ],
)
def test_create_refuses_with_a_sentence_and_creates_nothing(
    wire: Wire, change: dict[str, str | None], error: tuple[int, str], words: str
) -> None:
    before = wire.json("/servers/list").json
    body = {**GOOD, **change}
    for call in ("create", "create/stopped"):
        in_json = wire.json(f"/servers/{call}", body)
        assert in_json.error == error
        assert words in in_json.text
        as_text = "".join(f"{key} {value}\n" for key, value in body.items() if value is not None)
        assert wire.text(f"/servers/{call}", as_text).content == in_json.content
    assert wire.json("/servers/list").json == before


def test_the_same_drive_cannot_be_two_devices(wire: Wire) -> None:
    drive = wire.drive()
    answer = wire.json("/servers/create", {**GOOD, "ide:0:0": drive, "ide:0:1": drive})
    assert answer.error == (400, "usage")
    assert drive in answer.text


@pytest.mark.parametrize("key", ["password", "vnc:password"])
def test_a_password_that_is_too_long_is_refused_without_being_told(wire: Wire, key: str) -> None:
    answer = wire.json("/servers/create", {**GOOD, key: "correct-horse"})
    assert answer.error == (400, "usage")
    assert key in answer.text
    assert "horse" not in answer.text
    assert "horse" not in wire.endpoint.log.read_text()
