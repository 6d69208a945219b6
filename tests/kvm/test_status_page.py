# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status page and a console, seen with a real browser on a real guest."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.kvm.box import FOLDER, Box
from tests.support.endpoint import KEY, USER

LOOK = Path(__file__).with_name("look_at_page.py")
ACCOUNT = {"user": USER, "key": KEY, "quota": {"servers": 5, "mhz": 4000, "mb": 2048, "gb": 1}}
OTHER = {"user": "99999999-2222-4333-8444-555555555555", "key": "other"}


@pytest.fixture(scope="module")
def zone(place: Path) -> Iterator[Box]:
    """A zone with limits, consoles and a second account."""
    accounts = place / "accounts.json"
    accounts.write_text(json.dumps({"accounts": [ACCOUNT, OTHER]}))
    novnc = FOLDER / "console" / "node_modules" / "@novnc" / "novnc"
    box = Box(place / "page", "10.179.0.0/24", "--accounts", str(accounts), "--novnc", str(novnc))
    try:
        yield box
    finally:
        box.stop()
        box.empty()


@pytest.fixture(scope="module")
def server(zone: Box) -> str:
    drive = zone.call("/drives/create", {"name": "<b>disk</b>", "size": 512 << 20}).json()["drive"]
    wanted = {"name": "<i>web</i>", "cpu": 500, "mem": 256, "ide:0:0": drive, "vnc": "auto", "password": "geheim12"}
    made = zone.call("/servers/create", {**wanted, "nic:0:dhcp": "auto", "nic:0:model": "e1000"})
    assert made.status_code == 200, made.text
    return str(made.json()["server"])


def test_a_person_sees_the_account_and_the_screen_of_a_guest(zone: Box, server: str) -> None:
    python = FOLDER / "browser" / "bin" / "python"
    command = [str(python), str(LOOK), zone.url, zone.user, zone.key, "geheim12"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout)
    assert seen["stranger"] == 401
    assert seen["heading"] == f"Account {USER}"
    assert seen["servers"][0] == f"<i>web</i>\n{server}"
    assert seen["servers"][1].endswith("active") and seen["servers"][2].startswith("10.179.0.")
    assert seen["drives"][0].startswith("<b>disk</b>\n") and seen["drives"][1] == "512 MiB"
    assert seen["drives"][4] == "<i>web</i>", "who uses a drive is named"
    assert seen["meters"] == 5
    assert seen["buttons"] == 0, "the page changes nothing"
    assert seen["secret"] is False
    assert seen["overflow"] == {"320": 0, "390": 0, "1280": 0}
    assert seen["sifted"] == [0, 2]
    assert seen["refreshed"] == {"focused": True}
    assert seen["console"] == {"first": "To the content", "taken": False, "painted": True}
    assert seen["problems"] == []
    assert seen["other_site"] == [403, 200], "its form makes no drive, its link shows the page"
    assert len(zone.call("/drives/list").json()) == 1


def test_another_account_sees_neither_server_nor_console(zone: Box, server: str) -> None:
    other = OTHER["user"], OTHER["key"]
    page = requests.get(f"{zone.url}/", auth=other, timeout=10)
    assert page.status_code == 200
    assert server not in page.text
    assert requests.get(f"{zone.url}/console/{server}", auth=other, timeout=10).status_code == 404


@pytest.mark.parametrize("origin", ["https://evil.example", ""])
def test_another_sites_page_cannot_open_the_console(zone: Box, server: str, origin: str) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": origin}  # fmt: skip
    url = f"{zone.url}/console/{server}/socket"
    own = requests.get(
        url, auth=(zone.user, zone.key), timeout=10, headers={**headers, "Origin": zone.url}, stream=True
    )
    assert own.status_code == 101
    own.close()
    assert requests.get(url, auth=(zone.user, zone.key), timeout=10, headers=headers).status_code == 403


def test_nothing_but_scripts_of_novnc_comes_out_of_its_folder(zone: Box) -> None:
    for path in ("/novnc/package.json", "/novnc/core/../package.json", "/novnc/core/..%2f..%2f..%2fpackage.js"):
        assert requests.get(f"{zone.url}{path}", auth=(zone.user, zone.key), timeout=10).status_code == 404
    script = requests.get(f"{zone.url}/novnc/core/rfb.js", auth=(zone.user, zone.key), timeout=10)
    assert script.status_code == 200 and script.headers["Content-Type"].startswith("text/javascript")
