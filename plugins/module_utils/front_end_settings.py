# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings files of the drivers, as the role finds them on a front-end."""

from __future__ import annotations

import contextlib
import errno
import re
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

from .drivers.settings import (
    NAMES,
    SettingsError,
    account_in,
    parse_rc,
    read_file,
    shell_names,
    shell_sentence,
)
from .opennebula.layout import Layout

HOSTS = "vmm_eh/hosts"
HOST_FILE = re.compile(".+rc")


def settings_files(folders: Layout) -> Tuple[Dict[str, Dict[str, str]], str]:
    """Return the settings of each file, by its path below the folder of the configuration, and a problem as a sentence.

    Where EHAUTH_FILE is set, EHAUTH is the content of that file.
    """
    etc, hosts = Path(folders.etc), Path(folders.etc, HOSTS)
    paths = [etc / "vmm_eh/vmm_ehrc", etc / "im_eh/im_ehrc"]
    files: Dict[str, Dict[str, str]] = {}
    try:
        paths += sorted(path for path in (hosts.iterdir() if hosts.exists() else ()) if HOST_FILE.fullmatch(path.name))
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                said = files[str(path.relative_to(etc))] = parse_rc(read_file(str(path)))
                if said.get("EHAUTH_FILE") and not said.get("EHAUTH"):
                    said["EHAUTH"] = account_in(said["EHAUTH_FILE"], str(path))
    except OSError as problem:
        return files, unreadable(problem)
    except SettingsError as problem:
        return files, str(problem)
    return files, ""


def shell_warnings(folders: Layout, files: Mapping[str, Mapping[str, str]]) -> List[str]:
    """Return a sentence for each setting that only a shell could work out, as one did for drivers up to 1.0."""
    default = Path(folders.etc, "defaultrc")
    found = {**files}
    with contextlib.suppress(OSError):
        found["defaultrc"] = parse_rc(read_file(str(default)))
    return [shell_sentence(name, f"{folders.etc}/{path}") for path, said in found.items() for name in shell_names(said)]


def other_keys(params: Mapping[str, Any], files: Mapping[str, Mapping[str, str]]) -> List[str]:
    """Return the paths of settings files that do not hold the account which the play gives for them."""
    given = {"vmm_eh/vmm_ehrc": params["auth"]}
    given.update((f"{HOSTS}/{zone['name']}rc", zone["auth"]) for zone in params["zones"])
    return [path for path, auth in given.items() if auth and files.get(path, {}).get("EHAUTH") != auth]


def public_settings(settings: Mapping[str, str]) -> Dict[str, str]:
    """Return the settings of the drivers, without those of other programs and without the key of the account."""
    return {name: value for name, value in settings.items() if name in NAMES and name != "EHAUTH"}


def unreadable(problem: OSError) -> str:
    """Return a sentence about a file that cannot be read."""
    what_to_do = {
        errno.EACCES: "run the play as its owner or as root (become)",
        errno.ENOENT: "see whether one_eh_driver_one_location and one_eh_driver_release are right",
    }.get(problem.errno or 0, "put that right")
    return f"{problem.filename} cannot be read ({problem.strerror}): {what_to_do}."
