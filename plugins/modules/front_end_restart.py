# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: front_end_restart
short_description: Restart OpenNebula and wait until it answers (internal to the role one_eh_driver)
version_added: 0.1.0
author: The opennebula.elastichosts authors (@opennebula)
description:
  - Restarts the core of OpenNebula through the init system of the machine, or the script C(one) of the installation,
    and waits until C(onehost list) succeeds. Actions that OpenNebula is executing are lost by a restart.
  - OpenNebula is stopped only if C(oned) and C(onehost) can be loaded as for the restart. A start that fails is tried
    once more; if that fails as well, the error has the command that starts OpenNebula.
  - Does nothing if OpenNebula is not running, since its next start reads the configuration.
  - This module is internal to the role P(opennebula.elastichosts.one_eh_driver#role); its options can change in every
    release.
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: none
    details: OpenNebula is restarted each time.
requirements:
  - python >= 3.9
options:
  one_location:
    description: The folder of a self-contained installation (C(ONE_LOCATION)). Empty for a system-wide one.
    type: str
    default: ""
  owner:
    description: The user that runs OpenNebula.
    type: str
    default: oneadmin
  service:
    description:
      - How OpenNebula is started. V(auto) uses systemd or an init script for a system-wide installation that has them,
        else the script C(one) of the installation.
    type: str
    choices: [auto, systemd, sysv, one, none]
    default: auto
  name:
    description: The name of the unit or init script.
    type: str
    default: opennebula
  scheduler:
    description: Whether the scheduler's service (C(opennebula-scheduler)) is restarted as well, if it runs.
    type: bool
    default: false
  timeout:
    description: How many seconds a stop and start may take, and then the core's first answer.
    type: float
    default: 120
extends_documentation_fragment:
  - opennebula.elastichosts.attributes
"""

EXAMPLES = r"""
- name: Restart OpenNebula with its new configuration
  opennebula.elastichosts.front_end_restart:
"""

RETURN = r"""
running:
  description: Whether OpenNebula was running before.
  returned: success
  type: bool
  sample: true
service:
  description: How OpenNebula was restarted.
  returned: success
  type: str
  sample: systemd
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.front_end import FrontEnd
from ..module_utils.front_end_service import Service

ARGUMENTS = {
    "one_location": {"type": "str", "default": ""},
    "owner": {"type": "str", "default": "oneadmin"},
    "service": {"type": "str", "choices": ["auto", "systemd", "sysv", "one", "none"], "default": "auto"},
    "name": {"type": "str", "default": "opennebula"},
    "scheduler": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 120},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    front_end = FrontEnd(params["one_location"], params["owner"])
    service = Service(front_end, params["service"], params["name"])
    running = service.kind != "none" and service.runs()
    if running and not module.check_mode:
        problem = service.restart(params["scheduler"], params["timeout"])
        if problem:
            module.fail_json(msg=problem)
    module.exit_json(changed=running, running=running, service=service.kind)


if __name__ == "__main__":
    main()
