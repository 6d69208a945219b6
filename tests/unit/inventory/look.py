# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the lookup burst_capacity in a process of its own, as a play does.

Standard input: a JSON list of [terms, options, variables]. Standard output: a JSON list of what came back, or {"error":
its text}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, lookup_loader
from ansible.template import Templar


def ask(terms: list[str], options: dict[str, Any], variables: dict[str, Any]) -> Any:
    loader = DataLoader()
    templar = Templar(loader=loader, variables=variables)
    plugin = lookup_loader.get("opennebula.elastichosts.burst_capacity", loader=loader, templar=templar)
    try:
        return list(plugin.run(terms, variables, **options))
    except AnsibleError as error:
        return {"error": str(error)}


if __name__ == "__main__":
    init_plugin_loader()
    json.dump([ask(*case) for case in json.load(sys.stdin)], sys.stdout)
