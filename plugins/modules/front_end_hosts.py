# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: front_end_hosts
short_description: Create the OpenNebula hosts that burst (internal to the role one_eh_driver)
version_added: 0.1.0
author: The opennebula.elastichosts authors (@opennebula)
description:
  - Creates the OpenNebula hosts for ElasticHosts, from 3.6 on in a separate cluster with a separate system datastore.
    The front-end's own commands are used, with the arguments of its release. Only missing objects are created.
  - With O(state=absent) removes these objects. A host with virtual machines is not removed.
  - The commands run as the user that runs OpenNebula, with this user's OpenNebula permissions.
  - This module is internal to the role P(opennebula.elastichosts.one_eh_driver#role); its options can change in every
    release.
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: The diff lists the commands.
  idempotent:
    support: full
requirements:
  - python >= 3.9
options:
  one_location:
    description: The folder of a self-contained installation (C(ONE_LOCATION)). Empty for a system-wide one.
    type: str
    default: ""
  release:
    description: The OpenNebula release, for example V(7.4).
    type: str
    required: true
  owner:
    description: The user that runs OpenNebula.
    type: str
    default: oneadmin
  hosts:
    description: The names of the OpenNebula hosts. O(state=absent) removes all hosts with the driver C(vmm_eh).
    type: list
    elements: str
    default: [eh]
  cluster:
    description: The name of the hosts' cluster (3.6 and later).
    type: str
    default: eh
  datastore:
    description: The name of the cluster's system datastore (3.6 and later).
    type: str
    default: eh_system
  transfer:
    description: The transfer driver of that datastore.
    type: str
    default: eh
  wait:
    description: How many seconds to wait until the hosts are C(MONITORED). V(0) does not wait.
    type: float
    default: 0
  state:
    description: Whether the hosts, their cluster and its datastore exist.
    type: str
    choices: [present, absent]
    default: present
  force:
    description: Whether a removal skips hosts that have virtual machines, and succeeds if the core does not answer.
    type: bool
    default: false
extends_documentation_fragment:
  - opennebula.elastichosts.attributes
"""

EXAMPLES = r"""
- name: Create a host for each of two zones, and wait up to a minute until both are monitored
  opennebula.elastichosts.front_end_hosts:
    release: "7.4"
    hosts: [eh-london, eh-sanjose]
    wait: 60
"""

RETURN = r"""
commands:
  description: The commands that were needed, in order.
  returned: success
  type: list
  elements: str
  sample: [onecluster create eh, onehost create eh -i im_eh -v vmm_eh -c eh]
hosts:
  description: The states of the existing hosts at the end, by name.
  returned: success
  type: dict
  sample: {eh: MONITORED}
"""

import os
import tempfile
from typing import Any, Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.front_end import CommandResult, FrontEnd, wait_until
from ..module_utils.opennebula.host_commands import (
    MONITORED,
    NEW_DATASTORE,
    Command,
    DesiredObjects,
    ExistingObjects,
    Host,
    HostCommandError,
    counted,
    form,
    others,
    our_hosts,
    plan_absent,
    plan_present,
    read_clusters,
    read_datastores,
    read_hosts,
)

ARGUMENTS = {
    "one_location": {"type": "str", "default": ""},
    "release": {"type": "str", "required": True},
    "owner": {"type": "str", "default": "oneadmin"},
    "hosts": {"type": "list", "elements": "str", "default": ["eh"]},
    "cluster": {"type": "str", "default": "eh"},
    "datastore": {"type": "str", "default": "eh_system"},
    "transfer": {"type": "str", "default": "eh"},
    "wait": {"type": "float", "default": 0},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "force": {"type": "bool", "default": False},
}
POLL_SECONDS = 1.0


def output_of(front_end: FrontEnd, program: str, *arguments: str) -> str:
    """Return the output of a command.

    :raises HostCommandError: the command failed; has its error
    """
    done = front_end.call(program, *arguments)
    if not done.is_right:
        raise HostCommandError(refusal(f"{program} {' '.join(arguments)}", done))
    return done.output


def refusal(command: str, done: CommandResult) -> str:
    return f"{command} failed: {done.reason}. See whether OpenNebula runs and its user may do this."


def listed_hosts(front_end: FrontEnd) -> Any:
    """Return the hosts, from XML or, if the release has none, from the printed table."""
    done = front_end.call("onehost", "list", "-x")
    return read_hosts(done.output if done.is_right else output_of(front_end, "onehost", "list"))


def existing_objects(front_end: FrontEnd, grouped: bool) -> ExistingObjects:
    """Return the hosts and, if ``grouped``, the clusters and datastores of the core."""
    hosts = listed_hosts(front_end)
    if not grouped:
        return ExistingObjects(hosts)
    clusters = read_clusters(output_of(front_end, "onecluster", "list", "-x"))
    return ExistingObjects(hosts, clusters, read_datastores(output_of(front_end, "onedatastore", "list", "-x")))


def id_of(front_end: FrontEnd, datastore: str) -> str:
    """Return the id of a datastore by name.

    :raises HostCommandError: there is no such datastore
    """
    found = read_datastores(output_of(front_end, "onedatastore", "list", "-x"))
    datastore_id = next((item.id for item in found if item.name == datastore), "")
    if not datastore_id:
        raise HostCommandError(
            f"onedatastore list -x does not list {datastore}, which was created: run the play again."
        )
    return datastore_id


def execute(front_end: FrontEnd, command: Command, datastore: str) -> None:
    """Run a command of the plan.

    :param datastore: name of the datastore that an earlier command created, whose id the template may need
    :raises HostCommandError: the command failed; has its error
    """
    path: Optional[str] = None
    try:
        template = command.template
        if NEW_DATASTORE in template:
            template = template.replace(NEW_DATASTORE, id_of(front_end, datastore))
        if template:
            handle, path = tempfile.mkstemp(suffix=".template")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(template)
            os.chmod(path, 0o644)  # noqa: PTH101 (another user reads it; there is no secret in it)
        arguments = [path if path and word == "FILE" else word for word in command.arguments]
        done = front_end.call(command.program, *arguments)
    finally:
        if path:
            os.unlink(path)  # noqa: PTH108
    if not done.is_right:
        raise HostCommandError(refusal(command.line, done))


def await_monitored(front_end: FrontEnd, names: List[str], seconds: float) -> None:
    """Wait until the hosts are MONITORED.

    :raises HostCommandError: a host is not MONITORED after ``seconds``; has the hosts' states
    """
    last: Dict[str, Host] = {}

    def all_monitored() -> bool:
        last.update({host.name: host for host in listed_hosts(front_end) if host.name in names})
        return all(name in last and last[name].state == MONITORED for name in names)

    if wait_until(seconds, POLL_SECONDS, all_monitored):
        return
    late = [last[name] for name in names if name in last and last[name].state != MONITORED]
    states = ", ".join(f"{host.name} is {host.state_name}" for host in late) or "they are not listed"
    shown = [read_hosts(front_end.call("onehost", "show", "-x", host.name).output) for host in late[:1]]
    reason = next((f" It says: {host.error}." for hosts in shown for host in hosts if host.error), "")
    raise HostCommandError(
        f"Not MONITORED within {seconds:g} s: {states}.{reason} Look into {front_end.folders.log}/oned.log."
    )


def run(module: AnsibleModule) -> Dict[str, Any]:
    params = module.params
    front_end = FrontEnd(params["one_location"], params["owner"])
    wanted = DesiredObjects(tuple(params["hosts"]), params["cluster"], params["datastore"], params["transfer"])
    present = params["state"] == "present"
    found = existing_objects(front_end, form(params["release"]).grouped)
    if present:
        commands = plan_present(params["release"], wanted, found)
    else:
        commands = plan_absent(params["release"], wanted, found, force=params["force"])
        busy = [host for host in our_hosts(wanted, found) if host.vms]
        if busy:
            module.warn(
                f"OpenNebula hosts with virtual machines stay, without drivers: {counted(busy)}. Their cluster"
                " and system datastore stay as well. Delete them when the machines are gone."
            )
        other_members = [] if busy or not form(params["release"]).grouped else others(wanted, found)
        if other_members:
            module.warn(
                f"The cluster {wanted.cluster} stays, because it holds more than the hosts and the datastore for"
                f" ElasticHosts: {', '.join(other_members)}."
            )
    lines = [command.line for command in commands]
    if not module.check_mode:
        for index, command in enumerate(commands):
            try:
                execute(front_end, command, params["datastore"])
            except HostCommandError as problem:
                raise HostCommandError(
                    f"{problem} Done before that: {', '.join(lines[:index]) or 'nothing'}."
                ) from None
        if present and params["wait"] > 0:
            await_monitored(front_end, params["hosts"], params["wait"])
    hosts = found.hosts if module.check_mode or (not commands and not params["wait"]) else listed_hosts(front_end)
    return {
        "changed": bool(commands),
        "commands": lines,
        "hosts": {host.name: host.state_name for host in hosts if host.is_ours or host.name in params["hosts"]},
        "diff": {"before": "", "after": "".join(f"{line}\n" for line in lines)},
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = run(module)
    except HostCommandError as problem:
        if module.params["state"] == "absent" and module.params["force"]:
            module.warn(str(problem))
            module.exit_json(changed=False, commands=[], hosts={})
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
