# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures for the cloud's client: a clock, a relay that fails on demand, a client on either way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import ElasticHosts
from tests.support.endpoint import KEY, USER, Endpoint
from tests.unit.elastichosts.scripted import Authority, FakeClock, Relay


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def scripted() -> Iterator[Relay]:
    """A server with no cloud behind it."""
    with Relay() as relay:
        yield relay


@pytest.fixture
def client(scripted: Relay, clock: FakeClock) -> Iterator[ElasticHosts]:
    """A client of `scripted`, on the fake clock."""
    with ElasticHosts(scripted.url, f"{USER}:{KEY}", clock=clock) as client:
        yield client


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate that nobody knows."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def cloud(endpoint: Endpoint) -> Iterator[ElasticHosts]:
    """A client straight to the real endpoint, which the test leaves empty."""
    with ElasticHosts(endpoint.url, endpoint.auth) as client:
        yield client
        _empty(client)


@pytest.fixture
def relay(endpoint: Endpoint) -> Iterator[Relay]:
    """A way to the real endpoint that fails on demand."""
    with Relay(endpoint.url) as relay:
        yield relay


@pytest.fixture
def relayed(relay: Relay, endpoint: Endpoint, cloud: ElasticHosts, clock: FakeClock) -> Iterator[ElasticHosts]:
    """A client through `relay`, on the fake clock."""
    with ElasticHosts(relay.url, endpoint.auth, clock=clock) as client:
        yield client


def _empty(client: ElasticHosts) -> None:
    for server in client.servers.info():
        client.servers.destroy(server.uuid)
    for drive in client.drives.info():
        client.drives.destroy(drive.uuid)
