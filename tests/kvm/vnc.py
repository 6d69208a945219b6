# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""As much of the RFB protocol as a password needs (RFC 6143, 7.1 and 7.2)."""

from __future__ import annotations

import socket
import subprocess

_VNC_AUTHENTICATION = 2
_ECB = ["openssl", "enc", "-provider", "legacy", "-provider", "default", "-des-ecb", "-nopad", "-K"]


def let_in(address: str, port: int, password: str) -> bool:
    """Whether a VNC server that asks for a password takes this one."""
    with socket.create_connection((address, port), timeout=10) as connection:
        stream = connection.makefile("rwb", buffering=0)
        version = stream.read(12)
        assert version and version.startswith(b"RFB 003."), version
        stream.write(b"RFB 003.008\n")
        kinds = stream.read((stream.read(1) or b"\0")[0]) or b""
        assert list(kinds) == [_VNC_AUTHENTICATION], f"it offers {list(kinds)}, not a password alone"
        stream.write(bytes([_VNC_AUTHENTICATION]))
        challenge = stream.read(16) or b""
        assert len(challenge) == 16
        stream.write(_response(challenge, password))
        return stream.read(4) == bytes(4)


def _response(challenge: bytes, password: str) -> bytes:
    """DES with the password as key, the bits of each of its bytes in reverse order."""
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode()[:8].ljust(8, b"\0"))
    return subprocess.run([*_ECB, key.hex()], input=challenge, capture_output=True, check=True).stdout
