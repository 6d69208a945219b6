# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a wanted state to the thing itself: a plan is made (pure, plan.py), shown or carried out (apply.py).

Modules and drivers both go through here, so an equal wish always has equal steps.
"""

from __future__ import annotations

from .apply import apply_drive, apply_resource, apply_server, wait_address, wait_for, wait_imaged, wait_status
from .clock import Deadline
from .errors import Refused
from .once import change_once, create_once
from .plan import DRIVE_STATES, SERVER_STATES, Plan, Step, plan_drive, plan_resource, plan_server
from .values import parse_size, rounded

__all__ = [
    "DRIVE_STATES",
    "SERVER_STATES",
    "Deadline",
    "Plan",
    "Refused",
    "Step",
    "apply_drive",
    "apply_resource",
    "apply_server",
    "change_once",
    "create_once",
    "parse_size",
    "plan_drive",
    "plan_resource",
    "plan_server",
    "rounded",
    "wait_address",
    "wait_for",
    "wait_imaged",
    "wait_status",
]
