# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host under onemonitord, with a clock that only moves when told: what is said when."""

from __future__ import annotations

import base64
import re
import zlib
from pathlib import Path

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.accounts import (
    CloudAccount,
    CloudAccounts,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.host_monitor import HostMonitor
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.journal import Journal
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.listing_cache import ListingCache
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.settings import HostSettings, Settings
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.translate import template_defaults
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.clock import Clock
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.errors import ConnectError
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.servers import Server
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.driver_requests import ImRequest
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.layout import layout

PERIODS = {"SYSTEM_HOST": 600, "MONITOR_HOST": 120, "STATE_VM": 5, "MONITOR_VM": 60, "SYNC_STATE_VM": 180}
MONITORED = 2


class Hands(Clock):
    """A clock whose hands a test moves."""

    def __init__(self) -> None:
        self.epoch = 1_800_000_000.0
        self.moment = 1000.0

    def now(self) -> float:
        return self.epoch

    def monotonic(self) -> float:
        return self.moment

    def sleep(self, seconds: float) -> None:
        self.forward(seconds)

    def forward(self, seconds: float) -> None:
        self.epoch += seconds
        self.moment += seconds


class World:
    """A cloud, a journal, and the watch of host 5 between them."""

    def __init__(self, root: Path, state: int = MONITORED, release: tuple[int, int] | None = (7, 4)) -> None:
        self.clock = Hands()
        self.servers: list[Server] = []
        self.broken: Exception | None = None
        self.calls = 0
        etc = root / "etc" / "vmm_eh"
        etc.mkdir(parents=True)
        (root / "var").mkdir()
        (etc / "vmm_ehrc").write_text("EHURI=http://127.0.0.1:9\nEHAUTH=u:k\nEHCLOUD=c1\n")
        self.journal = Journal(str(root / "var" / "journal"), self.clock)
        # The VM driver's own connection, so that the watch sees its writes as another's.
        self.vmm = Journal(str(root / "var" / "journal"), self.clock)
        settings = Settings(layout(str(root)), {}, template_defaults)
        self.request = ImRequest(
            "START_MONITOR",
            5,
            "5.12-7.4",
            "eh",
            {"PROBES_PERIOD": PERIODS, "MONITORING_INTERVAL_HOST": 180, "HOST": {"NAME": "eh", "STATE": state}},
        )
        self.watch = HostMonitor(
            self.request, settings, OneAccount(self), self.journal, self.clock, release=lambda: release
        )

    def fetch(self) -> list[Server]:
        self.calls += 1
        if self.broken:
            raise self.broken
        return list(self.servers)

    def server(self, vm: int | None, status: str = "active", **more: str) -> Server:
        number = f"{len(self.servers):08d}-0000-4000-8000-000000000000"
        mine = {} if vm is None else {"user:one-cloud": "c1", "user:one-vm": str(vm)}
        properties = {"server": number, "name": f"s{vm}", "status": status, "cpu": "1000", "mem": "512", **mine, **more}
        self.servers.append(Server(properties))
        return self.servers[-1]

    def becomes(self, server: Server, status: str) -> None:
        self.servers[self.servers.index(server)] = Server({**server.properties, "status": status})

    def hear(self) -> list[tuple[str, str, str]]:
        """Everything that is said now: type, status, text."""
        return [spoken(line) for line in self.watch.advance().lines]

    def hear_for(self, seconds: float) -> list[tuple[str, str, str]]:
        """Everything that is said while so much time goes by."""
        said = []
        end = self.clock.moment + seconds
        while self.clock.moment < end:
            advance = self.watch.advance()
            said += [spoken(line) for line in advance.lines]
            self.clock.forward(max(advance.pause, 0.01))
        return said


class OneAccount(CloudAccounts):
    def __init__(self, world: World) -> None:
        super().__init__(world.clock)
        self._account = CloudAccount.__new__(CloudAccount)
        self._account.servers = ListingCache(world.fetch, world.clock)

    def of(self, settings: HostSettings) -> CloudAccount:
        return self._account


def spoken(line: bytes) -> tuple[str, str, str]:
    kind, status, number, stamp, *payload = line.decode().split()
    assert (number, stamp.isdigit()) == ("5", True)
    return kind, status, zlib.decompress(base64.b64decode(payload[0])).decode() if payload else ""


def kinds(said: list[tuple[str, str, str]]) -> list[str]:
    return [kind for kind, _status, _text in said]


def of_kind(said: list[tuple[str, str, str]], kind: str) -> list[str]:
    return [text for which, _status, text in said if which == kind]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_start_is_answered_before_the_cloud_is_asked(world: World) -> None:
    assert world.watch.started() == b"START_MONITOR SUCCESS 5 1800000000\n"
    assert world.calls == 0


def test_the_first_round_says_everything_and_the_host_before_its_vms(world: World) -> None:
    world.server(7)
    said = world.hear()
    assert kinds(said) == ["SYSTEM_HOST", "MONITOR_HOST", "STATE_VM", "MONITOR_VM"]
    assert 'HYPERVISOR="elastichosts"' in said[0][2]
    assert "TOTALCPU=200" in said[0][2]
    assert "USEDCPU=50\nFREECPU=150\nUSEDMEMORY=524288\nFREEMEMORY=1572864" in said[1][2]
    assert said[2][2].startswith("SYNC_STATE=yes\nMISSING_STATE=UNKNOWN\nVM = [ ID=")


def test_one_listing_per_round_however_often_it_is_asked(world: World) -> None:
    world.hear_for(300)
    assert world.calls == 300 / 15


def test_each_message_comes_in_its_own_period_and_the_heartbeat_before_the_core_gets_uneasy(world: World) -> None:
    world.server(7)
    world.hear_for(120)
    said = world.hear_for(1800)
    assert len(of_kind(said, "SYSTEM_HOST")) == 1800 / 600
    assert len(of_kind(said, "MONITOR_HOST")) == 1800 / 90
    assert len(of_kind(said, "MONITOR_VM")) == 1800 / 60
    assert len(of_kind(said, "STATE_VM")) == 1800 / 180


def states(said: list[tuple[str, str, str]]) -> list[str]:
    """The states of VM 7 that were told, in order."""
    found = [re.search(r'ID="7".*?STATE="(\w+)"', text) for text in of_kind(said, "STATE_VM")]
    return [match[1] for match in found if match]


def test_a_change_is_told_in_the_next_round_and_once_more_when_the_core_surely_listens(world: World) -> None:
    server = world.server(7)
    world.hear_for(200)
    world.becomes(server, "stopped")
    assert states(world.hear_for(20)) == ["POWEROFF"]
    assert states(world.hear_for(40)) == ["POWEROFF"]
    assert states(world.hear_for(20)) == [], "the sync comes later"


def test_a_change_that_follows_another_within_30_seconds_is_told_when_the_core_listens_again(world: World) -> None:
    server = world.server(7)
    world.hear_for(120)
    world.becomes(server, "stopped")
    assert states(world.hear_for(15)) == ["POWEROFF"]
    world.becomes(world.servers[0], "active")
    assert states(world.hear_for(15)) == []
    assert "RUNNING" in states(world.hear_for(31))


@pytest.mark.parametrize(("release", "after"), [((7, 4), 32), ((7, 0), 32), (None, 32), ((6, 10), 0), ((5, 12), 0)])
def test_after_an_action_a_state_is_told_once_the_core_listens(
    tmp_path: Path, release: tuple[int, int] | None, after: int
) -> None:
    world = World(tmp_path, release=release)
    server = world.server(7)
    world.hear_for(120)
    world.vmm.begin(7, "SHUTDOWN", "eh")
    world.becomes(server, "stopped")
    world.vmm.end(7)
    ended = world.clock.moment
    while not states(world.hear()):
        world.clock.forward(1)
    assert after <= world.clock.moment - ended <= after + 15


def test_what_befalls_a_server_right_after_its_start_is_not_lost(world: World) -> None:
    server = world.server(7)
    world.vmm.begin(7, "DEPLOY", "eh", attempt="a")
    world.vmm.end(7)
    world.clock.forward(2)
    world.hear()
    world.becomes(server, "stopped")
    told = states(world.hear_for(60))
    assert told[0] == "POWEROFF"
    assert set(told) == {"POWEROFF"}


def test_a_sync_waits_for_a_vm_that_has_just_begun_to_run_but_not_for_ever(world: World) -> None:
    """It has to list the VM, and the core would write a line into its log. VMs come and go all the time here."""
    world.server(7)
    world.hear_for(179)

    def act() -> None:
        world.vmm.begin(7, "REBOOT", "eh")
        world.vmm.end(7)

    act()
    assert "SYNC_STATE" not in "".join(of_kind(world.hear_for(30), "STATE_VM"))
    act()
    assert "SYNC_STATE" not in "".join(of_kind(world.hear_for(20), "STATE_VM"))
    act()
    assert "SYNC_STATE" in "".join(of_kind(world.hear_for(31), "STATE_VM"))


def test_after_a_repeated_start_and_after_an_outage_every_state_is_told_at_once(world: World) -> None:
    world.server(7)
    world.server(8)
    world.hear_for(200)
    world.vmm.begin(8, "REBOOT", "eh")
    world.vmm.end(8)
    world.clock.forward(2)
    world.hear()
    world.watch.restart(world.request)
    assert states(world.hear()) == ["RUNNING"], "though VM 8 keeps the sync back"


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("active", "RUNNING"),
        ("stopped", "POWEROFF"),
        ("paused", "SUSPENDED"),
        ("dumped", "FAILURE"),
        ("dead", "FAILURE"),
    ],
)
def test_each_state_of_the_cloud_has_its_word(world: World, status: str, word: str) -> None:
    world.server(7, status)
    assert f'STATE="{word}"' in of_kind(world.hear(), "STATE_VM")[0]


def test_no_news_is_no_news(world: World) -> None:
    world.server(7)
    world.hear()
    world.broken = ConnectError("no way to http://127.0.0.1:9: look whether it is up")
    said = world.hear_for(200)
    assert set(kinds(said)) == {"LOG", "MONITOR_HOST"}
    assert len(of_kind(said, "LOG")) == 1


def test_a_cloud_that_stays_silent_fails_the_host_once_with_its_reason_and_recovers(world: World) -> None:
    world.server(7)
    world.hear()
    world.broken = ConnectError("no way to http://127.0.0.1:9: look whether it is up")
    said = world.hear_for(1200)
    failures = [text for kind, status, text in said if status == "FAILURE"]
    assert failures == ["no way to http://127.0.0.1:9: look whether it is up"]
    assert "STATE_VM" not in kinds(said)
    world.broken = None
    said = world.hear_for(20)
    assert [(kind, status) for kind, status, _unused in said[:4]] == [
        ("LOG", "I"),
        ("SYSTEM_HOST", "SUCCESS"),
        ("MONITOR_HOST", "SUCCESS"),
        ("STATE_VM", "SUCCESS"),
    ]
    assert "SYNC_STATE=yes" in said[3][2]


def test_a_host_that_was_never_good_fails_at_once(tmp_path: Path) -> None:
    world = World(tmp_path, state=0)
    world.broken = ConnectError("no way")
    assert [(kind, status) for kind, status, _unused in world.hear()] == [("LOG", "E"), ("SYSTEM_HOST", "FAILURE")]


def test_an_empty_account_and_a_silent_one_are_told_apart(world: World) -> None:
    assert "SYNC_STATE=yes" in of_kind(world.hear(), "STATE_VM")[0]


def test_a_vm_whose_action_is_under_way_is_not_spoken_of_and_nothing_counts_as_missing(world: World) -> None:
    world.server(7)
    world.server(8)
    world.vmm.begin(7, "DEPLOY", "eh", attempt="a")
    texts = of_kind(world.hear_for(400), "STATE_VM")
    assert texts
    assert not any('ID="7"' in text or "SYNC_STATE" in text for text in texts)
    world.vmm.end(7)
    assert 'ID="7"' in of_kind(world.hear_for(48), "STATE_VM")[0]


def test_the_end_of_an_action_brings_a_new_listing_within_a_second(world: World) -> None:
    world.hear_for(4)
    before = world.calls
    world.server(7)
    world.vmm.begin(7, "DEPLOY", "eh", attempt="a")
    world.vmm.end(7)
    world.clock.forward(0.5)
    said = world.hear_for(1.1)
    assert world.calls == before + 1
    assert "MONITOR_VM" in kinds(said)


def test_a_listing_begun_before_an_action_ended_says_nothing_about_that_vm(world: World) -> None:
    server = world.server(7)
    world.hear_for(4)

    def fetch() -> list[Server]:
        listed = list(world.servers)
        world.vmm.begin(7, "SHUTDOWN", "eh")
        world.becomes(server, "stopped")
        world.vmm.end(7)
        return listed

    world.watch._accounts.of(None).servers._fetch = fetch  # type: ignore[arg-type]
    world.clock.forward(15)
    assert "STATE_VM" not in kinds(world.hear())


def test_strangers_are_wild_and_never_in_the_states(world: World) -> None:
    stranger = world.server(None)
    world.server(3, **{"user:one-cloud": "another cloud"})
    said = world.hear()
    assert 'ID="-1"' in of_kind(said, "SYSTEM_HOST")[0]
    assert stranger.uuid in of_kind(said, "SYSTEM_HOST")[0]
    assert "VM = " not in of_kind(said, "STATE_VM")[0]
    assert "USEDCPU=100" in of_kind(said, "MONITOR_HOST")[0]


def test_a_stranger_that_comes_or_goes_is_told_in_the_next_round(world: World) -> None:
    world.hear_for(100)
    stranger = world.server(None)
    assert stranger.uuid in of_kind(world.hear_for(20), "SYSTEM_HOST")[0]
    world.servers.clear()
    assert stranger.uuid not in of_kind(world.hear_for(20), "SYSTEM_HOST")[0]


def test_more_than_there_is_leaves_nothing_free_but_never_less(world: World) -> None:
    for vm in range(9):
        world.server(vm)
    assert "FREECPU=0\n" in of_kind(world.hear(), "MONITOR_HOST")[0]


def test_two_servers_of_one_vm_are_not_guessed_about(world: World) -> None:
    world.server(7)
    world.server(7)
    assert "STATE_VM" not in kinds(world.hear())


def test_a_clock_that_is_set_back_does_not_silence_the_host(world: World) -> None:
    world.hear()
    world.clock.epoch -= 3600
    world.clock.forward(100)
    lines = world.watch.advance().lines
    assert lines
    assert all(int(line.split()[3]) >= 1_800_000_000 for line in lines)


def test_a_repeated_start_only_makes_everything_due(world: World) -> None:
    world.server(7)
    world.hear_for(100)
    world.watch.restart(world.request)
    assert kinds(world.hear())[:2] == ["SYSTEM_HOST", "MONITOR_HOST"]
