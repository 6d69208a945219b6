# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job, end to end, with real programs on loopback, in a scratch folder that is removed afterwards.

python -m tests.demo [--keep] [--collections FOLDER]
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

from tests.core import CoreFailure
from tests.demo import steps
from tests.demo.programs import Programs
from tests.demo.story import NotSeen, Story
from tests.support.collection import COLLECTIONS, make_importable
from tests.support.endpoint import Endpoint


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description="The main job on loopback, end to end.")
    parser.add_argument("--keep", action="store_true", help="leave the scratch folder for a look")
    parser.add_argument(
        "--collections",
        type=Path,
        default=COLLECTIONS,
        metavar="FOLDER",
        help="use the collection installed below FOLDER instead of this clone",
    )
    return parser.parse_args()


def tell(story: Story, scratch: Path, collections: Path) -> None:
    """All steps, in order. Raises NotSeen, CoreFailure or CalledProcessError at the first that is not as it must be."""
    cloud = Endpoint(scratch / "cloud", user=str(uuid.uuid4()), key=secrets.token_hex(16), start=False)
    try:
        programs = Programs(scratch, collections, cloud.env)
        steps.start_endpoint(story, cloud)
        programs.environment |= cloud.env
        steps.upload_and_provision(story, programs, cloud)
        trees = steps.install_drivers(story, programs, cloud)
        steps.burst_with_2_0(story, trees["2.0.1"], cloud)
        steps.burst_with_7_4(story, trees["7.4.0"], cloud, programs)
        steps.remove_drivers(story, programs, cloud, trees["7.4.0"])
    finally:
        cloud.stop()


def main() -> int:
    given = options()
    make_importable()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    scratch = Path(tempfile.mkdtemp(prefix="eh-demo-"))
    print(f"Bursting from OpenNebula to ElasticHosts, all on loopback. Scratch folder: {scratch}")
    story = Story()
    try:
        tell(story, scratch, given.collections.resolve())
    except (NotSeen, CoreFailure) as failure:
        print(f"\nThe demo stopped: {failure}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as failure:
        command = " ".join(os.fspath(word) for word in failure.cmd)
        print(f"\nThe demo stopped: {command} ended with {failure.returncode}:\n{failure.output}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe demo was interrupted.", file=sys.stderr)
        return 130
    finally:
        if given.keep:
            print(f"\nThe scratch folder is kept: {scratch}")
        else:
            shutil.rmtree(scratch, ignore_errors=True)
    print(f"\n{story.table()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
