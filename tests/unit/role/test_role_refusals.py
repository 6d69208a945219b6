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
    "endpoint": {"one_eh_driver_endpoint": "eh.example.org"},
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
    "names": {"one_eh_driver_hosts": [{"name": "eh"}, {"name": "eh"}]},
    "zone-limits": {"one_eh_driver_hosts": [{"name": "eh", "cpu_mhz": 0}]},
    "rounds": {"one_eh_driver_dispatch_per_cycle": -1},
    "no-release": {"one_eh_driver_release": "v7.4"},
    "blank": {"one_eh_driver_endpoint": "http://127.0.0.1 /"},
    "lines": {"one_eh_driver_cloud_id": "ba98\n7654"},
    "no-cluster": {"one_eh_driver_cluster": ""},
    "quoted": {"one_eh_driver_datastore": 'eh" TM_MAD="ssh'},
    "patience": {"one_eh_driver_wait": -1},
    "no-folder": {},
    "no-transfer": {},
    "no-number": {"one_eh_driver_total_memory": "2 GB", "one_eh_driver_auth": STRANGER},
    "no-choice": {"one_eh_driver_service": "upstart"},
    "taken": {},
    "no-ruby": {},
    "no-servers": {"one_eh_driver_max_servers": -1},
    "zone-servers": {"one_eh_driver_hosts": [{"name": "eh", "max_servers": -1}]},
}
FAILS = "fails"
"""a front-end that everything is right with, until a driver is started"""


class Refused(NamedTuple):
    hosts: dict[str, FrontEnd]
    played: Played
    stock: State
    afterwards: State
    calls: dict[str, list[str]]


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory, endpoint: Endpoint) -> Refused:
    """Each front-end has one thing wrong; one play tells them all."""
    folder = tmp_path_factory.mktemp("broken")
    hosts = {
        name: FrontEnd(folder / name, "7.4", running=name in ("taken", "no-ruby", FAILS)) for name in (*BROKEN, FAILS)
    }
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
    (etc["no-folder"] / "im_eh").write_text("")
    transfer = etc["no-transfer"] / "oned.conf"
    transfer.write_text(re.sub(r"^TM_MAD = \[.*?^\]\n", "", transfer.read_text(), flags=re.DOTALL | re.MULTILINE))
    taken = hosts["taken"].state()
    taken["hosts"].append({"id": 7, "name": "eh", "im": "kvm", "vm": "kvm", "vms": 0})
    hosts["taken"].write_state(taken)
    hosts["no-ruby"].write_state({**hosts["no-ruby"].state(), "missing_gem": "nokogiri"})
    stock = {name: front_end.files() for name, front_end in hosts.items()}
    failing: dict[str, object] = {"one_eh_driver_python": str(interpreter_that_ends_early(folder))}
    played = Plays(folder, endpoint, hosts, {**BROKEN, FAILS: failing}).play("install_driver", "-vvv")
    afterwards = {name: front_end.files() for name, front_end in hosts.items()}
    return Refused(hosts, played, stock, afterwards, {name: front_end.calls() for name, front_end in hosts.items()})


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


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("syntax", r"oned\.conf: line 166, column 21: expected = after TYPE, found 'k'"),
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
        ("names", "hosts in one_eh_driver_hosts have to have names, each one of its own, but they are eh, eh"),
        ("zone-limits", "total_memory, total_cpu and cpu_mhz of a host in one_eh_driver_hosts have to be greater than"),
        (
            "no-ruby",
            r"not start again after a restart: .*bin/onehost list fails: .*-- nokogiri \(LoadError\)\. Put that",
        ),
        ("no-servers", "one_eh_driver_max_servers must not be less than 0"),
        ("zone-servers", "The max_servers of a host in one_eh_driver_hosts must not be less than 0"),
        ("rounds", "one_eh_driver_dispatch_per_cycle has to be greater than 0"),
        ("no-release", r"The release v7\.4 is no release: give one_eh_driver_release as numbers"),
        ("blank", "The address of the ElasticHosts API is missing or no URL: set one_eh_driver_endpoint"),
        ("lines", "one_eh_driver_cloud_id has to be one line of text"),
        ("no-cluster", "one_eh_driver_cluster and one_eh_driver_datastore have to be names, .* '' and 'eh_system'"),
        ("quoted", "one_eh_driver_cluster and one_eh_driver_datastore have to be names, without quotation marks"),
        ("patience", r"one_eh_driver_wait \(seconds\) must not be less than 0"),
        ("no-folder", r"/etc/im_eh has to be a folder, but is none: move it away"),
        ("no-transfer", r"oned\.conf: there is no TM_MAD section, which every OpenNebula of this release has"),
    ],
)
def test_one_sentence_says_what_is_wrong_and_nothing_is_changed(refused: Refused, host: str, words: str) -> None:
    message = refused.played.message(host)
    assert re.search(words, message)
    assert message.endswith(("Nothing was changed.", "No configuration file was changed."))
    assert "Geheimnis23" not in refused.played.output
    assert (refused.played.failed(host), refused.played.changed(host)) == (1, 0)
    assert refused.afterwards[host] == refused.stock[host]


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("no-number", "one_eh_driver_total_memory.*cannot be converted to.*int"),
        ("no-choice", "value of one_eh_driver_service must be one of: auto, systemd, sysv, one, none, got: upstart"),
    ],
)
def test_a_variable_of_the_wrong_kind_is_named_before_anything_is_looked_at(
    refused: Refused, host: str, words: str
) -> None:
    assert re.search(words, refused.played.message(host))
    assert (refused.played.failed(host), refused.played.changed(host)) == (1, 0)
    assert refused.afterwards[host] == refused.stock[host]
    assert "Geheimnis23" not in refused.played.output


def test_a_host_of_that_name_with_other_drivers_is_named(refused: Refused) -> None:
    message = refused.played.message("taken")
    assert "OpenNebula has a host eh already, with the drivers kvm and kvm: give the ElasticHosts host" in message
    assert refused.afterwards["taken"] == refused.stock["taken"]
    assert refused.calls["taken"] == []


def test_a_driver_that_does_not_start_keeps_the_configuration_as_it_was(refused: Refused) -> None:
    message = refused.played.message(FAILS)
    assert re.search(
        r"one_vmm_eh does not answer INIT: it said nothing \(no such luck\)\. OpenNebula would not", message
    )
    for name in ("etc/oned.conf", "etc/monitord.conf"):
        assert refused.afterwards[FAILS][name] == refused.stock[FAILS][name]
    assert refused.hosts[FAILS].state()["hosts"] == []
    assert refused.calls[FAILS] == []
