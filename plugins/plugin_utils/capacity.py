# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an account may use, uses, and has left. The API tells no limits (elastichosts-api 2.5), the user states them."""

from __future__ import annotations

from typing import Any, Dict, Iterable, Mapping, Optional, Union

from ..module_utils import capacity_forms
from ..module_utils.elastichosts.drives import Drive
from ..module_utils.elastichosts.servers import Server

Number = Union[int, float]
Amounts = Dict[str, Optional[Number]]

# The names are those of the module capacity_info.
KINDS = {
    "servers": "servers",
    "cores": "cores",
    "cpu": "MHz of all servers together",
    "mem": "MB of memory of all servers together",
    "drives": "drives",
    "storage": "GB of all drives together",
}
OF_DRIVES = ("drives", "storage")


class CapacityError(ValueError):
    """A limit or a wish that is no amount; the sentence says which and what to write."""


def amounts(given: Any, where: str) -> Dict[str, Number]:
    """Limits or wishes as given -> numbers of 0 or more. Raises CapacityError."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise CapacityError(f"{where}: must be a dictionary with the keys {', '.join(KINDS)}, not {given!r}")
    found: Dict[str, Number] = {}
    for kind, value in given.items():
        if kind not in KINDS:
            raise CapacityError(f"{where}: {kind!r} is no kind of capacity, choose from {', '.join(KINDS)}")
        number = _number(value)
        if number is None:
            raise CapacityError(f"{where}.{kind}: {value!r} is no amount, give a number of 0 or more ({KINDS[kind]})")
        found[str(kind)] = number
    return found


def _number(value: Any) -> Optional[Number]:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    if not 0 <= number < 1e15:  # also: not a number
        return None
    return int(number) if number == int(number) else number


def used(servers: Iterable[Server], drives: Optional[Iterable[Drive]]) -> Amounts:
    """What these servers and drives take; stopped servers too, they can be started any time. None: not known."""
    taken = capacity_forms.used(servers, drives or ())
    return {kind: None if drives is None and kind in OF_DRIVES else taken[kind] for kind in KINDS}


def capacity(limits: Mapping[str, Number], taken: Mapping[str, Optional[Number]]) -> Dict[str, Amounts]:
    """{"total", "used", "left"} by kind. None: no limit stated, or use not known. Below 0: the limit is exceeded."""
    total: Amounts = {kind: limits.get(kind) for kind in KINDS}
    return {
        "total": total,
        "used": {kind: taken.get(kind) for kind in KINDS},
        "left": {kind: _left(total[kind], taken.get(kind)) for kind in KINDS},
    }


def _left(total: Optional[Number], taken: Optional[Number]) -> Optional[Number]:
    return None if total is None or taken is None else round(total - taken, 2)


def times(left: Mapping[str, Optional[Number]], wish: Mapping[str, Number]) -> float:
    """How often the wish fits into what is left; infinite where no limit is stated for anything wished for.

    Kinds of which nothing is wished do not count.
    """
    room = float("inf")
    for kind, number in wish.items():
        have = left.get(kind)
        if number > 0 and have is not None:
            room = min(room, have // number)
    return room
