# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  endpoint:
    description:
      - URL of the ElasticHosts API, for example V(https://eh.example.org). A path prefix and a trailing slash are
        allowed, credentials in the URL are not.
      - If not given, the environment variable E(EHURI) is used.
    type: str
  auth:
    description:
      - Credentials, as C(<user uuid>:<secret API key>).
      - If not given, the environment variable E(EHAUTH) is used.
    type: str
  validate_certs:
    description:
      - Whether the certificate of an C(https) endpoint is checked. Use V(false) with a self-signed certificate on a
        network that you trust only; O(ca_path) is the better way.
    type: bool
    default: true
  ca_path:
    description:
      - File with the CA certificates to trust instead of the system's.
    type: path
  connect_timeout:
    description:
      - Time limit for establishing a connection, in seconds.
    type: float
    default: 5
  timeout:
    description:
      - Time limit for the next data of a response, in seconds.
    type: float
    default: 60
requirements:
  - python >= 3.9
  - requests
notes:
  - C(GET) calls are retried if the endpoint cannot be reached or is throttling. A C(POST) call with an unknown outcome
    is repeated only after a lookup has shown that it had no effect.
"""

    # For plugins that are configured by a file: Ansible itself reads these options from the environment.
    ENVIRONMENT = r"""
options:
  endpoint:
    env:
      - name: EHURI
  auth:
    env:
      - name: EHAUTH
"""
