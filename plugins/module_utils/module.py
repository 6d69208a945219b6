# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all modules share: connection options, the task, check mode and diff, the form of a failure.

A module is its documentation, an argument spec and one function `perform(task) -> Outcome`. `perform` does not use
AnsibleModule: `run` calls it in a module, an action plugin (plugin_utils/in_process.py) in the controller's process.
"""

from __future__ import annotations

from typing import Any, Callable, Collection, Dict, List, Mapping, NamedTuple, Optional

from ansible.module_utils.basic import AnsibleModule, env_fallback, missing_required_lib  # type: ignore[import-untyped]

from .client_from_options import connect
from .elastichosts.client import ElasticHosts
from .elastichosts.clock import Clock, Deadline
from .elastichosts.errors import ConfigurationError, ElasticHostsError
from .elastichosts.http_client import HAS_REQUESTS
from .options import InvalidOption

try:
    import jmespath  # type: ignore[import-untyped]
except ImportError:
    HAS_JMESPATH = False
else:
    HAS_JMESPATH = True

CONNECTION = {
    "endpoint": {"type": "str", "fallback": (env_fallback, ["EHURI"])},
    "auth": {"type": "str", "no_log": True, "fallback": (env_fallback, ["EHAUTH"])},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "connect_timeout": {"type": "float", "default": 5},
    "timeout": {"type": "float", "default": 60},
}


WAIT_TIMEOUT = 300
"""Seconds for all calls of a task, in modules without the option `wait_timeout`."""


class MissingLibrary(ConfigurationError):
    """A Python library that only this task needs is missing."""

    code = "library"


class Outcome(NamedTuple):
    """What a task did, or would do in check mode. `before` and `after` are the diff, None in modules that only read."""

    result: Dict[str, Any]
    changed: bool = False
    before: Optional[Mapping[str, Any]] = None
    after: Optional[Mapping[str, Any]] = None
    subject: str = ""


class Task:
    """One task: its options, the client, and the deadline for all its calls.

    `given`: names of the options that the task has, null or not. `warn` takes a warning, `tell` a line of progress.
    `wrote` is set before a local file is written.
    """

    def __init__(
        self,
        params: Mapping[str, Any],
        given: Collection[str],
        *,
        check_mode: bool = False,
        warn: Callable[[str], None] = lambda text: None,
        tell: Callable[[str], None] = lambda line: None,
        client_for: Callable[[Mapping[str, Any]], ElasticHosts] = connect,
    ) -> None:
        self.params = params
        self.given = frozenset(given)
        self.check_mode = check_mode
        self.warn = warn
        self.tell = tell
        self.wrote = False
        self.clock = Clock()
        self.deadline = self.deadline_of("wait_timeout")
        self.client = client_for({name: params.get(name) for name in CONNECTION})
        self._effects_before = self.client.transport.effects

    def deadline_of(self, option: str) -> Deadline:
        """Return a deadline that is so many seconds away as the option says. Raises InvalidOption below 1 second."""
        seconds = self.params.get(option, WAIT_TIMEOUT)
        if seconds <= 0:
            raise InvalidOption(option, f"{seconds} is out of range, give seconds above 0")
        return Deadline(float(seconds), self.clock)

    @property
    def makes_by_name(self) -> bool:
        """Whether the task may create an object by its name, which others may do at the same time."""
        by_name = all(self.params.get(option) is None for option in ("uuid", "address"))
        return by_name and not self.check_mode and self.params["state"] != "absent"

    @property
    def touched(self) -> bool:
        """Whether something was, or may have been, changed. A failure after that is reported as a change."""
        return self.wrote or self.client.transport.effects > self._effects_before


class Definition(NamedTuple):
    """A module: its function, its options without those of the connection, and their constraints."""

    perform: Callable[[Task], Outcome]
    arguments: Mapping[str, Any]
    constraints: Mapping[str, Any] = {}

    @property
    def argument_spec(self) -> Dict[str, Any]:
        return {**CONNECTION, **self.arguments}


class PartlyDone(Exception):
    """Raised by a task that failed half-way: `error` is the reason, `result` says what exists now."""

    def __init__(self, error: ElasticHostsError, result: Mapping[str, Any]) -> None:
        super().__init__(str(error))
        self.error = error
        self.result = result


def result_of(definition: Definition, make_task: Callable[[], Task]) -> Dict[str, Any]:
    """Run the task and return its result as Ansible expects it, with `failed` and `msg` after an error."""
    task = None
    try:
        task = make_task()
        return exit_values(definition.perform(task))
    except PartlyDone as part:
        return {**part.result, **failure_values(part.error, task)}
    except ElasticHostsError as error:
        return failure_values(error, task)


def failure_values(error: ElasticHostsError, task: Optional[Task]) -> Dict[str, Any]:
    touched = task is not None and task.touched
    return {"failed": True, "msg": str(error), "failure": error.failure(), "changed": touched}


def run(definition: Definition) -> None:
    """Run a module: exit with the outcome of `perform`, or fail with one sentence and `failure`."""
    module = _Module(definition.argument_spec, supports_check_mode=True, **definition.constraints)
    if not HAS_REQUESTS:
        module.fail_json(msg=missing_required_lib("requests"))
    result = result_of(
        definition, lambda: Task(module.params, module.given, check_mode=module.check_mode, warn=module.warn)
    )
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


def exit_values(outcome: Outcome) -> Dict[str, Any]:
    """Return the result of a task as Ansible expects it. It always has the diff; Ansible shows it in diff mode."""
    values: Dict[str, Any] = {"changed": outcome.changed, **outcome.result}
    if outcome.before is not None or outcome.after is not None:
        values["diff"] = {
            "before": _ordered(outcome.before),
            "after": _ordered(outcome.after),
            "before_header": outcome.subject,
            "after_header": outcome.subject,
        }
    return values


def _ordered(properties: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
    return dict(sorted((properties or {}).items()))


def listing(task: Task, key: str, views: List[Dict[str, Any]], identity: str = "uuid") -> Outcome:
    """Return the outcome of an _info module: `views` with the name of the option `name`, sorted, after `query`."""
    name = task.params.get("name")
    found = [view for view in views if name is None or view["name"] == name]
    found.sort(key=lambda view: (view["name"], view[identity]))
    return Outcome({key: query(task.params.get("query"), found)})


def query(expression: Optional[str], found: List[Dict[str, Any]]) -> List[Any]:
    """Apply a JMESPath expression to `found`; a result that is not a list is put into one.

    Raises InvalidOption for an expression that does not parse or fit the data, MissingLibrary without jmespath.
    """
    if expression is None:
        return list(found)
    if not HAS_JMESPATH:
        raise MissingLibrary(missing_required_lib("jmespath"))
    try:
        outcome = jmespath.search(expression, found)
    except jmespath.exceptions.JMESPathError as error:
        reason = " ".join(str(error).split())
        raise InvalidOption("query", f"{expression!r} is not a JMESPath expression for this list: {reason}") from None
    if outcome is None:
        return []
    return outcome if isinstance(outcome, list) else [outcome]


class _Module(AnsibleModule):  # type: ignore[misc]
    """Keeps the names of the options that the task has: AnsibleModule does not tell absent from null."""

    given: Collection[str] = ()

    def _load_params(self) -> None:
        super()._load_params()
        self.given = frozenset(name for name in self.params if not name.startswith("_ansible_"))
