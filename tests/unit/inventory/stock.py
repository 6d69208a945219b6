# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The constructed options twice over the same hosts: as Ansible's own methods do them, and as this collection does.

Both are real inventory plugins over a real InventoryData, wrapped as ansible-core wraps it; only their hosts come from
the test in place of a cloud.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ansible._internal._datatag._tags import Origin
from ansible.inventory.data import InventoryData
from ansible.inventory.manager import _InventoryDataWrapper
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible.plugins.loader import init_plugin_loader
from ansible.template import trust_as_template
from ansible.utils.collection_loader import AnsibleCollectionConfig

from ansible_collections.opennebula.elastichosts.plugins.plugin_utils.constructing import Constructs

DEFAULTS: dict[str, Any] = {
    "compose": {},
    "groups": {},
    "keyed_groups": [],
    "strict": False,
    "use_extra_vars": False,
    "leading_separator": True,
}
TAGGED = re.compile("_AnsibleTagged(Str|Int|Float|List|Dict)")
ORIGIN = re.compile(r" at '[^']*'")
"""Ansible notes the inventory file as the origin of each value and may say so in an error; ours have none."""
Hosts = dict[str, dict[str, Any]]


def load_plugins() -> None:
    """As every program of Ansible does at its start; the second time would be a warning."""
    if AnsibleCollectionConfig.collection_finder is None:
        init_plugin_loader()


class Plugin(BaseInventoryPlugin, Constructable):
    """An inventory plugin as others write them."""

    NAME = "opennebula.elastichosts.stock"

    def __init__(self, options: dict[str, Any], extra: dict[str, Any]) -> None:
        super().__init__()
        load_plugins()
        self._given = {**DEFAULTS, **trusted(options)}
        self.loader = DataLoader()
        self._vars = trusted(extra)
        data = InventoryData()
        self.inventory = _InventoryDataWrapper(data, target_plugin=self, origin=Origin(description="the test"))

    def get_option(self, option: str, hostvars: Any = None) -> Any:
        return self._given[option]

    def construct(self, host: str) -> None:
        """Without a shortcut: what the documentation of Ansible tells plugins to call."""
        strict = self.get_option("strict")
        variables = self.inventory.get_host(host).get_vars()
        self._set_composite_vars(self.get_option("compose"), variables, host, strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, host, strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, host, strict)


def trusted(value: Any) -> Any:
    """Texts as if they stood in an inventory file."""
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    return [trusted(item) for item in value] if isinstance(value, list) else value


def constructed(how: str, hosts: Hosts, options: dict[str, Any], extra: dict[str, Any] | None = None) -> Any:
    """What is in the inventory afterwards, as parsed JSON; or the error, when there was one. `how`: stock or ours."""
    plugin = Plugin(options, extra or {})
    for name, variables in hosts.items():
        plugin.inventory.add_host(name)
        for key, value in variables.items():
            plugin.inventory.set_variable(name, key, value)
    ours = Constructs(plugin, plugin._vars) if how == "ours" else None
    try:
        for name in hosts:
            if ours is None:
                plugin.construct(name)
            else:
                ours.apply(plugin.inventory.get_host(name))
    except Exception as error:
        text = TAGGED.sub(lambda match: match[1].lower(), str(error))
        return {"error": type(error).__name__, "text": ORIGIN.sub("", text)}
    plugin.inventory.reconcile_inventory()
    return _as_json(plugin.inventory)


def _as_json(inventory: Any) -> Any:
    found = {
        "hosts": {name: host.get_vars() for name, host in inventory.hosts.items()},
        "groups": {
            name: {
                "hosts": [host.name for host in group.hosts],
                "children": [child.name for child in group.child_groups],
                "vars": group.vars,
            }
            for name, group in inventory.groups.items()
        },
    }
    return json.loads(json.dumps(found, default=repr))
