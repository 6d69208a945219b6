# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inputs that went wrong once, by target, and what each is about: the unit tests try them, every run begins there."""

from __future__ import annotations

from collections.abc import Mapping

FINDINGS: Mapping[str, Mapping[str, bytes]] = {
    "deployment_files": {
        "cpu is no number": (b"<TEMPLATE><CPU>nan</CPU><MEMORY>500</MEMORY><EH><NAME>x</NAME></EH></TEMPLATE>"),
        "cpu without end": (b"<TEMPLATE><CPU>1e400</CPU><MEMORY>500</MEMORY><EH><NAME>x</NAME></EH></TEMPLATE>"),
        "of another vm": (
            b"<VM><ID>8</ID><TEMPLATE><CPU>1</CPU><MEMORY>512</MEMORY></TEMPLATE><USER_TEMPLATE><E"
            b"H><NAME>x</NAME></EH></USER_TEMPLATE></VM>"
        ),
    },
    "im_lines": {
        "finalize with a separator": b"FINALIZE\x1c",
        "uuid of two words": (
            b"MONITOR 0 eh 1\n200 text/plain\nserver 0a1b2c3d 1111\nstatus stopped\nuser:one-cloud fuz"
            b"zed\nuser:one-vm 7"
        ),
    },
    "replies": {
        "body of a 204": b"204 text/plain\nx",
        "key in the content type": b"200 1>*THE-KEY text/plain\nx",
    },
    "vmm_lines": {
        "cpu is no number": (
            b"DEPLOY  3 <VMM_DRIVER_ACTION_DATA><HOST>eh</HOST><VM><ID>3</ID><TEMPLATE><CPU>nan</C"
            b"PU><MEMORY>512</MEMORY></TEMPLATE><USER_TEMPLATE><EH><NAME>x</NAME></EH></USER_TEMPL"
            b"ATE></VM></VMM_DRIVER_ACTION_DATA>\n200 application/json\n[]"
        ),
        "updatenic without a network": (
            b"UPDATENIC  1 <VMM_DRIVER_ACTION_DATA><VM><ID>1</ID></VM></VMM_DRIVER_ACTION_DATA>"
        ),
        "damaged updatenic": b"UPDATENIC  16 /////w==",
        "finalize with a separator": b"FINALIZE\x1c",
        "no break space": b"FINALIZE\xc2\xa0",
        "separator before finalize": b"\x1cFINALIZE",
        "unknown action": b"RESTORD  1 \x00",
    },
}
