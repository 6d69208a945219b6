# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: program_files
short_description: Put a program of many files in its folder, in one task
version_added: 1.0.0
author: The opennebula.elastichosts authors (@opennebula)
description:
  - Writes the files of a program into a folder that holds nothing else, and removes files and folders of an older
    version from it.
  - Makes other files and folders that the program needs, so that all of them together cost one task and one transfer.
  - Each file is replaced atomically. Folders named C(__pycache__) stay, since Python keeps compiled modules there.
  - The role P(opennebula.elastichosts.eh_endpoint#role) uses it for the program of the endpoint.
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
requirements:
  - python >= 3.9
options:
  path:
    description: The folder of the program. Its parents are made when missing.
    type: path
    required: true
  files:
    description: The content of its files, by name. A name may be a path below O(path), such as C(web/page.html).
    type: dict
    required: true
  mode:
    description: The mode of its files, in octal digits.
    type: str
    default: "0755"
  owner:
    description: The user to whom folder and files are to belong.
    type: str
  group:
    description: The group to which folder and files are to belong.
    type: str
  others:
    description: Other files and folders, which are made first, in this order. They are removed in the opposite order.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where it is.
        type: path
        required: true
      content:
        description: The content of a file. Without it, the path is a folder.
        type: str
      mode:
        description: The mode, in octal digits.
        type: str
        default: "0755"
      owner:
        description: The user to whom it is to belong.
        type: str
      group:
        description: The group to which it is to belong.
        type: str
  state:
    description: Whether all this is to be there. Folders go with all that is in them.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - opennebula.elastichosts.attributes
seealso:
  - module: opennebula.elastichosts.driver_files
"""

EXAMPLES = r"""
- name: A program of two files, and a folder for what it keeps
  opennebula.elastichosts.program_files:
    path: /opt/greeter
    files: {greet.py: "print('hello')\n"}
    mode: "0644"
    others:
      - {path: /var/lib/greeter, mode: "0750", owner: nobody}
"""

RETURN = r"""
changed_paths:
  description: What was made, changed or removed.
  returned: success
  type: list
  elements: str
  sample: [/opt/greeter, /opt/greeter/greet.py]
"""

from pathlib import Path
from typing import AbstractSet, Any, Dict, Iterator, List, Mapping

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.file_entries import (
    FILE,
    TREE,
    Entry,
    broken_off,
    diff_of,
    entry_of,
    own_all,
    put,
    remove,
    sentence_of,
    standing,
    tree_entries,
)

ARGUMENTS = {
    **TREE,
    "others": {"type": "list", "elements": "dict", "default": [], "options": FILE},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def program_entries(params: Mapping[str, Any]) -> List[Entry]:
    """Return the folder of the program, the folders below it, and its files."""
    top, *files = tree_entries(params)
    below = {parent for file in files for parent in file.path.parents if top.path in parent.parents}
    return [top, *(top._replace(path=path) for path in sorted(below)), *files]


def outdated(folder: Path, current: AbstractSet[Path]) -> Iterator[Path]:
    """Yield the files and folders of an older version below a folder of the program."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path not in current and path.name != "__pycache__":
            yield path
        elif path in current:
            yield from outdated(path, current)


def present(module: AnsibleModule) -> Dict[str, Any]:
    program = program_entries(module.params)
    entries = [*(entry_of(other, other["content"]) for other in module.params["others"]), *program]
    wrong = [entry for entry in entries if not entry.is_right]
    old = list(outdated(program[0].path, {entry.path for entry in program}))
    old = list(dict.fromkeys(old + broken_off(entry.path for entry in entries)))
    diff = diff_of(wrong, old)
    if not module.check_mode:
        put(module, wrong, old)
    paths = [entry.path for entry in wrong] + old
    paths += [path for path in own_all(module, entries) if path not in paths]
    return {"changed_paths": [str(path) for path in paths], "diff": diff}


def absent(module: AnsibleModule) -> Dict[str, Any]:
    others = [Path(other["path"]) for other in reversed(module.params["others"])]
    paths = standing([Path(module.params["path"]), *broken_off(others), *others])
    if not module.check_mode:
        for path in paths:
            remove(path)
    return {"changed_paths": [str(path) for path in paths], "diff": diff_of([], paths)}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = present(module) if module.params["state"] == "present" else absent(module)
    except OSError as problem:
        module.fail_json(msg=sentence_of(problem))
    module.exit_json(changed=bool(result["changed_paths"]), **result)


if __name__ == "__main__":
    main()
