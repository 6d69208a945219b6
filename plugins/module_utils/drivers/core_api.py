# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the core says about VMs and hosts, by XML-RPC as any command of OpenNebula asks it (opennebula-drivers 5.4)."""

from __future__ import annotations

import hashlib
import http.client
import os
import pwd
import xmlrpc.client
from typing import Any, List, Mapping, NamedTuple, Optional, Tuple, Union
from xml.etree.ElementTree import Element
from xml.parsers.expat import ExpatError

from ..elastichosts.address import shown_address
from ..opennebula.errors import DocumentError
from ..opennebula.vm import VirtualMachine, child_text, from_payload
from ..opennebula.xml import parse_xml

TIMEOUT = 20.0
"""seconds"""
SHORT_TIMEOUT = 5.0
"""seconds, for monitoring, which waits for the answer and can do without it"""
DECIDING = ("0", "3")
"""Raft states SOLO and LEADER"""
EVERYBODY, TO_THE_LAST, NOT_DONE = -2, -1, -1
"""arguments of one.vmpool.info: whose VMs, up to which id, in which states"""
AUTHENTICATION = 0x100
"""error code of 3.0 and later; the others say that the session is right"""
DEFAULT_ENDPOINT = "http://localhost:2633/RPC2"


class CoreSilent(Exception):
    """The core could not be asked: one sentence that says why and what to do."""


class CoreRefused(CoreSilent):
    """The core answers, but not what was asked: it may still tell of another VM."""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def credentials(environment: Mapping[str, str]) -> Tuple[str, str]:
    """Return endpoint and session from where OpenNebula's own commands take them.

    :raises CoreSilent: there is no session
    """
    home = environment.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    endpoint = environment.get("ONE_XMLRPC") or _read(f"{home}/.one/one_endpoint") or DEFAULT_ENDPOINT
    place = environment.get("ONE_AUTH") or f"{home}/.one/one_auth"
    session = _read(place)
    if not session:
        shown = "the file that ONE_AUTH names" if environment.get("ONE_AUTH") else place
        raise CoreSilent(
            f"OpenNebula cannot be asked about its VMs and hosts, because {shown} holds no user:password: make it "
            "readable for the user that runs OpenNebula, or set ONE_AUTH."
        )
    return endpoint, session


class CoreHost(NamedTuple):
    """A host as the core has it now."""

    id: int
    name: str
    state: int
    """0 INIT, 2 MONITORED, 3 ERROR, 4 DISABLED, 8 OFFLINE ..."""
    im_driver: str
    """NAME of its IM_MAD section"""
    vm_driver: str
    """NAME of its VM_MAD section"""


class CoreApi:
    """The core's XML-RPC interface, of any release, as far as the drivers need it. Safe for all threads.

    :param environment: says where endpoint and session are, see :func:`credentials`
    :param seconds: for one answer
    """

    def __init__(self, environment: Mapping[str, str], seconds: float = TIMEOUT) -> None:
        self._environment = environment
        self._seconds = seconds
        self._hashed: Optional[bool] = None
        """whether this core wants the password hashed; None: not known yet"""

    def check(self) -> None:
        """:raises CoreSilent: there is no session, so nothing can be asked"""
        credentials(self._environment)

    def vm(self, vm_id: int) -> VirtualMachine:
        """Return the VM as the core has it now, also one that has ended.

        :raises CoreRefused: the core does not know the VM, or does not let this user see it
        :raises CoreSilent: the core cannot be asked
        """
        what = f"VM {vm_id}"
        answer = self._ask(what, "one.vm.info", vm_id)
        try:
            found = from_payload(answer)
            if found.id != vm_id:
                raise DocumentError(f"it describes VM {found.id}")
        except DocumentError as error:
            raise CoreRefused(
                f"What OpenNebula tells of VM {vm_id} cannot be used: {error.sentence}. Look at onevm show -x {vm_id}."
            ) from None
        return found

    def deploy_ids(self, first: int) -> List[Tuple[int, str]]:
        """Return id and deploy id of each VM that has not ended, from the id ``first`` on (3.0 and later).

        :raises CoreSilent: the core cannot be asked
        """
        pool = self._document("its VMs", "one.vmpool.info", EVERYBODY, first, TO_THE_LAST, NOT_DONE)
        return [
            (int(child_text(vm, "ID")), child_text(vm, "DEPLOY_ID"))
            for vm in pool.findall("VM")
            if child_text(vm, "ID").isdigit()
        ]

    def hosts(self) -> List[CoreHost]:
        """Return every host of the core, those of other drivers as well.

        :raises CoreSilent: the core cannot be asked
        """
        try:
            return [
                CoreHost(
                    int(child_text(host, "ID")),
                    child_text(host, "NAME"),
                    int(child_text(host, "STATE")),
                    child_text(host, "IM_MAD"),
                    child_text(host, "VM_MAD") or child_text(host, "VMM_MAD"),
                )
                for host in self._document("its hosts", "one.hostpool.info").findall("HOST")
            ]
        except ValueError:
            raise CoreSilent(
                "What OpenNebula tells of its hosts cannot be used: look whether onehost list -x works."
            ) from None

    def leads(self) -> bool:
        """Return whether this core decides: it is alone, or the leader of several front-ends (5.4 and later).

        :raises CoreSilent: the core cannot be asked
        """
        return (
            child_text(self._document("its part among several front-ends", "one.zone.raftstatus"), "STATE") in DECIDING
        )

    def _document(self, what: str, method: str, *arguments: int) -> Element:
        try:
            return parse_xml(self._ask(what, method, *arguments))
        except DocumentError as error:
            raise CoreSilent(f"What OpenNebula tells of {what} cannot be used: {error.sentence}.") from None

    def _ask(self, what: str, method: str, *arguments: int) -> str:
        """Call a method of the core and return the text of its answer.

        2.x wants the password hashed, later releases as it is. Neither says that this was wrong in a way of its own,
        so the other form is tried until one has worked.
        """
        endpoint, session = credentials(self._environment)
        for hashed in (False, True) if self._hashed is None else (self._hashed,):
            answer = self._call(endpoint, what, method, _hashed(session) if hashed else session, *arguments)
            if isinstance(answer, list) and len(answer) >= 2 and answer[0] is True:
                self._hashed = hashed
                return str(answer[1])
            if isinstance(answer, list) and len(answer) > 2 and answer[2] != AUTHENTICATION:
                break
        raise CoreRefused(
            f"OpenNebula at {shown_address(endpoint)} does not tell of {what}: check ONE_AUTH or ~/.one/one_auth."
        )

    def _call(self, endpoint: str, what: str, method: str, *arguments: Union[str, int]) -> object:
        core = f"OpenNebula at {shown_address(endpoint)}"
        try:
            proxy: Any = xmlrpc.client.ServerProxy(endpoint, transport=_transport(endpoint, self._seconds))
            return getattr(proxy, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise CoreSilent(
                f"{core} refused to tell of {what} (fault {fault.faultCode}): look into oned.log."
            ) from None
        except (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError, ValueError) as error:
            raise CoreSilent(
                f"{core} cannot be asked about {what} ({type(error).__name__}): correct ONE_XMLRPC "
                "or ~/.one/one_endpoint."
            ) from None


def _hashed(session: str) -> str:
    user, _colon, password = session.partition(":")
    return f"{user}:{hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest()}"


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
