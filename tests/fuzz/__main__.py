# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Feeds one target with what atheris makes up, led by the code that each input reaches. `make fuzz` calls this.

    python -m tests.fuzz TARGET [seconds] [option of libFuzzer ...]

It starts from recorded conversations and from what went wrong before. An input that raises, takes more than ten
seconds or more than 1 GiB ends the run; put it into ``findings.py``, from where the unit tests try it, too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

from tests.support.collection import ROOT, make_importable

make_importable()
with atheris.instrument_imports(include=["ansible_collections.opennebula.elastichosts"]):
    from tests.fuzz.seeds import sow
    from tests.fuzz.targets import TARGETS

BOUNDS = ("-timeout=10", "-rss_limit_mb=1024", "-max_len=20000", "-print_final_stats=1")


def main() -> int:
    if not sys.argv[1:] or sys.argv[1] not in TARGETS:
        print(f"usage: python -m tests.fuzz {{{','.join(TARGETS)}}} [seconds] [option ...]", file=sys.stderr)
        return 2
    target, (seconds, *options) = sys.argv[1], sys.argv[2:] or ["60"]
    folder = Path(ROOT / ".cache" / "fuzz" / target)
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    sow(target, corpus)
    arguments = [f"-max_total_time={seconds}", f"-artifact_prefix={folder}/", *BOUNDS, *options, str(corpus)]
    atheris.Setup([sys.argv[0], *arguments], TARGETS[target])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
