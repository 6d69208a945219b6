# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
from ansible.plugins.loader import init_plugin_loader
from hypothesis import HealthCheck, settings

from tests.support.collection import COLLECTIONS, make_importable
from tests.support.extent import WHOLE

make_importable()
# Before the first import of the collection: Ansible's loader refuses collections that Python found on its own, and
# which test would be the first to need the loader depends on their order.
init_plugin_loader([str(COLLECTIONS)])

# How long an example takes says something of the machine's other work, nothing of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

LONGEST_FIRST = (
    "tests/unit/drivers/test_monitoring.py",  # waits most of the time, for minutes
    "tests/unit/drivers/test_sweep.py",
    "tests/unit/role/",
    "tests/docs/",
    "tests/unit/action/",
    "tests/old_clients/",
    "tests/unit/drivers/",
)


def pytest_xdist_auto_num_workers() -> int:
    """Three for each processor: most of its time a test waits, for the clock or for a process it has started."""
    return 3 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for `make test-all`, and sort the rest.

    Files go to the workers in this order: a long one that comes last would keep the other workers waiting.
    """
    left_out = [] if WHOLE else [item for item in items if item.get_closest_marker("whole")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]

    def rank(item: pytest.Item) -> int:
        return next((at for at, room in enumerate(LONGEST_FIRST) if item.nodeid.startswith(room)), len(LONGEST_FIRST))

    items.sort(key=rank)
