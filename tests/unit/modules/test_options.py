# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options -> API properties: pure, so every rule can be tried with any value."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opennebula.elastichosts.plugins.module_utils.drive_options import drive_desired
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.properties import server_changes
from ansible_collections.opennebula.elastichosts.plugins.module_utils.options import InvalidOption, wanted
from ansible_collections.opennebula.elastichosts.plugins.module_utils.progress import by_steps
from ansible_collections.opennebula.elastichosts.plugins.module_utils.server_options import (
    named_drives,
    server_desired,
    with_creation_defaults,
)

DRIVE = "0d9a1c52-7c1e-4c53-9d5e-3f0a6f1e2b34"
OTHER = "5f0e1d2c-3b4a-4958-8776-655443322110"

WORD = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=12)
DEVICES = ["ide:0:0", "ide:1:1", "scsi:0:7", "ata:0:5", "block:0", "block:7"]
TASKS = st.fixed_dictionaries(
    {},
    optional={
        "name": WORD,
        "cpu": st.integers(500, 20000),
        "mem": st.integers(256, 32768),
        "smp": st.sampled_from(["auto", "1", "8"]),
        "persistent": st.booleans(),
        "boot": st.lists(st.sampled_from(DEVICES), unique=True),
        "vnc": st.booleans(),
        "password": st.none() | st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=8),
        "tags": st.lists(WORD, unique=True),
        "user_keys": st.dictionaries(WORD, st.none() | WORD),
        "drives": st.lists(
            st.fixed_dictionaries(
                {
                    "device": st.sampled_from(DEVICES),
                    "drive": st.just(DRIVE),
                    "media": st.sampled_from(["disk", "cdrom"]),
                }
            ),
            unique_by=lambda item: item["device"],
        ),
        "nics": st.lists(st.fixed_dictionaries({"model": st.sampled_from(["e1000", "virtio"])}), max_size=4),
    },
)


def desired(current: dict[str, str] | None = None, **params: Any) -> dict[str, str | None]:
    uuids = dict.fromkeys(named_drives(params), DRIVE)
    return server_desired(params, params, current, uuids)


def applied(properties: dict[str, str], changes: dict[str, str | None]) -> dict[str, str]:
    both = {**properties, **changes}
    return {key: value for key, value in both.items() if value is not None}


def test_an_option_that_is_not_in_the_task_is_not_mentioned() -> None:
    assert desired(name="web") == {"name": "web"}
    assert server_desired({"name": "web", "cpu": None, "tags": None}, ["name"], None, {}) == {"name": "web"}


def test_null_unsets_a_property() -> None:
    assert desired(password=None, tags=None, vnc=None) == {"password": None, "tags": None, "vnc": None}


@pytest.mark.parametrize("option", ["name", "cpu", "mem", "type"])
def test_null_for_what_a_server_must_have_is_refused(option: str) -> None:
    with pytest.raises(InvalidOption, match=f"^{option}: cannot be unset; leave the option out"):
        desired(**{option: None})


def test_a_server_that_is_not_persistent_has_no_such_key() -> None:
    assert desired(persistent=False) == {"persistent": None}
    assert desired(persistent=True) == {"persistent": "true"}


def test_user_keys_that_are_not_named_stay() -> None:
    current = {"user:kept": "1", "user:gone": "2"}
    assert desired(current, user_keys={"gone": None, "new": True, "count": 3}) == {
        "user:gone": None,
        "user:new": "true",
        "user:count": "3",
    }


def test_the_list_of_drives_is_complete() -> None:
    current = {"ide:0:0": DRIVE, "ide:0:1": OTHER, "ide:0:1:media": "cdrom", "ide:0:0:read:bytes": "1"}
    task = [{"device": "ide:0:0", "drive": DRIVE, "media": "disk"}]
    assert desired(current, drives=task) == {"ide:0:0": DRIVE, "ide:0:1": None, "ide:0:1:media": None}
    assert desired(current, drives=[]) == {"ide:0:0": None, "ide:0:1": None, "ide:0:1:media": None}
    assert desired(current, name="web") == {"name": "web"}


def test_a_cdrom_that_becomes_a_disk_loses_its_media() -> None:
    current = {"ide:0:0": DRIVE, "ide:0:0:media": "cdrom"}
    task = [{"device": "ide:0:0", "drive": DRIVE, "media": "disk"}]
    assert desired(current, drives=task) == {"ide:0:0": DRIVE, "ide:0:0:media": None}


def test_the_list_of_interfaces_is_complete() -> None:
    current = {
        "nic:0:model": "e1000",
        "nic:0:dhcp": "auto",
        "nic:0:mac": "6a:00:00:00:00:01",
        "nic:1:model": "e1000",
        "nic:1:vlan": OTHER,
        "nic:1:mac": "6a:00:00:00:00:02",
    }
    assert desired(current, nics=[{"model": "virtio"}]) == {
        "nic:0:model": "virtio",
        "nic:0:dhcp": "auto",
        "nic:1:model": None,
        "nic:1:vlan": None,
        "nic:1:mac": None,
    }


def test_the_first_interface_can_do_without_an_address() -> None:
    assert desired(nics=[{"model": "e1000", "dhcp": "none"}]) == {"nic:0:model": "e1000", "nic:0:dhcp": None}


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ({"cpu": 499}, "cpu: 499 is out of range, give 500 to 20000 MHz"),
        ({"cpu": 20001}, "cpu: 20001 is out of range, give 500 to 20000 MHz"),
        ({"mem": 255}, "mem: 255 is out of range, give 256 to 32768 MB"),
        ({"smp": "9"}, "smp: '9' is neither auto nor a number of 1 to 8 cores"),
        ({"name": ""}, "name: 0 characters given, 1 to 80 are possible"),
        ({"name": "two\nlines"}, "name: contains a control character such as a line feed, give one line of text"),
        ({"password": "123456789"}, "password: 9 characters given, 1 to 8 are possible"),
        ({"tags": ["a b"]}, "tags: 'a b' must be one word, the API separates the list by spaces"),
        ({"boot": ["sda"]}, "boot: 'sda' is not a device, the devices are"),
        ({"avoid": {"servers": ["web"]}}, "avoid.servers: 'web' is not a UUID such as"),
        ({"user_keys": {"a b": "1"}}, "user_keys: 'a b' must be one word"),
        ({"user_keys": {"a": [1]}}, "user_keys: the value of 'a' must be text or null, not a list"),
        ({"extra": {"cpu": 1}}, "extra: 'cpu' has an option of its own, use cpu"),
        ({"extra": {"vnc:password": "x"}}, "extra: 'vnc:password' has an option of its own, use password"),
        ({"extra": {"user:a": "x"}}, "extra: 'user:a' has an option of its own, use user_keys"),
        ({"drives": [{"device": "sda", "drive": DRIVE}]}, "drives[0].device: 'sda' is not a device"),
        (
            {"drives": [{"device": "block:0", "drive": DRIVE}, {"device": "block:0", "drive": OTHER}]},
            "drives[1].device: block:0 is used twice",
        ),
        (
            {"drives": [{"device": "block:0", "drive": DRIVE}], "extra": {"block:0": OTHER}},
            "is given by another option",
        ),
        ({"nics": [{}] * 5}, "nics: more than 4 interfaces"),
        ({"nics": [{"vlan": OTHER}]}, "nics[0].vlan: possible on every interface but the first only"),
        ({"nics": [{}, {"dhcp": "auto"}]}, "nics[1].dhcp: possible on the first interface only"),
        ({"nics": [{"dhcp": "often"}]}, "nics[0].dhcp: 'often' is neither auto, none nor an IP address"),
        ({"nics": [{}, {"mac": "6a"}]}, "nics[1].mac: '6a' is not a MAC address"),
    ],
)
def test_an_impossible_value_gives_one_sentence(task: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        desired(**task)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.failure() == {"status": None, "code": "option", "call": ""}


def test_a_password_is_not_repeated_in_the_sentence() -> None:
    for password in ("geheim-geheim", "ge\x07heim"):
        with pytest.raises(InvalidOption) as caught:
            desired(password=password)
        assert password[:2] not in str(caught.value).replace("give", "")


def test_a_new_server_gets_what_the_platform_needs_and_the_task_leaves_open() -> None:
    task: dict[str, Any] = {"name": "web", "drives": [{"device": "block:0", "drive": DRIVE, "media": "disk"}]}
    complete = with_creation_defaults(desired(**task), task, task)
    assert complete == {
        "name": "web",
        "smp": "auto",
        "persistent": "true",
        "boot": "block:0",
        "block:0": DRIVE,
        "nic:0:model": "e1000",
        "nic:0:dhcp": "auto",
    }
    task = {"smp": "2", "persistent": False, "nics": [], "boot": []}
    assert with_creation_defaults(desired(**task), task, task) == {"smp": "2", "persistent": None, "boot": None}


@given(TASKS, TASKS)
def test_what_a_task_asks_for_is_there_once_it_was_sent(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Whatever was there before, the same task has nothing left to ask for: the second run changes nothing."""
    current = applied({}, desired(**first))
    current = applied(current, server_changes(desired(current, **second), current))
    assert server_changes(desired(current, **second), current) == {}


@given(TASKS)
def test_no_task_makes_a_value_that_is_not_text(task: dict[str, Any]) -> None:
    assert all(value is None or isinstance(value, str) for value in desired(**task).values())


@pytest.mark.parametrize(
    ("given_size", "size"),
    [
        ("10G", 10 * 2**30),
        ("4194304", 4194304),
        ("1", 4194304),
        ("512 m", 512 * 2**20),
        ("1TiB", 2**40),
        (5000000, 8388608),
    ],
)
def test_a_size_is_binary_and_as_the_cloud_rounds_it(given_size: Any, size: int) -> None:
    assert drive_desired({"size": given_size}, ["size"]) == {"size": str(size)}


@pytest.mark.parametrize("given_size", ["0", "-1", "10X", "ten", "1.5G", "", "G"])
def test_a_size_that_is_none_is_refused(given_size: str) -> None:
    with pytest.raises(InvalidOption, match=r"^size: .* is not a size such as 10G"):
        drive_desired({"size": given_size}, ["size"])


def test_the_keys_of_an_upload_cannot_be_set_by_hand() -> None:
    for key in ("sha256", "upload", "image", "copying"):
        with pytest.raises(InvalidOption, match="is reserved"):
            drive_desired({"user_keys": {key: "0"}}, ["user_keys"])


def test_everyone_is_a_reader_too() -> None:
    task = {"readers": ["everyone", DRIVE.upper()]}
    assert drive_desired(task, task) == {"readers": f"ffffffff-ffff-ffff-ffff-ffffffffffff {DRIVE}"}


def test_a_uuid_in_the_place_of_a_name_is_refused() -> None:
    with pytest.raises(InvalidOption, match="give it as uuid"):
        wanted({"uuid": None, "name": DRIVE})
    with pytest.raises(InvalidOption, match=r"^uuid: 'web' is not a UUID"):
        wanted({"uuid": "web", "name": None})
    assert wanted({"uuid": DRIVE.upper(), "name": "web"}) == DRIVE


def test_a_container_s_folders_are_a_complete_list() -> None:
    current = {"fs:0": DRIVE, "fs:0:mount": "/", "fs:1": OTHER, "fs:1:mount": "/srv"}
    task = [{"folder": f"{DRIVE.upper()}/etc", "mount": "/etc"}]
    assert desired(current, folders=task) == {
        "fs:0": f"{DRIVE}/etc",
        "fs:0:mount": "/etc",
        "fs:1": None,
        "fs:1:mount": None,
    }
    assert desired(current, folders=[]) == dict.fromkeys(current)


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ({"folders": [{"folder": "x", "mount": "/"}]}, "folders[0].folder: 'x' is not a UUID"),
        ({"folders": [{"folder": f"{DRIVE}/../x", "mount": "/"}]}, "is not a folder with a path in it"),
        ({"folders": [{"folder": DRIVE, "mount": "srv"}]}, "folders[0].mount: 'srv' is not a mount point such as /srv"),
        ({"folders": [{"folder": DRIVE, "mount": "/"}] * 9}, "folders: more than 8 folders"),
        ({"vnc_ip": "192.0.2.1"}, "vnc_ip: '192.0.2.1' is not possible, the old platform knows auto only"),
        ({"ssh_key": "two\nlines"}, "ssh_key: contains a control character"),
        ({"extra": {"ssh:0:key": "x"}}, "extra: 'ssh:0:key' has an option of its own, use ssh_key"),
    ],
)
def test_an_impossible_value_of_a_container_gives_one_sentence(task: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        desired(**task)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("total", [1, 19, 100, 12_345, 10**12])
def test_progress_is_a_line_per_five_per_cent(total: int) -> None:
    told: list[int] = []
    progress = by_steps(told.append)
    step = max(1, total // 1000)
    for done in [*range(0, total, step), total, total]:
        progress(done, total)
    assert told[-1] == 100
    assert told == sorted(set(told))
    assert all(percent % 5 == 0 for percent in told)
    assert len(told) == (20 if total >= 20 else len(told)) <= 20
