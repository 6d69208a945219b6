# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program: its options, its first line, its logs, and what it remembers after kill -9."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.endpoint import KEY, SOURCES, USER, Endpoint
from tests.unit.endpoint.conftest import Control, Wire, eventually

AUTH = f"{USER}:{KEY}"


def run(*arguments: str, before: Sequence[str] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    """The program with options that it cannot use: it has to end by itself. before: a command that starts it."""
    return subprocess.run(
        [*before, sys.executable, "-m", "eh_endpoint", *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCES), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "127.0.0.1", "--auth", AUTH], "--listen: '127.0.0.1' is not of the form HOST:PORT"),
        (["--listen", "127.0.0.1:99999", "--auth", AUTH], "HOST:PORT"),
        (["--listen", "no-such-host.invalid:0", "--auth", AUTH], "cannot listen on no-such-host.invalid"),
        (["--listen", "a..b:0", "--auth", AUTH], "cannot listen on a..b: "),
        (["--listen", "\udcff:0", "--auth", AUTH], "cannot listen on \\udcff: "),
        (["--listen", f"{'x' * 70}:0", "--auth", AUTH], "cannot listen on xxx"),
        (["--control", "a..b:0", "--auth", AUTH], "cannot listen on a..b: "),
        ([], "no account is given"),
        (["--auth", f"{USER}:secret-word\udcff"], "is not UTF-8"),
        (["--auth", "me:secret-word"], "not a UUID"),
        (["--auth", USER], "has no key"),
        (["--auth", AUTH, "--auth", f"{USER}:secret-word"], "two different keys"),
        (["--auth-file", "/no/such/file"], "/no/such/file cannot be read: No such file or directory"),
        (["--auth", AUTH, "--addresses", "10.0.0.0/30"], "too small"),
        (["--auth", AUTH, "--addresses", "ten"], "is not an IPv4 network"),
        (["--auth", AUTH, "--acpi-delay", "soon"], "--acpi-delay: 'soon' is not a number of seconds"),
        (["--auth", AUTH, "--imaging-seconds", "-1"], "--imaging-seconds: '-1' is not a number of seconds"),
        (["--auth", AUTH, "--body-timeout", "0"], "--body-timeout: '0' is not a number of seconds from 0.1 on"),
        (["--auth", AUTH, "--faults", "/no/such/file"], "--faults /no/such/file cannot be read"),
        (["--auth", AUTH, "--faults", "/dev/null"], "--faults /dev/null is not JSON"),
        (
            ["--auth", AUTH, "--origin", "zone.example.org"],
            "--origin: 'zone.example.org' is not of the form https://HOST",
        ),
        (["--auth", AUTH, "--origin", "https://zone.example.org/"], "without a path"),
        (["--auth", AUTH, "--origin", "http://[::1"], "is not of the form https://HOST"),
        (["--auth", AUTH, "--control", "8099"], "--control: '8099' is not of the form HOST:PORT"),
        (["--auth", AUTH, "--control", "0.0.0.0:0"], "add --control-open"),
        (["--auth", AUTH, "--exit-on-eof"], "--exit-on-eof: standard input is neither a pipe"),
        (["--accounts", "/no/such/file"], "--accounts: /no/such/file cannot be read"),
        (["--accounts", "/dev/null"], "--accounts: /dev/null: it is not JSON"),
        (["--auth", AUTH, "--request-log", "/no/such/folder/log"], "cannot be written"),
        (["--auth", AUTH, "--tls-cert", "/no/such/file"], "--tls-cert and --tls-key are given together"),
        (["--auth", AUTH, "--platform", "newest"], "--platform: invalid choice: 'newest'"),
        (["--auth", AUTH, "--nothing"], "unrecognized arguments: --nothing"),
    ],
)
def test_options_that_cannot_be_used_are_one_sentence_and_exit_2(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    listen = [] if "--listen" in arguments else ["--listen", "127.0.0.1:0"]
    ended = run("--state", str(tmp_path / "s"), *listen, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("eh_endpoint: ")
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "secret-word" not in ended.stderr


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("--state", str(tmp_path / "s"), "--listen", f"127.0.0.1:{port}", "--auth", AUTH)
    assert ended.returncode == 2
    assert ended.stderr == f"eh_endpoint: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_a_state_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = run("--state", str(tmp_path / "file"), "--listen", "127.0.0.1:0", "--auth", AUTH)
    assert ended.returncode == 2
    assert f"the state folder {tmp_path / 'file'} cannot be" in ended.stderr
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.sqlite").write_bytes(b"not a database" * 100)
    ended = run("--state", str(tmp_path / "state"), "--listen", "127.0.0.1:0", "--auth", AUTH)
    assert ended.returncode == 2
    assert "state.sqlite is damaged (file is not a database)" in ended.stderr


def test_one_endpoint_per_state_folder(endpoint: Endpoint) -> None:
    ended = run("--state", str(endpoint.state), "--listen", "127.0.0.1:0", "--auth", AUTH)
    assert ended.returncode == 2
    assert "in use by another endpoint" in ended.stderr


def test_accounts_come_from_a_file_and_from_the_environment_as_well(
    tmp_path: Path, connect: Callable[..., Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "accounts"
    file.write_text("# ours\n\n22222222-2222-4333-8444-555555555555:two\n")
    monkeypatch.setenv("EH_ENDPOINT_AUTH", "33333333-2222-4333-8444-555555555555:three")
    with Endpoint(tmp_path / "state", "--auth-file", str(file)) as running:
        for auth in (AUTH, "22222222-2222-4333-8444-555555555555:two", "33333333-2222-4333-8444-555555555555:three"):
            assert connect(running, auth).text("/drives/list").status == 200


def test_help_tells_how_to_keep_keys_out_of_the_process_list() -> None:
    told = run("--help")
    assert told.returncode == 0
    for words in ("--auth-file", "--accounts", "EH_ENDPOINT_AUTH", "line can be read by every user"):
        assert words in told.stdout.replace("\n", " ")


def test_it_ends_with_the_program_that_started_it(tmp_path: Path) -> None:
    """However that ends: here the test's own end of the pipe goes, as it would with a killed test."""
    arguments = ["--listen", "127.0.0.1:0", "--state", str(tmp_path / "s"), "--auth", AUTH, "--exit-on-eof"]
    process = subprocess.Popen(
        [sys.executable, "-m", "eh_endpoint", *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline().startswith(b"listening on ")
    process.stdin.close()
    assert process.wait(timeout=10) == 0
    process.stdout.close()


@pytest.mark.parametrize("address", ["{folder}/notify", "@{folder}/notify"], ids=["file", "abstract"])
def test_systemd_is_told_once_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    named = address.format(folder=tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", named)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + named[1:] if named.startswith("@") else named)
        systemd.settimeout(10)
        with Endpoint(tmp_path / "state") as endpoint:
            assert systemd.recv(100) == b"READY=1"
            assert endpoint.call("/servers/list", method="GET").status_code == 200


def test_a_systemd_that_cannot_be_told_is_no_reason_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    with Endpoint(tmp_path / "state") as endpoint:
        assert endpoint.call("/servers/list", method="GET").status_code == 200
        assert f"NOTIFY_SOCKET {tmp_path}/nobody cannot be told" in endpoint.log.read_text()


def test_the_control_port_is_another_than_that_of_the_api(tmp_path: Path) -> None:
    """Also with another address: a request is told apart by its port, and calls of the control port need no key."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sockets = ("--listen", f"127.0.0.2:{port}", "--control", f"127.0.0.1:{port}")
    ended = run("--state", str(tmp_path / "state"), "--auth", AUTH, *sockets, "--request-log", "/no/such/folder/log")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "eh_endpoint: --control has the port of --listen: give it another, its calls need no key\n"


def test_listening_beyond_loopback_is_warned_about(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "eh_endpoint", "--listen", "0.0.0.0:0", "--state", str(tmp_path / "s"), "--auth", AUTH],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("listening on http://0.0.0.0:")
    process.terminate()
    _unused, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert errors.startswith("warning: 0.0.0.0 can be reached from other machines, and keys travel in plain HTTP")


def test_the_request_log_has_a_json_line_per_answer_and_no_secret(tmp_path: Path, connect: Callable[..., Wire]) -> None:
    log = tmp_path / "requests"
    with Endpoint(tmp_path / "state", "--request-log", str(log)) as running:
        wire = connect(running)
        wire.server(password="geheim")
        wire.send("GET", "/drives/%0a/info?key=geheim")
        connect(running, f"{USER}:wrong-key").text("/servers/list")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines == [
        {"method": "POST", "path": "/servers/create", "status": 200, "account": USER},
        {"method": "GET", "path": "/drives/\n/info", "status": 404, "account": USER},
        {"method": "POST", "path": "/servers/list", "status": 401, "account": None},
    ]
    shown = running.log.read_text()
    assert "POST /servers/create 200 " in shown
    assert "'/drives/\\n/info' 404 " in shown
    for text in (shown, log.read_text()):
        assert not [word for word in ("geheim", "wrong-key", KEY, "Basic") if word in text]


def test_what_a_stranger_can_write_to_the_logs_is_short(tmp_path: Path, connect: Callable[..., Wire]) -> None:
    log = tmp_path / "requests"
    with Endpoint(tmp_path / "state", "--control", "127.0.0.1:0", "--request-log", str(log)) as running:
        for method, path in (("GET", "/" + "\x7f" * 60_000), ("G" * 60_000, "/servers/list")):
            assert connect(running, f"{USER}:wrong").send(method, quote(path)[:60_000]).status == 401
        with Control(running) as control:
            assert [max(len(one["method"]), len(one["path"])) for one in control.requests()] == [1000, 1000]
    assert len(running.log.read_text()) < 10_000
    assert len(log.read_text()) < 10_000


def test_the_state_can_be_read_by_its_owner_only(endpoint: Endpoint, wire: Wire) -> None:
    wire.drive()
    wire.server(password="geheim")
    for path in endpoint.state.rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o077 == 0, path


def test_connections_do_not_wait_for_acknowledgements(endpoint: Endpoint) -> None:
    """TCP_NODELAY is on for accepted sockets: asyncio sets it only where the listening socket names its protocol."""
    sys.path.insert(0, str(SOURCES))
    from eh_endpoint.serving import _listen

    with _listen("127.0.0.1", 0) as listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()):
            accepted, _unused = listening.accept()
            with accepted:
                assert accepted.proto == socket.IPPROTO_TCP
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_what_was_acknowledged_is_there_after_kill_9_under_load(tmp_path: Path) -> None:
    with Endpoint(tmp_path / "state", "--quiet") as running:
        servers: dict[str, dict[str, object]] = {}
        drives: dict[str, int] = {}
        gone: set[str] = set()
        rounds = 0
        # as many kills as it takes to have caught enough calls under way, on a slow machine too
        while rounds < 6 or len(servers) <= 50 or len(gone) <= 10:
            rounds += 1
            assert rounds < 200, (len(servers), len(gone))
            threads = [threading.Thread(target=load, args=(running, servers, drives, gone)) for _unused in range(3)]
            for thread in threads:
                thread.start()
            threads[0].join(timeout=0.15)
            running.kill()
            for thread in threads:
                thread.join()
            running.start()
            check(running, servers, drives, gone)


def load(endpoint: Endpoint, servers: dict[str, dict[str, object]], drives: dict[str, int], gone: set[str]) -> None:
    """Creates, changes and destroys until the endpoint is killed; notes only what was answered."""
    wire = Wire(endpoint)
    try:
        while True:
            drive = wire.json("/drives/create", {"size": "8M"}).json["drive"]
            drives[drive] = 8 << 20
            assert wire.send("POST", f"/drives/{drive}/write/8", drive).status == 204
            copy = wire.json(f"/drives/{drive}/clone", {"name": drive}).json["drive"]
            drives[copy] = 8 << 20
            while "imaging" in wire.json(f"/drives/{copy}/info").json:
                pass
            body = {"cpu": 500, "mem": 500, "ide:0:0": drive, "persistent": "true", "nic:0:dhcp": "auto"}
            server = wire.json("/servers/create", body).json
            servers[server["server"]] = server
            doomed = wire.server("create/stopped")
            assert wire.send("POST", f"/servers/{doomed}/destroy").status == 204
            gone.add(doomed)
    except (OSError, http.client.HTTPException):
        pass  # killed
    finally:
        wire.close()


def check(endpoint: Endpoint, servers: dict[str, dict[str, object]], drives: dict[str, int], gone: set[str]) -> None:
    wire = Wire(endpoint)
    found = {server["server"]: server for server in wire.json("/servers/info").json}
    moving = ("read:", "write:", "rx:", "tx:")
    for uuid, server in servers.items():
        same = {key for key in server if not any(part in key for part in moving)}
        assert {key: found[uuid][key] for key in same} == {key: server[key] for key in same}
    assert not gone & set(found)
    infos = {drive["drive"]: drive for drive in wire.json("/drives/info").json}
    for copy in [drive for drive in infos if infos[drive].get("name")]:
        eventually(lambda: "imaging" not in wire.json(f"/drives/{copy}/info").json)  # noqa: B023 (called here)
        assert wire.send("GET", f"/drives/{copy}/read/8/36").text == infos[copy]["name"]
    files = {path.stem for path in (endpoint.state / "drives").iterdir()}
    assert files == set(infos)
    for uuid, size in drives.items():
        assert infos[uuid]["size"] == size
    for server in servers.values():
        drive = str(server["ide:0:0"])
        assert server["server"] in infos[drive]["claimed"].split()
        assert wire.send("GET", f"/drives/{drive}/read/8/36").text == drive
    # Unacknowledged ones may be there, one per caller and kill; never more.
    assert len(found) <= len(servers) + 6 * 3
    addresses = [server["nic:0:ip"] for server in found.values() if server["status"] == "active"]
    assert len(addresses) == len(set(addresses))
    wire.close()
