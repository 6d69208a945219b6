# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The OpenNebula hosts of this driver in a file: their names, earlier names, and monitoring periods.

After a restart, a core of 5.12 and later sends START_MONITOR only for a host that has not reported for some minutes
(opennebula-drivers 9.4, 10). From this file the information driver knows its hosts and reports at once. In every
release the file also says which servers of an account belong to a host that was not monitored yet since the restart.

The file is a cache of this front-end: if it is missing or damaged, the driver waits for the core's requests.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ..opennebula.driver_requests import ImRequest

logger = logging.getLogger(__name__)

FORM = 1
"""format version of the file; a file of another version is not read"""
LARGEST = 16 * 1024 * 1024
"""bytes of the file that are read at most"""
MOST = 2**31
"""upper limit (exclusive) of host ids and seconds in the file"""
FORMER_NAMES = 20
"""earlier names that are kept for a host"""


class KnownHost(NamedTuple):
    """A host for which the core has sent MONITOR or START_MONITOR."""

    id: int
    name: str
    former: Tuple[str, ...]
    """earlier names of the host, the latest first: host keys of servers may still hold them"""
    driver: str
    """NAME of the driver's IM_MAD section, from START_MONITOR; empty up to 5.10"""
    interval: int
    """MONITORING_INTERVAL_HOST, seconds"""
    periods: Mapping[str, int]
    """PROBES_PERIOD, seconds by message type"""


class KnownHosts:
    """The file of known hosts. Thread-safe; of two processes that write it, the last one wins.

    :param path: of the file, which is created with mode 0600
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._loaded: Optional[Dict[int, KnownHost]] = None

    def all(self) -> List[KnownHost]:
        with self._lock:
            return list(self._hosts().values())

    def owner(self, name: str) -> Optional[int]:
        """Return the id of the host that has this name, or else of the host that had it last; None: unknown."""
        known = self.all()
        for host in known:
            if host.name == name:
                return host.id
        ages = [(host.former.index(name), host.id) for host in known if name in host.former]
        return min(ages)[1] if ages else None

    def remember(self, request: ImRequest) -> None:
        """Write the host of a MONITOR or START_MONITOR request, if anything about it is new."""
        with self._lock:
            hosts = self._hosts()
            before = hosts.get(request.id)
            section = request.document.get("HOST")
            driver = section.get("IM_MAD", "") if isinstance(section, dict) else ""
            host = KnownHost(
                request.id, request.host, _former(before, request.host), str(driver), request.interval, request.periods
            )
            if host != before:
                hosts[request.id] = host
                self._write(hosts)

    def forget(self, host_id: int) -> None:
        """Remove a host that the core does not monitor any more."""
        with self._lock:
            hosts = self._hosts()
            if hosts.pop(host_id, None) is not None:
                self._write(hosts)

    def _hosts(self) -> Dict[int, KnownHost]:
        if self._loaded is None:
            self._loaded = self._read()
        return self._loaded

    def _read(self) -> Dict[int, KnownHost]:
        """Return the hosts in the file by id; none if the file cannot be read or parsed."""
        try:
            # O_NONBLOCK: opening a named pipe in the file's place must not wait for a writer.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:  # noqa: PTH123
                content = json.loads(file.read(LARGEST))
            if content["form"] != FORM:
                raise ValueError
            return {host.id: host for host in map(_host, content["hosts"])}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            logger.warning("%s cannot be read and is created anew (%s).", self.path, type(error).__name__)
            return {}

    def _write(self, hosts: Mapping[int, KnownHost]) -> None:
        content = {"form": FORM, "hosts": [host._asdict() for _id, host in sorted(hosts.items())]}
        new = f"{self.path}.{os.getpid()}"
        try:
            _remove(new)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123
                    json.dump(content, file, indent=1)
                os.replace(new, self.path)  # noqa: PTH105
            finally:
                _remove(new)
        except (OSError, ValueError) as error:
            logger.warning(
                "%s cannot be written (%s): after a restart new hosts are not reported until OpenNebula asks, some "
                "minutes later.",
                self.path,
                type(error).__name__,
            )


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108


def _former(before: Optional[KnownHost], name: str) -> Tuple[str, ...]:
    """Return the earlier names of a host that is now called ``name``, the latest first."""
    if before is None:
        return ()
    if before.name == name:
        return before.former
    earlier = (before.name, *before.former)
    return tuple(dict.fromkeys(former for former in earlier if former != name))[:FORMER_NAMES]


def _host(found: Any) -> KnownHost:
    """Return a host from its JSON object.

    :raises ValueError: a value has the wrong type or is out of range
    :raises TypeError: a key is missing or unknown, or a value is no collection
    """
    host = KnownHost(**{**found, "former": tuple(found["former"])})
    seconds = (host.interval, *host.periods.values())
    texts = (host.name, host.driver, *host.former, *host.periods)
    whole = all(isinstance(number, int) and 0 < number < MOST for number in (host.id + 1, *seconds))
    if not whole or not all(isinstance(text, str) for text in texts):
        raise ValueError
    return host
