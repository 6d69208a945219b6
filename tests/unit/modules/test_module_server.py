# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server module against a real endpoint."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoint import Endpoint
from tests.unit.modules.cloud import Cloud

WEB: dict[str, Any] = {"name": "web", "cpu": 1000, "mem": 512}
NOBODY = "00000000-0000-4000-8000-000000000000"


def test_a_server_is_created_as_check_mode_says_and_only_once(cloud: Cloud) -> None:
    cloud.drive(name="root", size="8M")
    task = {**WEB, "drives": [{"device": "ide:0:0", "drive": "root"}], "tags": ["a", "b"], "user_keys": {"role": "x"}}
    server = cloud.thrice("server", **task)["server"]
    assert (server["status"], server["cpu"], server["mem"], server["boot"]) == ("active", 1000, 512, ["ide:0:0"])
    assert server["address"]
    assert server["user_keys"] == {"role": "x"}


@pytest.mark.parametrize(
    ("state", "status"), [("present", "active"), ("started", "active"), ("stopped", "stopped"), ("shutdown", "stopped")]
)
def test_a_new_server_is_born_in_the_state(cloud: Cloud, state: str, status: str) -> None:
    assert cloud.thrice("server", state=state, **WEB)["server"]["status"] == status


def test_an_existing_server_goes_through_its_states(cloud: Cloud) -> None:
    cloud.server(**WEB)
    for state, action in (("shutdown", "shutdown"), ("started", "start"), ("stopped", "stop"), ("started", "start")):
        assert cloud.thrice("server", name="web", state=state)["actions"] == [action]
    cloud.server(name="web", state="stopped")
    assert cloud.server(name="web", cpu=2000)["server"]["status"] == "stopped", "present leaves the state alone"


@pytest.mark.parametrize(
    ("module", "options", "named"),
    [
        ("server", {**WEB, "cpu": 100}, "cpu: 100 is out of range, give 500 to 20000 MHz"),
        ("server", {**WEB, "drives": [{"device": "ide:9:0", "drive": "x"}]}, "drives[0].device: 'ide:9:0'"),
        ("drive", {"name": "root", "size": "much"}, "size: 'much'"),
        ("ip", {"name": "x" * 81}, "name: 81 characters"),
        ("vlan", {"name": "a", "user_keys": {"a b": "c"}}, "user_keys: 'a b'"),
        ("burst", {**WEB, "exact_count": 1, "mem": 1}, "mem: 1 is out of range"),
        ("burst", {**WEB, "exact_count": 1, "size": "much"}, "size: 'much'"),
        ("capacity_info", {"limits": {"mem": -1}}, "limits.mem: -1"),
        ("server_info", {"uuid": "x"}, "uuid: 'x'"),
    ],
)
def test_an_option_that_cannot_be_right_fails_before_any_call(
    cloud: Cloud, module: str, options: dict[str, Any], named: str
) -> None:
    refused = cloud.run(module, **options)
    assert named in refused["msg"]
    assert refused["failure"]["code"] == "option"
    assert cloud.calls == []


def test_a_console_needs_a_password(cloud: Cloud) -> None:
    for module, options in (("server", {}), ("burst", {"exact_count": 1})):
        assert "vnc: true needs a password" in cloud.run(module, **WEB, **options, vnc=True)["msg"]
    cloud.server(**WEB, vnc=True, password="Xx12yy34")
    assert cloud.server(name="web", vnc=True)["changed"] is False, "the server has one"


def test_restarted_and_reset_act_every_time(cloud: Cloud) -> None:
    cloud.server(**WEB)
    for state, actions in (("reset", ["reset"]), ("restarted", ["shutdown", "start"])):
        for result in (cloud.server(name="web", state=state), cloud.server(name="web", state=state)):
            assert (result["changed"], result["actions"]) == (True, actions)
            assert result["diff"]["before"] != result["diff"]["after"]


def test_a_change_that_needs_a_stop_is_refused_unless_a_restart_is_allowed(cloud: Cloud) -> None:
    cloud.server(**WEB)
    before = cloud.changes
    refused = cloud.server(name="web", mem=1024, cpu=2000)
    assert "mem can only be changed while it is stopped" in refused["msg"]
    assert "restart: true" in refused["msg"]
    assert refused["failure"] == {"status": None, "code": "refused", "call": ""}
    assert cloud.changes == before
    done = cloud.thrice("server", name="web", mem=1024, cpu=2000, restart=True)
    assert done["actions"] == ["shutdown", "set", "start"]
    assert done["diff"]["before"] == {"cpu": "1000", "mem": "512"}
    assert done["diff"]["after"] == {"cpu": "2000", "mem": "1024"}
    assert done["server"]["status"] == "active"


def test_null_takes_a_property_away(cloud: Cloud) -> None:
    cloud.server(**WEB, password="geheim12", tags=["a"], user_keys={"old": "1", "kept": "2"})
    server = cloud.thrice("server", name="web", password=None, tags=None, user_keys={"old": None})["server"]
    assert (server["tags"], server["user_keys"]) == ([], {"kept": "2"})
    secrets = cloud.run("server_info", show_secrets=True)["servers"][0]["properties"]
    assert "password" not in secrets


def test_a_password_is_compared_and_set_but_never_shown(cloud: Cloud) -> None:
    for password in ("geheim12", "anders34"):
        result = cloud.thrice("server", **WEB, vnc=True, password=password)
        assert password not in json.dumps(result)
        assert "password" in result["diff"]["after"]
    shown = cloud.run("server_info")
    assert "anders34" not in json.dumps(shown)


def test_drives_beyond_the_list_are_detached(cloud: Cloud) -> None:
    for name in ("root", "data"):
        cloud.drive(name=name, size="4M")
    both = [{"device": "ide:0:0", "drive": "root"}, {"device": "ide:0:1", "drive": "data"}]
    cloud.server(**WEB, state="stopped", drives=both)
    server = cloud.thrice("server", name="web", drives=both[:1])["server"]
    assert [drive["device"] for drive in server["drives"]] == ["ide:0:0"]


def test_a_server_is_renamed_by_its_uuid(cloud: Cloud) -> None:
    uuid = cloud.server(**WEB)["server"]["uuid"]
    assert cloud.thrice("server", uuid=uuid, name="web2")["server"]["name"] == "web2"


def test_two_servers_of_one_name_are_told_apart_by_uuid_only(cloud: Cloud) -> None:
    made = [
        cloud.endpoint.call("/servers/create/stopped", {"name": "web", "cpu": 500, "mem": mem}).json()["server"]
        for mem in (256, 512)
    ]
    before = cloud.changes
    for state in ("present", "absent"):
        result = cloud.server(name="web", state=state)
        assert result["failure"]["code"] == "not_unique"
        assert all(uuid in result["msg"] for uuid in made)
    assert cloud.changes == before
    assert cloud.server(uuid=made[0], state="absent")["changed"]
    assert cloud.server(name="web")["server"]["uuid"] == made[1]


def test_an_absent_server_keeps_its_drives(cloud: Cloud) -> None:
    cloud.drive(name="root", size="4M")
    cloud.server(**WEB, drives=[{"device": "ide:0:0", "drive": "root"}])
    result = cloud.thrice("server", name="web", state="absent")
    assert (result["server"], result["actions"], result["deleted_drives"]) == ({}, ["stop", "destroy"], [])
    assert [drive["name"] for drive in cloud.run("drive_info")["drives"]] == ["root"]
    assert not cloud.server(uuid=NOBODY, state="absent")["changed"]


@pytest.mark.parametrize("persistent", [True, False])
def test_an_absent_server_takes_its_own_drives_with_it(cloud: Cloud, persistent: bool) -> None:
    for name in ("root", "shared", "disc", "neighbour"):
        cloud.drive(name=name, size="4M", claim_type="shared")
    cloud.server(name="other", cpu=500, mem=256, drives=[{"device": "block:0", "drive": "shared"}])
    drives = [
        {"device": "ide:0:0", "drive": "root"},
        {"device": "ide:0:1", "drive": "shared"},
        {"device": "ide:1:0", "drive": "disc", "media": "cdrom"},
    ]
    root = cloud.server(**WEB, persistent=persistent, drives=drives)["server"]["drives"][0]["drive"]
    checked = cloud.server(check=True, name="web", state="absent", delete_drives=True)
    assert "another server names it" in json.dumps(checked["warnings"])
    result = cloud.thrice("server", name="web", state="absent", delete_drives=True)
    assert result["deleted_drives"] == checked["deleted_drives"] == [root]
    assert [drive["name"] for drive in cloud.run("drive_info")["drives"]] == ["disc", "neighbour", "shared"]


def test_a_deletion_that_was_cut_after_the_drives_can_be_repeated(cloud: Cloud) -> None:
    drive = cloud.drive(name="root", size="4M")["drive"]["uuid"]
    cloud.server(**WEB, drives=[{"device": "ide:0:0", "drive": "root"}])
    cloud.server(name="web", state="stopped")
    cloud.endpoint.call(f"/drives/{drive}/destroy")
    result = cloud.server(name="web", state="absent", delete_drives=True)
    assert (result["changed"], result["server"], result["deleted_drives"]) == (True, {}, [])


def test_a_drive_that_is_not_there_yet_stops_the_run_but_not_check_mode(cloud: Cloud) -> None:
    task = {**WEB, "drives": [{"device": "ide:0:0", "drive": "root"}]}
    before = cloud.changes
    failed = cloud.server(**task)
    assert failed["msg"] == "drives: no drive is called 'root'; create it first, or correct the name"
    checked = cloud.server(check=True, **task)
    assert checked["changed"]
    assert "no drive is called 'root' yet" in json.dumps(checked["warnings"])
    assert cloud.changes == before


def test_a_drive_in_use_gives_the_cloud_s_word_and_no_server(cloud: Cloud) -> None:
    cloud.drive(name="root", size="4M")
    task = {"cpu": 500, "mem": 256, "drives": [{"device": "ide:0:0", "drive": "root"}]}
    cloud.server(name="first", **task)
    result = cloud.server(name="second", **task)
    assert result["failure"] == {"status": 409, "code": "busy", "call": "POST /servers/create"}
    assert [server["name"] for server in cloud.run("server_info")["servers"]] == ["first"]


def test_a_guest_that_ignores_its_power_button_is_a_failure_that_names_the_last_state(
    tmp_path: Path, cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    log.touch()
    with Endpoint(tmp_path / "deaf", "--acpi-delay", "never", "--request-log", str(log)) as deaf:
        there = Cloud(deaf, log, capsys)
        there.server(**WEB)
        result = there.server(name="web", state="shutdown", wait_timeout=1)
        assert result["failure"]["code"] == "timeout"
        assert "active" in result["msg"]
        assert result["changed"] is True, "the button was pressed"
        assert there.server(name="web", state="shutdown", wait=False)["changed"]


def test_an_address_that_comes_late_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    log.touch()
    with Endpoint(tmp_path / "late", "--address-delay", "0.4", "--request-log", str(log)) as late:
        there = Cloud(late, log, capsys)
        assert there.server(**WEB)["server"]["address"]
        assert there.server(**{**WEB, "name": "hasty"}, wait=False)["server"]["address"] is None
        result = there.server(**{**WEB, "name": "dry"}, nics=[{"dhcp": "none"}])
        assert result["server"]["address"] is None


def test_a_server_of_an_unknown_uuid_is_not_made(cloud: Cloud) -> None:
    before = cloud.changes
    result = cloud.server(uuid=NOBODY, cpu=1000, mem=512)
    assert result["msg"] == f"uuid: no server has the UUID {NOBODY}; correct it, or give only a name to create one"
    assert cloud.changes == before


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"auth": "11111111-2222-4333-8444-555555555555:wrong-key"}, "auth", "check EHAUTH or auth"),
        ({"auth": ""}, "option", "auth: not given; set it to <user uuid>:<secret API key>"),
        ({"endpoint": ""}, "option", "endpoint: not given; set it to the address of the API"),
        ({"endpoint": "http://no-such-host.invalid"}, "connect", "no-such-host.invalid"),
        ({"endpoint": "ftp://localhost"}, "configuration", "http"),
        ({"connect_timeout": 0}, "option", "connect_timeout: 0.0 is out of range"),
    ],
)
def test_what_is_wrong_with_the_connection_is_said_in_one_sentence(
    cloud: Cloud, options: dict[str, Any], code: str, words: str
) -> None:
    result = cloud.server(**WEB, **options)
    assert result["failed"] and result["failure"]["code"] == code
    assert words in result["msg"]
    assert "\n" not in result["msg"]
    assert "wrong-key" not in json.dumps({key: value for key, value in result.items() if key != "invocation"})


def test_an_endpoint_that_is_down_is_named(cloud: Cloud) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        result = cloud.server(**WEB, endpoint=f"http://127.0.0.1:{port}")
    assert f"could not connect to http://127.0.0.1:{port}" in result["msg"]
    assert result["changed"] is False


def test_credentials_come_from_the_environment_too(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cloud.endpoint.env.items():
        monkeypatch.setenv(name, value)
    assert cloud.run("server_info", endpoint=..., auth=...)["servers"] == []


def test_an_unchanged_server_costs_one_call(cloud: Cloud) -> None:
    uuid = cloud.server(**WEB)["server"]["uuid"]
    before = len(cloud.calls)
    cloud.server(**WEB)
    cloud.server(uuid=uuid, cpu=1000)
    assert cloud.calls[before:] == [("GET", "/servers/info"), ("GET", f"/servers/{uuid}/info")]
