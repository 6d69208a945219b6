# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The folders of an OpenNebula installation: below $ONE_LOCATION, or system-wide (opennebula-drivers 5.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import DocumentError

_IMAGES = re.compile(r"/(\d+)/images/(deployment\.\d+)$")


@dataclass(frozen=True)
class Layout:
    """The folders of one installation, as absolute paths without a final slash."""

    mads: str
    """drivers"""
    etc: str
    """configuration: ``vmm_eh/``, ``im_eh/``, ``oned.conf``"""
    var: str
    """the core's state; working directory of every driver"""
    log: str
    python: str
    """contains ``one_eh/``, the drivers' Python packages, which the role installs"""
    remotes: str
    """scripts that the core copies to hosts, and VERSION"""


_SYSTEM_WIDE = Layout(
    mads="/usr/lib/one/mads",
    etc="/etc/one",
    var="/var/lib/one",
    log="/var/log/one",
    python="/usr/lib/one/python",
    remotes="/var/lib/one/remotes",
)


def layout(one_location: str = "") -> Layout:
    """Return the folders below ``one_location`` (value of $ONE_LOCATION); if it is empty, the system-wide ones."""
    root = one_location.rstrip("/")
    if not root:
        return _SYSTEM_WIDE
    return Layout(
        mads=f"{root}/lib/mads",
        etc=f"{root}/etc",
        var=f"{root}/var",
        log=f"{root}/var",
        python=f"{root}/lib/python",
        remotes=f"{root}/var/remotes",
    )


def deployment_file(var: str, rfile: str) -> str:
    """Return the path of the deployment file on the front-end.

    DEPLOY of 2.0 to 3.0 has the path *on the node*, ``VM_DIR/<id>/images/deployment.<n>``, where no file is; the core
    has written ``VAR/<id>/deployment.<n>`` (opennebula-drivers 2.6, 8.7).

    :param var: see :class:`Layout`
    :param rfile: path in the DEPLOY line
    :raises DocumentError: ``rfile`` does not have that form
    """
    found = _IMAGES.search(rfile)
    if not found:
        raise DocumentError(
            f"Check VM_DIR in oned.conf: the deployment file {rfile!r} of this DEPLOY has not the form "
            "VM_DIR/<id>/images/deployment.<n>, so the file cannot be found."
        )
    return f"{var.rstrip('/')}/{found.group(1)}/{found.group(2)}"
