# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a process on this machine, known at once: libvirt tells it only after it has cleared up, seconds later."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path


class ProcessWatch:
    """ended: called in the event loop with the UUID of the guest whose process ended."""

    def __init__(self, ended: Callable[[str], None]) -> None:
        self._ended = ended
        self._watched: dict[str, int] = {}

    def watch(self, uuid: str, process: int | None) -> None:
        """Wait for the end of a process, if it is one of this machine."""
        self.forget(uuid)
        if process is None:
            return
        try:
            descriptor = os.pidfd_open(process)
        except OSError:  # it has ended already, and libvirt will say so
            return
        self._watched[uuid] = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._over, uuid)

    def forget(self, uuid: str) -> None:
        descriptor = self._watched.pop(uuid, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)

    def close(self) -> None:
        for uuid in list(self._watched):
            self.forget(uuid)

    def _over(self, uuid: str) -> None:
        self.forget(uuid)
        self._ended(uuid)


def processes() -> dict[str, int]:
    """The QEMU processes of this machine by the name of their domain."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().split(b"\0")
        except OSError:  # gone meanwhile
            continue
        for word in words:
            if word.startswith(b"guest="):
                found[word[len(b"guest=") :].partition(b",")[0].decode(errors="replace")] = int(file.parent.name)
                break
    return found
