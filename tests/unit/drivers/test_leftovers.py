# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be destroyed by what was seen and what the core says: the rules, and thousands of random histories."""

from __future__ import annotations

import math
import os
import random
from dataclasses import dataclass, field, replace

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.leftovers import (
    OwnedObject,
    Reason,
    Sighting,
    leftovers,
    overdue,
    spare_copies,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.drives import Drive
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.servers import Server
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.vm import VirtualMachine
from tests.support.extent import WHOLE

OURS, THEIRS = "cloud-a", "cloud-b"
DRIVERS = {"eh": "vmm_eh", "eh2": "vmm_eh", "node1": "vmm_kvm"}
GRACE = {Reason.ENDED: 15.0, Reason.MOVED: 60.0}
HISTORIES = 100 if WHOLE else 20
STEPS = 60
SEED = os.environ.get("EH_SEED", "")
"""only this history"""
ACTIVE, STOPPED, SUSPENDED, DONE, FAILED = 3, 4, 5, 6, 7
RUNNING, SAVE_MIGRATE = 3, 7


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def thing(number: int = 1, **changes: object) -> OwnedObject:
    return OwnedObject(uuid(number), OURS, 5, "eh", 0, 100.0)._replace(**changes)  # type: ignore[arg-type]


def machine(state: int = DONE, lcm: int = 0, **changes: object) -> VirtualMachine:
    made = VirtualMachine(5, "v", state, lcm, uuid(1), None, None, (), history_host="eh", history_seq=2)
    return replace(made, **changes)  # type: ignore[arg-type]


def seen_twice(
    things: list[OwnedObject], answer: VirtualMachine, acted: dict[int, float] | None = None, apart: float = 60.0
) -> dict[int, Reason]:
    before: dict[int, Sighting] = {}
    for now in (101.0, 101.0 + apart):
        due, before = leftovers(things, OURS, {5: answer}, acted or {}, before, now, grace=GRACE, drivers=DRIVERS)
    return {vm: evidence.reason for vm, evidence in due.items()}


def test_the_server_of_a_vm_that_was_seen_ended_twice_may_go() -> None:
    assert seen_twice([thing()], machine()) == {5: Reason.ENDED}
    assert seen_twice([thing(is_server=False)], machine(deploy_id=uuid(9))) == {5: Reason.ENDED}, "a drive alone"
    assert seen_twice([thing(), thing(2)], machine()) == {5: Reason.ENDED}, "a duplicate goes with it"


def test_a_vm_that_runs_on_another_driver_s_host_was_moved() -> None:
    moved = machine(ACTIVE, RUNNING, history_host="node1")
    assert seen_twice([thing()], moved) == {5: Reason.MOVED}
    assert seen_twice([thing()], moved, apart=59.0) == {}
    assert seen_twice([thing(seq=2)], moved) == {}, "it has come back and was started"
    for other in ("eh", "eh2", "removed"):
        assert seen_twice([thing()], machine(ACTIVE, RUNNING, history_host=other)) == {}
    assert seen_twice([thing(host="removed")], moved) == {}
    assert seen_twice([thing()], machine(ACTIVE, SAVE_MIGRATE, history_host="node1")) == {}


@pytest.mark.parametrize("state", [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 99])
def test_no_other_state_is_an_end(state: int) -> None:
    assert seen_twice([thing()], machine(state, RUNNING)) == {}


def test_once_is_not_enough_and_twice_too_soon_neither() -> None:
    assert seen_twice([thing()], machine(), apart=14.9) == {}
    due, _sightings = leftovers([thing()], OURS, {5: machine()}, {}, {}, 1e6, grace={Reason.ENDED: 0.0})
    assert due == {}
    due, _sightings = leftovers([thing()], OURS, {5: machine()}, {}, {}, 1e6, grace={Reason.ENDED: 0.0}, times=1)
    assert list(due) == [5], "the caller says how often"


@pytest.mark.parametrize(
    ("things", "answer"),
    [
        ([thing(cloud=THEIRS)], machine()),
        ([thing(cloud="")], machine()),
        ([thing(vm=None)], machine()),
        ([thing()], machine(id=6)),
        ([thing()], machine(deploy_id=uuid(9))),
        ([thing()], machine(deploy_id="")),
        ([thing(seq=3)], machine()),
        ([thing(), thing(2, seq=3)], machine()),
    ],
    ids=[
        "another cloud's",
        "nobody's",
        "no VM",
        "of another VM",
        "another server",
        "no server recorded",
        "newer",
        "one newer",
    ],
)
def test_what_may_be_somebody_else_s_stays(things: list[OwnedObject], answer: VirtualMachine) -> None:
    assert seen_twice(things, answer) == {}


def test_an_action_under_way_or_later_than_the_listing_begins_it_anew() -> None:
    assert seen_twice([thing()], machine(), {5: math.inf}) == {}
    assert seen_twice([thing()], machine(), {5: 100.0}) == {}
    assert seen_twice([thing()], machine(), {5: 99.0}) == {5: Reason.ENDED}
    first = leftovers([thing()], OURS, {5: machine()}, {}, {}, 101.0, grace=GRACE)
    later = thing(listed=200.0)
    second = leftovers([later], OURS, {5: machine()}, {5: 150.0}, first.sightings, 201.0, grace=GRACE)
    assert second.due == {}
    assert second.sightings[5].times == 1


@pytest.mark.parametrize(
    ("things", "answer"),
    [
        ([thing()], machine(ACTIVE, RUNNING, history_host="node1", history_seq=4)),
        ([thing()], machine(ACTIVE, RUNNING, history_host="node2")),
        ([thing(), thing(2)], machine(ACTIVE, RUNNING, history_host="node1")),
        ([thing()], machine()),
    ],
    ids=["it was back meanwhile", "another host", "another server", "another reason"],
)
def test_both_sightings_have_to_be_of_the_same(things: list[OwnedObject], answer: VirtualMachine) -> None:
    drivers = {**DRIVERS, "node2": "vmm_kvm"}
    moved = machine(ACTIVE, RUNNING, history_host="node1")
    first = leftovers([thing()], OURS, {5: moved}, {}, {}, 101.0, grace=GRACE, drivers=drivers)
    second = leftovers(things, OURS, {5: answer}, {}, first.sightings, 201.0, grace=GRACE, drivers=drivers)
    assert (second.due, second.sightings[5].times) == ({}, 1)


def test_silence_is_no_sighting_and_a_contrary_word_forgets_the_first() -> None:
    sightings: dict[int, Sighting] = {}
    for now, answers in (
        (101.0, {5: machine()}),
        (140.0, {}),
        (180.0, {5: machine(SUSPENDED)}),
        (220.0, {5: machine()}),
    ):
        due, sightings = leftovers([thing()], OURS, answers, {}, sightings, now, grace=GRACE)
        assert due == {}
    assert sightings[5].first == 220.0


# --- random histories


@dataclass
class Truth:
    """A VM of a core, and what it needs."""

    vm: VirtualMachine
    busy: bool = False
    """an action for it is under way in the leader's driver"""


@dataclass
class Cloud:
    """One OpenNebula, with its hosts and VMs."""

    name: str
    vms: dict[int, Truth] = field(default_factory=dict)
    past: list[dict[int, VirtualMachine]] = field(default_factory=list)
    """what the core knew after each step: a front-end that is cut off knows no more than that"""


@dataclass
class Looker:
    """A driver that looks: what it remembers, and how many steps its core is behind."""

    cloud: Cloud
    leads: bool
    sightings: dict[int, Sighting] = field(default_factory=dict)
    behind: int = 0


class History:
    """Two clouds with the same VM ids on one account, of one of three kinds of releases."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        first, second, third = "2.0 to 3.0", "3.2 to 5.2", "5.4 and later"
        self.kind = self.random.choice((first, second, third))
        self.has_lives = self.kind != first
        """requests tell the SEQ of a VM"""
        self.has_follower = self.kind == third
        """the first cloud has a second front-end, which may be cut off from the first"""
        self.grace = {Reason.ENDED: 15.0} if self.has_follower else GRACE
        self.now = 1000.0
        self.made = 0
        self.things: dict[str, OwnedObject] = {}
        self.acted: dict[tuple[str, int], float] = {}
        self.clouds = [Cloud(OURS), Cloud(THEIRS)]
        self.lookers = [Looker(cloud, leads=True) for cloud in self.clouds]
        if self.has_follower:
            self.lookers.append(Looker(self.clouds[0], leads=False))
        self.listing: list[OwnedObject] = []
        self.destroyed = 0
        self.story: list[str] = []

    # --- what cores and their drivers do

    def step(self) -> None:
        self.now += self.random.choice((0.1, 1.0, 10.0, 40.0, 200.0))
        cloud = self.random.choice(self.clouds)
        vm_id = self.random.randrange(4)
        truth = cloud.vms.get(vm_id)
        if truth is None:
            self._deploy(cloud, vm_id)
        elif truth.busy:
            self._finish(cloud, truth)
        else:
            self.random.choice((
                self._delete, self._off, self._resume, self._move, self._recreate, self._fail, self._duplicate,
            ))(cloud, truth)  # fmt: skip
        for one in self.clouds:
            one.past.append({vm_id: truth.vm for vm_id, truth in one.vms.items()})

    def _new(self, cloud: Cloud, vm: VirtualMachine, *, is_server: bool = True) -> str:
        self.made += 1
        seq = vm.history_seq if self.has_lives else 0
        self.things[uuid(self.made)] = OwnedObject(uuid(self.made), cloud.name, vm.id, "eh", seq, 0.0, is_server)
        return uuid(self.made)

    def _note(self, cloud: Cloud, vm: VirtualMachine, what: str) -> None:
        self.acted[cloud.name, vm.id] = self.now
        self.story.append(f"{self.now:.1f} {cloud.name} VM {vm.id} {what}")

    def _deploy(self, cloud: Cloud, vm_id: int, seq: int = 0) -> None:
        vm = replace(machine(ACTIVE, RUNNING), id=vm_id, history_seq=seq)
        if self.random.random() < 0.5:
            self._new(cloud, vm, is_server=False)
        vm = replace(vm, deploy_id=self._new(cloud, vm))
        cloud.vms[vm_id] = Truth(vm)
        self._note(cloud, vm, "deployed")

    def _drop(self, cloud: Cloud, vm_id: int) -> None:
        for one in [one for one in self.things.values() if (one.cloud, one.vm) == (cloud.name, vm_id)]:
            del self.things[one.uuid]

    def _delete(self, cloud: Cloud, truth: Truth) -> None:
        """Reported to no driver."""
        truth.vm = replace(truth.vm, state=DONE, lcm_state=0)
        self.story.append(f"{self.now:.1f} {cloud.name} VM {truth.vm.id} deleted")

    def _off(self, cloud: Cloud, truth: Truth) -> None:
        if (truth.vm.state, truth.vm.history_host) == (ACTIVE, "eh"):
            truth.vm = replace(truth.vm, state=self.random.choice((STOPPED, SUSPENDED)), lcm_state=0)
            self._note(cloud, truth.vm, "off")

    def _resume(self, cloud: Cloud, truth: Truth) -> None:
        if truth.vm.state in (STOPPED, SUSPENDED):
            self._start(cloud, truth, replace(truth.vm, state=ACTIVE, lcm_state=RUNNING))

    def _start(self, cloud: Cloud, truth: Truth, vm: VirtualMachine) -> None:
        """The VM begins a new history record on ``eh``, and its server says so where the driver knows."""
        truth.vm = replace(vm, history_host="eh", history_seq=vm.history_seq + 1)
        server = self.things.get(vm.deploy_id)
        if server is not None and self.has_lives:
            self.things[vm.deploy_id] = server._replace(seq=truth.vm.history_seq)
        self._note(cloud, truth.vm, "started")

    def _move(self, cloud: Cloud, truth: Truth) -> None:
        """To another driver's host, or back; the end of it comes later, or it fails."""
        vm = truth.vm
        if (vm.state, vm.lcm_state) != (ACTIVE, RUNNING):
            return
        if vm.history_host == "eh":
            truth.vm = replace(vm, lcm_state=SAVE_MIGRATE, history_host="node1", history_seq=vm.history_seq + 1)
            truth.busy = True
            self.story.append(f"{self.now:.1f} {cloud.name} VM {vm.id} moves away")
        elif vm.deploy_id in self.things:
            self._start(cloud, truth, vm)

    def _finish(self, cloud: Cloud, truth: Truth) -> None:
        truth.busy = False
        if self.random.random() < 0.5:
            truth.vm = replace(truth.vm, lcm_state=RUNNING)
            self.story.append(f"{self.now:.1f} {cloud.name} VM {truth.vm.id} has moved away")
        else:
            self._start(cloud, truth, replace(truth.vm, lcm_state=RUNNING))

    def _recreate(self, cloud: Cloud, truth: Truth) -> None:
        if truth.vm.state in (ACTIVE, FAILED):
            self._drop(cloud, truth.vm.id)
            self._deploy(cloud, truth.vm.id, truth.vm.history_seq + 1)

    def _fail(self, cloud: Cloud, truth: Truth) -> None:
        if truth.vm.state == ACTIVE:
            truth.vm = replace(truth.vm, state=FAILED, lcm_state=0)

    def _duplicate(self, cloud: Cloud, truth: Truth) -> None:
        """Two drivers at once have made two; OpenNebula knows of one."""
        if (truth.vm.state, truth.vm.history_host) == (ACTIVE, "eh") and self.random.random() < 0.1:
            self._new(cloud, truth.vm)

    # --- what drivers look at

    def look(self, looker: Looker) -> None:
        if self.random.random() < 0.8:
            self.listing = [one._replace(listed=self.now) for one in self.things.values()]
        if not looker.leads:
            looker.behind = self.random.choice((0, looker.behind + 1))
        past = looker.cloud.past[: len(looker.cloud.past) - looker.behind]
        known = past[-1] if past else {}
        answers = {vm_id: vm for vm_id, vm in known.items() if self.random.random() < 0.7}
        acted: dict[int, float] = {}
        if looker.leads:
            acted = {vm: when for (cloud, vm), when in self.acted.items() if cloud == looker.cloud.name}
        due, looker.sightings = leftovers(
            self.listing,
            looker.cloud.name,
            answers,
            acted,
            looker.sightings,
            self.now,
            grace=self.grace,
            drivers=DRIVERS,
        )
        for vm_id, evidence in due.items():
            truth = looker.cloud.vms[vm_id]
            needed = truth.vm.state != DONE and (truth.vm.history_host == "eh" or truth.vm.lcm_state != RUNNING)
            assert not needed, "\n".join([*self.story, f"{self.now:.1f} ({self.kind}) would destroy {evidence}"])
            owners = {self.things[one][1:3] for one in evidence.things & self.things.keys()}
            assert owners <= {(looker.cloud.name, vm_id)}
            self.destroyed += len(owners)
            self._drop(looker.cloud, vm_id)
            self.story.append(f"{self.now:.1f} {looker.cloud.name} VM {vm_id}: {evidence.reason.value}, destroyed")

    def peace(self) -> None:
        """The cores answer, and nothing happens any more."""
        for _unused in range(4):
            self.now += 100.0
            self.listing = [one._replace(listed=self.now) for one in self.things.values()]
            for looker in self.lookers:
                answers = {vm_id: truth.vm for vm_id, truth in looker.cloud.vms.items()}
                due, looker.sightings = leftovers(
                    self.listing,
                    looker.cloud.name,
                    answers,
                    {},
                    looker.sightings,
                    self.now,
                    grace=self.grace,
                    drivers=DRIVERS,
                )
                for vm_id in due:
                    self._drop(looker.cloud, vm_id)
        over = [(cloud.name, vm) for cloud in self.clouds for vm, truth in cloud.vms.items() if truth.vm.state == DONE]
        left = [one for one in self.things.values() if (one.cloud, one.vm) in over]
        assert not left, "\n".join([*self.story, f"left: {left}"])


@pytest.mark.parametrize("part", range(10))
def test_no_history_ends_with_something_destroyed_that_is_needed_or_kept_that_is_not(part: int) -> None:
    seeds = [int(SEED)] if SEED else range(part, 10 * HISTORIES, 10)
    destroyed = 0
    for seed in seeds:
        history = History(seed)
        for _unused in range(STEPS):
            history.step()
            for looker in history.lookers:
                history.look(looker)
        destroyed += history.destroyed
        history.peace()
    assert SEED or destroyed > HISTORIES, "the histories destroy something now and then"


def copy(number: int, vm: int = 5, cloud: str = OURS, device: str = "ide:0:0") -> Drive:
    marks = {"user:one-cloud": cloud, "user:one-vm": str(vm), "user:one-device": device}
    return Drive({"drive": uuid(number), **marks})


def server(number: int, drive: int | None, vm: int = 5) -> Server:
    marks = {"user:one-cloud": OURS, "user:one-vm": str(vm)}
    return Server({"server": uuid(number), **({"ide:0:0": uuid(drive)} if drive else {}), **marks})


def test_a_copy_is_spare_only_while_the_server_of_its_vm_has_another_one_at_its_device() -> None:
    golden = Drive({"drive": uuid(9)})
    spare = {uuid(2): 5}
    assert spare_copies([copy(1), copy(2)], [server(7, 1)], OURS) == spare
    assert spare_copies([copy(1), copy(2)], [server(7, 1), server(8, 2)], OURS) == {}, "two drivers are at work"
    assert spare_copies([copy(1), copy(2)], [], OURS) == {}, "a deploy may be under way, or the server was lost"
    assert spare_copies([copy(1), copy(2)], [server(7, None)], OURS) == {}, "somebody has taken it off"
    assert spare_copies([golden, copy(2)], [server(7, 9)], OURS) == {}, "another drive has taken its place"
    assert spare_copies([copy(1, vm=6), copy(2)], [server(7, 1, vm=6)], OURS) == {}, "that is another VM's server"
    assert spare_copies([copy(1), copy(2, device="ide:0:1")], [server(7, 1)], OURS) == {}
    assert spare_copies([copy(1), copy(2, cloud=THEIRS)], [server(7, 1)], OURS) == {}


def test_a_spare_copy_is_overdue_when_it_was_seen_for_longer_than_any_attempt_takes() -> None:
    assert overdue({uuid(1): 100.0, uuid(2): 200.0}, 1100.0, 950.0) == [uuid(1)]
    assert overdue({uuid(1): 100.0}, 1050.0, 950.0) == []
