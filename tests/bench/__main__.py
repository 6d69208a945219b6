# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs every bench of this folder, one after the other, each in a process of its own. `make bench` calls this.

Each prints ratios measured within its own run, so that they mean something on a noisy machine too; its exit status
tells whether one was beyond its limit.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> int:
    benches = sorted(path for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
    beyond = []
    for bench in benches:
        print(f"\n== {bench.stem}", flush=True)
        if subprocess.run([sys.executable, "-m", f"tests.bench.{bench.stem}", *sys.argv[1:]], check=False).returncode:
            beyond.append(bench.stem)
    if beyond:
        print(f"\nbeyond a limit: {', '.join(beyond)}", file=sys.stderr)
    return len(beyond)


if __name__ == "__main__":
    sys.exit(main())
