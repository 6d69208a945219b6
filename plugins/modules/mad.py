# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mad
short_description: Set or remove driver sections of C(oned.conf) or C(monitord.conf)
version_added: 0.1.0
author: The opennebula.elastichosts authors (@opennebula)
description:
  - Sets or removes one driver section, such as C(VM_MAD = [ NAME = "vmm_eh", ... ]), in a file of OpenNebula.
  - The file is read by its grammar, not by lines. A file that the core could not read is refused, with line and column.
  - Every byte outside the section stays as it is. A section that stands already, in whatever spelling, is edited in
    place; a missing one is appended to the file.
  - Every edit has its inverse. Removing what this module did gives the file back byte for byte.
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
    description:
      - The configuration file, for example V(/etc/one/oned.conf). It has to exist, unless nothing is to be in it.
    type: path
    required: true
  kind:
    description:
      - The kind of the section in any case, for example V(IM_MAD), V(VM_MAD), V(TM_MAD), V(TM_MAD_CONF).
      - With O(value) the name of a single attribute, for example V(MAX_HOST).
    type: str
  name:
    description:
      - The C(NAME) of the section.
      - Without it the section is the only one of its kind that has none, such as C(DATASTORE_MAD), and O(words) say
        what to change.
    type: str
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
  words:
    description:
      - Words of lists that stand behind an option within an attribute, by attribute and option, for example
        C(ARGUMENTS) and C(-d) with the word C(eh) for C(-t 15 -d dummy,shared).
      - Words are added to the list, or taken out of it with O(state=absent). An option that is not there is left out,
        because without it OpenNebula's drivers take all that they find.
    type: dict
    default: {}
  stock:
    description:
      - Whether the section is one of OpenNebula's own. It is left as it is where it stands. Where it stands as a
        comment, it is switched on; only where there is no such comment is it written with O(attributes).
      - A comment line above it says that, so that O(state=absent) takes back what was done, and nothing else.
    type: bool
    default: false
  value:
    description:
      - The value for a single attribute. A comment line above it keeps the value that was there before, for
        O(state=absent) to bring back.
    type: str
  state:
    description: Whether the section, the words or the value are to be there.
    type: str
    choices: [present, absent]
    default: present
  edits:
    description:
      - Several edits of the one file, which is then replaced once. What they are is said by the same options.
    type: list
    elements: dict
    suboptions:
      kind:
        description: As O(kind).
        type: str
        required: true
      name:
        description: As O(name).
        type: str
      attributes:
        description: As O(attributes).
        type: dict
        default: {}
      exclusive:
        description: As O(exclusive).
        type: bool
        default: false
      words:
        description: As O(words).
        type: dict
        default: {}
      stock:
        description: As O(stock).
        type: bool
        default: false
      value:
        description: As O(value).
        type: str
      state:
        description: As O(state).
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

- name: The stock transfer driver of OpenNebula 2.0 that does nothing, and one of our own in the lists of a later one
  opennebula.elastichosts.mad:
    path: /etc/one/oned.conf
    edits:
      - kind: TM_MAD
        name: tm_dummy
        stock: true
        attributes:
          executable: one_tm
          arguments: tm_dummy/tm_dummy.conf
      - kind: DATASTORE_MAD
        words:
          ARGUMENTS:
            -s: [eh]

- name: More than one VM for a host in each round of the scheduler
  opennebula.elastichosts.mad:
    path: /etc/one/sched.conf
    kind: MAX_HOST
    value: "30"

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
  returned: without O(edits)
  type: dict
  sample: {NAME: vmm_eh, EXECUTABLE: one_vmm_eh, TYPE: xml}
changed_edits:
  description: The edits that were needed, by kind and name.
  returned: success
  type: list
  elements: str
  sample: [VM_MAD vmm_eh, TM_MAD]
backup_file:
  description: The copy of the file as it was.
  returned: when O(backup) is set and the file was changed
  type: str
  sample: /etc/one/oned.conf.12345.2026-11-22@10:00:00~
"""

import os
import tempfile
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.opennebula import conf
from ..module_utils.opennebula.conf_edits import Edit, apply, only, shown

EDIT = {
    "name": {"type": "str"},
    "attributes": {"type": "dict", "default": {}},
    "exclusive": {"type": "bool", "default": False},
    "words": {"type": "dict", "default": {}},
    "stock": {"type": "bool", "default": False},
    "value": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "kind": {"type": "str"},
    **EDIT,
    "edits": {"type": "list", "elements": "dict", "options": {"kind": {"type": "str", "required": True}, **EDIT}},
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


def word_lists(words: Mapping[str, Any]) -> Dict[str, Dict[str, Sequence[str]]]:
    """Raises ConfError when they are not lists of words by option by attribute."""
    lists: Dict[str, Dict[str, Sequence[str]]] = {}
    for attribute, options in words.items():
        if not isinstance(options, dict) or not all(isinstance(listed, list) for listed in options.values()):
            raise conf.ConfError(f"the words of {attribute} have to be lists by option, for example -d: [eh]")
        lists[attribute] = {option: [str(word) for word in listed] for option, listed in options.items()}
    return lists


def edit_of(params: Mapping[str, Any]) -> Edit:
    return Edit(
        kind=params["kind"],
        name=params["name"],
        attributes=written(params["attributes"]),
        exclusive=params["exclusive"],
        words=word_lists(params["words"]),
        stock=params["stock"],
        value=params["value"],
        present=params["state"] == "present",
    )


def read(path: str) -> str:
    """The file as text. Raises ConfError with a sentence when it cannot be read."""
    try:
        return conf.decode(Path(path).read_bytes())
    except OSError as problem:
        raise conf.ConfError(f"the file cannot be read: {problem.strerror}") from None


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
    edits = [edit_of(one) for one in (params["edits"] if params["edits"] is not None else [params])]
    path = os.path.realpath(params["path"])
    if not os.path.lexists(path) and not any(edit.present for edit in edits):
        return {"changed": False, "path": path, "section": {}, "changed_edits": []}
    before = conf.parse(read(path))
    text, changed = before.text, []
    for edit in edits:
        previous, text = text, apply(text, edit)
        if text != previous:
            changed.append(edit)
    after = conf.parse(text)
    header = f"{path} ({', '.join(edit.label for edit in changed or edits)})"
    result: Dict[str, Any] = {
        "changed": text != before.text,
        "path": path,
        "changed_edits": [edit.label for edit in changed],
        "diff": {
            "before_header": header,
            "after_header": header,
            "before": "".join(shown(before, edit) for edit in changed),
            "after": "".join(shown(after, edit) for edit in changed),
        },
    }
    if params["edits"] is None:
        section = None if edits[0].value is not None else only(after, edits[0])
        result["section"] = section.mapping() if section else {}
    if result["changed"]:
        check_writable(path)
        backup = None if module.check_mode else save(module, path, text)
        if backup:
            result["backup_file"] = backup
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_one_of=[("kind", "edits")],
        mutually_exclusive=[("kind", "edits"), ("name", "value")],
    )
    try:
        result = run(module)
    except conf.ConfError as problem:
        module.fail_json(msg=f"{module.params['path']}: {problem}. Nothing was changed.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
