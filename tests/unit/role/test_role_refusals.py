# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role refuses: one sentence that names the thing and what to do, and nothing is changed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from tests.front_ends import FrontEnd
from tests.support.endpoint import Endpoint
from tests.support.plays import Played, Plays

State = dict[str, dict[str, tuple[int, bytes]]]
STRANGER = "5c7d1e0a-2b3f-4a6d-8e9c-0123456789ab:Geheimnis23"
BROKEN: dict[str, dict[str, object]] = {
    "account": {"one_eh_driver_auth": ""},
    "form": {"one_eh_driver_auth": "user:Geheimnis23"},
    "stranger": {"one_eh_driver_auth": STRANGER},
    "endpoint": {"one_eh_driver_endpoint": "api-lon-p"},
    "silent": {"one_eh_driver_endpoint": "http://127.0.0.1:9"},
    "zone": {"one_eh_driver_hosts": [{"name": "eh-london"}, {"name": "eh-sanjose", "auth": STRANGER}]},
    "zone-name": {"one_eh_driver_hosts": [{"name": "../eh"}]},
    "release": {"one_eh_driver_release": "1.4"},
    "python": {"one_eh_driver_python": "/nowhere/python3"},
    "cloud": {"one_eh_driver_cloud_id": "ba9876543210"},
    "limits": {"one_eh_driver_total_cpu": 0},
    "scheduler": {"one_eh_driver_release": "6.10", "one_eh_driver_dispatch_per_cycle": 30},
    "register": {"one_eh_driver_register": True},
    "nowhere": {"one_eh_driver_one_location": "/nowhere/one"},
    "syntax": {},
    "twice": {},
    "unknown": {},
}


class Refused(NamedTuple):
    played: Played
    stock: State
    afterwards: State


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory, endpoint: Endpoint) -> Refused:
    """Each front-end has one thing wrong; one play tells them all."""
    folder = tmp_path_factory.mktemp("broken")
    hosts = {name: FrontEnd(folder / name, "7.4", running=False) for name in BROKEN}
    etc = {name: front_end.folders["etc"] for name, front_end in hosts.items()}
    oned = etc["syntax"] / "oned.conf"
    oned.write_text(oned.read_text().replace('TYPE           = "kvm"', 'TYPE           "kvm"'))
    monitord = etc["twice"] / "monitord.conf"
    monitord.write_text(monitord.read_text() + "IM_MAD=[NAME=im_eh]\nIM_MAD=[NAME=im_eh]\n")
    (hosts["unknown"].root / "bin/oned").unlink()
    (hosts["unknown"].root / "var/remotes/VERSION").unlink()
    (hosts["register"].root / "bin/onehost").unlink()
    (etc["cloud"] / "vmm_eh").mkdir()
    (etc["cloud"] / "vmm_eh/vmm_ehrc").write_text("EHCLOUD=0123456789ab\n")
    stock = {name: front_end.files() for name, front_end in hosts.items()}
    played = Plays(folder, endpoint, hosts, BROKEN).play("install_driver")
    return Refused(played, stock, {name: front_end.files() for name, front_end in hosts.items()})


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("syntax", r"oned\.conf: line 166, column 20: expected = after TYPE, found '\"'"),
        ("twice", r'monitord\.conf: IM_MAD "im_eh" stands more than once, at lines 129 and 130'),
        ("account", "The ElasticHosts account is missing .* set one_eh_driver_auth"),
        ("form", "has not the form <user uuid>:<secret API key>"),
        ("stranger", "The ElasticHosts account was tried: .* refused user 5c7d1e0a"),
        ("endpoint", "The address of the ElasticHosts API is missing or no URL: set one_eh_driver_endpoint"),
        ("silent", r"The ElasticHosts account was tried: .*127\.0\.0\.1:9"),
        ("zone", "The ElasticHosts account of the zone eh-sanjose was tried: .* refused user 5c7d1e0a"),
        ("zone-name", r"The OpenNebula host '\.\./eh' cannot have a file of its own: name it with letters and digits"),
        ("release", r"OpenNebula 1\.4 is not known to the drivers, .* correct one_eh_driver_release"),
        ("unknown", "The release of OpenNebula is unknown: neither .*/bin/oned -v nor .*/VERSION tells it"),
        ("python", r"no Python 3\.9 or later with the package requests at /nowhere/python3: install"),
        ("cloud", "vmm_ehrc says EHCLOUD=0123456789ab, and servers that carry it would be lost"),
        ("limits", "one_eh_driver_total_cpu .* have to be greater than 0"),
        ("scheduler", r"etc/sched\.conf does not exist, .* leave one_eh_driver_dispatch_per_cycle out"),
        ("register", "There is no onehost command to register with: set one_eh_driver_register to false"),
        ("nowhere", "There is no OpenNebula in /nowhere/one: the folder /nowhere/one/lib/mads does not exist"),
    ],
)
def test_one_sentence_says_what_is_wrong_and_nothing_is_changed(refused: Refused, host: str, words: str) -> None:
    message = refused.played.message(host)
    assert re.search(words, message)
    assert message.endswith("Nothing was changed.")
    assert "Geheimnis23" not in refused.played.output
    assert (refused.played.failed(host), refused.played.changed(host)) == (1, 0)
    assert refused.afterwards[host] == refused.stock[host]


class Trouble(NamedTuple):
    """An installation that goes wrong, and removals that are refused."""

    hosts: dict[str, FrontEnd]
    stock: State
    installed: Played
    after: State
    calls: dict[str, list[str]]
    removed: Played
    forced: Played
    after_force: State
    vm: str


def interpreter_that_ends_early(folder: Path) -> Path:
    """A Python that has all it needs, and yet ends before a driver's first word."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    packages = next((folder / "venv/lib").glob("python3.*")) / "site-packages"
    (packages / "requests.pth").write_text(str(Path(requests.__file__).parent.parent) + "\n")
    (packages / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if any(word.endswith('one_vmm_eh.py') for word in sys.orig_argv):\n"
        "    os.write(2, b'no such luck\\n')\n"
        "    os._exit(3)\n"
    )
    return folder / "venv/bin/python"


@pytest.fixture(scope="module")
def trouble(tmp_path_factory: pytest.TempPathFactory, endpoint: Endpoint) -> Trouble:
    folder = tmp_path_factory.mktemp("trouble")
    hosts = {
        "broken": FrontEnd(folder / "broken", "7.4"),
        "taken": FrontEnd(folder / "taken", "5.10"),
        "servers": FrontEnd(folder / "servers", "7.4", running=False),
        "machines": FrontEnd(folder / "machines", "6.10"),
    }
    interpreter = interpreter_that_ends_early(folder)
    taken = hosts["taken"].state()
    taken["hosts"].append({"id": 7, "name": "eh", "im": "kvm", "vm": "kvm", "vms": 0})
    hosts["taken"].write_state(taken)
    stock = {name: front_end.files() for name, front_end in hosts.items()}
    plays = Plays(folder, endpoint, hosts, {"broken": {"one_eh_driver_python": str(interpreter)}})
    installed = plays.play("install_driver")
    after = {name: front_end.files() for name, front_end in hosts.items()}
    calls = {name: front_end.calls() for name, front_end in hosts.items()}
    cloud_id = re.search(rb"^EHCLOUD=(.+)$", after["servers"]["etc/vmm_eh/vmm_ehrc"][1], re.MULTILINE)
    assert cloud_id
    body = {"name": "burst", "cpu": 500, "mem": 256, "user:one-cloud": cloud_id.group(1).decode(), "user:one-vm": "23"}
    made = requests.post(
        f"{endpoint.url}/servers/create/stopped",
        json=body,
        auth=(endpoint.user, endpoint.key),
        headers={"Accept": "application/json"},
        timeout=10,
    )
    assert made.ok, made.text
    busy = hosts["machines"].state()
    busy["hosts"][0]["vms"] = 2
    hosts["machines"].write_state(busy)
    for front_end in hosts.values():
        front_end.forget_calls()
    removed = plays.play("remove_driver", "--limit", "servers,machines")
    forced = plays.play("remove_driver", "--limit", "servers,machines", "-e", "one_eh_driver_force=true")
    after_force = {name: front_end.files() for name, front_end in hosts.items()}
    return Trouble(hosts, stock, installed, after, calls, removed, forced, after_force, "23")


def test_a_driver_that_does_not_start_keeps_the_configuration_as_it_was(trouble: Trouble) -> None:
    message = trouble.installed.message("broken")
    assert re.search(
        r"one_vmm_eh does not answer INIT: it said nothing \(no such luck\)\. OpenNebula would not", message
    )
    for name in ("etc/oned.conf", "etc/monitord.conf"):
        assert trouble.after["broken"][name] == trouble.stock["broken"][name]
    assert trouble.hosts["broken"].state()["hosts"] == []
    assert trouble.calls["broken"] == []


def test_a_host_of_that_name_with_other_drivers_is_named(trouble: Trouble) -> None:
    message = trouble.installed.message("taken")
    assert "OpenNebula has a host eh already, with the drivers kvm and kvm: give the ElasticHosts host" in message
    assert trouble.after["taken"] == trouble.stock["taken"]
    assert trouble.calls["taken"] == []


def test_removal_is_refused_while_servers_of_this_cloud_run(trouble: Trouble) -> None:
    message = trouble.removed.message("servers")
    assert f"Servers of this OpenNebula cloud still run at ElasticHosts, for VM {trouble.vm}: terminate" in message
    assert (trouble.removed.failed("servers"), trouble.removed.changed("servers")) == (1, 0)


def test_removal_is_refused_while_opennebula_has_machines_there(trouble: Trouble) -> None:
    message = trouble.removed.message("machines")
    assert "Virtual machines still run on the OpenNebula hosts that burst to ElasticHosts: eh (2)." in message
    assert (trouble.removed.failed("machines"), trouble.removed.changed("machines")) == (1, 0)


@pytest.mark.parametrize("host", ["servers", "machines"])
def test_a_forced_removal_takes_drivers_and_sections_and_leaves_the_busy_host(trouble: Trouble, host: str) -> None:
    assert trouble.forced.failed(host) == 0
    left = {
        name for name in trouble.after_force[host] if trouble.after_force[host][name] != trouble.stock[host].get(name)
    }
    assert left <= {"var/eh_journal.sqlite"}
    if host == "machines":
        assert [one["name"] for one in trouble.hosts[host].state()["hosts"]] == ["eh"]
