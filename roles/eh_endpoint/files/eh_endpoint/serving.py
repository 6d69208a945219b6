# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process around the application: socket, uvicorn, logs, signals."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import signal
import socket
import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import uvicorn

from .accounts import Accounts
from .addresses import AddressPool
from .app import Application, RequestLog, Table, calls, json_line
from .blocks import Blocks
from .clock import SystemClock
from .cloud import Cloud
from .drives import Drives
from .hypervisor import SimulatedHypervisor
from .platform import PLATFORMS
from .resources import Resources
from .servers import Servers
from .standard import StandardDrives
from .store import Store, StoreError


class CannotServe(Exception):
    """The endpoint cannot start; the text is one sentence for the operator."""


@dataclass(frozen=True)
class Options:
    """What the command line asked for. acpi_delay and address_delay in seconds."""

    host: str
    port: int
    state: Path
    accounts: tuple[tuple[str, str], ...]
    platform: str
    addresses: ipaddress.IPv4Network
    acpi_delay: float | None
    address_delay: float
    request_log: Path | None
    quiet: bool
    sync: bool


def serve(options: Options) -> None:
    """Run until SIGTERM or SIGINT. Raises CannotServe before the first connection, never after it."""
    os.umask(0o077)  # the state holds passwords
    lock = _lock(options.state)
    listening = _listen(options.host, options.port)
    clock = SystemClock()
    platform = PLATFORMS[options.platform]
    store = _open_store(options)
    cloud = Cloud(store, clock, AddressPool(options.addresses))
    try:
        blocks = Blocks(options.state / "drives")
        blocks.reconcile((drive.uuid, drive.size) for drive in cloud.drives)
        standard = StandardDrives(options.state / "standard")
    except OSError as error:
        raise CannotServe(f"the state folder {options.state} cannot be used: {error}") from error
    drives = Drives(cloud, blocks, standard, platform)
    resources = Resources(cloud)
    hypervisor = SimulatedHypervisor(clock, options.acpi_delay)
    servers = Servers(cloud, drives, resources, hypervisor, platform, options.address_delay)
    table = Table(calls(drives, servers, resources, standard if platform.standard else None))
    application = Application(Accounts(options.accounts), table, servers.advance, _request_log(options))
    url = f"http://{_bracketed(listening.getsockname()[0])}:{listening.getsockname()[1]}"

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await servers.adopt()
            await super().startup(sockets)
            sys.stdout.write(f"listening on {url}\n")
            sys.stdout.flush()

    config = uvicorn.Config(
        application,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=64 << 10,
    )
    # uvicorn raises the signal again once it has finished: this makes that a plain end.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    signal.signal(signal.SIGINT, lambda _number, _frame: sys.exit(0))
    try:
        Announcing(config).run([listening])
    finally:
        store.close()
        lock.close()


def _lock(state: Path) -> IO[Any]:
    """One endpoint per state folder."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock = (state / "lock").open("a+")
    except OSError as error:
        raise CannotServe(f"the state folder {state} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise CannotServe(f"the state folder {state} is in use by another endpoint") from None
    return lock


def _open_store(options: Options) -> Store:
    path = options.state / "state.sqlite"
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        return Store(path, sync=options.sync)
    except StoreError as error:
        raise CannotServe(str(error)) from None
    except (OSError, sqlite3.Error) as error:
        raise CannotServe(f"the state file {path} cannot be used: {error}") from error


def _listen(host: str, port: int) -> socket.socket:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = _resolve(host)
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets whose protocol is named; without it a reply can wait 40 ms for an ACK.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listening.bind((str(address), port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or error
        raise CannotServe(f"cannot listen on {host}:{port}: {reason}") from error
    if not address.is_loopback:
        sys.stderr.write(
            f"warning: {host} can be reached from other machines, and keys travel in plain HTTP: "
            "put a TLS proxy in front, or listen on 127.0.0.1\n"
        )
    return listening


def _resolve(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise CannotServe(f"cannot listen on {host}: {error.strerror}") from error


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _request_log(options: Options) -> RequestLog:
    """Writes a line per request on stderr and, if asked for, a JSON line into a file, before the answer goes out."""
    lines = -1
    if options.request_log:
        try:
            lines = os.open(options.request_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise CannotServe(f"the request log {options.request_log} cannot be written: {error.strerror}") from error

    def log(method: str, path: str, status: int, account: str | None, seconds: float) -> None:
        if lines >= 0:
            os.write(lines, json_line(method, path, status, account))
        if not options.quiet:
            shown = path if path.isprintable() and path.isascii() else ascii(path)
            sys.stderr.write(f"{method} {shown} {status} {seconds * 1000:.1f} ms\n")

    return log
