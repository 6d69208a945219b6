# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: resource_info
short_description: List the static addresses and VLANs of an ElasticHosts account
version_added: 0.1.0
author:
  - The opennebula.elastichosts authors (@opennebula)
description:
  - Lists all static addresses and VLANs, or those of one type or name, and which servers use them. A list without
    entries is no failure.
extends_documentation_fragment:
  - opennebula.elastichosts.connection
  - opennebula.elastichosts.options.query
  - opennebula.elastichosts.attributes
  - opennebula.elastichosts.attributes.action_group
  - opennebula.elastichosts.attributes.info_module
options:
  type:
    description:
      - Only the resources of this type.
    type: str
    choices: [ip, vlan]
  name:
    description:
      - Only the resources that have exactly this name, which may be several.
    type: str
  resource:
    description:
      - Only the resource with this address (V(ip)) or UUID (V(vlan)).
    type: str
seealso:
  - module: opennebula.elastichosts.ip
  - module: opennebula.elastichosts.vlan
"""

EXAMPLES = r"""
- name: List all static addresses and VLANs
  opennebula.elastichosts.resource_info:
  register: all

- name: List the addresses that no server uses
  opennebula.elastichosts.resource_info:
    type: ip
    query: "[?length(servers) == `0`].resource"
  register: idle
"""

RETURN = r"""
resources:
  description:
    - The resources, sorted by name and address or UUID, each with the keys that M(opennebula.elastichosts.ip) and
      M(opennebula.elastichosts.vlan) return. With O(query) the result of the expression.
  returned: success
  type: list
  elements: raw
  sample:
    - type: ip
      resource: 192.0.2.77
      name: web
      servers: []
failure:
  description: Details of the error.
  returned: failure
  type: dict
  contains:
    status:
      description: HTTP status of the response, V(null) if there was none.
      type: int
      sample: 409
    code:
      description: Error code of the API (V(usage), V(auth), V(billing), V(missing), V(busy), V(full)...), or ours.
      type: str
      sample: busy
    call:
      description: The call that failed.
      type: str
      sample: GET /resources/info
"""

from typing import Any, Dict

from ansible_collections.opennebula.elastichosts.plugins.module_utils.module import (
    Definition,
    Outcome,
    Task,
    listing,
    run,
)

from ..module_utils.resource_options import resource_view

ARGUMENTS: Dict[str, Any] = {
    "type": {"type": "str", "choices": ["ip", "vlan"]},
    "name": {"type": "str"},
    "resource": {"type": "str"},
    "query": {"type": "str"},
}


def perform(task: Task) -> Outcome:
    kind, wanted = task.params["type"], task.params["resource"]
    found = [
        item
        for item in task.client.resources.info()
        if kind in (None, item.type) and wanted in (None, item.resource, item.resource.upper())
    ]
    servers = task.client.servers.info() if found else []
    return listing(task, "resources", [resource_view(item, item.users(servers)) for item in found], "resource")


DEFINITION = Definition(perform, ARGUMENTS)


def main() -> None:
    run(DEFINITION)


if __name__ == "__main__":
    main()
