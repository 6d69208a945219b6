# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs that cannot be written cost lines of the logs, which are counted, and no reply."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.endpoint import KEY, SOURCES, USER, Endpoint
from tests.unit.endpoint.conftest import Wire, eventually
from tests.unit.endpoint.state.test_full_disk import small_disk
from tests.unit.endpoint.test_endpoint_process import run

ENOUGH = 3000
"""Requests whose lines are more than a pipe or a socket holds."""


def redirected(redirection: str) -> list[str]:
    return ["sh", "-c", f'exec "$@" {redirection}', "redirected"]


def answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def ask(wire: Wire, times: int) -> None:
    for _number in range(times):
        assert wire.send("GET", "/drives/list").status == 200


def counted(text: str) -> tuple[int, int]:
    """Return the number of lines of requests in a log on standard error, and of those that were dropped."""
    dropped = re.findall(r"^(\d+) lines of the log were dropped, because it could not be written$", text, re.MULTILINE)
    return len(re.findall(r"^GET /drives/list 200 ", text, re.MULTILINE)), sum(map(int, dropped))


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
@pytest.mark.parametrize("arguments", [(), ("--request-log", "/dev/full")], ids=["", "and a full request log"])
def test_a_reply_is_what_it_is_where_no_log_can_be_written(
    tmp_path: Path, redirection: str, arguments: tuple[str, ...]
) -> None:
    with Endpoint(tmp_path / "zone", *arguments, before=redirected(redirection)) as endpoint, Wire(endpoint) as wire:
        for _number in range(20):
            assert wire.json("/drives/create", {"name": "x", "size": "4M"}).status == 200
        assert len(wire.json("/drives/info").json) == 20
        assert wire.json("/no/such/call").status == 404
    assert not any(path.stat().st_size for path in (tmp_path / "zone" / "lock", endpoint.log))


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", "<&- >&- 2>&-", ">&- 2>/dev/full"])
def test_it_serves_where_its_first_line_cannot_be_written(tmp_path: Path, redirection: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    endpoint = Endpoint(tmp_path / "zone", start=False)
    endpoint.port = port
    arguments = ["--listen", f"127.0.0.1:{port}", "--state", str(endpoint.state), "--reserve", "0"]
    command = [*redirected(redirection), sys.executable, "-m", "eh_endpoint", *arguments, "--auth", f"{USER}:{KEY}"]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(SOURCES)}) as running:
        try:
            eventually(lambda: answers(port))
            with Wire(endpoint) as wire:
                wire.drive()
        finally:
            running.send_signal(signal.SIGTERM)
    assert running.returncode == 0


@pytest.mark.parametrize("kind", ["a pipe", "a socket"])
def test_a_log_that_nobody_reads_stops_nothing(tmp_path: Path, kind: str) -> None:
    pair = socket.socketpair()
    reader, writer = os.pipe() if kind == "a pipe" else (one.fileno() for one in pair)
    with Endpoint(tmp_path / "zone", stderr=writer) as endpoint, Wire(endpoint) as wire:
        ask(wire, ENOUGH)
        os.set_blocking(reader, False)
        text = b""

        def read() -> bool:
            nonlocal text
            try:
                text += os.read(reader, 1 << 20)
            except BlockingIOError:
                return True
            return False

        eventually(read)
        assert 0 < counted(text.decode())[0] < ENOUGH
        ask(wire, 1)
        eventually(read)
        assert sum(counted(text.decode())) == ENOUGH + 1
    for descriptor in (reader, writer) if kind == "a pipe" else ():
        os.close(descriptor)
    for one in pair:
        one.close()


def test_a_log_whose_reader_has_gone_stops_nothing(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with Endpoint(tmp_path / "zone", stderr=writer) as endpoint, Wire(endpoint) as wire:
        os.close(writer)
        os.close(reader)
        ask(wire, 20)


def test_lines_of_the_request_log_that_found_no_space_are_counted(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        seen = disk.seen / "requests.jsonl"
        arguments = ("--request-log", str(disk.folder / seen.name), "--quiet")
        with Endpoint(tmp_path / "zone", *arguments, before=disk.inside) as endpoint, Wire(endpoint) as wire:
            ask(wire, 10)
            disk.fill()
            ask(wire, 100)
            disk.empty()
            ask(wire, 10)
        *lines, end = seen.read_bytes().split(b"\n")
    assert end == b""
    torn = [line for line in lines if not line.endswith(b"}")]
    records = [json.loads(line) for line in lines if line not in torn]
    assert len(torn) <= 1
    assert [record for record in records if "path" not in record] == [{"dropped": 121 - len(records)}]


def test_a_request_log_that_is_a_fifo_waits_for_nobody(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    arguments = ("--listen", "127.0.0.1:0", "--auth", f"{USER}:{KEY}", "--request-log", str(fifo))
    ended = run("--state", str(tmp_path / "zone"), *arguments)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert f"the request log {fifo} cannot be written" in ended.stderr
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with Endpoint(tmp_path / "zone", "--request-log", str(fifo), "--quiet") as endpoint, Wire(endpoint) as wire:
        ask(wire, ENOUGH)
    os.close(reader)
