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
  - Writes the Python packages that the installed drivers run on (C(elastichosts), C(opennebula), C(drivers)) into one
    package folder, and the programs and settings that are given in O(files). The packages travel with the module
    itself, so that all files together cost one task and one transfer.
  - The package folder is made complete and compiled beside the old one, and then takes its place in one step. Other
    files are replaced one by one, each atomically. So no driver that is started meanwhile finds half of something.
  - The role P(opennebula.elastichosts.one_eh_driver#role) uses it.
seealso:
  - module: opennebula.elastichosts.program_files
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Of the packages the diff names the files, it does not show their content. It shows no secret.
  idempotent:
    support: full
requirements:
  - python >= 3.9
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
        description: Whether a file that is there already keeps its content, but for the lines that are given.
        type: bool
        default: false
      values:
        description: Lines C(NAME=VALUE) that the file is to hold, quoted for a shell. All its other lines stay.
        type: dict
        default: {}
      secrets:
        description: As O(files[].values), for values that are not to be shown.
        type: dict
        default: {}
      defaults:
        description: As O(files[].values), for values that matter only when the file has none for that name.
        type: dict
        default: {}
  zones:
    description: OpenNebula hosts with settings of their own. Each gets a file C(<name>rc) in O(zones_folder).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name of the OpenNebula host.
        type: str
        required: true
      endpoint:
        description: The address of the API.
        type: str
      auth:
        description: The account, as V(<user uuid>:<secret API key>).
        type: str
      total_memory:
        description: The memory that the host offers, in MB.
        type: int
      total_cpu:
        description: The cores that the host offers.
        type: float
      cpu_mhz:
        description: The MHz that count as one core.
        type: int
      max_servers:
        description: How many servers the drivers may have there; with V(0) they create no new one.
        type: int
  zones_folder:
    description: Where those files are. It is made with the owner and group O(zones_owner) and O(zones_group).
    type: path
  zones_owner:
    description: The user to whom those files are to belong.
    type: str
  zones_group:
    description: The group to which those files are to belong.
    type: str
  tree:
    description: A folder with plain programs in it, the transfer driver. It holds these files and no other.
    type: dict
    suboptions:
      path:
        description: The folder.
        type: path
        required: true
      files:
        description: The content of its files, by name.
        type: dict
        required: true
      mode:
        description: The mode of its files, in octal digits.
        type: str
        default: "0755"
      owner:
        description: The user to whom they are to belong.
        type: str
      group:
        description: The group to which they are to belong.
        type: str
  venv:
    description: A virtual environment with the package C(requests), made when O(venv_base) is given.
    type: path
  venv_base:
    description: The interpreter to make it with.
    type: str
    default: ""
  start:
    description:
      - Drivers to start once, as OpenNebula does, after programs have changed. One that does not answer C(INIT) is a
        failure, because it would keep OpenNebula from starting. It is stopped as soon as it has answered.
    type: list
    elements: path
    default: []
  start_always:
    description: Whether they are started even when no program has changed.
    type: bool
    default: true
  start_as:
    description: The user that runs OpenNebula, and so the drivers.
    type: str
    default: ""
  one_location:
    description: The folder of a self-contained installation (C(ONE_LOCATION)), for the drivers that are started.
    type: str
    default: ""
  leftovers:
    description: Files that appear when the drivers run. They are removed with O(state=absent).
    type: list
    elements: path
    default: []
  state:
    description: Whether all this is to be there. Folders go with all that is in them; the parent of O(library) goes if
      this module made it and nothing else is in it.
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
  sample: [/srv/cloud/one/lib/python/one_eh/drivers/vm_driver.py, /srv/cloud/one/etc/vmm_eh]
programs_changed:
  description: Whether more than settings changed. Drivers read changed settings by themselves.
  returned: when O(state=present)
  type: bool
  sample: true
"""

import ctypes
import os
import re
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.drivers.settings import parse_rc
from ..module_utils.file_entries import (
    FILE,
    TREE,
    Entry,
    at,
    broken_off,
    diff_of,
    entry_of,
    own,
    own_all,
    put,
    remove,
    sentence_of,
    standing,
    strangers,
    tree_entries,
)
from ..module_utils.front_end import FrontEnd, run
from ..module_utils.front_end_library import library
from ..module_utils.front_end_trial import loading_problem, start_problem

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
            **FILE,
            "keep": {"type": "bool", "default": False},
            "values": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "defaults": {"type": "dict", "default": {}},
        },
    },
    "zones": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "endpoint": {"type": "str"},
            "auth": {"type": "str", "no_log": True},
            "total_memory": {"type": "int"},
            "total_cpu": {"type": "float"},
            "cpu_mhz": {"type": "int"},
            "max_servers": {"type": "int"},
        },
    },
    "zones_folder": {"type": "path"},
    "zones_owner": {"type": "str"},
    "zones_group": {"type": "str"},
    "tree": {"type": "dict", "options": TREE},
    "venv": {"type": "path"},
    "venv_base": {"type": "str", "default": ""},
    "start": {"type": "list", "elements": "path", "default": []},
    "start_always": {"type": "bool", "default": True},
    "start_as": {"type": "str", "default": ""},
    "one_location": {"type": "str", "default": ""},
    "leftovers": {"type": "list", "elements": "path", "default": []},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
VENV_SECONDS = 600
SETTINGS = {
    "endpoint": "EHURI",
    "auth": "EHAUTH",
    "total_memory": "TOTAL_MEMORY",
    "total_cpu": "TOTAL_CPU",
    "cpu_mhz": "CPU_MHZ",
    "max_servers": "MAX_SERVERS",
}
ZONE_TOP = "# Settings of one OpenNebula host, before those of vmm_ehrc and im_ehrc. It may hold a secret.\n"
MADE = ".made_for_one_eh"
"""a file in the parent of the packages, where this module made that folder: an installation may bring an empty one"""
AT_FDCWD = -100
RENAME_EXCHANGE = 2


# --- what is wanted ---------------------------------------------------------------------------------------------------


def with_line(text: str, name: str, value: str) -> str:
    """The text with ``name`` set to ``value``, in the line that sets it now or in a new one at the end."""
    if parse_rc(text).get(name) == value:
        return text
    line = f"{name}={shlex.quote(value)}"
    lines = list(re.finditer(rf"^[ \t]*(?:export[ \t]+)?{re.escape(name)}=.*$", text, re.MULTILINE))
    if lines:
        return text[: lines[-1].start()] + line + text[lines[-1].end() :]
    return text + ("" if not text or text.endswith("\n") else "\n") + line + "\n"


def content_of(file: Mapping[str, Any]) -> Optional[str]:
    """What the file is to hold; None for a folder."""
    if file["content"] is None:
        return None
    path, text = Path(file["path"]), str(file["content"])
    if file["keep"] and path.is_file():
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    for name, value in {**file["values"], **file["secrets"]}.items():
        if value not in (None, ""):
            text = with_line(text, name, str(value))
    for name, value in file["defaults"].items():
        if not parse_rc(text).get(name):
            text = with_line(text, name, str(value))
    return text


def zone_files(params: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """The folder and the files of hosts that have settings of their own, in the form of the option files."""
    if not params["zones"]:
        return []
    same = {"owner": params["zones_owner"], "group": params["zones_group"], "secrets": {}, "defaults": {}}
    files: List[Dict[str, Any]] = [{"path": params["zones_folder"], "content": None, "mode": "0750", **same}]
    for zone in params["zones"]:
        path = f"{params['zones_folder']}/{zone['name']}rc"
        values = {name: zone[option] for option, name in SETTINGS.items()}
        files.append({"path": path, "content": ZONE_TOP, "mode": "0600", "keep": True, "values": values, **same})
    return files


def wanted(params: Mapping[str, Any]) -> List[Entry]:
    """All but the packages, each folder before what is in it."""
    parent = Entry(Path(params["library"]).parent, None, "0755", params["owner"], params["group"])
    files = [*params["files"], *zone_files(params)]
    return [
        parent,
        *(entry_of(file, content_of(file)) for file in files),
        *(tree_entries(params["tree"]) if params["tree"] else []),
    ]


# --- packages ---------------------------------------------------------------------------------------------------------


def library_changes(root: Path) -> List[Path]:
    """What of the package folder is not as it has to be; what an interpreter compiled is not looked at."""
    files = {root / name: content for name, content in library().items()}
    wrong = [path for path, content in files.items() if not path.is_file() or path.read_bytes() != content]
    return wrong + [path for path in sorted(root.rglob("*.py")) if path not in files]


def make_parent(root: Path) -> None:
    """Make the folder that the packages are in, and note there that it was not there before."""
    if not root.parent.exists():
        root.parent.mkdir(parents=True)
        (root.parent / MADE).touch()


def remove_parent(root: Path) -> None:
    """Remove the folder that the packages were in, if it was made for them and holds nothing else."""
    note = root.parent / MADE
    if note.exists() and list(root.parent.iterdir()) == [note]:
        note.unlink()
        root.parent.rmdir()


def library_diff(root: Path, changes: List[Path]) -> Dict[str, str]:
    """The names of the files: what goes is in the older list only, what comes in the newer one only."""
    ours = {root / name for name in library()}
    before = "".join(f"{path}\n" for path in changes if path.exists())
    after = "".join(f"{path}{' (new content)' if path.exists() else ''}\n" for path in changes if path in ours)
    return {"before_header": str(root), "after_header": str(root), "before": before, "after": after}


def install_library(module: AnsibleModule, root: Path) -> None:
    """A new package folder, complete and compiled, in the place of the old one in one step."""
    fresh = Path(tempfile.mkdtemp(prefix=f".{root.name}.new-", dir=root.parent))
    try:
        for name, content in library().items():
            (fresh / name).parent.mkdir(exist_ok=True)
            with at(root / name):
                (fresh / name).write_bytes(content)
        fresh.chmod(0o755)
        if module.params["python"]:
            # A failure is none: the interpreter then compiles at each start. Paths are those of the final place.
            options = ("-q", "-s", str(fresh), "-p", str(root), str(fresh))
            run((module.params["python"], "-m", "compileall", *options))
        for path in (fresh, *fresh.rglob("*")):
            own(module, str(path), None, module.params["owner"], module.params["group"])
        exchange(fresh, root)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def exchange(fresh: Path, root: Path) -> None:
    """Swap two folders. Where the kernel cannot do that, there is a moment without either."""
    if not root.exists():
        fresh.rename(root)
        return
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    arguments = (AT_FDCWD, os.fsencode(fresh), AT_FDCWD, os.fsencode(root), RENAME_EXCHANGE)
    if renameat2 is not None and renameat2(*arguments) == 0:
        return
    old = fresh.with_name(f"{fresh.name}-old")
    root.rename(old)
    fresh.rename(root)
    shutil.rmtree(old)


def make_venv(module: AnsibleModule, path: Path, base: str) -> None:
    """Fails with pip's own words, and leaves nothing, when the package requests cannot be had."""
    shutil.rmtree(path, ignore_errors=True)
    steps = ((base, "-m", "venv", str(path)), (f"{path}/bin/python", "-m", "pip", "install", "-q", "requests"))
    for step in steps:
        done = run(step, seconds=VENV_SECONDS)
        if not done.is_right:
            shutil.rmtree(path, ignore_errors=True)
            module.fail_json(
                msg=f"The virtual environment {path} could not be made: {done.conclusion}. See whether pip reaches an"
                " index (pip.conf), or install python3-requests and set one_eh_driver_python to system."
            )
    for found in (path, *path.rglob("*")):
        if not found.is_symlink():
            own(module, str(found), None, module.params["owner"], module.params["group"])


def try_drivers(module: AnsibleModule) -> None:
    """Fails when a driver would not start under OpenNebula."""
    params = module.params
    python, front_end = params["python"] or "", FrontEnd(params["one_location"], params["start_as"])
    said = {driver: start_problem(driver, python, front_end) for driver in params["start"]}
    problems = [f"{driver} does not answer INIT: {what}" for driver, what in said.items() if what]
    if not problems and params["start"] and python:
        what = loading_problem(python, Path(params["library"]), front_end)
        problems = [f"{python} cannot load the drivers: {what}"] if what else []
    if problems:
        module.fail_json(
            msg=f"{problems[0]}. OpenNebula would not start with such a driver, so its configuration was not touched;"
            " the files of the drivers are installed. Put that right and run the play again.",
        )


def present(module: AnsibleModule) -> Dict[str, Any]:
    params = module.params
    root = Path(params["library"])
    entries = wanted(params)
    wrong = [entry for entry in entries if not entry.is_right]
    packages = library_changes(root)
    broken = broken_off([root, *(entry.path for entry in entries)])
    old = list(dict.fromkeys([*(strangers(params["tree"]) if params["tree"] else []), *broken]))
    diff = diff_of(wrong, old) + ([library_diff(root, packages)] if packages else [])
    if not module.check_mode:
        make_parent(root)
        if params["venv_base"] and params["venv"]:
            make_venv(module, Path(params["venv"]), params["venv_base"])
        put(module, wrong, old)
        if packages:
            install_library(module, root)
    paths = [entry.path for entry in wrong] + old
    paths += [path for path in own_all(module, entries) if path not in paths]
    venv = [params["venv"]] if params["venv_base"] else []
    settings = {file["path"] for file in params["files"] if file["keep"] or file["content"] is None}
    settings |= {file["path"] for file in zone_files(params)}
    settings |= {str(path) for path in broken}
    programs_changed = bool(packages or venv or {str(path) for path in paths} - settings)
    if not module.check_mode and (programs_changed or params["start_always"]):
        try_drivers(module)
    return {
        "changed_paths": [*map(str, paths), *map(str, packages), *venv],
        "programs_changed": programs_changed,
        "diff": diff,
    }


def absent(module: AnsibleModule) -> Dict[str, Any]:
    params = module.params
    root = Path(params["library"])
    given = [Path(file["path"]) for file in reversed(params["files"])]
    folders = [params["tree"]["path"]] if params["tree"] else []
    others = [Path(path) for path in (*folders, *([params["venv"]] if params["venv"] else []), *params["leftovers"])]
    paths = standing([root, *broken_off([root, *given]), *given, *others])
    if not module.check_mode:
        for path in paths:
            remove(path)
        if root in paths:
            remove_parent(root)
    return {"changed_paths": [str(path) for path in paths], "diff": diff_of([], paths)}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    os.umask(0o022)  # what is compiled is for the user that runs the drivers
    try:
        result = present(module) if module.params["state"] == "present" else absent(module)
    except OSError as problem:
        module.fail_json(msg=sentence_of(problem))
    module.exit_json(changed=bool(result["changed_paths"]), **result)


if __name__ == "__main__":
    main()
