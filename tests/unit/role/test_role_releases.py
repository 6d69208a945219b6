# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role one_eh_driver wants in the configuration of each release, and where its variables are told.

The tables of the role are templated as Ansible does it, without a play: so releases between those that have a whole
front-end in the other tests are looked at as well.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula import conf
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.conf_edits import Edit, apply
from ansible_collections.opennebula.elastichosts.plugins.modules import mad

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "one_eh_driver"
SAMPLES = ROOT / "tests" / "samples"

OLD = ["oned.conf IM_MAD im_eh", "oned.conf VM_MAD vmm_eh"]
NEW = ["oned.conf VM_MAD vmm_eh", "monitord.conf IM_MAD im_eh"]
LISTED = ["oned.conf TM_MAD"]
CONFIGURED = [*LISTED, "oned.conf TM_MAD_CONF eh"]
MONITORED = [*CONFIGURED, "oned.conf DATASTORE_MAD"]
OF_5 = {"SUNSTONE_NAME", "EXECUTABLE", "TYPE", "KEEP_SNAPSHOTS"}
"""attributes that the VM_MAD has in 5.0 and later"""
DUMMY = ["oned.conf TM_MAD tm_dummy"]
# release: what it wants, and the sample that is nearest to its stock configuration
WANTED: dict[str, tuple[list[str], str]] = {
    "2.0": (OLD + DUMMY, "2.0"),
    "2.2": (OLD + DUMMY, "2.0"),
    "3.0.1": (OLD + DUMMY, "2.0"),
    "3.2": (OLD + DUMMY, "2.0"),
    "3.4": (OLD, "3.8"),
    "3.6": (OLD + LISTED, "3.8"),
    "3.8.5": (OLD + LISTED, "3.8"),
    "4.0": (OLD + LISTED, "3.8"),
    "4.2": (OLD + LISTED, "3.8"),
    "4.4": (OLD + CONFIGURED, "3.8"),
    "4.14.2": (OLD + CONFIGURED, "3.8"),
    "5.0": (OLD + MONITORED, "5.10"),
    "5.4.15": (OLD + MONITORED, "5.10"),
    "5.10.5": (OLD + MONITORED, "5.10"),
    "5.12.0": (NEW + MONITORED, "5.12"),
    "6.0": (NEW + MONITORED, "6.10"),
    "6.10.5": (NEW + MONITORED, "6.10"),
    "7.0": (NEW + MONITORED, "7.4"),
    "7.4.0": (NEW + MONITORED, "7.4"),
    "1.4": ([], "2.0"),
    "8.0": ([], "7.4"),
}


def load(name: str) -> Any:
    return DataLoader().load_from_file(str(ROLE / name), trusted_as_template=True)


def edits(release: str, **given: Any) -> list[dict[str, Any]]:
    found = {"release": release, "folders": {"etc": "/etc/one"}}
    variables = {**load("defaults/main.yml"), **load("vars/main.yml"), "one_eh_driver__found": found, **given}
    templar = Templar(loader=DataLoader(), variables=variables)
    wanted: list[dict[str, Any]] = templar.template(trust_as_template("{{ one_eh_driver__wanted_edits }}"))
    return wanted


def label(edit: dict[str, Any]) -> str:
    return " ".join(filter(None, (edit["path"].removeprefix("/etc/one/"), edit["kind"], edit.get("name"))))


def edit_of(wanted: dict[str, Any]) -> Edit:
    defaults = {name: option.get("default") for name, option in mad.EDIT.items()}
    return mad.edit_of({**defaults, **wanted})


@pytest.mark.parametrize("release", list(WANTED))
def test_each_release_gets_its_sections_and_no_other(release: str) -> None:
    wanted, sample = WANTED[release]
    found = edits(release)
    assert sorted(map(label, found)) == sorted(wanted)
    for file in ("oned.conf", "monitord.conf"):
        path = SAMPLES / sample / file
        text = stock = path.read_text() if path.exists() else ""
        ours = [edit_of(edit) for edit in found if edit["path"].endswith(file)]
        for edit in ours:
            text = apply(text, edit)
        conf.parse(text)
        assert (text != stock) == bool(ours)


@pytest.mark.parametrize(
    ("release", "attributes"),
    [
        ("2.2", {"executable", "type"}),
        ("4.14.2", {"EXECUTABLE", "TYPE"}),
        ("5.0", {*OF_5, "IMPORTED_VMS_ACTIONS"}),
        ("5.10.5", {*OF_5, "IMPORTED_VMS_ACTIONS"}),
        ("5.12.0", {*OF_5, "IMPORTED_VMS_ACTIONS", "COLD_NIC_ATTACH"}),
        ("6.0", {*OF_5, "IMPORTED_VMS_ACTIONS", "COLD_NIC_ATTACH", "LIVE_RESIZE", "THREADS"}),
        ("6.10.5", {*OF_5, "IMPORTED_VMS_ACTIONS", "COLD_NIC_ATTACH", "LIVE_RESIZE", "THREADS"}),
        ("7.0", {*OF_5, "COLD_NIC_ATTACH", "LIVE_RESIZE", "THREADS"}),
        ("7.4.0", {*OF_5, "COLD_NIC_ATTACH", "LIVE_RESIZE", "THREADS"}),
    ],
)
def test_the_virtual_machine_driver_has_the_attributes_of_its_release(release: str, attributes: set[str]) -> None:
    section = next(edit for edit in edits(release) if edit["kind"] == "VM_MAD")
    assert set(section["attributes"]) == attributes
    switched_on = {"COLD_NIC_ATTACH", "LIVE_RESIZE"} & attributes
    assert {section["attributes"][name] for name in switched_on} <= {"yes"}


@pytest.mark.parametrize(
    ("release", "limits"),
    [
        ("6.10.0", {"sched.conf MAX_HOST": "25", "sched.conf MAX_DISPATCH": "50"}),
        ("7.0", {"oned.conf MAX_ACTIONS_PER_HOST": "25", "oned.conf MAX_ACTIONS_PER_CLUSTER": "50"}),
    ],
)
@pytest.mark.parametrize("hosts", [1, 2])
def test_limits_for_all_hosts_are_raised_only_where_they_would_hold_one_up(
    release: str, limits: dict[str, str], hosts: int
) -> None:
    zones = [{"name": f"eh-{number}"} for number in range(hosts)]
    given = {"one_eh_driver_dispatch_per_cycle": 25, "one_eh_driver_hosts": zones}
    found = {label(edit): edit["value"] for edit in edits(release, **given) if "value" in edit}
    assert found == dict(list(limits.items())[:hosts])


def test_a_larger_limit_of_the_administrator_stays() -> None:
    given = {"one_eh_driver_dispatch_per_cycle": 50}
    edit = next(edit_of(one) for one in edits("7.4", **given) if one["kind"] == "MAX_ACTIONS_PER_CLUSTER")
    assert apply("MAX_ACTIONS_PER_CLUSTER = 200\n", edit) == "MAX_ACTIONS_PER_CLUSTER = 200\n"
    raised = apply("MAX_ACTIONS_PER_CLUSTER = 30\n", edit)
    assert raised.endswith("MAX_ACTIONS_PER_CLUSTER = 50\n")


def test_every_variable_is_specified_documented_and_has_its_default_in_one_place() -> None:
    specified = load("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = load("defaults/main.yml")
    comment = (ROLE / "defaults/main.yml").read_text().partition("# No default: ")[2]
    without = set(re.findall(r"one_eh_driver_\w+", comment))
    assert set(defaults) | without == set(specified)
    assert not set(defaults) & without
    for name, option in specified.items():
        assert option["description"], name
        if "default" in option:
            assert option["default"] == defaults[name], name
    readme = (ROLE / "README.md").read_text()
    rows = re.findall(r"^\| (`one_eh_driver_.*?) \|", readme, re.MULTILINE)
    told = {
        f"one_eh_driver{word}" if word.startswith("_") else word for row in rows for word in re.findall("`(.*?)`", row)
    }
    assert told == set(specified)
