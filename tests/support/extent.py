# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of the tests runs: `make test` takes samples of what is long, `make test-all`, as in CI, all of it."""

from __future__ import annotations

import os

WHOLE = os.environ.get("EH_TESTS") == "all"
