# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of the action plugins: runs the work of a module in the controller's process.

A module needs some 300 ms before its first call: shells, a temporary folder, a new Python, its imports. On a local
connection this plugin does the same work without these, and all items of a loop share their connections to the cloud.
In all other cases (a remote host, become, async, a changed environment) Ansible runs the module itself. The result is
the same, since both call the same function with the same options.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from ansible import constants  # type: ignore[import-untyped]
from ansible.errors import AnsibleError  # type: ignore[import-untyped]
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator  # type: ignore[import-untyped]
from ansible.module_utils.common.json import (  # type: ignore[import-untyped]
    Direction,
    get_module_decoder,
    get_module_encoder,
)
from ansible.module_utils.common.parameters import remove_values  # type: ignore[import-untyped]
from ansible.module_utils.errors import UnsupportedError  # type: ignore[import-untyped]
from ansible.plugins.action import ActionBase  # type: ignore[import-untyped]
from ansible.utils.display import Display  # type: ignore[import-untyped]

from ..module_utils.client_from_options import connect
from ..module_utils.elastichosts.client import ElasticHosts
from ..module_utils.elastichosts.http_client import HAS_REQUESTS
from ..module_utils.module import Definition, Task, result_of

OWN_ENVIRONMENT = frozenset({"EHURI", "EHAUTH"})
"""variables in a task's ``environment`` that do not need a separate process"""
PROFILE = "legacy"
"""Ansible's serialization profile for modules that declare none, such as those of this collection"""


class InProcess(ActionBase):  # type: ignore[misc]
    """Base class of the action plugins, which only set the ``definition`` of their module."""

    definition: Definition
    _supports_async = True
    _supports_check_mode = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        super().run(None, task_vars)
        environment = self._environment()
        if not self._can_run_here(environment):
            return self._run_module(task_vars)
        with overlaid(environment):
            return self._run_here(task_vars or {})

    def _environment(self) -> Dict[str, str]:
        found: Dict[str, str] = {}
        self._compute_environment_string(found)
        return {str(name): str(value) for name, value in found.items()}

    def _can_run_here(self, environment: Mapping[str, str]) -> bool:
        connection = self._connection
        return (
            HAS_REQUESTS
            and connection.transport == "local"
            and not (connection.become or self._play_context.become)
            and not self._task.async_val
            and OWN_ENVIRONMENT.issuperset(environment)
        )

    def _run_module(self, task_vars: Optional[Dict[str, Any]]) -> Dict[str, Any]:
        wrap_async = bool(self._task.async_val) and not self._connection.has_native_async
        try:
            return dict(self._execute_module(task_vars=task_vars, wrap_async=wrap_async))
        finally:
            if not wrap_async:
                self._remove_tmp_path(self._connection._shell.tmpdir)

    def _run_here(self, task_vars: Mapping[str, Any]) -> Dict[str, Any]:
        given = self._options()
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
        if returns_options(task_vars):
            result["invocation"] = {"module_args": params}
        return public(result, secrets, warnings)

    def _options(self) -> Dict[str, Any]:
        """Return the options as the module would get them, by encoding them to JSON and decoding them.

        :raises AnsibleError: an option cannot be encoded
        """
        try:
            sent = json.dumps(self._task.args, cls=get_module_encoder(PROFILE, Direction.CONTROLLER_TO_MODULE))
        except TypeError as error:
            raise AnsibleError(
                f"Failed to serialize arguments for the {self._task.resolved_action!r} module."
            ) from error
        options: Dict[str, Any] = json.loads(sent, cls=get_module_decoder(PROFILE, Direction.CONTROLLER_TO_MODULE))
        return options

    def _sentence(self, validated: Any) -> str:
        message = str(validated.errors.msg)
        if isinstance(validated.errors[0], UnsupportedError):
            return f"Unsupported parameters for ({self._task.resolved_action}) module: {message}"
        return message


def returns_options(task_vars: Mapping[str, Any]) -> bool:
    """Return whether results contain ``invocation``: always before ansible-core 2.20, since then a setting decides."""
    try:
        return bool(constants.config.get_config_value("INJECT_INVOCATION", variables=task_vars))
    except AnsibleError:
        return True


def public(result: Dict[str, Any], secrets: Any, warnings: List[str]) -> Dict[str, Any]:
    """Return ``result`` without the values of no_log options; top-level booleans and null are kept, as in a module."""
    kept = {key: value for key, value in result.items() if value is None or isinstance(value, bool)}
    cleaned: Dict[str, Any] = {**remove_values(result, secrets), **kept}
    if warnings:
        cleaned["warnings"] = [str(text) for text in remove_values(warnings, secrets)]
    return cleaned


@contextmanager
def overlaid(environment: Mapping[str, str]) -> Iterator[None]:
    """Add ``environment`` to the process's environment within the block; an Ansible worker runs one task at a time."""
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
    """Return the client, with its open connections, that tasks of this process with these connection options share."""
    return _client(os.getpid(), tuple(sorted(options.items())))


@lru_cache(maxsize=8)
def _client(process: int, options: Tuple[Tuple[str, Any], ...]) -> ElasticHosts:
    """Return a client; ``process``, the process id, prevents a forked process from using its parent's sockets."""
    return connect(dict(options))
