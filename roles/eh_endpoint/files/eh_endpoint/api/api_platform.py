# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two generations of the platform, as a table (elastichosts-api 8)."""

from __future__ import annotations

from dataclasses import dataclass

from ..state.objects import MOUNTS
from .formats import Properties, Value


@dataclass(frozen=True)
class Platform:
    """The differences between the generations that a client can see.

    address_keys     where an active server shows its address
    password_keys    where info shows the VNC password
    cores            whether the cores in use show as `smp:cores` (else as the value of `smp`)
    counters         (key, name of the hypervisor's counter) of NIC traffic
    hidden           keys that info never shows
    absent           keys that this generation does not have; they are rejected like unknown keys
    library          whether standard drives can be listed, drives cloned, and folders and containers exist
    image_empty      whether an image call answers 204 without content
    percentage       whether plain info gives imaging as NN%
    ordered          whether keys come sorted
    """

    name: str
    address_keys: tuple[str, ...]
    password_keys: tuple[str, ...]
    cores: bool
    counters: tuple[tuple[str, str], ...]
    hidden: frozenset[str]
    absent: frozenset[str]
    library: bool
    image_empty: bool
    percentage: bool
    ordered: bool

    def shown(self, found: dict[str, Value]) -> Properties:
        """Return an object as this generation shows it."""
        for key in self.hidden:
            found.pop(key, None)
        return dict(sorted(found.items())) if self.ordered else found


_TRAFFIC = ("rx:bytes", "rx:packets", "tx:bytes", "tx:packets")

PLATFORMS = {
    platform.name: platform
    for platform in (
        Platform(
            name="new",
            address_keys=("nic:0:dhcp:ip", "nic:0:ip"),
            password_keys=("password",),
            cores=True,
            counters=tuple((f"nic:{{nic}}:{name}", name) for name in _TRAFFIC),
            hidden=frozenset(),
            absent=frozenset(),
            library=True,
            image_empty=False,
            percentage=False,
            ordered=True,
        ),
        Platform(
            name="old",
            address_keys=("nic:0:dhcp",),
            password_keys=("password", "vnc:password"),
            cores=False,
            counters=(
                ("rx", "rx:bytes"),
                ("rx:packets", "rx:packets"),
                ("tx", "tx:bytes"),
                ("tx:packets", "tx:packets"),
            ),
            hidden=frozenset({"tier", "type", "vnc"}),
            absent=frozenset({"tier", "type", "ssh:0:key", *MOUNTS, *(f"{mount}:mount" for mount in MOUNTS)}),
            library=False,
            image_empty=True,
            percentage=True,
            ordered=False,
        ),
    )
}
