# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The OpenNebula hosts of this driver, on disk: which there are, what they were called, how they are monitored.

After a restart a core of 5.12 and later asks about a host only when it has heard nothing of it for some minutes
(opennebula-drivers 9.4, 10). The information driver reads here which hosts it has, and speaks before it is asked. In
every release the file tells which servers of an account are another host's to report, before that host is monitored.

The file is this front-end's memory only. It may be missing or damaged: the core then asks, as it does without it.
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
"""of the file; one of another form is not read"""
LARGEST = 16 * 1024 * 1024
"""bytes of a file that is read"""
MOST = 2**31
"""what no id of a host and no number of seconds reaches"""
FORMER_NAMES = 20
"""earlier names that are kept for a host"""


class KnownHost(NamedTuple):
    """A host that the core has asked about."""

    id: int
    name: str
    former: Tuple[str, ...]
    """names that it had before, the latest first: servers may still be marked with them"""
    driver: str
    """NAME of our IM_MAD section, as START_MONITOR tells it; empty up to 5.10"""
    interval: int
    """MONITORING_INTERVAL_HOST, seconds"""
    periods: Mapping[str, int]
    """PROBES_PERIOD, seconds by message type"""


class KnownHosts:
    """The file of known hosts. Safe for all threads of a process; another process replaces the whole file.

    :param path: made with mode 0600
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._loaded: Optional[Dict[int, KnownHost]] = None

    def all(self) -> List[KnownHost]:
        with self._lock:
            return list(self._hosts().values())

    def owner(self, name: str) -> Optional[int]:
        """Return the id of the host that has this name, or else of the one that had it last; None: unknown."""
        known = self.all()
        for host in known:
            if host.name == name:
                return host.id
        ages = [(host.former.index(name), host.id) for host in known if name in host.former]
        return min(ages)[1] if ages else None

    def remember(self, request: ImRequest) -> None:
        """Write what MONITOR or START_MONITOR tells of a host, if that is new."""
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
        """The hosts in the file; none when it cannot be used, whatever is wrong with it."""
        try:
            # A pipe in the file's place must not keep the driver waiting for a writer.
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
    """The names that a host had before it got ``name``."""
    if before is None:
        return ()
    if before.name == name:
        return before.former
    return tuple(dict.fromkeys(one for one in (before.name, *before.former) if one != name))[:FORMER_NAMES]


def _host(found: Any) -> KnownHost:
    """One host of the file.

    :raises ValueError: it holds something else than was written
    """
    host = KnownHost(**{**found, "former": tuple(found["former"])})
    seconds = (host.interval, *host.periods.values())
    texts = (host.name, host.driver, *host.former, *host.periods)
    whole = all(isinstance(number, int) and 0 < number < MOST for number in (host.id + 1, *seconds))
    if not whole or not all(isinstance(text, str) for text in texts):
        raise ValueError
    return host
