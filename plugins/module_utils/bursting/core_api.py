# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the core itself says about a VM, by XML-RPC as any command of OpenNebula asks it (opennebula-drivers 5.4)."""

from __future__ import annotations

import http.client
import os
import pwd
import xmlrpc.client
from typing import Any, Mapping, Tuple, Union

from ..opennebula.errors import DocumentError
from ..opennebula.vm import VirtualMachine, from_payload

TIMEOUT = 20.0
"""seconds"""
DEFAULT_ENDPOINT = "http://localhost:2633/RPC2"


class CoreSilent(Exception):
    """The core could not be asked: one sentence that says why and what to do."""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def credentials(environment: Mapping[str, str]) -> Tuple[str, str]:
    """Endpoint and session, from where OpenNebula's own commands have them.

    :raises CoreSilent: there is no session
    """
    home = environment.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    endpoint = environment.get("ONE_XMLRPC") or _read(f"{home}/.one/one_endpoint") or DEFAULT_ENDPOINT
    place = environment.get("ONE_AUTH") or f"{home}/.one/one_auth"
    session = _read(place)
    if not session:
        raise CoreSilent(
            f"OpenNebula cannot be asked about its VM, because {place} holds no user:password: make it readable for "
            "the user that runs OpenNebula, or set ONE_AUTH."
        )
    return endpoint, session


def vm_info(vm_id: int, environment: Mapping[str, str]) -> VirtualMachine:
    """The VM as the core has it now.

    :raises CoreSilent: it cannot be asked, or does not know the VM
    """
    endpoint, session = credentials(environment)
    try:
        proxy: Any = xmlrpc.client.ServerProxy(endpoint, transport=_transport(endpoint))
        answer = proxy.one.vm.info(session, vm_id)
    except xmlrpc.client.Fault as fault:
        raise CoreSilent(
            f"OpenNebula at {endpoint} refused to tell of VM {vm_id} (fault {fault.faultCode}): look into oned.log."
        ) from None
    except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
        raise CoreSilent(
            f"OpenNebula at {endpoint} cannot be asked about VM {vm_id} ({type(error).__name__}): correct ONE_XMLRPC "
            "or ~/.one/one_endpoint."
        ) from None
    if not isinstance(answer, list) or len(answer) < 2 or answer[0] is not True:
        raise CoreSilent(f"OpenNebula at {endpoint} does not tell of VM {vm_id}: check ONE_AUTH or ~/.one/one_auth.")
    try:
        return from_payload(str(answer[1]))
    except DocumentError as error:
        raise CoreSilent(
            f"What OpenNebula tells of VM {vm_id} cannot be used: {error.sentence}. Look at onevm show -x {vm_id}."
        ) from None


class _Plain(xmlrpc.client.Transport):
    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = TIMEOUT
        return connection


class _Safe(xmlrpc.client.SafeTransport):
    def make_connection(self, host: Any) -> http.client.HTTPSConnection:
        connection = super().make_connection(host)
        connection.timeout = TIMEOUT
        return connection


def _transport(endpoint: str) -> Union[_Plain, _Safe]:
    return _Safe() if endpoint.startswith("https:") else _Plain()
