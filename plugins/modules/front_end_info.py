# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: front_end_info
short_description: Look at an OpenNebula installation (internal to the role one_eh_driver)
version_added: 0.1.0
author: The opennebula.elastichosts authors (@opennebula)
description:
  - Finds the folders, release, owner and service of an OpenNebula installation, an interpreter that can run the
    drivers, and the settings that the drivers have already. Tries the accounts of ElasticHosts.
  - It never fails because of what it finds. What stands in the way of the drivers is in RV(problems).
  - This module is internal to the role P(opennebula.elastichosts.one_eh_driver#role); its options can change in every
    release.
requirements:
  - python >= 3.9
options:
  one_location:
    description:
      - The folder of a self-contained installation (C(ONE_LOCATION)).
      - Empty means a system-wide one where there is one, else what C(ONE_LOCATION) says in the environment of this task
        or of the core that runs.
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
      - V(system), or nothing, takes the first in C(PATH) that fits, or else the one that Ansible itself uses on the
        host.
      - V(venv) is a virtual environment beside the drivers. RV(venv_base) tells what to make it with if it is missing.
    type: str
    default: system
  service:
    description: How OpenNebula is started, if it is not to be found out.
    type: str
    choices: [auto, systemd, sysv, one, none]
    default: auto
  service_name:
    description: The name of the unit or init script.
    type: str
    default: opennebula
  endpoint:
    description: The address of the API. Empty means what C(vmm_ehrc) says.
    type: str
    default: ""
  auth:
    description: The account, as V(<user uuid>:<secret API key>). Empty means what C(vmm_ehrc) says.
    type: str
    default: ""
  zones:
    description:
      - OpenNebula hosts with an endpoint or account of their own. What is not given is taken from the file of the host,
        then from O(endpoint) and O(auth).
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
        default: ""
      auth:
        description: The account.
        type: str
        default: ""
  ask:
    description:
      - What to ask the accounts. With V(form) they are only looked at, with V(access) each is tried with one harmless
        call.
      - With V(servers) they, and those of all hosts that have a file of their own, are asked which servers belong to
        this OpenNebula cloud.
    type: str
    choices: [nothing, form, access, servers]
    default: nothing
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
one_location:
  description: The folder of the self-contained installation, empty for a system-wide one.
  returned: success
  type: str
  sample: /srv/cloud/one
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
  description: The settings in C(vmm_ehrc) and C(im_ehrc), without the key of the account.
  returned: success
  type: dict
  sample: {EHURI: https://eh.example.org, EHCLOUD: 3f9c1b2a70de}
settings_files:
  description: The settings in each file, by its path below C(folders.etc), without the keys of accounts.
  returned: success
  type: dict
  sample: {vmm_eh/vmm_ehrc: {EHURI: https://eh.example.org, EHCLOUD: 3f9c1b2a70de}}
other_keys:
  description: The files of settings that are missing or hold another account than the one that is given for them.
  returned: success
  type: list
  elements: str
  sample: [vmm_eh/vmm_ehrc]
problems:
  description: One sentence for each thing that stands in the way, empty where nothing does.
  returned: success
  type: dict
  sample:
    installation: ""
    folders: ""
    configuration: ""
    owner: ""
    release: ""
    python: ""
    settings: ""
    account: ""
account_tried:
  description: Whether the accounts were tried. They are not when nothing here has the package C(requests) yet.
  returned: success
  type: bool
servers:
  description:
    - The servers at ElasticHosts that belong to this OpenNebula cloud and whose VM it has, or may have when it cannot
      be asked. Each with its UUID, its VM and whether it runs.
  returned: success
  type: list
  elements: str
  sample: ["6f0d7a52-3c58-4f0e-9a61-1b2c3d4e5f60 (VM 7, runs)"]
leftovers:
  description: Those whose VM has ended, which the VM driver destroys within some minutes, or is not known.
  returned: success
  type: list
  elements: str
  sample: ["0b9c8d7e-6f5a-4b3c-8d2e-1f0a9b8c7d6e (VM 5, stopped)"]
venv_base:
  description: The interpreter to make the virtual environment with, empty when it is there or not asked for.
  returned: success
  type: str
  sample: /usr/bin/python3
service:
  description: How OpenNebula is started on this machine.
  returned: success
  type: str
  sample: systemd
running:
  description: Whether OpenNebula is running.
  returned: success
  type: bool
start_problem:
  description:
    - Why an OpenNebula that runs would not start again after a stop, as far as that can be seen without one. Empty
      where nothing stands in the way, or where it does not run.
  returned: success
  type: str
  sample: ""
restart_due:
  description:
    - Whether OpenNebula has to be restarted, because it runs with other sections or older programs of the drivers than
      there are, for example after an installation that was broken off. Told by the dump of its configuration
      (C(var/config)), which it writes when it starts.
  returned: success
  type: bool
  sample: false
commands:
  description: Whether the front-end's command line (C(onehost)) is there.
  returned: success
  type: bool
scheduler_file:
  description: The file with the limits of the scheduler, empty when this release has none.
  returned: success
  type: str
  sample: sched.conf
sections:
  description: The sections of the ElasticHosts drivers in C(oned.conf) and C(monitord.conf), by file.
  returned: success
  type: list
  elements: dict
  sample: [{file: oned.conf, kind: VM_MAD, name: vmm_eh}]
"""

import os
import pwd
import re
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.atomic_files import check_kind
from ..module_utils.front_end import FrontEnd, group_name, location, user_name
from ..module_utils.front_end_accounts import accounts, sorted_out, zones_of
from ..module_utils.front_end_python import interpreter_of, output_of
from ..module_utils.front_end_service import Service
from ..module_utils.front_end_settings import (
    HOSTS,
    other_keys,
    public_settings,
    settings_files,
    shell_warnings,
    unreadable,
)
from ..module_utils.opennebula import conf
from ..module_utils.opennebula.layout import Layout, layout

ARGUMENTS = {
    "one_location": {"type": "str", "default": ""},
    "release": {"type": "str", "default": ""},
    "owner": {"type": "str", "default": ""},
    "python": {"type": "str", "default": "system"},
    "service": {"type": "str", "choices": ["auto", "systemd", "sysv", "one", "none"], "default": "auto"},
    "service_name": {"type": "str", "default": "opennebula"},
    "endpoint": {"type": "str", "default": ""},
    "auth": {"type": "str", "default": "", "no_log": True},
    "zones": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "endpoint": {"type": "str", "default": ""},
            "auth": {"type": "str", "default": "", "no_log": True},
        },
    },
    "ask": {"type": "str", "choices": ["nothing", "form", "access", "servers"], "default": "nothing"},
}

# opennebula-drivers 1.7: 2.0 to 5.x print a line of copyright before it.
RELEASE_OF_ONED = re.compile(r"OpenNebula (\d+(?:\.\d+)+)")
RELEASE = re.compile(r"\d+(?:\.\d+)+")
# Files that may hold them, sections of the drivers, and since when the core does not start without the file.
CONFIGURATION = (("oned.conf", (2, 0)), ("monitord.conf", (5, 12)))
SECTIONS = (("IM_MAD", "im_eh"), ("VM_MAD", "vmm_eh"))
VM_MAD = b"vmm_eh"
SCHEDULER_IN_CORE = (7, 0)

Finding = Tuple[str, str]  # what was found, what is the problem with it


def installation_problem(one_location: str, folders: Layout) -> str:
    if one_location and not one_location.startswith("/"):
        return f"one_location is {one_location}, which is no absolute path: give the folder as ONE_LOCATION has it."
    missing = next((folder for folder in (folders.mads, folders.etc) if not Path(folder).is_dir()), None)
    if missing is None:
        return ""
    if one_location:
        return (
            f"There is no OpenNebula in {one_location}: the folder {missing} does not exist. Correct"
            " one_eh_driver_one_location."
        )
    return (
        f"There is no system-wide OpenNebula here: the folder {missing} does not exist. Set"
        " one_eh_driver_one_location to the folder of a self-contained installation, or run this on the front-end."
    )


def folders_problem(folders: Layout) -> str:
    """The drivers are put into these folders; without the right to write there, nothing is to be begun."""
    library = Path(folders.python)
    wanted = [Path(folders.mads), Path(folders.etc), library if library.exists() else library.parent]
    wanted += [folder for folder in (Path(folders.etc, "vmm_eh"), Path(folders.etc, "im_eh")) if folder.exists()]
    files = [str(folder) for folder in wanted if folder.exists() and not folder.is_dir()]
    if files:
        return f"{files[0]} has to be a folder, but is none: move it away."
    closed = [str(folder) for folder in wanted if not os.access(folder, os.W_OK | os.X_OK)]
    if not closed:
        return ""
    return (
        f"The folder {closed[0]} is not writable for the user {user_name(os.geteuid())}: run the play as its owner or"
        " as root (become)."
    )


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
        return name, "", f"There is no user {name}, who is to run OpenNebula: set one_eh_driver_owner."
    return name, group_name(entry.pw_gid), ""


def release_of(wanted: str, one_location: str, folders: Layout) -> Finding:
    if wanted and not RELEASE.fullmatch(wanted):
        return "", f"The release {wanted} is no release: give one_eh_driver_release as numbers, for example 7.4."
    if wanted:
        return wanted, ""
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
    return (
        "",
        f"The release of OpenNebula is unknown: neither {program} -v nor {version} tells it. Set"
        " one_eh_driver_release.",
    )


def numbers_of(release: str) -> Tuple[int, ...]:
    return tuple(int(number) for number in release.split(".")) if RELEASE.fullmatch(release) else (0,)


def scheduler_file(folders: Layout, release: str) -> str:
    """Where the scheduler's limits are; in 2.x they are arguments of a script, and no file has them."""
    if numbers_of(release) >= SCHEDULER_IN_CORE:
        return "oned.conf"
    return "sched.conf" if Path(folders.etc, "sched.conf").exists() else ""


def sections_of(folders: Layout, release: str) -> Tuple[List[Dict[str, str]], str]:
    """The sections of the drivers that stand already, and what keeps the files from being edited."""
    numbers = numbers_of(release)
    sections: List[Dict[str, str]] = []
    for name, since in CONFIGURATION:
        path = Path(folders.etc, name)
        if not path.exists() and numbers < since:
            continue
        try:
            check_kind(path)
            document = conf.parse(conf.decode(path.read_bytes()))
            found = [(kind, name_) for kind, name_ in SECTIONS if document.section(kind, name_)]
        except OSError as problem:
            return sections, unreadable(problem)
        except conf.ConfError as problem:
            return sections, f"{path}: {problem}."
        sections += [{"file": name, "kind": kind, "name": name_} for kind, name_ in found]
    return sections, ""


def restart_problem(service: Service) -> str:
    """Why OpenNebula must not be stopped, as a sentence for whoever runs the role; empty where it may be."""
    what = service.start_problem() if service.kind != "none" else ""
    if not what:
        return ""
    return (
        f"OpenNebula would not start again after a restart: {what}. Put that right, or set one_eh_driver_restart to"
        " false."
    )


def restart_due(folders: Layout, sections: List[Dict[str, str]]) -> bool:
    """Whether the core that runs was started before the drivers became what they are (opennebula-drivers 1.2)."""
    dump = Path(folders.var, "config")
    try:
        started, loaded = dump.stat().st_mtime, VM_MAD in dump.read_bytes()
    except OSError:
        return False
    stands = any(section["kind"] == "VM_MAD" for section in sections)
    programs = [Path(folders.mads, "one_vmm_eh"), Path(folders.mads, "one_im_eh"), Path(folders.python, "one_eh")]
    newer = any(path.exists() and path.stat().st_ctime > started for path in programs)
    return loaded != stands or (stands and newer)


def look(params: Mapping[str, Any], scratch: str) -> Dict[str, Any]:
    one_location = location(params["one_location"])
    folders = layout(one_location)
    owner, group, owner_problem = owner_of(params["owner"], one_location, folders)
    release, release_problem = release_of(params["release"], one_location, folders)
    python, venv_base, python_problem = interpreter_of(params["python"], folders)
    files, settings_problem = settings_files(folders)
    settings = {**files.get("vmm_eh/vmm_ehrc", {}), **files.get("im_eh/im_ehrc", {})}
    of_hosts = {Path(path).name[: -len("rc")]: said for path, said in files.items() if path.startswith(HOSTS)}
    missing = installation_problem(one_location, folders)
    sections, configuration_problem = sections_of(folders, release)
    zones = zones_of(params, settings, of_hosts)
    usable = "" if venv_base else python
    found = accounts(zones, params["ask"], settings.get("EHCLOUD", ""), usable, scratch)
    front_end = FrontEnd(one_location, owner)
    service = Service(front_end, params["service"], params["service_name"])
    running = service.runs()
    kept, leftovers = sorted_out(front_end, found["servers"])
    # The order of these is the order in which they are worth telling.
    problems: Dict[str, str] = {
        "installation": missing,
        "folders": "" if missing else folders_problem(folders),
        "configuration": "" if missing else configuration_problem,
        "owner": owner_problem,
        "release": release_problem,
        "python": python_problem,
        "settings": settings_problem,
        "account": found["problem"],
    }
    names: List[str] = ["mads", "etc", "var", "log", "python", "remotes"]
    return {
        "one_location": one_location,
        "folders": {name: getattr(folders, name) for name in names},
        "release": release,
        "owner": owner,
        "group": group,
        "python": python,
        "venv_base": venv_base,
        "settings": public_settings(settings),
        "settings_files": {path: public_settings(said) for path, said in files.items()},
        "other_keys": other_keys(params, files),
        "account_tried": found["tried"],
        "servers": kept,
        "leftovers": leftovers,
        "sections": sections,
        "service": service.kind,
        "running": running,
        "start_problem": restart_problem(service) if running else "",
        "restart_due": running and restart_due(folders, sections),
        "commands": front_end.has("onehost"),
        "scheduler_file": scheduler_file(folders, release),
        "problems": problems,
        "warnings": shell_warnings(folders, files),
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    found = look(module.params, module.tmpdir)
    for warning in found.pop("warnings"):
        module.warn(warning)
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
