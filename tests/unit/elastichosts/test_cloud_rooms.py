# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers and drives: the calls against the real endpoint, and what their properties say on either platform."""

from __future__ import annotations

import uuid

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import errors
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import ElasticHosts
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.drives import Drive, gzipped
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.identifiers import SECRET_KEYS
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.servers import Server
from tests.support.endpoint import Endpoint
from tests.unit.elastichosts.scripted import Relay, says

NOWHERE = "00000000-0000-4000-8000-000000000000"
SPEC = {"name": "web", "cpu": "500", "mem": "512", "persistent": "true", "nic:0:model": "e1000", "nic:0:dhcp": "auto"}


def test_a_server_lives_its_whole_life(cloud: ElasticHosts) -> None:
    server = cloud.servers.create({**SPEC, "tags": "a b", "user:one-vm": "3", "password": "Xx12yy34"})
    assert (server.name, server.status, server.cpu, server.mem) == ("web", "active", 500, 512)
    assert (server.persistent, server.tags, server.user_keys) == (True, ("a", "b"), {"one-vm": "3"})
    assert server.started is not None
    assert cloud.servers.list() == [server.uuid]
    assert cloud.servers.get(server.uuid).uuid == server.uuid
    cloud.servers.reset(server.uuid)
    cloud.servers.stop(server.uuid)
    assert cloud.servers.get(server.uuid).status == "stopped"
    assert cloud.servers.set(server.uuid, {"mem": "1024", "tags": None}).properties["mem"] == "1024"
    cloud.servers.start(server.uuid)
    assert cloud.servers.get(server.uuid).tags == ()
    cloud.servers.destroy(server.uuid)
    assert cloud.servers.info() == []


def test_a_server_can_be_made_stopped(cloud: ElasticHosts) -> None:
    server = cloud.servers.create(SPEC, start=False)
    assert server.status == "stopped"
    assert server.started is None


def test_a_drive_lives_its_whole_life(cloud: ElasticHosts) -> None:
    drive = cloud.drives.create({"name": "root", "size": "9000000", "tier": "ssd", "tags": "a"})
    assert (drive.name, drive.size, drive.tier, drive.tags) == ("root", 12582912, "ssd", ("a",))
    assert (drive.claimed, drive.imaging, drive.readers) == ((), None, ())
    cloud.drives.write_packed(drive.uuid, 4096, gzipped(b"hello" * 10))
    cloud.drives.write(drive.uuid, 0, b"plain")
    assert cloud.drives.read(drive.uuid, 0, 5) == b"plain"
    assert cloud.drives.read(drive.uuid, 4096, 60) == b"hello" * 10 + bytes(10)
    assert cloud.drives.set(drive.uuid, {"size": "16M", "user:x": "y"}).size == 16 * 1024 * 1024
    assert [found.uuid for found in cloud.drives.info()] == cloud.drives.list() == [drive.uuid]
    cloud.drives.destroy(drive.uuid)
    with pytest.raises(errors.MissingError):
        cloud.drives.get(drive.uuid)


def test_standard_drives_are_listed_in_one_call(relayed: ElasticHosts, relay: Relay) -> None:
    drives = relayed.standard_drives.info()
    assert all(drive.properties["media"] in ("disk", "cdrom") for drive in drives)
    assert relay.calls == ["GET /drives/info/standard"]


def test_a_platform_without_standard_drives_has_none(client: ElasticHosts, scripted: Relay) -> None:
    scripted.on(".*", says(404, "missing"))
    assert client.standard_drives.info() == []


def test_all_servers_come_with_one_call(relayed: ElasticHosts, relay: Relay) -> None:
    for number in range(3):
        relayed.servers.create({**SPEC, "name": f"web{number}"}, start=False)
    relay.calls.clear()
    assert sorted(server.name for server in relayed.servers.info()) == ["web0", "web1", "web2"]
    assert relay.calls == ["GET /servers/info"]


def test_find_takes_a_uuid_or_a_name(cloud: ElasticHosts) -> None:
    server = cloud.servers.create(SPEC, start=False)
    drive = cloud.drives.create({"name": "root", "size": "4M"})
    for key in (server.uuid, "web"):
        found = cloud.servers.find(key)
        assert found is not None
        assert found.uuid == server.uuid
    for key in (drive.uuid, "root"):
        held = cloud.drives.find(key)
        assert held is not None
        assert held.uuid == drive.uuid
    for key in ("nothing", NOWHERE):
        assert cloud.servers.find(key) is None
        assert cloud.drives.find(key) is None


def test_a_name_that_two_have_is_refused_with_both_uuids(cloud: ElasticHosts) -> None:
    both = {cloud.servers.create(SPEC, start=False).uuid for _unused in range(2)}
    with pytest.raises(errors.NotUnique, match="by its UUID") as caught:
        cloud.servers.find("web")
    assert set(caught.value.candidates) == both


@pytest.mark.parametrize("bad", ["", "..", ".", "a/b", "a b", "x?y", "%2e%2e", "a\nb"])
def test_no_identifier_can_lead_to_another_call(client: ElasticHosts, scripted: Relay, bad: str) -> None:
    for call in (client.servers.get, client.servers.destroy, client.drives.destroy):
        with pytest.raises(errors.ConfigurationError, match="is no UUID or identifier"):
            call(bad)
    assert scripted.calls == []


def test_replies_without_a_body_are_completed_by_a_read(client: ElasticHosts, scripted: Relay) -> None:
    scripted.on("POST .*", says(204)).on("GET .*", says(200, text="drive d\nserver s\nname x\n"))
    assert client.servers.set(NOWHERE, {"name": "x"}).name == "x"
    assert client.drives.set(NOWHERE, {"name": "x"}).name == "x"
    assert client.drives.image(NOWHERE, str(uuid.uuid4()), "gunzip").name == "x"
    assert [call.partition(" ")[0] for call in scripted.calls] == ["POST", "GET"] * 3


def test_an_object_of_another_kind_is_a_protocol_error(client: ElasticHosts, scripted: Relay) -> None:
    scripted.on(".*", says(200, text="folder x\n"))
    with pytest.raises(errors.ProtocolError, match="describes no server") as caught:
        client.servers.create({"cpu": "500"})
    assert caught.value.maybe_done
    with pytest.raises(errors.ProtocolError, match="describes no drive"):
        client.drives.info()


def test_errors_of_the_cloud_come_as_their_class(cloud: ElasticHosts, endpoint: Endpoint) -> None:
    with pytest.raises(errors.MissingError, match=NOWHERE):
        cloud.servers.get(NOWHERE)
    with pytest.raises(errors.UsageError, match="size"):
        cloud.drives.create({"name": "x", "size": "-1"})
    with ElasticHosts(endpoint.url, f"{endpoint.user}:wrong") as other, pytest.raises(errors.AuthError):
        other.servers.info()


def test_addresses_are_found_in_the_words_of_every_platform() -> None:
    assert Server({"nic:0:dhcp": "auto", "nic:0:dhcp:ip": "192.0.2.1"}).address == "192.0.2.1"
    assert Server({"nic:0:dhcp": "auto", "nic:0:ip": "192.0.2.2"}).address == "192.0.2.2"
    assert Server({"nic:0:dhcp": "192.0.2.3"}).address == "192.0.2.3"
    assert Server({"nic:0:dhcp": "auto"}).address is None
    assert Server({}).address is None
    several = Server({"nic:0:dhcp:ip": "192.0.2.1 192.0.2.2", "nic:0:ip": "192.0.2.1", "nic:1:ip": "2001:db8::1"})
    assert several.addresses == ("192.0.2.1", "192.0.2.2", "2001:db8::1")


def test_vnc_has_an_address_only_when_it_is_one() -> None:
    assert Server({"vnc:ip": "auto"}).vnc_address is None
    assert Server({"vnc:ip": "192.0.2.1"}).vnc_address == "192.0.2.1"


def test_devices_and_interfaces_are_told_apart_from_their_counters() -> None:
    server = Server(
        {
            "ide:0:0": "u1",
            "ide:0:0:read:bytes": "1",
            "block:1": "u2",
            "ata:0:5": "u3",
            "scsi:0:1": "u4",
            "nic:0:model": "e1000",
            "nic:0:dhcp:ip": "192.0.2.1",
            "nic:1:vlan": "v",
        }
    )
    assert server.drives == {"ata:0:5": "u3", "block:1": "u2", "ide:0:0": "u1", "scsi:0:1": "u4"}
    assert server.nics == (
        {"index": "0", "model": "e1000", "dhcp:ip": "192.0.2.1"},
        {"index": "1", "vlan": "v"},
    )


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("false", False), ("0", False), ("", False)])
def test_persistent_is_read_as_the_cloud_means_it(text: str, value: bool) -> None:
    assert Server({"persistent": text}).persistent is value
    assert not Server({}).persistent


def test_numbers_that_are_none_are_none() -> None:
    assert Server({"cpu": "auto", "smp": "auto"}).cpu is None
    assert Server({"smp": "auto", "smp:cores": "2"}).cores == 2
    assert Server({"smp": "4"}).cores == 4
    assert Drive({"size": "x"}).size == 0


def test_no_secret_leaves_by_public_or_repr() -> None:
    server = Server({"server": "u", "password": "Xx12yy34", "vnc:password": "Xx12yy34"})
    assert set(server.properties) >= SECRET_KEYS
    assert "Xx12yy34" not in repr(server) + str(server.public())


@pytest.mark.parametrize(("text", "value"), [("43%", "43%"), ("queued", "queued"), ("false", None), ("", None)])
def test_imaging_is_none_when_it_has_ended(text: str, value: str | None) -> None:
    assert Drive({"imaging": text}).imaging == value
    assert Drive({}).imaging is None
