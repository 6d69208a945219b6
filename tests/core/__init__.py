# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A strict stand-in for OpenNebula's core: starts drivers as oned does, speaks as each release does, judges every line.

It shares no code with the drivers: each is the other's test. ``opennebula-drivers`` names the sources of its rules.
"""

from __future__ import annotations

from .model import Host, Vm
from .oned import Core, CoreFailure

__all__ = ["Core", "CoreFailure", "Host", "Vm"]
