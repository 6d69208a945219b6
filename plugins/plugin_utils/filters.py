# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory options that select and name hosts: ``query``, ``filters`` and ``hostnames``."""

from __future__ import annotations

from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible.errors import AnsibleParserError  # type: ignore[import-untyped]
from ansible.utils.vars import combine_vars  # type: ignore[import-untyped]

try:
    import jmespath  # type: ignore[import-untyped]
except ImportError:
    jmespath = None

INCLUDE, EXCLUDE = "include", "exclude"
Variables = Mapping[str, Any]


def by_query(query: Optional[str], facts: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return the servers that the JMESPath expression ``query`` selects from ``facts``; all servers without a query.

    :raises AnsibleParserError: the expression is invalid or does not return whole servers, or jmespath is missing
    """
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


class Filter(NamedTuple):
    """An entry of ``filters``; ``label`` is its name in errors."""

    label: str
    include: bool
    condition: Any


def parse_filters(filters: Sequence[Any]) -> List[Filter]:
    """Parse the option ``filters``, a list of dictionaries with one key.

    :raises AnsibleParserError: an entry has another form
    """
    parsed = []
    for number, item in enumerate(filters):
        if not isinstance(item, Mapping) or len(item) != 1 or not set(item) <= {INCLUDE, EXCLUDE}:
            problem = "must be a dictionary with one key, include or exclude, and a condition"
            raise AnsibleParserError(f"filters[{number}]: {problem}, not {item!r}")
        ((verb, condition),) = item.items()
        label = f"filters[{number}].{verb}"
        if not isinstance(condition, (str, bool)):
            raise AnsibleParserError(f"{label}: {condition!r} is no condition, write an expression")
        parsed.append(Filter(label, verb == INCLUDE, condition))
    return parsed


def parse_hostnames(hostnames: Sequence[Any]) -> List[Tuple[str, Any]]:
    """Return (label for errors, expression) for each entry of ``hostnames``.

    :raises AnsibleParserError: the list is empty
    """
    if not hostnames:
        raise AnsibleParserError("hostnames: the list is empty, name at least one expression, such as eh_name")
    return [(f"hostnames[{number}]", expression) for number, expression in enumerate(hostnames)]


class Evaluator:
    """Evaluates expressions with the variables of a server that is no host yet; ``extra`` overrides variables."""

    def __init__(self, templar: Any, extra: Variables) -> None:
        self._templar = templar
        self._extra = extra

    def keeps(self, filters: Sequence[Filter], variables: Variables) -> bool:
        """Return whether the server is kept: the first filter whose condition is true decides, else it is kept.

        :raises AnsibleParserError: a condition cannot be evaluated, so that it must neither include nor exclude
        """
        self._use(variables)
        for entry in filters:
            try:
                if self._templar.evaluate_conditional(entry.condition):
                    return entry.include
            except Exception as error:
                raise _failed(entry.label, entry.condition, variables, error) from error
        return True

    def hostname(self, hostnames: Sequence[Tuple[str, Any]], variables: Variables, strict: bool) -> str:
        """Return the first non-empty string or number among the values of the expressions; "" if there is none.

        :param strict: whether an expression that cannot be evaluated is an error; else it is skipped
        :raises AnsibleParserError: with ``strict``
        """
        self._use(variables)
        for label, expression in hostnames:
            try:
                value = self._templar.evaluate_expression(expression)
            except Exception as error:
                if strict:
                    raise _failed(label, expression, variables, error) from error
                continue
            if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value):
                return str(value)
        return ""

    def _use(self, variables: Variables) -> None:
        self._templar.available_variables = combine_vars(variables, self._extra) if self._extra else variables


def _failed(label: str, expression: Any, variables: Variables, error: Exception) -> AnsibleParserError:
    name = variables["eh_name"] or variables["eh_uuid"]
    return AnsibleParserError(f"{label}: {expression!r} cannot be evaluated for server {name!r}: {error}")
