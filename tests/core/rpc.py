# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the core tells by XML-RPC about its hosts, and about its part among several front-ends."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from xml.sax.saxutils import escape
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

from .oned import Core

SESSION = "oneadmin:secret"
SOLO, FOLLOWER, LEADER = "0", "2", "3"
"""states of Raft"""


class _Handler(SimpleXMLRPCRequestHandler):
    rpc_paths = ("/RPC2",)

    def log_message(self, *_arguments: object) -> None:
        pass


class Rpc:
    """The XML-RPC server of one core after the other, on a loopback port.

    :param home: home folder of the user that runs OpenNebula; the drivers find the server by its ``.one``
    """

    def __init__(self, home: Path) -> None:
        self.core: Core | None = None
        """the core that is asked; None: it does not run"""
        self.raft = SOLO
        self.calls: list[str] = []
        self._server = SimpleXMLRPCServer(("127.0.0.1", 0), _Handler)
        self._server.register_function(self._hosts, "one.hostpool.info")
        self._server.register_function(self._raft, "one.zone.raftstatus")
        (home / ".one").mkdir(parents=True)
        (home / ".one" / "one_auth").write_text(f"{SESSION}\n")
        (home / ".one" / "one_endpoint").write_text(f"http://127.0.0.1:{self._server.server_address[1]}/RPC2\n")
        self.environment: Mapping[str, str] = {"HOME": str(home)}
        """of the core and its drivers"""

    def _hosts(self, session: str) -> list[Any]:
        self.calls.append("one.hostpool.info")
        if session != SESSION or self.core is None:
            return [False, "[one.hostpool.info] User couldn't be authenticated, aborting call.", 0x100]
        with self.core.changed:
            hosts = "".join(
                f"<HOST><ID>{host.id}</ID><NAME>{escape(host.name)}</NAME><STATE>{host.number}</STATE>"
                f"<IM_MAD><![CDATA[{host.im_mad}]]></IM_MAD></HOST>"
                for host in self.core.model.hosts.values()
            )
        return [True, f"<HOST_POOL>{hosts}</HOST_POOL>", 0]

    def _raft(self, session: str) -> list[Any]:
        self.calls.append("one.zone.raftstatus")
        if session != SESSION or self.core is None:
            return [False, "[one.zone.raftstatus] User couldn't be authenticated, aborting call.", 0x100]
        return [True, f"<RAFT><SERVER_ID>-1</SERVER_ID><STATE>{self.raft}</STATE></RAFT>", 0]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
