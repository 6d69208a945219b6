# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether long tests run in full: `make test` runs samples of them, `make test-all` and CI run all."""

from __future__ import annotations

import os

WHOLE = os.environ.get("EH_TESTS") == "all"
