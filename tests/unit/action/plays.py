# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs tasks with ansible-playbook, in the controller or as modules, and reads their results back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from tests.support.collection import COLLECTIONS

Task = dict[str, Any]
Result = dict[str, Any]
PREFIX = "opennebula.elastichosts."
NO_INTERPRETER = "/no/such/python"
"""With this a module cannot run at all: what works all the same was done in the controller's process."""


VAULT_PASSWORD = "of the vault"


class Vault(str):
    """A text that the play holds encrypted, as `!vault`."""


class Dumper(yaml.SafeDumper):
    pass


def _encrypted(dumper: Dumper, text: Vault) -> yaml.Node:
    vault = VaultLib([("default", VaultSecret(VAULT_PASSWORD.encode()))])
    return dumper.represent_scalar("!vault", vault.encrypt(str(text)).decode(), style="|")


Dumper.add_representer(Vault, _encrypted)


class Play:
    """A play on localhost, in a folder of its own."""

    def __init__(self, folder: Path, **play: Any) -> None:
        self.folder = folder
        self.play = play
        self.output = ""

    def run(
        self, tasks: list[Task], *arguments: str, interpreter: str = NO_INTERPRETER, **variables: Any
    ) -> list[Result]:
        """The result of each task, in order; a task that fails does not end the play."""
        self.folder.mkdir(exist_ok=True)
        results = self.folder / "results.json"
        steps: list[Task] = []
        for number, task in enumerate(tasks):
            module, options = next((key, value) for key, value in task.items() if key.startswith(PREFIX))
            rest = {key: value for key, value in task.items() if key != module}
            steps.append({module: options, "register": f"result_{number}", "ignore_errors": True, **rest})
        everything = "{{ [" + ", ".join(f"result_{number}" for number in range(len(tasks))) + "] | to_json }}"
        steps.append(
            {
                "ansible.builtin.copy": {"content": everything, "dest": str(results), "mode": "0600"},
                "vars": {"ansible_python_interpreter": sys.executable},
                "check_mode": False,
                "no_log": True,
            }
        )
        book = self.folder / "play.yml"
        play = {"hosts": "localhost", "gather_facts": False, "vars": {"ansible_python_interpreter": interpreter}}
        book.write_text(yaml.dump([{**play, **self.play, "tasks": steps}], Dumper=Dumper))
        password = self.folder / "password"
        password.write_text(VAULT_PASSWORD)
        command = [str(Path(sys.executable).parent / "ansible-playbook"), str(book), "-e", json.dumps(variables)]
        command += ["--vault-password-file", str(password)]
        done = subprocess.run(
            [*command, *arguments],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith(("EH", "ANSIBLE_"))},
                "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
                "ANSIBLE_LOCALHOST_WARNING": "0",
                "ANSIBLE_PIPELINING": "1",
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_HOME": str(self.folder / "home"),
            },
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        self.output = done.stdout + done.stderr
        assert results.exists(), self.output
        found: list[Result] = json.loads(results.read_text())
        return found
