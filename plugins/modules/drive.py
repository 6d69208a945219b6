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
  - Creates, changes, fills or destroys one drive of an ElasticHosts account.
  - Only options that are in the task are compared and changed. O(readers) and O(tags) are unset by V(null) or an empty
    list.
extends_documentation_fragment:
  - opennebula.elastichosts.connection
  - opennebula.elastichosts.options.source_in_use
  - opennebula.elastichosts.attributes
  - opennebula.elastichosts.attributes.action_group
  - opennebula.elastichosts.attributes.changes
  - opennebula.elastichosts.attributes.one_name
attributes:
  idempotent:
    support: partial
    details: A block device at O(dest) is written to by each run. Everything else is done once.
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
      - Needed to create a drive, unless O(src) or O(source) is given.
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
      - The keys V(sha256) and V(upload) belong to O(src), V(image) and V(copying) to O(source).
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
        O(size) says more. It is a file or a block device; nothing else must write to a device meanwhile, so unmount it,
        or take a snapshot of it. A pipe, another kind of device or a socket is refused.
      - The checksum of the image is kept in the drive's key C(user:sha256). The same image is not sent again. An upload
        that was cut off goes on where it stopped. What a server writes to the drive later is not looked at.
      - It travels in chunks side by side, compressed where that makes it faster.
    type: path
  source:
    description:
      - Drive to copy to this one, by UUID or unique name, an own one or a standard one. A new drive gets its size
        unless O(size) says more.
      - What the drive is a copy of is kept in its key C(user:image). The same source is not copied again, even if its
        content is another by now.
    type: str
  dest:
    description:
      - File or block device, on the machine that runs the module, to which the whole drive is downloaded, after
        everything else. A symbolic link is followed. A pipe, another kind of device or a socket is refused.
      - A download to a file that was cut off goes on where it stopped. The drive is not read again as long as nothing
        was written to it or to the file. Beside the file, one with C(.elastichosts) at its end notes that.
      - A block device has to be as large as the drive at least, and must not be mounted. Each run reads the drive from
        its beginning and writes it over what the device holds; what the device has behind it stays.
    type: path
  wait_timeout:
    description:
      - Seconds that the task may wait for a copy onto the drive to end. When they are over the task fails and names the
        state that was seen last.
    type: int
    default: 3600
  transfer_timeout:
    description:
      - Seconds that an upload of O(src), and then a download to O(dest), may take together. When they are over the task
        fails and says how many bytes are there; the next run goes on from there.
    type: int
    default: 86400
    version_added: 1.0.0
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

- name: A copy of a standard drive
  opennebula.elastichosts.drive:
    name: db-root
    source: Debian Linux 7.4 (Wheezy)
    size: 10G

- name: A backup of it, with its server stopped
  opennebula.elastichosts.drive:
    name: db-root
    dest: /srv/backup/db-root.raw

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
      description:
        - UUID. For a drive that would be created in check mode, a placeholder that begins with C(00000000-0000), which
          later tasks can be given in check mode.
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
received:
  description:
    - Bytes of the drive that were read to O(dest). 0 when the file was current, and in check mode.
  returned: O(dest) is given
  type: int
  sample: 12582912
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
      sample: POST /drives/create
"""

from typing import Any, Callable, Dict, List, NamedTuple, Optional

from ansible_collections.opennebula.elastichosts.plugins.module_utils.module import (
    Definition,
    Outcome,
    Task,
    run,
)

from ..module_utils.check_mode import placeholder, predicted, stand_in
from ..module_utils.drive_options import SOURCE_IN_USE, drive_desired, drive_view, source_for
from ..module_utils.elastichosts import download
from ..module_utils.elastichosts.apply import apply_drive, wait_imaged
from ..module_utils.elastichosts.drive_copy import (
    COPYING_KEY,
    SOURCE_KEY,
    Source,
    check_unused,
    copy_onto,
    is_copy_of,
)
from ..module_utils.elastichosts.drives import Drive
from ..module_utils.elastichosts.errors import Refused
from ..module_utils.elastichosts.plan import Plan, plan_drive
from ..module_utils.elastichosts.properties import DRIVE
from ..module_utils.elastichosts.single_name import SingleName, single_drive, until_settled
from ..module_utils.elastichosts.upload import CHECKSUM_KEY, PROGRESS_KEY, Image, checksum, holds, inspect, upload
from ..module_utils.elastichosts.values import rounded
from ..module_utils.options import arguments_of, must_exist, wanted
from ..module_utils.progress import by_steps

ARGUMENTS: Dict[str, Any] = {
    **arguments_of(DRIVE),
    "uuid": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "allow_shrink": {"type": "bool", "default": False},
    "user_keys": {"type": "dict", "no_log": False},
    "extra": {"type": "dict"},
    "src": {"type": "path"},
    "source": {"type": "str"},
    **SOURCE_IN_USE,
    "dest": {"type": "path"},
    "wait_timeout": {"type": "int", "default": 3600},
    "transfer_timeout": {"type": "int", "default": 86400},
}


CONTENT_OF_UPLOADS = (CHECKSUM_KEY, PROGRESS_KEY)


class Content(NamedTuple):
    """The transfers of a task: an image to upload, a source to copy, a file to download to."""

    image: Optional[Image] = None
    source: Optional[Source] = None
    dest: Optional[str] = None

    @property
    def size(self) -> int:
        """Minimum size of the drive in bytes."""
        return self.image.size if self.image else self.source.size if self.source else 0


def perform(task: Task) -> Outcome:
    return until_settled(lambda: perform_once(task))


def perform_once(task: Task) -> Outcome:
    params = task.params
    task.deadline_of("transfer_timeout")  # a wrong value is refused before the first call
    desired = drive_desired(params, task.given) if params["state"] == "present" else {}
    single = single_drive(task.client, wanted(params), task.deadline) if task.makes_by_name else None
    current = single.look_up() if single else task.client.drives.find(wanted(params))
    new = placeholder("drive", params["name"])
    stands_for = {"drive": params["uuid"] or new, "name": params["name"] or ""}
    creatable = params["state"] == "absent" or any(params[option] for option in ("size", "src", "source"))
    current = current or stand_in(task, params["uuid"], Drive(stands_for), creatable=creatable)
    if params["state"] == "absent":
        return finish(task, plan_drive({}, "absent", current), current, Content())
    must_exist(params, current, "drive")
    asked = Content(
        inspect(params["src"]) if params["src"] else None,
        source_for(task, params["source"]) if params["source"] else None,
        params["dest"],
    )
    if current is None and asked.size:
        desired.setdefault("size", str(rounded(asked.size)))
    plan = plan_drive(desired, "present", current, allow_shrink=params["allow_shrink"])
    return finish(task, plan, current, what_is_left(asked, current), single)


def what_is_left(asked: Content, current: Optional[Drive]) -> Content:
    """Return `asked` without the content that the drive already has."""
    if current is None:
        return asked
    image = None if asked.image is None or holds(current, asked.image) else asked.image
    source = None if asked.source is None or is_copy_of(current, asked.source) else asked.source
    stale = image or source or (asked.dest and not download.is_current(asked.dest, current))
    return Content(image, source, asked.dest if stale else None)


def finish(
    task: Task, plan: Plan, current: Optional[Drive], content: Content, single: Optional[SingleName[Drive]] = None
) -> Outcome:
    """Execute `plan` and fill the drive; in check mode only report what that would do."""
    new = {"drive": placeholder("drive", task.params["name"])}
    expected = Drive(predicted(plan, current.properties if current else {}, new))
    must_take(expected, content)
    if content.source is not None:
        check_unused(task.client, content.source)
    if task.check_mode:
        marks = content_marks(content)
        drive: Optional[Drive] = Drive({**expected.properties, **marks}) if expected.properties else None
        moved = {"sent": 0, "received": 0}
    else:
        drive, moved = carry_out(task, plan, current, content, single)
    before, after = dict(plan.before), dict(plan.after)
    for key, filled in ((CHECKSUM_KEY, content.image), (SOURCE_KEY, content.source)):
        if filled is not None and drive is not None:
            after[key] = drive.properties[key]
            if current is not None and key in current.properties:
                before[key] = current.properties[key]
    if content.dest:
        after["dest"] = content.dest
    result: Dict[str, Any] = {"drive": drive_view(drive) if drive else {}}
    for option, count in (("src", "sent"), ("dest", "received")):
        if task.params[option] and task.params["state"] == "present":
            result[count] = moved[count]
    subject = f"drive {task.params['name'] or task.params['uuid']}"
    return Outcome(result, plan.changed or any(content), before, after, subject)


def content_marks(content: Content) -> Dict[str, str]:
    """Return the keys that would describe the content of the drive. Reads the whole image for its checksum."""
    marks = {}
    if content.image is not None:
        marks[CHECKSUM_KEY] = checksum(content.image)
    if content.source is not None:
        marks[SOURCE_KEY] = content.source.drive.uuid
    return marks


def carry_out(
    task: Task, plan: Plan, current: Optional[Drive], content: Content, single: Optional[SingleName[Drive]]
) -> Any:
    """Return the drive after the transfers, and the numbers of bytes sent and received."""
    moved = {"sent": 0, "received": 0}
    drive = apply_drive(task.client, plan, current, task.deadline, single=single)
    if drive is None:
        return None, moved
    if drive.imaging is not None and any(content):
        drive = wait_imaged(task.client, drive.uuid, task.deadline)
    tell = teller(task, drive)
    if content.source is not None:
        drive = copied(task, drive, content.source)
    deadline = task.deadline_of("transfer_timeout")
    if content.image is not None:
        if SOURCE_KEY in drive.properties or COPYING_KEY in drive.properties:
            drive = task.client.drives.set(drive.uuid, {SOURCE_KEY: None, COPYING_KEY: None})
        uploaded = upload(
            task.client,
            content.image,
            drive,
            fresh=current is None,
            anew=True,
            progress=tell("uploaded"),
            deadline=deadline,
        )
        drive, moved["sent"] = uploaded.drive, uploaded.sent
    if content.dest:
        task.wrote = True
        fetched = download.download(task.client, drive, content.dest, progress=tell("downloaded"), deadline=deadline)
        moved["received"] = fetched.received
    return drive, moved


def copied(task: Task, drive: Drive, source: Source) -> Drive:
    """Copy `source` onto the drive and return the drive. During the copy, a key marks its content as incomplete."""
    begun: Dict[str, Optional[str]] = {COPYING_KEY: source.drive.uuid}
    begun.update({key: None for key in (SOURCE_KEY, *CONTENT_OF_UPLOADS) if key in drive.properties})
    task.client.drives.set(drive.uuid, begun)
    last: List[str] = []

    def tell(percent: str) -> None:
        if last[-1:] != [percent]:
            last.append(percent)
            task.tell(f"{drive.name or drive.uuid}: copied {percent}")

    copy_onto(task.client, drive.uuid, source, task.deadline, tell)
    return task.client.drives.set(drive.uuid, {SOURCE_KEY: source.drive.uuid, COPYING_KEY: None})


def teller(task: Task, drive: Drive) -> Callable[[str], Callable[[int, int], None]]:
    """Return a function that makes a progress callback: one line for each 5 % (shown with -v)."""
    return lambda what: by_steps(lambda percent: task.tell(f"{drive.name or drive.uuid}: {what} {percent}%"))


def must_take(drive: Drive, content: Content) -> None:
    """Raise Refused, before any change, if the drive as planned cannot take the content, or be downloaded."""
    label = f"drive {drive.name or drive.uuid!r}"
    what = "src" if content.image else "source"
    if 0 < drive.size < content.size:  # of a drive that does not exist yet it is not known
        raise Refused(
            f"{what} has {content.size} bytes and {label} only {drive.size}: give a size of at least that of {what}"
        )
    if any(content) and drive.claimed and drive.imaging is None:
        doing = {"src": "the upload", "source": "it is copied to"}[what] if content.size else "it is downloaded"
        raise Refused(f"{label} is in use by {' '.join(drive.claimed)}: stop that server before {doing}")
    if content.dest:
        download.check(content.dest, Drive({**drive.properties, "claimed": ""}))


DEFINITION = Definition(
    perform, ARGUMENTS, {"required_one_of": [("name", "uuid")], "mutually_exclusive": [("src", "source")]}
)


def main() -> None:
    run(DEFINITION)


if __name__ == "__main__":
    main()
