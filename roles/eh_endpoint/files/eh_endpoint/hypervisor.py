# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface of hypervisors, and a hypervisor that simulates guests."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from .testing.clock import Clock, monotonic_of


class Disk(NamedTuple):
    """A drive of a guest. device: by the API's name; media: `disk` or `cdrom`."""

    device: str
    path: Path
    media: str


class Nic(NamedTuple):
    """An interface of a guest. vlan: UUID; None: connected to the zone's network."""

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
    """A guest that ran when the endpoint ended, with the times of its start and of a shutdown call (epoch seconds)."""

    guest: Guest
    started: float
    asked_off: float | None


class Console(NamedTuple):
    """Address and port of the VNC server of a running guest."""

    address: str
    port: int


Counters = Mapping[str, int]
"""Counters of a running guest: `<device>:read:bytes`, `nic:0:rx:packets`, ..."""


class HypervisorError(Exception):
    """An operation on a guest failed; the text is for the client of the API."""


class Hypervisor(Protocol):
    """Runs guests. Coroutines may take seconds; the other methods return at once."""

    async def start(self, guest: Guest) -> None:
        """Define a guest and power it on. Raises HypervisorError if the guest does not run."""

    async def adopt(self, running: Iterable[Adopted]) -> None:
        """Take over guests after a restart of the endpoint; `powered_off` reports those that no longer run."""

    async def stop(self, uuid: str) -> None:
        """Power a guest off."""

    async def shutdown(self, uuid: str) -> None:
        """Press the ACPI power button; the guest decides when it powers off."""

    async def reset(self, uuid: str) -> None:
        """Press the reset button."""

    async def update(self, guest: Guest) -> None:
        """Change name, cpu and password of a running guest."""

    async def stats(self, uuids: Iterable[str]) -> Mapping[str, Counters]:
        """Return the counters of running guests by UUID."""

    def powered_off(self) -> Iterable[str]:
        """Return the guests that powered off on their own since the last call."""

    def paused(self, uuid: str) -> bool:
        """Return whether a guest is paused."""

    def console(self, uuid: str) -> Console | None:
        """Return the VNC server of a guest; None if it listens on port 5900 of the guest's own address."""

    async def close(self) -> None:
        """Release resources; guests continue to run."""


class SimulatedHypervisor:
    """Simulates guests: their counters grow with the clock, and a shutdown takes effect after a delay.

    acpi_delay: in seconds; None for guests that ignore a shutdown. Times in this class are by the monotonic clock.
    """

    def __init__(self, clock: Clock, acpi_delay: float | None) -> None:
        self._clock = clock
        self._acpi_delay = acpi_delay
        self._running: dict[str, tuple[Guest, float]] = {}
        self._shutdowns: list[tuple[float, str, float]] = []  # (time of power-off, UUID, time of start)

    async def start(self, guest: Guest) -> None:
        self._running[guest.uuid] = guest, self._clock.monotonic()

    async def adopt(self, running: Iterable[Adopted]) -> None:
        for guest, started, asked_off in running:
            self._running[guest.uuid] = guest, monotonic_of(self._clock, started)
            if asked_off is not None:
                self._schedule_power_off(guest.uuid, monotonic_of(self._clock, asked_off))

    async def stop(self, uuid: str) -> None:
        self._running.pop(uuid, None)

    async def shutdown(self, uuid: str) -> None:
        self._schedule_power_off(uuid, self._clock.monotonic())

    def _schedule_power_off(self, uuid: str, asked: float) -> None:
        if self._acpi_delay is not None:
            heapq.heappush(self._shutdowns, (asked + self._acpi_delay, uuid, self._running[uuid][1]))

    async def reset(self, uuid: str) -> None:
        guest, started = self._running[uuid]
        # The guest boots, so an earlier shutdown call has no effect.
        self._shutdowns = [entry for entry in self._shutdowns if entry[1] != uuid]
        heapq.heapify(self._shutdowns)
        self._running[uuid] = guest, started

    async def update(self, guest: Guest) -> None:
        self._running[guest.uuid] = guest, self._running[guest.uuid][1]

    async def stats(self, uuids: Iterable[str]) -> Mapping[str, Counters]:
        now = self._clock.monotonic()
        return {uuid: _counters(*self._running[uuid], now) for uuid in uuids if uuid in self._running}

    def powered_off(self) -> Iterable[str]:
        powered_off = []
        now = self._clock.monotonic()
        while self._shutdowns and self._shutdowns[0][0] <= now:
            _unused, uuid, started = heapq.heappop(self._shutdowns)
            if uuid in self._running and self._running[uuid][1] == started:
                del self._running[uuid]
                powered_off.append(uuid)
        return powered_off

    def paused(self, uuid: str) -> bool:
        return False

    def console(self, uuid: str) -> Console | None:
        return None

    async def close(self) -> None:
        self._running.clear()


# Traffic of a simulated guest: (name, bytes per second, bytes per request or packet).
_DISK_RATES = (("read", 65536, 16384), ("write", 32768, 8192))
_NIC_RATES = (("rx", 2048, 512), ("tx", 1024, 256))


def _counters(guest: Guest, started: float, now: float) -> Counters:
    seconds = max(0, int(now - started))
    counters = {}
    for disk in guest.disks:
        for direction, rate, unit in _DISK_RATES:
            counters[f"{disk.device}:{direction}:bytes"] = rate * seconds
            counters[f"{disk.device}:{direction}:requests"] = rate * seconds // unit
    for nic in guest.nics:
        for direction, rate, unit in _NIC_RATES:
            counters[f"nic:{nic.number}:{direction}:bytes"] = rate * seconds
            counters[f"nic:{nic.number}:{direction}:packets"] = rate * seconds // unit
    return counters
