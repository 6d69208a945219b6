# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ansible programs of this virtual environment, run as a user runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent


class Programs:
    """Runs programs in the scratch folder; all that Ansible writes goes there, too."""

    def __init__(self, scratch: Path, collections: Path, environment: Mapping[str, str]) -> None:
        self.scratch = scratch
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "EH"))},
            **environment,
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "ANSIBLE_HOME": str(scratch / "ansible"),
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False",
            "ANSIBLE_DEPRECATION_WARNINGS": "False",
            "ANSIBLE_NOCOLOR": "1",
            # Python of this virtual environment also for the modules: it has requests
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "PATH": os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)]),
        }

    def run(self, program: str, *arguments: str) -> str:
        """The program's output. Raises CalledProcessError when it fails."""
        return subprocess.run(
            [str(BIN / program), *arguments],
            cwd=self.scratch,
            env=self.environment,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=300,
        ).stdout

    def play(self, playbook: str, **variables: Any) -> tuple[int, str]:
        """`changed=` of a playbook of the collection on this machine, and all that it printed."""
        changed, output = self.play_on({"localhost": variables}, playbook)
        return changed["localhost"], output

    def play_on(self, hosts: Mapping[str, Mapping[str, Any]], playbook: str) -> tuple[dict[str, int], str]:
        """The same with several hosts, each with variables of its own; all of them are this machine."""
        inventory = self.scratch / "hosts.json"
        inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
        output = self.run(
            "ansible-playbook", "-i", str(inventory), "-c", "local", f"opennebula.elastichosts.{playbook}"
        )
        recap = output[output.index("PLAY RECAP") :]
        return {
            name: int(changed) for name, changed in re.findall(r"^(\S+)\s*:.*changed=(\d+)", recap, re.MULTILINE)
        }, output
