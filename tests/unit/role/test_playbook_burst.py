# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook burst: a group grows to its size, waits for SSH, and shrinks again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.collection import COLLECTIONS
from tests.support.endpoint import Endpoint


def burst(cloud: Endpoint, folder: Path, *options: str, **variables: object) -> str:
    given = {"burst_name": "web", "ansible_python_interpreter": sys.executable, "burst_ssh_timeout": 0, **variables}
    environment = {
        **os.environ,
        **cloud.env,
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "False",
    }
    program = str(Path(sys.executable).parent / "ansible-playbook")
    done = subprocess.run(
        [program, "opennebula.elastichosts.burst", "-e", json.dumps(given), *options],
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


def test_a_group_comes_in_one_run_stays_in_the_second_and_goes_in_the_third(endpoint: Endpoint, tmp_path: Path) -> None:
    assert changed(burst(endpoint, tmp_path, "--check", burst_count=2)) == 1
    assert names(endpoint) == []
    output = burst(endpoint, tmp_path, burst_count=2)
    assert changed(output) == 1
    assert names(endpoint) == ["web-1", "web-2"]
    assert re.search(r"Add them to the inventory.*\n.*web-1.*\n.*web-2", output)
    assert changed(burst(endpoint, tmp_path, burst_count=2)) == 0
    assert changed(burst(endpoint, tmp_path, burst_count=0)) == 1
    assert names(endpoint) == []


def test_a_member_that_takes_no_ssh_is_named_with_its_address(endpoint: Endpoint, tmp_path: Path) -> None:
    output = burst(endpoint, tmp_path, burst_name="db", burst_count=1, burst_ssh_timeout=1, burst_ssh_port=9)
    address = endpoint.call("/servers/info").json()[0]["nic:0:dhcp:ip"]
    assert re.search(rf"Timeout when waiting for \S* ?.*{re.escape(address)}:9", output), output
    assert changed(burst(endpoint, tmp_path, burst_name="db", burst_count=0)) == 1
