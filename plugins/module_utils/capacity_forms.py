# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an account has in use, and what is left of limits. Pure functions.

The API knows no limits (elastichosts-api 2.5): the user states them.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union

from .elastichosts.drives import Drive
from .elastichosts.servers import Server
from .forms import InvalidOption

GIB = 1024**3
Amount = Union[int, float]
Amounts = Dict[str, Amount]


class Measure(NamedTuple):
    """One thing that is counted, and how much of it a server or a drive takes."""

    name: str
    of_server: Optional[Callable[[Server], int]] = None
    of_drive: Optional[Callable[[Drive], int]] = None
    per: int = 1


def _cores(server: Server) -> int:
    """A stopped server with `smp auto` has no number yet: it will take one core at least."""
    return server.cores or 1


MEASURES = (
    Measure("servers", of_server=lambda server: 1),
    Measure("cores", of_server=_cores),
    Measure("cpu", of_server=lambda server: server.cpu or 0),
    Measure("mem", of_server=lambda server: server.mem or 0),
    Measure("drives", of_drive=lambda drive: 1),
    Measure("storage", of_drive=lambda drive: drive.size, per=GIB),
)
"""servers, cores, cpu (MHz), mem (MB), drives, storage (GB, binary)."""
MEASURE_NAMES = tuple(measure.name for measure in MEASURES)


def used(servers: Iterable[Server], drives: Iterable[Drive]) -> Amounts:
    """How much of everything these take together; storage in GB with two decimals."""
    found = (list(servers), list(drives))
    return {measure.name: _amount(measure, *found) for measure in MEASURES}


def _amount(measure: Measure, servers: Sequence[Server], drives: Sequence[Drive]) -> Amount:
    total = sum(measure.of_server(server) for server in servers) if measure.of_server else 0
    total += sum(measure.of_drive(drive) for drive in drives) if measure.of_drive else 0
    return total if measure.per == 1 else round(total / measure.per, 2)


def left(limits: Mapping[str, Optional[int]], taken: Mapping[str, Amount]) -> Dict[str, Optional[Amount]]:
    """What is left of each limit, negative when it is exceeded; None where there is no limit."""
    return {name: None if limits.get(name) is None else _rest(limits[name] or 0, taken[name]) for name in taken}


def _rest(limit: int, taken: Amount) -> Amount:
    return round(limit - taken, 2)


def checked_limits(limits: Optional[Mapping[str, Optional[int]]], at: str) -> Dict[str, Optional[int]]:
    """Raises InvalidOption for a limit below zero."""
    for name, limit in (limits or {}).items():
        if limit is not None and limit < 0:
            raise InvalidOption(f"{at}.{name}", f"{limit} is out of range, give 0 or more")
    return {name: (limits or {}).get(name) for name in MEASURE_NAMES}


def capacity(servers: Sequence[Server], drives: Sequence[Drive], limits: Mapping[str, Optional[int]]) -> Dict[str, Any]:
    """What these take, how much of it by servers that run, and what is left of the limits."""
    taken = used(servers, drives)
    running = used([server for server in servers if server.status == "active"], [])
    return {
        "used": taken,
        "running": {name: running[name] for name in ("servers", "cores", "cpu", "mem")},
        "limits": dict(limits),
        "left": left(limits, taken),
    }


def tags_in_use(servers: Iterable[Server], drives: Iterable[Drive]) -> Set[str]:
    """All tags that a server or a drive has."""
    of_servers = {tag for server in servers for tag in server.tags}
    return of_servers.union(tag for drive in drives for tag in drive.tags)


def share(tag: str, servers: Sequence[Server], drives: Sequence[Drive]) -> Tuple[List[Server], List[Drive]]:
    """The servers and drives with this tag."""
    return (
        [server for server in servers if tag in server.tags],
        [drive for drive in drives if tag in drive.tags],
    )
