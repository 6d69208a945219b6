# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Used and remaining capacity of an account, for module, inventory and lookup. Pure functions.

The API has no call for limits (elastichosts-api 2.5), so the user gives them.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Sequence, Union

from .elastichosts.drives import Drive
from .elastichosts.servers import Server
from .options import InvalidOption

GIB = 1024**3
Number = Union[int, float]
Amounts = Dict[str, Optional[Number]]
"""amount by name of a measure; None: no limit, or unknown"""


class Measure(NamedTuple):
    """A kind of capacity, and how much of it a server or a drive uses; the sum is divided by ``per``."""

    unit: str
    of_server: Optional[Callable[[Server], int]] = None
    of_drive: Optional[Callable[[Drive], int]] = None
    per: int = 1


def _cores(server: Server) -> int:
    """Return the server's cores; 1 for a stopped server with ``smp auto``, whose number is not known yet."""
    return server.cores or 1


MEASURES: Mapping[str, Measure] = {
    "servers": Measure("servers", of_server=lambda server: 1),
    "cores": Measure("cores", of_server=_cores),
    "cpu": Measure("MHz of all servers together", of_server=lambda server: server.cpu or 0),
    "mem": Measure("MB of memory of all servers together", of_server=lambda server: server.mem or 0),
    "drives": Measure("drives", of_drive=lambda drive: 1),
    "storage": Measure("GB of all drives together", of_drive=lambda drive: drive.size, per=GIB),
}
OF_SERVERS = tuple(name for name, measure in MEASURES.items() if measure.of_server)


def amounts(given: Any, where: str) -> Dict[str, Number]:
    """Return limits, or the needs of new servers, as numbers by measure, without those that are null.

    :param where: name of the option, for errors
    :raises InvalidOption: a measure is unknown, or an amount is no number of 0 or more
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidOption(where, f"must be a dictionary with the keys {', '.join(MEASURES)}, not {given!r}")
    found: Dict[str, Number] = {}
    for name, value in given.items():
        if name not in MEASURES:
            raise InvalidOption(where, f"{name!r} is no kind of capacity, choose from {', '.join(MEASURES)}")
        if value is None:
            continue
        number = _number(value)
        if number is None:
            unit = MEASURES[name].unit
            raise InvalidOption(f"{where}.{name}", f"{value!r} is no amount, give a number of 0 or more ({unit})")
        found[str(name)] = number
    return found


def _number(value: Any) -> Optional[Number]:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    if not 0 <= number < 1e15:  # also excludes NaN
        return None
    return int(number) if number == int(number) else number


def used(servers: Sequence[Server], drives: Optional[Sequence[Drive]]) -> Amounts:
    """Return how much of each measure is used; stopped servers count, as they can be started at any time.

    :param drives: None: unknown, as are then the measures of drives
    """
    return {name: _used(measure, servers, drives) for name, measure in MEASURES.items()}


def _used(measure: Measure, servers: Sequence[Server], drives: Optional[Sequence[Drive]]) -> Optional[Number]:
    if measure.of_server:
        return sum(map(measure.of_server, servers))
    if drives is None or measure.of_drive is None:
        return None
    total = sum(map(measure.of_drive, drives))
    return total if measure.per == 1 else round(total / measure.per, 2)


def left(limits: Mapping[str, Optional[Number]], taken: Mapping[str, Optional[Number]]) -> Amounts:
    """Return the remaining amount by measure, negative if the limit is exceeded; None if limit or use is unknown."""
    return {name: _difference(limits.get(name), taken.get(name)) for name in MEASURES}


def _difference(limit: Optional[Number], taken: Optional[Number]) -> Optional[Number]:
    return None if limit is None or taken is None else round(limit - taken, 2)


def stated(limits: Mapping[str, Number]) -> Amounts:
    """Return the limits of all measures, None for a measure without limit."""
    return {name: limits.get(name) for name in MEASURES}


def times(free: Mapping[str, Optional[Number]], need: Mapping[str, Number]) -> float:
    """Return how many times ``need`` fits into the free capacity; infinite if no needed measure has a limit.

    :param free: remaining amount by measure, see :func:`left`
    """
    fits = float("inf")
    for name, number in need.items():
        available = free.get(name)
        if number > 0 and available is not None:
            fits = min(fits, available // number)
    return fits
