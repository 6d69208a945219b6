# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the collection importable by its real name, from a plain clone and without an install step."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
COLLECTIONS = ROOT / ".cache" / "collections"


def make_importable() -> None:
    """Make `ansible_collections.opennebula.elastichosts`, `eh_endpoint` and `tests` importable."""
    link = COLLECTIONS / "ansible_collections" / "opennebula" / "elastichosts"
    link.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        link.symlink_to(ROOT)
    for folder in (COLLECTIONS, ROOT / "roles" / "eh_endpoint" / "files", ROOT):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    os.environ.setdefault("ANSIBLE_COLLECTIONS_PATH", str(COLLECTIONS))
