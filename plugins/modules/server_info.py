# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_info
short_description: List the servers of an ElasticHosts account
version_added: 0.1.0
author:
  - The opennebula.elastichosts authors (@opennebula)
description:
  - Lists all servers, or the ones with a given name or UUID. An empty list is no failure.
extends_documentation_fragment:
  - opennebula.elastichosts.connection
  - opennebula.elastichosts.options.query
  - opennebula.elastichosts.attributes
  - opennebula.elastichosts.attributes.action_group
  - opennebula.elastichosts.attributes.info_module
options:
  name:
    description:
      - Only the servers that have exactly this name, which may be several.
    type: str
  uuid:
    description:
      - Only the server with this UUID.
    type: str
  show_secrets:
    description:
      - Whether to show passwords, in C(properties).
    type: bool
    default: false
seealso:
  - module: opennebula.elastichosts.server
"""

EXAMPLES = r"""
- name: List all servers
  opennebula.elastichosts.server_info:
  register: all

- name: List the names of large servers that run
  opennebula.elastichosts.server_info:
    query: "[?status == 'active' && mem >= `4096`].name"
  register: large

- name: Get one server, or fail
  opennebula.elastichosts.server_info:
    uuid: 6b1f3a90-2d4e-4f71-8a55-90c1d2e3f405
  register: one
  failed_when: one.servers | length == 0
"""

RETURN = r"""
servers:
  description:
    - The servers, sorted by name and UUID, each with the keys that M(opennebula.elastichosts.server) returns. With
      O(query) the result of the expression.
  returned: success
  type: list
  elements: raw
  sample:
    - uuid: 6b1f3a90-2d4e-4f71-8a55-90c1d2e3f405
      name: web
      status: active
      address: 192.0.2.10
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
      sample: GET /servers/info
"""

from typing import Any, Dict, List

from ansible_collections.opennebula.elastichosts.plugins.module_utils.module import (
    Definition,
    Outcome,
    Task,
    listing,
    run,
)

from ..module_utils.elastichosts.errors import MissingError
from ..module_utils.elastichosts.servers import Server
from ..module_utils.options import wanted
from ..module_utils.server_options import server_view

ARGUMENTS: Dict[str, Any] = {
    "name": {"type": "str"},
    "uuid": {"type": "str"},
    "query": {"type": "str"},
    "show_secrets": {"type": "bool", "default": False, "no_log": False},
}


def fetch(task: Task) -> List[Server]:
    if task.params["uuid"] is None:
        return task.client.servers.info()
    try:
        return [task.client.servers.get(wanted(task.params))]
    except MissingError:
        return []


def perform(task: Task) -> Outcome:
    views = [server_view(server, task.params["show_secrets"]) for server in fetch(task)]
    return listing(task, "servers", views)


DEFINITION = Definition(perform, ARGUMENTS)


def main() -> None:
    run(DEFINITION)


if __name__ == "__main__":
    main()
