# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible.plugins.loader import init_plugin_loader
from hypothesis import HealthCheck, settings

from tests.support.collection import COLLECTIONS, make_importable

make_importable()
# Before the first import of the collection: Ansible's loader refuses collections that Python found on its own, and
# which test would be the first to need the loader depends on their order.
init_plugin_loader([str(COLLECTIONS)])

# How long an example takes says something of the machine's other work, nothing of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
