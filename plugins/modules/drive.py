# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: drive
short_description: Create, fill, change and destroy ElasticHosts drives
version_added: 0.1.0
author:
  - The opennebula.elastichosts authors (@opennebula)
description:
  - Brings one drive of an ElasticHosts account into the form that the task describes, and uploads an image to it.
  - Only what the task names is compared and changed. An option that is left out keeps its value, O(readers) and
    O(tags) are unset by V(null) or an empty list.
extends_documentation_fragment:
  - opennebula.elastichosts.connection
  - opennebula.elastichosts.connection.zone
  - opennebula.elastichosts.attributes
  - opennebula.elastichosts.attributes.action_group
  - opennebula.elastichosts.attributes.changes
attributes:
  idempotent:
    support: full
options:
  name:
    description:
      - Name of the drive, 1 to 80 characters. Without O(uuid), the drive is looked up by its name, and the task fails
        with the list of UUIDs when several drives have it.
      - With O(uuid), the name that the drive gets.
    type: str
  uuid:
    description:
      - UUID of an existing drive.
    type: str
  state:
    description:
      - Whether the drive exists. V(absent) destroys it with all its data.
    type: str
    choices: [present, absent]
    default: present
  size:
    description:
      - Size in bytes, or with a suffix V(k), V(M), V(G) or V(T) for the binary multiples, for example V(10G).
      - The cloud rounds sizes up to a multiple of 4 MiB, the same size before rounding is no change.
      - Needed to create a drive, unless O(src) is given.
    type: str
  allow_shrink:
    description:
      - Whether an existing drive may be made smaller. What lies behind the new end is lost.
    type: bool
    default: false
  tier:
    description:
      - Kind of storage of a new drive. It cannot be changed later.
    type: str
    choices: [disk, ssd]
  encryption:
    description:
      - Encryption of a new drive. It cannot be changed later.
    type: str
    choices: [aes-xts-plain, none]
  claim_type:
    description:
      - Whether several servers can use the drive at the same time.
    type: str
    choices: [exclusive, shared]
  readers:
    description:
      - UUIDs of the users that may read the drive, or V(everyone).
    type: list
    elements: str
  tags:
    description:
      - All tags of the drive, an empty list for none. A tag is one word. Their order does not matter.
    type: list
    elements: str
  user_keys:
    description:
      - Your own keys, C(user:KEY) in the API. Keys that are not named stay as they are, a key with V(null) is removed.
      - The keys V(sha256) and V(upload) belong to O(src).
    type: dict
  avoid:
    description:
      - UUIDs of drives that a new drive is to be kept apart from, on other hardware. It has no effect on an existing
        drive.
    type: list
    elements: str
  extra:
    description:
      - Further properties by their API key, handed to the API as they are, V(null) to unset.
    type: dict
  src:
    description:
      - Raw disk image on the machine that runs the module, to be written to the drive. A new drive gets its size unless
        O(size) says more.
      - The checksum of the image is kept in the drive's key C(user:sha256). The same image is not sent again. An upload
        that was cut off goes on where it stopped. What a server writes to the drive later is not looked at.
    type: path
  wait_timeout:
    description:
      - Seconds that the task may wait for a copy onto the drive to end, before it uploads to it or destroys it. When
        they are over the task fails and names the state that was seen last. The upload itself has no limit.
    type: int
    default: 300
seealso:
  - module: opennebula.elastichosts.drive_info
  - module: opennebula.elastichosts.server
"""

EXAMPLES = r"""
- name: An empty drive
  opennebula.elastichosts.drive:
    name: data
    size: 10G
    tier: ssd
    tags: [web]

- name: A drive with an image
  opennebula.elastichosts.drive:
    name: web-root
    src: /srv/images/debian-12.raw
    size: 10G

- name: Make it larger
  opennebula.elastichosts.drive:
    name: web-root
    size: 20G

- name: Destroy it
  opennebula.elastichosts.drive:
    name: data
    state: absent
"""

RETURN = r"""
drive:
  description:
    - The drive after the task, or in check mode as it would be. Empty when it is gone.
  returned: success
  type: dict
  contains:
    uuid:
      description: UUID, empty for a drive that would be created in check mode.
      type: str
      sample: 0d9a1c52-7c1e-4c53-9d5e-3f0a6f1e2b34
    name:
      description: Name.
      type: str
      sample: web-root
    size:
      description: Size in bytes.
      type: int
      sample: 12582912
    status:
      description: V(active) or V(inactive).
      type: str
      sample: active
    tier:
      description: Kind of storage.
      type: str
      sample: disk
    claimed:
      description: What uses the drive now, UUIDs of servers.
      type: list
      elements: str
      sample: []
    imaging:
      description: How far another drive's copy to this one is, V(null) when none is under way.
      type: str
      sample: 43%
    readers:
      description: UUIDs of the users that may read it.
      type: list
      elements: str
      sample: []
    tags:
      description: Its tags.
      type: list
      elements: str
      sample: [web]
    user_keys:
      description: Its own keys, without the C(user:) before them.
      type: dict
      sample: {"role": "root"}
    properties:
      description: All properties as the API names them, as text.
      type: dict
      sample: {"name": "web-root", "size": "12582912"}
sent:
  description:
    - Bytes of the image that were sent, before compression. 0 when the drive had it, and in check mode. Zeros are not
      sent to a new drive.
  returned: O(src) is given
  type: int
  sample: 10485760
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
      sample: POST /drives/create
"""

from typing import Any, Dict, Optional, Tuple

from ..module_utils.drive_forms import drive_desired, drive_view
from ..module_utils.elastichosts.drives import Drive
from ..module_utils.elastichosts.ensure import Plan, Refused, apply_drive, plan_drive, rounded, wait_imaged
from ..module_utils.elastichosts.images import CHECKSUM_KEY, Image, holds, inspect, upload
from ..module_utils.forms import must_exist, wanted
from ..module_utils.module import Definition, Outcome, Task, predicted, run

ARGUMENTS: Dict[str, Any] = {
    "name": {"type": "str"},
    "uuid": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "size": {"type": "str"},
    "allow_shrink": {"type": "bool", "default": False},
    "tier": {"type": "str", "choices": ["disk", "ssd"]},
    "encryption": {"type": "str", "choices": ["aes-xts-plain", "none"]},
    "claim_type": {"type": "str", "choices": ["exclusive", "shared"]},
    "readers": {"type": "list", "elements": "str"},
    "tags": {"type": "list", "elements": "str"},
    "user_keys": {"type": "dict", "no_log": False},
    "avoid": {"type": "list", "elements": "str"},
    "extra": {"type": "dict"},
    "src": {"type": "path"},
    "wait_timeout": {"type": "int", "default": 300},
}


def perform(task: Task) -> Outcome:
    params = task.params
    current = task.client.drives.find(wanted(params))
    if params["state"] == "absent":
        plan = plan_drive({}, "absent", current)
        return finish(task, plan, current, None)
    must_exist(params, current, "drive")
    image = inspect(params["src"]) if params["src"] else None
    desired = drive_desired(params, task.given)
    if current is None and image is not None:
        desired.setdefault("size", str(rounded(image.size)))
    plan = plan_drive(desired, "present", current, allow_shrink=params["allow_shrink"])
    if image is not None and current is not None and holds(current, image):
        return finish(task, plan, current, None)
    return finish(task, plan, current, image)


def finish(task: Task, plan: Plan, current: Optional[Drive], image: Optional[Image]) -> Outcome:
    """Make `plan` true and give the drive the `image`; in check mode only say what both would do."""
    expected = Drive(predicted(plan, current.properties if current else {}))
    if image is not None:
        must_take(expected, image)
    if task.check_mode:
        expected = with_checksum(expected, image)
    drive, sent = (expected, 0) if task.check_mode else carry_out(task, plan, current, image)
    before, after = dict(plan.before), dict(plan.after)
    if image is not None:
        after[CHECKSUM_KEY] = image.sha256
        if current is not None and CHECKSUM_KEY in current.properties:
            before[CHECKSUM_KEY] = current.properties[CHECKSUM_KEY]
    result: Dict[str, Any] = {"drive": drive_view(drive) if drive and drive.properties else {}}
    if task.params["src"] and task.params["state"] == "present":
        result["sent"] = sent
    subject = f"drive {task.params['name'] or task.params['uuid']}"
    return Outcome(result, plan.changed or image is not None, before, after, subject)


def carry_out(task: Task, plan: Plan, current: Optional[Drive], image: Optional[Image]) -> Tuple[Optional[Drive], int]:
    """The drive as it is then, and the bytes of the image that were sent."""
    task.touched = plan.changed
    drive = apply_drive(task.client, plan, current, task.deadline)
    if image is None or drive is None:
        return drive, 0
    if drive.imaging is not None:
        drive = wait_imaged(task.client, drive.uuid, task.deadline)
    task.touched = True
    uploaded = upload(task.client, image, drive, fresh=current is None)
    return uploaded.drive, uploaded.sent


def must_take(drive: Drive, image: Image) -> None:
    """Raises Refused, before anything is changed, when the drive (as it will be) cannot take the image."""
    label = f"drive {drive.name or drive.uuid!r}"
    if image.size > drive.size:
        raise Refused(f"src has {image.size} bytes and {label} only {drive.size}: give a size of at least that of src")
    if drive.claimed and drive.imaging is None:
        raise Refused(f"{label} is in use by {' '.join(drive.claimed)}: stop that server before the upload")


def with_checksum(drive: Drive, image: Optional[Image]) -> Drive:
    return drive if image is None else Drive({**drive.properties, CHECKSUM_KEY: image.sha256})


DEFINITION = Definition(perform, ARGUMENTS, {"required_one_of": [("name", "uuid")]})


def main() -> None:
    run(DEFINITION)


if __name__ == "__main__":
    main()
