# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads inventory files as ansible-playbook does, and prints what it then knows, as plain JSON.

    python parse.py [--refresh] FILE...

`--refresh` reads them a second time, as `meta: refresh_inventory` does. `--each` reads each for itself and prints a
list of the errors.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys

from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader


def error_of(file: str) -> dict[str, str]:
    """What is said when the file cannot be read: ansible-core gives the reason as a warning, and then a short error."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            InventoryManager(loader=DataLoader(), sources=[file])
        except AnsibleError as error:
            said.write(str(error))
    return {"error": said.getvalue()}


def main(arguments: list[str]) -> None:
    init_plugin_loader()
    if "--each" in arguments:
        json.dump([error_of(file) for file in arguments if file != "--each"], sys.stdout)
        return
    files = [argument for argument in arguments if argument != "--refresh"]
    try:
        manager = InventoryManager(loader=DataLoader(), sources=files)
    except AnsibleError as error:
        sys.exit(str(error))
    if "--refresh" in arguments:
        manager.refresh_inventory()
    magic = ("inventory_hostname", "inventory_hostname_short", "inventory_file", "inventory_dir", "group_names")
    hosts = {
        host.name: {key: value for key, value in host.get_vars().items() if key not in magic}
        for host in manager.get_hosts()
    }
    groups = {name: sorted(host.name for host in group.get_hosts()) for name, group in manager.groups.items()}
    group_vars = {name: group.vars for name, group in manager.groups.items() if group.vars}
    json.dump({"hosts": hosts, "groups": groups, "group_vars": group_vars}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
