# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One object of a name, also where several hosts create it at once: the API has neither locks nor unique names.

A create call gives the new object ATTEMPT_KEY. Whoever made it then lists the objects of that name, and either keeps
its own and takes the key away (the object is settled), or withdraws its own. Nobody relies on an object with the key,
and nobody withdraws one without it.

* Nobody else's is there: keep. Whoever makes one later sees this one, because its list call comes later.
* A settled one is there: withdraw.
* Several have the key: the one with the smallest identity waits until the others are withdrawn, the others withdraw.
  If they stay (their makers did not see this one, or have died), the one that waited withdraws, after YIELD_AFTER.
* Nobody withdraws an object later than WITHDRAW_WITHIN after its create call was sent. So an object that somebody has
  seen with the key for SETTLED_AFTER stays: its maker has died, and whoever looks for that name settles it.

Two objects remain where the cloud lists a new object only after the list call of its maker, or where two makers die
between their calls. The next look for the name says so (NotUnique).
"""

from __future__ import annotations

import uuid
from enum import Enum
from typing import Callable, Dict, Generic, List, Mapping, Optional, TypeVar

from .apply import apply_drive, apply_resource, apply_server
from .client import ElasticHosts
from .clock import Deadline
from .drives import Drive
from .errors import ApiError, WaitTimeout
from .plan import plan_drive, plan_resource, plan_server
from .properties import Wanted
from .resources import Resource
from .safe_retry import change_once
from .servers import Server

T = TypeVar("T")
Thing = TypeVar("Thing", Server, Drive, Resource)
ATTEMPT_KEY = "user:creation-attempt"
"""a random value, so that the object of a create call without an answer is told from all others"""
YIELD_AFTER = 5.0
WITHDRAW_WITHIN = 10.0
SETTLED_AFTER = 20.0
"""seconds of each one's own clock"""
PAUSE = 0.2


class Decision(Enum):
    """What to do with an object that was just made."""

    KEEP = "keep"
    WAIT = "wait"
    WITHDRAW = "withdraw"


class LostRace(Exception):
    """Another object of the name was made at the same time and is kept; the own one was withdrawn."""


def until_settled(perform: Callable[[], T]) -> T:
    """Return what `perform` returns, called again as long as it loses a race: the next time it finds the winner."""
    while True:
        try:
            return perform()
        except LostRace:
            continue


def decide(own: str, others: Mapping[str, bool], age: float) -> Decision:
    """Return what to do with the object `own`, which was asked for `age` seconds ago.

    `others`: identities of the other objects of that name -> whether they are settled.
    """
    if not others or age > WITHDRAW_WITHIN:
        return Decision.KEEP
    if any(others.values()) or own > min(others) or age > YIELD_AFTER:
        return Decision.WITHDRAW
    return Decision.WAIT


class SingleName(Generic[Thing]):
    """The objects of one kind that have one name.

    :param named: lists them
    :param find: the only one of them; raises NotUnique
    :param change: sets properties of one
    :param destroy: withdraws one, within a time of its own
    """

    def __init__(
        self,
        named: Callable[[], List[Thing]],
        find: Callable[[], Optional[Thing]],
        change: Callable[[str, Mapping[str, Optional[str]]], Thing],
        destroy: Callable[[Thing], object],
        deadline: Deadline,
    ) -> None:
        self._named: Callable[[], List[Thing]] = named
        self._find: Callable[[], Optional[Thing]] = find
        self._change: Callable[[str, Wanted], Thing] = change
        self._destroy: Callable[[Thing], object] = destroy
        self._deadline = deadline
        self._clock = deadline.clock

    def look_up(self) -> Optional[Thing]:
        """Return the object of the name, None if there is none, once nobody withdraws it any more.

        Raises NotUnique if several stay, and WaitTimeout.
        """
        seen: Dict[str, float] = {}
        while True:
            found = self._named()
            now = self._clock.monotonic()
            seen = {one.identity: seen.get(one.identity, now) for one in found}
            kept = [one for one in found if ATTEMPT_KEY not in one.properties]
            stays = kept or [one for one in found if now - seen[one.identity] > SETTLED_AFTER]
            if len(stays) > 1:
                return self._find()
            if stays or not found:
                return self._settled(stays[0]) if stays else None
            if not self._deadline.left():
                sentence = f"other hosts are creating {found[0].name!r} at the same time: run this again in a minute"
                raise WaitTimeout(sentence, last="undecided")
            self._deadline.sleep(PAUSE)

    def make(self, create: Callable[[Wanted], Thing], properties: Wanted) -> Thing:
        """Create an object of the name, and return it once it is settled.

        Raises LostRace if another one was made at the same time and is kept, and what `create` raises.
        """
        begun = self._clock.monotonic()
        try:
            made = create({**properties, ATTEMPT_KEY: uuid.uuid4().hex})
        except ApiError:
            # Another one may be in the way just because it was made at the same time, and holds the drives, say.
            if self._named():
                raise LostRace from None
            raise
        while True:
            others = {one.identity: ATTEMPT_KEY not in one.properties for one in self._named()}
            others.pop(made.identity, None)
            decision = decide(made.identity, others, self._clock.monotonic() - begun)
            if decision is Decision.KEEP:
                return self._settled(made)
            if decision is Decision.WITHDRAW:
                self._destroy(made)
                raise LostRace
            self._clock.sleep(PAUSE)

    def _settled(self, thing: Thing) -> Thing:
        if ATTEMPT_KEY not in thing.properties:
            return thing
        return change_once(lambda: self._change(thing.identity, {ATTEMPT_KEY: None}), lambda: None)


def single_server(client: ElasticHosts, name: str, deadline: Deadline) -> SingleName[Server]:
    return SingleName(
        lambda: [server for server in client.servers.info() if server.name == name],
        lambda: client.servers.find(name),
        client.servers.set,
        lambda server: apply_server(client, plan_server({}, "absent", server), server, _brief(deadline)),
        deadline,
    )


def single_drive(client: ElasticHosts, name: str, deadline: Deadline) -> SingleName[Drive]:
    return SingleName(
        lambda: [drive for drive in client.drives.info() if drive.name == name],
        lambda: client.drives.find(name),
        client.drives.set,
        lambda drive: apply_drive(client, plan_drive({}, "absent", drive), drive, _brief(deadline)),
        deadline,
    )


def single_resource(client: ElasticHosts, kind: str, name: str, deadline: Deadline) -> SingleName[Resource]:
    room = client.resources
    return SingleName(
        lambda: [one for one in room.info() if one.type == kind and one.name == name],
        lambda: room.find(kind, name),
        lambda identity, properties: room.set(kind, identity, properties),
        lambda one: apply_resource(
            client, plan_resource({}, "absent", one, kind=kind), one, _brief(deadline), kind=kind
        ),
        deadline,
    )


def _brief(deadline: Deadline) -> Deadline:
    """Time for a withdrawal: over before anybody takes the object for settled."""
    return Deadline(SETTLED_AFTER - WITHDRAW_WITHIN - 1, deadline.clock)
