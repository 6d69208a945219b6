# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Benchmarks of the collection, each with ratios of times from one run: `python -m tests.bench.NAME`."""

from __future__ import annotations

from tests.support.collection import make_importable

make_importable()
