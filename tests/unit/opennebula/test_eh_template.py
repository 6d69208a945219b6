# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""EH=[...]: the nine attributes in their 2010 form, ours, and one sentence for every mistake."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.eh_template import (
    ATTRIBUTES,
    TemplateError,
    eh_values,
    parse_attribute,
)

DRIVE = "0a1b2c3d-1111-2222-3333-444455556666"
OTHER = "0a1b2c3d-1111-2222-3333-444455557777"


def test_the_template_of_the_original_guide_gives_the_keys_of_the_api() -> None:
    assert eh_values(
        {
            "NAME": "bitrot",
            "CPUMHZ": "500",
            "MEMORY": "500",
            "DRIVE": f"ide:0:0 {DRIVE}",
            "NICMODEL": "nic:0:model e1000",
            "NICDHCP": "nic:0:dhcp auto",
            "VNCIP": "vnc:ip auto",
            "VNCPASSWORD": "vnc:password password",
            "BOOT": "ide:0:0",
        }
    ).server == {
        "name": "bitrot",
        "cpu": "500",
        "mem": "500",
        "ide:0:0": DRIVE,
        "nic:0:model": "e1000",
        "nic:0:dhcp": "auto",
        "vnc:ip": "auto",
        "vnc:password": "password",
        "boot": "ide:0:0",
    }


@pytest.mark.parametrize(
    ("name", "value", "keys"),
    [
        ("DRIVE", f"ide:0:0 {DRIVE},block:0  {OTHER}", {"ide:0:0": DRIVE, "block:0": OTHER}),
        ("DRIVE", f" scsi:0:7   {DRIVE} ", {"scsi:0:7": DRIVE}),
        ("NICMODEL", "nic:0:model e1000, nic:1:model virtio", {"nic:0:model": "e1000", "nic:1:model": "virtio"}),
        ("NICDHCP", "nic:0:dhcp 192.0.2.7", {"nic:0:dhcp": "192.0.2.7"}),
        ("NICVLAN", f"nic:1:vlan {DRIVE}", {"nic:1:vlan": DRIVE}),
        ("BOOT", "ide:0:0, ide:1:1", {"boot": "ide:0:0 ide:1:1"}),
        ("SMP", "AUTO", {"smp": "auto"}),
        ("SMP", "4", {"smp": "4"}),
        ("PERSISTENT", "yes", {"persistent": "true"}),
        ("PERSISTENT", "No", {"persistent": "false"}),
        ("TAGS", "web, burst  lon", {"tags": "web burst lon"}),
        ("AVOID", f"{DRIVE} {OTHER}", {"avoid:servers": f"{DRIVE} {OTHER}"}),
        ("AVOID", f"avoid:drives {DRIVE}, avoid:servers {OTHER}", {"avoid:drives": DRIVE, "avoid:servers": OTHER}),
        ("EXTRA", "nic:1:mac 02:00:00:00:00:01, type vm", {"nic:1:mac": "02:00:00:00:00:01", "type": "vm"}),
        ("EXTRA", "user:note two words", {"user:note": "two words"}),
    ],
)
def test_an_attribute_becomes_keys_of_the_api(name: str, value: str, keys: dict[str, str]) -> None:
    assert parse_attribute(name, value) == keys


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CPUMHZ", "500MHz"),
        ("CPUMHZ", "0"),
        ("CPUMHZ", "-5"),
        ("CPUMHZ", "1e3"),
        ("MEMORY", "0.5"),
        ("DRIVE", DRIVE),
        ("DRIVE", f"ide:0:2 {DRIVE}"),
        ("DRIVE", "ide:0:0 xxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"),
        ("DRIVE", f"ide:0:0 {DRIVE},"),
        ("DRIVE", f"ide:0:0 {DRIVE}, ide:0:0 {OTHER}"),
        ("NICMODEL", "e1000"),
        ("NICMODEL", "nic:4:model e1000"),
        ("NICDHCP", "auto"),
        ("NICDHCP", "nic:0:dhcp maybe"),
        ("NICVLAN", f"nic:0:vlan {DRIVE}"),
        ("BOOT", "hda"),
        ("VNCIP", "auto"),
        ("VNCIP", "vnc:ip later"),
        ("SMP", "many"),
        ("PERSISTENT", "perhaps"),
        ("AVOID", "web-1"),
        ("AVOID", f"{DRIVE},,{OTHER}"),
        ("TIER", "fast and cheap"),
    ],
)
def test_a_mistake_is_named_with_its_value_and_the_right_form(name: str, value: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse_attribute(name, value)
    sentence = str(caught.value)
    assert sentence.startswith(f'Correct {name} of EH=[...]: "{value}" is wrong')
    assert "it must be" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("value", "says"), [("two\nlines", "control character"), ("a\x07b", "control"), ("x" * 81, "81 char")]
)
def test_a_name_that_the_module_refuses_is_refused(value: str, says: str) -> None:
    with pytest.raises(TemplateError, match=says) as caught:
        parse_attribute("NAME", value)
    assert str(caught.value).startswith("Correct NAME of EH=[...]: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "value"),
    [("VNCPASSWORD", "s3cret"), ("VNCPASSWORD", "vnc:password s3cret and more"), ("EXTRA", "PASSWORD s3cret")],
)
def test_a_password_is_never_repeated(name: str, value: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse_attribute(name, value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(("value", "says"), [("user:one-vm 3", "belongs to the driver"), ("type", "without a value")])
def test_extra_cannot_claim_a_server_and_needs_values(value: str, says: str) -> None:
    with pytest.raises(TemplateError, match=says):
        parse_attribute("EXTRA", value)


def test_a_misspelt_attribute_is_named_with_those_that_exist() -> None:
    with pytest.raises(TemplateError, match=r"CPUMZ.*use one of AVOID, BOOT, CPUMHZ"):
        eh_values({"CPUMZ": "500"})


def test_two_attributes_must_not_set_the_same_key() -> None:
    with pytest.raises(TemplateError, match="CPUMHZ and EXTRA both set cpu"):
        eh_values({"CPUMHZ": "500", "EXTRA": "cpu 700"})


def test_the_vm_can_only_boot_from_a_drive_it_has() -> None:
    with pytest.raises(TemplateError, match="BOOT is ide:0:1, but the drives are at ide:0:0 only"):
        eh_values({"DRIVE": f"ide:0:0 {DRIVE}", "BOOT": "ide:0:1"})


def test_an_empty_attribute_and_those_that_choose_the_vector_ask_for_nothing() -> None:
    assert eh_values({"SMP": "", "NAME": "  ", "HOST": "eh", "CLOUD": "eh"}).server == {}


def test_the_tier_is_the_drives_not_the_servers() -> None:
    vector = {"NAME": "bitrot", "TIER": "ssd"}
    assert eh_values(vector).server == {"name": "bitrot"}
    assert eh_values(vector).drive == {"tier": "ssd"}


@given(st.dictionaries(st.sampled_from(sorted(ATTRIBUTES)), st.text(max_size=40), max_size=6))
def test_whatever_is_written_gives_keys_or_one_sentence(vector: dict[str, str]) -> None:
    try:
        properties = eh_values(vector).server
    except TemplateError as error:
        assert str(error)
    else:
        assert all(key and value for key, value in properties.items())
        assert not any(key.startswith("user:one-") for key in properties)
