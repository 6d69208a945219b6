# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several accounts in one file, what is chosen of them, what they have left: through Ansible and a real endpoint."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from ansible_collections.opennebula.elastichosts.plugins.module_utils.options import InvalidOption
from ansible_collections.opennebula.elastichosts.plugins.plugin_utils import inventory_accounts
from tests.support.endpoint import Endpoint
from tests.unit.inventory.parse import Parsed, parse, write

OTHER = "22222222-2222-4333-8444-555555555555"
OTHER_KEY = "other-s3cr3t"
PLAIN = {"cpu": "500", "mem": "512", "persistent": "true", "nic:0:model": "e1000", "nic:0:dhcp": "auto"}
FIRST: list[dict[str, str]] = [
    {"name": "web", "tags": "front", "user:fqdn": "www.example.com", "user:vlan-address": "10.0.0.5"},
    {"name": "db", "mem": "2048", "smp": "2", "tags": "back test", "user:vlan-address": "no address"},
    {"name": "one-7", "user:one-cloud": "c1", "user:one-vm": "7"},
]
SECOND: list[dict[str, str]] = [
    {"name": "web"},
    {"name": "{{ lookup('pipe', 'touch /tmp/owned') }}", "tags": "{{1+1}}"},
]


class Clouds:
    """Two accounts at one endpoint, and the inventory of them as Ansible sees it."""

    def __init__(self, endpoint: Endpoint, log: Path, folder: Path) -> None:
        self.endpoint, self.log, self.folder = endpoint, log, folder

    @property
    def zones(self) -> list[dict[str, Any]]:
        first = {
            "name": "east",
            "auth": self.endpoint.auth,
            "limits": {"servers": 5, "cpu": 4000, "mem": 3072, "storage": 1},
        }
        return [first, {"name": "west", "auth": f"{OTHER}:{OTHER_KEY}", "limits": {"servers": 2}}]

    def parse(self, *, refresh: bool = False, **options: Any) -> Parsed:
        file = write(self.folder / "burst.eh.yml", **{"zones": self.zones, **options})
        return parse(file, environment={"EHURI": self.endpoint.url}, refresh=refresh)

    def read(self, **options: Any) -> dict[str, Any]:
        parsed = self.parse(**options)
        assert not parsed.error
        return {**parsed.found, "said": parsed.said}

    def refusal(self, **options: Any) -> str:
        parsed = self.parse(**options)
        assert parsed.error
        assert "Traceback" not in parsed.error
        assert self.endpoint.key not in parsed.error.replace("other-s3cr3t", "")
        assert OTHER_KEY not in parsed.error
        return parsed.error

    @property
    def calls(self) -> list[str]:
        return [json.loads(line)["path"] for line in self.log.read_text().splitlines()]


@pytest.fixture(scope="module")
def _accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Endpoint, Path]]:
    folder = tmp_path_factory.mktemp("clouds")
    log = folder / "log"
    log.touch()
    with Endpoint(folder / "state", "--request-log", str(log), "--auth", f"{OTHER}:{OTHER_KEY}") as endpoint:
        drive = endpoint.call("/drives/create", {"name": "disk of web", "size": str(512 * 1024**2)}).json()["drive"]
        for number, properties in enumerate(FIRST):
            body = {**PLAIN, **properties, **({"ide:0:0": drive, "boot": "ide:0:0"} if number == 0 else {})}
            reply = endpoint.call("/servers/create", body)
            assert reply.ok, reply.text
        for properties in SECOND:
            reply = requests.post(
                f"{endpoint.url}/servers/create/stopped",
                json={**PLAIN, **properties},
                auth=(OTHER, OTHER_KEY),
                timeout=30,
            )
            assert reply.ok, reply.text
        yield endpoint, log


@pytest.fixture
def clouds(_accounts: tuple[Endpoint, Path], tmp_path: Path) -> Clouds:
    return Clouds(*_accounts, tmp_path)


def by_name(found: dict[str, Any], name: str) -> list[str]:
    return sorted(host for host, variables in found["hosts"].items() if variables["eh_name"] == name)


def test_each_zone_costs_one_call_and_has_a_group_and_no_host_is_lost(clouds: Clouds) -> None:
    before = len(clouds.calls)
    found = clouds.read()
    assert clouds.calls[before:] == ["/servers/info"] * 2
    assert len(found["hosts"]) == len(FIRST) + len(SECOND)
    assert len(found["groups"]["elastichosts_zone_east"]) == len(FIRST)
    assert len(found["groups"]["elastichosts_zone_west"]) == len(SECOND)
    webs = by_name(found, "web")
    assert len(webs) == 2 and all(
        name == f"web-{found['hosts'][name]['eh_uuid'][:8]}" and found["hosts"][name]["eh_zone"] in ("east", "west")
        for name in webs
    )
    assert found["groups"]["elastichosts_tag_test"] == ["db"]
    assert found["groups"]["opennebula_cloud_c1"] == found["groups"]["opennebula_burst"] == ["one-7"]


def test_a_name_or_tag_that_is_a_template_stays_text(clouds: Clouds) -> None:
    found = clouds.read(compose={"copy": "eh_name", "joined": "eh_name ~ ''"}, hostnames=["eh_name"], strict=True)
    (name,) = by_name(found, SECOND[1]["name"])
    assert found["hosts"][name]["copy"] == found["hosts"][name]["joined"] == SECOND[1]["name"]
    assert set(name) <= set("_lookupietchrwnd.-tmp1234567890abcdef")
    assert found["groups"]["elastichosts_tag___1_1__"] == [name]
    assert not Path("/tmp/owned").exists()


def test_capacity_is_total_used_and_left_by_zone_whatever_is_filtered(clouds: Clouds) -> None:
    found = clouds.read(filters=[{"exclude": True}])
    assert found["hosts"] == {}
    east, west = (found["group_vars"]["all"]["eh_capacity"][name] for name in ("east", "west"))
    assert east["total"] == {"servers": 5, "cores": None, "cpu": 4000, "mem": 3072, "drives": None, "storage": 1}
    assert east["used"] == {"servers": 3, "cores": 4, "cpu": 1500, "mem": 3072, "drives": None, "storage": None}
    assert east["left"] == {"servers": 2, "cores": None, "cpu": 2500, "mem": 0, "drives": None, "storage": None}
    assert west["left"] == {"servers": 0, "cores": None, "cpu": None, "mem": None, "drives": None, "storage": None}
    assert found["group_vars"]["elastichosts_zone_east"] == {f"eh_{name}": value for name, value in east.items()}
    assert found["group_vars"]["all"]["eh_unreachable"] == {}
    assert east["endpoint"] == west["endpoint"] == clouds.endpoint.url


def test_drives_cost_one_more_call_and_are_known_by_name_and_size(clouds: Clouds) -> None:
    before = len(clouds.calls)
    found = clouds.read(drives=True)
    assert sorted(clouds.calls[before:]) == ["/drives/info"] * 2 + ["/servers/info"] * 2
    with_drive = next(variables for variables in found["hosts"].values() if variables["eh_drives"])
    (drive,) = with_drive["eh_drives"]
    assert (drive["device"], drive["name"], drive["size"], drive["tier"]) == ("ide:0:0", "disk of web", 2**29, "disk")
    capacity = found["group_vars"]["all"]["eh_capacity"]
    assert (capacity["east"]["used"]["storage"], capacity["east"]["left"]["storage"]) == (0.5, 0.5)
    assert capacity["west"]["used"]["storage"] == 0


def test_a_zone_that_is_down_is_an_error_or_a_warning_with_its_reason(clouds: Clouds, tmp_path: Path) -> None:
    down = {"name": "north", "endpoint": "http://127.0.0.1:9", "auth": clouds.endpoint.auth}
    assert "zone north: GET /servers/info: could not connect" in clouds.refusal(zones=[*clouds.zones, down])
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(tmp_path / "cache")}
    for run in ("cold", "warm"):
        found = clouds.read(zones=[*clouds.zones, down], on_unreachable="skip", **cache)
        # Ansible shows a warning once in each process.
        assert ("zone north is left out of the inventory" in found["said"]) == (run == "cold")
        assert len(found["hosts"]) == len(FIRST) + len(SECOND)
        everywhere = found["group_vars"]["all"]
        assert sorted(everywhere["eh_capacity"]) == ["east", "west"]
        assert "could not connect" in everywhere["eh_unreachable"]["north"]
        assert found["groups"]["elastichosts_zone_north"] == []


def test_wrong_credentials_are_an_error_even_where_unreachable_zones_are_skipped(clouds: Clouds) -> None:
    wrong = {"name": "west", "auth": f"{OTHER}:wrong-key"}
    text = clouds.refusal(zones=[clouds.zones[0], wrong], on_unreachable="skip")
    assert "zone west: " in text and "check EHAUTH or auth" in text and "wrong-key" not in text


def test_each_zone_is_cached_by_itself_without_secrets_and_renewed_by_a_refresh(clouds: Clouds, tmp_path: Path) -> None:
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(tmp_path / "cache")}
    before = len(clouds.calls)
    one = clouds.read(zones=clouds.zones[:1], **cache)
    assert len(clouds.calls) == before + 1 and len(one["hosts"]) == len(FIRST)
    cold = clouds.read(**cache)
    assert len(clouds.calls) == before + 2, "the other zone only"
    assert clouds.read(**cache) == cold and len(clouds.calls) == before + 2
    kept = [json.loads(file.read_text()) for file in (tmp_path / "cache").iterdir()]
    assert len(kept) == 2
    assert not {clouds.endpoint.key, OTHER_KEY} & set(json.dumps(kept).split('"'))
    clouds.read(drives=True, **cache)
    assert len(clouds.calls) == before + 6, "another question, another entry"
    clouds.read(query="[*]", **cache)
    assert len(clouds.calls) == before + 8
    clouds.read(refresh=True, **cache)
    assert len(clouds.calls) == before + 10


def test_names_come_from_the_first_expression_that_gives_a_text(clouds: Clouds) -> None:
    found = clouds.read(hostnames=["eh_user_keys.fqdn", "'vm' ~ eh_one_vm if eh_one_vm else ''", "eh_name ~ '.local'"])
    names = sorted(name for name in found["hosts"] if "lookup" not in name)
    assert names == ["db.local", "vm7", "web.local", "www.example.com"]
    nameless = clouds.read(hostnames=["no_such_variable"])
    assert sorted(nameless["hosts"]) == sorted(variables["eh_uuid"] for variables in nameless["hosts"].values())
    assert "hostnames[0]: 'no_such_variable' cannot be evaluated" in clouds.refusal(
        hostnames=["no_such_variable"], strict=True
    )


def test_ansible_host_is_the_first_kind_of_address_there_is(clouds: Clouds) -> None:
    for kinds, expected in (
        (["vlan", "public"], "10.0.0.5"),
        (["static", "vlan"], "10.0.0.5"),
        (["public"], None),
        ([], ""),
    ):
        found = clouds.read(zones=clouds.zones[:1], connect_with=kinds)["hosts"]
        web = found["web"]
        assert web.get("ansible_host", "") == (web["eh_address"] if expected is None else expected)
    assert "ansible_host" not in found["db"]
    assert clouds.read(zones=clouds.zones[:1], connect_with=["vlan"])["hosts"]["db"].get("ansible_host") is None


def test_the_first_filter_that_is_true_decides(clouds: Clouds) -> None:
    found = clouds.read(
        filters=[{"exclude": "'test' in eh_tags"}, {"include": "eh_zone == 'east'"}, {"exclude": "eh_name == 'web'"}]
    )
    assert by_name(found, "web") == ["web"], "named after those that are out are gone"
    assert by_name(found, "db") == []
    assert len(found["hosts"]) == 3


def test_a_query_leaves_servers_of_all_zones(clouds: Clouds) -> None:
    found = clouds.read(query="[?status == 'active' && mem < `1024`]")
    assert sorted(found["hosts"]) == ["one-7", "web"]
    assert min(clouds.read(query="[?zone == 'west']")["hosts"]).startswith("__")


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"query": "[?"}, "query: "),
    ({"query": "[].name"}, "does not give a list of servers; it must leave whole servers"),
    ({"query": "length(@)"}, "does not give a list of servers"),
    (
        {"filters": [{"include": "no_such.x == 1"}]},
        "filters[0].include: 'no_such.x == 1' cannot be evaluated for server",
    ),
    ({"filters": [{"includes": "true"}]}, "filters[0]: must be a dictionary with one key, include or exclude"),
    ({"filters": [{"include": 5}]}, "filters[0].include: 5 is no condition"),
    ({"filters": [{"include": "eh_name"}]}, "filters[0].include: 'eh_name' cannot be evaluated"),
    ({"hostnames": []}, "hostnames: the list is empty"),
    ({"connect_with": ["pubic"]}, "connect_with"),
    ({"on_unreachable": "ignore"}, "on_unreachable"),
    ({"zones": []}, "zones: the list is empty"),
    ({"zones": ["east"]}, "zones[0]: must be a dictionary with name, endpoint, auth or limits, not 'east'"),
    (
        {"zones": [{"name": "x", "limit": 1}]},
        "zones[0]: 'limit' is no option of a zone, choose from name, endpoint",
    ),
    ({"zones": [{"auth": "u:k"}]}, "zones[0].name: not given; a zone needs a name"),
    ({"zones": [{"name": "a b"}]}, "zones[0].name: 'a b' is no name"),
    (
        {"zones": [{"name": "x", "auth": "u:k", "limits": {"ram": 1}}]},
        "zones[0].limits: 'ram' is no kind of capacity",
    ),
    ({"zones": [{"name": "x", "auth": "u:k", "limits": {"mem": -1}}]}, "zones[0].limits.mem: -1 is no amount"),
    ({"zones": [{"name": "x", "auth": "u:k", "timeout": "long"}]}, "zones[0].timeout: 'long' is no number"),
    ({"zones": [{"name": "x", "auth": "u:k", "timeout": 0}]}, "timeout: 0 is out of range"),
    ({"zones": [{"name": "x"}]}, "auth: not given"),
    ({"zones": [{"name": "x", "auth": "u:k"}, {"name": "y", "auth": "u:k2"}]}, "'x' and 'y' are the same account"),
    (
        {"zones": [{"name": "a-b", "auth": "u:k"}, {"name": "a.b", "auth": "v:k"}]},
        "'a-b' and 'a.b' are the same name for groups, rename one",
    ),
)


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_what_is_wrong_in_the_file_is_said_in_one_sentence(clouds: Clouds, options: dict[str, Any], words: str) -> None:
    before = len(clouds.calls)
    assert words in clouds.refusal(**options)
    if "zones" in options:
        assert len(clouds.calls) == before, "what is wrong with the zones is said before any call"


def test_an_entry_takes_what_it_does_not_say_from_the_options_around_it() -> None:
    options = dict.fromkeys((*inventory_accounts.CONNECTION, "zone", "limits"))
    common = {**options, "auth": "u:k", "validate_certs": True, "connect_timeout": 1.0, "timeout": 1.0}

    def endpoint(options: dict[str, Any], several: Any = None) -> tuple[str, str]:
        (zone,) = inventory_accounts.zones_of(options, several, lambda value: value)
        return zone.name, zone.options["endpoint"]

    outside = {**common, "endpoint": "http://127.0.0.1:8099/x"}
    assert endpoint(outside) == ("127.0.0.1-8099", "http://127.0.0.1:8099/x")
    assert endpoint({**outside, "zone": "east"}) == ("east", "http://127.0.0.1:8099/x")
    assert endpoint(outside, [{"name": "east"}]) == ("east", "http://127.0.0.1:8099/x")
    assert endpoint(outside, [{"name": "east", "endpoint": "http://own"}]) == ("east", "http://own")


@pytest.mark.parametrize("name", ["ams-e", "dal-a", "hkg-e", "lax-p", "lon-b", "lon-p", "sjc-c", "syd-v", "tor-p"])
def test_no_name_of_a_zone_stands_for_an_address(name: str) -> None:
    """The public cloud of these zones is closed: a key must not go to a name that anybody may register."""
    options = dict.fromkeys((*inventory_accounts.CONNECTION, "zone", "limits"))
    common = {**options, "auth": "u:k", "validate_certs": True, "connect_timeout": 1.0, "timeout": 1.0}
    for given, several in (({**common, "zone": name}, None), (common, [{"name": name}])):
        with pytest.raises(InvalidOption, match=r"^endpoint: not given; .* or the environment variable EHURI$"):
            inventory_accounts.zones_of(given, several, lambda value: value)


def test_zones_are_asked_at_the_same_time() -> None:
    """Each answer waits until all zones have asked: one after the other would never get the first."""
    together = threading.Barrier(3)

    class Waiting(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            together.wait(timeout=20)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base class names it so)
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Waiting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = {"validate_certs": True, "connect_timeout": 5.0, "timeout": 30.0, "ca_path": None}
    url = f"http://127.0.0.1:{server.server_address[1]}"
    zones = [
        inventory_accounts.InventoryZone(f"z{n}", {**settings, "endpoint": url, "auth": f"u{n}:k"}, {})
        for n in range(3)
    ]
    try:
        assert inventory_accounts.ask(zones, drives=False) == {
            f"z{n}": inventory_accounts.ZoneListing([], None) for n in range(3)
        }
    finally:
        server.shutdown()
        server.server_close()


def test_the_key_of_the_cache_is_made_of_endpoint_user_query_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def zone(endpoint: str = "http://a", auth: str = "u:k") -> inventory_accounts.InventoryZone:
        return inventory_accounts.InventoryZone("z", {"endpoint": endpoint, "auth": auth}, {})

    same = zone().key("q")
    assert zone("http://a/", "u:another secret").key("q") == same
    others = {zone("http://b").key("q"), zone(auth="v:k").key("q"), zone().key("r")}
    monkeypatch.setattr(inventory_accounts, "VERSION", "9")
    assert len(others | {same, zone().key("q")}) == 5
    assert "another" not in repr(zone(auth="u:another"))
