# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Options of both a single server and the servers of a group.
    DOCUMENTATION = r"""
options:
  cpu:
    description:
      - Speed in MHz, 500 to 20000, over all cores. Needed to create a server.
    type: int
  mem:
    description:
      - Memory in MB, 256 to 32768. Needed to create a server.
    type: int
  smp:
    description:
      - Number of cores, 1 to 8, or V(auto) to have it derived from O(cpu). A new server gets V(auto).
    type: str
  nics:
    description:
      - All network interfaces of the server, at most four. Interfaces that are not in this list are removed.
      - Without this list, a new server gets one interface with model V(e1000) and an address by DHCP.
    type: list
    elements: dict
    suboptions:
      model:
        description:
          - Model of the network card.
        type: str
        choices: [e1000, rtl8139, virtio]
        default: e1000
      dhcp:
        description:
          - Address of the first interface, V(auto) for any, V(none) for none, or a static address of the account.
          - The default for the first interface is V(auto).
        type: str
      vlan:
        description:
          - UUID of the VLAN that an interface after the first is connected to.
        type: str
      mac:
        description:
          - MAC address of an interface after the first. If not given, it is random.
        type: str
      firewall_policy:
        description:
          - Action of the first interface for packets that match no exception.
        type: str
        choices: [accept, reject]
      firewall_accept:
        description:
          - Exceptions to accept, such as V(tcp/22), passed to the API unchanged.
        type: list
        elements: str
      firewall_reject:
        description:
          - Exceptions to reject, such as V(udp/53), passed to the API unchanged.
        type: list
        elements: str
  vnc:
    description:
      - Whether the console is accessible by VNC. Needs a O(password).
    type: bool
  vnc_tls:
    description:
      - Whether VNC requires TLS in addition to the password.
    type: bool
  password:
    description:
      - Password of the console, and of the first login on images that use it, 1 to 8 characters.
      - V(null) removes the password.
    type: str
  tags:
    description:
      - All tags of the server, an empty list for none. A tag is one word. The order does not matter.
    type: list
    elements: str
  avoid:
    description:
      - Drives and servers that the server must not share hardware with.
    type: dict
    suboptions:
      drives:
        description: UUIDs of drives.
        type: list
        elements: str
      servers:
        description: UUIDs of servers.
        type: list
        elements: str
  extra:
    description:
      - Further properties by their API key, passed to the API unchanged, V(null) to unset. For example the keys of a
        container, or C(vnc:ip) on the old platform.
    type: dict
  restart:
    description:
      - Whether a running server may be shut down, changed and started again for changes that need that. Otherwise such
        a change fails and nothing is changed.
    type: bool
    default: false
"""
