# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to libvirt: reconnects, runs calls in threads, passes events to asyncio."""

from __future__ import annotations

import asyncio
import importlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ..hypervisor import HypervisorError

LOG = logging.getLogger("eh_endpoint")
THREADS = 24
RETRY = 1.0
"""Seconds between two attempts to reconnect."""
KEEPALIVE = (5, 3)
"""Seconds between keep-alive messages, and how many may be unanswered."""
T = TypeVar("T")


class CannotUse(Exception):
    """libvirt cannot be used; the text is one sentence for the operator."""


class Connection:
    """A connection to a libvirt daemon.

    changed: called in the event loop with the UUID of each domain that stopped, was paused or resumed.
    returned: called in the event loop after the connection was lost and opened again.
    """

    def __init__(self, uri: str, changed: Callable[[str], None], returned: Callable[[], None]) -> None:
        self._uri = uri
        self._changed = changed
        self._returned = returned
        self._threads = ThreadPoolExecutor(THREADS, "libvirt")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self._away = False
        self.api: Any = _binding()
        self._connection = self._open()

    def listen(self) -> None:
        """Pass events to the running event loop from now on."""
        self._loop = asyncio.get_running_loop()

    async def work(self, job: Callable[[Any], T]) -> T:
        """Call the job with libvirt's connection in a thread. Raises HypervisorError with libvirt's message."""

        def guarded() -> T:
            if self._away:
                raise HypervisorError("libvirt cannot be reached at the moment; it is tried again every second")
            try:
                return job(self._connection)
            except self.api.libvirtError as error:
                broken = (
                    "the connection to libvirt broke: " if error.get_error_domain() == self.api.VIR_FROM_RPC else ""
                )
                raise HypervisorError(f"{broken}{_message(error)}") from error

        return await asyncio.get_running_loop().run_in_executor(self._threads, guarded)

    def now(self, job: Callable[[Any], T]) -> T:
        """Call the job with libvirt's connection in this thread, before the event loop runs. Raises CannotUse."""
        try:
            return job(self._connection)
        except self.api.libvirtError as error:
            raise CannotUse(f"libvirt at {self._uri} refuses: {_message(error)}") from None

    def close(self) -> None:
        """Close the connection; guests continue to run."""
        self._closing = True
        self._threads.shutdown(wait=True, cancel_futures=True)
        try:
            self._connection.close()
        except self.api.libvirtError as error:
            LOG.debug("closing the connection to libvirt: %s", _message(error))

    # ---- events and reconnection

    def _open(self) -> Any:
        _run_events(self.api)
        try:
            connection = self.api.open(self._uri)
            connection.registerCloseCallback(self._lost, None)
            connection.domainEventRegisterAny(None, self.api.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None)
        except self.api.libvirtError as error:
            raise CannotUse(
                f"libvirt cannot be reached at {self._uri}: {_message(error)}; is libvirtd running, and is this user "
                "a member of the group libvirt?"
            ) from None
        try:
            connection.setKeepAlive(*KEEPALIVE)
        except self.api.libvirtError as error:  # drivers inside this process need no keep-alive
            LOG.debug("no keep-alive: %s", _message(error))
        return connection

    def _lifecycle(self, _connection: Any, domain: Any, event: int, _detail: int, _opaque: object) -> None:
        watched = (
            self.api.VIR_DOMAIN_EVENT_STOPPED,
            self.api.VIR_DOMAIN_EVENT_SUSPENDED,
            self.api.VIR_DOMAIN_EVENT_RESUMED,
        )
        if event in watched:
            self._in_loop(self._changed, domain.UUIDString())

    def _lost(self, _connection: Any, _reason: int, _opaque: object) -> None:
        if not self._closing:
            self._away = True
            LOG.error("the connection to libvirt at %s is lost", self._uri)
            threading.Thread(target=self._reconnect, name="libvirt-again", daemon=True).start()

    def _reconnect(self) -> None:
        pause = threading.Event()
        while not self._closing:
            pause.wait(RETRY)
            try:
                self._connection = self._open()
            except CannotUse:
                continue
            self._away = False
            LOG.error("the connection to libvirt at %s is back", self._uri)
            self._in_loop(self._returned)
            return

    def _in_loop(self, call: Callable[..., None], *arguments: object) -> None:
        if self._loop is None or self._closing:
            return
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the event loop has ended
            LOG.debug("an event of libvirt came after the end")


def _binding() -> Any:
    """Import libvirt's Python binding, which distributions package. Raises CannotUse."""
    try:
        return importlib.import_module("libvirt")
    except ImportError:
        raise CannotUse(
            "libvirt's Python binding is missing for this interpreter: on Debian install python3-libvirt and run the "
            "endpoint with /usr/bin/python3, or in a virtual environment made with --system-site-packages"
        ) from None


_EVENTS = threading.Lock()


def _run_events(api: Any) -> None:
    """Start libvirt's event loop in a thread, once per process and before the first connection."""
    name = "libvirt-events"
    with _EVENTS:
        if any(thread.name == name for thread in threading.enumerate()):
            return
        api.virEventRegisterDefaultImpl()
        # By default the binding also prints each error that it raises.
        api.registerErrorHandler(lambda _context, _error: None, None)

        def run() -> None:
            while True:
                api.virEventRunDefaultImpl()

        threading.Thread(target=run, name=name, daemon=True).start()


def _message(error: Any) -> str:
    """Return libvirt's error message as one line."""
    return " ".join(str(error.get_error_message() or error).split())
