# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests of the simulated hypervisor, on a clock that the tests move."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eh_endpoint.hypervisor import Adopted, Disk, Guest, Nic, SimulatedHypervisor


class Clock:
    """Epoch seconds that stand still until they are moved."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


def guest(uuid: str) -> Guest:
    return Guest(
        uuid,
        uuid,
        cpu=500,
        mem=500,
        cores=1,
        boot=("ide:0:0",),
        disks=(Disk("ide:0:0", Path("disk"), "disk"),),
        nics=(Nic(0, "e1000", "6a:00:00:00:00:00", "198.18.0.4", None),),
        vnc=None,
        password=None,
    )


def test_a_guest_goes_off_when_the_delay_is_over(clock: Clock) -> None:
    hypervisor = SimulatedHypervisor(clock, acpi_delay=10)
    asyncio.run(hypervisor.start(guest("a")))
    asyncio.run(hypervisor.shutdown("a"))
    clock.time += 9.9
    assert hypervisor.powered_off() == []
    clock.time += 0.1
    assert hypervisor.powered_off() == ["a"]
    assert hypervisor.powered_off() == []
    assert asyncio.run(hypervisor.stats(["a"])) == {}


def test_a_power_button_pressed_twice_and_a_power_cut_end_a_guest_once(clock: Clock) -> None:
    hypervisor = SimulatedHypervisor(clock, acpi_delay=10)
    asyncio.run(hypervisor.start(guest("twice")))
    asyncio.run(hypervisor.start(guest("cut")))
    for uuid in ("twice", "twice", "cut"):
        asyncio.run(hypervisor.shutdown(uuid))
    asyncio.run(hypervisor.stop("cut"))
    clock.time += 5
    asyncio.run(hypervisor.start(guest("cut")))
    clock.time += 20
    assert hypervisor.powered_off() == ["twice"]


def test_a_guest_that_was_found_again_goes_off_when_it_would_have(clock: Clock) -> None:
    hypervisor = SimulatedHypervisor(clock, acpi_delay=10)
    asyncio.run(hypervisor.adopt([Adopted(guest("a"), clock.time - 100, clock.time - 6)]))
    clock.time += 3.9
    assert hypervisor.powered_off() == []
    clock.time += 0.2
    assert hypervisor.powered_off() == ["a"]


def test_counters_grow_with_the_time_since_the_start(clock: Clock) -> None:
    hypervisor = SimulatedHypervisor(clock, acpi_delay=None)
    asyncio.run(hypervisor.start(guest("a")))
    assert set(asyncio.run(hypervisor.stats(["a"]))["a"].values()) == {0}
    clock.time += 10
    ten = asyncio.run(hypervisor.stats(["a"]))["a"]
    clock.time += 10
    twenty = asyncio.run(hypervisor.stats(["a"]))["a"]
    assert set(ten) >= {"ide:0:0:read:bytes", "ide:0:0:write:requests", "nic:0:rx:packets", "nic:0:tx:bytes"}
    assert all(0 < ten[key] < twenty[key] for key in ten)
