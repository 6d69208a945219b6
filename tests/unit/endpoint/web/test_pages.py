# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status page as HTML, with its style and scripts. tests/kvm looks at the page and at consoles with a browser."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.endpoint import KEY, USER, Endpoint
from tests.unit.endpoint.conftest import Answer, Control, Wire

SAFE = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store"}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("limited")
    quota = {"servers": 5, "mhz": 40000, "gb": 10}
    (folder / "accounts").write_text(json.dumps({"accounts": [{"user": USER, "key": KEY, "quota": quota}]}))
    options = ["--accounts", str(folder / "accounts"), "--control", "127.0.0.1:0", "--imaging-seconds", "100"]
    with Endpoint(folder / "state", *options) as endpoint:
        yield endpoint


def rows(page: Answer, table: str) -> list[list[str]]:
    """Return the cells of a table as HTML, without the white space around them."""
    section = page.text.partition(f'<section aria-labelledby="{table}">')[2].partition("</section>")[0]
    found = re.findall(r"<tr id=.*?</tr>", section, re.DOTALL)
    return [[cell.strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)] for row in found]


def test_an_account_without_anything_is_told_how_servers_and_drives_come(fresh_endpoint: Endpoint) -> None:
    with Wire(fresh_endpoint) as wire:
        page = wire.send("GET", "/")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text.startswith("<!DOCTYPE html>\n<html lang=")
    assert "No servers yet" in page.text and "No drives yet" in page.text
    assert page.text.count("no limit") == 7
    assert "{" not in page.text and "SPDX" not in page.text


def test_servers_and_drives_are_shown_with_what_uses_them(limited: Endpoint, connect: Callable[..., Wire]) -> None:
    wire = connect(limited)
    drive = wire.drive(name="<b>disk</b>", size="2G", tier="ssd")
    copy = wire.json(f"/drives/{drive}/clone", {}).json["drive"]
    with Control(limited) as control:
        control.advance(1000)
        wire.text("/drives/list")
        second = wire.json(f"/drives/{drive}/clone", {"size": "2052M"}).json["drive"]
        control.advance(42)
        settings = {"ide__0__0": copy, "nic__0__dhcp": "auto", "vnc": "auto", "password": "geheim"}
        server = wire.server(name="<i>web</i> & 'db'", cpu=2500, mem=1024, **settings)
        off = wire.server("create/stopped", name="", smp="auto")
        page = wire.send("GET", "/")
    named = "<b>&lt;i&gt;web&lt;/i&gt; &amp; &#39;db&#39;</b>"
    running, stopped = rows(page, "servers")
    assert running[0] == f"{named}<small>{server}</small>"
    assert running[1] == '<span class="state active">active</span>'
    assert running[2].startswith("198.18.") and running[3:6] == ["2,500", "1", "1,024"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC", running[6])
    assert stopped == [f"<b>without a name</b><small>{off}</small>", '<span class="state stopped">stopped</span>',
                       "", "500", "", "500", ""]  # fmt: skip
    source, used, copying = rows(page, "drives")
    assert source[:3] == [f"<b>&lt;b&gt;disk&lt;/b&gt;</b><small>{drive}</small>", "2 GiB", "ssd"]
    assert source[4] == f'<a href="#{second}">{second}</a>', "a drive that has no name is named by its UUID"
    assert used[3:] == ["active", f'<a href="#{server}">&lt;i&gt;web&lt;/i&gt; &amp; &#39;db&#39;</a>']
    assert copying[1] == f"{2052 / 1024:g} GiB"
    assert re.fullmatch(r'<progress max="100" value="[4-9]\d" aria-label="copying"></progress> [4-9]\d %', copying[3])
    assert page.text.count("<meter") == 4
    assert re.search(r"<b>2</b> of 5\s*<meter[^>]*max=\"5\" value=\"2\"[^>]*>2 of 5</meter>", page.text)
    assert "geheim" not in page.text


def test_drives_of_stopped_servers_do_not_look_spare(fresh_endpoint: Endpoint) -> None:
    with Wire(fresh_endpoint) as wire:
        system, data, shared, spare = wire.drive(), wire.drive(), wire.drive(claim__type="shared"), wire.drive()
        mail = wire.server("create/stopped", name="<mail>", ide__0__0=system, block__7=data, ide__0__1=shared)
        web = wire.server(name="web", persistent="true", ide__0__0=shared)
        page = wire.send("GET", "/")
        claims = {found["drive"]: found.get("claimed") for found in wire.json("/drives/info").json}
    stopped, running = f'<a href="#{mail}">&lt;mail&gt;</a> (stopped)', f'<a href="#{web}">web</a>'
    used = [row[4] for row in rows(page, "drives")]
    assert used == [stopped, stopped, f"{running}, {stopped}", ""]
    assert claims == {system: None, data: None, shared: web, spare: None}, "the API's own answer stays"


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [("/status.css", "text/css", "color-scheme: light dark"), ("/live.js", "text/javascript", "setInterval(look")],
)
def test_style_and_script_are_files(wire: Wire, path: str, kind: str, words: str) -> None:
    file = wire.send("GET", path)
    assert (file.status, file.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
    assert words in file.text
    for answer in (file, wire.send("GET", "/")):
        assert SAFE.items() <= answer.headers.items()
        assert "script-src 'self'" in answer.headers["content-security-policy"]
    head = wire.send("HEAD", path)
    assert (head.status, head.content, head.headers["content-length"]) == (200, b"", str(len(file.content)))


@pytest.mark.parametrize("path", ["/console.js", "/status.html", "/templates/status.html", "/novnc/core/rfb.js", "//"])
def test_nothing_else_is_served(wire: Wire, path: str) -> None:
    assert wire.send("GET", path).error == (404, "missing")
    assert wire.send("GET", "/console/11111111-2222-4333-8444-555555555555").error == (404, "missing")


@pytest.mark.parametrize(
    "header",
    [b"Host: \xff", b"Host: xn--\xff", b"Sec-WebSocket-Protocol: \xff", b"Sec-WebSocket-Extensions: \xff",
     b"Origin: http://[::1", b"Origin: http://\xff", b"X: y"],
)  # fmt: skip
def test_a_malformed_handshake_of_a_console_is_refused_without_a_traceback(tmp_path: Path, header: bytes) -> None:
    pytest.importorskip("wsproto", reason="consoles need roles/eh_endpoint/files/requirements.txt")
    (tmp_path / "novnc" / "core").mkdir(parents=True)
    (tmp_path / "novnc" / "core" / "rfb.js").touch()
    given = [b"Host: x", b"Origin: http://x", b"Connection: Upgrade", b"Upgrade: websocket", header,
             b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]  # fmt: skip
    lines = {line.partition(b":")[0]: line for line in given}
    path = f"/console/{USER}/socket".encode()
    with Endpoint(tmp_path / "state", "--novnc", str(tmp_path / "novnc")) as endpoint:
        with socket.create_connection(("127.0.0.1", endpoint.port), timeout=20) as connection:
            connection.sendall(b"\r\n".join([b"GET %s HTTP/1.1" % path, *lines.values(), b"", b""]))
            assert connection.recv(12) in (b"HTTP/1.1 400", b"HTTP/1.1 403")
        with Wire(endpoint) as wire:
            assert wire.send("GET", "/").status == 200
        assert "Traceback" not in endpoint.log.read_text()


def test_a_page_needs_the_account_and_changes_nothing(endpoint: Endpoint, connect: Callable[..., Wire]) -> None:
    for path in ("/", "/status.css", "/live.js"):
        stranger = connect(endpoint, f"{USER}:wrong").send("GET", path)
        assert stranger.error == (401, "auth") and stranger.headers["www-authenticate"].startswith("Basic")
        assert connect(endpoint).send("POST", path).error == (404, "missing")
