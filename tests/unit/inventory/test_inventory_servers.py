# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers inventory: names and variables as pure functions, everything else through Ansible and a real endpoint."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import ElasticHosts
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.errors import ProtocolError
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.servers import Server
from ansible_collections.opennebula.elastichosts.plugins.plugin_utils.hosts import (
    LOCAL_NAMES,
    OWN_GROUPS,
    host_groups,
    host_names,
    host_variables,
    server_facts,
)
from tests.support.endpoint import Endpoint
from tests.unit.elastichosts.scripted import Relay, good
from tests.unit.inventory.parse import Parsed, parse, write

OF_GROUPS = {"eh_capacity", "eh_unreachable", "eh_total", "eh_used", "eh_left", "eh_endpoint"}
TAKEN = LOCAL_NAMES.union(OWN_GROUPS)
SERVERS: list[dict[str, str]] = [
    {"name": "web", "tags": "front test", "password": "geheim12"},
    {"name": "web"},
    {"name": "db", "mem": "2048", "user:role": "{{ 6 * 7 }}"},
    {"name": "one-7", "user:one-cloud": "c1", "user:one-vm": "7", "tags": "{{1+1}}"},
    {"name": "localhost"},
    {"name": "all"},
    {"name": "elastichosts_active"},
    {"name": "zwölf Übel"},
]


class Inventory:
    """An account with servers, and the inventory of it as Ansible sees it."""

    def __init__(self, endpoint: Endpoint, log: Path, folder: Path) -> None:
        self.endpoint = endpoint
        self.log = log
        self.folder = folder

    def parse(self, *, environment: dict[str, str] | None = None, refresh: bool = False, **options: Any) -> Parsed:
        file = write(self.folder / "burst.elastichosts.yml", **options)
        return parse(file, environment={**self.endpoint.env, **(environment or {})}, refresh=refresh)

    def read(self, **options: Any) -> dict[str, Any]:
        parsed = self.parse(**options)
        assert not parsed.error
        return parsed.found

    @property
    def calls(self) -> list[str]:
        return [json.loads(line)["path"] for line in self.log.read_text().splitlines()]


@pytest.fixture(scope="module")
def _account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Endpoint, Path]]:
    folder = tmp_path_factory.mktemp("cloud")
    log = folder / "log"
    log.touch()
    with Endpoint(folder / "state", "--request-log", str(log)) as endpoint:
        for properties in SERVERS:
            common = {"cpu": "500", "mem": "512", "persistent": "true", "nic:0:model": "e1000", "nic:0:dhcp": "auto"}
            reply = endpoint.call("/servers/create", {**common, **properties})
            assert reply.ok, reply.text
        stopped = {"name": "off", "cpu": "500", "mem": "512", "persistent": "true"}
        assert endpoint.call("/servers/create/stopped", stopped).ok
        yield endpoint, log


@pytest.fixture
def inventory(_account: tuple[Endpoint, Path], tmp_path: Path) -> Inventory:
    endpoint, log = _account
    return Inventory(endpoint, log, tmp_path)


def test_all_servers_come_in_one_call_each_in_its_groups(inventory: Inventory) -> None:
    before = len(inventory.calls)
    found = inventory.read()
    assert inventory.calls[before:] == ["/servers/info"]
    assert len(found["hosts"]) == len(SERVERS) + 1
    assert sorted(found["hosts"]) == found["groups"]["elastichosts"]
    assert found["groups"]["elastichosts_stopped"] == ["off"]
    assert found["groups"]["opennebula_burst"] == ["one-7"]
    assert found["hosts"]["one-7"]["eh_one_vm"] == "7"
    assert found["hosts"]["one-7"]["eh_one_cloud"] == "c1"
    assert found["hosts"]["db"]["ansible_host"] == found["hosts"]["db"]["eh_nic_0_dhcp_ip"]
    assert "ansible_host" not in found["hosts"]["off"]


def test_a_server_cannot_take_the_place_of_the_controller_or_of_a_group(inventory: Inventory) -> None:
    found = inventory.read()
    names = {host["eh_name"]: name for name, host in found["hosts"].items() if host["eh_name"] != "web"}
    for name in ("localhost", "all", "elastichosts_active"):
        assert names[name] == f"{name}-{found['hosts'][names[name]]['eh_uuid'][:8]}"
    assert names["zwölf Übel"] == "zwölf_Übel"
    written = {name for variables in found["group_vars"].values() for name in variables}
    assert written == OF_GROUPS, "no server has written a variable of a group"
    assert sorted(name[:4] for name in found["hosts"]).count("web-") == 2


@pytest.mark.parametrize("left_out", ["null", "[]", '"x"', '{"server": null}', "{}"])
def test_a_row_that_cannot_be_read_costs_itself_and_a_warning(
    inventory: Inventory, tmp_path: Path, left_out: str
) -> None:
    rows = inventory.endpoint.call("/servers/info").json()
    rows[0]["user:nested"] = {"a": 1}
    with Relay().on("GET /servers/info", good(f"[{left_out}, {json.dumps(rows)[1:]}")) as relay:
        parsed = inventory.parse(environment={"EHURI": relay.url})
        assert len(parsed.found["hosts"]) == len(rows)
        assert "2 parts of its listing cannot be read and are left out" in parsed.said
        assert "only flat ones" in parsed.said
        with pytest.raises(ProtocolError):  # a driver would take the server of this row for gone
            ElasticHosts(relay.url, inventory.endpoint.auth).servers.info()


def test_a_listing_of_which_no_row_can_be_read_is_an_error(inventory: Inventory) -> None:
    with Relay().on("GET /servers/info", good("[null, 5]")) as relay:
        assert "describes no server" in inventory.parse(environment={"EHURI": relay.url}).error


def test_what_a_server_says_is_never_a_template(inventory: Inventory) -> None:
    found = inventory.read(
        compose={"copied": "eh_user_keys.role | default('none')", "tag": "eh_tags | join"},
        keyed_groups=[{"key": "eh_tags", "prefix": "tag"}],
        strict=True,
    )
    assert found["hosts"]["db"]["copied"] == "{{ 6 * 7 }}"
    assert found["hosts"]["one-7"]["tag"] == "{{1+1}}"
    assert found["groups"]["tag___1_1__"] == ["one-7"]


def test_constructed_options_work_on_each_other(inventory: Inventory) -> None:
    found = inventory.read(
        compose={"double": "eh_mem * 2", "ansible_host": "eh_name"},
        groups={"large": "double > 2000", "front": "'front' in eh_tags"},
        keyed_groups=[{"key": "double | string", "prefix": "size", "parent_group": "sizes"}],
        strict=True,
    )
    assert found["groups"]["large"] == ["db"]
    assert len(found["groups"]["front"]) == 1
    assert found["groups"]["size_4096"] == ["db"]
    assert sorted(found["hosts"]) == found["groups"]["sizes"]
    assert found["hosts"]["db"]["ansible_host"] == "db"


def test_a_wrong_expression_is_skipped_or_with_strict_an_error(inventory: Inventory) -> None:
    assert "nonsense" not in inventory.read(compose={"nonsense": "no_such_variable.x"})["hosts"]["db"]
    failed = inventory.parse(compose={"nonsense": "no_such_variable.x"}, strict=True)
    assert "Could not set nonsense for host" in failed.error


def test_a_cached_inventory_makes_no_call_and_keeps_no_secret(inventory: Inventory, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    options: dict[str, Any] = {
        "cache": True,
        "cache_plugin": "ansible.builtin.jsonfile",
        "cache_connection": str(cache),
    }
    before = len(inventory.calls)
    cold = inventory.read(**options)
    assert len(inventory.calls) == before + 1
    warm = inventory.read(**options)
    assert len(inventory.calls) == before + 1
    assert warm == cold
    kept = "".join(file.read_text() for file in cache.iterdir())
    assert "geheim12" not in kept
    assert inventory.endpoint.key not in kept
    inventory.read(refresh=True, **options)
    assert len(inventory.calls) == before + 2, "refresh_inventory asks anew"


def test_the_cache_of_one_account_is_not_shown_to_another(inventory: Inventory, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "cache": True,
        "cache_plugin": "ansible.builtin.jsonfile",
        "cache_connection": str(tmp_path / "cache"),
    }
    assert inventory.read(**options)["hosts"]
    other = {"EHAUTH": "99999999-2222-4333-8444-555555555555:other"}
    assert "refused user 99999999" in inventory.parse(environment=other, **options).error


def test_credentials_can_be_templates(inventory: Inventory) -> None:
    environment = {"EHAUTH": "", "MY_AUTH": inventory.endpoint.auth}
    found = inventory.read(environment=environment, auth="{{ lookup('ansible.builtin.env', 'MY_AUTH') }}")
    assert found["groups"]["opennebula_burst"] == ["one-7"]


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"EHAUTH": ""}, "auth: not given; set it to <user uuid>:<secret API key>, or the environment variable EHAUTH"),
        ({"EHURI": ""}, "endpoint: not given; set it to the address of the API, or the environment variable EHURI"),
        ({"EHAUTH": "11111111-2222-4333-8444-555555555555:wrong-key"}, "check EHAUTH or auth"),
        ({"EHURI": "http://127.0.0.1:9"}, "could not connect to http://127.0.0.1:9"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(inventory: Inventory, environment: dict[str, str], words: str) -> None:
    failed = inventory.parse(environment=environment)
    assert words in failed.error
    assert "wrong-key" not in failed.error
    assert "Traceback" not in failed.error


def test_only_files_of_its_own_name_are_read(inventory: Inventory, tmp_path: Path) -> None:
    before = len(inventory.calls)
    other = parse(write(tmp_path / "servers.yml"), environment=inventory.endpoint.env)
    assert other.error and len(inventory.calls) == before


NAMES = st.sampled_from(
    [
        "web",
        "web",
        "db",
        "",
        "..",
        ".",
        "..",
        "-oProxyCommand=x",
        "localhost",
        "all",
        "a b",
        "a/b",
        "web-00000001",
        "Ünï",
    ]
) | st.text(max_size=6)
ZONES = st.sampled_from(["east", "west"])
FLEETS = st.lists(st.tuples(ZONES, st.integers(0, 12), NAMES), max_size=12).map(
    lambda fleet: {(zone, f"{number:08x}-0000-4000-8000-000000000000"): name for zone, number, name in fleet}
)


@given(FLEETS, st.randoms(use_true_random=False))
def test_every_server_has_one_name_of_its_own_whatever_the_order(
    fleet: dict[tuple[str, str], str], dice: random.Random
) -> None:
    names = host_names(fleet, TAKEN)
    assert sorted(names) == sorted(fleet)
    assert len(set(names.values())) == len(fleet)
    assert not TAKEN & set(names.values())
    assert all(name and not set(" /:,[]\n") & set(name) for name in names.values())
    assert not any(name.startswith((".", "-")) for name in names.values()), "neither a path nor an option"
    shuffled = list(fleet.items())
    dice.shuffle(shuffled)
    assert host_names(dict(shuffled), TAKEN) == names


@given(st.text(min_size=1, max_size=8).filter(lambda name: name.isalnum() and name.isascii()))
def test_a_clear_name_is_kept(name: str) -> None:
    identity = ("east", "0d9a1c52-7c1e-4c53-9d5e-3f0a6f1e2b34")
    expected = name if name not in TAKEN else f"{name}-0d9a1c52"
    assert host_names({identity: name}, TAKEN) == {identity: expected}


def test_a_server_named_like_another_one_s_uuid_takes_nothing_from_it() -> None:
    first, second = "00000001-0000-4000-8000-000000000000", "00000002-0000-4000-8000-000000000000"
    names = host_names({("z", first): "", ("z", second): first}, TAKEN)
    assert names == {("z", first): first, ("z", second): f"{first}-{second[:8]}"}


def test_the_same_uuid_in_two_zones_is_two_hosts() -> None:
    uuid = "00000001-0000-4000-8000-000000000000"
    assert host_names({("a", uuid): "web", ("b", uuid): "web"}, TAKEN) == {
        ("a", uuid): f"{uuid}-a",
        ("b", uuid): f"{uuid}-b",
    }


def test_variables_are_all_properties_but_secrets_typed_where_they_have_a_type() -> None:
    server = Server(
        {
            "server": "0d9a1c52-7c1e-4c53-9d5e-3f0a6f1e2b34",
            "user": "11111111-2222-4333-8444-555555555555",
            "name": "web",
            "status": "active",
            "cpu": "2000",
            "mem": "1024",
            "started": "1556000000",
            "persistent": "true",
            "boot": "ide:0:0 ide:0:1",
            "tags": "a b",
            "password": "geheim12",
            "vnc:password": "geheim34",
            "ide:0:0": "d1",
            "nic:0:dhcp": "auto",
            "nic:0:dhcp:ip": "192.0.2.10",
            "user:role": "x",
            "user:one-vm": "7",
        }
    )
    variables = host_variables(server_facts(server, "east", None))
    assert variables["ansible_host"] == variables["eh_address"] == variables["eh_nic_0_dhcp_ip"] == "192.0.2.10"
    assert (variables["eh_cpu"], variables["eh_mem"], variables["eh_started"]) == (2000, 1024, 1556000000)
    assert (variables["eh_boot"], variables["eh_tags"]) == (["ide:0:0", "ide:0:1"], ["a", "b"])
    assert variables["eh_persistent"] is True
    assert variables["eh_user_keys"] == {"role": "x", "one-vm": "7"}
    assert (variables["eh_user_role"], variables["eh_user"]) == ("x", "11111111-2222-4333-8444-555555555555")
    assert variables["eh_drives"] == [{"device": "ide:0:0", "drive": "d1", "media": "disk"}]
    assert "geheim" not in json.dumps(variables)
    assert all(name.isidentifier() for name in variables)
    assert variables["eh_zone"] == "east"
    assert host_groups(variables) == (
        "elastichosts",
        "elastichosts_active",
        "elastichosts_tag_a",
        "elastichosts_tag_b",
        "opennebula_burst",
    )
