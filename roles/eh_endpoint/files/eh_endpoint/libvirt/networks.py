# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The libvirt networks of a zone: one for the zone, and one for each VLAN of a running guest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..hypervisor import Guest
from ..state.addresses import AddressPool
from . import domain_xml
from .connection import CannotUse


class Networks:
    """Creates and removes networks. Methods with a connection call libvirt and raise libvirt.libvirtError.

    own: the name of the zone's network. forward: `nat` or `route`.
    """

    def __init__(self, api: Any, zone: str, pool: AddressPool, forward: str) -> None:
        self.own = zone
        self._api = api
        self._pool = pool
        self._forward = forward

    def vlans(self, guests: Iterable[Guest]) -> frozenset[str]:
        """Return the names of the networks of the VLANs of guests."""
        return frozenset(
            domain_xml.vlan_network(self.own, nic.vlan) for guest in guests for nic in guest.nics if nic.vlan
        )

    def have_own(self, conn: Any, *, guests_run: bool) -> None:
        """Create the zone's network, with a DHCP entry for every address of the pool.

        A network that differs is replaced; raises CannotUse if guests run on it.
        """
        wanted = domain_xml.zone_network(self.own, self.own, self._pool, self._forward)
        if self.own in conn.listNetworks():
            present = conn.networkLookupByName(self.own)
            if domain_xml.same_network(present.XMLDesc(0), wanted):
                return
            if guests_run:
                raise CannotUse(
                    f"guests are running on network {self.own}, which was made with other --addresses or another "
                    "--forward: give the same ones, or stop the guests first"
                )
            present.destroy()
        try:
            conn.networkCreateXML(wanted)
        except self._api.libvirtError as error:
            if "in use" in str(error.get_error_message()):
                raise CannotUse(
                    f"addresses of {self._pool.network} are in use on this machine already, by another zone or "
                    "something else: give this zone --addresses of its own"
                ) from None
            raise

    def have_for(self, conn: Any, guest: Guest) -> None:
        """Create the networks of a guest that are missing."""
        present = frozenset(conn.listNetworks())
        if self.own not in present:
            self.have_own(conn, guests_run=True)
        for name in self.vlans([guest]) - present:
            try:
                conn.networkCreateXML(domain_xml.isolated_network(name))
            except self._api.libvirtError:
                conn.networkLookupByName(name)  # created meanwhile for another guest

    def drop(self, conn: Any, name: str) -> None:
        conn.networkLookupByName(name).destroy()

    def tidy(self, conn: Any, used: frozenset[str]) -> None:
        """Remove the networks of VLANs that are not used, after a restart."""
        for name in conn.listNetworks():
            if name.startswith(domain_xml.vlan_network(self.own, "")) and name not in used:
                self.drop(conn, name)
