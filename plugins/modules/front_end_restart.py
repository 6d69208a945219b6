# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: front_end_restart
short_description: Restart OpenNebula and see that it answers (internal to the role one_eh_driver)
version_added: 0.1.0
author: The opennebula.elastichosts authors (@opennebula)
description:
  - Restarts the core of OpenNebula through the init system of the machine, or the script C(one) of the installation,
    and waits until it answers its own command line. Actions that are under way in OpenNebula are lost with a restart.
  - OpenNebula is not stopped unless C(oned) and C(onehost) can be loaded as the restart would load them. A start that
    fails is tried once more, and if that fails as well, the error names the command that starts it.
  - Does nothing when OpenNebula is not running. It reads its configuration when it is started the next time.
  - This module is internal to the role P(opennebula.elastichosts.one_eh_driver#role); its options can change in every
    release.
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: none
    details: It restarts whenever it is called.
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
      - How it is started. V(auto) takes systemd or an init script for a system-wide installation that has them, else
        the script C(one) of the installation.
    type: str
    choices: [auto, systemd, sysv, one, none]
    default: auto
  name:
    description: The name of the unit or init script.
    type: str
    default: opennebula
  scheduler:
    description: Whether the service of the scheduler (C(opennebula-scheduler)), if it runs, is restarted as well.
    type: bool
    default: false
  timeout:
    description: How many seconds a stop and start may take, and how many the core then gets to answer.
    type: float
    default: 120
extends_documentation_fragment:
  - opennebula.elastichosts.attributes
"""

EXAMPLES = r"""
- name: OpenNebula reads its configuration again
  opennebula.elastichosts.front_end_restart:
"""

RETURN = r"""
running:
  description: Whether OpenNebula was running before.
  returned: success
  type: bool
  sample: true
service:
  description: How it was restarted.
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
