# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process: lock, state, sockets, uvicorn, signals. Builds the parts of the program."""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import json
import os
import resource
import signal
import socket
import sqlite3
import stat
import sys
from pathlib import Path
from typing import IO, Any

import uvicorn
from starlette.types import Receive, Scope, Send

from .api import calls
from .api.accounts import Accounts
from .api.api_platform import PLATFORMS
from .api.app import Application
from .api.drives import Drives
from .api.folders import Folders
from .api.origins import OwnOrigin
from .api.quotas import Quotas
from .api.resources import Resources
from .api.servers import Servers
from .connections import Listener, UnauthenticatedConnections
from .hypervisor import Hypervisor, SimulatedHypervisor
from .libvirt import file_copy
from .libvirt.connection import CannotUse
from .libvirt.driver import LibvirtHypervisor
from .options import Options
from .request_log import RequestLog, RequestMemory
from .request_target import origin_form
from .state.addresses import AddressPool
from .state.drive_files import DriveFiles
from .state.imaging import Imaging
from .state.reserve import Reserve
from .state.standard_images import StandardDrives
from .state.state import State
from .state.store import Store, StoreError
from .testing.clock import SystemClock
from .testing.control import Control
from .testing.fault_rules import BadFaultRules, FaultRules
from .web.routes import Pages

DESCRIPTORS = 65536


class CannotServe(Exception):
    """The endpoint cannot start; the text is one sentence for the operator."""


class Endpoint:
    """All parts of the program, and the ASGI application for both ports. Raises CannotServe."""

    def __init__(self, options: Options, clock: SystemClock) -> None:
        os.umask(0o077)  # the state contains passwords
        self._options = options
        if options.exit_on_eof and not _can_end():
            raise CannotServe("--exit-on-eof: standard input is neither a pipe nor a socket nor a terminal")
        self._lock = lock(options.state)
        self._unauthenticated = UnauthenticatedConnections(options.auth_timeout)
        listening = _listen(*options.listen, secure=options.tls is not None)
        self._listening = Listener(listening, self._unauthenticated)
        self._controlled = _control_socket(options, self._unauthenticated)
        self._control_port = self._controlled.getsockname()[1] if self._controlled is not None else None
        if self._control_port == self._listening.getsockname()[1]:
            raise CannotServe("--control has the port of --listen: give it another, its calls need no key")
        self._reserve = reserve = _reserve(options)
        self._store = _open_store(options, reserve)
        if not reserve.fill():
            sys.stderr.write("the disk has no space for --reserve: drives take no data until it has\n")
        addresses = AddressPool(options.addresses, nameserver=not options.hypervisor)
        state = State(self._store, clock, addresses)
        try:
            files = DriveFiles(options.state / "drives", reserve)
            sizes = {drive.uuid: drive.size for drive in state.drives}
            for uuid in files.reconcile(sizes, self._store.removed()):
                self._store.file_gone(uuid)
            standard = StandardDrives(options.state / "standard", reserve)
        except OSError as error:
            raise CannotServe(f"the state folder {options.state} cannot be used: {error}") from error
        platform = PLATFORMS[options.platform]
        quotas = Quotas(state, {account.user: account.quota for account in options.accounts if account.quota})
        self._hypervisor = self._hypervisor_of(options, clock, addresses)
        hypervisor = self._hypervisor
        copy = file_copy.copy if options.hypervisor else None
        self._imaging = Imaging(state, files, standard, options.imaging_seconds, copy)
        drives = Drives(state, files, standard, self._imaging, quotas, platform)
        folders = Folders(state, quotas, options.imaging_seconds)
        resources = Resources(state, quotas)
        self._servers = Servers(state, drives, folders, resources, hypervisor, quotas, platform, options.address_delay)
        faults = _faults(options, clock)
        requests = RequestMemory() if self._controlled else None
        accounts, own_origin = Accounts(options.accounts, self._unauthenticated), OwnOrigin(options.origin)
        routes = [
            *calls.routes(
                calls.calls(drives, folders, self._servers, resources, platform),
                self._advance,
                self._servers.hide_address,
                options.body_timeout,
            ),
            *Pages(own_origin, accounts, drives, self._servers, quotas, options.novnc).routes(),
        ]
        self._application = Application(own_origin, accounts, routes, faults, _request_log(options, requests))
        self._control = Control(faults, requests, clock, self._advance) if requests is not None else None

    def _hypervisor_of(self, options: Options, clock: SystemClock, addresses: AddressPool) -> Hypervisor:
        if not options.hypervisor:
            return SimulatedHypervisor(clock, options.acpi_delay)
        folders = [options.state / name for name in ("drives", "standard")]
        try:
            hypervisor = LibvirtHypervisor(
                uri=options.hypervisor,
                state=options.state,
                folders=folders,
                pool=addresses,
                forward=options.forward,
                console=options.vnc_listen,
                noticed=self._advance,
            )
        except CannotUse as error:
            raise CannotServe(f"--hypervisor libvirt:{options.hypervisor}: {error}") from None
        sys.stderr.write(f"guests of type {hypervisor.type} on {options.hypervisor}\n")
        return hypervisor

    def _advance(self) -> None:
        """Process timed events: guests that power off, copies that end."""
        self._servers.advance()
        self._imaging.advance()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope = origin_form(scope)
        if self._control is not None and scope["type"] == "http" and scope["server"][1] == self._control_port:
            self._unauthenticated.remove(scope["client"])  # the control port has no key
            await self._control(scope, receive, send)
        else:
            await self._application(scope, receive, send)

    async def begin(self) -> None:
        """Continue with the guests and copies of the time before a restart."""
        await self._servers.adopt()
        self._imaging.adopt()

    def announce(self) -> None:
        scheme = "https" if self._options.tls else "http"
        sys.stdout.write(f"listening on {_url(scheme, self._listening)}\n")
        if self._controlled is not None:
            sys.stdout.write(f"control on {_url(scheme, self._controlled)}\n")
        sys.stdout.flush()
        _tell_systemd()

    def run(self) -> None:
        endpoint = self

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await endpoint.begin()
                await super().startup(sockets)
                if endpoint._options.exit_on_eof:
                    asyncio.get_running_loop().add_reader(0, _end_at_eof)
                endpoint.announce()

            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                await super().shutdown(sockets)
                await endpoint._hypervisor.close()

        config = uvicorn.Config(
            self,
            loop="asyncio",
            http="eh_endpoint.protocols:HttpProtocol",
            ws="eh_endpoint.protocols:WebSocketProtocol" if self._options.novnc else "none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # limits by source need the address of the connection
            timeout_keep_alive=int(self._options.keep_alive_timeout),
            timeout_graceful_shutdown=3,
            h11_max_incomplete_event_size=64 << 10,
            ssl_certfile=self._options.tls[0] if self._options.tls else None,
            ssl_keyfile=self._options.tls[1] if self._options.tls else None,
        )
        try:
            config.load()
        except OSError as error:  # errors of the ssl module are OSErrors
            files = " and ".join(str(file) for file in self._options.tls or ())
            raise CannotServe(f"the certificate and key {files} cannot be used: {error.strerror or error}") from None
        # uvicorn raises the signal again at the end; these handlers make that exit status 0.
        signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
        signal.signal(signal.SIGINT, lambda _number, _frame: sys.exit(0))
        try:
            Server(config).run([one for one in (self._listening, self._controlled) if one is not None])
        finally:
            self.close()

    def close(self) -> None:
        """End copies, and close the files of the state and the listening socket."""
        self._imaging.close()
        self._store.close()
        self._reserve.close()
        self._lock.close()
        self._listening.close()


def serve(options: Options) -> None:
    """Run until SIGTERM or SIGINT. Raises CannotServe before the first connection, never after it."""
    _raise_descriptor_limit()
    Endpoint(options, SystemClock()).run()


def _raise_descriptor_limit() -> None:
    """Take as many file descriptors as the hard limit allows, at most DESCRIPTORS: a shell starts with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _can_end() -> bool:
    """Tell whether the end of standard input can be waited for."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(0)


def _tell_systemd() -> None:
    """Tell systemd that the endpoint accepts requests (Type=notify, sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.sendto(b"READY=1", "\0" + address[1:] if address.startswith("@") else address)
    except OSError as error:
        sys.stderr.write(f"NOTIFY_SOCKET {address} cannot be told that the endpoint answers: {error.strerror}\n")


def _end_at_eof() -> None:
    if not os.read(0, 4096):
        os.kill(os.getpid(), signal.SIGTERM)
        asyncio.get_running_loop().remove_reader(0)


def _faults(options: Options, clock: SystemClock) -> FaultRules:
    faults = FaultRules(clock)
    if options.faults is not None:
        try:
            faults.load(json.loads(options.faults.read_bytes()))
        except OSError as error:
            raise CannotServe(f"--faults {options.faults} cannot be read: {error.strerror}") from error
        except BadFaultRules as error:
            raise CannotServe(f"--faults {options.faults}: {error}") from None
        except (ValueError, RecursionError):
            raise CannotServe(f"--faults {options.faults} is not JSON") from None
    return faults


def _control_socket(options: Options, unauthenticated: UnauthenticatedConnections) -> socket.socket | None:
    if options.control is None:
        return None
    host, port = options.control
    if not options.control_open and not _address(host).is_loopback:
        raise CannotServe(
            f"--control {host} can be reached from other machines and asks for no key: "
            "use a loopback address, or add --control-open"
        )
    return Listener(_listen(host, port), unauthenticated)


def lock(state: Path) -> IO[Any]:
    """Lock the state folder for this process. Raises CannotServe."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        locked = (state / "lock").open("a+")
    except OSError as error:
        raise CannotServe(f"the state folder {state} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        locked.close()
        raise CannotServe(f"the state folder {state} is in use by another endpoint") from None
    return locked


def _reserve(options: Options) -> Reserve:
    try:
        return Reserve(options.state / "reserve", options.reserve)
    except OSError as error:
        raise CannotServe(f"the state folder {options.state} cannot be written: {error.strerror}") from error


def _open_store(options: Options, reserve: Reserve) -> Store:
    path = options.state / "state.sqlite"
    try:
        return Store(path, reserve, sync=options.sync)
    except StoreError as error:
        raise CannotServe(str(error)) from None
    except (OSError, sqlite3.Error) as error:
        raise CannotServe(f"the state file {path} cannot be used: {error}") from error


def _listen(host: str, port: int, *, secure: bool = False) -> socket.socket:
    address = _address(host)
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets with an explicit protocol; without it a reply can wait 40 ms for an ACK.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listening.bind((str(address), port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or error
        raise CannotServe(f"cannot listen on {host}:{port}: {reason}") from error
    if not address.is_loopback and not secure:
        sys.stderr.write(
            f"warning: {host} can be reached from other machines, and keys travel in plain HTTP: "
            "give --tls-cert and --tls-key, or listen on 127.0.0.1\n"
        )
    return listening


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.ip_address(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise CannotServe(f"cannot listen on {host}: {error.strerror}") from error
    except UnicodeError as error:
        raise CannotServe(f"cannot listen on {host}: it is no name of a host") from error


def _url(scheme: str, listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _request_log(options: Options, memory: RequestMemory | None) -> RequestLog:
    try:
        return RequestLog(options.request_log, memory, quiet=options.quiet)
    except OSError as error:
        raise CannotServe(f"the request log {options.request_log} cannot be written: {error.strerror}") from error
