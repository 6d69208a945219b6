# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of properties: what differs, although the API returns values in another form than it accepts."""

from __future__ import annotations

import re

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import properties, values
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.errors import Refused
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.properties import (
    DRIVE,
    SERVER,
    drive_changes,
    is_live,
    server_changes,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.values import parse_size, rounded
from ansible_collections.opennebula.elastichosts.plugins.module_utils.options import arguments_of, fields_of
from ansible_collections.opennebula.elastichosts.plugins.module_utils.server_options import server_desired

ACTIVE_NEW = {"status": "active", "smp": "auto", "smp:cores": "1", "nic:0:dhcp": "auto", "nic:0:dhcp:ip": "192.0.2.1"}
ACTIVE_OLD = {"status": "active", "smp": "1", "nic:0:dhcp": "192.0.2.1", "vnc:ip": "192.0.2.1", "rx": "0"}
UPPER = "0D9A1C52-7C1E-4C53-9D5E-3F0A6F1E2B34"


@pytest.mark.parametrize(
    ("wanted", "current"),
    [
        ({"cpu": "0500"}, {"cpu": "500"}),
        ({"persistent": "yes"}, {"persistent": "true"}),
        ({"persistent": "false"}, {}),
        ({"persistent": None}, {}),
        ({"tags": "b a"}, {"tags": "a b"}),
        ({"tags": ""}, {}),
        ({"boot": "ide:0:0  ide:0:1"}, {"boot": "ide:0:0 ide:0:1"}),
        ({"ide:0:0": UPPER}, {"ide:0:0": UPPER.lower()}),
        ({"ide:0:0:media": "disk"}, {}),
        ({"type": "vm"}, {}),
        ({"nic:0:firewall:policy": "accept"}, {}),
        ({"nic:1:mac": "6A:00:00:12:34:56"}, {"nic:1:mac": "6a:00:00:12:34:56"}),
        ({"vnc:password": "x"}, {"password": "x"}),
        ({"password": "x"}, {"vnc:password": "x"}),
        ({"vnc": "auto"}, {"vnc": "auto", "vnc:ip": "192.0.2.1"}),
        ({"vnc:ip": "auto"}, {"vnc": "auto"}),
        ({"vnc:ip": "auto"}, {"vnc:ip": "192.0.2.1"}),
        ({"vnc": None, "password": None}, {}),
        ({"smp": "auto", "nic:0:dhcp": "auto"}, ACTIVE_NEW),
        ({"smp": "auto", "nic:0:dhcp": "auto"}, ACTIVE_OLD),
        ({"smp": "auto"}, {"status": "stopped"}),
        ({"nic:0:dhcp": "0"}, {}),
        ({"nic:0:dhcp": "192.0.2.9"}, {"nic:0:dhcp": "192.0.2.9"}),
        ({"server": "u", "status": "active", "nic:0:rx:bytes": "1", "ide:0:0:read:bytes": "7", "started": "1"}, {}),
    ],
)
def test_these_are_the_same(wanted: dict[str, str | None], current: dict[str, str]) -> None:
    assert server_changes(wanted, current) == {}


@pytest.mark.parametrize(
    ("wanted", "current", "changes"),
    [
        ({"cpu": "500"}, {"cpu": "1000"}, {"cpu": "500"}),
        ({"persistent": "true"}, {}, {"persistent": "true"}),
        ({"persistent": "false"}, {"persistent": "true"}, {"persistent": None}),
        ({"tags": "a"}, {"tags": "a b"}, {"tags": "a"}),
        ({"tags": None}, {"tags": "a b"}, {"tags": None}),
        ({"boot": "ide:0:1 ide:0:0"}, {"boot": "ide:0:0 ide:0:1"}, {"boot": "ide:0:1 ide:0:0"}),
        ({"ide:0:0:media": "cdrom"}, {}, {"ide:0:0:media": "cdrom"}),
        ({"ide:0:0": None}, {"ide:0:0": "u"}, {"ide:0:0": None}),
        ({"password": "y"}, {"password": "x"}, {"password": "y"}),
        ({"password": None}, {"password": "x"}, {"password": None}),
        ({"vnc:password": "y"}, {}, {"vnc:password": "y"}),
        ({"vnc": None}, {"vnc": "auto"}, {"vnc": None}),
        ({"smp": "2"}, ACTIVE_NEW, {"smp": "2"}),
        ({"smp": "auto"}, {"status": "stopped", "smp": "2"}, {"smp": "auto"}),
        ({"nic:0:dhcp": "auto"}, {**ACTIVE_NEW, "nic:0:dhcp": "192.0.2.1"}, {"nic:0:dhcp": "auto"}),
        ({"nic:0:dhcp": "192.0.2.9"}, ACTIVE_NEW, {"nic:0:dhcp": "192.0.2.9"}),
        ({"nic:0:dhcp": "0"}, ACTIVE_NEW, {"nic:0:dhcp": None}),
        ({"name": "b", "user:x": "1"}, {"name": "a"}, {"name": "b", "user:x": "1"}),
        ({"user:x": "007"}, {"user:x": "7"}, {"user:x": "007"}),
        ({"name": "01"}, {"name": "1"}, {"name": "01"}),
    ],
)
def test_these_differ(wanted: dict[str, str], current: dict[str, str], changes: dict[str, str | None]) -> None:
    assert server_changes(wanted, current) == changes


@pytest.mark.parametrize(
    ("text", "size"),
    [("4194304", 4194304), ("10k", 10240), ("2M", 2097152), ("1g", 1 << 30), ("2T", 2 << 40), ("10 GiB", 10 << 30)],
)
def test_sizes_are_binary_multiples(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5G", "10X", "G", "ten", "1e9", "\u0665"])
def test_another_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Refused, match="such as 10G"):
        parse_size(text)


def test_sizes_are_rounded_up_as_the_cloud_does() -> None:
    assert [rounded(size) for size in (1, 4194304, 4194305, 10000000)] == [4194304, 4194304, 8388608, 12582912]


@pytest.mark.parametrize(
    ("wanted", "current", "changes"),
    [
        ({"size": "10000000"}, {"size": "12582912"}, {}),
        ({"size": "12M"}, {"size": "12582912"}, {}),
        ({"size": "1G"}, {"size": "12582912"}, {"size": "1073741824"}),
        ({"tier": "disk", "claim:type": "exclusive", "encryption:cipher": "aes-xts-plain"}, {}, {}),
        ({"claim:type": "shared"}, {}, {"claim:type": "shared"}),
        ({"readers": "b a"}, {"readers": "a b"}, {}),
        ({"avoid": "x", "drive": "u", "claimed": "v"}, {}, {}),
    ],
)
def test_drives_are_compared_as_the_cloud_keeps_them(
    wanted: dict[str, str], current: dict[str, str], changes: dict[str, str]
) -> None:
    assert drive_changes(wanted, current) == changes


def test_every_row_of_the_table_is_in_use() -> None:
    """No row stands behind another one that has its keys already."""
    for row in properties.PROPERTIES:
        if re.escape(row.key) == row.key:
            assert all(properties.property_of(kind, row.key) is row for kind in row.of), row.key


def test_what_a_running_server_lets_be_changed_and_what_is_secret() -> None:
    live = {"name", "cpu", "persistent", "tags", "password", "vnc:password"}
    assert {row.key for row in properties.PROPERTIES if SERVER in row.of and row.live} == live | {"user:.+"}
    assert is_live("user:role") and not any(map(is_live, ("mem", "smp", "ide:0:0", "nic:0:model", "unheard:of")))
    assert {"password", "vnc:password"} == properties.SECRET_KEYS


def test_a_new_property_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its option, its type, its text, what differs, what is live and secret: all come from the row."""
    row = properties.Property("colour", kind=values.words(), option="colours", live=True, default="blue")
    monkeypatch.setattr(properties, "PROPERTIES", (*properties.PROPERTIES, row))
    properties.property_of.cache_clear()
    assert arguments_of(SERVER)["colours"] == {"type": "list", "elements": "str", "no_log": False}
    assert "colours" not in arguments_of(DRIVE)
    assert [field.encode(["a", "b"]) for field in fields_of(SERVER) if field.key == "colour"] == ["a b"]
    assert is_live("colour")
    assert server_changes({"colour": "a b"}, {"colour": "b a"}) == {}
    assert server_changes({"colour": "a b"}, {"colour": "b"}) == {"colour": "a b"}
    properties.property_of.cache_clear()


@pytest.mark.parametrize(
    ("options", "desired"),
    [
        ({"vnc_tls": False, "smp": "2", "boot": ["ide:0:0", "block:1"]}, {"smp": "2", "boot": "ide:0:0 block:1"}),
        ({"ssh_key": "ssh-ed25519 AAAA", "vnc_ip": "auto"}, {"ssh:0:key": "ssh-ed25519 AAAA", "vnc:ip": "auto"}),
    ],
)
def test_options_of_a_server_are_those_of_the_table(options: dict[str, object], desired: dict[str, str]) -> None:
    found = server_desired(options, options, None, {})
    assert {key: value for key, value in found.items() if value is not None} == desired
