# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vlan
short_description: Create, name and destroy the VLANs of an ElasticHosts account
version_added: 0.1.0
author:
  - The opennebula.elastichosts authors (@opennebula)
description:
  - Brings one VLAN of an ElasticHosts account into the state that the task describes.
  - A VLAN that a server uses, running or not, is not destroyed.
extends_documentation_fragment:
  - opennebula.elastichosts.connection
  - opennebula.elastichosts.options.user_keys
  - opennebula.elastichosts.attributes
  - opennebula.elastichosts.attributes.action_group
  - opennebula.elastichosts.attributes.changes
  - opennebula.elastichosts.attributes.one_name
attributes:
  idempotent:
    support: full
options:
  name:
    description:
      - Name of the VLAN, 1 to 80 characters. Without O(uuid), the VLAN is looked up by its name, and the task fails
        with a list if several VLANs have the name.
      - With O(uuid), the name to set.
    type: str
  uuid:
    description:
      - The UUID of an existing VLAN.
    type: str
  state:
    description:
      - Whether the VLAN exists. A new VLAN costs money from its creation on.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: opennebula.elastichosts.resource_info
  - module: opennebula.elastichosts.server
"""

EXAMPLES = r"""
- name: Create a VLAN
  opennebula.elastichosts.vlan:
    name: web
    user_keys:
      role: frontend
  register: web

- name: Create a server that is connected to this VLAN
  opennebula.elastichosts.server:
    name: web
    cpu: 1000
    mem: 1024
    nics:
      - dhcp: auto
      - vlan: "{{ web.vlan.resource }}"

- name: Destroy the VLAN
  opennebula.elastichosts.vlan:
    name: web
    state: absent
"""

RETURN = r"""
vlan:
  description:
    - The VLAN after the task, or in check mode as expected. Empty if it does not exist.
  returned: success
  type: dict
  contains:
    type:
      description: V(vlan).
      type: str
      sample: vlan
    resource:
      description:
        - The UUID. If check mode would create the VLAN, a placeholder that begins with C(00000000-0000), which later
          tasks in check mode take.
      type: str
      sample: 5f0e1d2c-3b4a-4958-8776-655443322110
    name:
      description: Name.
      type: str
      sample: web
    servers:
      description: UUIDs of the servers that use the VLAN.
      type: list
      elements: str
      sample: []
    user_keys:
      description: The user keys, without C(user:).
      type: dict
      sample: {"role": "frontend"}
    properties:
      description: All properties by API key, as text.
      type: dict
      sample: {"name": "web", "type": "vlan"}
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
      sample: POST /resources/vlan/create
"""

from ansible_collections.opennebula.elastichosts.plugins.module_utils.module import Definition, Outcome, Task, run

from ..module_utils.resource_options import RESOURCE_ARGUMENTS, VLAN, perform_resource

ARGUMENTS = {**RESOURCE_ARGUMENTS, "uuid": {"type": "str"}}


def perform(task: Task) -> Outcome:
    return perform_resource(task, VLAN)


DEFINITION = Definition(perform, ARGUMENTS, {"required_one_of": [("name", "uuid")]})


def main() -> None:
    run(DEFINITION)


if __name__ == "__main__":
    main()
