# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for systemctl where no systemd runs: it records its calls, and runs what the unit says as the unit's user.

The unit is read as systemd reads it as far as the role needs: quotation marks, `%%` and `$$` (systemd.service(5)).
usage: systemctl.py FOLDER WORDS...
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

UNITS = Path("/etc/systemd/system")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""of a unit"""


def main(folder: Path, words: list[str]) -> int:
    with (folder / "calls.jsonl").open("a") as file:
        file.write(json.dumps(words) + "\n")
    plain = [word for word in words if not word.startswith("--")]
    verb, unit = plain[0] if plain else "", plain[1].removesuffix(".service") if len(plain) > 1 else ""
    path = UNITS / f"{unit}.service"
    process, enabled = folder / f"{unit}.pid", folder / f"{unit}.enabled"
    if verb == "show":
        print(f"LoadState={'loaded' if path.exists() else 'not-found'}")
        print(f"ActiveState={'active' if _runs(process) else 'inactive'}")
    elif verb == "is-enabled":
        print("enabled" if enabled.exists() else "disabled")
        return 0 if enabled.exists() else 1
    elif verb == "enable":
        enabled.touch()
    elif verb == "disable":
        enabled.unlink()
    elif verb in ("start", "stop", "restart"):
        if verb != "start":
            _stop(process)
        if verb != "stop" and not _start(path, process, folder / f"{unit}.log"):
            print(f"Job for {unit}.service failed because the control process exited with error code.", file=sys.stderr)
            return 1
    elif verb != "daemon-reload":
        print(f"Unknown command verb {verb}.", file=sys.stderr)
        return 1
    return 0


def _runs(process: Path) -> bool:
    if not process.exists():
        return False
    stat = Path(f"/proc/{process.read_text()}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def _stop(process: Path) -> None:
    if _runs(process):
        os.kill(int(process.read_text()), signal.SIGTERM)
        while _runs(process):
            time.sleep(0.05)
    process.unlink(missing_ok=True)


def _start(unit: Path, process: Path, log: Path) -> bool:
    """Whether it says that it is ready before it ends, as units of Type=notify have to."""
    assert "Type=notify" in unit.read_text()
    settings = dict(re.findall(r"^(User|Environment|ExecStart)=(.*)$", unit.read_text(), re.MULTILINE))
    command = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(settings["ExecStart"])]
    environment = dict(pair.split("=", 1) for pair in shlex.split(settings["Environment"]))
    ready = log.with_suffix(".ready")
    ready.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hearing, log.open("ab") as file:
        hearing.bind(str(ready))
        hearing.settimeout(0.1)
        ready.chmod(0o666)
        started = subprocess.Popen(
            ["setpriv", "--reuid", settings["User"], "--regid", settings["User"], "--init-groups", "--", *command],
            env={"PATH": PATH, "NOTIFY_SOCKET": str(ready), **environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            umask=0o077,
            cwd="/",
        )
        process.write_text(str(started.pid))
        while started.poll() is None:
            with contextlib.suppress(TimeoutError):
                return hearing.recv(100) == b"READY=1"
    return False


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
