# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: drive_info
short_description: List the drives of an ElasticHosts account
version_added: 0.1.0
author:
  - The opennebula.elastichosts authors (@opennebula)
description:
  - Lists all drives, or the ones with a given name or UUID. An empty list is no failure.
extends_documentation_fragment:
  - opennebula.elastichosts.connection
  - opennebula.elastichosts.options.query
  - opennebula.elastichosts.attributes
  - opennebula.elastichosts.attributes.action_group
  - opennebula.elastichosts.attributes.info_module
options:
  name:
    description:
      - Only the drives that have exactly this name, which may be several.
    type: str
  uuid:
    description:
      - Only the drive with this UUID.
    type: str
  standard:
    description:
      - Whether to list the standard drives of the cloud (ready-made images and installation media) in place of the
        account's own drives.
    type: bool
    default: false
seealso:
  - module: opennebula.elastichosts.drive
"""

EXAMPLES = r"""
- name: List all drives
  opennebula.elastichosts.drive_info:
  register: all

- name: Add up the bytes of all SSD drives
  opennebula.elastichosts.drive_info:
    query: "sum([?tier == 'ssd'].size)"
  register: ssd

- name: List the images of the cloud
  opennebula.elastichosts.drive_info:
    standard: true
  register: images
"""

RETURN = r"""
drives:
  description:
    - The drives, sorted by name and UUID, each with the keys that M(opennebula.elastichosts.drive) returns. With
      O(query) the result of the expression.
  returned: success
  type: list
  elements: raw
  sample:
    - uuid: 0d9a1c52-7c1e-4c53-9d5e-3f0a6f1e2b34
      name: web-root
      size: 12582912
      tier: disk
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
      sample: GET /drives/info
"""

from typing import Any, Dict, List

from ansible_collections.opennebula.elastichosts.plugins.module_utils.module import (
    Definition,
    Outcome,
    Task,
    listing,
    run,
)

from ..module_utils.drive_options import drive_view
from ..module_utils.elastichosts.drives import Drive
from ..module_utils.elastichosts.errors import MissingError
from ..module_utils.options import wanted

ARGUMENTS: Dict[str, Any] = {
    "name": {"type": "str"},
    "uuid": {"type": "str"},
    "standard": {"type": "bool", "default": False},
    "query": {"type": "str"},
}


def fetch(task: Task) -> List[Drive]:
    uuid = wanted(task.params) if task.params["uuid"] is not None else None
    if task.params["standard"]:
        drives = task.client.standard_drives.info()
        return [drive for drive in drives if uuid is None or drive.uuid == uuid]
    if uuid is None:
        return task.client.drives.info()
    try:
        return [task.client.drives.get(uuid)]
    except MissingError:
        return []


def perform(task: Task) -> Outcome:
    return listing(task, "drives", [drive_view(drive) for drive in fetch(task)])


DEFINITION = Definition(perform, ARGUMENTS)


def main() -> None:
    run(DEFINITION)


if __name__ == "__main__":
    main()
