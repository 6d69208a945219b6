# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads inventory files in this process, with Ansible's own inventory manager, and returns the result as plain JSON."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import yaml
from ansible import constants
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader

PLUGIN = "opennebula.elastichosts.servers"
MAGIC = ("inventory_hostname", "inventory_hostname_short", "inventory_file", "inventory_dir", "group_names")


class Parsed(NamedTuple):
    """The inventory (`found`: hosts, groups, group_vars), or `error`; `said` is all that Ansible wrote to stderr.

    Ansible writes why a file cannot be read as a warning, and then raises a short error: `error` has both.
    """

    found: dict[str, Any]
    said: str
    error: str


def write(file: Path, **options: Any) -> Path:
    file.write_text(yaml.safe_dump({"plugin": PLUGIN, **options}))
    return file


def parse(*files: Path, environment: Mapping[str, str], refresh: bool = False) -> Parsed:
    """Read the files as ansible-playbook does; with `refresh` twice, as `meta: refresh_inventory` does."""
    stderr = io.StringIO()
    with _settings(environment), contextlib.redirect_stderr(stderr):
        try:
            manager = InventoryManager(loader=DataLoader(), sources=[str(file) for file in files])
            if refresh:
                manager.refresh_inventory()
        except AnsibleError as error:
            said = _one_line(stderr.getvalue())
            return Parsed({}, said, f"{said} {error}")
    return Parsed(as_json(manager), _one_line(stderr.getvalue()), "")


@contextlib.contextmanager
def _settings(environment: Mapping[str, str]) -> Iterator[None]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EH")}
    with (
        mock.patch.dict(os.environ, {**clean, **environment}, clear=True),
        mock.patch.object(constants, "INVENTORY_ANY_UNPARSED_IS_FAILED", True),
        mock.patch.object(constants, "ANSIBLE_NOCOLOR", True),
    ):
        yield


def _one_line(text: str) -> str:
    return " ".join(text.split())


def as_json(manager: InventoryManager) -> dict[str, Any]:
    found = {
        "hosts": {
            host.name: {key: value for key, value in host.get_vars().items() if key not in MAGIC}
            for host in manager.get_hosts()
        },
        "groups": {name: sorted(host.name for host in group.get_hosts()) for name, group in manager.groups.items()},
        "group_vars": {name: group.vars for name, group in manager.groups.items() if group.vars},
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain
