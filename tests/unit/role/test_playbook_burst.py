# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook burst: a group grows to its size, waits for SSH, is there for the next play, and shrinks again."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.collection import COLLECTIONS
from tests.support.endpoint import Endpoint

# A play of the user's own behind the one of the collection, on the group that it fills.
NEXT = """
- ansible.builtin.import_playbook: opennebula.elastichosts.burst

- hosts: web
  gather_facts: false
  tasks:
    - ansible.builtin.debug:
        msg: "{{ inventory_hostname }} takes SSH at {{ ansible_host }} {{ ansible_port }} and is {{ eh_uuid }}"
"""
BANNER = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"


class Guests:
    """What answers at addresses of servers: an SSH banner, at some of them not from the first call on."""

    def __init__(self, *addresses: str, late: str) -> None:
        self.called: dict[str, int] = dict.fromkeys(addresses, 0)
        self._late = late
        self.port = 0
        self._listeners = [self._listen(address) for address in addresses]

    def _listen(self, address: str) -> socket.socket:
        listener = socket.create_server((address, self.port))
        self.port = int(listener.getsockname()[1])
        threading.Thread(target=self._answer, args=(listener, address), daemon=True).start()
        return listener

    def _answer(self, listener: socket.socket, address: str) -> None:
        while True:
            try:
                caller, _address = listener.accept()
            except OSError:
                return
            self.called[address] += 1
            with caller:
                caller.sendall(b"booting\r\n" if address == self._late and self.called[address] == 1 else BANNER)

    def close(self) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


@pytest.fixture
def zone(tmp_path: Path) -> Iterator[Endpoint]:
    """A zone whose servers get addresses that this machine has."""
    with Endpoint(tmp_path / "zone", "--addresses", "127.66.0.0/29") as running:
        yield running


def burst(
    cloud: Endpoint, folder: Path, *options: str, playbook: str = "opennebula.elastichosts.burst", **variables: object
) -> str:
    given = {"burst_name": "web", "ansible_python_interpreter": sys.executable, **variables}
    environment = {
        **os.environ,
        **cloud.env,
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "False",
    }
    program = str(Path(sys.executable).parent / "ansible-playbook")
    done = subprocess.run(
        [program, playbook, "-e", json.dumps(given), *options],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout + done.stderr


def changed(output: str) -> int:
    found = re.search(r"localhost\s*:.*changed=(\d+).*failed=0", output)
    assert found, output
    return int(found.group(1))


def names(cloud: Endpoint) -> list[str]:
    return sorted(server["name"] for server in cloud.call("/servers/info").json())


def test_a_group_comes_in_one_run_stays_in_the_second_and_goes_in_the_third(zone: Endpoint, tmp_path: Path) -> None:
    playbook = tmp_path / "next.yml"
    playbook.write_text(NEXT)
    guests = Guests("127.66.0.4", "127.66.0.5", late="127.66.0.5")
    try:
        assert changed(burst(zone, tmp_path, "--check", burst_count=2, burst_ssh_port=guests.port)) == 1
        assert names(zone) == []
        output = burst(zone, tmp_path, playbook=str(playbook), burst_count=2, burst_ssh_port=guests.port)
        assert changed(output) == 1
        servers = {server["name"]: server for server in zone.call("/servers/info").json()}
        assert sorted(servers) == ["web-1", "web-2"]
        for name, server in servers.items():
            address = server["nic:0:dhcp:ip"]
            assert f"{name} takes SSH at {address} {guests.port} and is {server['server']}" in output
        assert guests.called == {"127.66.0.4": 1, "127.66.0.5": 2}
        assert changed(burst(zone, tmp_path, burst_count=2, burst_ssh_port=guests.port)) == 0
    finally:
        guests.close()
    assert changed(burst(zone, tmp_path, burst_count=0)) == 1
    assert names(zone) == []


def test_a_member_that_takes_no_ssh_is_named_with_its_address(zone: Endpoint, tmp_path: Path) -> None:
    output = burst(zone, tmp_path, burst_name="db", burst_count=1, burst_ssh_timeout=1, burst_ssh_port=9)
    address = zone.call("/servers/info").json()[0]["nic:0:dhcp:ip"]
    assert re.search(rf"Timeout when waiting for \S* ?.*{re.escape(address)}:9", output), output
