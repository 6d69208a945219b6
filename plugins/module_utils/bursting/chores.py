# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work that is done while the cloud has a call, since nobody waits for it then."""

from __future__ import annotations

from typing import Callable, Generic, List, TypeVar

Result = TypeVar("Result")


class Chore(Generic[Result]):
    """Work that is done once, in one thread: when there is time (by calling it), or when its result is asked for.

    Calling it never raises; what the work raises, :meth:`result` does.
    """

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work = work
        self._results: List[Result] = []
        self._failure: List[Exception] = []

    def __call__(self) -> None:
        if self._results or self._failure:
            return
        try:
            self._results.append(self._work())
        except Exception as error:
            self._failure.append(error)

    def result(self) -> Result:
        """Raises what the work raised."""
        self()
        if self._failure:
            raise self._failure[0]
        return self._results[0]
