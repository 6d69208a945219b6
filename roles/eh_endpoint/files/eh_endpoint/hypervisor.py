# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where guests run. The API side knows this protocol only."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from .testing.clock import Clock


class Disk(NamedTuple):
    device: str
    path: Path
    media: str


class Nic(NamedTuple):
    number: int
    model: str
    mac: str
    address: str | None
    vlan: str | None


@dataclass(frozen=True)
class Guest:
    """A machine to run. cpu in MHz over all cores, mem in MB."""

    uuid: str
    name: str
    cpu: int
    mem: int
    cores: int
    boot: tuple[str, ...]
    disks: tuple[Disk, ...]
    nics: tuple[Nic, ...]
    vnc: str | None
    password: str | None
    container: bool = False


class Adopted(NamedTuple):
    """A guest that was running when the endpoint ended: epoch seconds of its start and of its ACPI request."""

    guest: Guest
    started: float
    asked_off: float | None


class Console(NamedTuple):
    """Where the VNC server of a running guest listens."""

    address: str
    port: int


Counters = Mapping[str, int]
"""Counters of a running guest: `<device>:read:bytes`, `nic:0:rx:packets`, ..."""


class HypervisorError(Exception):
    """A guest did not do what was asked; the text is for the caller of the API."""


class Hypervisor(Protocol):
    """What a place that runs guests has to offer. Methods that touch a guest may take their time."""

    async def start(self, guest: Guest) -> None:
        """Define and power on. Raises HypervisorError, and then the guest does not run."""

    async def adopt(self, running: Iterable[Adopted]) -> None:
        """Find guests again after a restart. One that is gone is reported by `powered_off`."""

    async def stop(self, uuid: str) -> None:
        """Cut the power."""

    async def shutdown(self, uuid: str) -> None:
        """Press the ACPI power button; what follows is up to the guest."""

    async def reset(self, uuid: str) -> None:
        """Press the reset button."""

    async def update(self, guest: Guest) -> None:
        """Take over what may change while a guest runs: name, cpu, password."""

    async def stats(self, uuids: Iterable[str]) -> Mapping[str, Counters]:
        """The counters of running guests, of all of them at once."""

    def powered_off(self) -> Iterable[str]:
        """The guests that went off by themselves since the last call."""

    def paused(self, uuid: str) -> bool:
        """Whether a guest that runs is held."""

    def console(self, uuid: str) -> Console | None:
        """The VNC server of a guest where it does not listen on port 5900 of the guest's own address."""

    async def close(self) -> None:
        """Let go of the guests; they stay as they are."""


class SimulatedHypervisor:
    """Guests that take no room: they count traffic by the clock and obey ACPI after a delay.

    acpi_delay: seconds from the power button to power off; None for guests that do not listen.
    """

    def __init__(self, clock: Clock, acpi_delay: float | None) -> None:
        self._clock = clock
        self._acpi_delay = acpi_delay
        self._running: dict[str, tuple[Guest, float]] = {}
        self._going_off: list[tuple[float, str, float]] = []

    async def start(self, guest: Guest) -> None:
        self._running[guest.uuid] = guest, self._clock.now()

    async def adopt(self, running: Iterable[Adopted]) -> None:
        for guest, started, asked_off in running:
            self._running[guest.uuid] = guest, started
            if asked_off is not None:
                self._go_off(guest.uuid, asked_off)

    async def stop(self, uuid: str) -> None:
        self._running.pop(uuid, None)

    async def shutdown(self, uuid: str) -> None:
        self._go_off(uuid, self._clock.now())

    def _go_off(self, uuid: str, asked: float) -> None:
        if self._acpi_delay is not None:
            heapq.heappush(self._going_off, (asked + self._acpi_delay, uuid, self._running[uuid][1]))

    async def reset(self, uuid: str) -> None:
        guest, started = self._running[uuid]
        # A power button that was pressed before the reset is forgotten by the guest that boots now.
        self._going_off = [entry for entry in self._going_off if entry[1] != uuid]
        heapq.heapify(self._going_off)
        self._running[uuid] = guest, started

    async def update(self, guest: Guest) -> None:
        self._running[guest.uuid] = guest, self._running[guest.uuid][1]

    async def stats(self, uuids: Iterable[str]) -> Mapping[str, Counters]:
        now = self._clock.now()
        return {uuid: _counters(*self._running[uuid], now) for uuid in uuids if uuid in self._running}

    def powered_off(self) -> Iterable[str]:
        gone = []
        now = self._clock.now()
        while self._going_off and self._going_off[0][0] <= now:
            _unused, uuid, started = heapq.heappop(self._going_off)
            if uuid in self._running and self._running[uuid][1] == started:
                del self._running[uuid]
                gone.append(uuid)
        return gone

    def paused(self, uuid: str) -> bool:
        return False

    def console(self, uuid: str) -> Console | None:
        return None

    async def close(self) -> None:
        self._running.clear()


# What a simulated guest does per second: bytes and the size of one request or packet.
_DISK_RATES = (("read", 65536, 16384), ("write", 32768, 8192))
_NIC_RATES = (("rx", 2048, 512), ("tx", 1024, 256))


def _counters(guest: Guest, started: float, now: float) -> Counters:
    seconds = max(0, int(now - started))
    counters = {}
    for disk in guest.disks:
        for way, rate, unit in _DISK_RATES:
            counters[f"{disk.device}:{way}:bytes"] = rate * seconds
            counters[f"{disk.device}:{way}:requests"] = rate * seconds // unit
    for nic in guest.nics:
        for way, rate, unit in _NIC_RATES:
            counters[f"nic:{nic.number}:{way}:bytes"] = rate * seconds
            counters[f"nic:{nic.number}:{way}:packets"] = rate * seconds // unit
    return counters
