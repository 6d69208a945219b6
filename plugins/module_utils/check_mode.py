# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What check mode foretells, also of objects that an earlier task of the play would have made.

Such an object has a placeholder as its UUID or address in the results. Later tasks take it for the real one, and warn.
"""

from __future__ import annotations

import hashlib
from typing import Dict, Mapping, Optional, TypeVar

from .elastichosts.plan import Plan
from .module import Task

T = TypeVar("T")
ADDRESS = "0.0.0.0"  # noqa: S104 (no address to listen on)
"""stands for the address of a static address"""
_UUIDS = "00000000-0000-0000-0000-"
"""how placeholders begin that stand for UUIDs; a cloud gives no such UUID"""


def placeholder(kind: str, name: Optional[str]) -> str:
    """Return the UUID that stands for that of an object, the same for the same kind and name."""
    return _UUIDS + hashlib.sha256(f"{kind} {name}".encode("utf-8", "backslashreplace")).hexdigest()[:12]


def is_placeholder(identity: Optional[str]) -> bool:
    """Return whether a UUID or address stands for that of an object which does not exist yet."""
    return identity is not None and (identity == ADDRESS or identity.startswith(_UUIDS))


def predicted(plan: Plan, properties: Mapping[str, str], identity: Mapping[str, str]) -> Dict[str, str]:
    """Return the properties that the object would have after `plan`; {} if it would be gone.

    `identity`: key and placeholder of an object that the plan creates.
    """
    if any(step.verb == "destroy" for step in plan.steps):
        return {}
    kept = {key: value for key, value in properties.items() if key not in plan.before}
    created = any(step.verb in ("create", "create_stopped") for step in plan.steps)
    return {**kept, **plan.after, **(identity if created else {})}


def stand_in(task: Task, identity: Optional[str], thing: T, *, creatable: bool = True) -> Optional[T]:
    """In check mode, return `thing`, with a warning, for an object that an earlier task would have made; else None.

    That is one which is looked up by a placeholder, or by its name where the options do not suffice to create it.

    :param identity: the UUID or address that the task has for the object, None where it has a name only
    """
    if not task.check_mode or not (is_placeholder(identity) or (identity is None and not creatable)):
        return None
    task.warn(f"{identity or task.params['name']!r} does not exist yet, the real run needs it")
    return thing


def warn_of_placeholders(task: Task, desired: Mapping[str, Optional[str]]) -> None:
    """Warn, in check mode, of each property that names an object which does not exist yet."""
    for key, value in desired.items() if task.check_mode else ():
        if is_placeholder(value):
            task.warn(f"{key}: {value} does not exist yet, the real run needs it")
