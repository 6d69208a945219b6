# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two drivers with journals of their own that are asked for the same VMs, as after a fail-over between front-ends."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.create_server import Standing, standing
from tests.core import Core, Vm
from tests.support.extent import WHOLE
from tests.unit.drivers.conftest import Installation, Site, until
from tests.unit.drivers.proxy import Proxy, kill_at

VMS = 40 if WHOLE else 20
SEEDS = range(10 if WHOLE else 2)
TEMPLATE = {"NAME": "twice", "CPUMHZ": "500", "MEMORY": "256", "NICDHCP": "nic:0:dhcp auto"}


# --- the decision


class Contest:
    """Drivers that make a server for one VM, as far as they follow ``standing``; each step is one call of the API."""

    def __init__(self, drivers: int, chance: random.Random) -> None:
        self.chance = chance
        self.servers: list[str] = []
        """those of the VM that are there"""
        self.kept: dict[int, str] = {}
        """the server that a driver has told its core"""
        self.running = {number: self.driver(number) for number in range(drivers)}

    def driver(self, number: int) -> Iterator[None]:
        while True:
            yield
            there = list(self.servers)
            if len(there) == 1:
                yield
                if there[0] in self.servers:  # else it was withdrawn before it could be used
                    self.kept[number] = there[0]
                    return
                continue
            if there:
                continue
            yield
            own = f"{self.chance.getrandbits(64):016x}"
            self.servers.append(own)
            for _unused in range(self.chance.randint(1, 4)):
                yield
                stands = standing(own, self.servers)
                if stands is not Standing.FIRST:
                    break
            if stands is Standing.ALONE:
                self.kept[number] = own
                return
            yield
            if own not in self.kept.values():  # another driver may use it by now: its mark is another then
                self.servers.remove(own)

    def play(self, kills: int) -> None:
        for _unused in range(2000):
            if not self.running:
                return
            number = self.chance.choice(list(self.running))
            if kills and self.chance.random() < 0.05:
                kills -= 1
                self.running[number] = self.driver(number)  # its successor finds what it had made by the keys
            elif next(self.running[number], "ended") == "ended":
                del self.running[number]
            told = set(self.kept.values())
            assert len(told) <= 1, f"two servers are kept: {told}"
            assert told <= set(self.servers), f"a server that is kept was withdrawn: {told}"


@pytest.mark.parametrize("kills", [0, 3])
@pytest.mark.parametrize("drivers", [2, 3, 5])
def test_in_any_order_of_steps_one_server_is_kept_and_none_that_is_kept_is_withdrawn(drivers: int, kills: int) -> None:
    for seed in range(500):
        contest = Contest(drivers, random.Random(seed))
        contest.play(kills)
        if not kills:
            assert (len(contest.servers), contest.running) == (1, {}), f"seed {seed}"


@pytest.mark.parametrize(
    ("servers", "stands"),
    [
        (["b"], Standing.ALONE),
        ([], Standing.ALONE),
        (["b", "c"], Standing.FIRST),
        (["a", "b"], Standing.LATER),
        (["c"], Standing.LATER),
    ],
)
def test_a_server_stands_by_the_order_of_uuids_and_one_that_is_gone_yields(
    servers: list[str], stands: Standing
) -> None:
    assert standing("b", servers) is stands


# --- real drivers


def slow(proxy: Proxy, chance: random.Random) -> None:
    """Delay the calls at random, before and after their effect: any order of the calls of two drivers may come."""
    for _unused in range(40 * VMS):
        proxy.fault("", before=chance.uniform(0, 0.1), after=chance.uniform(0, 0.1))


class TwoFrontEnds:
    """Two cores with the same VMs, each with a driver and a journal of its own, and one account."""

    def __init__(self, site: Site, proxies: Iterable[Proxy], folder: Path, *, image: bool, vms: int = VMS) -> None:
        self.site = site
        for drive in site.endpoint.call("/drives/info").json():
            site.endpoint.call(f"/drives/{drive['drive']}/destroy")
        other = Site(Installation(folder / "another"), site.endpoint)
        for front_end, proxy in zip((site, other), proxies, strict=True):
            front_end.configure(EHURI=proxy.url)
        self.cores = [site.core("7.4.0"), other.core("7.4.0")]
        self.vms: list[list[Vm]] = []
        for core in self.cores:
            core.create_host("eh")
            core.start_vmm()
        for number in range(vms):
            template = dict(TEMPLATE)
            if image:
                # A drive that is being copied is busy for others, which would make one deploy wait for the next.
                site.endpoint.call("/drives/create", {"name": f"golden {number}", "size": "1M"})
                template["IMAGE"] = f"ide:0:0 golden {number}"
            self.vms.append([core.create_vm(template) for core in self.cores])
        assert all(one.id == other.id for one, other in self.vms)

    def deploy(self, number: int) -> None:
        (host,) = self.cores[number].model.hosts.values()
        for pair in self.vms:
            self.cores[number].deploy(pair[number], host)

    def at_once(self, work: Callable[[int], None]) -> None:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def servers(self) -> dict[str, str]:
        """VM by server."""
        return {one["server"]: one["user:one-vm"] for one in self.site.servers()}

    def orphans(self) -> list[str]:
        """Copies that no server has."""
        named = {one.get("ide:0:0") for one in self.site.servers()}
        drives = self.site.endpoint.call("/drives/info").json()
        return [one["drive"] for one in drives if "user:one-vm" in one and one["drive"] not in named]

    def judge(self) -> None:
        """Each VM has one server, which both cores know, with a copy that is there; no other copy is left."""
        twice = {vm: count for vm, count in Counter(self.servers().values()).items() if count > 1}
        assert not twice, f"VMs with several servers: {twice}"
        assert len(self.servers()) == VMS
        for pair in self.vms:
            for vm in pair:
                if vm.state == "RUNNING":
                    assert self.servers()[vm.deploy_id] == str(vm.id)
        drives = {one["drive"] for one in self.site.endpoint.call("/drives/info").json()}
        for server in self.site.servers():
            assert server.get("ide:0:0", next(iter(drives), None)) in drives | {None}, f"{server} has lost its copy"
        until(lambda: not self.orphans(), "the end of the copies that no server has")


@pytest.fixture
def proxies(site: Site) -> Iterator[tuple[Proxy, Proxy]]:
    with Proxy(site.endpoint.url) as one, Proxy(site.endpoint.url) as other:
        yield one, other


@pytest.mark.parametrize("image", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_two_drivers_that_are_asked_at_once_make_one_server_for_each_vm(
    site: Site, proxies: tuple[Proxy, Proxy], tmp_path: Path, seed: int, image: bool
) -> None:
    both = TwoFrontEnds(site, proxies, tmp_path, image=image)
    for number, proxy in enumerate(proxies):
        slow(proxy, random.Random(2 * seed + number))
    with both.cores[0], both.cores[1]:
        both.at_once(both.deploy)
        for pair in both.vms:
            for core, vm in zip(both.cores, pair, strict=True):
                core.wait(vm, "RUNNING", seconds=240)
        both.judge()


def deployed(core: Core, vm: Vm) -> bool:
    """Deploy the VM again until it runs, as ``recover --retry`` does; false while it is under way."""
    if vm.state == "BOOT_FAILURE":
        core.retry(vm)
    return vm.state == "RUNNING"


@pytest.mark.parametrize("seed", SEEDS)
def test_drivers_that_are_killed_meanwhile_leave_one_server_for_each_vm(
    site: Site, proxies: tuple[Proxy, Proxy], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    both = TwoFrontEnds(site, proxies, tmp_path, image=True)
    for proxy in proxies:
        slow(proxy, chance)
    with both.cores[0], both.cores[1]:
        both.at_once(both.deploy)
        for _unused in range(6):
            number = chance.randrange(2)
            core, goal = both.cores[number], chance.randint(1, 8)
            before = len(both.servers())
            until(lambda before=before, goal=goal: len(both.servers()) >= min(VMS, before + goal), "more servers")
            core.kill("vmm")
            core.start_vmm()
            for pair in both.vms:
                if pair[number].state == "BOOT":
                    core.retry(pair[number])
        for core, vms in zip(both.cores, zip(*both.vms, strict=True), strict=True):
            for vm in vms:
                until(lambda core=core, vm=vm: deployed(core, vm), f"VM {vm.id} runs", 240)
        until(lambda: len(both.servers()) == VMS, "one server for each VM")
        both.judge()


@pytest.mark.parametrize(("status", "code"), [(400, "usage"), (404, "missing")])
def test_a_server_of_another_driver_that_cannot_be_used_now_is_left_to_that_one(
    site: Site, proxies: tuple[Proxy, Proxy], tmp_path: Path, status: int, code: str
) -> None:
    """The driver had begun to make one itself, and was killed: what it destroys after a failure must be its own."""
    both = TwoFrontEnds(site, proxies, tmp_path, image=True, vms=1)
    (one, other), ((mine, theirs),) = both.cores, both.vms
    with one, other:
        done = kill_at(lambda: one.kill("vmm"), proxies[0], 2, "meanwhile")
        both.deploy(0)
        until(lambda: not done, "the kill")
        proxies[0].faults.clear()
        both.deploy(1)
        other.wait(theirs, "RUNNING")
        one.start_vmm()
        proxies[0].fault("/set", status=status, code=code)
        one.retry(mine)
        one.wait(mine, "BOOT_FAILURE")
        assert list(both.servers()) == [theirs.deploy_id]
        one.retry(mine)
        one.wait(mine, "RUNNING")
        assert mine.deploy_id == theirs.deploy_id
        until(lambda: not both.orphans(), "the end of the copy that the killed driver had made")
