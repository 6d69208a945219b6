# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads inventory files as ansible-playbook does, and prints what it then knows, as plain JSON.

    python parse.py [--refresh] FILE...

`--refresh` reads them a second time, as `meta: refresh_inventory` does.
"""

from __future__ import annotations

import json
import sys

from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader


def main(arguments: list[str]) -> None:
    init_plugin_loader()
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
