# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The IPv4 addresses that servers and static addresses come from."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from ..errors import Full


class AddressPool:
    """The hosts of a network, given out in turn, so that a freed address rests as long as possible.

    The first host is the gateway, the second the name server, the third answers for VNC where a server has no address
    of its own. nameserver: whether there is a name server beside the gateway.
    """

    RESERVED = 3

    def __init__(self, network: ipaddress.IPv4Network, *, nameserver: bool = True) -> None:
        self.network = network
        self._nameserver = 1 if nameserver else 0
        self._base = int(network.network_address)
        self._count = network.num_addresses - 2
        if self._count <= self.RESERVED:
            raise ValueError(f"{network} is too small: use a /29 or larger network")
        self._next = self.RESERVED
        self._taken: set[str] = set()

    def host(self, number: int) -> str:
        return str(ipaddress.IPv4Address(self._base + 1 + number))

    def hosts(self) -> Iterator[str]:
        """Every address that can be given out."""
        return (self.host(number) for number in range(self.RESERVED, self._count))

    @property
    def gateway(self) -> str:
        return self.host(0)

    @property
    def nameserver(self) -> str:
        return self.host(self._nameserver)

    @property
    def console(self) -> str:
        return self.host(2)

    def free(self) -> str:
        """The next free address, or Full. It is taken once an object that has it is claimed for."""
        for _unused in range(self._count - self.RESERVED):
            address = self.host(self._next)
            self._next += 1
            if self._next >= self._count:
                self._next = self.RESERVED
            if address not in self._taken:
                return address
        raise Full(f"No address is left in {self.network}")

    def claim(self, address: str) -> None:
        """Mark the address of an object as in use."""
        self._taken.add(address)

    def release(self, address: str) -> None:
        self._taken.discard(address)
