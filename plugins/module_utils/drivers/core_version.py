# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which release of OpenNebula this is, for what the lines alone do not tell (opennebula-drivers 1.7).

Mostly the monitoring driver needs the release: the lines of 2.0 to 3.8 and of 4.0 to 4.2 look alike, and 4.14 changed
the names of what is reported of a VM. The first source that knows counts: ARGUMENTS, the program that is our parent,
its remotes, its dumped configuration.
"""

from __future__ import annotations

import os
import re
from typing import Callable, Mapping, Optional, Tuple

from ..opennebula.layout import Layout
from ..opennebula.protocol_versions import IM_2_0, IM_4_0, IM_4_4, IM_5_12

Version = Tuple[int, int]
"""such as (5, 10)"""

PLAIN_WORDS: Version = (4, 14)
"""CPU and MEMORY of a VM, and free facts beside them; before, they would become attributes of its template
(opennebula-drivers 3.2)"""
PACKED: Version = (5, 0)
"""zlib inside the base64 of a host message (opennebula-drivers 1.1)"""
TELLING: Version = (5, 12)
"""the driver tells of its hosts without being asked (opennebula-drivers 3.4)"""
GUARDED: Version = (7, 0)
"""states that are reported shortly after a VM began or ended running are ignored (opennebula-drivers 9.4): in 7.0.0 not
yet"""
IMPORTABLE: Version = (4, 14)
"""wild servers can be imported (opennebula-drivers 4)"""
CORES = ("oned", "onemonitord")
ASKING = 5.0
"""seconds that the core's program gets to say its version"""
_VERSION = re.compile(r"OpenNebula (\d+)\.(\d+)")
_SHORT = re.compile(r"(\d+)\.(\d+)(?:\.\d+)*\Z")
_FIRST_OF: Mapping[str, Version] = {IM_2_0: (2, 0), IM_4_0: (4, 0), IM_4_4: (4, 4), IM_5_12: (5, 12)}
_KEYS: Tuple[Tuple[re.Pattern[str], Version], ...] = (
    # An upgraded oned.conf may still hold an older key: the newest one decides.
    (re.compile(r"^MONITORING_INTERVAL_HOST=", re.MULTILINE), (5, 6)),
    (re.compile(r"^MONITORING_INTERVAL=", re.MULTILINE), (4, 0)),
    (re.compile(r"^(HOST_MONITORING_INTERVAL|VM_POLLING_INTERVAL)=", re.MULTILINE), (2, 0)),
)


def parse_release(text: str) -> Optional[Version]:
    """``5.10`` or ``5.10.5``; None for anything else."""
    found = _SHORT.match(text.strip())
    return (int(found[1]), int(found[2])) if found else None


def short_monitor_protocol(release: Optional[Version]) -> str:
    """Return the protocol of a MONITOR with three words, which has two forms; empty when the release is not known."""
    return "" if release is None else IM_2_0 if release < _FIRST_OF[IM_4_0] else IM_4_0


class CoreVersion:
    """The release, looked up when it is first needed, and then known.

    :param option: of ``--one-version``
    :param protocol: of ``--generation``: the first release that speaks it
    :param parent: folder of the parent process below /proc
    """

    def __init__(self, place: Layout, option: str = "", protocol: str = "", parent: str = "") -> None:
        process = parent or f"/proc/{os.getppid()}"
        self._layers: Tuple[Callable[[], Optional[Version]], ...] = (
            lambda: parse_release(option) or _FIRST_OF.get(protocol),
            lambda: _program(process),
            lambda: parse_release(_read(f"{place.remotes}/VERSION")),
            lambda: _configuration(f"{place.var}/config"),
        )
        self._known: Optional[Version] = None

    def __call__(self) -> Optional[Version]:
        """Return the release, or the first release that is possible; None when nothing tells."""
        if self._known is None:
            self._known = next(filter(None, (layer() for layer in self._layers)), None)
        return self._known


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


def _program(process: str) -> Optional[Version]:
    """Return the release that the parent process prints, if it is the core. /proc finds a replaced program as well."""
    import subprocess

    program = f"{process}/exe"
    try:
        name = os.path.basename(os.readlink(program))  # noqa: PTH115, PTH119
        if name.replace(" (deleted)", "") not in CORES:
            return None
        # The file that the parent process runs, without a shell; a driver has no AnsibleModule to run it with.
        said = subprocess.run(  # noqa: S603 # pylint: disable=ansible-bad-function
            [program, "-v"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=ASKING,
            check=False,
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError):
        return None
    found = _VERSION.search(said)
    return (int(found[1]), int(found[2])) if found else None


def _configuration(path: str) -> Optional[Version]:
    text = _read(path)
    return next((number for pattern, number in _KEYS if pattern.search(text)), None)
