# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The constructed options give what Ansible's own plugin `constructed` gives, and compile each expression once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.template import Templar, trust_as_template
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ansible_collections.opennebula.elastichosts.plugins.plugin_utils.constructing import compiled_once
from tests.support.endpoint import Endpoint
from tests.unit.inventory.parse import Parsed, parse, write

SERVERS: list[dict[str, str]] = [
    {"name": "web-1", "tags": "front test", "user:role": "web"},
    {"name": "web-2", "tags": "front", "user:role": "web", "nic:0:model": "virtio", "mem": "2048"},
    {"name": "db-1", "tags": "{{x}} a-b", "user:role": "{{ 6 * 7 }}", "mem": "1024"},
    {"name": "zeta", "user:one-cloud": "c1", "user:one-vm": "7", "user:role": "{% x %}", "user:items": "1"},
    {"name": "Übel", "user:role": "#jinja2: x", "user:port": "12", "user:yes": "true"},
]

# --- Expressions: whole ones, and some that are put together ---

WHOLE = st.sampled_from(
    """
    eh_mem;eh_tags;eh_user_keys.role;eh_user_keys['one-vm'];eh_user_keys.items;eh_nics[0].model
    eh_nics[-1]['model'];eh_tags[0];no_such;no_such.deeper;omit;None;true;'text';-eh_mem
    inventory_hostname;inventory_hostname ~ '.example.com';group_names;group_names | length;eh_mem * 2
    eh_mem // 512;eh_status ~ '-' ~ eh_mem;eh_tags | join(',');eh_tags | map('upper') | list
    eh_tags | select('match', 'f') | list;eh_user_keys.port | default('none');eh_user_keys.port | default(omit)
    eh_mem | type_debug;eh_user_keys | to_json;eh_user_keys.get('role', 'x');eh_user_keys.items() | list
    eh_user_keys | dict2items;eh_status.upper();eh_mem == 512;eh_user_keys.port is defined;eh_one_vm is none
    'front' in eh_tags;eh_mem > 600 and eh_status == 'active';[eh_one_vm, eh_mem];{'a': eh_mem, eh_status: 1}
    range(eh_mem // 512) | list;dict(a=eh_mem);eh_mem | bool;lookup('ansible.builtin.vars', 'eh_mem')
    query('ansible.builtin.items', [1, eh_name]);{{ eh_mem }};{{ eh_mem > 600 }};eh_mem ~;);no_filter | nothing
    1 / 0;eh_mem is no_test;composed;composed2.x;eh_mem }} x {{ eh_name;'{' ~ '{ eh_mem }' ~ '}';"a\\tb";'a\\\\b'
    eh_tags + [eh_mem];not eh_mem;eh_tags | sort | first;  eh_mem  ;eh_name | regex_replace('-(\\\\d)', '_\\\\1')
    """.replace("\n", ";").split(";")
)
PIECES = st.sampled_from(["eh_mem", "eh_status", "eh_tags", "eh_user_keys.role", "1", "'a'", "composed"])
MADE = st.one_of(
    st.builds("{} {} {}".format, PIECES, st.sampled_from(["~", "+", "==", "in", "and", "or", ">", "!="]), PIECES),
    st.builds("{} | {}".format, PIECES, st.sampled_from(["default('d')", "string", "length", "int", "list", "first"])),
    st.builds("{} if {} else {}".format, PIECES, PIECES, PIECES),
)
EXPRESSIONS = WHOLE | MADE
KEYED = st.fixed_dictionaries(
    {"key": EXPRESSIONS, "prefix": st.sampled_from(["p", "p-q"])},
    optional={
        "separator": st.sampled_from(["", "_", "-"]),
        "parent_group": st.sampled_from(["parents", "{{ eh_status }}_parent", "{{ no_such }}", "{{ omit }}"]),
    },
).flatmap(
    lambda entry: st.sampled_from(
        [entry, entry, {**entry, "default_value": "nothing"}, {**entry, "trailing_separator": False}]
    )
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "compose": st.dictionaries(st.sampled_from(["composed", "composed2", "eh_status"]), EXPRESSIONS, max_size=3),
        "groups": st.dictionaries(st.sampled_from(["large", "a-b", "all"]), EXPRESSIONS | st.booleans(), max_size=2),
        "keyed_groups": st.lists(KEYED, max_size=3),
        "strict": st.booleans(),
        "leading_separator": st.booleans(),
    },
)


class Account:
    """An account, and its inventory with the constructed options in our file or in one of Ansible's own plugin."""

    def __init__(self, endpoint: Endpoint, folder: Path) -> None:
        self.endpoint = endpoint
        self.folder = folder

    def ours(self, **options: Any) -> Parsed:
        return parse(write(self.folder / "both.eh.yml", **options), environment=self.endpoint.env)

    def ansibles(self, **options: Any) -> Parsed:
        plain = write(self.folder / "plain.eh.yml")
        constructed = self.folder / "constructed.yml"
        constructed.write_text(yaml.safe_dump({"plugin": "ansible.builtin.constructed", **options}))
        return parse(plain, constructed, environment=self.endpoint.env)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    folder = tmp_path_factory.mktemp("account")
    with Endpoint(folder / "state") as endpoint:
        for properties in SERVERS:
            # A running server with an interface would have counters that grow between the two readings.
            path = "/servers/create/stopped" if "nic:0:model" in properties else "/servers/create"
            reply = endpoint.call(path, {"cpu": "500", "mem": "512", "persistent": "true", **properties})
            assert reply.ok, reply.text
        yield Account(endpoint, folder)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OPTIONS)
@example({"compose": {"x": "no_such"}, "strict": True})
@example({"keyed_groups": [{"key": "eh_user_keys.role", "separator": ""}], "leading_separator": False})
@example({"keyed_groups": [{"key": "eh_tags", "prefix": "p"}, {"key": "group_names", "prefix": "q"}]})
@example({"compose": {"composed": "eh_mem * 2"}, "groups": {"large": "composed > 2000"}})
def test_the_result_is_that_of_ansible_s_own_plugin(account: Account, options: dict[str, Any]) -> None:
    ours, ansibles = account.ours(**options), account.ansibles(**options)
    assert ours.found == ansibles.found
    assert bool(ours.error) == bool(ansibles.error)


def test_a_group_with_the_name_of_a_host_takes_no_host_and_no_variable_away(account: Account) -> None:
    """`zeta` is a host, and the key makes a group `zeta` before that host's turn."""
    key = {"key": "'zeta' if eh_user_keys.role == 'web' else 'rest'", "separator": ""}
    found = account.ours(compose={"double": "eh_mem * 2"}, groups={"big": "eh_mem > 0"}, keyed_groups=[key]).found
    assert found["groups"]["zeta"] == ["web-1", "web-2"]
    assert "zeta" in found["groups"]["rest"]
    assert all(host["double"] == 2 * host["eh_mem"] for host in found["hosts"].values())
    assert "zeta" not in found["group_vars"]
    assert found["groups"]["big"] == sorted(found["hosts"])


def test_extra_variables_are_used_only_when_the_file_says_so(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible.utils.vars.load_extra_vars.extra_vars", {"eh_mem": 7}, raising=False)
    for use, mem in ((False, 512), (True, 7)):
        options = {"compose": {"seen": "eh_mem"}, "use_extra_vars": use, "hostnames": ["eh_name ~ eh_mem"]}
        found = account.ours(**options).found
        assert found["hosts"][f"web-1{mem}"]["seen"] == mem


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The expressions that Jinja compiles."""
    expressions: list[str] = []
    kind = type(Templar()._engine.environment)
    real = kind.compile_expression

    def compile_expression(self: Any, source: str, *rest: Any) -> Any:
        expressions.append(source)
        return real(self, source, *rest)

    monkeypatch.setattr(kind, "compile_expression", compile_expression)
    return expressions


def test_an_expression_is_compiled_once_for_all_hosts(account: Account, compiled: list[str]) -> None:
    found = account.ours(
        hostnames=["eh_name"],
        filters=[{"include": "eh_mem > 0"}],
        compose={"fqdn": "eh_name ~ '.example.com'"},
        groups={"large": "eh_mem > 600"},
        keyed_groups=[{"key": "eh_status"}],
    ).found
    assert found["hosts"]["web-2"]["fqdn"] == "web-2.example.com"
    expected = ["eh_mem > 0", "eh_name", "eh_name ~ '.example.com'", "eh_mem > 600", "eh_status"]
    assert compiled == expected


def test_what_is_compiled_is_kept_no_longer_than_asked_for(compiled: list[str]) -> None:
    templar = Templar(variables={"x": 1})
    for _unused in range(2):
        with compiled_once(templar), compiled_once(templar):
            assert [templar.evaluate_expression(trust_as_template("x + 1")) for _unused in range(3)] == [2, 2, 2]
    assert templar.evaluate_expression(trust_as_template("x + 1")) == 2
    assert compiled == ["x + 1"] * 3


def test_an_expression_that_is_not_trusted_is_not_evaluated() -> None:
    templar = Templar(variables={"x": 1})
    with compiled_once(templar):
        assert templar.evaluate_expression(trust_as_template("x + 1")) == 2
        with pytest.raises(Exception, match="untrusted"):
            templar.evaluate_expression("x + 1")


@pytest.mark.parametrize("templar", [object(), type("Templar", (), {"_engine": object()})()])
def test_without_the_private_name_nothing_is_kept_and_everything_works(templar: object) -> None:
    with compiled_once(templar):
        pass
