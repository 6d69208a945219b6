# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs ansible-test on this clone, wherever it lies, without leaving traces outside of it.

    python tests/tools/run_ansible_test.py sanity
    python tests/tools/run_ansible_test.py integration server drive

ansible-test insists on a path that ends in ansible_collections/NAMESPACE/NAME (a symbolic link does not count), so the
clone is copied to one below .cache first: what git tracks plus what it would track. It also bootstraps pip from a
server of its own, which closed networks do not reach: the very version it asks for is fetched with pip instead and left
where ansible-test looks for it. Its virtual environments go to a home folder below .cache.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache"
HOME = CACHE / "home"
STAGE = CACHE / "stage" / "ansible_collections" / "opennebula" / "elastichosts"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
GET_PIP = """\
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), {wheel!r}))
from pip._internal.cli.main import main

sys.exit(main(["install"] + [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]))
"""


def stage() -> None:
    """Copy the clone to STAGE; files that have not changed are left alone, so that caches beside them stay true."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True
    ).stdout.decode()
    wanted = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    for old in [path for path in _staged() if path.is_file() or path.is_symlink()]:
        if str(old.relative_to(STAGE)) not in wanted:
            old.unlink()
    for name in sorted(wanted):
        source, target = ROOT / name, STAGE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != source.read_bytes():
            shutil.copy2(source, target)
        target.chmod(source.stat().st_mode & 0o777)
    for folder in sorted((path for path in _staged() if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    # ansible-test asks git which files there are; without this it finds the clone's git, which ignores .cache
    subprocess.run(["git", "init", "--quiet", str(STAGE)], check=True)


def _staged() -> list[Path]:
    """What is there of the clone: not git's own, and not what another ansible-test may be writing at this moment."""
    others = (STAGE / ".git", STAGE / "tests" / "output")
    found: list[Path] = []
    for folder, folders, files in os.walk(STAGE):
        folders[:] = [name for name in folders if Path(folder, name) not in others]
        found += [Path(folder, name) for name in (*folders, *files)]
    return found


def prime_pip() -> None:
    """Put the pip that ansible-test wants for its virtual environments where it looks for one."""
    package = find_spec("ansible_test")
    assert package is not None, "ansible-test is not installed in this Python"
    assert package.submodule_search_locations is not None
    source = Path(package.submodule_search_locations[0]) / "_internal" / "python_requirements.py"
    found = re.search(r"\bpip='([0-9.]+)'", source.read_text())
    if found is None:
        sys.exit(f"cannot see in {source} which pip ansible-test wants")
    version = found.group(1)
    cache = HOME / ".ansible" / "test" / "cache"
    script = cache / f"get_pip_{version.replace('.', '_')}.py"
    if script.exists():
        return
    cache.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", f"pip=={version}", "--no-deps", "-d", str(cache)], check=True
    )
    script.write_text(GET_PIP.format(wheel=f"pip-{version}-py3-none-any.whl"))


def keep_pip_settings() -> None:
    """A user's own pip settings (an index behind a wall, say) go on holding under the other home folder."""
    for name in (".config/pip", ".pip"):
        real, link = Path.home() / name, HOME / name
        if real.is_dir() and not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(real)


def run(command: str, arguments: list[str]) -> int:
    options = ["--python", PYTHON]
    if command == "integration":
        options += ["--local", "--diff"]
    environment = {
        **os.environ,
        "HOME": str(HOME),
        # shellcheck and friends of this virtual environment, not whatever else the machine has
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }
    program = str(Path(sys.executable).parent / "ansible-test")
    return subprocess.run([program, command, *options, *arguments], cwd=STAGE, env=environment, check=False).returncode


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__)
        return 2
    # sanity and integration may begin at the same time; the second finds all in place
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "stage.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stage()
        prime_pip()
        keep_pip_settings()
    return run(arguments[0], arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
