# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: PTH100, PTH118, PTH120
"""Starts the ElasticHosts information driver, whose code is in ../python/one_eh."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "python"))

from one_eh.drivers.bootstrap import run  # noqa: E402

if __name__ == "__main__":
    run("im", sys.argv[1:])
