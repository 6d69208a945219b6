# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inputs to begin with: what real cores said and wrote, and answers of the cloud."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.fuzz.findings import FINDINGS
from tests.fuzz.targets import MARK

TESTS = Path(__file__).resolve().parent.parent
SERVER = (
    b'[{"server":"0a1b2c3d-1111-4222-8333-444455556666","name":"bench","status":"active","cpu":500,"mem":256,"smp":1,'
    b'"user:one-cloud":"fuzzed","user:one-vm":"7","nic:0:dhcp":"auto","nic:0:dhcp:ip":"192.0.2.3","started":17000}]'
)
TEXT = (
    b"server 0a1b2c3d-1111-4222-8333-444455556666\nname bench\\nmark\nstatus stopped\ncpu 500\nmem 256\n"
    b"user:one-cloud fuzzed\nuser:one-vm 7\nide:0:0 0a1b2c3d-1111-4222-8333-444455556667\nide:0:0:read:bytes 12\n"
)
ANSWERS = (
    b"200 application/json\n" + SERVER,
    b"200 text/plain\n" + TEXT,
    b"200 application/json\n[]",
    b"204 text/plain\n",
    b"500 text/plain\nno " + MARK,
    b"401 text/plain\n<b>" + MARK,
    b"429 text/plain\nslow",
)


def records(role: str, sender: str) -> Iterator[str]:
    """Each line once, by its action."""
    seen = set()
    for path in sorted((TESTS / "core" / "transcripts").rglob("*.jsonl")):
        for row in map(json.loads, path.read_text().splitlines()):
            line = row.get("line", "") if row.get("sender") == sender and role in row.get("role", "") else ""
            kind = (path.parent.name, line.split(" ")[0])
            if line and kind not in seen:
                seen.add(kind)
                yield line


def unpacked(line: str) -> bytes:
    """With its payload as it can be changed."""

    def open_up(found: re.Match[str]) -> str:
        try:
            data = base64.b64decode(found[0], validate=True)
            data = zlib.decompress(data) if data[:1] == b"\x78" else data
            return data.decode().replace("\n", " ")
        except (binascii.Error, zlib.error, UnicodeDecodeError):
            return found[0]

    return re.sub(r"[A-Za-z0-9+/=]{40,}", open_up, line).encode()


def lines(role: str) -> Iterator[bytes]:
    for number, line in enumerate(records(role, "core")):
        script = b"\n\n".join((ANSWERS * 2)[number % len(ANSWERS) :])
        yield line.encode() + b"\n" + script
        yield unpacked(line) + b"\n" + script


def files() -> Iterator[bytes]:
    for path in sorted((TESTS / "core" / "transcripts").rglob("*.jsonl")):
        for row in map(json.loads, path.read_text().splitlines()):
            if "deployment" in row.get("file", ""):
                yield row["text"].encode()
                break
    yield b"name bitrot\ncpu 500\nmem 500\nide:0:0 0a1b2c3d-1111-4222-8333-444455556666\n"


def settings() -> Iterator[bytes]:
    yield b"EHURI=http://x\nexport EHAUTH='a:b' # x\nTOTAL_CPU=\"2\"\nCPU_MHZ=500;\nX=$(cat y)\n"
    yield b'TOTAL_MEMORY=4096 # MB\nEH=[ NICMODEL="nic:0:model virtio", MEMORY="999" ]\n'


def configurations() -> Iterator[bytes]:
    for path in sorted((TESTS / "samples").rglob("*.conf")):
        yield path.read_bytes()


SEEDS: Mapping[str, Callable[[], Iterator[bytes]]] = {
    "vmm_lines": lambda: lines("vmm"),
    "im_lines": lambda: lines("im"),
    "deployment_files": files,
    "settings_files": settings,
    "replies": lambda: iter(ANSWERS),
    "oned_conf": configurations,
}


def sow(target: str, corpus: Path) -> None:
    """Write them into a folder."""
    for seed in (*SEEDS[target](), *FINDINGS.get(target, {}).values()):
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
