# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's own constructed options, with each Jinja expression compiled once instead of once for each host."""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Iterator, Sequence

from jinja2 import Environment


def construct(plugin: Any, hosts: Sequence[str]) -> None:
    """Apply `compose`, `groups` and `keyed_groups` of an inventory plugin (a Constructable) to these hosts.

    Each option is applied to all hosts before the next one: `keyed_groups` makes groups whose names come from servers,
    and Ansible sets a variable on the group where a group and a host have the same name.
    """
    inventory, strict = plugin.inventory, plugin.get_option("strict")
    compose, groups, keyed = (plugin.get_option(name) for name in ("compose", "groups", "keyed_groups"))
    with compiled_once(plugin.templar):
        for name in hosts if compose else ():
            plugin._set_composite_vars(compose, inventory.get_host(name).get_vars(), name, strict)
        variables = {name: inventory.get_host(name).get_vars() for name in hosts} if groups or keyed else {}
        for name, of_host in variables.items():
            plugin._add_host_to_composed_groups(groups, of_host, name, strict, fetch_hostvars=False)
        for name, of_host in variables.items():
            plugin._add_host_to_keyed_groups(keyed, of_host, name, strict, fetch_hostvars=False)


@contextmanager
def compiled_once(templar: Any) -> Iterator[None]:
    """Keep what the templar compiles while the block runs, because compiling is most of the time of an expression.

    Ansible has no public way to do this. `Templar._engine.environment`, a Jinja environment, is the only private name
    used; where it is missing, the block works as well, only slower.
    """
    environment = getattr(getattr(templar, "_engine", None), "environment", None)
    if not isinstance(environment, Environment) or "compile_expression" in vars(environment):
        yield
        return
    compile_anew = environment.compile_expression
    compile_cached = lru_cache(maxsize=256)(compile_anew)

    def compile_expression(source: str, undefined_to_none: bool = True) -> Any:
        # What a backslash means depends on where the expression stands, so these are compiled each time.
        return (compile_anew if "\\" in source else compile_cached)(source, undefined_to_none)

    vars(environment)["compile_expression"] = compile_expression
    try:
        yield
    finally:
        vars(environment).pop("compile_expression", None)
