# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the tarball of the collection, byte for byte the same from every clone of the same commit.

    python tests/tools/build_tarball.py FOLDER

`ansible-galaxy collection build` packs whatever lies in the folder, in the order of the file system, with its times,
owners and modes. So it gets a copy of what git tracks, and its tarball is packed again: entries sorted, the time of
the commit (or SOURCE_DATE_EPOCH) for all, root as owner, 0755 or 0644 as git has it. Its lists of checksums are made
anew in the same order.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
GALAXY = Path(sys.executable).parent / "ansible-galaxy"


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def time_of_commit() -> int:
    """Seconds since 1970."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct"))


def build(scratch: Path) -> Path:
    """What ansible-galaxy makes of the tracked files."""
    copy = scratch / "copy"
    for name in filter(None, git("ls-files", "-z").split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    command = [str(GALAXY), "collection", "build", "--output-path", str(scratch)]
    subprocess.run(command, cwd=copy, check=True, stdout=subprocess.DEVNULL)
    return next(scratch.glob("*.tar.gz"))


def in_order(files: dict[str, bytes]) -> None:
    """Sort the list of files, and tell the manifest its new checksum."""
    listed: dict[str, Any] = json.loads(files["FILES.json"])
    listed["files"].sort(key=lambda entry: entry["name"])
    files["FILES.json"] = json.dumps(listed, indent=1).encode()
    manifest: dict[str, Any] = json.loads(files["MANIFEST.json"])
    manifest["file_manifest_file"]["chksum_sha256"] = hashlib.sha256(files["FILES.json"]).hexdigest()
    files["MANIFEST.json"] = json.dumps(manifest, indent=1).encode()


def pack(built: Path, target: Path, moment: int) -> None:
    with tarfile.open(built) as old:
        members = old.getmembers()
        files = {member.name: old.extractfile(member).read() for member in members if member.isfile()}  # type: ignore[union-attr]
    in_order(files)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as new:
        for member in sorted(members, key=lambda one: one.name):
            entry = tarfile.TarInfo(member.name)
            entry.type, entry.mtime = member.type, moment
            entry.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            content = files.get(member.name, b"")
            entry.size = len(content)
            new.addfile(entry, io.BytesIO(content))
    target.write_bytes(gzip.compress(packed.getvalue(), mtime=0))


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__)
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        built = build(Path(scratch))
        pack(built, folder / built.name, time_of_commit())
        print(folder / built.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
