# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Front-ends with the folders of OpenNebula's packages, and stand-ins for its programs that behave as in a release.

The folders are real, and the stand-ins are real programs, which the role starts and which record their calls. A
system-wide installation also has its real paths (/etc/one, /usr/lib/one, ...), in a separate mount namespace, so that
the machine is not changed and the role needs no option for it.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLES = ROOT / "tests" / "samples"
STAND_IN = Path(__file__).resolve().parent / "stand_in.py"
RELEASES = {"2.0": "2.0.1", "3.8": "3.8.5", "5.10": "5.10.5", "5.12": "5.12.12", "6.10": "6.10.0", "7.4": "7.4.0"}
STOCK_DRIVERS = ("one_im_ssh", "one_vmm_exec", "one_tm", "one_datastore")
SYSTEM_FOLDERS = {"bin": "usr/bin", "mads": "usr/lib/one/mads", "etc": "etc/one", "var": "var/lib/one"}
OWN_FOLDERS = {"bin": "bin", "mads": "lib/mads", "etc": "etc", "var": "var"}
OVERLAID = ("etc", "usr", "var", "run")
# ENTER ROOT OPENED COMMAND...: run COMMAND with the installation at its real paths, and without systemd if the
# installation has none. OPENED are folders that only root may enter, but another user needs to run this interpreter.
ENTER = """
set -e
for name in etc usr var run; do
    mount -t overlay overlay -o "lowerdir=/$name,upperdir=$1/$name,workdir=$1.work/$name" "/$name"
done
for name in $2; do
    mount -t overlay overlay -o "lowerdir=/$name,upperdir=$1.open/$name,workdir=$1.work/$name" "/$name"
done
if [ -d /run/systemd ] && [ ! -d "$1/run/systemd" ]; then
    mount -t tmpfs tmpfs /run/systemd
fi
shift 2
exec "$@"
"""
ONEADMIN = 9869


def version(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))


class FrontEnd:
    """An installation below ``root``, which is $ONE_LOCATION or, for a system-wide installation, the root folder.

    :param release: one of RELEASES
    :param init: of a system-wide installation: systemd or sysv
    :param running: whether OpenNebula runs at the beginning
    """

    def __init__(
        self,
        root: Path,
        release: str,
        *,
        system_wide: bool = False,
        init: str = "systemd",
        running: bool = True,
    ) -> None:
        self.root = root
        self.release = release
        self.system_wide = system_wide
        self.init = init if system_wide else "one"
        self.owner = ""
        self.state_folder = root.parent / f"{root.name}.state"
        self.folders = {name: root / path for name, path in (SYSTEM_FOLDERS if system_wide else OWN_FOLDERS).items()}
        for folder in (*self.folders.values(), self.state_folder):
            folder.mkdir(parents=True)
        self._lay_out()
        self._add_programs()
        shown = {name: f"/{path}" for name, path in SYSTEM_FOLDERS.items()}
        default = {"id": 0, "name": "default", "hosts": [], "datastores": [0]}
        self.write_state(
            {
                "release": RELEASES[release],
                "folders": shown if system_wide else {name: str(path) for name, path in self.folders.items()},
                "one_location": "" if system_wide else str(root),
                "running": running,
                "hosts": [],
                "clusters": [default] if version(release) >= (5, 0) else [],
                "datastores": [{"id": 0, "name": "system", "tm": "shared"}] if version(release) >= (3, 4) else [],
                "loaded": [],
                "transfer": [],
                "next": 100,
            }
        )
        if running:
            self._pid_file().write_text("1\n")
            (self.folders["var"] / "config").write_text("# dumped by a core of before\n")
        if system_wide:
            self._give_to_oneadmin()

    def _lay_out(self) -> None:
        for sample in (SAMPLES / self.release).glob("*.conf"):
            shutil.copy(sample, self.folders["etc"])
        for name in STOCK_DRIVERS:
            (self.folders["mads"] / name).write_text("#!/bin/sh\n")
        if version(self.release) >= (3, 4):
            (self.folders["var"] / "remotes/tm/dummy").mkdir(parents=True)
        if version(self.release) >= (7, 0):
            # The folder exists, though empty, in an installation from source.
            (self.folders["mads"].parent / "python").mkdir()
        if version(self.release) >= (4, 4):
            (self.folders["var"] / "remotes/VERSION").write_text(f"{RELEASES[self.release]}\n")
        if self.system_wide:
            (self.root / "var/log/one").mkdir(parents=True)
            (self.root / "run/one").mkdir(parents=True)
            if self.init == "systemd":
                (self.root / "run/systemd/system").mkdir(parents=True)
            for name in (*OVERLAID, *closed_folders()):
                (self.root.parent / f"{self.root.name}.work" / name).mkdir(parents=True)
            for name in closed_folders():
                (self.root.parent / f"{self.root.name}.open" / name).mkdir(parents=True, mode=0o755)

    def _add_programs(self) -> None:
        datastores = ["onedatastore"] if version(self.release) >= (3, 4) else []
        names = ["oned", "onehost", "onecluster", "onevm", *datastores]
        starters = {"systemd": "usr/bin/systemctl", "sysv": "etc/init.d/opennebula", "one": "bin/one"}
        for program in (*(self.folders["bin"] / name for name in names), self.root / starters[self.init]):
            program.parent.mkdir(exist_ok=True)
            name = program.name
            program.write_text(
                f'#!/bin/sh\nexec "{sys.executable}" -S -E "{STAND_IN}" {name} "{self.state_folder}" "$@"\n'
            )
            program.chmod(0o755)

    def _give_to_oneadmin(self) -> None:
        """Create the packages' user and its ownership of folders; make the state of the stand-ins writable for all."""
        self.owner = "oneadmin" if self._others_can_run() else "root"
        self.state_folder.chmod(0o777)
        (self.state_folder / "state.json").chmod(0o666)
        if self.owner == "root":
            return
        for name, line in (
            ("passwd", f"oneadmin:x:{ONEADMIN}:{ONEADMIN}::/var/lib/one:/bin/sh\n"),
            ("group", f"oneadmin:x:{ONEADMIN}:\n"),
        ):
            (self.root / "etc" / name).write_text(Path("/etc", name).read_text() + line)
        for top in ("var/lib/one", "var/log/one", "run/one"):
            for path in (self.root / top, *(self.root / top).rglob("*")):
                os.chown(path, ONEADMIN, ONEADMIN)

    def _pid_file(self) -> Path:
        return self.root / "run/one/oned.pid" if self.system_wide else self.folders["var"] / "oned.pid"

    def by_hand(self, *words: str) -> str:
        """Return the output of a program of OpenNebula, run in an administrator's environment as in the guides."""
        own = {"ONE_LOCATION": str(self.root), "RUBYLIB": f"{self.root}/lib/ruby"}
        command = [str(self.folders["bin"] / words[0]), *words[1:]]
        environment = {**os.environ, **own}
        return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    def upgrade(self, release: str) -> None:
        """Install the packages of a later release and start OpenNebula; the core's database is kept.

        The new configuration files contain nothing of the drivers; other files are not changed.
        """
        self.release = release
        for old in self.folders["etc"].glob("*.conf"):
            old.unlink()
        for sample in (SAMPLES / release).glob("*.conf"):
            shutil.copy(sample, self.folders["etc"])
        (self.folders["mads"].parent / "python").mkdir(exist_ok=True)
        (self.folders["var"] / "remotes/VERSION").write_text(f"{RELEASES[release]}\n")
        (self.folders["var"] / "config").write_text("# dumped by a core without the drivers\n")
        self.write_state({**self.state(), "release": RELEASES[release], "loaded": [], "transfer": ["shared", "ssh"]})

    # --- state and calls ------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state_folder / "state.json").read_text())
        return found

    def write_state(self, state: dict[str, Any]) -> None:
        (self.state_folder / "state.json").write_text(json.dumps(state))

    def calls(self) -> list[str]:
        """Return the commands that were run on the stand-ins, without those that only list or show, oldest first."""
        path = self.state_folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        commands = [json.loads(line)["argv"] for line in lines]
        queries = ("list", "show", "is-active", "status")
        return [" ".join(argv) for argv in commands if argv[0] != "oned" and argv[1] not in queries]

    def callers(self, program: str) -> set[int]:
        """Return the ids of the users that called a program."""
        calls = map(json.loads, (self.state_folder / "calls.jsonl").read_text().splitlines())
        return {call["user"] for call in calls if call["argv"][0] == program}

    def forget_calls(self) -> None:
        (self.state_folder / "calls.jsonl").unlink(missing_ok=True)

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Return (mode, bytes) of each file and folder by relative path, without the files that a start writes."""
        return {
            str(path.relative_to(self.root)): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
            for path in self.root.rglob("*")
            if path.name != "oned.pid" and path != self.folders["var"] / "config"
        }

    def owners(self) -> dict[str, tuple[int, int]]:
        """Return (user id, group id) of each file and folder by relative path."""
        return {
            str(path.relative_to(self.root)): (path.lstat().st_uid, path.lstat().st_gid)
            for path in self.root.rglob("*")
        }

    @property
    def variables(self) -> dict[str, str]:
        """The role's variables; for a system-wide installation with an interpreter that sees it at its real paths."""
        if not self.system_wide:
            return {"one_eh_driver_one_location": str(self.root)}
        interpreter = self.state_folder / "python"
        words = shlex.join([*self.enter(), sys.executable])
        interpreter.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        interpreter.chmod(0o755)
        own = {} if self.owner == "oneadmin" else {"one_eh_driver_owner": self.owner}
        return {"ansible_python_interpreter": str(interpreter), **own}

    def enter(self) -> list[str]:
        """Return the words to put before a command, so that it sees this installation at its real paths."""
        if not self.system_wide:
            return []
        own_users = [] if os.geteuid() == 0 else ["--map-root-user", "--user"]
        opened = " ".join(closed_folders())
        return ["unshare", "--mount", *own_users, "sh", "-c", ENTER, "enter", str(self.root), opened]

    def _others_can_run(self) -> bool:
        """Return whether this process may become another user who can run this interpreter and its packages."""
        become = f"import os, sys; os.setgroups([]); os.setgid({ONEADMIN}); os.setuid({ONEADMIN})"
        try_it = f"import requests; open({str(STAND_IN)!r})"
        command = [*self.enter(), sys.executable, "-c", f"{become}; os.execv(sys.argv[1], sys.argv[1:])"]
        command += [sys.executable, "-c", try_it]
        return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


def closed_folders() -> list[str]:
    """Return the top-level folders of the interpreter and the sources that only their owner may enter."""
    tops = {Path(place).parts[1] for place in (sys.base_prefix, sys.prefix, str(ROOT))}
    return sorted(top for top in tops - set(OVERLAID) if not Path("/", top).stat().st_mode & 0o001)


def namespaces_work(scratch: Path) -> bool:
    """Return whether mount namespaces with overlays work on this machine."""
    folders = [scratch / "try" / name for name in OVERLAID] + [scratch / "try.work" / name for name in OVERLAID]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    own_users = [] if os.geteuid() == 0 else ["--map-root-user", "--user"]
    command = ["unshare", "--mount", *own_users, "sh", "-c", ENTER, "enter", str(scratch / "try"), "", "true"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
