# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: burst_capacity
short_description: Zones with enough capacity for new servers
version_added: 0.1.0
author:
  - The opennebula.elastichosts authors (@opennebula)
description:
  - Returns the names of the zones that have enough capacity left for new servers, from the variable C(eh_capacity) of
    the inventory P(opennebula.elastichosts.servers#inventory). The zone with the most capacity is first; zones with
    equal capacity are sorted by name. The list is empty if no zone has enough.
  - Capacity is measured by how many times the new servers fit in. A measure without a known limit and a known use is
    ignored. The lookup makes no call, so the figures are as old as the inventory; C(ansible.builtin.meta) with
    V(refresh_inventory) renews them.
options:
  _terms:
    description: Names of the zones to consider, by default all. A zone that the inventory left out has no capacity.
    type: list
    elements: str
  servers:
    description: Number of new servers.
    type: float
    default: 1
  cores:
    description: Cores of all new servers together.
    type: float
    default: 0
  cpu:
    description: MHz of all new servers together.
    type: float
    default: 0
  mem:
    description: MB of memory of all new servers together.
    type: float
    default: 0
  drives:
    description: Number of drives of all new servers together.
    type: float
    default: 0
  storage:
    description: GB (binary) of all these drives together.
    type: float
    default: 0
seealso:
  - plugin: opennebula.elastichosts.servers
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: Burst if three more servers of 1 GB fit into a zone
  hosts: localhost
  gather_facts: false
  vars:
    zones: "{{ query('opennebula.elastichosts.burst_capacity', servers=3, mem=3072) }}"
    accounts: "{{ vault_accounts }}" # name of a zone -> credentials
  tasks:
    - name: Fail if no zone has enough capacity
      ansible.builtin.fail:
        msg: "No zone has enough capacity: {{ eh_capacity | to_nice_json }}"
      when: zones | length == 0

    - name: Create three servers in the zone with the most capacity
      opennebula.elastichosts.server:
        endpoint: "{{ eh_capacity[zones | first].endpoint }}"
        auth: "{{ accounts[zones | first] }}"
        name: "web-{{ item }}"
        cpu: 2000
        mem: 1024
      loop: [1, 2, 3]
"""

RETURN = r"""
_raw:
  description: Names of the zones with enough capacity, the one with the most first.
  type: list
  elements: str
"""

from typing import Any, Dict, List, Mapping, Optional

from ansible.errors import AnsibleError  # type: ignore[import-untyped]
from ansible.plugins.lookup import LookupBase  # type: ignore[import-untyped]

from ..module_utils.capacity import MEASURES, Number, amounts, times
from ..module_utils.options import InvalidOption


class LookupModule(LookupBase):  # type: ignore[misc]
    """Returns the names of zones, the one with the most capacity first."""

    def run(self, terms: List[Any], variables: Optional[Mapping[str, Any]] = None, **kwargs: Any) -> List[str]:
        self.set_options(var_options=variables, direct=kwargs)
        need = self._need(kwargs)
        known = self._known(variables or {})
        unreachable = self._templated(variables or {}, "eh_unreachable") or {}
        for term in terms:
            if term not in known and term not in unreachable:
                zones = ", ".join(sorted(known)) or "none"
                raise AnsibleError(f"burst_capacity: no zone {term!r} in the inventory, its zones are: {zones}")
        fitting = {name: times(known[name]["left"], need) for name in known if not terms or name in terms}
        return sorted((name for name, fits in fitting.items() if fits >= 1), key=lambda name: (-fitting[name], name))

    def _need(self, given: Mapping[str, Any]) -> Dict[str, Number]:
        unknown = sorted(set(given) - set(MEASURES))
        if unknown:
            raise AnsibleError(f"burst_capacity: {unknown[0]!r} is no option, choose from {', '.join(MEASURES)}")
        try:
            return amounts({kind: self.get_option(kind) for kind in MEASURES}, "burst_capacity")
        except InvalidOption as error:
            raise AnsibleError(str(error)) from None

    def _known(self, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        known = self._templated(variables, "eh_capacity")
        if not isinstance(known, Mapping):
            problem = "run with an inventory of opennebula.elastichosts.servers"
            raise AnsibleError(f"burst_capacity: there is no variable eh_capacity, {problem}")
        return known

    def _templated(self, variables: Mapping[str, Any], name: str) -> Any:
        return self._templar.template(variables[name]) if name in variables else None
