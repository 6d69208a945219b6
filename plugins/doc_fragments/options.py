# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Single options that several modules have."""

    DOCUMENTATION = r"""
options: {}
"""

    QUERY = r"""
options:
  query:
    description:
      - JMESPath expression over the list. Its result is returned instead of the list; a result that is not a list is
        returned as a list of one. Needs the Python library C(jmespath).
    type: str
"""

    USER_KEYS = r"""
options:
  user_keys:
    description:
      - User keys, C(user:KEY) in the API. A key with V(null) is removed; keys that are not given are not changed.
    type: dict
"""

    SOURCE_IN_USE = r"""
options:
  source_in_use:
    description:
      - What to do when a running server uses the drive that is to be copied. V(refuse) fails before anything is
        changed, since the copy may hold one half of what the server writes meanwhile, and its file system be damaged.
        V(allow) copies it all the same.
      - Drives of stopped servers and standard drives are copied in any case. A drive of another account counts as used
        while anything holds it.
    type: str
    choices: [refuse, allow]
    default: refuse
    version_added: 1.0.0
"""
