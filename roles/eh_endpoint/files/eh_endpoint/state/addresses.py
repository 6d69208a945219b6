# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The IPv4 addresses of servers and of static address resources."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from ..errors import Full


class AddressPool:
    """The host addresses of a network, assigned in turn, so that a released address is reused as late as possible.

    The first host is the gateway, the second the name server, the third the VNC address of servers without an address.
    nameserver: whether the name server is another host than the gateway. Raises ValueError for a network that is too
    small.
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
        """Return all addresses that can be assigned."""
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
        """Return the next free address, which is not reserved until claim() is called. Raises Full."""
        for _unused in range(self._count - self.RESERVED):
            address = self.host(self._next)
            self._next += 1
            if self._next >= self._count:
                self._next = self.RESERVED
            if address not in self._taken:
                return address
        raise Full(f"No address is left in {self.network}")

    def claim(self, address: str) -> None:
        """Reserve the address of an object."""
        self._taken.add(address)

    def release(self, address: str) -> None:
        self._taken.discard(address)
