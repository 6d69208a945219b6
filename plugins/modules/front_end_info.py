# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: front_end_info
short_description: Look at an OpenNebula installation before the ElasticHosts drivers are installed
version_added: 0.1.0
author: The opennebula.elastichosts authors (@opennebula)
description:
  - Finds the folders, release and owner of an OpenNebula installation, an interpreter that can run the drivers, and the
    settings that the drivers have already.
  - It never fails because of what it finds. What stands in the way of the drivers is in RV(problems).
  - The role P(opennebula.elastichosts.one_eh_driver#role) uses it.
options:
  one_location:
    description: The folder of a self-contained installation (C(ONE_LOCATION)). Empty for a system-wide one.
    type: str
    default: ""
  release:
    description: The release, if it is not to be asked of C(oned -v) and C(remotes/VERSION).
    type: str
    default: ""
  owner:
    description:
      - The user that runs OpenNebula. Empty means V(oneadmin), or whom a self-contained installation belongs to.
    type: str
    default: ""
  python:
    description:
      - The interpreter of the drivers, as a path.
      - V(system) takes the first in C(PATH) that fits, or else the one that Ansible itself uses on the host.
    type: str
    default: system
extends_documentation_fragment:
  - opennebula.elastichosts.attributes
  - opennebula.elastichosts.attributes.info_module
"""

EXAMPLES = r"""
- name: Look at a self-contained installation
  opennebula.elastichosts.front_end_info:
    one_location: /srv/cloud/one
  register: front_end

- name: Show its release
  ansible.builtin.debug:
    msg: "{{ front_end.release }}"
"""

RETURN = r"""
folders:
  description: The folders of the installation, by their names in the OpenNebula documentation.
  returned: success
  type: dict
  sample: {mads: /usr/lib/one/mads, etc: /etc/one, var: /var/lib/one, log: /var/log/one, python: /usr/lib/one/python}
release:
  description: The release, empty when nothing tells it.
  returned: success
  type: str
  sample: 7.4.0
owner:
  description: The user that runs OpenNebula.
  returned: success
  type: str
  sample: oneadmin
group:
  description: The group of that user.
  returned: success
  type: str
  sample: oneadmin
python:
  description: The interpreter for the drivers, empty when there is none.
  returned: success
  type: str
  sample: /usr/bin/python3
settings:
  description: What C(vmm_ehrc) and C(im_ehrc) say, without the key of the account.
  returned: success
  type: dict
  sample: {EHURI: https://api-lon-p.elastichosts.com, EHCLOUD: 3f9c1b2a70de}
auth_is_set:
  description: Whether C(vmm_ehrc) holds the key of an account.
  returned: success
  type: bool
problems:
  description: One sentence for each thing that stands in the way, empty where nothing does.
  returned: success
  type: dict
  sample: {installation: "", folders: "", configuration: "", owner: "", release: "", python: "", settings: ""}
sections:
  description: The sections of the ElasticHosts drivers in C(oned.conf) and C(monitord.conf), by file.
  returned: success
  type: list
  elements: dict
  sample: [{file: oned.conf, kind: VM_MAD, name: vmm_eh}]
"""

import grp
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.bursting.settings import parse_rc
from ..module_utils.opennebula import conf
from ..module_utils.opennebula.layout import Layout, layout

ARGUMENTS = {
    "one_location": {"type": "str", "default": ""},
    "release": {"type": "str", "default": ""},
    "owner": {"type": "str", "default": ""},
    "python": {"type": "str", "default": "system"},
}

# opennebula-drivers 1.7: 2.0 to 5.x print a line of copyright before it.
RELEASE_OF_ONED = re.compile(r"OpenNebula (\d+(?:\.\d+)+)")
RELEASE = re.compile(r"\d+(?:\.\d+)+")
INTERPRETERS = ("python3", *(f"python3.{minor}" for minor in range(14, 8, -1)), "/usr/bin/python3")
FITS = (
    "import sys, requests, ssl, zlib, xml.etree.ElementTree; "
    "print(sys.executable if sys.version_info >= (3, 9) else str())"
)
COMMAND_SECONDS = 20
# Files that may hold them, sections of the drivers, and since when the core does not start without the file.
CONFIGURATION = (("oned.conf", (2, 0)), ("monitord.conf", (5, 12)))
SECTIONS = (("IM_MAD", "im_eh"), ("VM_MAD", "vmm_eh"))
UNTOLD = frozenset({"EHAUTH"})

Finding = Tuple[str, str]  # what was found, what is the problem with it


def output_of(*command: str) -> str:
    """What a program prints, empty when it cannot be run or fails."""
    try:
        done = subprocess.run(  # noqa: S603 (programs of the installation itself)
            command, capture_output=True, timeout=COMMAND_SECONDS, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def installation_problem(one_location: str, folders: Layout) -> str:
    if one_location and not one_location.startswith("/"):
        return f"one_location is {one_location}, which is no absolute path: give the folder as ONE_LOCATION has it."
    missing = next((folder for folder in (folders.mads, folders.etc) if not Path(folder).is_dir()), None)
    if missing is None:
        return ""
    if one_location:
        return f"There is no OpenNebula in {one_location}: the folder {missing} does not exist. Correct one_location."
    return (
        f"There is no system-wide OpenNebula here: the folder {missing} does not exist. Set one_location to the folder"
        " of a self-contained installation, or run this on the front-end."
    )


def folders_problem(folders: Layout) -> str:
    """The drivers are put into these folders; without the right to write there, nothing is to be begun."""
    library = Path(folders.python)
    wanted = [Path(folders.mads), Path(folders.etc), library if library.exists() else library.parent]
    wanted += [folder for folder in (Path(folders.etc, "vmm_eh"), Path(folders.etc, "im_eh")) if folder.exists()]
    closed = [str(folder) for folder in wanted if not os.access(folder, os.W_OK | os.X_OK)]
    if not closed:
        return ""
    return (
        f"The folder {closed[0]} is not writable for the user {user_name(os.geteuid())}: run the play as its owner or"
        " as root (become)."
    )


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def owner_of(wanted: str, one_location: str, folders: Layout) -> Tuple[str, str, str]:
    """User, group and problem. A self-contained installation belongs to whom its files belong to."""
    if one_location and not wanted:
        try:
            status = Path(folders.etc).stat()
        except OSError:
            return "", "", ""
        return user_name(status.st_uid), group_name(status.st_gid), ""
    name = wanted or "oneadmin"
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return name, "", f"There is no user {name}, who is to run OpenNebula: set the owner."
    return name, group_name(entry.pw_gid), ""


def release_of(wanted: str, one_location: str, folders: Layout) -> Finding:
    if wanted:
        fits = RELEASE.fullmatch(wanted)
        return wanted, "" if fits else f"The release {wanted} is no release: give it as numbers, for example 7.4."
    program = f"{one_location.rstrip('/')}/bin/oned" if one_location else "/usr/bin/oned"
    found = RELEASE_OF_ONED.search(output_of(program, "-v"))
    if found:
        return found.group(1), ""
    version = Path(folders.remotes, "VERSION")
    try:
        text = version.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        text = ""
    if RELEASE.match(text):
        return text, ""
    return "", f"The release of OpenNebula is unknown: neither {program} -v nor {version} tells it. Set the release."


def sections_of(folders: Layout, release: str) -> Tuple[List[Dict[str, str]], str]:
    """The sections of the drivers that stand already, and what keeps the files from being edited."""
    numbers = tuple(int(number) for number in release.split(".")) if RELEASE.fullmatch(release) else (0,)
    sections: List[Dict[str, str]] = []
    for name, since in CONFIGURATION:
        path = Path(folders.etc, name)
        if not path.exists() and numbers < since:
            continue
        try:
            document = conf.parse(conf.decode(path.read_bytes()))
            found = [(kind, name_) for kind, name_ in SECTIONS if document.section(kind, name_)]
        except OSError as problem:
            return sections, f"{path} cannot be read: {problem.strerror}."
        except conf.ConfError as problem:
            return sections, f"{path}: {problem}."
        sections += [{"file": name, "kind": kind, "name": name_} for kind, name_ in found]
    return sections, ""


def interpreter_of(wanted: str) -> Finding:
    candidates = (*INTERPRETERS, sys.executable) if wanted == "system" else (wanted,)
    for candidate in candidates:
        path = output_of(candidate, "-c", FITS).strip()
        if path:
            return path, ""
    where = "in PATH" if wanted == "system" else f"at {wanted}"
    return "", (
        f"There is no Python 3.9 or later with the package requests {where}: install python3-requests, or set the"
        " interpreter to one that has it."
    )


def settings_of(folders: Layout) -> Tuple[Dict[str, str], str]:
    values: Dict[str, str] = {}
    for driver in ("vmm_eh", "im_eh"):
        path = Path(folders.etc, driver, f"{driver}rc")
        try:
            values.update(parse_rc(path.read_text(encoding="utf-8", errors="surrogateescape")))
        except FileNotFoundError:
            continue
        except OSError as problem:
            return values, f"{path} cannot be read ({problem.strerror}): run the play as its owner or as root (become)."
    return values, ""


def look(params: Mapping[str, Any]) -> Dict[str, Any]:
    one_location = params["one_location"]
    folders = layout(one_location)
    owner, group, owner_problem = owner_of(params["owner"], one_location, folders)
    release, release_problem = release_of(params["release"], one_location, folders)
    python, python_problem = interpreter_of(params["python"])
    settings, settings_problem = settings_of(folders)
    missing = installation_problem(one_location, folders)
    sections, configuration_problem = sections_of(folders, release)
    # The order of these is the order in which they are worth telling.
    problems: Dict[str, str] = {
        "installation": missing,
        "folders": "" if missing else folders_problem(folders),
        "configuration": "" if missing else configuration_problem,
        "owner": owner_problem,
        "release": release_problem,
        "python": python_problem,
        "settings": settings_problem,
    }
    names: List[str] = ["mads", "etc", "var", "log", "python", "remotes"]
    return {
        "folders": {name: getattr(folders, name) for name in names},
        "release": release,
        "owner": owner,
        "group": group,
        "python": python,
        "settings": {name: value for name, value in settings.items() if name not in UNTOLD},
        "auth_is_set": bool(settings.get("EHAUTH")),
        "sections": sections,
        "problems": problems,
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    module.exit_json(changed=False, **look(module.params))


if __name__ == "__main__":
    main()
