# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second door to every module: the same work, done in the controller's process.

A module costs some 300 ms before it makes its first call: shells, a temporary folder, a new Python, its imports. Where
the connection is local none of that is needed. The items of a loop share one process, so they share the connections to
the cloud as well. Everywhere else (a remote host, become, async, a changed environment) the module itself is run; both
give the same result, because both call the same function.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from ansible import constants  # type: ignore[import-untyped]
from ansible.errors import AnsibleError  # type: ignore[import-untyped]
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator  # type: ignore[import-untyped]
from ansible.module_utils.common.parameters import remove_values  # type: ignore[import-untyped]
from ansible.module_utils.errors import UnsupportedError  # type: ignore[import-untyped]
from ansible.plugins.action import ActionBase  # type: ignore[import-untyped]
from ansible.utils.display import Display  # type: ignore[import-untyped]

from ..module_utils.connection import connect
from ..module_utils.elastichosts.client import ElasticHosts
from ..module_utils.elastichosts.http_client import HAS_REQUESTS
from ..module_utils.module import Definition, Task, result_of

OWN_ENVIRONMENT = frozenset({"EHURI", "EHAUTH"})
"""Variables that a task's `environment` may set without a process of its own."""


class InProcess(ActionBase):  # type: ignore[misc]
    """The base of this collection's action plugins; each says only which module it is."""

    definition: Definition
    _supports_async = True
    _supports_check_mode = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        super().run(None, task_vars)
        environment = self._environment()
        if not self._can_be_here(environment):
            return self._module(task_vars)
        with overlaid(environment):
            return self._here(task_vars or {})

    def _environment(self) -> Dict[str, str]:
        found: Dict[str, str] = {}
        self._compute_environment_string(found)
        return {str(name): str(value) for name, value in found.items()}

    def _can_be_here(self, environment: Mapping[str, str]) -> bool:
        connection = self._connection
        return (
            HAS_REQUESTS
            and connection.transport == "local"
            and not (connection.become or self._play_context.become)
            and not self._task.async_val
            and OWN_ENVIRONMENT.issuperset(environment)
        )

    def _module(self, task_vars: Optional[Dict[str, Any]]) -> Dict[str, Any]:
        wrap_async = bool(self._task.async_val) and not self._connection.has_native_async
        try:
            return dict(self._execute_module(task_vars=task_vars, wrap_async=wrap_async))
        finally:
            if not wrap_async:
                self._remove_tmp_path(self._connection._shell.tmpdir)

    def _here(self, task_vars: Mapping[str, Any]) -> Dict[str, Any]:
        given = plain(self._task.args)
        constraints = self.definition.constraints
        validated = ArgumentSpecValidator(self.definition.argument_spec, **constraints).validate(given)
        secrets = validated._no_log_values
        params = validated.validated_parameters
        warnings: List[str] = []
        if validated.error_messages:
            result: Dict[str, Any] = {"failed": True, "msg": self._sentence(validated)}
        else:
            result = result_of(
                self.definition,
                lambda: Task(
                    params,
                    given,
                    check_mode=self._task.check_mode,
                    warn=warnings.append,
                    tell=Display().v,
                    client_for=pooled,
                ),
            )
        if tells_options(task_vars):
            result["invocation"] = {"module_args": params}
        return public(result, secrets, warnings)

    def _sentence(self, validated: Any) -> str:
        message = str(validated.errors.msg)
        if isinstance(validated.errors[0], UnsupportedError):
            return f"Unsupported parameters for ({self._task.resolved_action}) module: {message}"
        return message


def tells_options(task_vars: Mapping[str, Any]) -> bool:
    """Are the options part of the result? Since ansible-core 2.20 that is a setting, before it they always were."""
    try:
        return bool(constants.config.get_config_value("INJECT_INVOCATION", variables=task_vars))
    except AnsibleError:
        return True


def public(result: Dict[str, Any], secrets: Any, warnings: List[str]) -> Dict[str, Any]:
    """`result` as a module would print it: without the values of no_log options, truth values and null untouched."""
    kept = {key: value for key, value in result.items() if value is None or isinstance(value, bool)}
    cleaned: Dict[str, Any] = {**remove_values(result, secrets), **kept}
    if warnings:
        cleaned["warnings"] = [str(text) for text in remove_values(warnings, secrets)]
    return cleaned


def plain(value: Any) -> Any:
    """A task's options as a module gets them: only the types of JSON, without Ansible's tags and lazy containers."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return value if value is None else str(value)


@contextmanager
def overlaid(environment: Mapping[str, str]) -> Iterator[None]:
    """The process's environment with `environment` over it: a worker does one task at a time."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def pooled(options: Mapping[str, Any]) -> ElasticHosts:
    """One client, with its open connections, for all tasks of this process that call the same account the same way."""
    return _client(os.getpid(), tuple(sorted(options.items())))


@lru_cache(maxsize=8)
def _client(process: int, options: Tuple[Tuple[str, Any], ...]) -> ElasticHosts:
    """`process` keeps a fork from sharing the sockets of its parent."""
    return connect(dict(options))
