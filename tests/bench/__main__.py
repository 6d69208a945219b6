# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the benchmarks of this folder one after the other, each in its own process. `make bench` calls this.

Each benchmark prints ratios of times from the same run, which depend little on what else the machine does. The exit
status is the number of benchmarks with a ratio beyond its limit.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

BENCHES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.splitlines()[0])
    options.add_argument("bench", nargs="*", help=f"names of benchmarks (default: all of {', '.join(BENCHES)})")
    options.add_argument("--quick", action="store_true", help="run fewer rounds, with less precise results")
    given = options.parse_args()
    unknown = [name for name in given.bench if name not in BENCHES]
    if unknown:
        options.error(f"there is no bench {', '.join(unknown)}: name some of {', '.join(BENCHES)}")
    beyond = []
    for bench in given.bench or BENCHES:
        print(f"\n== {bench}", flush=True)
        command = [sys.executable, "-m", f"tests.bench.{bench}", *(["--quick"] if given.quick else [])]
        if subprocess.run(command, check=False).returncode:
            beyond.append(bench)
    if beyond:
        print(f"\nbeyond a limit: {', '.join(beyond)}", file=sys.stderr)
    return len(beyond)


if __name__ == "__main__":
    sys.exit(main())
