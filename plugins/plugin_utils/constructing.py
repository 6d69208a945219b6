# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Applies Ansible's constructed options, with each Jinja expression compiled once instead of once for each host."""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Iterator, Sequence

from jinja2 import Environment


def construct(plugin: Any, hosts: Sequence[str]) -> None:
    """Apply ``compose``, ``groups`` and ``keyed_groups`` of an inventory plugin (a Constructable) to these hosts.

    Each option is applied to all hosts before the next one: ``keyed_groups`` creates groups named after values of
    servers, and if a group and a host have the same name, Ansible sets variables on the group.
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
    """Cache the templar's compiled expressions within the block, as compiling takes most of an expression's time.

    Ansible has no public way to do this. ``Templar._engine.environment``, a Jinja environment, is the only private name
    used; if it is missing, nothing is cached.
    """
    environment = getattr(getattr(templar, "_engine", None), "environment", None)
    if not isinstance(environment, Environment) or "compile_expression" in vars(environment):
        yield
        return
    compile_uncached = environment.compile_expression
    compile_cached = lru_cache(maxsize=256)(compile_uncached)

    def compile_expression(source: str, undefined_to_none: bool = True) -> Any:
        # The meaning of a backslash depends on the context of the expression, so these are not cached.
        return (compile_uncached if "\\" in source else compile_cached)(source, undefined_to_none)

    vars(environment)["compile_expression"] = compile_expression
    try:
        yield
    finally:
        vars(environment).pop("compile_expression", None)
