# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
  diff_mode:
    description:
      - Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
  platform:
    description: Target OS/families that can be operated against.
    support: full
    platforms: posix
"""

    ACTION_GROUP = r"""
options: {}
attributes:
  action_group:
    description:
      - Use C(group/opennebula.elastichosts.elastichosts) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - opennebula.elastichosts.elastichosts
"""

    CHANGES = r"""
options: {}
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This module only reads.
  diff_mode:
    support: N/A
    details:
      - This module only reads.
  idempotent:
    support: full
    details:
      - This module only reads.
"""

    ONE_NAME = r"""
options: {}
notes:
  - Where the same task runs on several hosts at once, each without a UUID or an address, one object of the name
    is made. The API has neither locks nor unique names, so a new object first has the key
    C(user:creation-attempt), which is taken away once the account was listed again. A host that finds another
    object of the name withdraws its own, and reports the other one as it does with any that is there. If a host
    dies between these calls, the next task that names the object waits 20 seconds and takes it over.
  - Two objects remain where a call takes longer than 10 seconds, where two hosts die so, or where the cloud
    lists a new object late. The next task then fails, with their UUIDs. With C(run_once=true) and
    C(delegate_to=localhost) there is no race and no wait, so this is the better way to make what is there once
    for all hosts.
"""
