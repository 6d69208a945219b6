# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `endpoint`, as ansible-playbook runs it: a machine becomes a zone, and is none any more.

with_libvirt.sh lays a layer over the machine's folders, so users and files are real and go with the run. No network
is there: packages are installed already, wheels and noVNC come from where install_kvm.sh has put them. Systemd has a
stand-in, which starts what the unit says.
"""

from __future__ import annotations

import json
import os
import pwd
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests

from tests.kvm import systemctl
from tests.kvm.box import FOLDER, leave, until, virsh
from tests.support.endpoint import KEY, USER
from tests.support.plays import Controller, Played, Variables

PORT = 8097
HOME, ETC, VAR = Path("/opt/eh_endpoint"), Path("/etc/eh_endpoint"), Path("/var/lib/eh_endpoint")
UNIT = Path("/etc/systemd/system/eh-endpoint.service")
GIVEN = Path('/etc/ssl/given 100% "so"')
"""certificate and key of an administrator's own"""
ACCOUNT = {"user": USER, "key": KEY, "quota": {"servers": 5}}


class Machine:
    """This machine, as a host of an inventory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir()
        program = programs / "systemctl"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {shlex.quote(systemctl.__file__)} {folder} "$@"\n')
        program.chmod(0o755)
        # No list of packages can be fetched here: those that are there count as new.
        stamp = Path("/var/lib/apt/periodic/update-success-stamp")
        stamp.parent.mkdir(exist_ok=True)
        stamp.touch()
        self._controller = Controller(
            folder,
            KEY,
            PATH=f"{programs}:{os.environ['PATH']}",
            HOME=str(folder),
            PIP_NO_INDEX="1",
            PIP_FIND_LINKS=str(FOLDER / "wheels"),
            npm_config_cache=str(FOLDER / "npm"),
            npm_config_offline="true",
        )

    def play(self, *options: str, **variables: object) -> Played:
        return self.plays({"box": variables}, *options)

    def plays(self, hosts: Mapping[str, Variables], *options: str) -> Played:
        """A play on this machine under several names, with variables for each."""
        common = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "/usr/bin/python3",
            "eh_endpoint_service": "systemd",
            "eh_endpoint_listen": f"127.0.0.1:{PORT}",
            "eh_endpoint_addresses": "10.181.0.0/24",
            "eh_endpoint_accounts": [ACCOUNT],
        }
        self._controller.hosts(hosts, common)
        return self._controller.play("endpoint", *options)

    def calls(self) -> list[str]:
        """The calls of systemctl that change something."""
        path = self.folder / "calls.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [" ".join(words) for words in lines if words[0] not in ("show", "is-enabled")]

    def forget_calls(self) -> None:
        (self.folder / "calls.jsonl").write_text("")

    def stop(self) -> None:
        systemctl.main(self.folder, ["stop", "eh-endpoint"])
        if (VAR / "zone").exists():
            leave((VAR / "zone").read_text().strip())

    def answers(self, certificate: Path) -> requests.Session:
        """A session of the account, as soon as the endpoint answers it with a certificate that this one vouches for."""
        session = requests.Session()
        session.auth = (USER, KEY)
        session.trust_env = False  # a bundle that it names would stand in for this certificate
        session.verify = str(certificate)

        def answered() -> bool:
            try:
                return session.get(f"https://127.0.0.1:{PORT}/drives/list", timeout=5).status_code == 200
            except requests.exceptions.SSLError:
                raise
            except requests.ConnectionError:
                return False

        try:
            until(answered, "the endpoint answers", seconds=60)
        except AssertionError as error:
            raise AssertionError(f"{error}; its log: {(self.folder / 'eh-endpoint.log').read_text()}") from None
        return session


def given(certificate: str, key: str = "/etc/hostname") -> dict[str, object]:
    return {"eh_endpoint_tls": "files", "eh_endpoint_tls_cert": certificate, "eh_endpoint_tls_key": key}


REFUSALS: dict[str, tuple[dict[str, object], str]] = {
    "nobody": ({"eh_endpoint_accounts": []}, "needs at least one account"),
    "joe": ({"eh_endpoint_accounts": [{"user": "joe", "key": KEY}]}, "is a UUID, and this is none: joe"),
    "cars": ({"eh_endpoint_accounts": [{**ACCOUNT, "quota": {"cars": 1}}]}, "vlans, keys, not cars"),
    "much": ({"eh_endpoint_reserve": "much"}, "is a size like 256M, 1G or 0, not much"),
    "no-files": ({"eh_endpoint_tls": "files"}, "needs eh_endpoint_tls_cert"),
    "no-file": (given("/no/crt"), "The machine has no file /no/crt: put"),
    "hidden": (
        given("/etc/hostname", "/root/.profile"),
        "The unit's sandbox hides /root/.profile: put the certificate",
    ),
}
"""by host: variables that are wrong, and what is said about them"""


def drives(session: requests.Session) -> list[str]:
    return str(session.get(f"https://127.0.0.1:{PORT}/drives/list", timeout=5).text).split()


def nothing_installed() -> bool:
    there = [path for path in (HOME, ETC, VAR, UNIT) if path.exists()]
    return not there and "eh-endpoint" not in {user.pw_name for user in pwd.getpwall()}


@pytest.fixture(scope="module")
def machine(place: Path) -> Iterator[Machine]:
    folder = place / "role"
    folder.mkdir()
    ours = Machine(folder)
    try:
        yield ours
    finally:
        ours.stop()


@pytest.fixture(scope="module")
def refused(machine: Machine) -> Played:
    return machine.plays({name: variables for name, (variables, _sentence) in REFUSALS.items()})


@pytest.mark.parametrize("name", REFUSALS)
def test_refuses_wrong_variables_before_anything_changes(refused: Played, name: str) -> None:
    assert (refused.failed(name), refused.changed(name)) == (1, 0)
    assert REFUSALS[name][1] in refused.message(name)
    assert nothing_installed()


def test_check_mode_on_a_fresh_machine_foretells_and_changes_nothing(machine: Machine) -> None:
    played = machine.play("--check")
    assert played.failed("box") == 0, played.output
    assert played.changed("box") > 0
    assert nothing_installed()
    assert machine.calls() == []


def test_makes_a_zone_that_answers_with_a_certificate_of_its_own(machine: Machine) -> None:
    played = machine.play()
    assert played.failed("box") == 0, played.output
    assert "give front-ends /etc/eh_endpoint/own.crt to trust" in played.output
    assert [call for call in machine.calls() if call != "daemon-reload"] == ["start eh-endpoint", "enable eh-endpoint"]
    there = (ETC / "accounts.json", ETC / "own.key", VAR, UNIT)
    assert {path.name: (path.stat().st_mode & 0o777, path.owner(), path.group()) for path in there} == {
        "eh_endpoint": (0o711, "eh-endpoint", "eh-endpoint"),
        "accounts.json": (0o640, "root", "eh-endpoint"),
        "own.key": (0o640, "root", "eh-endpoint"),
        "eh-endpoint.service": (0o644, "root", "root"),
    }
    assert (ETC.stat().st_mode & 0o777, ETC.group()) == (0o750, "eh-endpoint")
    session = machine.answers(ETC / "own.crt")
    made = session.post(f"https://127.0.0.1:{PORT}/drives/create", data="name kept\nsize 1048576\n", timeout=30)
    assert made.status_code == 200, made.text
    session.auth = (USER, "another key")
    assert session.get(f"https://127.0.0.1:{PORT}/drives/list", timeout=5).status_code == 401


def test_a_second_run_changes_nothing(machine: Machine) -> None:
    machine.forget_calls()
    played = machine.play()
    assert (played.failed("box"), played.changed("box")) == (0, 0), played.output
    assert set(machine.calls()) <= {"daemon-reload"}


def test_serves_with_files_that_were_given_whatever_their_names(machine: Machine) -> None:
    GIVEN.mkdir()
    certificate, key = GIVEN / "a.crt", GIVEN / "a.key"
    names = "subjectAltName=IP:127.0.0.1"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-subj", "/CN=given", "-addext", names]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    key.chmod(0o640)
    os.chown(key, 0, pwd.getpwnam("eh-endpoint").pw_gid)
    older = HOME / "eh_endpoint/older.py"
    older.write_text("# of a version before\n")
    played = machine.play("--diff", **given(str(certificate), str(key)))
    assert played.failed("box") == 0, played.output
    assert len(drives(machine.answers(certificate))) == 1
    assert f"-{older}\n" in played.output
    assert not older.exists()


def test_a_zone_that_cannot_start_fails_its_play(machine: Machine) -> None:
    files = given(str(GIVEN / "a.crt"), str(GIVEN / "a.key"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        played = machine.play(eh_endpoint_listen=f"127.0.0.1:{taken.getsockname()[1]}", **files)
        assert played.failed("box") == 1
        assert "eh-endpoint.service failed" in played.message("box")
    played = machine.play(**files)
    assert played.failed("box") == 0, played.output
    assert len(drives(machine.answers(GIVEN / "a.crt"))) == 1


def test_systemd_finds_no_fault_in_the_unit(machine: Machine) -> None:
    # It knows no unit of libvirt in here, and that is no fault.
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", UNIT], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "eh-endpoint" in line] == []


def test_removal_is_refused_while_a_guest_runs(machine: Machine) -> None:
    session = machine.answers(GIVEN / "a.crt")
    wanted = {"name": "busy", "cpu": 500, "mem": 256, "nic:0:dhcp": "auto", "vnc": "auto", "password": "here"}
    made = session.post(
        f"https://127.0.0.1:{PORT}/servers/create", json=wanted, headers={"Accept": "application/json"}, timeout=120
    )
    assert made.status_code == 200, made.text
    machine.forget_calls()
    played = machine.play(eh_endpoint_state="absent", eh_endpoint_remove_drives=True)
    assert (played.failed("box"), played.changed("box")) == (1, 0)
    assert played.message("box").startswith(
        f"Guests of this zone still run, those of servers {made.json()['server']}: shut them down first, or set"
    )
    assert machine.calls() == []
    assert len(drives(session)) == 1


def test_removal_keeps_drives_and_leaves_nothing_in_libvirt(machine: Machine) -> None:
    zone = (VAR / "zone").read_text().strip()
    assert zone in virsh("net-list", "--name")
    played = machine.play(eh_endpoint_state="absent", eh_endpoint_force=True)
    assert played.failed("box") == 0, played.output
    assert sorted(machine.calls()) == ["disable eh-endpoint", "stop eh-endpoint"]
    assert not HOME.exists()
    assert not UNIT.exists()
    assert list((VAR / "drives").iterdir())
    assert zone not in virsh("list", "--all", "--name") + virsh("net-list", "--all", "--name")


def test_what_was_removed_is_not_removed_again(machine: Machine) -> None:
    machine.forget_calls()
    played = machine.play(eh_endpoint_state="absent")
    assert (played.failed("box"), played.changed("box")) == (0, 0), played.output
    assert machine.calls() == []


def test_removal_takes_drives_too_when_told_to(machine: Machine) -> None:
    wanted = {"eh_endpoint_state": "absent", "eh_endpoint_remove_drives": True}
    played = machine.play(**wanted)
    assert played.failed("box") == 0, played.output
    assert nothing_installed()
    played = machine.play(**wanted)
    assert (played.failed("box"), played.changed("box")) == (0, 0), played.output
    assert machine.calls() == []
