# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing calls without doubles: what to do when it is not clear whether one had its effect."""

from __future__ import annotations

from typing import Callable, Optional, TypeVar

from .clock import Deadline
from .errors import AnswerLost, BusyError, ElasticHostsError, FailedError, MissingError, SystemFault

T = TypeVar("T")
FIRST_PAUSE = 0.1
LOOKS = 4
"""Looks for an object whose creation was not answered, before it counts as not made."""
LATE_LOOKS = 6
"""The same for a cloud that is slow: it may still be at work."""


def create_once(create: Callable[[], T], lookup: Callable[[], Optional[T]], deadline: Deadline) -> T:
    """Create one object, never two: after an ambiguous failure look for it, and only then try once more.

    A cloud that took too long may still be making it, so after a time-out there is no second attempt.
    `lookup` finds the object that `create` makes, by what only it can have (owner keys), and may raise NotUnique.
    Raises what `create` and `lookup` raise.
    """
    try:
        return create()
    except ElasticHostsError as error:
        found = _found_after(error, lookup, deadline)
        if found is not None:
            return found
        if is_late(error):
            error.message += "; it has not appeared yet: run this again later, it is looked for before it is made"
        if is_late(error) or not _deserves_another(error):
            raise
    try:
        return create()
    except ElasticHostsError as error:
        found = _found_after(error, lookup, deadline)
        if found is None:
            raise
        return found


def change_once(change: Callable[[], T], done: Callable[[], Optional[T]], *, repeat: bool = True) -> T:
    """Make a change whose repetition is harmless; a failure that finds the change made is none.

    `done` looks: the result when all is as wanted, None when it is not. `repeat` False forbids the second attempt.
    """
    try:
        return change()
    except ElasticHostsError as error:
        found = done() if _may_be_done(error) else None
        if found is not None:
            return found
        if not (repeat and _deserves_another(error)):
            raise
    try:
        return change()
    except ElasticHostsError as error:
        found = done() if _may_be_done(error) else None
        if found is None:
            raise
        return found


def _found_after(error: ElasticHostsError, lookup: Callable[[], Optional[T]], deadline: Deadline) -> Optional[T]:
    """A slow cloud may finish a call after its answer was lost, so one look is not enough."""
    if not error.maybe_done:
        return None
    pause = FIRST_PAUSE
    for _look in range((LATE_LOOKS if is_late(error) else LOOKS) - 1):
        found = lookup()
        if found is not None or not deadline.left():
            return found
        deadline.sleep(pause)
        pause *= 3
    return lookup()


def is_late(error: ElasticHostsError) -> bool:
    """Did the cloud, or a gateway before it, run out of time, so that the call may still be at work?"""
    return getattr(error, "late", False) or (isinstance(error, SystemFault) and error.status == 504)


def _may_be_done(error: ElasticHostsError) -> bool:
    """Lost, or refused because the object is already in the wanted state (elastichosts-api 7.5) or gone."""
    return error.maybe_done or isinstance(error, (BusyError, FailedError, MissingError))


def _deserves_another(error: ElasticHostsError) -> bool:
    """A clear "failed" would only fail again; a lost answer or a gateway's word deserves one more attempt."""
    return isinstance(error, AnswerLost) or (isinstance(error, SystemFault) and error.status != 500)
