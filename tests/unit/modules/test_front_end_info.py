# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found out about an installation before the drivers are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from ansible_collections.opennebula.elastichosts.plugins.module_utils import front_end
from ansible_collections.opennebula.elastichosts.plugins.module_utils.front_end_accounts import sorted_out
from ansible_collections.opennebula.elastichosts.plugins.module_utils.front_end_library import OwnedServer
from ansible_collections.opennebula.elastichosts.plugins.modules import front_end_info
from tests.front_ends import FrontEnd

NOBODY = 65534
AUTH = "5c7d1e0a-2b3f-4a6d-8e9c-0123456789ab:Geheimnis23"


@pytest.fixture
def tree() -> Iterator[Path]:
    """A self-contained installation that everybody may read."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        for name in ("bin", "etc", "lib/mads", "var/remotes"):
            (root / name).mkdir(parents=True)
        (root / "etc/oned.conf").write_text("PORT = 2633\n")
        (root / "etc/monitord.conf").write_text("\n")
        (root / "var/remotes/VERSION").write_text("7.4.0\n")
        yield root


def look(tree: Path, **params: Any) -> dict[str, Any]:
    """A look with the options' own defaults; no account is asked unless a test says so."""
    defaults = {name: option.get("default") for name, option in front_end_info.ARGUMENTS.items()}
    own = {"one_location": str(tree), "python": sys.executable, "endpoint": "http://127.0.0.1:9", "auth": AUTH}
    return front_end_info.look({**defaults, **own, **params}, str(tree))


def problems(found: dict[str, Any]) -> dict[str, str]:
    return {name: sentence for name, sentence in found["problems"].items() if sentence}


def test_a_sound_installation_has_no_problems(tree: Path) -> None:
    found = look(tree)
    assert problems(found) == {}
    assert (found["release"], found["folders"]["mads"]) == ("7.4.0", f"{tree}/lib/mads")


@pytest.mark.parametrize(
    ("said", "release"),
    [
        ("Copyright 2002-2010, OpenNebula Project Leads\nOpenNebula 2.0.1 is distributed", "2.0.1"),
        ("OpenNebula 5.12.12 (abc1234f)\nCopyright 2002-2023", "5.12.12"),
        ("something else", "7.4.0"),
    ],
)
def test_oned_is_asked_for_the_release_before_the_version_file(tree: Path, said: str, release: str) -> None:
    oned = tree / "bin/oned"
    oned.write_text(f"#!/bin/sh\ncat <<'E'\n{said}\nE\n")
    oned.chmod(0o755)
    assert look(tree)["release"] == release


def test_a_given_release_is_taken_unasked_and_has_to_be_numbers(tree: Path) -> None:
    assert look(tree, release="3.8")["release"] == "3.8"
    assert "The release newest is no release" in look(tree, release="newest")["problems"]["release"]


def test_a_system_wide_installation_that_is_not_there_says_what_to_set(tree: Path) -> None:
    if Path("/usr/lib/one/mads").is_dir():
        pytest.skip("OpenNebula is installed here")
    assert "There is no system-wide OpenNebula here" in look(tree, one_location="")["problems"]["installation"]


def test_a_relative_location_is_refused(tree: Path) -> None:
    assert "which is no absolute path" in look(tree, one_location="srv/one")["problems"]["installation"]


def test_an_owner_that_does_not_exist_is_named(tree: Path) -> None:
    assert "There is no user nemo_23" in look(tree, owner="nemo_23")["problems"]["owner"]


def test_the_owner_of_the_tree_is_the_owner(tree: Path) -> None:
    if os.getuid() == 0:
        os.chown(tree / "etc", NOBODY, NOBODY)
    assert look(tree)["owner"] == front_end.user_name((tree / "etc").stat().st_uid)


def test_an_interpreter_without_requests_is_none(tree: Path) -> None:
    bare = tree / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    found = look(tree, python=str(bare))
    assert found["python"] == ""
    assert "no Python 3.9 or later with the package requests" in found["problems"]["python"]


def test_settings_are_told_without_the_account(tree: Path) -> None:
    (tree / "etc/vmm_eh").mkdir()
    (tree / "etc/vmm_eh/vmm_ehrc").write_text("EHURI='https://x'\nexport EHCLOUD=abc\nEHAUTH=u:geheim\n")
    found = look(tree)
    assert found["settings"] == {"EHURI": "https://x", "EHCLOUD": "abc"}
    assert found["settings_files"] == {"vmm_eh/vmm_ehrc": found["settings"]}
    assert "geheim" not in repr(found)


def test_files_that_do_not_hold_the_account_that_is_given_for_them_are_named(tree: Path) -> None:
    (tree / "etc/vmm_eh/hosts").mkdir(parents=True)
    (tree / "etc/vmm_eh/vmm_ehrc").write_text("EHAUTH='u:geheim'\n")
    (tree / "etc/vmm_eh/hosts/ownrc").write_text("EHAUTH=u:anders\n")
    keys = {"own": "v:geheim", "new": "w:geheim", "none": ""}
    zones = [{"name": name, "endpoint": "", "auth": key} for name, key in keys.items()]
    found = look(tree, auth="u:geheim", zones=zones)
    assert found["other_keys"] == ["vmm_eh/hosts/ownrc", "vmm_eh/hosts/newrc"]
    assert "geheim" not in repr(found)
    assert look(tree, auth="")["other_keys"] == []
    assert look(tree, auth="u:anderes")["other_keys"] == ["vmm_eh/vmm_ehrc"]


def test_sections_that_stand_are_listed(tree: Path) -> None:
    (tree / "etc/oned.conf").write_text("vm_mad=[name=vmm_eh]\nIM_MAD=[NAME=other]\n")
    assert look(tree)["sections"] == [{"file": "oned.conf", "kind": "VM_MAD", "name": "vmm_eh"}]


def test_a_configuration_that_does_not_parse_is_named_with_its_place(tree: Path) -> None:
    (tree / "etc/monitord.conf").write_text("A = 1\nB\n")
    assert look(tree)["problems"]["configuration"] == (
        f"{tree}/etc/monitord.conf: line 3, column 1: expected = after B, found the end of the file."
    )


@pytest.mark.parametrize(("release", "wanted"), [("5.10", False), ("5.12", True)])
def test_monitord_conf_is_needed_from_5_12_on(tree: Path, release: str, wanted: bool) -> None:
    (tree / "etc/monitord.conf").unlink()
    assert ("monitord.conf cannot be read" in look(tree, release=release)["problems"]["configuration"]) is wanted


def test_a_folder_that_cannot_be_written_is_named_with_the_user(tree: Path) -> None:
    (tree / "lib/mads").chmod(0o555)
    root = os.getuid() == 0
    if root:
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        sentence = look(tree, python="/bin/true")["problems"]["folders"]
    finally:
        if root:
            os.setresuid(0, 0, 0)
    assert f"The folder {tree}/lib/mads is not writable for the user" in sentence
    assert sentence.endswith("run the play as its owner or as root (become).")


@pytest.mark.parametrize("name", ["vmm_eh/vmm_ehrc", "im_eh/im_ehrc", "vmm_eh/hosts/eh-londonrc"])
def test_settings_that_cannot_be_read_are_named(tree: Path, name: str) -> None:
    (tree / "etc" / name).mkdir(parents=True)
    assert problems(look(tree)) == {"settings": f"{tree}/etc/{name} cannot be read (Is a directory): put that right."}


@pytest.mark.parametrize(("name", "problem"), [("oned.conf", "configuration"), ("vmm_eh/vmm_ehrc", "settings")])
def test_a_pipe_in_the_place_of_a_file_is_named_and_not_waited_for(tree: Path, name: str, problem: str) -> None:
    pipe = tree / "etc" / name
    pipe.parent.mkdir(exist_ok=True)
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    assert problems(look(tree))[problem] == f"{pipe} cannot be read (Not a regular file): put that right."


def test_what_another_user_may_not_read_is_named_with_what_to_do(tree: Path) -> None:
    hosts = tree / "etc/vmm_eh/hosts"
    hosts.mkdir(parents=True)
    (hosts / "eh-londonrc").write_text("EHURI=http://127.0.0.1:9\n")
    assert list(look(tree)["settings_files"]) == ["vmm_eh/hosts/eh-londonrc"]
    hosts.chmod(0)
    (tree / "etc/oned.conf").chmod(0)
    root = os.getuid() == 0
    if root:
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        found = look(tree, python="/bin/true")["problems"]
    finally:
        if root:
            os.setresuid(0, 0, 0)
        hosts.chmod(0o755)
    what_to_do = "cannot be read (Permission denied): run the play as its owner or as root (become)."
    assert found["configuration"] == f"{tree}/etc/oned.conf {what_to_do}"
    assert found["settings"] == f"{hosts} {what_to_do}"


def installed(tree: Path, dump: str) -> Path:
    """Drivers and their section, and the dump of a core that was started after them."""
    (tree / "etc/oned.conf").write_text("VM_MAD=[NAME=vmm_eh]\n")
    program = tree / "lib/mads/one_vmm_eh"
    program.write_text("")
    (tree / "var/oned.pid").write_text(f"{os.getpid()}\n")
    (tree / "var/config").write_text(dump)
    os.utime(tree / "var/config", (program.stat().st_ctime + 1,) * 2)
    return tree / "var/config"


def test_a_core_that_was_started_with_the_drivers_as_they_are_needs_no_restart(tree: Path) -> None:
    installed(tree, "VM_MAD=EXECUTABLE=one_vmm_eh,NAME=vmm_eh\n")
    found = look(tree, service="one")
    assert (found["running"], found["restart_due"]) == (True, False)


def test_a_restart_is_due_where_the_core_does_not_know_the_section_yet(tree: Path) -> None:
    installed(tree, "VM_MAD=NAME=kvm\n")
    assert look(tree, service="one")["restart_due"]
    (tree / "var/oned.pid").unlink()
    assert not look(tree, service="one")["restart_due"]


def test_a_restart_is_due_where_the_core_still_has_a_section_that_is_gone(tree: Path) -> None:
    installed(tree, "VM_MAD=NAME=vmm_eh\n")
    (tree / "etc/oned.conf").write_text("PORT = 2633\n")
    assert look(tree, service="one")["restart_due"]


def test_a_restart_is_due_where_programs_are_newer_than_the_start(tree: Path) -> None:
    dump = installed(tree, "VM_MAD=NAME=vmm_eh\n")
    os.utime(dump, (0, 0))
    assert look(tree, service="one")["restart_due"]


def test_one_location_is_taken_from_the_environment_or_from_the_core_that_runs(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if Path("/usr/lib/one/mads").is_dir():
        pytest.skip("OpenNebula is installed here")
    monkeypatch.setenv("ONE_LOCATION", "/nowhere")
    assert look(tree, one_location="")["one_location"] == "/nowhere"
    monkeypatch.delenv("ONE_LOCATION")
    program = tree / "bin/oned"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    with subprocess.Popen([program, "60"], env={"ONE_LOCATION": str(tree)}) as core:
        # The kernel tells of a new program before it tells of its environment.
        while not Path(f"/proc/{core.pid}/environ").read_bytes():
            time.sleep(0.01)
        found = look(tree, one_location="", release="7.4")
        core.kill()
    assert (found["one_location"], found["folders"]["etc"]) == (str(tree), f"{tree}/etc")


@pytest.mark.parametrize(("release", "noun"), [("2.0", "VM"), ("3.8", "virtual machine"), ("7.4", "virtual machine")])
def test_only_a_server_whose_machine_the_core_no_longer_has_is_a_leftover(
    tmp_path: Path, release: str, noun: str
) -> None:
    where = FrontEnd(tmp_path / "one", release)
    where.write_state({**where.state(), "virtual_machines": {"3": {"state": 3}, "8": {"state": 8}, "6": {"state": 6}}})
    core = front_end.FrontEnd(str(where.root), "")
    assert f"Error getting {noun} [77]." in core.call("onevm", "show", "-x", "77").errors
    servers = [
        OwnedServer("a", "3", "active"),
        OwnedServer("b", "8", "stopped"),
        OwnedServer("c", "6", "stopped"),
        OwnedServer("d", "77", "active"),
        OwnedServer("e", "", "stopped"),
    ]
    kept, leftovers = sorted_out(core, servers)
    assert kept == ["a (VM 3, runs)", "b (VM 8, stopped)", "e (VM unknown, stopped)"]
    assert leftovers == ["c (VM 6, stopped)", "d (VM 77, runs)"]


def test_no_server_is_a_leftover_where_the_core_cannot_be_asked(tmp_path: Path) -> None:
    where = FrontEnd(tmp_path / "one", "7.4", running=False)
    core = front_end.FrontEnd(str(where.root), "")
    assert sorted_out(core, [OwnedServer("d", "77", "active")]) == (["d (VM 77, runs)"], [])
    (where.folders["bin"] / "onevm").unlink()
    assert sorted_out(core, [OwnedServer("d", "77", "active")]) == (["d (VM 77, runs)"], [])


def test_a_daemon_that_a_start_leaves_behind_keeps_nobody_waiting() -> None:
    done = front_end.run(("sh", "-c", "sleep 60 & echo $!"), seconds=30)
    assert done.is_right
    os.kill(int(done.output), 9)


def test_settings_that_a_shell_worked_out_are_warned_about_and_never_taken_for_a_value(tree: Path) -> None:
    (tree / "etc/vmm_eh").mkdir()
    (tree / "etc/defaultrc").write_text("PROXY=`cat proxy`\n")
    (tree / "etc/vmm_eh/vmm_ehrc").write_text("EHURI=https://x\nEHAUTH=$(cat key)\nhttp_proxy=http://u:geheim@p\n")
    found = look(tree, auth="", ask="form")
    assert [warning.partition(" without $")[0] for warning in found["warnings"]] == ["Write EHAUTH", "Write PROXY"]
    assert f"no shell works out what {tree}/etc/vmm_eh/vmm_ehrc says, or set EHAUTH_FILE" in found["warnings"][0]
    assert "account is missing" in found["problems"]["account"]
    assert found["settings"] == {"EHURI": "https://x"}


def test_the_account_of_a_file_is_compared_with_the_one_that_is_given(tree: Path) -> None:
    (tree / "etc/vmm_eh").mkdir()
    (tree / "key").write_text(f"{AUTH}\n")
    (tree / "etc/vmm_eh/vmm_ehrc").write_text(f"EHAUTH=\nEHAUTH_FILE={tree}/key\n")
    assert look(tree)["other_keys"] == []
    assert look(tree, auth="u:another")["other_keys"] == ["vmm_eh/vmm_ehrc"]
    assert problems(look(tree, auth="", ask="form")) == {}
    (tree / "key").unlink()
    assert look(tree)["problems"]["settings"].startswith("Correct EHAUTH_FILE in the settings, or what it names: ")


def test_packages_that_isolated_drivers_do_not_see_do_not_count(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter has requests by PYTHONPATH alone, as pip install --user would put it into a home folder."""
    bare = tree / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(Path(requests.__file__).parent.parent))
    assert "python -I" in look(tree, python=str(bare))["problems"]["python"]
