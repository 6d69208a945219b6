# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the inventory in one run and prints the ratios.

    python -m tests.bench.inventory [--quick]

Times are CPU seconds of the parse alone (InventoryManager), in a separate process, the best of three (fewer for large
inventories), so that a busy machine changes them little. The listing comes from a server that only sends prepared
bytes. The constructed options are measured against Ansible's own plugin `ansible.builtin.constructed`, run after this
collection's plugin. Exit status 1 when a ratio is beyond its limit.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import yaml

from tests.support.collection import COLLECTIONS

AUTH = "11111111-2222-4333-8444-555555555555:bench"
CONSTRUCTS: dict[str, Any] = {
    "compose": {"rank": "eh_mem // 512"},
    "groups": {"large": "eh_mem >= 1024"},
    "keyed_groups": [{"key": "eh_status", "prefix": "status"}, {"key": "eh_tags", "prefix": "tag"}],
}
PARSE = """
import json, sys, time
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader()
began = time.process_time()
manager = InventoryManager(loader=DataLoader(), sources=sys.argv[2:])
taken = time.process_time() - began
found = {
    "hosts": {name: host.get_vars() for name, host in manager.hosts.items()},
    "groups": {name: [host.name for host in group.hosts] for name, group in manager.groups.items()},
}
with open(sys.argv[1], "w") as file:
    json.dump(found, file, sort_keys=True)
print(taken, len(manager.hosts))
"""


def listing(count: int) -> bytes:
    return json.dumps(
        [
            {
                "server": f"{number:08x}-0000-4000-8000-000000000000",
                "name": f"web{number}",
                "status": ("active", "stopped", "paused")[number % 3],
                "cpu": 1000,
                "mem": 512 << number % 3,
                "smp": "auto",
                "persistent": "true",
                "boot": "ide:0:0",
                "ide:0:0": f"{number:08x}-1111-4000-8000-000000000000",
                "nic:0:model": "e1000",
                "nic:0:dhcp": "auto",
                "nic:0:dhcp:ip": f"198.18.{number // 250 % 250}.{number % 250 + 1}",
                "tags": ("front test", "back", "")[number % 3],
                "user:one-vm": str(number),
            }
            for number in range(count)
        ]
    ).encode()


class Sender(http.server.BaseHTTPRequestHandler):
    content = b""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.calls += 1  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(Sender.content)))
        self.end_headers()
        self.wfile.write(Sender.content)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base class names it so)
        return


class Bench:
    """Measures inventories in a folder, with listings from a server."""

    def __init__(self, folder: Path, server: http.server.ThreadingHTTPServer) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{server.server_address[1]}"

    def seconds(self, count: int, *, runs: int = 3, separately: bool = False, **options: Any) -> float:
        """Return the best of `runs`. separately: whether the options go to Ansible's plugin `constructed`."""
        ours = self._file("bench.eh.yml", "opennebula.elastichosts.servers", {} if separately else options)
        files = [ours, self._file("constructed.yml", "ansible.builtin.constructed", options)] if separately else [ours]
        environment = {**os.environ, "EHURI": self.url, "EHAUTH": AUTH, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS)}
        taken = []
        while len(taken) < runs:
            done = subprocess.run(
                [sys.executable, "-c", PARSE, str(self.result), *files],
                env=environment,
                check=True,
                capture_output=True,
                text=True,
            )
            measured, hosts = done.stdout.split()
            assert int(hosts) == count, done.stderr
            taken.append(float(measured))
        return min(taken)

    def _file(self, name: str, plugin: str, options: dict[str, Any]) -> str:
        file = self.folder / name
        file.write_text(yaml.safe_dump({"plugin": plugin, **options}))
        return str(file)

    @property
    def result(self) -> Path:
        """The file with the hosts and groups of the last parse."""
        return self.folder / "found.json"


def main(arguments: list[str]) -> int:
    few, many, most = (1000, 2000, 5000) if "--quick" in arguments else (1000, 10000, 50000)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sender)
    server.calls = 0  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name:
        rows = measure(Bench(Path(name), server), server, few, many, most)
    server.shutdown()
    for what, measured, least, limit in rows:
        bad = (limit is not None and measured > limit) or (least is not None and measured < least)
        wanted = f"at most {limit:g}" if limit is not None else f"at least {least:g}" if least is not None else ""
        print(f"{what:<72}{measured:8.2f}   {wanted}{wanted and (': BEYOND' if bad else ': ok')}".rstrip())
    return int(
        any(
            (limit is not None and measured > limit) or (least is not None and measured < least)
            for what, measured, least, limit in rows
        )
    )


Row = tuple[str, float, float | None, float | None]
"""(description, measured value, lower limit or None, upper limit or None)"""


def measure(bench: Bench, server: Any, few: int, many: int, most: int) -> list[Row]:
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(bench.folder / "cache")}
    Sender.content = listing(few)
    small = bench.seconds(few, **CONSTRUCTS)
    ours = bench.result.read_text()
    small_separately = bench.seconds(few, separately=True, **CONSTRUCTS)
    same = json.loads(ours) == json.loads(bench.result.read_text())
    Sender.content = listing(most)
    large = bench.seconds(most, runs=1, **CONSTRUCTS)
    Sender.content = listing(many)
    plain = bench.seconds(many)
    constructed = bench.seconds(many, **CONSTRUCTS)
    before = server.calls
    bench.seconds(many, runs=1, **cache)
    bench.seconds(many, runs=1, **cache)
    cold_calls, before = server.calls - before, server.calls
    warm = bench.seconds(many, **cache)
    return [
        (f"{few} hosts with 1 compose, 1 group, 2 keyed_groups, CPU seconds", small, None, None),
        ("the same by Ansible's own plugin constructed, CPU seconds", small_separately, None, None),
        ("ours over Ansible's own plugin", small / small_separately, None, 0.334),
        ("results equal as parsed JSON", float(same), 1.0, None),
        (f"{many} hosts, CPU seconds", plain, None, None),
        (f"{many} hosts with the same constructs, CPU seconds", constructed, None, None),
        (f"{most} hosts with the same constructs, CPU seconds", large, None, None),
        ("constructs over none", constructed / plain, None, None),
        (f"time per host, {most} over {few} hosts", (large / most) / (small / few), None, 1.3),
        (f"time per host, {most} over {many} hosts", (large / most) / (constructed / many), None, 1.3),
        ("from the cache over from the API", warm / plain, None, 1.3),
        ("API calls of two runs, the first filling the cache", float(cold_calls), None, 1.0),
        ("API calls of three runs from the cache", float(server.calls - before), None, 0.0),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
