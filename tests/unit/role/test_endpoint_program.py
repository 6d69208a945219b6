# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role eh_endpoint installs the whole program, in the place of an older version with other files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.support.collection import COLLECTIONS
from tests.support.endpoint import ROOT, Endpoint

ROLE = ROOT / "roles" / "eh_endpoint"


def tree(folder: Path) -> dict[str, bytes]:
    """Return the files of a program by their paths in it, without what Python has compiled."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def install(folder: Path) -> str:
    """Run the role's task for the program with the role's own variables; only the folder is another one."""
    task = {
        "opennebula.elastichosts.program_files": {
            "trees": [{"path": str(folder / "opt" / "eh_endpoint"), "files": "{{ eh_endpoint__program }}"}]
        }
    }
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": sys.executable},
        "vars_files": [f"{ROLE}/vars/main.yml"],
        "tasks": [task],
    }
    (folder / "play.yml").write_text(json.dumps([play]))
    if not (folder / "files").exists():
        (folder / "files").symlink_to(ROLE / "files")
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local", "play.yml"]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_role_installs_every_file_of_the_program_and_removes_those_of_an_older_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "opt" / "eh_endpoint"
    for older in ("status_page.py", "pages/page.html", "api/older.py"):
        (program / older).parent.mkdir(parents=True, exist_ok=True)
        (program / older).write_text("# of an older version\n")
    assert "changed=1" in install(tmp_path)
    assert tree(program) == tree(ROLE / "files" / "eh_endpoint")
    assert {path.stat().st_mode & 0o777 for path in program.rglob("*") if path.is_dir()} == {0o755}
    assert "changed=0" in install(tmp_path)
    monkeypatch.setattr("tests.support.endpoint.SOURCES", program.parent)
    with Endpoint(tmp_path / "state") as endpoint:
        account = endpoint.user, endpoint.key
        assert f"Account {endpoint.user}" in requests.get(endpoint.url, auth=account, timeout=10).text
        assert requests.get(f"{endpoint.url}/status.css", auth=account, timeout=10).ok
