# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wire: a line from the core -> request, a reply -> line (opennebula-drivers 1.3, 2, 3, 9).

The door to this room: ``inbound`` parses, ``outbound`` and ``texts`` write. Every wire generation is a row of
:data:`VMM` or :data:`IM`; nothing else in a driver knows their forms.
"""

from __future__ import annotations

from .errors import MalformedLine
from .generations import IM, VMM, ImGeneration, VmmGeneration
from .inbound import ID_FIRST, ImRequest, VmmRequest, parse_im, parse_vmm
from .outbound import INIT_REPLY, im_host_failure, im_host_reply, im_log, im_message, vmm_log, vmm_reply
from .texts import (
    MAX_TEXT,
    VmFacts,
    VmState,
    WildVm,
    monitor_vm_text,
    poll_data,
    template_text,
    vm_state_text,
    wild_text,
)

__all__ = [
    "ID_FIRST",
    "IM",
    "INIT_REPLY",
    "MAX_TEXT",
    "VMM",
    "ImGeneration",
    "ImRequest",
    "MalformedLine",
    "VmFacts",
    "VmState",
    "VmmGeneration",
    "VmmRequest",
    "WildVm",
    "im_host_failure",
    "im_host_reply",
    "im_log",
    "im_message",
    "monitor_vm_text",
    "parse_im",
    "parse_vmm",
    "poll_data",
    "template_text",
    "vm_state_text",
    "vmm_log",
    "vmm_reply",
    "wild_text",
]
