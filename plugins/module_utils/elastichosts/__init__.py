# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ElasticHosts cloud: its API, its errors, how a wanted state is reached. Knows no Ansible, no OpenNebula."""

from __future__ import annotations
