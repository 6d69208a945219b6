# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The last listing of an account's servers or drives, fetched once for all who need a newer one.

Any number of requests share one ``GET /servers/info``: a listing that was begun after a request arrived serves this
request, and every other that arrived before.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Callable, ContextManager, Dict, Generic, List, Optional, Tuple, TypeVar

from ..elastichosts.clock import Clock, Deadline
from ..elastichosts.drives import Drive
from ..elastichosts.servers import Server
from .translate import owner

AT_ONCE = 2
"""listings on their way at the same time: a second may overtake one that hangs"""


QUICK = 1.0
"""seconds: who asked last for a listing had it so soon, so the next one may fetch it while its caller waits"""

Listed = TypeVar("Listed", Server, Drive)


@dataclass(frozen=True)
class Snapshot(Generic[Listed]):
    """A complete listing of servers or drives. Times are the clock's monotonic seconds."""

    things: Tuple[Listed, ...]
    begun: float
    ended: float
    _by_cloud: Dict[str, Dict[int, List[Listed]]] = field(default_factory=dict, repr=False, compare=False)

    def of(self, cloud: str) -> Dict[int, List[Listed]]:
        """Return what belongs to this OpenNebula cloud, by VM id. Computed once."""
        if cloud not in self._by_cloud:
            found: Dict[int, List[Listed]] = {}
            for thing in self.things:
                vm_id = owner(thing, cloud)
                if vm_id is not None:
                    found.setdefault(vm_id, []).append(thing)
            self._by_cloud[cloud] = found
        return self._by_cloud[cloud]

    def wild(self, cloud: str) -> List[Listed]:
        """Return what does not belong to this OpenNebula cloud."""
        return [thing for thing in self.things if owner(thing, cloud) is None]


class ListingLate(Exception):
    """Raised when no listing came in the time that the caller gave."""


class ListingCache(Generic[Listed]):
    """The last listing of an account's servers or drives, fetched once for all callers who need a newer one."""

    def __init__(
        self,
        fetch: Callable[[], List[Listed]],
        clock: Clock,
        within: Optional[Callable[[Deadline], ContextManager[None]]] = None,
    ) -> None:
        self._fetch: Callable[[], List[Listed]] = fetch
        self._clock = clock
        self._within = within or (lambda _deadline: contextlib.nullcontext())
        self._news = threading.Condition()
        self._flights: List[float] = []
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="listing")
        self._failed: Optional[Tuple[float, Exception]] = None
        self.last: Optional[Snapshot[Listed]] = None

    def since(self, moment: float, wait: float, *, own: bool = False) -> Snapshot[Listed]:
        """Return a listing that was begun at ``moment`` (monotonic seconds) or later.

        :param wait: seconds; the fetch goes on in the background when they are over
        :param own: whether the caller's own thread may fetch, within ``wait``: sooner than another that starts first
        :raises ListingLate: nothing came in time
        :raises ElasticHostsError: the cloud could not be asked
        """
        with self._news:
            now = self._clock.monotonic()
            moment, until = min(moment, now), now + wait
            while True:
                if self.last is not None and self.last.begun >= moment:
                    return self.last
                if self._failed is not None and self._failed[0] >= moment:
                    raise self._failed[1]
                if all(begun < moment for begun in self._flights) and len(self._flights) < AT_ONCE:
                    if own:
                        self._fetch_here(until - now)
                    else:
                        self._launch()
                    continue
                left = until - self._clock.monotonic()
                if left <= 0 or not self._news.wait(left):
                    raise ListingLate

    @property
    def is_quick(self) -> bool:
        """Return whether the last listing took less than QUICK seconds."""
        last, failed = self.last, self._failed
        return last is not None and last.ended - last.begun < QUICK and (failed is None or failed[0] < last.begun)

    def _fetch_here(self, seconds: float) -> None:
        """Fetch a listing in the caller's thread. The caller holds the lock, which is released meanwhile."""
        begun = self._clock.monotonic()
        self._flights.append(begun)
        self._news.release()
        try:
            with self._within(Deadline(seconds, self._clock)):
                self._fly(begun)
        finally:
            self._news.acquire()

    def _launch(self) -> None:
        begun = self._clock.monotonic()
        self._threads.submit(self._fly, begun)  # when no thread can be started, there is no flight to wait for
        self._flights.append(begun)

    def _fly(self, begun: float) -> None:
        things: List[Listed] = []
        failure: Optional[Exception] = None
        try:
            things = self._fetch()
        except Exception as error:
            failure = error
        with self._news:
            self._flights.remove(begun)
            if failure is not None:
                if self._failed is None or begun > self._failed[0]:
                    self._failed = (begun, failure)
            elif self.last is None or begun > self.last.begun:
                self.last = Snapshot(tuple(things), begun, self._clock.monotonic())
            self._news.notify_all()
