# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the inventory in one run and prints the ratios.

    python -m tests.bench.inventory [--quick]

Times are processor seconds of the parse alone (InventoryManager), in a process of its own, the better of two: a busy
machine does not change them much. The listing comes from a server that only sends ready bytes, so that nothing but the
inventory is measured. Exit status 1 when a ratio is beyond its limit.
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
import sys, time
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader()
began = time.process_time()
manager = InventoryManager(loader=DataLoader(), sources=sys.argv[1:])
print(time.process_time() - began, len(manager.hosts))
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


def seconds(folder: Path, url: str, count: int, **options: Any) -> float:
    file = folder / "bench.eh.yml"
    file.write_text(yaml.safe_dump({"plugin": "opennebula.elastichosts.servers", **options}))
    environment = {**os.environ, "EHURI": url, "EHAUTH": AUTH, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS)}
    runs = []
    while len(runs) < 2:
        done = subprocess.run(
            [sys.executable, "-c", PARSE, str(file)], env=environment, check=True, capture_output=True, text=True
        )
        taken, hosts = done.stdout.split()
        assert int(hosts) == count, done.stderr
        runs.append(float(taken))
    return min(runs)


def main(arguments: list[str]) -> int:
    small, large = (500, 2500) if "--quick" in arguments else (2000, 10000)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sender)
    server.calls = 0  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(folder / "cache")}
        Sender.content = listing(small)
        few = seconds(folder, url, small)
        Sender.content = listing(large)
        many = seconds(folder, url, large)
        constructed = seconds(folder, url, large, **CONSTRUCTS)
        calls = server.calls  # type: ignore[attr-defined]
        seconds(folder, url, large, **cache)
        warm_calls = server.calls - calls  # type: ignore[attr-defined]
        warm = seconds(folder, url, large, **cache)
    server.shutdown()
    rows = [
        # what, measured, limit (None: for the eye only)
        (f"{large} hosts, CPU seconds", many, None),
        (f"{large} hosts with 1 compose, 1 group, 2 keyed_groups, CPU seconds", constructed, None),
        (f"{large} hosts from the cache, CPU seconds", warm, None),
        (f"time per host, {large} over {small} hosts", (many / large) / (few / small), 1.3),
        ("constructs over none", constructed / many, None),
        ("from the cache over from the API", warm / many, 1.3),
        ("API calls of two runs, the first filling the cache", float(warm_calls), 1.0),
    ]
    for what, measured, limit in rows:
        verdict = "" if limit is None else f"   at most {limit:g}: {'ok' if measured <= limit else 'BEYOND'}"
        print(f"{what:<70}{measured:8.2f}{verdict}")
    return int(any(limit is not None and measured > limit for what, measured, limit in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
