# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: capacity_info
short_description: What an ElasticHosts account uses, and what is left of limits
version_added: 0.1.0
author:
  - The opennebula.elastichosts authors (@opennebula)
description:
  - Adds up servers, cores, MHz, MB of memory, drives and GB of an account, and of each tag in it.
  - The cloud does not tell limits. State them, and the module says what is left.
  - Servers count whether they run or not; RV(running) tells what those that run take. A stopped server whose cores are
    V(auto) counts as one core.
extends_documentation_fragment:
  - opennebula.elastichosts.connection
  - opennebula.elastichosts.attributes
  - opennebula.elastichosts.attributes.action_group
  - opennebula.elastichosts.attributes.info_module
options:
  limits:
    description:
      - Limits of the whole account. What is not named has no limit.
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
      - Limits of single tags, tag by tag, with the keys of O(limits). Such a tag is in RV(tags) even if nothing has it.
    type: dict
  tags:
    description:
      - Only these tags in RV(tags), whether something has them or not. All tags that are in use if not given.
    type: list
    elements: str
seealso:
  - module: opennebula.elastichosts.burst
"""

EXAMPLES = r"""
- name: Is there room for ten more?
  opennebula.elastichosts.capacity_info:
    limits:
      servers: 50
      mem: 65536
  register: capacity
  failed_when: capacity.left.servers < 10 or capacity.left.mem < 10 * 1024

- name: What the tag web takes of its share
  opennebula.elastichosts.capacity_info:
    tag_limits:
      web:
        cpu: 20000
  register: capacity

- name: MHz that web may still have
  ansible.builtin.debug:
    var: capacity.tags.web.left.cpu
"""

RETURN = r"""
used:
  description: What all servers and drives take, C(storage) in GB with two decimals.
  returned: success
  type: dict
  sample: {"servers": 3, "cores": 4, "cpu": 4000, "mem": 3072, "drives": 3, "storage": 30.0}
running:
  description: What the servers that run take.
  returned: success
  type: dict
  sample: {"servers": 2, "cores": 3, "cpu": 3000, "mem": 2048}
limits:
  description: The limits, V(null) where there is none.
  returned: success
  type: dict
  sample: {"servers": 50, "cores": null, "cpu": null, "mem": 65536, "drives": null, "storage": null}
left:
  description: What is left of the limits, negative where one is exceeded, V(null) where there is none.
  returned: success
  type: dict
  sample: {"servers": 47, "cores": null, "cpu": null, "mem": 62464, "drives": null, "storage": null}
tags:
  description: By tag, RV(used), RV(running), RV(limits) and RV(left) of the servers and drives that have it.
  returned: success
  type: dict
  sample: {"web": {"used": {"cpu": 2000}, "running": {"cpu": 2000}, "limits": {"cpu": 20000}, "left": {"cpu": 18000}}}
failure:
  description: What went wrong, for programs.
  returned: failure
  type: dict
  contains:
    status:
      description: HTTP status of the answer, V(null) when there was none.
      type: int
      sample: 409
    code:
      description: The API's word for it (V(usage), V(auth), V(billing), V(missing), V(busy), V(full)...), or ours.
      type: str
      sample: busy
    call:
      description: The call that failed.
      type: str
      sample: GET /servers/info
"""

from typing import Any, Dict, Mapping

from ..module_utils.capacity_forms import MEASURE_NAMES, capacity, checked_limits, share, tags_in_use
from ..module_utils.forms import InvalidOption
from ..module_utils.module import Definition, Outcome, Task, run

ARGUMENTS: Dict[str, Any] = {
    "limits": {"type": "dict", "options": {name: {"type": "int"} for name in MEASURE_NAMES}},
    "tag_limits": {"type": "dict"},
    "tags": {"type": "list", "elements": "str"},
}


def perform(task: Task) -> Outcome:
    limits = checked_limits(task.params["limits"], "limits")
    by_tag = {tag: limits_of(tag, wanted) for tag, wanted in (task.params["tag_limits"] or {}).items()}
    servers, drives = task.client.servers.info(), task.client.drives.info()
    asked = task.params["tags"]
    tags = {*(tags_in_use(servers, drives) if asked is None else asked), *by_tag}
    result = capacity(servers, drives, limits)
    result["tags"] = {
        tag: capacity(*share(tag, servers, drives), by_tag.get(tag) or checked_limits(None, "")) for tag in sorted(tags)
    }
    return Outcome(result)


def limits_of(tag: str, wanted: Any) -> Dict[str, Any]:
    """The limits of one tag, which the argument spec cannot check. Raises InvalidOption."""
    where = f"tag_limits.{tag}"
    if not isinstance(wanted, Mapping):
        raise InvalidOption(where, f"must be a dictionary with some of {', '.join(MEASURE_NAMES)}")
    limits: Dict[str, Any] = {}
    for name, limit in wanted.items():
        if name not in MEASURE_NAMES:
            raise InvalidOption(f"{where}.{name}", f"there is no such limit, choose one of {', '.join(MEASURE_NAMES)}")
        try:
            limits[name] = None if limit is None else int(str(limit))
        except ValueError:
            raise InvalidOption(f"{where}.{name}", f"{str(limit)!r} is not a whole number") from None
    return checked_limits(limits, where)


DEFINITION = Definition(perform, ARGUMENTS)


def main() -> None:
    run(DEFINITION)


if __name__ == "__main__":
    main()
