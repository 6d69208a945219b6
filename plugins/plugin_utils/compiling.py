# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compile an expression once, however many hosts it is evaluated for.

Where every host looks different to an expression (`eh_name ~ '.example.com'`) it has to be evaluated for each, and
three quarters of that time Jinja compiles the same text again. Ansible has no public way to keep what was compiled, so
this is the one place that touches a name which is not public: `Templar._engine.environment`, a Jinja environment. Only
Jinja's own `compile_expression` is wrapped, for the length of one evaluation and for that one text; where the name is
not there (another ansible-core), nothing is wrapped and everything works as before, slower.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import Any, Callable, Dict, Iterator, Tuple

from jinja2 import Environment

Compiled = Dict[Tuple[Any, ...], Any]


class Compiler:
    """Remembers what one expression was compiled to."""

    def __init__(self, templar: Any, expression: Any) -> None:
        environment = getattr(getattr(templar, "_engine", None), "environment", None)
        self._environment = environment if isinstance(environment, Environment) else None
        self._expression = expression.strip() if isinstance(expression, str) else None
        self._compiled: Compiled = {}

    @contextmanager
    def once(self) -> Iterator[None]:
        """Within, compiling the expression again costs nothing."""
        environment = self._environment
        if environment is None or "compile_expression" in vars(environment):
            yield
            return
        vars(environment)["compile_expression"] = partial(self._compile, environment.compile_expression)
        try:
            yield
        finally:
            vars(environment).pop("compile_expression", None)

    def _compile(self, really: Callable[..., Any], source: str, *options: Any, **named: Any) -> Any:
        if named or source.strip() != self._expression:
            return really(source, *options, **named)
        if options not in self._compiled:
            self._compiled[options] = really(source, *options)
        return self._compiled[options]
