# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: driver_files
short_description: Put the files of the ElasticHosts drivers on an OpenNebula front-end
version_added: 0.1.0
author: The opennebula.elastichosts authors (@opennebula)
description:
  - Writes the Python packages that the installed drivers run on (C(elastichosts), C(opennebula), C(bursting)) into one
    package folder, and the programs and settings that are given in O(files). The packages travel with the module
    itself, so that all files together cost one task and one transfer.
  - Files are replaced one by one, each atomically, so that a driver that is running is not disturbed. Files of an older
    version of the packages that are not needed any more are removed.
  - The role P(opennebula.elastichosts.one_eh_driver#role) uses it.
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Of the packages the diff names the files, it does not show their content.
  idempotent:
    support: full
options:
  library:
    description: The folder of the package, for example V(/usr/lib/one/python/one_eh). Its parent is made when missing.
    type: path
    required: true
  python:
    description: The interpreter that will run the drivers. It compiles the packages, so that a driver starts at once
      even where it may not write. Without it nothing is compiled.
    type: path
  owner:
    description: The user to whom the packages are to belong.
    type: str
  group:
    description: The group to which the packages are to belong.
    type: str
  files:
    description: Other files and folders, in the order in which they are made. They are removed in the opposite order.
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
      keep:
        description: Whether a file that is there already keeps its content.
        type: bool
        default: false
  state:
    description: Whether all this is to be there. Folders go with all that is in them; the parent of O(library) goes if
      nothing else is in it.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - opennebula.elastichosts.attributes
"""

EXAMPLES = r"""
- name: The packages of the drivers in a self-contained installation, and a folder for their settings
  opennebula.elastichosts.driver_files:
    library: /srv/cloud/one/lib/python/one_eh
    python: /usr/bin/python3
    files:
      - path: /srv/cloud/one/etc/vmm_eh
        mode: "0750"
        owner: oneadmin
"""

RETURN = r"""
changed_paths:
  description: What was made, changed or removed.
  returned: success
  type: list
  elements: str
  sample: [/srv/cloud/one/lib/python/one_eh/bursting/vmm.py, /srv/cloud/one/etc/vmm_eh]
"""

import importlib
import os
import pkgutil
import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from ansible.module_utils.basic import AnsibleModule

# Ansible sends a module together with all that it imports, and with all that that imports in turn: through the first
# module of the drivers these are exactly the files that the drivers need.
from ..module_utils.bursting import start

ARGUMENTS = {
    "library": {"type": "path", "required": True},
    "python": {"type": "path"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "path", "required": True},
            "content": {"type": "str"},
            "mode": {"type": "str", "default": "0755"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
            "keep": {"type": "bool", "default": False},
        },
    },
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}

PACKAGES = ("bursting", "elastichosts", "opennebula")
TOP = b'"""The ElasticHosts drivers of OpenNebula, installed by the collection opennebula.elastichosts."""\n'


class Entry(NamedTuple):
    """A file or (content None) a folder as it has to be."""

    path: Path
    content: Optional[bytes]
    mode: str = "0644"
    owner: Optional[str] = None
    group: Optional[str] = None
    keep: bool = False
    shown: bool = False

    @property
    def is_right(self) -> bool:
        if self.content is None:
            return self.path.is_dir()
        if self.keep:
            return self.path.exists()
        return self.path.is_file() and self.path.read_bytes() == self.content

    def text(self) -> str:
        """What is there now, for the diff."""
        return self.path.read_text("utf-8", "replace") if self.path.is_file() else ""


def library() -> Dict[str, bytes]:
    """The files of the packages, by their path below the package folder."""
    files = {"__init__.py": TOP}
    base = start.__name__.rpartition(".bursting.")[0]
    for package in PACKAGES:
        module = importlib.import_module(f"{base}.{package}")
        names = ["__init__", *(found.name for found in pkgutil.iter_modules(module.__path__))]
        for name in names:
            files[f"{package}/{name}.py"] = pkgutil.get_data(module.__name__, f"{name}.py") or b""
    return files


def wanted(params: Dict[str, Any]) -> List[Entry]:
    """All entries, each folder before what is in it."""
    root, owner, group = Path(params["library"]), params["owner"], params["group"]
    folders = [root.parent, root, *(root / package for package in PACKAGES)]
    entries = [Entry(folder, None, "0755", owner, group) for folder in folders]
    entries += [Entry(root / name, content, "0644", owner, group) for name, content in library().items()]
    for file in params["files"]:
        content = None if file["content"] is None else file["content"].encode("utf-8", "surrogateescape")
        entries.append(
            Entry(Path(file["path"]), content, file["mode"], file["owner"], file["group"], file["keep"], shown=True)
        )
    return entries


def stale(root: Path, entries: List[Entry]) -> List[Path]:
    """Files of an older version; what an interpreter compiled is not looked at."""
    known = {entry.path for entry in entries}
    found = (path for path in sorted(root.rglob("*.py")) if path.is_file())
    return [path for path in found if path not in known]


def write(module: AnsibleModule, entry: Entry) -> None:
    if entry.content is None:
        entry.path.mkdir(parents=True, exist_ok=True)
        return
    handle, temporary = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(handle, "wb") as file:
        file.write(entry.content)
    os.chmod(temporary, int(entry.mode, 8))  # noqa: PTH101 (before it has its name)
    module.atomic_move(temporary, str(entry.path))


def own(module: AnsibleModule, entry: Entry) -> bool:
    """Set mode and owner. Returns whether that was a change."""
    path = str(entry.path)
    changed = module.set_mode_if_different(path, entry.mode, False)
    changed = module.set_owner_if_different(path, entry.owner, changed)
    return bool(module.set_group_if_different(path, entry.group, changed))


def present(module: AnsibleModule) -> Dict[str, Any]:
    entries = wanted(module.params)
    wrong = [entry for entry in entries if not entry.is_right]
    old = stale(Path(module.params["library"]), entries)
    diff = [
        {
            "before_header": str(entry.path),
            "after_header": str(entry.path),
            "before": entry.text() if entry.shown else "",
            "after": (entry.content or b"").decode("utf-8", "replace") if entry.shown else "(a file of the packages)\n",
        }
        for entry in wrong
        if entry.content is not None
    ]
    if not module.check_mode:
        for entry in wrong:
            write(module, entry)
        for path in old:
            path.unlink()
        # A failure is no failure: the interpreter then compiles at each start.
        if (wrong or old) and module.params["python"]:
            module.run_command([module.params["python"], "-m", "compileall", "-q", module.params["library"]])
    paths = [entry.path for entry in wrong]
    paths += [entry.path for entry in entries if own(module, entry) and entry not in wrong]
    return {"changed_paths": [*map(str, paths), *map(str, old)], "diff": diff}


def absent(module: AnsibleModule) -> Dict[str, Any]:
    root = Path(module.params["library"])
    given = [Path(file["path"]) for file in reversed(module.params["files"])]
    paths = [path for path in (root, *given) if path.exists() or path.is_symlink()]
    if not module.check_mode:
        for path in paths:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        if root in paths and not any(root.parent.iterdir()):
            root.parent.rmdir()
    names = "".join(f"{path}\n" for path in paths)
    return {"changed_paths": [str(path) for path in paths], "diff": {"before": names, "after": ""}}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    os.umask(0o022)  # what is compiled is for the user that runs the drivers
    try:
        result = present(module) if module.params["state"] == "present" else absent(module)
    except OSError as problem:
        module.fail_json(
            msg=f"{problem.filename}: {problem.strerror}. Run the task as the owner of the folder or as root (become)."
        )
    module.exit_json(changed=bool(result["changed_paths"]), **result)


if __name__ == "__main__":
    main()
