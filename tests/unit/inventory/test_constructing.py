# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The constructed options: the same as Ansible's own, whatever the expressions and the data, and asked less often."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ansible_collections.opennebula.elastichosts.plugins.plugin_utils import constructing, expressions
from ansible_collections.opennebula.elastichosts.plugins.plugin_utils.compiling import Compiler
from tests.unit.inventory.stock import Hosts, Plugin, constructed

# --- Data: few values, so that hosts are alike, and among them those that only look alike ---

SCALARS = st.sampled_from(
    ["", "a", "b", "web", "1", 1, True, 0, False, 1.0, None, "{{ 6 * 7 }}", "{% x %}", "#jinja2: x", "Ünï", "a-b", 12]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "x", "keys", "a b"]), inner, max_size=3)
    ),
    max_leaves=4,
)
VARIABLES = st.fixed_dictionaries(
    {"eh_mem": st.sampled_from([512, 1024, 2048]), "eh_status": st.sampled_from(["active", "stopped"])},
    optional={
        "eh_tags": st.lists(st.sampled_from(["front", "test", "{{ x }}", "a-b"]), max_size=2),
        "eh_user_keys": st.dictionaries(st.sampled_from(["role", "one-vm", "items"]), SCALARS, max_size=2),
        "eh_nics": st.lists(st.fixed_dictionaries({"model": st.sampled_from(["e1000", "virtio"])}), max_size=2),
        "v": VALUES,
        "w": SCALARS,
    },
)
FLEETS: st.SearchStrategy[Hosts] = st.lists(VARIABLES, min_size=1, max_size=6).map(
    lambda several: {f"host{number}": variables for number, variables in enumerate(several)}
)

# --- Expressions: whole ones, and some that are put together ---

WHOLE = st.sampled_from(
    """
    eh_mem;v;w;eh_tags;eh_user_keys.role;eh_user_keys['one-vm'];eh_user_keys.items;eh_nics[0].model
    eh_nics[-1]['model'];v.x.y;v[0];v.role;v.keys;v['keys'];no_such;no_such.deeper;omit;None;true;'text';-eh_mem
    inventory_hostname;inventory_hostname ~ '.example.com';group_names;group_names | length;vars['eh_mem'];eh_mem * 2
    eh_mem // 512;eh_status ~ '-' ~ w;eh_tags | join(',');eh_tags | map('upper') | list
    eh_tags | select('match', 'f') | list;v | default('none');v | default(omit);w | string;w | type_debug;v | to_json
    eh_user_keys.get('role', 'x');eh_user_keys.items() | list;eh_user_keys | dict2items;eh_status.upper()
    eh_status.split('t');w == 1;w is defined;w is none;'front' in eh_tags;'front' in (eh_tags | default([]))
    eh_mem > 600 and eh_status == 'active';[w, eh_mem];{'a': w, eh_status: v};(w, 1);w if eh_mem > 600 else v
    range(eh_mem // 512) | list;dict(a=w);eh_mem | bool;lookup('ansible.builtin.vars', 'eh_mem')
    query('ansible.builtin.items', [1, w]);eh_nics | map(attribute='model') | list
    eh_nics | selectattr('model', 'equalto', 'e1000') | list;w | ansible.builtin.bool;eh_tags[:1];eh_tags | first
    {{ w }};{{ eh_mem > 600 }};w ~;);no_filter | nothing;1 / 0;eh_mem is no_test;composed;composed2.x
    eh_mem }} x {{ w;'{' ~ '{ w }' ~ '}';"a\\tb";'a\\\\b';extra;extra.x;eh_tags + [w];eh_tags.append('x');not w
    eh_tags | sort | first
    """.replace("\n", ";").split(";")
).map(str.strip)
PIECES = st.sampled_from(
    ["eh_mem", "eh_status", "w", "v", "eh_tags", "eh_user_keys.role", "1", "'a'", "v.x", "composed"]
)
MADE = st.one_of(
    st.builds("{} {} {}".format, PIECES, st.sampled_from(["~", "+", "==", "in", "and", "or", ">", "!="]), PIECES),
    st.builds("{} | {}".format, PIECES, st.sampled_from(["default('d')", "string", "length", "int", "list", "first"])),
    st.builds("{} is {}".format, PIECES, st.sampled_from(["defined", "string", "number", "mapping", "none", "truthy"])),
    st.builds("{} if {} else {}".format, PIECES, PIECES, PIECES),
    st.builds("({})[{}]".format, PIECES, st.sampled_from(["0", "'x'", "-1", "eh_mem"])),
)
EXPRESSIONS = WHOLE | MADE
KEYED = st.fixed_dictionaries(
    {"key": EXPRESSIONS},
    optional={
        "prefix": st.sampled_from(["", "p", "p-q"]),
        "separator": st.sampled_from(["", "_", "-"]),
        "parent_group": st.sampled_from(
            ["parents", "{{ eh_status }}_parent", "{{ no_such }}", "{{ w }}", "{{ omit }}"]
        ),
    },
).flatmap(
    lambda entry: st.sampled_from(
        [entry, entry, {**entry, "default_value": "nothing"}, {**entry, "trailing_separator": False}]
    )
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "compose": st.dictionaries(
            st.sampled_from(["composed", "composed2", "eh_status", "v"]), EXPRESSIONS, max_size=3
        ),
        "groups": st.dictionaries(
            st.sampled_from(["large", "a-b", "all", "other"]), EXPRESSIONS | st.booleans(), max_size=2
        ),
        "keyed_groups": st.lists(KEYED, max_size=3),
        "strict": st.booleans(),
        "leading_separator": st.booleans(),
        "use_extra_vars": st.booleans(),
    },
)
EXTRA = st.sampled_from([{}, {"extra": "x"}, {"extra": {"x": 1}, "w": "from outside"}, {"w": "{{ eh_mem }}"}])


@settings(max_examples=400)
@given(FLEETS, OPTIONS, EXTRA)
@example({"a": {"eh_mem": 1}}, {"compose": {"x": "no_such"}, "strict": True}, {})
@example({"a": {"w": True}, "b": {"w": 1}}, {"compose": {"x": "w | string"}}, {})
@example({"a": {"w": "{{ eh_mem }}", "eh_mem": 1}}, {"compose": {"x": "w"}, "use_extra_vars": True}, {"w": "{{ 1 }}"})
def test_the_result_is_that_of_ansible_s_own_code(hosts: Hosts, options: dict[str, Any], extra: dict[str, Any]) -> None:
    assert constructed("ours", hosts, options, extra) == constructed("stock", hosts, options, extra)


# --- One by one ---

ALIKE: Hosts = {f"host{n}": {"eh_mem": 512, "eh_tags": ["a", "b"], "eh_name": f"web{n}"} for n in range(20)}


class Counting(Plugin):
    asked = 0

    def _compose(self, template: Any, variables: Any, disable_lookups: Any = ...) -> Any:
        Counting.asked += 1
        return super()._compose(template, variables)


def asked(monkeypatch: pytest.MonkeyPatch, hosts: Hosts, expression: str) -> int:
    Counting.asked = 0
    monkeypatch.setattr("tests.unit.inventory.stock.Plugin", Counting)
    constructed("ours", hosts, {"compose": {"x": expression}, "strict": True})
    return Counting.asked


@pytest.mark.parametrize(
    ("expression", "evaluations"),
    [
        ("eh_mem // 256", 1),
        ("eh_tags | map('upper') | list", 1),
        ("eh_name", 0),
        ("eh_name ~ '.example.com'", 20),
        ("lookup('ansible.builtin.env', 'HOME')", 20),
        ("now()", 20),
        ("eh_mem | random", 20),
        ("eh_tags | map('random') | list", 20),
    ],
)
def test_ansible_is_asked_once_for_all_hosts_that_look_the_same(
    monkeypatch: pytest.MonkeyPatch, expression: str, evaluations: int
) -> None:
    assert asked(monkeypatch, ALIKE, expression) == evaluations


def test_an_expression_is_compiled_once_though_each_host_looks_different(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = Plugin({"compose": {"x": "eh_name ~ '.example.com'"}}, {})
    compiled = []
    kind = type(plugin.templar._engine.environment)
    real = kind.compile_expression
    monkeypatch.setattr(
        kind, "compile_expression", lambda self, source, *rest: compiled.append(source) or real(self, source, *rest)
    )
    constructs = constructing.Constructs(plugin, {})
    for name, variables in ALIKE.items():
        plugin.inventory.add_host(name)
        host = plugin.inventory.get_host(name)
        host.vars.update(variables)
        constructs.apply(host)
    assert plugin.inventory.get_host("host7").vars["x"] == "web7.example.com"
    assert compiled == ["eh_name ~ '.example.com'"]


@pytest.mark.parametrize("templar", [object(), type("Templar", (), {"_engine": object()})()])
def test_without_the_name_it_needs_the_compiler_does_nothing(templar: object) -> None:
    with Compiler(templar, "x").once():
        pass


def test_no_host_can_change_what_another_one_has() -> None:
    hosts: Hosts = {"a": {"eh_tags": ["x"], "n": 1}, "b": {"eh_tags": ["x"], "n": 2}}
    plugin = Plugin({"compose": {"plain": "eh_tags", "made": "eh_tags + ['y']"}}, {})
    constructs = constructing.Constructs(plugin, {})
    for name, variables in hosts.items():
        plugin.inventory.add_host(name)
        plugin.inventory.get_host(name).vars.update(variables)
        constructs.apply(plugin.inventory.get_host(name))
    first, second = (plugin.inventory.get_host(name).vars for name in hosts)
    first["plain"].append("changed")
    first["made"].append("changed")
    assert (second["plain"], second["made"], first["eh_tags"]) == (["x"], ["x", "y"], ["x"])


def test_a_group_of_the_name_of_a_host_takes_no_host_away() -> None:
    hosts: Hosts = {"a": {"role": "b"}, "b": {"role": "b"}, "c": {"role": "b"}}
    options = {"groups": {"b": "true", "c": "true"}, "compose": {"x": "role ~ role"}}
    found = constructed("ours", hosts, options)
    assert found["groups"]["b"]["hosts"] == found["groups"]["c"]["hosts"] == ["a", "b", "c"]
    assert {host["x"] for host in found["hosts"].values()} == {"bb"}


@pytest.mark.parametrize(
    ("expression", "reads", "plain"),
    [
        ("eh_mem", [("eh_mem", ())], True),
        ("eh_user_keys.role", [("eh_user_keys", ("role",))], True),
        ("eh_user_keys['one-vm']", [("eh_user_keys", ("one-vm",))], True),
        ("eh_nics[0].model ~ eh_mem", [("eh_nics", (0, "model")), ("eh_mem", ())], False),
        ("eh_user_keys.items()", [("eh_user_keys", ())], False),
        ("eh_tags.count", [("eh_tags", ())], False),
        ("a.b[c.d].e", [("a", ("b",)), ("c", ("d",))], False),
        ("-eh_mem", [("eh_mem", ())], False),
    ],
)
def test_what_an_expression_reads(expression: str, reads: list[Any], plain: bool) -> None:
    found = expressions.expression_reads(expression)
    assert found is not None
    assert ([tuple(read) for read in found.reads], found.plain) == (reads, plain)


@pytest.mark.parametrize(
    "expression",
    [
        "lookup('pipe', 'date')",
        "now()",
        "x | random",
        "x | shuffle",
        "x | community.general.random_mac",
        "x | map(f) | list",
        "x | map('random') | list",
        "x | select('exists') | list",
        "x is exists",
        "vars.x",
        "x.append(1)",
        "x()",
        "{{ x }}",
        "x }} {{ y",
        "x +",
        "",
        None,
        3,
        ["x"],
    ],
)
def test_what_cannot_be_told_is_left_to_ansible(expression: Any) -> None:
    assert expressions.expression_reads(expression) is None


@given(VALUES, VALUES)
def test_different_values_have_different_keys(one: Any, other: Any) -> None:
    try:
        keys = expressions.frozen(one), expressions.frozen(other)
    except expressions.Uncertain:
        return
    assert (keys[0] == keys[1]) == (repr(one) == repr(other))
