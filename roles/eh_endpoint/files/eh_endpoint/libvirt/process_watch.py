# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports the end of QEMU processes at once; libvirt's event comes seconds later, after libvirt's clean-up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path


class ProcessWatch:
    """Watches processes. ended: called in the event loop with the UUID of the guest whose process has ended."""

    def __init__(self, ended: Callable[[str], None]) -> None:
        self._ended = ended
        self._watched: dict[str, int] = {}

    def watch(self, uuid: str, process: int | None) -> None:
        """Watch the process of a guest; None if the process is not on this machine."""
        self.forget(uuid)
        if process is None:
            return
        try:
            descriptor = os.pidfd_open(process)
        except OSError:  # the process has ended already, which libvirt reports
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
    """Return the IDs of the QEMU processes of this machine by the names of their domains."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().split(b"\0")
        except OSError:  # the process has ended meanwhile
            continue
        for word in words:
            if word.startswith(b"guest="):
                found[word[len(b"guest=") :].partition(b",")[0].decode(errors="replace")] = int(file.parent.name)
                break
    return found
