# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Client of the core's XML-RPC interface, for VMs and hosts; authenticates as the CLI does (opennebula-drivers 5.4)."""

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
"""seconds, for monitoring, which blocks on the response but can do without it"""
DECIDING = ("0", "3")
"""Raft states SOLO and LEADER"""
EVERYBODY, TO_THE_LAST, NOT_DONE = -2, -1, -1
"""arguments of one.vmpool.info: VMs of all users, no highest id, all states except DONE"""
AUTHENTICATION = 0x100
"""error code for wrong credentials, in 3.0 and later"""
DEFAULT_ENDPOINT = "http://localhost:2633/RPC2"


class CoreSilent(Exception):
    """The core could not be queried; ``str()`` is one sentence that says why and what to do."""


class CoreRefused(CoreSilent):
    """The core refused one query or its response is unusable; queries about other objects may succeed."""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def credentials(environment: Mapping[str, str]) -> Tuple[str, str]:
    """Return (endpoint, ``user:password``) from the places that OpenNebula's own commands use.

    :raises CoreSilent: there is no password file, or it cannot be read
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
    """A host of the core's host pool."""

    id: int
    name: str
    state: int
    """0 INIT, 2 MONITORED, 3 ERROR, 4 DISABLED, 8 OFFLINE ..."""
    im_driver: str
    """NAME of its IM_MAD section"""
    vm_driver: str
    """NAME of its VM_MAD section"""


class CoreApi:
    """The core's XML-RPC methods that the drivers need, for every release. Thread-safe.

    :param environment: environment variables with the places of endpoint and password, see :func:`credentials`
    :param seconds: time-out of one call
    """

    def __init__(self, environment: Mapping[str, str], seconds: float = TIMEOUT) -> None:
        self._environment = environment
        self._seconds = seconds
        self._hashed: Optional[bool] = None
        """whether this core takes the password as SHA-1 hash; None: not known yet"""

    def check(self) -> None:
        """Check that there are credentials for the core.

        :raises CoreSilent: there are none
        """
        credentials(self._environment)

    def vm(self, vm_id: int) -> VirtualMachine:
        """Return the core's current record of a VM, also of one that has ended.

        :raises CoreRefused: the core does not know the VM, or does not let this user see it
        :raises CoreSilent: the core cannot be queried
        """
        what = f"VM {vm_id}"
        answer = self._query(what, "one.vm.info", vm_id)
        try:
            found = from_payload(answer)
            if found.id != vm_id:
                raise DocumentError(f"it describes VM {found.id}")
        except DocumentError as error:
            raise CoreRefused(
                f"OpenNebula's answer about VM {vm_id} cannot be used: {error.sentence}. Look at onevm show -x {vm_id}."
            ) from None
        return found

    def deploy_ids(self, first: int) -> List[Tuple[int, str]]:
        """Return (id, deploy id) of each VM that has not ended, from the id ``first`` on (3.0 and later).

        :raises CoreSilent: the core cannot be queried
        """
        pool = self._document("its VMs", "one.vmpool.info", EVERYBODY, first, TO_THE_LAST, NOT_DONE)
        return [
            (int(child_text(vm, "ID")), child_text(vm, "DEPLOY_ID"))
            for vm in pool.findall("VM")
            if child_text(vm, "ID").isdigit()
        ]

    def hosts(self) -> List[CoreHost]:
        """Return every host of the core, also those of other drivers.

        :raises CoreSilent: the core cannot be queried
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
                "OpenNebula's answer about its hosts cannot be used: look whether onehost list -x works."
            ) from None

    def leads(self) -> bool:
        """Return whether this front-end is the only one, or the Raft leader of several (5.4 and later).

        :raises CoreSilent: the core cannot be queried
        """
        return (
            child_text(self._document("its part among several front-ends", "one.zone.raftstatus"), "STATE") in DECIDING
        )

    def _document(self, what: str, method: str, *arguments: int) -> Element:
        try:
            return parse_xml(self._query(what, method, *arguments))
        except DocumentError as error:
            raise CoreSilent(f"OpenNebula's answer about {what} cannot be used: {error.sentence}.") from None

    def _query(self, what: str, method: str, *arguments: int) -> str:
        """Call a method of the core and return the text of its answer.

        2.x takes the password as SHA-1 hash, later releases as plain text. A wrong form gets no distinct error, so
        both are tried until a call has succeeded.

        :param what: the object of the query, for error sentences
        :raises CoreRefused: the core gives no access to the object
        :raises CoreSilent: the core cannot be queried
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
            f"OpenNebula at {shown_address(endpoint)} gives no access to {what}: check ONE_AUTH or ~/.one/one_auth."
        )

    def _call(self, endpoint: str, what: str, method: str, *arguments: Union[str, int]) -> object:
        core = shown_address(endpoint)
        try:
            proxy: Any = xmlrpc.client.ServerProxy(endpoint, transport=_transport(endpoint, self._seconds))
            return getattr(proxy, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise CoreSilent(
                f"OpenNebula at {core} answered fault {fault.faultCode} about {what}: look into oned.log."
            ) from None
        except (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError, ValueError) as error:
            raise CoreSilent(
                f"OpenNebula at {core} cannot be asked about {what} ({type(error).__name__}): correct ONE_XMLRPC "
                "or ~/.one/one_endpoint."
            ) from None


def _hashed(session: str) -> str:
    user, _colon, password = session.partition(":")
    return f"{user}:{hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest()}"


class _HttpTransport(xmlrpc.client.Transport):
    """An XML-RPC transport whose connections have a time-out of ``seconds``."""

    seconds = TIMEOUT

    def make_connection(self, host: Any) -> Any:
        connection = super().make_connection(host)
        connection.timeout = self.seconds
        return connection


class _HttpsTransport(_HttpTransport, xmlrpc.client.SafeTransport):
    """The same by TLS."""


def _transport(endpoint: str, seconds: float) -> _HttpTransport:
    transport = _HttpsTransport() if endpoint.startswith("https:") else _HttpTransport()
    transport.seconds = seconds
    return transport
