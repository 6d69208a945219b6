# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which servers become hosts (`query`, `filters`), and what they would like to be called (`hostnames`)."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible.errors import AnsibleParserError  # type: ignore[import-untyped]
from ansible.utils.vars import combine_vars  # type: ignore[import-untyped]

from .compiling import Compiler
from .constructing import Entry
from .expressions import Uncertain, expression_reads

try:
    import jmespath  # type: ignore[import-untyped]
except ImportError:
    jmespath = None

INCLUDE, EXCLUDE = "include", "exclude"


class Candidate(NamedTuple):
    """A server that may become a host."""

    name: str
    vars: Dict[str, Any]

    def get_vars(self) -> Dict[str, Any]:
        return self.vars


def by_query(query: Optional[str], facts: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The servers that a JMESPath query over all of them leaves. Raises AnsibleParserError."""
    if query is None:
        return facts
    if jmespath is None:
        raise AnsibleParserError("query: the Python library jmespath is missing on the controller, install it")
    try:
        chosen = jmespath.search(query, list(facts))
    except jmespath.exceptions.JMESPathError as error:
        raise AnsibleParserError(f"query: {' '.join(str(error).split())}; correct the expression") from None
    known = {(item["zone"], item["uuid"]) for item in facts}
    if not isinstance(chosen, list) or not all(
        isinstance(item, Mapping) and (item.get("zone"), item.get("uuid")) in known for item in chosen
    ):
        problem = "it must leave whole servers, as in [?mem > `1024`], not parts of them"
        raise AnsibleParserError(f"query: {query!r} does not give a list of servers; {problem}")
    wanted = {(item["zone"], item["uuid"]) for item in chosen}
    return [item for item in facts if (item["zone"], item["uuid"]) in wanted]


class Expressions:
    """Makes entries for expressions that are evaluated for a server before it is a host."""

    def __init__(self, templar: Any, extra: Mapping[str, Any]) -> None:
        self._templar = templar
        self._extra = extra

    def entry(self, name: str, expression: Any, evaluate: Callable[[Any, Any], Any]) -> Entry:
        """`evaluate` is given the templar and the expression."""
        compiler = Compiler(self._templar, expression)

        def ask(variables: Mapping[str, Any], _host: str) -> Any:
            self._templar.available_variables = combine_vars(variables, self._extra) if self._extra else variables
            with compiler.once():
                return evaluate(self._templar, expression)

        return Entry(name, expression, expression_reads(expression), ask, {}, self._extra)


class Filters:
    """`filters`: a list of one-key dictionaries; the first that applies decides, where none does the server stays."""

    def __init__(self, filters: Sequence[Any], expressions: Expressions) -> None:
        self._entries: List[Tuple[bool, Entry]] = []
        for number, item in enumerate(filters):
            if not isinstance(item, Mapping) or len(item) != 1 or not set(item) <= {INCLUDE, EXCLUDE}:
                problem = "must be a dictionary with one key, include or exclude, and a condition"
                raise AnsibleParserError(f"filters[{number}]: {problem}, not {item!r}")
            ((verb, condition),) = item.items()
            if not isinstance(condition, (str, bool)):
                raise AnsibleParserError(
                    f"filters[{number}].{verb}: {condition!r} is no condition, write an expression"
                )
            self._entries.append(
                (verb == INCLUDE, expressions.entry(f"filters[{number}].{verb}", condition, _condition))
            )

    def keeps(self, candidate: Candidate) -> bool:
        """Raises AnsibleParserError: a condition that cannot be told must not hide a host, nor show one."""
        for include, entry in self._entries:
            try:
                applies = entry.outcome(candidate)[0]
            except Exception as error:
                problem = f"{entry.expression!r} cannot be told for server {candidate.name!r}: {error}"
                raise AnsibleParserError(f"{entry.name}: {problem}") from error
            if applies:
                return include
        return True


def _condition(templar: Any, expression: Any) -> bool:
    return bool(templar.evaluate_conditional(expression))


class Hostnames:
    """`hostnames`: expressions, the first with a text decides."""

    def __init__(self, hostnames: Sequence[Any], strict: bool, expressions: Expressions) -> None:
        if not hostnames:
            raise AnsibleParserError("hostnames: the list is empty, name at least one expression, such as eh_name")
        self._strict = strict
        self._entries = [
            expressions.entry(f"hostnames[{number}]", expression, _expression)
            for number, expression in enumerate(hostnames)
        ]

    def wish(self, candidate: Candidate) -> str:
        """What the server would like to be called; nothing when no expression gives a text.

        Raises AnsibleParserError for a faulty expression when strict.
        """
        for entry in self._entries:
            try:
                value = _told(entry, candidate)
            except Exception as error:
                if self._strict:
                    problem = f"{entry.expression!r} cannot be told for server {candidate.name!r}: {error}"
                    raise AnsibleParserError(f"{entry.name}: {problem}") from error
                continue
            if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value):
                return str(value)
        return ""


def _told(entry: Entry, candidate: Candidate) -> Any:
    try:
        return entry.plain(candidate)
    except Uncertain:
        return entry.outcome(candidate)[0]


def _expression(templar: Any, expression: Any) -> Any:
    return templar.evaluate_expression(expression)
