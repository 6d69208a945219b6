# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A call ends in time, whatever the other side sends or does not send."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import errors, http_client
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.clock import Clock, Deadline
from tests.support.endpoint import KEY, USER
from tests.unit.elastichosts.scripted import Authority, Drip, Relay, good

AUTH = f"{USER}:{KEY}"
LIMITS = http_client.Timeouts(connect=20, read=20, total=1.0)
"""only the deadline of the whole call can end it"""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
DRIPS = {
    "a head": (b"", HEAD + b"X-Long: " + b"x" * 60_000),
    "headers": (HEAD, b"X-Header: x\r\n" * 90),
    "100 Continue for ever": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body": (HEAD + b"Content-Length: 1000000\r\n\r\n", b" "),
    "a body without length": (HEAD + b"\r\n", b" "),
    "a line with the size of a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 60_000),
    "trailers": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: x\r\n"),
}


@pytest.fixture(params=DRIPS)
def drip(request: pytest.FixtureRequest) -> Iterator[Drip]:
    at_once, for_ever = DRIPS[request.param]
    with Drip(at_once, for_ever) as drip:
        yield drip


def test_an_answer_that_comes_byte_by_byte_is_given_up(drip: Drip) -> None:
    wire = http_client.Transport(drip.url, AUTH, timeouts=LIMITS, retries=0)
    with pytest.raises(errors.AnswerLost, match="it came too slowly") as caught:
        wire.read("/servers/info")
    assert (caught.value.late, caught.value.maybe_done) == (True, False)
    with pytest.raises(errors.AnswerLost, match="it may have been done") as caught:
        wire.change("/servers/x/start")
    assert (caught.value.late, caught.value.maybe_done, wire.effects) == (True, True, 1)


def test_the_deadline_of_a_block_ends_a_call_too(drip: Drip) -> None:
    wire = http_client.Transport(drip.url, AUTH, retries=0)
    with pytest.raises(errors.AnswerLost) as caught, wire.within(Deadline(1.0, Clock())):
        wire.read("/servers/info")
    assert caught.value.late


def test_it_is_given_up_behind_tls_as_well(authority: Authority) -> None:
    with Drip(*DRIPS["a head"], context=authority.context) as drip:
        wire = http_client.Transport(drip.url, AUTH, timeouts=LIMITS, retries=0, verify=str(authority.certificate))
        with pytest.raises(errors.AnswerLost, match="it came too slowly"):
            wire.read("/servers/info")


def test_a_proxy_that_does_not_get_ready_has_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    with Drip(b"", b"H") as drip:
        monkeypatch.setenv("https_proxy", drip.url)
        wire = http_client.Transport("https://cloud.example", AUTH, timeouts=LIMITS, retries=0)
        with pytest.raises(errors.ConnectError, match="proxy that the environment names did not connect") as caught:
            wire.change("/servers/x/start")
    assert not caught.value.maybe_done


def test_a_cloud_that_does_not_take_the_body_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:  # it never reads
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        wire = http_client.Transport(address, AUTH, timeouts=LIMITS, retries=0)
        with pytest.raises(errors.AnswerLost) as caught:
            wire.change("/drives/d/write/0", body=bytes(64 << 20))
    assert (caught.value.late, caught.value.maybe_done) == (True, True)


def test_a_call_that_was_given_up_harms_no_other(scripted: Relay) -> None:
    with Drip(*DRIPS["a body"]) as drip:
        for _unused in range(3):
            slow = http_client.Transport(drip.url, AUTH, timeouts=LIMITS, retries=0)
            quick = http_client.Transport(scripted.url, AUTH, retries=0)
            scripted.on(".*", good())
            with pytest.raises(errors.AnswerLost):
                slow.read("/servers/info")
            assert quick.read("/servers/info").status == 200


FORKED = """
import os, sys
sys.path[:0] = {paths!r}
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import errors, http_client
quick = http_client.Transport({quick!r}, "u:k")
quick.read("/servers/info")
child = os.fork()
slow = http_client.Transport({slow!r}, "u:k", timeouts=http_client.Timeouts(20, 20, 2), retries=0)
try:
    slow.read("/servers/info")
except errors.AnswerLost as error:
    os.write(1, f"{{'late' if error.late else error}}\\n".encode())  # one write: two processes share the pipe
if child:
    os.waitpid(child, 0)
"""


def test_deadlines_hold_in_a_process_that_was_forked(scripted: Relay) -> None:
    """As Ansible's workers are."""
    scripted.on(".*", good())
    with Drip(*DRIPS["a body"]) as drip:
        program = FORKED.format(paths=sys.path, quick=scripted.url, slow=drip.url)
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, cwd=Path(os.sep))
    assert done.stdout.split() == ["late", "late"]
