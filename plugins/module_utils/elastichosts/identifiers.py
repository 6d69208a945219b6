# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""UUIDs, IP addresses, path segments, and lookup of an object by UUID or name."""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import Callable, Dict, List, Mapping, Optional, Tuple, TypeVar

from .errors import ConfigurationError, MissingError, NotUnique

T = TypeVar("T")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SEGMENT = re.compile(r"[0-9A-Za-z:_-][0-9A-Za-z.:_-]*")


def is_uuid(text: str) -> bool:
    """Return whether the text has the form of a UUID."""
    return _UUID.fullmatch(text) is not None


@functools.lru_cache(maxsize=4096)
def is_address(text: str) -> bool:
    """Return whether the text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def segment(text: str) -> str:
    """Return ``text``, which is used as one segment of a URL path.

    :raises ConfigurationError: the text could change the rest of the path
    """
    if not _SEGMENT.fullmatch(text):
        raise ConfigurationError(f"{text[:80]!r} is no UUID or identifier: correct it")
    return text


def user_keys(properties: Mapping[str, str]) -> Dict[str, str]:
    """Return the properties ``user:*`` by key without "user:"."""
    return {key[5:]: value for key, value in properties.items() if key.startswith("user:")}


def words(text: str) -> Tuple[str, ...]:
    """Split a space-separated list."""
    return tuple(text.split())


def find(
    kind: str,
    name_or_uuid: str,
    get: Callable[[str], T],
    info: Callable[[], List[T]],
    identity: Callable[[T], Tuple[str, str]],
) -> Optional[T]:
    """Return the object with this UUID or name; None if there is none.

    :param kind: of the object, for the error
    :param get: returns the object with a UUID
    :param info: lists all objects
    :param identity: returns (UUID, name) of an object
    :raises NotUnique: several objects have the name
    """
    if is_uuid(name_or_uuid):
        try:
            return get(name_or_uuid)
        except MissingError:
            return None
    found = [item for item in info() if identity(item)[1] == name_or_uuid]
    if len(found) > 1:
        candidates = tuple(identity(item)[0] for item in found)
        raise NotUnique(
            f"{len(found)} {kind}s are called {name_or_uuid!r} ({', '.join(candidates)}): "
            "name the one you mean by its UUID",
            candidates=candidates,
        )
    return found[0] if found else None
