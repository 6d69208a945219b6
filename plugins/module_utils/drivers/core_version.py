# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds out the release of OpenNebula, which the protocol's lines alone do not always show (opennebula-drivers 1.7).

Mostly the monitoring driver needs the release: the lines of 2.0 to 3.8 and of 4.0 to 4.2 look alike, and 4.14 renamed
the attributes that are reported of a VM. Sources in order of precedence: ARGUMENTS, the version that the parent process
prints, the file VERSION of the remotes, the configuration that the core has written.
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
"""since then a VM's monitoring has CPU, MEMORY and any other attribute; before, such words would become attributes of
the VM's template (opennebula-drivers 3.2)"""
PACKED: Version = (5, 0)
"""since then the payload of a host message is zlib inside base64 (opennebula-drivers 1.1)"""
TELLING: Version = (5, 12)
"""since then the driver reports its hosts periodically, without a request for each report (opennebula-drivers 3.4)"""
GUARDED: Version = (7, 0)
"""since then, though not in 7.0.0, the core ignores states that are reported shortly after a VM began or ended running
(opennebula-drivers 9.4)"""
IMPORTABLE: Version = (4, 14)
"""since then wild servers can be imported (opennebula-drivers 4)"""
CORES = ("oned", "onemonitord")
"""programs that start drivers"""
VERSION_TIMEOUT = 5.0
"""seconds for the core's program to print its version"""
_VERSION = re.compile(r"OpenNebula (\d+)\.(\d+)")
_SHORT = re.compile(r"(\d+)\.(\d+)(?:\.\d+)*\Z")
_FIRST_OF: Mapping[str, Version] = {IM_2_0: (2, 0), IM_4_0: (4, 0), IM_4_4: (4, 4), IM_5_12: (5, 12)}
_KEYS: Tuple[Tuple[re.Pattern[str], Version], ...] = (
    # An upgraded oned.conf may still hold an older key, so the newest key decides.
    (re.compile(r"^MONITORING_INTERVAL_HOST=", re.MULTILINE), (5, 6)),
    (re.compile(r"^MONITORING_INTERVAL=", re.MULTILINE), (4, 0)),
    (re.compile(r"^(HOST_MONITORING_INTERVAL|VM_POLLING_INTERVAL)=", re.MULTILINE), (2, 0)),
)


def parse_release(text: str) -> Optional[Version]:
    """Return major and minor number of a release such as ``5.10`` or ``5.10.5``; None for any other text."""
    found = _SHORT.match(text.strip())
    return (int(found[1]), int(found[2])) if found else None


def short_monitor_protocol(release: Optional[Version]) -> str:
    """Return the protocol of a MONITOR line with three words, up to 4.2; empty if the release is not known."""
    return "" if release is None else IM_2_0 if release < _FIRST_OF[IM_4_0] else IM_4_0


class CoreVersion:
    """The core's release, found out at the first call and cached.

    :param place: folders of the front-end
    :param option: value of ``--one-version``
    :param protocol: value of ``--generation``, which stands for the first release with this protocol
    :param parent: folder of the parent process in /proc
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
        """Return the release, or the oldest one that is possible; None: unknown."""
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
    """Return the release that the parent process prints, if it is the core; its file may have been replaced since."""
    import subprocess

    program = f"{process}/exe"
    try:
        name = os.path.basename(os.readlink(program))  # noqa: PTH115, PTH119
        if name.replace(" (deleted)", "") not in CORES:
            return None
        # No shell is involved, and a driver has no AnsibleModule.run_command.
        output = subprocess.run(  # noqa: S603 # pylint: disable=ansible-bad-function
            [program, "-v"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=VERSION_TIMEOUT,
            check=False,
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError):
        return None
    found = _VERSION.search(output)
    return (int(found[1]), int(found[2])) if found else None


def _configuration(path: str) -> Optional[Version]:
    """Return the first release that has the newest key of the core's dumped configuration."""
    text = _read(path)
    return next((number for pattern, number in _KEYS if pattern.search(text)), None)
