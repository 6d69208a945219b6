# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""front_end_hosts with the commands of a front-end: the cluster of the hosts, and the datastore that their VMs use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.opennebula.elastichosts.plugins.modules import front_end_hosts
from tests.front_ends import RELEASES, FrontEnd

Run = Callable[..., dict[str, Any]]
OTHERS = '<NOTE><![CDATA[of "us" & <them>]]></NOTE><LIMITS><CPU>4</CPU></LIMITS>'
"""attributes of a cluster's template that are the administrator's"""


def front_end(folder: Path, release: str) -> FrontEnd:
    """One that has restarted with the drivers' sections."""
    made = FrontEnd(folder / f"one-{release}", release)
    made.write_state({**made.state(), "loaded": ["im_eh", "vmm_eh"], "transfer": ["shared", "eh"]})
    return made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_module(where: FrontEnd, **options: Any) -> dict[str, Any]:
        given = {"one_location": str(where.root), "release": RELEASES[where.release], "owner": "", **options}
        with patch_module_args(given), pytest.raises(SystemExit):
            front_end_hosts.main()
        printed = capsys.readouterr()
        result: dict[str, Any] = json.loads(printed.out)
        # Once a test in this process has loaded Ansible's controller side, warnings go to its display on stderr.
        result["warned"] = " ".join(f"{result.get('warnings', '')} {printed.err}".split())
        return result

    return run_module


def transfer_driver(where: FrontEnd, host: str) -> str:
    """The transfer driver that serves a VM which is deployed on a host."""
    where.write_state({**where.state(), "virtual_machines": {"7": {"state": 1}}})
    where.by_hand("onevm", "deploy", "7", host)
    return where.by_hand("onevm", "show", "-x", "7").split("<TM_MAD>")[1].split("<")[0]


def with_a_network(where: FrontEnd, attributes: str = "") -> None:
    """The cluster gets a virtual network of the administrator, and attributes in its template."""
    state = where.state()
    stays = next(one for one in state["clusters"] if one["name"] == "eh")
    stays["vnets"] = [5]
    stays["template"] = stays["template"].replace("<TEMPLATE>", f"<TEMPLATE>{attributes}")
    where.write_state(state)


def cluster(where: FrontEnd, name: str = "eh") -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in where.state()["clusters"] if one["name"] == name)
    return found


@pytest.mark.parametrize("release", ["3.8", "5.10", "7.4"])
def test_vms_on_the_hosts_use_the_datastore_and_the_transfer_driver_that_are_theirs(
    run: Run, tmp_path: Path, release: str
) -> None:
    where = front_end(tmp_path, release)
    commands = run(where)["commands"]
    assert ("onecluster update eh FILE" in commands) == (release == "3.8")
    assert transfer_driver(where, "eh") == "eh"
    where.forget_calls()
    again = run(where)
    assert (again["changed"], again["commands"], where.calls()) == (False, [], [])


def test_a_cluster_of_3_8_that_was_made_without_its_datastore_gets_it(run: Run, tmp_path: Path) -> None:
    where = front_end(tmp_path, "3.8")
    run(where)
    state = where.state()
    cluster_ = next(one for one in state["clusters"] if one["name"] == "eh")
    cluster_["template"] = f"<TEMPLATE>{OTHERS}</TEMPLATE>"
    where.write_state(state)
    assert transfer_driver(where, "eh") == "shared"
    foretold = run(where, _ansible_check_mode=True)
    assert (foretold["changed"], transfer_driver(where, "eh")) == (True, "shared")
    assert run(where)["commands"] == foretold["commands"] == ["onecluster update eh FILE"]
    assert transfer_driver(where, "eh") == "eh"
    template = cluster(where)["template"]
    assert '<NOTE>of "us" &amp; &lt;them&gt;</NOTE><LIMITS><CPU>4</CPU></LIMITS>' in template
    assert not run(where)["changed"]


def test_a_cluster_that_stays_loses_the_name_of_the_datastore_that_goes_and_keeps_the_rest(
    run: Run, tmp_path: Path
) -> None:
    where = front_end(tmp_path, "3.8")
    run(where)
    with_a_network(where, OTHERS)
    where.forget_calls()
    removed = run(where, state="absent")
    assert removed["commands"] == ["onehost delete eh", "onecluster update eh FILE", "onedatastore delete eh_system"]
    assert "SYSTEM_DS" not in cluster(where)["template"]
    assert "<LIMITS><CPU>4</CPU></LIMITS>" in cluster(where)["template"]
    assert (
        "The cluster eh stays, because it holds more than the hosts and the datastore for ElasticHosts: the virtual"
        " network 5."
    ) in removed["warned"]


def test_a_cluster_of_3_8_with_nothing_else_in_its_template_is_left_without_attributes(
    run: Run, tmp_path: Path
) -> None:
    where = front_end(tmp_path, "3.8")
    run(where)
    with_a_network(where)
    run(where, state="absent")
    assert cluster(where)["template"] == "<TEMPLATE />"


@pytest.mark.parametrize("release", ["3.8", "7.4"])
def test_a_cluster_that_holds_something_else_is_named_with_all_of_it(run: Run, tmp_path: Path, release: str) -> None:
    where = front_end(tmp_path, release)
    run(where)
    state = where.state()
    # Ansible shows the same warning only once in a process.
    state["hosts"].append({"id": 70, "name": f"node-{release}", "im": "kvm", "vm": "kvm", "vms": 0})
    state["datastores"].append({"id": 71, "name": "images", "tm": "shared"})
    stays = next(one for one in state["clusters"] if one["name"] == "eh")
    stays["hosts"].append(70)
    stays["datastores"].append(71)
    stays["vnets"] = [5]
    where.write_state(state)
    removed = run(where, state="absent")
    assert f"the host node-{release}, the datastore images, the virtual network 5." in removed["warned"]
    assert cluster(where)["hosts"] == [70]


def test_a_removal_that_leaves_nothing_warns_of_nothing(run: Run, tmp_path: Path) -> None:
    where = front_end(tmp_path, "3.8")
    run(where)
    removed = run(where, state="absent")
    assert removed["commands"] == ["onehost delete eh", "onedatastore delete eh_system", "onecluster delete eh"]
    assert removed["warned"] == ""


def test_the_datastore_of_somebody_elses_hosts_is_not_changed(run: Run, tmp_path: Path) -> None:
    where = front_end(tmp_path, "3.8")
    state = where.state()
    state["hosts"].append({"id": 70, "name": "node1", "im": "kvm", "vm": "kvm", "vms": 0})
    state["clusters"].append({"id": 72, "name": "eh", "hosts": [70], "datastores": [], "vnets": []})
    where.write_state(state)
    refused = run(where)
    assert refused["failed"]
    assert refused["msg"].startswith("The cluster eh holds the host node1, and all hosts of a cluster share")
    assert where.calls() == []


def test_what_ruby_says_first_is_what_is_said(run: Run, tmp_path: Path) -> None:
    where = front_end(tmp_path, "7.4")
    where.write_state({**where.state(), "missing_gem": "nokogiri"})
    message = run(where)["msg"]
    assert message.startswith("onehost list failed: ")
    assert "cannot load such file -- nokogiri (LoadError). See whether OpenNebula runs" in message
