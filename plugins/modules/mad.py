# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mad
short_description: Set or remove one driver section of C(oned.conf) or C(monitord.conf)
version_added: 0.1.0
author: The opennebula.elastichosts authors (@opennebula)
description:
  - Sets or removes one driver section, such as C(VM_MAD = [ NAME = "vmm_eh", ... ]), in a file of OpenNebula.
  - The file is read by its grammar, not by lines. A file that the core could not read is refused, with line and column.
  - Every byte outside the section stays as it is. A section that stands already, in whatever spelling, is edited in
    place; a missing one is appended to the file.
  - Removing a section that this module appended gives the file back byte for byte.
  - The file is replaced atomically; its owner and mode are kept. A symbolic link is followed.
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: The diff shows the section only, because other sections of the file may hold passwords.
  idempotent:
    support: full
options:
  path:
    description: The configuration file, for example V(/etc/one/oned.conf). It has to exist, unless O(state=absent).
    type: path
    required: true
  kind:
    description: The kind of the section in any case, for example V(IM_MAD), V(VM_MAD), V(TM_MAD), V(TM_MAD_CONF).
    type: str
    required: true
  name:
    description: The C(NAME) of the section.
    type: str
    required: true
  attributes:
    description:
      - The other attributes of the section, in the order in which they are to be written.
      - A value of V(null) takes the attribute out. V(true) and V(false) are written C(yes) and C(no).
    type: dict
    default: {}
  exclusive:
    description: Whether attributes that stand in the section, but not in O(attributes), are taken out.
    type: bool
    default: false
  state:
    description: Whether the section is to be there.
    type: str
    choices: [present, absent]
    default: present
  backup:
    description: Whether to keep a copy of the file, with the time in its name, before it is changed.
    type: bool
    default: false
extends_documentation_fragment:
  - opennebula.elastichosts.attributes
"""

EXAMPLES = r"""
- name: The VM driver, as OpenNebula 2.0 wants it
  opennebula.elastichosts.mad:
    path: /etc/one/oned.conf
    kind: VM_MAD
    name: vmm_eh
    attributes:
      executable: one_vmm_eh
      type: xml
    backup: true

- name: The monitoring driver of OpenNebula 5.12 and later
  opennebula.elastichosts.mad:
    path: /etc/one/monitord.conf
    kind: IM_MAD
    name: im_eh
    attributes:
      SUNSTONE_NAME: ElasticHosts
      EXECUTABLE: one_im_eh
      THREADS: 0

- name: No ElasticHosts driver any more
  opennebula.elastichosts.mad:
    path: /etc/one/oned.conf
    kind: VM_MAD
    name: vmm_eh
    state: absent
"""

RETURN = r"""
path:
  description: The file, with symbolic links followed.
  returned: success
  type: str
  sample: /etc/one/oned.conf
section:
  description: The attributes of the section as the core reads them, empty when there is none.
  returned: success
  type: dict
  sample: {NAME: vmm_eh, EXECUTABLE: one_vmm_eh, TYPE: xml}
backup_file:
  description: The copy of the file as it was.
  returned: when O(backup) is set and the file was changed
  type: str
  sample: /etc/one/oned.conf.12345.2026-11-22@10:00:00~
"""

import os
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.opennebula import conf

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "kind": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "attributes": {"type": "dict", "default": {}},
    "exclusive": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "backup": {"type": "bool", "default": False},
}


def written(attributes: Mapping[str, Any]) -> Dict[str, Optional[str]]:
    """Values of a play as values of the file. Raises ConfError for lists and dictionaries."""
    result: Dict[str, Optional[str]] = {}
    for key, value in attributes.items():
        if isinstance(value, (list, tuple, dict)):
            raise conf.ConfError(f"the attribute {key} has to be a text or a number, not a {type(value).__name__}")
        if isinstance(value, bool):
            value = "yes" if value else "no"
        result[str(key)] = None if value is None else str(value)
    return result


def read(path: str) -> str:
    """The file as text. Raises ConfError with a sentence when it cannot be read."""
    try:
        return conf.decode(Path(path).read_bytes())
    except OSError as problem:
        raise conf.ConfError(f"the file cannot be read: {problem.strerror}") from None


def texts_of(document: conf.Document, kind: str, name: str) -> str:
    """The section as it is written, for the diff."""
    sections: List[str] = [document.text[item.span.start : item.span.end] for item in document.named(kind, name)]
    return "".join(section + "\n" for section in sections)


def save(module: AnsibleModule, path: str, text: str) -> Optional[str]:
    """Replace the file in one step. Returns the path of the backup, if one was asked for."""
    backup = module.backup_local(path) if module.params["backup"] else None
    handle, temporary = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(handle, "wb") as file:
        file.write(conf.encode(text))
    module.atomic_move(temporary, path)
    return backup


def check_writable(path: str) -> None:
    """Raises ConfError when the file could not be replaced; asked before a change, in check mode too."""
    folder = Path(path).parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise conf.ConfError(
            f"the folder {folder} is not writable for this user: run the task as the owner of the folder (become)"
        )


def run(module: AnsibleModule) -> Dict[str, Any]:
    params = module.params
    kind, name, present = params["kind"], params["name"], params["state"] == "present"
    path = os.path.realpath(params["path"])
    if not present and not os.path.lexists(path):
        return {"changed": False, "path": path, "section": {}}
    before = conf.parse(read(path))
    if present:
        text = conf.set_section(before, kind, name, written(params["attributes"]), exclusive=params["exclusive"])
    else:
        text = conf.remove_section(before, kind, name)
    after = conf.parse(text)
    section = after.section(kind, name)
    result: Dict[str, Any] = {
        "changed": text != before.text,
        "path": path,
        "section": section.mapping() if section else {},
        "diff": {
            "before_header": f"{path} ({kind.upper()} {name})",
            "after_header": f"{path} ({kind.upper()} {name})",
            "before": texts_of(before, kind, name),
            "after": texts_of(after, kind, name),
        },
    }
    if result["changed"]:
        check_writable(path)
        backup = None if module.check_mode else save(module, path, text)
        if backup:
            result["backup_file"] = backup
    return result


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = run(module)
    except conf.ConfError as problem:
        module.fail_json(msg=f"{module.params['path']}: {problem}. Nothing was changed.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
