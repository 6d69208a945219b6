# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests use to make the endpoint fail: fault rules, broken responses, the control port, the clock."""
