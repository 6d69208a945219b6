# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role one_eh_driver, played by ansible-playbook on scratch trees of OpenNebula 2.0 and 7.4."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula import conf

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = ROOT / "tests" / "samples"
UTILS = ROOT / "plugins" / "module_utils"
AUTH = "5c7d1e0a-2b3f-4a6d-8e9c-0123456789ab:Geheimnis23"
VARIABLES = {
    "ansible_connection": "local",
    "ansible_python_interpreter": sys.executable,
    "one_eh_driver_python": sys.executable,
    "one_eh_driver_endpoint": "http://127.0.0.1:8099",
    "one_eh_driver_auth": AUTH,
}
FILES = {
    "lib/mads/one_vmm_eh": 0o755,
    "lib/mads/one_vmm_eh.py": 0o644,
    "lib/mads/one_im_eh": 0o755,
    "lib/mads/one_im_eh.py": 0o644,
    "etc/vmm_eh/vmm_ehrc": 0o600,
    "etc/vmm_eh/vmm_eh.conf": 0o640,
    "etc/im_eh/im_ehrc": 0o640,
    "etc/im_eh/im_eh.conf": 0o640,
}
ONED = """#!/bin/sh
echo 'Copyright 2002-2010, OpenNebula Project Leads (OpenNebula.org)'
echo 'OpenNebula 2.0.1 is distributed and licensed for use under the terms of the'
"""


def make_tree(root: Path, release: str) -> Path:
    """A self-contained installation as the role finds it. 2.0 has no VERSION, so oned is asked; 7.4 has."""
    for folder in ("bin", "etc", "lib/mads", "lib/ruby", "var"):
        (root / folder).mkdir(parents=True)
    for sample in (SAMPLES / release).glob("*.conf"):
        shutil.copy(sample, root / "etc")
    (root / "lib/mads/one_tm").write_text("#!/bin/sh\n")
    if release == "2.0":
        (root / "bin/oned").write_text(ONED)
        (root / "bin/oned").chmod(0o755)
    else:
        (root / "var/remotes").mkdir()
        (root / "var/remotes/VERSION").write_text(f"{release}.0\n")
    return root


def content(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and folder below, with mode and bytes."""
    return {
        str(path.relative_to(root)): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in root.rglob("*")
    }


class Played(NamedTuple):
    """What ansible-playbook said."""

    output: str

    def changed(self, host: str) -> int:
        return self.recap(host)["changed"]

    def failed(self, host: str) -> int:
        return self.recap(host)["failed"]

    def recap(self, host: str) -> dict[str, int]:
        line = next(line for line in self.output.splitlines() if re.match(rf"{host}\s*:.*changed=", line))
        return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}

    def message(self, host: str) -> str:
        """The sentence with which the play failed."""
        found = re.search(rf"^(?:fatal|failed): \[{host}\].*? => (\{{.*\}})$", self.output, re.MULTILINE)
        assert found, self.output
        message: str = json.loads(found.group(1))["msg"]
        return message


def play(inventory: Path, playbook: str, *options: str) -> Played:
    environment = {name: value for name, value in os.environ.items() if name not in ("EHURI", "EHAUTH")}
    environment.update(
        ANSIBLE_PIPELINING="1", ANSIBLE_NOCOLOR="1", ANSIBLE_CALLBACK_RESULT_FORMAT="json", LC_ALL="C.UTF-8"
    )
    done = subprocess.run(
        [
            Path(sys.executable).parent / "ansible-playbook",
            "-i",
            inventory,
            f"opennebula.elastichosts.{playbook}",
            *options,
        ],
        cwd=inventory.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return Played(done.stdout + done.stderr)


def write_inventory(path: Path, hosts: dict[str, dict[str, object]]) -> Path:
    path.write_text(json.dumps({"all": {"hosts": hosts, "vars": VARIABLES}}))
    return path


State = dict[str, dict[str, tuple[int, bytes]]]


class Story(NamedTuple):
    """One front-end of each release, through its whole life; each step played for both at once."""

    stock: State
    foretold: Played
    after_foretelling: State
    first: Played
    installed: State
    sources: dict[str, bytes]
    second: Played
    edited: State
    removed: Played
    after_removal: State
    removed_again: Played


OURS = "# of the administrator\nTOTAL_MEMORY=65536\nCPU_MHZ='2500'\n"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("front-ends")
    trees = {f"one{release}": make_tree(folder / f"one {release}", release) for release in ("2.0", "7.4")}
    hosts: dict[str, dict[str, object]] = {
        host: {"one_eh_driver_one_location": str(tree)} for host, tree in trees.items()
    }
    inventory = write_inventory(folder / "hosts.json", hosts)

    def state() -> State:
        return {host: content(tree) for host, tree in trees.items()}

    def by_hand() -> None:
        for tree in trees.values():
            (tree / "etc/im_eh/im_ehrc").write_text(OURS)

    stock = state()
    foretold, after_foretelling = play(inventory, "install_driver", "--check", "--diff"), state()
    first, installed = play(inventory, "install_driver", "--diff", "-vvv"), state()
    sources = {str(path.relative_to(UTILS)): path.read_bytes() for path in UTILS.glob("*/*.py")}
    by_hand()
    second, edited = play(inventory, "install_driver"), state()
    removed, after_removal = play(inventory, "remove_driver"), state()
    removed_again = play(inventory, "remove_driver")
    return Story(
        stock=stock,
        foretold=foretold,
        after_foretelling=after_foretelling,
        first=first,
        installed=installed,
        sources=sources,
        second=second,
        edited=edited,
        removed=removed,
        after_removal=after_removal,
        removed_again=removed_again,
    )


HOSTS = pytest.mark.parametrize("host", ["one2.0", "one7.4"])


@HOSTS
def test_check_mode_on_a_fresh_tree_foretells_the_same_changes_and_makes_none(story: Story, host: str) -> None:
    assert story.after_foretelling[host] == story.stock[host]
    assert story.foretold.recap(host) == story.first.recap(host)
    assert story.first.changed(host) > 0
    assert story.first.failed(host) == 0


@HOSTS
def test_the_eight_files_are_there_with_their_modes(story: Story, host: str) -> None:
    new = {
        name: mode & 0o777 for name, (mode, _content) in story.installed[host].items() if name not in story.stock[host]
    }
    assert {name: new.get(name) for name in FILES} == FILES
    rest = [name for name in new if name not in FILES and not name.startswith("lib/python")]
    assert rest == ["etc/im_eh", "etc/vmm_eh"] or sorted(rest) == ["etc/im_eh", "etc/vmm_eh"]


@HOSTS
def test_the_packages_are_the_ones_of_the_collection_and_compiled(story: Story, host: str) -> None:
    found = [name for name in story.installed[host] if re.match(r"lib/python/one_eh/\w+/\w+\.py$", name)]
    assert {"bursting", "elastichosts", "opennebula"} == {name.split("/")[3] for name in found}
    for name in found:
        assert story.installed[host][name][1] == story.sources[name.removeprefix("lib/python/one_eh/")]
    compiled = [name for name in story.installed[host] if name.endswith(".pyc")]
    assert len(compiled) == len(found) + 1


@HOSTS
def test_the_settings_hold_account_and_limits(story: Story, host: str) -> None:
    vmm = story.installed[host]["etc/vmm_eh/vmm_ehrc"][1].decode()
    assert re.findall(r"^(EH\w+)=(.+)$", vmm, re.MULTILINE)[:2] == [
        ("EHURI", "http://127.0.0.1:8099"),
        ("EHAUTH", AUTH),
    ]
    assert re.search(r"^EHCLOUD=[0-9a-f]{12}$", vmm, re.MULTILINE)
    limits = story.installed[host]["etc/im_eh/im_ehrc"][1].decode()
    assert "\nTOTAL_MEMORY=2048\nTOTAL_CPU=2\n" in limits


def test_the_two_clouds_have_different_ids(story: Story) -> None:
    settings = [story.installed[host]["etc/vmm_eh/vmm_ehrc"][1].decode() for host in ("one2.0", "one7.4")]
    ids = {line for text in settings for line in text.splitlines() if line.startswith("EHCLOUD=")}
    assert len(ids) == 2


def sections(story: Story, host: str, file: str, kind: str) -> list[dict[str, str]]:
    text = conf.decode(story.installed[host][f"etc/{file}"][1])
    return [item.mapping() for item in conf.parse(text).sections(kind)]


def test_2_0_gets_the_sections_of_the_original_guide_in_oned_conf(story: Story) -> None:
    assert sections(story, "one2.0", "oned.conf", "IM_MAD")[-1] == {"NAME": "im_eh", "EXECUTABLE": "one_im_eh"}
    assert sections(story, "one2.0", "oned.conf", "VM_MAD")[-1] == {
        "NAME": "vmm_eh",
        "EXECUTABLE": "one_vmm_eh",
        "TYPE": "xml",
    }


def test_7_4_gets_the_information_driver_in_monitord_conf_and_keeps_the_one_of_oned_conf(story: Story) -> None:
    assert sections(story, "one7.4", "monitord.conf", "IM_MAD")[-1]["EXECUTABLE"] == "one_im_eh"
    assert [section["NAME"] for section in sections(story, "one7.4", "oned.conf", "IM_MAD")] == ["monitord"]
    assert sections(story, "one7.4", "oned.conf", "VM_MAD")[-1]["THREADS"] == "0"


@HOSTS
def test_all_other_bytes_of_the_configuration_are_untouched(story: Story, host: str) -> None:
    for name, (mode, stock) in story.stock[host].items():
        if name.endswith(".conf"):
            assert story.installed[host][name][0] == mode
            assert story.installed[host][name][1].startswith(stock)


@HOSTS
def test_the_second_run_changes_nothing_and_settings_made_by_hand_stay(story: Story, host: str) -> None:
    assert (story.second.changed(host), story.second.failed(host)) == (0, 0)
    expected = dict(story.installed[host])
    expected["etc/im_eh/im_ehrc"] = (expected["etc/im_eh/im_ehrc"][0], OURS.encode())
    assert story.edited[host] == expected


@HOSTS
def test_absent_gives_the_tree_back_byte_for_byte_and_the_second_time_changes_nothing(story: Story, host: str) -> None:
    assert story.removed.changed(host) > 0
    assert story.after_removal[host] == story.stock[host]
    assert (story.removed_again.changed(host), story.removed_again.failed(host)) == (0, 0)


def test_the_key_of_the_account_is_in_no_output(story: Story) -> None:
    secret = AUTH.partition(":")[2]
    for played in (story.foretold, story.first, story.second, story.removed):
        assert secret not in played.output


BROKEN: dict[str, dict[str, object]] = {
    "account": {"one_eh_driver_auth": ""},
    "form": {"one_eh_driver_auth": "user:Geheimnis23"},
    "endpoint": {"one_eh_driver_endpoint": "api-lon-p"},
    "release": {"one_eh_driver_release": "1.4"},
    "python": {"one_eh_driver_python": "/nowhere/python3"},
    "cloud": {"one_eh_driver_cloud_id": "ba9876543210"},
    "limits": {"one_eh_driver_total_cpu": 0},
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
def refused(tmp_path_factory: pytest.TempPathFactory) -> Refused:
    """Each front-end has one thing wrong; one play tells them all."""
    folder = tmp_path_factory.mktemp("broken")
    trees = {name: make_tree(folder / name, "7.4") for name in BROKEN}
    oned = trees["syntax"] / "etc/oned.conf"
    oned.write_text(oned.read_text().replace('TYPE           = "kvm"', 'TYPE           "kvm"'))
    monitord = trees["twice"] / "etc/monitord.conf"
    monitord.write_text(monitord.read_text() + "IM_MAD=[NAME=im_eh]\nIM_MAD=[NAME=im_eh]\n")
    (trees["unknown"] / "var/remotes/VERSION").unlink()
    (trees["cloud"] / "etc/vmm_eh").mkdir()
    (trees["cloud"] / "etc/vmm_eh/vmm_ehrc").write_text("EHCLOUD=0123456789ab\n")
    stock = {name: content(tree) for name, tree in trees.items()}
    hosts = {name: {"one_eh_driver_one_location": str(trees[name]), **special} for name, special in BROKEN.items()}
    played = play(write_inventory(folder / "hosts.json", hosts), "install_driver")
    return Refused(played, stock, {name: content(tree) for name, tree in trees.items()})


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("syntax", r"oned\.conf: line 166, column 20: expected = after TYPE, found '\"'"),
        ("twice", r'monitord\.conf: IM_MAD "im_eh" stands more than once, at lines 129 and 130'),
        ("account", "The ElasticHosts account is missing .* set one_eh_driver_auth"),
        ("form", "has not the form <user uuid>:<secret API key>"),
        ("endpoint", "The address of the ElasticHosts API is missing or no URL: set one_eh_driver_endpoint"),
        ("release", r"OpenNebula 1\.4 is not known to the drivers, .* correct one_eh_driver_release"),
        ("unknown", "The release of OpenNebula is unknown: neither .*/bin/oned -v nor .*/VERSION tells it"),
        ("python", r"no Python 3\.9 or later with the package requests at /nowhere/python3: install"),
        ("cloud", "vmm_ehrc says EHCLOUD=0123456789ab, and servers that carry it would be lost"),
        ("limits", "one_eh_driver_total_cpu .* have to be greater than 0"),
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
