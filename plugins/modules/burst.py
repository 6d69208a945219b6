# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: burst
short_description: A group of equal ElasticHosts servers, as many as are wanted
version_added: 0.1.0
author:
  - The opennebula.elastichosts authors (@opennebula)
description:
  - Creates and destroys servers, several at a time, until the group O(name) has the number of members that the task
    asks for.
  - A member is a server with the key C(user:burst), which is the name of the group, and C(user:burst-number). It is
    called C(NAME-NUMBER), for example C(web-3). New members get the lowest numbers whose name no server has.
  - When members have to go, those that do not run go first, then the ones with the highest numbers. The drive and the
    static address that were made for a member go with it, other drives of it are kept.
  - Members that stay are brought to the properties that the task names, and are started.
  - A member that cannot be completed, for example because the cloud refuses its server, is undone. Drives and static
    addresses of the group that no server names and whose member does not exist, from a run that was killed, are
    destroyed by the next run.
extends_documentation_fragment:
  - opennebula.elastichosts.connection
  - opennebula.elastichosts.server_options
  - opennebula.elastichosts.options.user_keys
  - opennebula.elastichosts.options.source_in_use
  - opennebula.elastichosts.attributes
  - opennebula.elastichosts.attributes.action_group
  - opennebula.elastichosts.attributes.changes
attributes:
  idempotent:
    support: full
options:
  name:
    description:
      - Name of the group, one word of 1 to 70 characters.
    type: str
    required: true
  exact_count:
    description:
      - How many members there are to be. V(0) destroys all of them. One of this and O(count) must be given.
    type: int
  count:
    description:
      - How many members there are to be at least. None is destroyed.
    type: int
  image:
    description:
      - Drive to copy for each new member, by UUID or unique name, an own one or a standard one. Without it the members
        have no drive of their own.
      - It makes new members only. Existing ones are not compared with it.
    type: str
  device:
    description:
      - Where the copy is attached. The member boots from it.
    type: str
    default: ide:0:0
  size:
    description:
      - Size of the copy in bytes, or with a suffix V(k), V(M), V(G) or V(T). As large as the image if not given.
    type: str
  tier:
    description:
      - Kind of storage of the copy.
    type: str
    choices: [disk, ssd]
  address:
    description:
      - V(auto) gives each member an address by DHCP, V(static) a static address of its own, made and destroyed with it,
        V(none) no address.
    type: str
    choices: [auto, static, none]
    default: auto
  concurrency:
    description:
      - How many members are made or destroyed at the same time, 1 to 64.
    type: int
    default: 50
  wait:
    description:
      - Whether to wait until the members run, and until they have an address.
    type: bool
    default: true
  wait_timeout:
    description:
      - Seconds that the whole task may take. When they are over the task fails and names the state that was seen last.
    type: int
    default: 600
notes:
  - Where the same task runs on several hosts at once, each member is made once, see
    M(opennebula.elastichosts.server). With O(image) or O(address=static) it still needs C(run_once=true), because
    what a host has made for a member that has no server yet looks to the others like what a killed run has left.
seealso:
  - module: opennebula.elastichosts.server
  - module: opennebula.elastichosts.capacity_info
"""

EXAMPLES = r"""
- name: Fifty web servers, each with its copy of an image
  opennebula.elastichosts.burst:
    name: web
    exact_count: 50
    cpu: 1000
    mem: 1024
    image: web-golden
    tier: ssd
    tags: [web]
  register: web

- name: Their addresses
  ansible.builtin.debug:
    msg: "{{ web.members | map(attribute='address') }}"

- name: At least three, whatever else there is
  opennebula.elastichosts.burst:
    name: web
    count: 3
    cpu: 1000
    mem: 1024
    image: web-golden

- name: None any more
  opennebula.elastichosts.burst:
    name: web
    exact_count: 0
"""

RETURN = r"""
members:
  description:
    - The members after the task, sorted by number, each with the keys that M(opennebula.elastichosts.server) returns
      and its C(number). In check mode as they would be; a new one then has a placeholder as its C(uuid).
  returned: success, and failure after a change
  type: list
  elements: dict
  sample:
    - number: 1
      name: web-1
      uuid: 6b1f3a90-2d4e-4f71-8a55-90c1d2e3f405
      status: active
      address: 192.0.2.10
created:
  description: Names of the members that were made, or in check mode would be.
  returned: success, and failure after a change
  type: list
  elements: str
  sample: [web-1, web-2]
destroyed:
  description: Names of the members that were destroyed, or in check mode would be.
  returned: success, and failure after a change
  type: list
  elements: str
  sample: []
cleaned:
  description: Drives (UUID) and static addresses that an earlier run had left, and that were destroyed.
  returned: success, and failure after a change
  type: list
  elements: str
  sample: []
failed_members:
  description: What went wrong with which member, and what could not be undone.
  returned: failure after a change
  type: list
  elements: dict
  contains:
    name:
      description: The member.
      type: str
      sample: web-7
    msg:
      description: What went wrong.
      type: str
      sample: "POST /servers/create: the endpoint answered 402 billing"
    left:
      description: What was made for it and could not be destroyed.
      type: list
      elements: str
      sample: []
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
      sample: POST /servers/create
"""

from typing import Any, Dict, List, Mapping, Tuple

from ansible_collections.opennebula.elastichosts.plugins.module_utils.module import (
    Definition,
    Outcome,
    PartlyDone,
    Task,
    run,
)

from ..module_utils.burst_options import (
    group_desired,
    group_differences,
    group_name,
    group_recipe,
    member_drive,
    member_view,
    members_after,
    wanted_count,
)
from ..module_utils.check_mode import warn_of_placeholders
from ..module_utils.drive_options import SOURCE_IN_USE
from ..module_utils.elastichosts.group_apply import Done, Recipe, apply_group, look, look_settled
from ..module_utils.elastichosts.group_plan import Group, GroupPlan, find_group, member_name, plan_group
from ..module_utils.elastichosts.properties import DRIVE
from ..module_utils.options import arguments_of
from ..module_utils.server_options import COMMON_ARGUMENTS

_OF_DRIVE = arguments_of(DRIVE)
ARGUMENTS: Dict[str, Any] = {
    **COMMON_ARGUMENTS,
    "name": {"type": "str", "required": True},
    "exact_count": {"type": "int"},
    "count": {"type": "int"},
    "image": {"type": "str"},
    **SOURCE_IN_USE,
    "device": {"type": "str", "default": "ide:0:0"},
    "size": _OF_DRIVE["size"],
    "tier": _OF_DRIVE["tier"],
    "address": {"type": "str", "choices": ["auto", "static", "none"], "default": "auto"},
    "concurrency": {"type": "int", "default": 50},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 600},
}


def perform(task: Task) -> Outcome:
    """Do the task; again if other hosts have made members at the same time, which are found the next time."""
    done: Dict[str, List[str]] = {"created": [], "destroyed": [], "cleaned": []}
    changed = False
    while True:
        outcome, lost = perform_once(task)
        done = {key: sorted(done[key] + outcome.result[key]) for key in done}
        changed = changed or outcome.changed
        if not lost:
            return outcome._replace(result={**outcome.result, **done}, changed=changed)


def perform_once(task: Task) -> Tuple[Outcome, bool]:
    """Return the outcome, and whether other hosts have made members at the same time."""
    params = task.params
    name, (count, exact) = group_name(params), wanted_count(params)
    common, drive = group_desired(params, task.given, {}), member_drive(params)
    with task.client.transport.within(task.deadline):
        listing = look(task.client) if task.check_mode else look_settled(task.client, name, task.deadline)
        group = find_group(name, listing)
        plan = plan_group(
            group,
            count,
            lambda server: group_desired(params, task.given, server.properties),
            exact=exact,
            restart=params["restart"],
        )
        recipe = group_recipe(task, common, drive, plan, listing.drives)
    warn_of_placeholders(task, recipe.properties)
    before, after = group_differences(name, plan, recipe)
    if task.check_mode:
        views = members_after(group, plan, recipe)
        result, lost = summary(plan, views, names_of(name, plan.make), names_of_removed(plan)), False
    else:
        result, lost = carry_out(task, group, plan, recipe)
    changed = bool(result["created"]) or plan._replace(make=()).changed
    return Outcome(result, changed, before, after, f"group {name}"), lost


def carry_out(task: Task, group: Group, plan: GroupPlan, recipe: Recipe) -> Tuple[Dict[str, Any], bool]:
    """Execute the plan, and return the result, and whether other hosts have made members at the same time.

    Raises PartlyDone with the members that exist then, if a part of the plan failed.
    """
    done = apply_group(
        task.client,
        plan,
        recipe,
        task.deadline,
        concurrency=task.params["concurrency"],
        wait=task.params["wait"],
        tell=task.tell,
    )
    views = sorted((member_view(server) for server in done.there), key=lambda view: (view["number"], view["uuid"]))
    result = summary(plan, views, [server.name for server in done.made], list(done.removed))
    if done.failures:
        raise partly_done(group, done, result)
    return result, done.lost


def partly_done(group: Group, done: Done, result: Mapping[str, Any]) -> PartlyDone:
    """Return the first failure; its sentence mentions the others."""
    failed: List[Dict[str, Any]] = [
        {"name": failure.name, "msg": str(failure.error), "left": list(failure.left)} for failure in done.failures
    ]
    first = done.failures[0]
    first.error.message = f"group {group.name}, {first.name}: {first.error.message}"
    if first.left:
        first.error.message += f"; not undone: {', '.join(first.left)}"
    return PartlyDone(first.error, {**result, "failed_members": failed})


def summary(plan: GroupPlan, members: List[Dict[str, Any]], created: List[str], destroyed: List[str]) -> Dict[str, Any]:
    return {
        "members": members,
        "created": sorted(created),
        "destroyed": sorted(destroyed),
        "cleaned": sorted(thing.identity for thing in plan.leftovers),
    }


def names_of(group: str, numbers: Tuple[int, ...]) -> List[str]:
    return [member_name(group, number) for number in numbers]


def names_of_removed(plan: GroupPlan) -> List[str]:
    return [member.server.name for member in plan.remove]


DEFINITION = Definition(
    perform,
    ARGUMENTS,
    {"mutually_exclusive": [("exact_count", "count")], "required_one_of": [("exact_count", "count")]},
)


def main() -> None:
    run(DEFINITION)


if __name__ == "__main__":
    main()
