# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the same work by module, action plugin and the module burst in one run. Prints times and ratios.

    python tests/bench/modules.py [--quick]

Each time is that of a whole ansible-playbook run, the best of several; the three take turns, so that other load of the
machine affects all of them. Exit status 1 when a value is beyond its limit.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.collection import COLLECTIONS, make_importable  # noqa: E402

make_importable()

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import (  # noqa: E402
    ElasticHosts,
)
from tests.bench.endpoint import Report, seconds  # noqa: E402
from tests.support.endpoint import Endpoint  # noqa: E402

SPEC = {"cpu": 500, "mem": 256}
DELAY = [{"path": "/**", "fault": "delay", "delay": 0.2}]
PLAIN_MODULE = {"environment": {"DOOR": "module"}}
"""a foreign environment variable prevents a task from running in the controller's process"""


class Playbooks:
    """Runs one task at a time with ansible-playbook."""

    def __init__(self, folder: Path, endpoint: Endpoint) -> None:
        self._folder = folder
        self._endpoint = endpoint

    def seconds(self, module: str, options: dict[str, Any], **keywords: Any) -> float:
        """Return the time of a play with one task. Raises RuntimeError if the play fails."""
        group = {"endpoint": self._endpoint.url, "auth": self._endpoint.auth}
        task = {f"opennebula.elastichosts.{module}": options, **keywords}
        play = {
            "hosts": "localhost",
            "gather_facts": False,
            "vars": {"ansible_python_interpreter": sys.executable},
            "module_defaults": {"group/opennebula.elastichosts.elastichosts": group},
            "tasks": [task],
        }
        book = self._folder / "play.json"
        book.write_text(json.dumps([play]))
        return seconds(lambda: self._play(book))

    def _play(self, book: Path) -> None:
        done = subprocess.run(
            [str(Path(sys.executable).parent / "ansible-playbook"), str(book)],
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_LOCALHOST_WARNING": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)


def main() -> int:
    quick = "--quick" in sys.argv[1:]
    report = Report()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        faults = folder / "faults.json"
        faults.write_text(json.dumps(DELAY))
        with (
            Endpoint(folder / "near", "--quiet") as near,
            Endpoint(folder / "far", "--quiet", "--faults", str(faults)) as far,
        ):
            measure_groups(report, Playbooks(folder, near), Playbooks(folder, far), 2 if quick else 5)
            measure_items(report, Playbooks(folder, near), near, 100, 3 if quick else 7)
    return 1 if report.failed else 0


def measure_groups(report: Report, near: Playbooks, far: Playbooks, rounds: int) -> None:
    """Create 50 servers by burst, against a loop of the module server, measured with 10 items and multiplied by 5."""
    burst = {"name": "web", **SPEC}
    times: dict[str, list[float]] = {"nothing": [], "near": [], "far": [], "loop": []}
    for _round in range(rounds):
        times["nothing"].append(near.seconds("server_info", {}, when=False))
        for where, playbooks in (("near", near), ("far", far)):
            times[where].append(playbooks.seconds("burst", {**burst, "exact_count": 50}))
            playbooks.seconds("burst", {"name": "web", "exact_count": 0})
    one = {"name": "x{{ item }}", **SPEC}
    for items in (1, 11):
        times["loop"].append(near.seconds("server", one, loop=list(range(items)), **PLAIN_MODULE))
    loop = (times["loop"][1] - times["loop"][0]) * 5
    report.line("an ansible-playbook that does nothing, against 1500 ms", min(times["nothing"]) * 1000, 1500, None)
    report.line("50 servers by burst, 0 ms latency, against 1500 ms", min(times["near"]) * 1000, 1500, 1)
    report.line("50 servers by burst, 200 ms latency, against 2000 ms", min(times["far"]) * 1000, 2000, 1)
    report.line("50 servers by burst, against 50 plain modules", min(times["near"]) * 1000, loop * 1000, 0.2)


def measure_items(report: Report, here: Playbooks, endpoint: Endpoint, items: int, rounds: int) -> None:
    """Measure the overhead of a loop item over its API call, by the action plugin and as a module."""
    with ElasticHosts(endpoint.url, endpoint.auth) as client:
        uuid = client.servers.create({"name": "one", "cpu": "500", "mem": "256", "persistent": "true"}).uuid
        action = [per_item(lambda n: look(here, uuid, n), items) for _round in range(rounds)]
        api = statistics.median(seconds(lambda: client.servers.get(uuid)) for _call in range(200))
        module = per_item(lambda n: look(here, uuid, n, **PLAIN_MODULE), 10)
        floor = per_item(lambda n: here.seconds("server_info", {}, loop=[0] * n, when=False), items)
    report.line("what Ansible takes for an item that is skipped", floor * 1000, 10, None)
    report.line("an item through the action plugin over its call, 10 ms", (min(action) - api) * 1000, 10, 1)
    report.line("the same, against the plain module", min(action) * 1000, module * 1000, 0.1)


def look(here: Playbooks, uuid: str, items: int, **keywords: Any) -> float:
    return here.seconds("server_info", {"uuid": uuid}, loop=list(range(items)), **keywords)


def per_item(play: Callable[[int], float], items: int) -> float:
    """Return the seconds of one item: a play with many items, less a play with one, divided by the difference.

    Ansible sends the whole loop with each result, so that items of very long loops take longer.
    """
    return (play(items + 1) - play(1)) / items


if __name__ == "__main__":
    sys.exit(main())
