# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Functions for tests of clients: fault rules, broken responses, the control port, the clock."""
