# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures uploads and downloads against curl, with the same bytes at the same endpoint in the same run.

    python tests/bench/upload.py [--quick]

The reference is `curl -T`: the whole file in one request, without checksum or resume. Both take turns and the medians
are compared, so that other load of the machine affects both. Exit status 1 when a ratio is beyond its limit.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.collection import make_importable  # noqa: E402

make_importable()

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import (  # noqa: E402
    download,
    upload,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import (  # noqa: E402
    ElasticHosts,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.drives import Drive  # noqa: E402
from tests.bench.endpoint import Report, seconds  # noqa: E402
from tests.support.endpoint import Endpoint  # noqa: E402

MIB = 1 << 20
SLOW_LINE = 8 * MIB
"""Bytes per second of the slow line, 67 Mbit/s."""


class RateLimited:
    """A TCP proxy to the endpoint that limits all connections together to `rate` bytes per second."""

    def __init__(self, endpoint: Endpoint, rate: int) -> None:
        self._endpoint = endpoint
        self._rate = rate
        self._free_at = 0.0
        self._lock = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> RateLimited:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _address = self._socket.accept()
                far = socket.create_connection(("127.0.0.1", self._endpoint.port))
                threading.Thread(target=self._carry, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._carry, args=(far, near, False), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, slowly: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(32 * 1024):
                if slowly:
                    self._wait(len(piece))
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)

    def _wait(self, size: int) -> None:
        with self._lock:
            begin = max(self._free_at, time.monotonic())
            self._free_at = begin + size / self._rate
        time.sleep(max(0.0, self._free_at - time.monotonic()))


def main() -> int:
    quick = "--quick" in sys.argv[1:]
    report = Report()
    size, rounds = (64, 3) if quick else (256, 7)
    slow_size = 32 if quick else 128  # large enough for the half second in which an upload probes line and cloud
    with (
        tempfile.TemporaryDirectory() as name,
        Endpoint(Path(name) / "state", "--quiet") as endpoint,
        ElasticHosts(endpoint.url, endpoint.auth) as client,
    ):
        folder = Path(name)
        path = folder / "image.raw"
        for kind, data, limit in (("noise", noise, 1 / 0.7), ("a disk", disk, 1 / 0.9)):
            path.write_bytes(data(size))
            measure_upload(report, f"upload of {size} MiB, {kind}", client, endpoint, path, rounds, limit)
        for kind, data, limit in (("noise", noise, 1 / 0.7), ("a disk", disk, 0.6)):
            path.write_bytes(data(slow_size))
            what = f"upload of {slow_size} MiB, {kind}, 67 Mbit/s"
            measure_slow_line(report, what, client, endpoint, path, limit)
        measure_download(report, client, endpoint, folder, size, rounds)
    return 1 if report.failed else 0


def noise(size: int) -> bytes:
    """Return incompressible bytes."""
    return os.urandom(size * MIB)


def disk(size: int) -> bytes:
    """Return bytes as on a used system disk: half zeros, a quarter text, a quarter incompressible."""
    chance = random.Random(7)
    text = b"".join(b"%d some words of a log file\n" % chance.randrange(10**6) for _line in range(MIB // 30))[:MIB]
    parts = {"zeros": bytes(MIB), "text": text, "packed": os.urandom(MIB)}
    kinds = chance.choices(list(parts), [2, 1, 1], k=size // 8)
    return b"".join(parts[kind] for kind in kinds for _part in range(8))


def measure_upload(
    report: Report, what: str, client: ElasticHosts, endpoint: Endpoint, path: Path, rounds: int, limit: float
) -> None:
    ours, theirs = [], []
    for _round in range(rounds):
        pair = [client.drives.create({"size": str(path.stat().st_size)}) for _drive in range(2)]
        theirs.append(seconds(lambda: curl(endpoint, path, pair[0])))  # noqa: B023
        ours.append(seconds(lambda: upload.upload(client, path, pair[1], fresh=True)))  # noqa: B023
        for drive in pair:
            client.drives.destroy(drive.uuid)
    report.line(f"{what}, against curl -T", median(ours) * 1000, median(theirs) * 1000, limit)


def measure_slow_line(
    report: Report, what: str, client: ElasticHosts, endpoint: Endpoint, path: Path, limit: float
) -> None:
    pair = [client.drives.create({"size": str(path.stat().st_size)}) for _drive in range(2)]
    with RateLimited(endpoint, SLOW_LINE) as line, ElasticHosts(line.url, endpoint.auth) as slow:
        theirs = seconds(lambda: curl(endpoint, path, pair[0], url=line.url))
        ours = seconds(lambda: upload.upload(slow, path, pair[1], fresh=True))
    report.line(f"{what}, against curl -T", ours * 1000, theirs * 1000, limit)


def measure_download(
    report: Report, client: ElasticHosts, endpoint: Endpoint, folder: Path, size: int, rounds: int
) -> None:
    """Measure downloads against one curl command with all calls, as the API returns 4 MiB per call."""
    path, target = folder / "image.raw", folder / "back.raw"
    path.write_bytes(noise(size))
    drive = client.drives.create({"size": str(path.stat().st_size)})
    drive = upload.upload(client, path, drive, fresh=True).drive
    ours, theirs = [], []
    for _round in range(rounds):
        theirs.append(seconds(lambda: curl_back(endpoint, drive, target)))
        target.unlink()
        ours.append(seconds(lambda: download.download(client, drive, target)))
        for file in folder.glob("back.raw*"):
            file.unlink()
    report.line(f"download of {size} MiB, against curl", median(ours) * 1000, median(theirs) * 1000, 2)


def curl(endpoint: Endpoint, path: Path, drive: Drive, url: str = "") -> None:
    header = "Content-Type: application/octet-stream"
    command = ["curl", "-sS", "--fail", "-X", "POST", "-u", endpoint.auth, "-H", header, "-H", "Expect:"]
    subprocess.run([*command, "-T", str(path), f"{url or endpoint.url}/drives/{drive.uuid}/write"], check=True)


def curl_back(endpoint: Endpoint, drive: Drive, target: Path) -> None:
    step = download.CHUNK
    urls = [f"{endpoint.url}/drives/{drive.uuid}/read/{at}/{step}" for at in range(0, drive.size, step)]
    with target.open("wb") as file:
        subprocess.run(["curl", "-sS", "--fail", "-u", endpoint.auth, *urls], stdout=file, check=True)


if __name__ == "__main__":
    sys.exit(main())
