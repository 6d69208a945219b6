# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The networks of a zone in libvirt: its own one, and an isolated one for every VLAN that a running guest is on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..hypervisor import Guest
from ..state.addresses import AddressPool
from . import domain_xml
from .connection import CannotUse


class Networks:
    """All methods that take a connection may wait for it, and raise libvirt's own error.

    own: the name of the zone's own network. forward: `nat` or `route`.
    """

    def __init__(self, api: Any, zone: str, pool: AddressPool, forward: str) -> None:
        self.own = zone
        self._api = api
        self._pool = pool
        self._forward = forward

    def vlans(self, guests: Iterable[Guest]) -> frozenset[str]:
        """The names of the networks of VLANs that guests are on."""
        return frozenset(
            domain_xml.vlan_network(self.own, nic.vlan) for guest in guests for nic in guest.nics if nic.vlan
        )

    def have_own(self, conn: Any, *, guests_run: bool) -> None:
        """The zone's network, with an entry for every address that a guest can get. Raises CannotUse where guests run
        on one that is not as it should be."""
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
        """The VLANs of a guest, and the zone's own network should somebody have taken it away."""
        present = frozenset(conn.listNetworks())
        if self.own not in present:
            self.have_own(conn, guests_run=True)
        for name in self.vlans([guest]) - present:
            try:
                conn.networkCreateXML(domain_xml.isolated_network(name))
            except self._api.libvirtError:
                conn.networkLookupByName(name)  # another guest was faster

    def drop(self, conn: Any, name: str) -> None:
        conn.networkLookupByName(name).destroy()

    def tidy(self, conn: Any, used: frozenset[str]) -> None:
        """After a restart: end the VLANs that no running guest is on."""
        for name in conn.listNetworks():
            if name.startswith(domain_xml.vlan_network(self.own, "")) and name not in used:
                self.drop(conn, name)
