# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's side of the collection: connection options, the task, check and diff, the shape of a failure.

A module is an argument spec, its documentation and one function `perform(task) -> Outcome`; everything that must be
the same in all modules is here, once. `perform` knows no AnsibleModule: a module calls it in a process of its own
(`run`), an action plugin in the controller's process (plugin_utils/in_process.py).
"""

from __future__ import annotations

from typing import Any, Callable, Collection, Dict, List, Mapping, NamedTuple, Optional

from ansible.module_utils.basic import AnsibleModule, env_fallback, missing_required_lib  # type: ignore[import-untyped]

from .connection import connect
from .elastichosts.client import ElasticHosts
from .elastichosts.clock import Clock, Deadline
from .elastichosts.errors import ConfigurationError, ElasticHostsError
from .elastichosts.http_client import HAS_REQUESTS
from .elastichosts.plan import Plan
from .elastichosts.zones import ZONES
from .forms import InvalidOption

try:
    import jmespath  # type: ignore[import-untyped]
except ImportError:
    HAS_JMESPATH = False
else:
    HAS_JMESPATH = True

CONNECTION = {
    "endpoint": {"type": "str", "fallback": (env_fallback, ["EHURI"])},
    "zone": {"type": "str", "choices": list(ZONES)},
    "auth": {"type": "str", "no_log": True, "fallback": (env_fallback, ["EHAUTH"])},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "connect_timeout": {"type": "float", "default": 5},
    "timeout": {"type": "float", "default": 60},
}


WAIT_TIMEOUT = 300
"""Seconds for everything a task does, in modules that have no option for it."""


class MissingLibrary(ConfigurationError):
    """A Python library that only this task needs is not there."""

    code = "library"


class Outcome(NamedTuple):
    """What a task did, or in check mode would do. `before` and `after` are the diff; None in modules that only read."""

    result: Dict[str, Any]
    changed: bool = False
    before: Optional[Mapping[str, Any]] = None
    after: Optional[Mapping[str, Any]] = None
    subject: str = ""


class Task:
    """One task: its options, which of them are in the task at all, the cloud, and the time that is left.

    `wrote` is set before a file of the machine is written. `tell` takes a line of progress for whoever watches.
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
        seconds = params.get("wait_timeout", WAIT_TIMEOUT)
        if seconds <= 0:
            raise InvalidOption("wait_timeout", f"{seconds} is out of range, give seconds above 0")
        self.deadline = Deadline(float(seconds), self.clock)
        self.client = client_for(connection_of(params, given))
        self._effects_before = self.client.transport.effects

    @property
    def touched(self) -> bool:
        """Whether something was changed, or may have been: so a failure half-way is reported as a change."""
        return self.wrote or self.client.transport.effects > self._effects_before


class Definition(NamedTuple):
    """A module: what it does, its own options (those of the connection come by themselves), and their constraints."""

    perform: Callable[[Task], Outcome]
    arguments: Mapping[str, Any]
    constraints: Mapping[str, Any] = {}

    @property
    def argument_spec(self) -> Dict[str, Any]:
        return {**CONNECTION, **self.arguments}


class PartlyDone(Exception):
    """A task that did a part and then failed: `error` says why, `result` what there is now."""

    def __init__(self, error: ElasticHostsError, result: Mapping[str, Any]) -> None:
        super().__init__(str(error))
        self.error = error
        self.result = result


def connection_of(params: Mapping[str, Any], given: Collection[str]) -> Dict[str, Any]:
    """The connection options; a zone in the task goes before an endpoint from the environment."""
    options = {name: params.get(name) for name in CONNECTION}
    if options["zone"] and "endpoint" not in given:
        options["endpoint"] = None
    return options


def result_of(definition: Definition, make_task: Callable[[], Task]) -> Dict[str, Any]:
    """What the task ends with, in the shape that Ansible wants: `failed` and `msg` when it did not work out."""
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
    """A module's main(): exits with the outcome of `perform`, or fails with one sentence and `failure`."""
    module = _Module(definition.argument_spec, supports_check_mode=True, **definition.constraints)
    if not HAS_REQUESTS:
        module.fail_json(msg=missing_required_lib("requests"))
    result = result_of(
        definition, lambda: Task(module.params, module.given, check_mode=module.check_mode, warn=module.warn)
    )
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


def predicted(plan: Plan, properties: Mapping[str, str]) -> Dict[str, str]:
    """In check mode: the properties that the object would have after `plan`; none when it would be gone."""
    if any(step.verb == "destroy" for step in plan.steps):
        return {}
    kept = {key: value for key, value in properties.items() if key not in plan.before}
    return {**kept, **plan.after}


def exit_values(outcome: Outcome) -> Dict[str, Any]:
    """The result of a task as Ansible wants it. The diff is always there; Ansible shows it in diff mode."""
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
    """The outcome of an _info module: `views` narrowed to the `name` option, sorted, through the `query` option."""
    name = task.params.get("name")
    found = [view for view in views if name is None or view["name"] == name]
    found.sort(key=lambda view: (view["name"], view[identity]))
    return Outcome({key: query(task.params.get("query"), found)})


def query(expression: Optional[str], found: List[Dict[str, Any]]) -> List[Any]:
    """`found` through a JMESPath expression; what comes out is a list, whatever the expression makes.

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
    """Remembers which options are in the task: AnsibleModule makes no difference between absent and null."""

    given: Collection[str] = ()

    def _load_params(self) -> None:
        super()._load_params()
        self.given = frozenset(name for name in self.params if not name.startswith("_ansible_"))
