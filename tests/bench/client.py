# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the client against minimal code with the same result, in one run, and prints the ratios.

    python -m tests.bench.client [--quick]

The references are a plain requests.Session, json.loads of the same listing, and one raw write of the same bytes.
Exit status 1 when a ratio is beyond its limit.
"""

from __future__ import annotations

import gzip
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import requests

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import (
    formats,
    upload,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import (
    ElasticHosts,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.plan import plan_server
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.servers import Server
from tests.bench.endpoint import Report, seconds
from tests.support.endpoint import Endpoint

MIB = 1 << 20
SPEC: dict[str, str | None] = {"name": "bench", "cpu": "500", "mem": "512", "persistent": "true", "nic:0:dhcp": "auto"}


def main() -> int:
    quick = "--quick" in sys.argv[1:]
    report = Report()
    with (
        tempfile.TemporaryDirectory() as folder,
        Endpoint(Path(folder) / "state", "--quiet") as endpoint,
        ElasticHosts(endpoint.url, endpoint.auth) as client,
    ):
        measure_call(report, client, endpoint, 200 if quick else 1000)
        measure_listing(report, client, 1000 if quick else 10_000)
        measure_upload(report, client, Path(folder), 16 if quick else 64)
        measure_plan(report, client)
    return 1 if report.failed else 0


def many(number: int, work: Callable[[], object]) -> float:
    """Return the median seconds of ``number`` calls."""
    return statistics.median(seconds(work) for _unused in range(number))


def measure_call(report: Report, client: ElasticHosts, endpoint: Endpoint, calls: int) -> None:
    bare = requests.Session()
    bare.auth = (endpoint.user, endpoint.key)
    ours, theirs = [], []
    for _unused in range(calls):
        ours.append(seconds(client.drives.list))
        theirs.append(seconds(lambda: bare.get(endpoint.url + "/drives/list", timeout=10).content))
    ours_ms, theirs_ms = statistics.median(ours) * 1000, statistics.median(theirs) * 1000
    report.line("one call, against a plain session", ours_ms, theirs_ms, 1.1)


def measure_listing(report: Report, client: ElasticHosts, number: int) -> None:
    one = client.servers.create(SPEC)
    listing = json.dumps(
        [{**one.properties, "name": f"web{n}", "cpu": 500, "mem": 512} for n in range(number)]
    ).encode()
    ours = many(5, lambda: [Server(item) for item in formats.parse_objects(listing, "application/json")]) * 1000
    report.line(f"listing of {number}, against json.loads", ours, many(5, lambda: json.loads(listing)) * 1000, 5)


def measure_upload(report: Report, client: ElasticHosts, folder: Path, mebibytes: int) -> None:
    """Upload half random bytes, half text; both sides of the comparison send gzip."""
    path = folder / "disk.img"
    path.write_bytes((os.urandom(MIB) + b"some text " * (MIB // 10)) * (mebibytes // 2))
    packed = gzip.compress(path.read_bytes(), 1)
    raw, ours = [], []
    for _unused in range(3):
        drives = [client.drives.create({"size": f"{mebibytes}M"}) for _unused in range(2)]
        headers = {"Content-Type": "application/octet-stream", "Content-Encoding": "gzip"}
        write = f"/drives/{drives[0].uuid}/write/0"
        raw.append(seconds(lambda: client.transport.change(write, body=packed, headers=headers)))  # noqa: B023
        ours.append(seconds(lambda: upload.upload(client, path, drives[1], fresh=True)))  # noqa: B023
    packing = seconds(lambda: gzip.compress(path.read_bytes(), 1))
    report.line(
        f"upload of {mebibytes} MiB, against packing and one write", min(ours) * 1000, (min(raw) + packing) * 1000, 1.5
    )


def measure_plan(report: Report, client: ElasticHosts) -> None:
    server = client.servers.info()[0]
    plan = many(500, lambda: plan_server(SPEC, "started", server)) * 1000
    report.line("a plan for a server, against 1 ms", plan, 1, 1)


if __name__ == "__main__":
    sys.exit(main())
