# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between the releases of OpenNebula, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Release:
    """One release, 2.0 to 7.4."""

    name: str
    """as ``oned -v`` says it: 7.4.0"""
    vmm: str
    """version of the VM driver's protocol: 2.0-3.0, 3.2-5.12, 6.0-7.4 (V1 to V3 of the reference)"""
    im: str
    """version of the monitoring protocol: 2.0-3.8, 4.0-4.2, 4.4-5.10, 5.12-7.4 (I1 to I4 of the reference)"""
    old_vmm: bool
    """VMM lines are read byte by byte with 25 ms between two of them (opennebula-drivers 1.3)"""
    old_im: bool
    init_seconds: float
    """longest wait for INIT's answer: per character in the old code, altogether in the new (opennebula-drivers 1.4)"""
    template_document: bool
    """the deployment file holds the template only, not the whole VM (opennebula-drivers 2.6)"""
    vms_folder: bool
    """deployment files are in VAR/vms/<id>, not in VAR/<id>"""
    named_boots: bool
    """BOOT_POWEROFF, BOOT_SUSPENDED and the like instead of plain BOOT; power-off exists (opennebula-drivers 2.7)"""
    cleanup: bool
    """delete sends CLEANUP, not CANCEL (opennebula-drivers 2.3)"""
    cancel_state: bool
    """a hard terminate has a state of its own, CANCEL"""
    boot_failure: bool
    """a failed DEPLOY ends in BOOT_FAILURE, not in FAILED"""
    plain_words: bool
    """POLL speaks of CPU and MEMORY, not of USEDCPU and USEDMEMORY (opennebula-drivers 3.2)"""
    poll: bool
    """POLL exists"""
    zlib_hosts: bool
    """a host message may be zlib inside its base64 (opennebula-drivers 3.3)"""
    empty_quotes: bool
    """a value "" arrives as two quotation marks (opennebula-drivers 8.10)"""
    user_template: bool
    """unknown attributes are in USER_TEMPLATE (opennebula-drivers 2.5)"""
    hashed_passwords: bool
    """2.x: XML-RPC sessions have the password's SHA-1; answers have no error code"""
    attach_off: bool
    """disks and interfaces can be attached in POWEROFF"""
    cold_nics: bool
    """COLD_NIC_ATTACH in VM_MAD: the driver is asked about an interface in POWEROFF"""
    live_resize: bool
    """LIVE_RESIZE in VM_MAD: CPU and memory change while the VM runs"""
    error_marks: bool
    """of a transfer script's stderr only what is between two marks becomes the VM's ERROR"""
    short_errors: bool
    """ERROR of a VM has 100 characters at most; the whole text is in the VM's log"""

    @property
    def pipe_limit(self) -> int:
        """Bytes a VMM line may have: the old reader wants it in one go, which ends at a pipe's capacity."""
        return 65536


def release(name: str) -> Release:
    """The release called ``name``, for example ``2.0.1`` or ``7.4.0``.

    :raises ValueError: for a name that is no release number from 2.0 to 7.4
    """
    parts = name.split(".")
    if len(parts) < 2 or not all(part.isdigit() for part in parts):
        raise ValueError(f"{name!r} is no release of OpenNebula: say for example 2.0.1 or 7.4.0")
    v = (int(parts[0]), int(parts[1]))
    if not (2, 0) <= v <= (7, 4):
        raise ValueError(f"OpenNebula {name} is not known here: 2.0 to 7.4 are")
    return Release(
        name=name,
        vmm="2.0-3.0" if v < (3, 2) else "3.2-5.12" if v < (6, 0) else "6.0-7.4",
        im="2.0-3.8" if v < (4, 0) else "4.0-4.2" if v < (4, 4) else "4.4-5.10" if v < (5, 12) else "5.12-7.4",
        old_vmm=v < (6, 0),
        old_im=v < (5, 12),
        init_seconds=5.0 if v < (4, 2) else 30.0 if v < (6, 0) else 10.0,
        template_document=v < (4, 0),
        vms_folder=v >= (3, 6),
        named_boots=v >= (3, 8),
        cleanup=v >= (4, 0),
        cancel_state=v < (4, 14),
        boot_failure=v >= (4, 14),
        plain_words=v >= (4, 14),
        poll=v < (5, 12),
        zlib_hosts=v >= (5, 0),
        empty_quotes=v < (4, 8),
        user_template=v >= (4, 0),
        hashed_passwords=v < (3, 0),
        attach_off=v >= (4, 4),
        cold_nics=v >= (5, 12),
        live_resize=v >= (6, 0),
        error_marks=v < (6, 2),
        short_errors=v >= (6, 6),
    )
