# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that a caller has for the time in which the cloud has its call: when it is done, and when not."""

from __future__ import annotations

import threading

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import errors, transport
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import ElasticHosts
from tests.support.endpoint import KEY, USER
from tests.unit.elastichosts import scripted as script
from tests.unit.elastichosts.scripted import FakeClock, Relay, free_port, good, says

AUTH = f"{USER}:{KEY}"


@pytest.fixture
def wire(client: ElasticHosts) -> transport.Transport:
    return client.transport


def test_it_is_done_between_a_read_and_its_answer(scripted: Relay, wire: transport.Transport) -> None:
    """The cloud answers only once the work is done, and the work ends only once the call has arrived."""
    arrived, done = threading.Event(), threading.Event()

    def answer(handler: script.Handler) -> None:
        arrived.set()
        assert done.wait(10)
        good()(handler)

    def work() -> None:
        assert arrived.wait(10)
        done.set()

    scripted.on(".*", answer)
    with wire.meanwhile(work):
        assert wire.read("/servers/info").objects() == []


def test_it_is_done_before_a_changing_call_is_sent(scripted: Relay, wire: transport.Transport) -> None:
    arrived, seen = threading.Event(), list[bool]()

    def answer(handler: script.Handler) -> None:
        arrived.set()
        says(204)(handler)

    scripted.on(".*", answer)
    with wire.meanwhile(lambda: seen.append(arrived.wait(0.3))):
        wire.change("/servers/x/stop")
    assert not seen[0]


def test_it_is_offered_with_every_call_of_the_block_and_with_none_behind_it(
    scripted: Relay, wire: transport.Transport
) -> None:
    seen: list[str] = []
    scripted.on(".*", good())
    with wire.meanwhile(lambda: seen.append("outer")):
        with wire.meanwhile(lambda: seen.append("inner")):
            wire.read("/servers/info")
        assert seen == ["outer", "inner"]
        wire.read("/servers/info")
    wire.read("/servers/info")
    assert seen == ["outer", "inner", "outer"]


def test_it_belongs_to_its_thread(scripted: Relay, wire: transport.Transport) -> None:
    seen: list[str] = []
    scripted.on(".*", good())
    with wire.meanwhile(lambda: seen.append("mine")):
        other = threading.Thread(target=wire.read, args=("/servers/info",))
        other.start()
        other.join()
    assert seen == []


def test_it_is_not_done_for_a_call_that_cannot_be_sent(clock: FakeClock) -> None:
    seen: list[str] = []
    wire = transport.Transport(f"http://127.0.0.1:{free_port()}", AUTH, clock=clock, retries=0)
    with pytest.raises(errors.ConnectError), wire.meanwhile(lambda: seen.append("done")):
        wire.read("/servers/info")
    assert seen == []


def test_a_proxy_gets_the_call_all_the_same(scripted: Relay, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", scripted.url)
    monkeypatch.delenv("no_proxy", raising=False)
    seen: list[str] = []
    scripted.on(".*", good())
    wire = transport.Transport("http://cloud.example", AUTH, clock=clock)
    with wire.meanwhile(lambda: seen.append("done")):
        assert wire.read("/servers/info").objects() == []
    wire.close()
    assert seen == ["done"]
