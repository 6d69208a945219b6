# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: program_files
short_description: Put the files of programs in their folders (internal to the roles of this collection)
version_added: 1.0.0
author: The opennebula.elastichosts authors (@opennebula)
description:
  - A new folder is written and compiled beside the old one and takes its place in one step. A file among files of
    others is replaced atomically. All trees together cost one task and one transfer.
  - This module is internal to the roles P(opennebula.elastichosts.one_eh_driver#role) and
    P(opennebula.elastichosts.eh_endpoint#role); its options can change in every release.
attributes:
  check_mode: {support: full}
  diff_mode: {support: full, details: "Of the drivers' packages the diff shows the names of the files only."}
  idempotent: {support: full}
requirements: ["python >= 3.9"]
options:
  trees:
    description: Folders with files of one mode, in the order in which they are made.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: The folder. Folder and parent are made for V(replace=folder)., type: path, required: true}
      files: {description: "Contents by file name or path below O(trees[].path).", type: dict, default: {}}
      drivers: {description: Whether to add the packages of the drivers., type: bool, default: false}
      replace:
        description: V(folder) exchanges the folder, which then holds no other file. V(files) replaces the files that
          differ. V(missing) makes the files that are missing.
        type: str
        choices: [folder, files, missing]
        default: folder
      python: {description: The interpreter that compiles the files of a folder., type: path}
      mode: {description: The mode of its files in octal digits., type: str, default: "0644"}
      owner: {description: The user to whom the files belong., type: str}
      group: {description: The group to which the files belong., type: str}
  trial:
    description: Drivers to start once afterwards, as OpenNebula starts them. A driver that does not answer INIT fails.
    type: dict
    suboptions:
      drivers: {description: The programs., type: list, elements: path, required: true}
      python: {description: Their interpreter., type: path, required: true}
      owner: {description: The user that runs OpenNebula., type: str, required: true}
      one_location: {description: The folder of a self-contained installation., type: str, required: true}
      always: {description: Whether to start the drivers even if no program has changed., type: bool, required: true}
  state: {description: Whether the files are there., type: str, choices: [present, absent], default: present}
extends_documentation_fragment: [opennebula.elastichosts.attributes]
"""
EXAMPLES = r"""
- name: A program of two files
  opennebula.elastichosts.program_files:
    trees: [{path: /opt/greeter, files: {greet.py: "print('hello')\n", words/__init__.py: ""}}]
"""
RETURN = r"""
changed_paths: {description: What was made or changed or removed., returned: success, type: list, elements: str}
programs_changed: {description: Whether more than files of V(missing) changed., returned: success, type: bool}
"""

import os
from pathlib import Path
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.atomic_files import broken_off, check_kind, remove, sentence_of
from ..module_utils.file_trees import Tree, remove_parent
from ..module_utils.front_end import FrontEnd
from ..module_utils.front_end_trial import trial_problem

TREE = {
    "path": {"type": "path", "required": True},
    "files": {"type": "dict", "default": {}},
    "drivers": {"type": "bool", "default": False},
    "replace": {"type": "str", "choices": ["folder", "files", "missing"], "default": "folder"},
    "python": {"type": "path"},
    "mode": {"type": "str", "default": "0644"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
}
TRIAL = {
    "drivers": {"type": "list", "elements": "path", "required": True},
    "python": {"type": "path", "required": True},
    "owner": {"type": "str", "required": True},
    "one_location": {"type": "str", "required": True},
    "always": {"type": "bool", "required": True},
}
ARGUMENTS = {
    "trees": {"type": "list", "elements": "dict", "required": True, "options": TREE},
    "trial": {"type": "dict", "options": TRIAL},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def present(module: AnsibleModule, trees: List[Tree]) -> Dict[str, Any]:
    """Put every tree right, then start the drivers once."""
    paths: List[Path] = []
    diff: List[Dict[str, str]] = []
    programs_changed = False
    for tree in trees:
        wrong, left = [*tree.wrong(), *tree.outdated()], broken_off(tree.targets)
        diff += tree.diff(wrong, left)
        if not module.check_mode:
            tree.put(module, wrong)
            for path in left:
                remove(path)
        changed = list(dict.fromkeys([*wrong, *tree.owned(module)]))
        programs_changed = programs_changed or (bool(changed) and tree.replace != "missing")
        paths += [*changed, *left]
    trial = module.params["trial"]
    if trial and not module.check_mode and (programs_changed or trial["always"]):
        packages = next(tree.folder for tree in trees if tree.drivers)
        front_end = FrontEnd(trial["one_location"], trial["owner"])
        problem = trial_problem(trial["drivers"], trial["python"], packages, front_end)
        if problem:
            module.fail_json(msg=problem)
    return {"changed_paths": [str(path) for path in paths], "programs_changed": programs_changed, "diff": diff}


def absent(module: AnsibleModule, trees: List[Tree]) -> Dict[str, Any]:
    """Remove the trees, the last one first, and what killed runs have left of them."""
    targets = [path for tree in reversed(trees) for path in (*tree.targets, *broken_off(tree.targets))]
    paths = [path for path in targets if os.path.lexists(path)]
    if not module.check_mode:
        for path in paths:
            remove(path)
        for tree in trees:
            remove_parent(tree.folder)
    names = [str(path) for path in paths]
    diff = {"before": "".join(f"{name}\n" for name in names), "after": ""}
    return {"changed_paths": names, "programs_changed": bool(names), "diff": diff}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    os.umask(0o022)  # a user who runs the programs can read what is compiled
    trees = [Tree(**tree) for tree in module.params["trees"]]
    try:
        for tree in trees:
            for path in tree.targets:
                check_kind(path)
        result = (present if module.params["state"] == "present" else absent)(module, trees)
    except OSError as problem:
        module.fail_json(msg=sentence_of(problem))
    module.exit_json(changed=bool(result["changed_paths"]), **result)


if __name__ == "__main__":
    main()
