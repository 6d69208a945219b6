# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Racers for one name in any order of their calls, some of which die: what is kept, and what nobody may withdraw."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.clock import Clock, Deadline
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.drives import Drive
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.errors import NotUnique
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.single_name import (
    WITHDRAW_WITHIN,
    Decision,
    SingleName,
    decide,
    until_settled,
)

IDENTITIES = st.integers(0, 9).map(lambda number: f"{number:08x}-0000-4000-8000-000000000000")
OTHERS = st.dictionaries(IDENTITIES, st.booleans(), max_size=4)


@given(IDENTITIES, OTHERS, st.floats(0, 60))
def test_an_object_is_withdrawn_only_early_and_only_for_another_one(
    own: str, others: dict[str, bool], age: float
) -> None:
    others.pop(own, None)
    decision = decide(own, others, age)
    if not others or age > WITHDRAW_WITHIN:
        assert decision is Decision.KEEP
    elif any(others.values()):
        assert decision is Decision.WITHDRAW
    else:
        assert decision is not Decision.KEEP


@given(st.sets(IDENTITIES, min_size=2))
def test_of_those_that_see_each_other_exactly_one_does_not_withdraw(racers: set[str]) -> None:
    decisions = {own: decide(own, dict.fromkeys(racers - {own}, False), 0.0) for own in racers}
    assert [own for own, decision in decisions.items() if decision is Decision.WAIT] == [min(racers)]


class Died(Exception):
    """A racer is killed at its next call."""


@dataclass
class World(Clock):
    """A cloud whose calls happen one at a time, in the order that a test draws, and the time that passes meanwhile."""

    identities: list[str]
    time: float = 0.0
    drives: dict[str, dict[str, str]] = field(default_factory=dict)
    relied_on: set[str] = field(default_factory=set)
    turn: threading.Condition = field(default_factory=threading.Condition)
    waiting: dict[int, float] = field(default_factory=dict)
    """racers that wait for their turn, and the time before which they do not want it"""
    chosen: int | None = None
    dying: set[int] = field(default_factory=set)
    here: threading.local = field(default_factory=threading.local)

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.wait_for_turn(self.time + seconds)

    def wait_for_turn(self, until: float = 0.0) -> None:
        me = self.here.number
        with self.turn:
            self.waiting[me] = until
            self.turn.notify_all()
            assert self.turn.wait_for(lambda: self.chosen == me, 60)
            self.chosen = None
            del self.waiting[me]
            if me in self.dying:
                raise Died

    def named(self) -> list[Drive]:
        self.wait_for_turn()
        return [Drive(dict(properties)) for properties in self.drives.values()]

    def find(self) -> Drive | None:
        found = self.named()
        if len(found) > 1:
            raise NotUnique("several")
        return found[0] if found else None

    def create(self, properties: Mapping[str, str | None]) -> Drive:
        self.wait_for_turn()
        identity = self.identities.pop()
        self.drives[identity] = {"drive": identity, **{key: value for key, value in properties.items() if value}}
        return Drive(dict(self.drives[identity]))

    def change(self, identity: str, properties: Mapping[str, str | None]) -> Drive:
        self.wait_for_turn()
        for key in properties:
            self.drives[identity].pop(key, None)
        return Drive(dict(self.drives[identity]))

    def destroy(self, drive: Drive) -> None:
        self.wait_for_turn()
        assert drive.uuid not in self.relied_on, "somebody relies on it"
        del self.drives[drive.uuid]

    def race(self, number: int, results: dict[int, Any]) -> None:
        self.here.number = number
        single = SingleName(self.named, self.find, self.change, self.destroy, Deadline(10_000, self))

        def perform() -> str:
            found = single.look_up() or single.make(self.create, {"name": "lb"})
            self.relied_on.add(found.uuid)
            return found.uuid

        try:
            results[number] = until_settled(perform)
        except (Died, NotUnique, AssertionError, KeyError) as error:
            results[number] = error
        finally:
            with self.turn:
                self.turn.notify_all()


@settings(deadline=None, max_examples=150)
@given(st.data(), st.integers(2, 5), st.permutations(range(40)))
def test_racers_keep_one_and_none_that_is_relied_on_is_withdrawn(
    data: st.DataObject, racers: int, order: list[int]
) -> None:
    world = World([f"{number:08x}-0000-4000-8000-000000000000" for number in order])
    dying = data.draw(st.sets(st.integers(0, racers - 1), max_size=1), "dies")
    pauses = data.draw(st.sampled_from([[0.0, 0.05], [0.0, 0.05, 0.5, 3.0], [6.0, 12.0]]), "seconds of a call")
    results: dict[int, Any] = {}
    threads = [threading.Thread(target=world.race, args=(number, results), daemon=True) for number in range(racers)]
    for thread in threads:
        thread.start()
    for step in itertools.count():
        with world.turn:
            assert world.turn.wait_for(lambda: len(world.waiting) + len(results) == racers and world.chosen is None, 60)
            if len(results) == racers:
                break
            ready = sorted(number for number, until in world.waiting.items() if until <= world.time)
            if not ready:
                world.time = min(world.waiting.values())
                continue
            if step < racers:
                world.chosen = step  # all have looked before anybody makes one
            elif step < 60:
                world.chosen = data.draw(st.sampled_from(ready))
                world.time += data.draw(st.sampled_from(pauses))
                if world.chosen in dying and data.draw(st.booleans(), "now"):
                    world.dying.add(world.chosen)
            else:
                world.chosen = ready[step % len(ready)]
                world.time += 0.05
            world.turn.notify_all()
    broken = [error for error in results.values() if isinstance(error, (AssertionError, KeyError))]
    assert not broken
    kept = {result for result in results.values() if isinstance(result, str)}
    assert kept <= set(world.drives), "what was reported is there"
    if not dying and max(pauses) < 1:
        assert set(world.drives) == kept and len(kept) == 1, "all report the same one, and nothing else is left"
