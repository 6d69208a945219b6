# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ip
short_description: Create, name and destroy the static addresses of an ElasticHosts account
version_added: 0.1.0
author:
  - The opennebula.elastichosts authors (@opennebula)
description:
  - Brings one static address of an ElasticHosts account into the state that the task describes.
  - An address that a server uses, running or not, is not destroyed.
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
      - Name of the static address, 1 to 80 characters. Without O(address), the address is looked up by its name, and
        the task fails with a list if several addresses have the name.
      - With O(address), the name to set.
    type: str
  address:
    description:
      - The address of an existing static address.
    type: str
  state:
    description:
      - Whether the address exists. A new address costs money from its creation on.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: opennebula.elastichosts.resource_info
  - module: opennebula.elastichosts.server
"""

EXAMPLES = r"""
- name: Create a static address
  opennebula.elastichosts.ip:
    name: web
    user_keys:
      role: frontend
  register: web

- name: Create a server with this address
  opennebula.elastichosts.server:
    name: web
    cpu: 1000
    mem: 1024
    nics:
      - dhcp: "{{ web.ip.resource }}"

- name: Destroy the address
  opennebula.elastichosts.ip:
    name: web
    state: absent
"""

RETURN = r"""
ip:
  description:
    - The static address after the task, or in check mode as expected. Empty if it does not exist.
  returned: success
  type: dict
  contains:
    type:
      description: V(ip).
      type: str
      sample: ip
    resource:
      description:
        - The address. If check mode would create it, the placeholder V(0.0.0.0), which later tasks in check mode take.
      type: str
      sample: 192.0.2.77
    name:
      description: Name.
      type: str
      sample: web
    servers:
      description: UUIDs of the servers that use the address.
      type: list
      elements: str
      sample: []
    user_keys:
      description: The user keys, without C(user:).
      type: dict
      sample: {"role": "frontend"}
    properties:
      description: All properties by API key, as text, among them C(gateway), C(netmask) and C(nameserver).
      type: dict
      sample: {"name": "web", "type": "ip"}
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
      sample: POST /resources/ip/create
"""

from ansible_collections.opennebula.elastichosts.plugins.module_utils.module import Definition, Outcome, Task, run

from ..module_utils.resource_options import IP, RESOURCE_ARGUMENTS, perform_resource

ARGUMENTS = {**RESOURCE_ARGUMENTS, "address": {"type": "str"}}


def perform(task: Task) -> Outcome:
    return perform_resource(task, IP)


DEFINITION = Definition(perform, ARGUMENTS, {"required_one_of": [("name", "address")]})


def main() -> None:
    run(DEFINITION)


if __name__ == "__main__":
    main()
