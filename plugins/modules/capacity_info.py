# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: capacity_info
short_description: Show the used and remaining capacity of an ElasticHosts account
version_added: 0.1.0
author:
  - The opennebula.elastichosts authors (@opennebula)
description:
  - Adds up servers, cores, MHz, MB of memory, drives and GB of an account, and of each of its tags.
  - The API does not return limits. If limits are given, the module returns the remaining capacity.
  - Servers count whether they run or not; RV(running) has the use of running servers. A stopped server whose cores are
    V(auto) counts as one core.
extends_documentation_fragment:
  - opennebula.elastichosts.connection
  - opennebula.elastichosts.attributes
  - opennebula.elastichosts.attributes.action_group
  - opennebula.elastichosts.attributes.info_module
options:
  limits:
    description:
      - Limits of the whole account. A measure that is not given has no limit.
    type: dict
    suboptions:
      servers:
        description: Number of servers.
        type: int
      cores:
        description: Number of cores.
        type: int
      cpu:
        description: MHz, over all servers.
        type: int
      mem:
        description: MB of memory.
        type: int
      drives:
        description: Number of drives.
        type: int
      storage:
        description: GB (binary) of all drives.
        type: int
  tag_limits:
    description:
      - Limits by tag, with the keys of O(limits). Each of these tags is in RV(tags), even if nothing has the tag.
    type: dict
  tags:
    description:
      - The tags to return in RV(tags), in use or not. If not given, all tags that are in use.
    type: list
    elements: str
seealso:
  - module: opennebula.elastichosts.burst
"""

EXAMPLES = r"""
- name: Fail if there is no capacity for ten more servers
  opennebula.elastichosts.capacity_info:
    limits:
      servers: 50
      mem: 65536
  register: capacity
  failed_when: capacity.left.servers < 10 or capacity.left.mem < 10 * 1024

- name: Compare the use of the tag web with its limit
  opennebula.elastichosts.capacity_info:
    tag_limits:
      web:
        cpu: 20000
  register: capacity

- name: Show the remaining MHz of the tag web
  ansible.builtin.debug:
    var: capacity.tags.web.left.cpu
"""

RETURN = r"""
used:
  description: Use of all servers and drives, C(storage) in GB with two decimals.
  returned: success
  type: dict
  sample: {"servers": 3, "cores": 4, "cpu": 4000, "mem": 3072, "drives": 3, "storage": 30.0}
running:
  description: Use of the running servers.
  returned: success
  type: dict
  sample: {"servers": 2, "cores": 3, "cpu": 3000, "mem": 2048}
limits:
  description: The limits, V(null) for a measure without limit.
  returned: success
  type: dict
  sample: {"servers": 50, "cores": null, "cpu": null, "mem": 65536, "drives": null, "storage": null}
left:
  description: The remaining capacity, negative if a limit is exceeded, V(null) for a measure without limit.
  returned: success
  type: dict
  sample: {"servers": 47, "cores": null, "cpu": null, "mem": 62464, "drives": null, "storage": null}
tags:
  description: By tag, RV(used), RV(running), RV(limits) and RV(left) of the servers and drives that have it.
  returned: success
  type: dict
  sample: {"web": {"used": {"cpu": 2000}, "running": {"cpu": 2000}, "limits": {"cpu": 20000}, "left": {"cpu": 18000}}}
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

from typing import Any, Dict, Mapping, Sequence

from ansible_collections.opennebula.elastichosts.plugins.module_utils.module import Definition, Outcome, Task, run

from ..module_utils.capacity import MEASURES, OF_SERVERS, Number, amounts, left, stated, used
from ..module_utils.elastichosts.drives import Drive
from ..module_utils.elastichosts.servers import Server

ARGUMENTS: Dict[str, Any] = {
    "limits": {"type": "dict", "options": {name: {"type": "int"} for name in MEASURES}},
    "tag_limits": {"type": "dict"},
    "tags": {"type": "list", "elements": "str"},
}


def perform(task: Task) -> Outcome:
    limits = amounts(task.params["limits"], "limits")
    by_tag = {tag: amounts(wanted, f"tag_limits.{tag}") for tag, wanted in (task.params["tag_limits"] or {}).items()}
    servers, drives = task.client.servers.info(), task.client.drives.info()
    tags = task.params["tags"]
    if tags is None:
        tags = [tag for thing in (*servers, *drives) for tag in thing.tags]
    result = capacity(servers, drives, limits)
    result["tags"] = {
        tag: capacity(
            [server for server in servers if tag in server.tags],
            [drive for drive in drives if tag in drive.tags],
            by_tag.get(tag, {}),
        )
        for tag in sorted({*tags, *by_tag})
    }
    return Outcome(result)


def capacity(servers: Sequence[Server], drives: Sequence[Drive], limits: Mapping[str, Number]) -> Dict[str, Any]:
    """Return the use of servers and drives, that of running servers, the limits and the remaining capacity."""
    taken = used(servers, drives)
    running = used([server for server in servers if server.status == "active"], [])
    return {
        "used": taken,
        "running": {name: running[name] for name in OF_SERVERS},
        "limits": stated(limits),
        "left": left(limits, taken),
    }


DEFINITION = Definition(perform, ARGUMENTS)


def main() -> None:
    run(DEFINITION)


if __name__ == "__main__":
    main()
