# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the collection's playbooks with ansible-playbook."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.front_ends import FrontEnd
from tests.support.collection import COLLECTIONS
from tests.support.endpoint import Endpoint

Variables = Mapping[str, object]


class Played(NamedTuple):
    """The output of ansible-playbook."""

    output: str

    def changed(self, host: str) -> int:
        return self.recap(host)["changed"]

    def failed(self, host: str) -> int:
        return self.recap(host)["failed"]

    def recap(self, host: str) -> dict[str, int]:
        line = next((line for line in self.output.splitlines() if re.match(rf"{host}\s*:.*changed=", line)), "")
        assert line, self.output
        return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}

    def message(self, host: str) -> str:
        """Return the error message of the failed task."""
        found = re.search(rf"^(?:fatal|failed): \[{host}\].*? => (?=\{{)", self.output, re.MULTILINE)
        assert found, self.output
        result, _end = json.JSONDecoder().raw_decode(self.output, found.end())
        message: str = result["msg"]
        return message


class Controller:
    """Runs playbooks of the collection on an inventory in a folder.

    secret: text that no output may contain. environment: variables to add or replace.
    """

    def __init__(self, folder: Path, secret: str, **environment: str) -> None:
        self.inventory = folder / "hosts.json"
        self._secret = secret
        self._environment = environment

    def hosts(self, hosts: Mapping[str, Variables], common: Variables) -> None:
        """Write the inventory: hosts with their own variables, and the variables of all hosts."""
        self.inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": common}}))

    def play(self, playbook: str, *options: str) -> Played:
        command, environment = self._command(playbook, *options)
        done = subprocess.run(
            command,
            cwd=self.inventory.parent,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        played = Played(done.stdout + done.stderr)
        assert self._secret not in played.output
        return played

    def begin(self, playbook: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a play that the caller will interrupt; its output is discarded."""
        command, environment = self._command(playbook, *options)
        return subprocess.Popen(
            command, cwd=self.inventory.parent, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def _command(self, playbook: str, *options: str) -> tuple[list[str], dict[str, str]]:
        environment = {name: value for name, value in os.environ.items() if name not in ("EHURI", "EHAUTH")}
        environment.update(
            ANSIBLE_COLLECTIONS_PATH=str(COLLECTIONS),
            ANSIBLE_PIPELINING="1",
            ANSIBLE_FORKS="6",
            ANSIBLE_NOCOLOR="1",
            ANSIBLE_CALLBACK_RESULT_FORMAT="json",
            LC_ALL="C.UTF-8",
        )
        environment.update(self._environment)
        program = str(Path(sys.executable).parent / "ansible-playbook")
        return [program, "-i", str(self.inventory), f"opennebula.elastichosts.{playbook}", *options], environment


class Plays(Controller):
    """A controller of stand-in front-ends.

    :param hosts: front-ends by inventory name
    :param special: further variables of single hosts
    """

    def __init__(
        self,
        folder: Path,
        cloud: Endpoint,
        hosts: Mapping[str, FrontEnd],
        special: Mapping[str, Variables] | None = None,
    ) -> None:
        super().__init__(folder, cloud.key)
        own = {name: {**front_end.variables, **(special or {}).get(name, {})} for name, front_end in hosts.items()}
        common = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "one_eh_driver_python": sys.executable,
            "one_eh_driver_endpoint": cloud.url,
            "one_eh_driver_auth": cloud.auth,
        }
        self.hosts(own, common)
