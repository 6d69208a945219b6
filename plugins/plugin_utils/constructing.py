# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of `constructed`, with the results of Ansible's own code and a fraction of its time.

Ansible compiles and evaluates each expression anew for each host, about 0.4 ms. Here its own methods are asked once for
all hosts that look the same to an expression (see expressions.py); what they did to the inventory is recorded, and done
again to the other hosts. So prefixes, separators, defaults, parents, names of groups, errors: all of it is Ansible's.

Two differences, both on purpose: a host joins its groups by being added as a host, never as "a child of that name",
which Ansible would take for a group if there is one; and a composed variable is set on the host for the same reason.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Callable, Dict, Hashable, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from .compiling import Compiler
from .expressions import MISSING, Reads, Uncertain, expression_reads, follow, frozen, template_reads

MAGIC = frozenset({"inventory_hostname", "inventory_hostname_short", "group_names"})
Outcome = Any


class Recorder:
    """Stands in for the inventory while Ansible works for one host: groups are real, the host's own part is noted."""

    def __init__(self, inventory: Any) -> None:
        self._inventory = inventory
        self.value: Any = MISSING
        self.groups: List[str] = []

    def add_group(self, group: str) -> Any:
        """The group is made at once; what it is called then is for the inventory to say."""
        return self._inventory.add_group(group)

    def set_variable(self, entity: str, varname: str, value: Any) -> None:
        self.value = value


class RecorderOfGroups(Recorder):
    """`groups`: a child is always the host."""

    def add_child(self, group: str, child: str) -> None:
        self.groups.append(group)


class RecorderOfKeyedGroups(Recorder):
    """`keyed_groups`: a child is always a group; the same relation twice is one."""

    def add_host(self, host: str, group: str) -> None:
        self.groups.append(group)

    def add_child(self, group: str, child: str) -> None:
        self._inventory.add_child(group, child)


class Entry(NamedTuple):
    """One expression of the file: what it reads, how Ansible is asked, what came out for whom."""

    name: str
    expression: Any
    reads: Optional[Reads]
    ask: Callable[[Mapping[str, Any], str], Outcome]
    memory: Dict[Hashable, Outcome]
    extra: Mapping[str, Any]

    def outcome(self, host: Any) -> Tuple[Outcome, bool]:
        """(What comes out for this host, whether it is plain JSON that came from the memory's side of things)."""
        try:
            key = self._key(host)
        except Uncertain:
            return self.ask(host.get_vars(), host.name), False
        known = self.memory.get(key, MISSING)
        if known is MISSING:
            known = self.memory[key] = self.ask(host.get_vars(), host.name)
        return known, True

    def _key(self, host: Any) -> Hashable:
        if self.reads is None:
            raise Uncertain(self.name)
        found = []
        for name, steps in self.reads.reads:
            value, stopped = follow(self.value(host, name), steps) if steps else (self.value(host, name), -1)
            found.append(
                value if isinstance(value, str) and "{" not in value and stopped < 0 else (stopped, frozen(value))
            )
        return tuple(found)

    def value(self, host: Any, name: str) -> Any:
        """A variable as the expression sees it; MISSING when it does not."""
        if name in self.extra:
            return self.extra[name]
        if name in MAGIC:
            return host.get_vars().get(name, MISSING)
        return host.vars.get(name, MISSING)

    def plain(self, host: Any) -> Any:
        """The value that an expression of nothing but a path leads to. Raises Uncertain when there is more to it."""
        if self.reads is None or not self.reads.plain:
            raise Uncertain(self.name)
        name, steps = self.reads.reads[0]
        value, stopped = follow(self.value(host, name), steps)
        if stopped >= 0 or value is MISSING:
            raise Uncertain(name)
        frozen(value)
        return json_copy(value)


class Constructs:
    """The constructed options of one file. `plugin` is the inventory plugin, a Constructable after its parse()."""

    def __init__(self, plugin: Any, extra: Mapping[str, Any]) -> None:
        self._plugin = plugin
        self._inventory = plugin.inventory
        self._strict = plugin.get_option("strict")
        self._extra = extra if plugin.get_option("use_extra_vars") else {}
        compose, groups = (plugin.get_option(name) or {} for name in ("compose", "groups"))
        self._composed = [self._entry_of_compose(name, expression) for name, expression in compose.items()]
        self._conditions = [self._entry_of_groups(name, condition) for name, condition in groups.items()]
        self._keyed = [self._entry_of_keyed(keyed) for keyed in plugin.get_option("keyed_groups") or ()]

    def apply(self, host: Any) -> None:
        """Variables, then groups by condition, then groups by key, as Ansible does for a host. Errors are its own."""
        # all of one step is evaluated before any of it is applied: the variables of a step do not see each other
        for entry, value, is_json in [(entry, *self._composition(entry, host)) for entry in self._composed]:
            if value is not MISSING:
                (host if is_json else _Visited(self._inventory, host)).set_variable(entry.name, value)
        for group in [group for entry in self._conditions for group in entry.outcome(host)[0]]:
            self._inventory.groups[group].add_host(host)
        for entry in self._keyed:
            for group in entry.outcome(host)[0]:
                self._inventory.groups[group].add_host(host)

    def _composition(self, entry: Entry, host: Any) -> Tuple[Any, bool]:
        try:
            return entry.plain(host), True
        except Uncertain:
            value, memorised = entry.outcome(host)
        if value is MISSING:  # Ansible has set nothing
            return value, True
        try:
            return (json_copy(value), True) if memorised else (value, False)
        except Uncertain:
            return value, False

    def _entry_of_compose(self, name: str, expression: Any) -> Entry:
        compiler = Compiler(self._plugin.templar, expression)

        def ask(variables: Mapping[str, Any], host: str) -> Any:
            with self._recording(Recorder, compiler) as recorder:
                self._plugin._set_composite_vars({name: expression}, variables, host, self._strict)
            return recorder.value

        return Entry(name, expression, expression_reads(expression), ask, {}, self._extra)

    def _entry_of_groups(self, name: str, condition: Any) -> Entry:
        compiler = Compiler(self._plugin.templar, condition)

        def ask(variables: Mapping[str, Any], host: str) -> Tuple[str, ...]:
            with self._recording(RecorderOfGroups, compiler) as recorder:
                self._plugin._add_host_to_composed_groups(
                    {name: condition}, variables, host, self._strict, fetch_hostvars=False
                )
            return tuple(recorder.groups)

        return Entry(name, condition, expression_reads(condition), ask, {}, {})  # Ansible: no extra variables here

    def _entry_of_keyed(self, keyed: Any) -> Entry:
        def ask(variables: Mapping[str, Any], host: str) -> Tuple[str, ...]:
            with self._recording(RecorderOfKeyedGroups, compiler) as recorder:
                self._plugin._add_host_to_keyed_groups([keyed], variables, host, self._strict, fetch_hostvars=False)
            return tuple(recorder.groups)

        key, reads = None, None
        if isinstance(keyed, dict):
            key = keyed.get("key")
            of_key, of_parent = expression_reads(key), template_reads(keyed.get("parent_group"))
            if of_key is not None and of_parent is not None:
                reads = Reads(tuple(dict.fromkeys(of_key.reads + of_parent.reads)), plain=False)
        compiler = Compiler(self._plugin.templar, key)
        return Entry("keyed_groups", key, reads, ask, {}, self._extra)

    @contextmanager
    def _recording(self, kind: Callable[[Any], Recorder], compiler: Compiler) -> Iterator[Recorder]:
        recorder = kind(self._inventory)
        self._plugin.inventory = recorder
        try:
            with compiler.once():
                yield recorder
        finally:
            self._plugin.inventory = self._inventory


class _Visited(NamedTuple):
    """Sets a variable through the inventory, which knows what to do with values that are not plain JSON."""

    inventory: Any
    host: Any

    def set_variable(self, name: str, value: Any) -> None:
        if self.host.name in self.inventory.groups:  # there it would become a variable of the group
            self.host.set_variable(name, value)
        else:
            self.inventory.set_variable(self.host.name, name, value)


def json_copy(value: Any) -> Any:
    """A copy of plain JSON, so that no host can change another's. Raises Uncertain for everything else."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [json_copy(item) for item in value]
    if isinstance(value, dict):
        return {json_copy(key): json_copy(item) for key, item in value.items()}
    raise Uncertain(type(value).__name__)
