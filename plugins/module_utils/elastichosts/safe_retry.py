# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Safe retries of POST calls whose outcome is unknown."""

from __future__ import annotations

from typing import Callable, Optional, TypeVar

from .clock import Deadline
from .errors import AnswerLost, BusyError, ElasticHostsError, FailedError, MissingError, SystemFault

T = TypeVar("T")
FIRST_PAUSE = 0.1
"""seconds between the first two lookups; later pauses are three times as long as the one before"""
LOOKUPS = 4
"""lookups after a lost response, until the object counts as not created"""
LATE_LOOKUPS = 6
"""lookups after a time-out, as the cloud may still be creating the object"""


def create_once(create: Callable[[], T], lookup: Callable[[], Optional[T]], deadline: Deadline) -> T:
    """Create one object, never two: if the outcome is unknown, look the object up before the only second attempt.

    After a time-out there is no second attempt, since the cloud may still be creating the object.

    :param create: creates and returns the object
    :param lookup: returns the created object, found by properties that no other has (ownership keys), or None
    :raises ElasticHostsError: any error of ``create`` and ``lookup``
    """
    try:
        return create()
    except ElasticHostsError as error:
        found = _found_after(error, lookup, deadline)
        if found is not None:
            return found
        if is_late(error):
            error.message += "; it has not appeared yet: run this again later, it is looked for before it is made"
        if is_late(error) or not _may_succeed(error):
            raise
    try:
        return create()
    except ElasticHostsError as error:
        found = _found_after(error, lookup, deadline)
        if found is None:
            raise
        return found


def change_once(change: Callable[[], T], done: Callable[[], Optional[T]], *, repeat: bool = True) -> T:
    """Make an idempotent change, with one retry; a failure is ignored if the change has taken effect.

    :param change: makes the change and returns its result
    :param done: returns the result if the change has taken effect, else None
    :param repeat: whether a second attempt is allowed
    :raises ElasticHostsError: any error of ``change`` and ``done``
    """
    try:
        return change()
    except ElasticHostsError as error:
        found = done() if _may_be_done(error) else None
        if found is not None:
            return found
        if not (repeat and _may_succeed(error)):
            raise
    try:
        return change()
    except ElasticHostsError as error:
        found = done() if _may_be_done(error) else None
        if found is None:
            raise
        return found


def _found_after(error: ElasticHostsError, lookup: Callable[[], Optional[T]], deadline: Deadline) -> Optional[T]:
    """Look the object up several times, since the cloud may finish the call after its response was lost."""
    if not error.maybe_done:
        return None
    pause = FIRST_PAUSE
    for _lookup in range((LATE_LOOKUPS if is_late(error) else LOOKUPS) - 1):
        found = lookup()
        if found is not None or not deadline.left():
            return found
        deadline.sleep(pause)
        pause *= 3
    return lookup()


def is_late(error: ElasticHostsError) -> bool:
    """Return whether the cloud, or a gateway before it, timed out, so that the call may still be in progress."""
    return getattr(error, "late", False) or (isinstance(error, SystemFault) and error.status == 504)


def _may_be_done(error: ElasticHostsError) -> bool:
    """Return whether the change may have taken effect, also before the call (elastichosts-api 7.5)."""
    return error.maybe_done or isinstance(error, (BusyError, FailedError, MissingError))


def _may_succeed(error: ElasticHostsError) -> bool:
    """Return whether a second attempt may succeed: after a lost response or a gateway's error, not after a 500."""
    return isinstance(error, AnswerLost) or (isinstance(error, SystemFault) and error.status != 500)
