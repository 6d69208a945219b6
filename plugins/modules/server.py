# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server
short_description: Create, change, start, stop and destroy ElasticHosts servers
version_added: 0.1.0
author:
  - The opennebula.elastichosts authors (@opennebula)
description:
  - Creates, changes, starts, stops or destroys one server of an ElasticHosts account.
  - Only options that are in the task are compared and changed. An option that is V(null) unsets the property, where the
    API allows that.
extends_documentation_fragment:
  - opennebula.elastichosts.connection
  - opennebula.elastichosts.server_options
  - opennebula.elastichosts.options.user_keys
  - opennebula.elastichosts.attributes
  - opennebula.elastichosts.attributes.action_group
  - opennebula.elastichosts.attributes.changes
  - opennebula.elastichosts.attributes.one_name
attributes:
  idempotent:
    support: partial
    details:
      - O(state=restarted) and O(state=reset) act on every run.
options:
  name:
    description:
      - Name of the server, 1 to 80 characters. Without O(uuid), the server is looked up by its name, and the task fails
        with the list of UUIDs if several servers have the name.
      - With O(uuid), the name to set.
    type: str
  uuid:
    description:
      - UUID of an existing server.
    type: str
  state:
    description:
      - V(present) makes sure that the server exists and has the given properties. A new server is started, an existing
        server stays running or stopped.
      - V(started) and V(stopped) do the same and bring the server into that state. Stopping cuts the power.
      - V(shutdown) is like V(stopped), but presses the power button (ACPI), which the guest has to react to. A server
        that does not exist is created stopped.
      - V(restarted) shuts the server down and starts it again, V(reset) presses its reset button. A server that is not
        running is started.
      - V(absent) stops and destroys the server. Its drives are kept unless O(delete_drives) is set.
    type: str
    choices: [present, started, stopped, shutdown, restarted, reset, absent]
    default: present
  type:
    description:
      - Kind of a new server. It cannot be changed later.
    type: str
    choices: [vm, container]
  persistent:
    description:
      - Whether the server is kept when it stops. A server that is not persistent is destroyed when it stops, without
        its drives.
      - A new server is persistent.
    type: bool
  drives:
    description:
      - All drives of the server. Drives that are not in this list are detached; an empty list detaches all.
    type: list
    elements: dict
    suboptions:
      device:
        description:
          - Where the drive is attached, V(ide:0:0) to V(ide:1:1), V(scsi:0:0) to V(scsi:0:7), V(ata:0:0) to V(ata:0:5)
            or V(block:0) to V(block:7) (virtio).
        type: str
        required: true
      drive:
        description:
          - UUID, or unique name, of an own drive. Standard drives can be named as well.
        type: str
        required: true
      media:
        description:
          - Whether the guest sees a disk or a CD-ROM drive.
        type: str
        choices: [disk, cdrom]
        default: disk
  boot:
    description:
      - Devices to boot from, in this order. A new server boots from the first of O(drives).
    type: list
    elements: str
  vnc_ip:
    description:
      - V(auto) enables VNC on the old platform, which has this property instead of O(vnc).
    type: str
  folders:
    description:
      - All folders of a container. Folders that are not in this list are removed.
    type: list
    elements: dict
    suboptions:
      folder:
        description:
          - UUID of a folder, and a path in it if need be, such as V(5f0e1d2c-3b4a-4958-8776-655443322110/srv).
        type: str
        required: true
      mount:
        description:
          - Mount point in the container, V(/) for its root.
        type: str
        required: true
  ssh_key:
    description:
      - Public SSH key of the root user of a O(type=container).
    type: str
  delete_drives:
    description:
      - With O(state=absent), whether to destroy the server's own drives as well. Drives that another server uses and
        drives of others are kept.
      - The drives are destroyed before the server, so that an interrupted run can be repeated.
    type: bool
    default: false
  wait:
    description:
      - Whether to wait until the server has reached the state, and until a started server with DHCP has an address.
    type: bool
    default: true
  wait_timeout:
    description:
      - Time limit of the whole task, in seconds. If it is exceeded, the task fails with the last state.
    type: int
    default: 300
seealso:
  - module: opennebula.elastichosts.server_info
  - module: opennebula.elastichosts.drive
"""

EXAMPLES = r"""
- name: Create a drive
  opennebula.elastichosts.drive:
    name: web-root
    size: 10G
- name: Create a server that boots from this drive
  opennebula.elastichosts.server:
    name: web
    state: started
    cpu: 2000
    mem: 1024
    drives:
      - device: ide:0:0
        drive: web-root
    vnc: true
    password: "{{ console_password }}"
    tags: [web, production]
    user_keys:
      role: frontend
  register: web

- name: Show the server's address
  ansible.builtin.debug:
    msg: "{{ web.server.address }}"

- name: Change the memory, which needs a restart
  opennebula.elastichosts.server:
    name: web
    mem: 2048
    restart: true

- name: Remove the console password and a user key, and change nothing else
  opennebula.elastichosts.server:
    name: web
    password:
    user_keys:
      role:

- name: Shut the server down by ACPI
  opennebula.elastichosts.server:
    name: web
    state: shutdown
    wait_timeout: 120

- name: Destroy the server and its drives
  opennebula.elastichosts.server:
    name: web
    state: absent
    delete_drives: true
"""

RETURN = r"""
server:
  description:
    - The server after the task, or in check mode as expected, without passwords. Empty if it does not exist.
  returned: success
  type: dict
  contains:
    uuid:
      description:
        - UUID. If check mode would create the server, a placeholder that begins with C(00000000-0000), which later
          tasks in check mode take.
      type: str
      sample: 6b1f3a90-2d4e-4f71-8a55-90c1d2e3f405
    name:
      description: Name.
      type: str
      sample: web
    status:
      description: One of V(active), V(stopped), V(paused), V(dumped) and V(dead).
      type: str
      sample: active
    cpu:
      description: Speed in MHz.
      type: int
      sample: 2000
    mem:
      description: Memory in MB.
      type: int
      sample: 1024
    smp:
      description: Number of cores, or V(auto).
      type: str
      sample: auto
    persistent:
      description: Whether the server is kept when it stops.
      type: bool
      sample: true
    started:
      description: Start time in seconds since 1970, V(null) unless the server is active.
      type: int
      sample: 1556000000
    boot:
      description: Devices to boot from, in order.
      type: list
      elements: str
      sample: ["ide:0:0"]
    address:
      description: First address, V(null) as long as there is none.
      type: str
      sample: 192.0.2.10
    addresses:
      description: All addresses.
      type: list
      elements: str
      sample: [192.0.2.10]
    drives:
      description: Attached drives, each with C(device), C(drive) (UUID) and C(media).
      type: list
      elements: dict
      sample: [{"device": "ide:0:0", "drive": "0d9a1c52-7c1e-4c53-9d5e-3f0a6f1e2b34", "media": "disk"}]
    nics:
      description: Network interfaces with their properties.
      type: list
      elements: dict
      sample: [{"index": "0", "dhcp": "auto", "model": "e1000"}]
    tags:
      description: Tags.
      type: list
      elements: str
      sample: [web, production]
    user_keys:
      description: The user keys, without C(user:).
      type: dict
      sample: {"role": "frontend"}
    properties:
      description: All properties by API key, as text.
      type: dict
      sample: {"cpu": "2000", "name": "web", "status": "active"}
actions:
  description: The actions on the server in order, in check mode the expected ones.
  returned: success
  type: list
  elements: str
  sample: [shutdown, set, start]
deleted_drives:
  description: UUIDs of the drives that were destroyed with the server.
  returned: O(state=absent)
  type: list
  elements: str
  sample: [0d9a1c52-7c1e-4c53-9d5e-3f0a6f1e2b34]
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

from collections import defaultdict
from typing import Any, Dict, Iterable, List, Optional

from ansible_collections.opennebula.elastichosts.plugins.module_utils.module import (
    Definition,
    Outcome,
    Task,
    run,
)

from ..module_utils.check_mode import placeholder, predicted, stand_in, warn_of_placeholders
from ..module_utils.elastichosts.apply import apply_drive, apply_server, wait_address
from ..module_utils.elastichosts.drives import Drive
from ..module_utils.elastichosts.errors import NotUnique
from ..module_utils.elastichosts.identifiers import is_uuid
from ..module_utils.elastichosts.plan import NEEDED, Plan, plan_drive, plan_server
from ..module_utils.elastichosts.properties import SERVER
from ..module_utils.elastichosts.servers import Server, attached_drives
from ..module_utils.elastichosts.single_name import SingleName, single_server, until_settled
from ..module_utils.options import InvalidOption, arguments_of, must_exist, wanted
from ..module_utils.server_options import (
    COMMON_ARGUMENTS,
    check_console,
    check_server,
    named_drives,
    server_desired,
    server_view,
    with_creation_defaults,
)

STATES = ["present", "started", "stopped", "shutdown", "restarted", "reset", "absent"]
ARGUMENTS: Dict[str, Any] = {
    **COMMON_ARGUMENTS,
    **arguments_of(SERVER),
    "uuid": {"type": "str"},
    "state": {"type": "str", "choices": STATES, "default": "present"},
    "drives": {
        "type": "list",
        "elements": "dict",
        "options": {
            "device": {"type": "str", "required": True},
            "drive": {"type": "str", "required": True},
            "media": {"type": "str", "choices": ["disk", "cdrom"], "default": "disk"},
        },
    },
    "folders": {
        "type": "list",
        "elements": "dict",
        "options": {
            "folder": {"type": "str", "required": True},
            "mount": {"type": "str", "required": True},
        },
    },
    "delete_drives": {"type": "bool", "default": False},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 300},
}


def perform(task: Task) -> Outcome:
    return until_settled(lambda: perform_once(task))


def perform_once(task: Task) -> Outcome:
    params = task.params
    if params["state"] != "absent":
        check_server(params, task.given)
    single = single_server(task.client, wanted(params), task.deadline) if task.makes_by_name else None
    current = single.look_up() if single else task.client.servers.find(wanted(params))
    new = placeholder("server", params["name"])
    stands_for = {
        "server": params["uuid"] or new,
        "name": params["name"] or "",
        "status": "active",
        "persistent": "true",
    }
    creatable = params["state"] == "absent" or all(params[option] for option in NEEDED)
    found, current = current, current or stand_in(task, params["uuid"], Server(stands_for), creatable=creatable)
    if params["state"] != "absent":
        must_exist(params, current, "server")
    desired = {} if params["state"] == "absent" else desire(task, current)
    # An object that does not exist yet may have the desired properties by then, and need no restart.
    restart = params["restart"] or found is None
    plan = plan_server(desired, params["state"], current, restart=restart)
    doomed = deletable_drives(task, current) if params["state"] == "absent" and params["delete_drives"] else []
    if task.check_mode:
        server: Optional[Server] = Server(predicted(plan, current.properties if current else {}, {"server": new}))
    else:
        server = carry_out(task, plan, current, doomed, single)
    return outcome(plan, server, doomed, params)


def desire(task: Task, current: Optional[Server]) -> Dict[str, Optional[str]]:
    """Return the server's desired properties by API key.

    :raises InvalidOption: an option has a wrong value
    """
    uuids = drive_uuids(task, named_drives(task.params))
    existing = current.properties if current else {}
    desired = server_desired(task.params, task.given, existing, uuids)
    check_console(task.params, desired, existing)
    warn_of_placeholders(task, desired)
    return desired if current else with_creation_defaults(desired, task.params, task.given)


def drive_uuids(task: Task, drives: Iterable[str]) -> Dict[str, str]:
    """Return the UUIDs of drives by UUID or name; drives of the account precede standard drives of the same name.

    :raises InvalidOption: a drive does not exist
    :raises NotUnique: several drives have the name
    """
    found = {drive: drive.lower() for drive in drives if is_uuid(drive)}
    missing = [drive for drive in drives if not is_uuid(drive)]
    for collection in (task.client.drives, task.client.standard_drives):
        if not missing:
            break
        named = defaultdict(list)
        for drive in collection.info():
            named[drive.name].append(drive.uuid)
        found.update((name, one_of(name, named[name])) for name in missing if name in named)
        missing = [name for name in missing if name not in found]
    for name in missing:
        if not task.check_mode:
            raise InvalidOption("drives", f"no drive is called {name!r}; create it first, or correct the name")
        # In check mode, an earlier task of the play may create the drive in the real run.
        task.warn(f"no drive is called {name!r} yet, the real run needs it")
        found[name] = name
    return found


def one_of(name: str, uuids: List[str]) -> str:
    if len(uuids) > 1:
        sentence = "%d drives are called %r (%s); give the UUID of the one that is meant"
        raise NotUnique(sentence % (len(uuids), name, ", ".join(sorted(uuids))), candidates=tuple(sorted(uuids)))
    return uuids[0]


def deletable_drives(task: Task, current: Optional[Server]) -> List[Drive]:
    """Return the account's own disks of the server that no other server uses."""
    if current is None:
        return []
    disks = {uuid for device, uuid in current.drives.items() if current.properties.get(device + ":media") != "cdrom"}
    others = [server for server in task.client.servers.info() if server.uuid != current.uuid]
    shared = disks & attached_drives(others)
    for uuid in sorted(shared):
        task.warn(f"drive {uuid} is kept, another server names it")
    return [drive for drive in task.client.drives.info() if drive.uuid in disks - shared]


def carry_out(
    task: Task, plan: Plan, current: Optional[Server], doomed: List[Drive], single: Optional[SingleName[Server]] = None
) -> Optional[Server]:
    """Execute the plan; drives are destroyed before their server, so that a repeated run can still find them."""
    if not plan.changed:
        return current
    server = current
    if doomed:
        server = apply_server(task.client, Plan(plan.steps[:-1]), current, task.deadline)
        for drive in doomed:
            existing = task.client.drives.find(drive.uuid)
            apply_drive(task.client, plan_drive({}, "absent", existing), existing, task.deadline)
        plan = Plan(plan.steps[-1:])
    server = apply_server(task.client, plan, server, task.deadline, wait=task.params["wait"], single=single)
    return with_address(task, plan, server) if task.params["wait"] and server else server


def with_address(task: Task, plan: Plan, server: Server) -> Server:
    """Wait for the address from DHCP, which may come later than the start, and return the server with it."""
    if server.address or plan.steps[-1].verb not in ("create", "start") or not server.properties.get("nic:0:dhcp"):
        return server
    return wait_address(task.client, server.uuid, task.deadline)


def outcome(plan: Plan, server: Optional[Server], doomed: List[Drive], params: Any) -> Outcome:
    view = server_view(server) if server and server.properties else {}
    actions = [step.verb for step in plan.steps]
    result: Dict[str, Any] = {"server": view, "actions": actions}
    before: Dict[str, Any] = dict(plan.before)
    after: Dict[str, Any] = dict(plan.after)
    if params["state"] == "absent":
        result["deleted_drives"] = [drive.uuid for drive in doomed]
        if doomed:
            before["deleted_drives"] = []
            after["deleted_drives"] = result["deleted_drives"]
    if plan.changed and before == after:
        after = {**after, "actions": actions}
    return Outcome(result, plan.changed, before, after, f"server {params['name'] or params['uuid']}")


DEFINITION = Definition(perform, ARGUMENTS, {"required_one_of": [("name", "uuid")]})


def main() -> None:
    run(DEFINITION)


if __name__ == "__main__":
    main()
