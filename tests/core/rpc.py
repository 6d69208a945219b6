# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The core's XML-RPC interface on a loopback port, as far as the drivers ask it, in the form of each release.

Checked against the API reference of each release: 2.x wants ``user:sha1(password)`` and answers without an error code;
its one.vmpool.info has other parameters. VMs that have ended are still told of by one.vm.info.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

from .model import STATES, Vm
from .speech import info_document

if TYPE_CHECKING:
    from .oned import Core

USER, PASSWORD = "oneadmin", "secret"
AUTHENTICATION, NO_EXISTS = 0x100, 0x400
SOLO, FOLLOWER, LEADER = "0", "2", "3"
"""states of Raft"""


class Quiet(SimpleXMLRPCRequestHandler):
    rpc_paths = ("/RPC2",)

    def log_message(self, *_arguments: object) -> None:
        pass


class XmlRpc:
    """Answers while it is open; ``home`` is that of OpenNebula's user, with session and endpoint.

    :param core: what it tells of
    """

    def __init__(self, core: Core, home: Path) -> None:
        self._core = core
        self.home = home
        self.calls: list[tuple[Any, ...]] = []
        """method and arguments, in order; without the session"""
        self.raft = SOLO
        """Raft state of this front-end"""
        self.answer: Callable[[str, list[Any]], Any] = lambda _method, answer: answer
        """changes what is answered to a session that is right; may raise"""
        (home / ".one").mkdir(parents=True)
        (home / ".one" / "one_auth").write_text(f"{USER}:{PASSWORD}\n")
        self._server = SimpleXMLRPCServer(("127.0.0.1", 0), Quiet, allow_none=True)
        for method in ("vm.info", "vmpool.info", "hostpool.info", "zone.raftstatus"):
            self._server.register_function(self._method(method), f"one.{method}")
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        (home / ".one" / "one_endpoint").write_text(f"http://127.0.0.1:{self._server.server_address[1]}/RPC2\n")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def count(self, method: str) -> int:
        return sum(call[0] == method for call in list(self.calls))

    def _method(self, name: str) -> Callable[..., Any]:
        work = getattr(self, "_" + name.replace(".", "_"))

        def answered(session: str, *arguments: Any) -> Any:
            self.calls.append((name, *arguments))
            if session != self._session():
                return self._refused("User couldn't be authenticated, aborting call.", AUTHENTICATION)
            with self._core.changed:
                told = work(*arguments)
            return self.answer(name, told)

        return answered

    def _session(self) -> str:
        hashed = hashlib.sha1(PASSWORD.encode(), usedforsecurity=False).hexdigest()
        return f"{USER}:{hashed if self._core.release.hashed_passwords else PASSWORD}"

    def _told(self, document: str) -> list[Any]:
        return [True, document] if self._core.release.hashed_passwords else [True, document, 0]

    def _refused(self, text: str, code: int) -> list[Any]:
        return [False, text] if self._core.release.hashed_passwords else [False, text, code]

    def _vm_info(self, number: int) -> list[Any]:
        vm = self._core.model.vms.get(number)
        if vm is None:
            return self._refused(f"[VirtualMachineInfo] Error getting virtual machine [{number}].", NO_EXISTS)
        return self._told(info_document(self._core.release, vm, int(time.time())))

    def _vmpool_info(self, _whose: int, first: int, last: int, state: int) -> list[Any]:
        """3.0 and later: VMs from ``first`` to ``last`` (-1: all); state -1: all but those that have ended."""
        if self._core.release.hashed_passwords:
            raise TypeError("one.vmpool.info of 2.x has other parameters")
        ids = range(max(first, 0), len(self._core.model.vms) if last == -1 else last + 1)
        found = [vm for vm in self._core.model.vms.values() if vm.id in ids and self._in(vm, state)]
        body = "".join(
            f"<VM><ID>{vm.id}</ID><NAME>{escape(vm.name)}</NAME><STATE>{STATES.get(vm.state, 3)}</STATE>"
            f"<DEPLOY_ID>{vm.deploy_id}</DEPLOY_ID><TEMPLATE/><HISTORY_RECORDS/></VM>"
            for vm in found
        )
        return self._told(f"<VM_POOL>{body}</VM_POOL>")

    @staticmethod
    def _in(vm: Vm, state: int) -> bool:
        return vm.state != "DONE" if state == -1 else state in (-2, STATES.get(vm.state, 3))

    def _hostpool_info(self) -> list[Any]:
        hosts = "".join(
            f"<HOST><ID>{host.id}</ID><NAME>{escape(host.name)}</NAME><STATE>{host.number}</STATE>"
            f"<IM_MAD>{host.im_mad}</IM_MAD><VM_MAD>{host.vm_mad}</VM_MAD></HOST>"
            for host in self._core.model.hosts.values()
        )
        return self._told(f"<HOST_POOL>{hosts}</HOST_POOL>")

    def _zone_raftstatus(self) -> list[Any]:
        return self._told(f"<RAFT><SERVER_ID>-1</SERVER_ID><STATE>{self.raft}</STATE></RAFT>")
