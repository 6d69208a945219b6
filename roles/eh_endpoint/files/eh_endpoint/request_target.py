# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The target of a request in absolute form, as clients send it to a proxy (RFC 9112 3.2.2)."""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.types import Scope

_ABSOLUTE = re.compile(rb"https?://([^/]+)(/.*)?", re.IGNORECASE)


def origin_form(scope: Scope) -> Scope:
    """Return a request with the path of its target as its path, and the target's host as its Host header."""
    absolute = _ABSOLUTE.fullmatch(scope["raw_path"])
    if absolute is None:
        return scope
    host, path = absolute[1], absolute[2] or b"/"
    headers = [(name, host if name == b"host" else value) for name, value in scope["headers"]]
    return {**scope, "path": unquote(path.decode("ascii")), "raw_path": path, "headers": headers}
