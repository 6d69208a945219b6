# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: driver_library
short_description: Put the Python packages of the ElasticHosts drivers on an OpenNebula front-end
version_added: 0.1.0
author: The opennebula.elastichosts authors (@opennebula)
description:
  - Writes the Python packages that the installed drivers run on (C(elastichosts), C(opennebula), C(bursting)) into one
    package folder. They travel with the module itself, so all files together cost one task and one transfer.
  - Files are replaced one by one, each atomically, so that a driver that is running is not disturbed. Files of an older
    version that are not needed any more are removed.
  - The role P(opennebula.elastichosts.one_eh_driver#role) uses it.
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: The diff names files, it does not show their content.
  idempotent:
    support: full
options:
  path:
    description: The folder of the package, for example V(/usr/lib/one/python/one_eh). Its parent is made when missing.
    type: path
    required: true
  python:
    description: The interpreter that will run the drivers. It compiles the files, so that a driver starts at once even
      where it may not write. Without it nothing is compiled.
    type: path
  owner:
    description: The user to whom the files are to belong.
    type: str
  group:
    description: The group to which the files are to belong.
    type: str
  state:
    description: Whether the packages are to be there. When they go, the parent folder goes too if it is empty then.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - opennebula.elastichosts.attributes
"""

EXAMPLES = r"""
- name: The packages of the drivers in a self-contained installation
  opennebula.elastichosts.driver_library:
    path: /srv/cloud/one/lib/python/one_eh
    python: /usr/bin/python3
"""

RETURN = r"""
files:
  description: The files of the packages, relative to the folder.
  returned: success
  type: list
  elements: str
  sample: [__init__.py, bursting/__init__.py, bursting/vmm.py]
"""

import importlib
import os
import pkgutil
import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule

# Ansible sends a module together with all that it imports, and with all that that imports in turn: through the first
# module of the drivers these are exactly the files that the drivers need.
from ..module_utils.bursting import start

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "python": {"type": "path"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}

PACKAGES = ("bursting", "elastichosts", "opennebula")
TOP = b'"""The ElasticHosts drivers of OpenNebula, installed by the collection opennebula.elastichosts."""\n'
FILE_MODE = 0o644


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


def present_files(folder: Path) -> Dict[str, bytes]:
    """What is there, without what an interpreter compiled."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


class Installer:
    """Makes the folder what ``wanted`` says."""

    def __init__(self, module: AnsibleModule, folder: Path, wanted: Dict[str, bytes]) -> None:
        self.module = module
        self.folder = folder
        self.wanted = wanted
        self.there = present_files(folder)

    @property
    def stale(self) -> List[str]:
        return [name for name in self.there if name not in self.wanted]

    @property
    def different(self) -> List[str]:
        return [name for name, content in self.wanted.items() if self.there.get(name) != content]

    def install(self) -> bool:
        module = self.module
        changed = bool(self.stale or self.different)
        if changed and not module.check_mode:
            for name in self.different:
                self.write(self.folder / name, self.wanted[name])
            for name in self.stale:
                (self.folder / name).unlink()
            self.compile()
        return self.set_owners() or changed

    def write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.module.tmpdir)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        self.module.atomic_move(temporary, str(path))
        path.chmod(FILE_MODE)

    def compile(self) -> None:
        """A failure is no failure: the interpreter then compiles at each start."""
        python = self.module.params["python"]
        if python:
            self.module.run_command([python, "-m", "compileall", "-q", str(self.folder)])

    def set_owners(self) -> bool:
        paths = [self.folder, *sorted(self.folder.rglob("*"))] if self.folder.exists() else []
        changed = False
        for path in paths:
            changed = self.module.set_owner_if_different(str(path), self.module.params["owner"], changed)
            changed = self.module.set_group_if_different(str(path), self.module.params["group"], changed)
        return changed

    def remove(self) -> bool:
        if not self.folder.exists():
            return False
        if not self.module.check_mode:
            shutil.rmtree(self.folder)
            if not any(self.folder.parent.iterdir()):
                self.folder.parent.rmdir()
        return True


def lines(names: List[str]) -> str:
    return "".join(f"{name}\n" for name in sorted(names))


def run(module: AnsibleModule) -> Dict[str, Any]:
    wanted = library() if module.params["state"] == "present" else {}
    installer = Installer(module, Path(module.params["path"]), wanted)
    changed = installer.install() if wanted else installer.remove()
    return {
        "changed": changed,
        "files": sorted(wanted),
        "diff": {
            "before_header": str(installer.folder),
            "after_header": str(installer.folder),
            "before": lines([*installer.stale, *(f"{n} (old)" for n in installer.different if n in installer.there)]),
            "after": lines(installer.different),
        },
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    os.umask(0o022)  # the folders, and what is compiled, are for the user that runs the drivers
    try:
        result = run(module)
    except OSError as problem:
        module.fail_json(
            msg=f"{problem.filename or module.params['path']}: {problem.strerror}. Run the task as the owner of the"
            " folder or as root (become)."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
