# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Jinja expression reads: so that hosts which look the same to it are evaluated once.

An expression is known by its `Reads`: the places in the variables on which its result depends, `eh_user_keys.role`
rather than all of `eh_user_keys`. There are none (`None`) for an expression that might come out differently the next
time, or of which we do not know better: lookups, clocks, dice, filters of other collections, templates in templates.
Everything here errs to that side; then Ansible evaluates the expression for each host, as ever.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, FrozenSet, Hashable, List, Mapping, NamedTuple, Optional, Tuple, Union

from jinja2 import Environment, TemplateError, nodes

Step = Union[str, int]


class Read(NamedTuple):
    """A variable and the way into it: ("eh_nics", (0, "model"))."""

    name: str
    steps: Tuple[Step, ...]


class Reads(NamedTuple):
    """All that the result depends on. `plain`: the expression is nothing but its one read."""

    reads: Tuple[Read, ...]
    plain: bool


class Uncertain(Exception):
    """The result may depend on more than can be told."""


def _words(text: str) -> FrozenSet[str]:
    return frozenset(text.split())


# Filters, tests and methods whose result depends on their arguments only, and that change none of them.
FILTERS = _words(
    """
    abs b64decode b64encode basename batch bool capitalize center checksum combinations combine count d default
    dict2items dictsort difference dirname e escape extract first flatten float format groupby hash human_readable
    human_to_bytes indent int intersect items items2dict join last length list log lower map mandatory max md5 min pow
    product quote regex_escape regex_findall regex_replace regex_search reject rejectattr rekey_on_member replace
    reverse root round select selectattr sha1 sort split splitext string subelements sum symmetric_difference ternary
    title to_json to_nice_json trim truncate type_debug union unique upper urlencode wordcount zip zip_longest
    """
)
TESTS = _words(
    """
    all any boolean contains defined divisibleby eq equalto even false falsy float ge greaterthan gt in integer issubset
    issuperset iterable le lessthan lower lt mapping match ne none number odd regex search sequence string subset
    superset true truthy undefined upper version version_compare == != < <= > >=
    """
)
METHODS = _words(
    """
    capitalize count endswith find get index isalnum isalpha isdigit islower isnumeric isspace isupper items join keys
    lower lstrip partition removeprefix removesuffix replace rfind rpartition rsplit rstrip split splitlines startswith
    strip swapcase title upper values zfill
    """
)
FUNCTIONS = frozenset({"range", "dict"})
# What Ansible and Jinja put beside the variables: never the same twice, or a door to all variables.
NOT_VARIABLES = _words("lookup query q now undef lipsum cycler joiner namespace vars hostvars groups environment self")
# Filters that take the name of a filter or test as an argument: where it stands, and what it may be.
INDIRECT = {"map": (0, FILTERS), "select": (0, TESTS), "reject": (0, TESTS), "selectattr": (1, TESTS)}
INDIRECT["rejectattr"] = INDIRECT["selectattr"]
# In Jinja `tags.count` is the method of the list before it is a key: such a step is not followed.
_ATTRIBUTES = frozenset(name for kind in (dict, list, str, tuple, int, float) for name in dir(kind))
_OPENERS = ("{{", "{%", "{#")
_PLAIN_NODES = (
    nodes.Const,
    nodes.TemplateData,
    nodes.BinExpr,
    nodes.UnaryExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.CondExpr,
    nodes.Concat,
    nodes.List,
    nodes.Tuple,
    nodes.Dict,
    nodes.Pair,
    nodes.Keyword,
    nodes.Slice,
    nodes.Getitem,
    nodes.Getattr,
)
_JINJA = Environment()  # noqa: S701 (parses only)


def expression_reads(expression: Any) -> Optional[Reads]:
    """What an expression (of `compose`, `groups`, `key`) reads; None when that is uncertain."""
    if isinstance(expression, bool):
        return Reads((), plain=False)
    if not isinstance(expression, str) or any(opener in expression for opener in _OPENERS):
        return None
    try:
        # the line feed ends a comment-like last line, the blank keeps a leading minus from being a blank-eater
        body = _JINJA.parse("{{ " + expression.strip() + "\n}}").body
        if len(body) != 1 or not isinstance(body[0], nodes.Output) or len(body[0].nodes) != 1:
            return None
        return _reads(body[0].nodes)
    except (TemplateError, Uncertain, RecursionError):
        return None


def template_reads(template: Any) -> Optional[Reads]:
    """What a text with `{{ }}` in it (`parent_group`) reads; None when that is uncertain."""
    if template is None:
        return Reads((), plain=False)
    if not isinstance(template, str):
        return None
    try:
        body = _JINJA.parse(template).body
        if not all(isinstance(node, nodes.Output) for node in body):
            return None
        return _reads([part for node in body for part in node.nodes])  # type: ignore[attr-defined]
    except (TemplateError, Uncertain, RecursionError):
        return None


def _reads(parts: List[nodes.Expr]) -> Reads:
    found: Dict[Read, None] = {}
    for part in parts:
        _walk(part, found)
    plain = len(parts) == 1 and isinstance(parts[0], (nodes.Name, nodes.Getattr, nodes.Getitem))
    if plain and len(found) == 1:
        read = next(iter(found))
        plain = _path(parts[0]) == read
    return Reads(tuple(found), plain=plain and len(found) == 1)


def _walk(node: nodes.Node, found: Dict[Read, None]) -> None:
    path = _path(node)
    if path is not None:
        if path.name in NOT_VARIABLES:
            raise Uncertain(path.name)
        found[path] = None
        return
    check = _CHECKS.get(type(node))
    if check is not None:
        check(node, found)
    elif not isinstance(node, _PLAIN_NODES):
        raise Uncertain(type(node).__name__)
    else:
        for child in node.iter_child_nodes():
            _walk(child, found)


def _path(node: nodes.Node) -> Optional[Read]:
    """`a.b[0]` as a read; None when the node is something else, or a step cannot be told from a method."""
    steps: List[Step] = []
    while not isinstance(node, nodes.Name):
        if isinstance(node, nodes.Getattr):
            step: Any = node.attr
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
            step = node.arg.value
        else:
            return None
        if type(step) not in (str, int) or step in _ATTRIBUTES:
            return None
        steps.append(step)
        node = node.node
    return Read(node.name, tuple(reversed(steps)))


def _short(name: str) -> str:
    return name.removeprefix("ansible.builtin.")


def _filter(node: nodes.Filter, found: Dict[Read, None]) -> None:
    name = _short(node.name)
    if name not in FILTERS:
        raise Uncertain(name)
    if name in INDIRECT:
        place, known = INDIRECT[name]
        given = node.args[place : place + 1]
        if node.dyn_args or node.dyn_kwargs:
            raise Uncertain(name)
        if given and not (isinstance(given[0], nodes.Const) and _short(str(given[0].value)) in known):
            raise Uncertain(name)
    for child in node.iter_child_nodes():
        _walk(child, found)


def _test(node: nodes.Test, found: Dict[Read, None]) -> None:
    if _short(node.name) not in TESTS:
        raise Uncertain(node.name)
    for child in node.iter_child_nodes():
        _walk(child, found)


def _call(node: nodes.Call, found: Dict[Read, None]) -> None:
    callee = node.node
    if isinstance(callee, nodes.Getattr) and callee.attr in METHODS:
        _walk(callee.node, found)
    elif not (isinstance(callee, nodes.Name) and callee.name in FUNCTIONS):
        raise Uncertain("a call")
    else:
        found[Read(callee.name, ())] = None  # a variable of that name would be called instead
    for child in (*node.args, *node.kwargs, *filter(None, (node.dyn_args, node.dyn_kwargs))):
        _walk(child, found)


_CHECKS: Mapping[type, Callable[[Any, Dict[Read, None]], None]] = {
    nodes.Filter: _filter,
    nodes.Test: _test,
    nodes.Call: _call,
}

# --- The values found there, as keys of a memory ---

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING"})()


def follow(value: Any, steps: Tuple[Step, ...]) -> Tuple[Any, int]:
    """(What lies at the end of the way, -1); or, where it ends early, (what lies there or MISSING, which step)."""
    for number, step in enumerate(steps):
        kind = type(value)
        if kind is dict:
            if step not in value:
                return MISSING, number
        elif not (kind is list and isinstance(step, int) and -len(value) <= step < len(value)):
            return value, number
        value = value[step]
    return value, -1


def frozen(value: Any) -> Hashable:
    """A key that is the same for the same values only. Raises Uncertain for what may be a template, or no JSON."""
    if isinstance(value, str):
        if "{" in value or value.startswith("#"):
            raise Uncertain("possibly a template")
        return str(value)
    if value is None or value is MISSING or isinstance(value, bool):
        return value, None  # of no other type: True is not 1
    if isinstance(value, (int, float)):
        return type(value).__name__, value
    if isinstance(value, (list, tuple)):
        return ("list", *map(frozen, value))
    if isinstance(value, dict):
        return ("dict", *((frozen(key), frozen(item)) for key, item in value.items()))
    raise Uncertain(type(value).__name__)
