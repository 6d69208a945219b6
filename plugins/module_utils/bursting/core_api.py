# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the core itself says about VMs and hosts, by XML-RPC as any command of OpenNebula asks it.

See opennebula-drivers 5.4.
"""

from __future__ import annotations

import http.client
import os
import pwd
import xmlrpc.client
from typing import Any, List, Mapping, NamedTuple, Tuple, Union

from ..opennebula.documents import child_text, parse_xml
from ..opennebula.errors import DocumentError
from ..opennebula.vm import VirtualMachine, from_payload

TIMEOUT = 20.0
"""seconds"""
SHORT_TIMEOUT = 5.0
"""seconds, where monitoring waits for the answer and can do without"""
DECIDING = ("0", "3")
"""Raft states SOLO and LEADER"""
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
            f"OpenNebula cannot be asked about its VMs and hosts, because {place} holds no user:password: make it "
            "readable for the user that runs OpenNebula, or set ONE_AUTH."
        )
    return endpoint, session


def vm_info(vm_id: int, environment: Mapping[str, str]) -> VirtualMachine:
    """Return the VM as the core has it now.

    :raises CoreSilent: it cannot be asked, or does not know the VM
    """
    document = _ask(environment, "one.vm.info", f"VM {vm_id}", TIMEOUT, vm_id)
    try:
        return from_payload(document)
    except DocumentError as error:
        raise CoreSilent(
            f"What OpenNebula tells of VM {vm_id} cannot be used: {error.sentence}. Look at onevm show -x {vm_id}."
        ) from None


class CoreHost(NamedTuple):
    """A host as the core has it now."""

    id: int
    name: str
    state: int
    """0 INIT, 2 MONITORED, 3 ERROR, 4 DISABLED, 8 OFFLINE ..."""
    driver: str
    """NAME of its IM_MAD section"""


def hosts(environment: Mapping[str, str]) -> List[CoreHost]:
    """Return every host of the core, those of other drivers as well.

    :raises CoreSilent: it cannot be asked
    """
    document = _ask(environment, "one.hostpool.info", "its hosts", SHORT_TIMEOUT)
    try:
        return [
            CoreHost(
                int(child_text(host, "ID")), child_text(host, "NAME"), int(child_text(host, "STATE")),
                child_text(host, "IM_MAD"),
            )
            for host in parse_xml(document).findall("HOST")
        ]  # fmt: skip
    except (DocumentError, ValueError):
        raise CoreSilent(
            "What OpenNebula tells of its hosts cannot be used: look whether onehost list -x works."
        ) from None


def leads(environment: Mapping[str, str]) -> bool:
    """Return whether this core decides: it is alone, or the leader of several front-ends (5.4 and later).

    :raises CoreSilent: it cannot be asked
    """
    document = _ask(environment, "one.zone.raftstatus", "its part among several front-ends", SHORT_TIMEOUT)
    try:
        return child_text(parse_xml(document), "STATE") in DECIDING
    except DocumentError:
        raise CoreSilent(
            "What OpenNebula tells of its part among several front-ends cannot be used: look whether onezone show 0 "
            "works."
        ) from None


def _ask(environment: Mapping[str, str], method: str, what: str, seconds: float, *arguments: int) -> str:
    """Call a method that returns a document.

    :param what: what the core is asked about, for the sentences
    :raises CoreSilent: there is no answer, or the core refuses
    """
    endpoint, session = credentials(environment)
    try:
        proxy: Any = xmlrpc.client.ServerProxy(endpoint, transport=_transport(endpoint, seconds))
        answer = getattr(proxy, method)(session, *arguments)
    except xmlrpc.client.Fault as fault:
        raise CoreSilent(
            f"OpenNebula at {endpoint} refused to tell of {what} (fault {fault.faultCode}): look into oned.log."
        ) from None
    except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
        raise CoreSilent(
            f"OpenNebula at {endpoint} cannot be asked about {what} ({type(error).__name__}): correct ONE_XMLRPC "
            "or ~/.one/one_endpoint."
        ) from None
    if not isinstance(answer, list) or len(answer) < 2 or answer[0] is not True:
        raise CoreSilent(f"OpenNebula at {endpoint} does not tell of {what}: check ONE_AUTH or ~/.one/one_auth.")
    return str(answer[1])


class _Plain(xmlrpc.client.Transport):
    seconds = TIMEOUT

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = self.seconds
        return connection


class _Safe(xmlrpc.client.SafeTransport):
    seconds = TIMEOUT

    def make_connection(self, host: Any) -> http.client.HTTPSConnection:
        connection = super().make_connection(host)
        connection.timeout = self.seconds
        return connection


def _transport(endpoint: str, seconds: float) -> Union[_Plain, _Safe]:
    transport = _Safe() if endpoint.startswith("https:") else _Plain()
    transport.seconds = seconds
    return transport
