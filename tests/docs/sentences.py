# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares docs/messages.rst with the sentences that modules, plugins, drivers and roles can show to a user.

    python -m tests.docs.sentences            prints which sentences the page lacks, and which it has in vain

A sentence of the source is every text of four words or more that is no docstring, however the code joins it with
others; ``…`` stands for a value that the code fills in. So a new sentence cannot be forgotten, nor can its parts.

A sentence of the page is a literal that stands alone on its line, in the first column of a table or in a list.
"""

from __future__ import annotations

import ast
import difflib
import functools
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import yaml

from tests.docs.blocks import ROOT

PAGE = ROOT / "docs" / "messages.rst"
FILLED = "…"
LEAST_WORDS = 4
DOCUMENTATION = ("DOCUMENTATION", "EXAMPLES", "RETURN")
WORD = re.compile(r"[('\"]?[A-Za-z][A-Za-z'-]*[,.:;)'\"]*")
NOT_FOR_USERS = re.compile(
    r"\n|\\|\b(SELECT|INSERT|UPDATE|DELETE FROM|PRAGMA|WHERE|PRIMARY KEY|DROP)\b|^import |^\w+\(\w+=|^# |^%s %s|^<"
)
"""SQL, programs, patterns, representations for a debugger, text that is written into files"""
PLACEHOLDER = re.compile(r"%(?:\.\d)?[dfrs]|\{\w+(?::\w+)?\}")
"""of ``str % values`` and ``str.format``"""
EXPRESSION = re.compile(r"\{\{.*?\}\}", re.DOTALL)
ROW, CELL, ITEM = "   * - ", "     - ", "* "
"""beginnings of lines of the page: the first column of a table, another column, an item of a list"""


class Sentence(NamedTuple):
    path: str
    """file of the source"""
    text: str


def text_of(node: ast.AST) -> str | None:
    """What a string or an f-string says; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else FILLED for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = text_of(node.left), text_of(node.right)
        return None if left is None and right is None else (left or FILLED) + (right or FILLED)
    return None


def _is_not_for_users(node: ast.AST) -> bool:
    """Whether the texts below ``node`` are documentation, or of an exception that only a fault of the code raises."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return isinstance(node.exc.func, ast.Name) and node.exc.func.id == "AssertionError"
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id in DOCUMENTATION for target in node.targets)
    return isinstance(node, ast.Expr) and not isinstance(node.value, ast.Call)


def _of_python(node: ast.AST) -> Iterator[str]:
    if _is_not_for_users(node):
        return
    text = text_of(node)
    if text is not None:
        yield text
        return
    for child in ast.iter_child_nodes(node):
        yield from _of_python(child)


def _of_yaml(value: Any, key: str = "") -> Iterator[str]:
    """Texts of tasks and variables: what stands around expressions, and what is quoted in them."""
    if isinstance(value, dict):
        for name, inside in value.items():
            yield from _of_yaml(inside, str(name))
    elif isinstance(value, list):
        for inside in value:
            yield from _of_yaml(inside, key)
    elif isinstance(value, str) and key not in ("name", "that", "when", "failed_when"):
        yield EXPRESSION.sub(FILLED, value)
        for expression in EXPRESSION.findall(value):
            yield from re.findall(r"'((?:[^'\\]|\\.)*)'", expression)


def _is_sentence(text: str) -> bool:
    words = [word for word in text.replace(FILLED, " ").split() if WORD.fullmatch(word)]
    return len(words) >= LEAST_WORDS and not NOT_FOR_USERS.search(text)


@functools.cache
def collect() -> list[Sentence]:
    """Return all sentences of the source."""
    found: set[Sentence] = set()
    sources = [path for path in sorted((ROOT / "plugins").rglob("*.py")) if "doc_fragments" not in path.parts]
    tasks = [path for kind in ("tasks", "handlers") for path in sorted(ROOT.glob(f"roles/*/{kind}/*.yml"))]
    for path in [*sources, *tasks]:
        text = path.read_text(encoding="utf-8")
        texts = _of_python(ast.parse(text)) if path.suffix == ".py" else _of_yaml(yaml.safe_load(text))
        name = str(path.relative_to(ROOT))
        found.update(Sentence(name, shown(one)) for one in texts if _is_sentence(one.strip()))
    return sorted(found)


def shown(text: str) -> str:
    """Return a sentence as the page has it: on one line, with ``…`` for each value."""
    text = PLACEHOLDER.sub(FILLED, " ".join(text.split()))
    return re.sub(rf"{FILLED}+", FILLED, text).replace("`", "'")


def listed(page: str) -> dict[str, int]:
    """Return the sentences of the page, and on which line each stands."""
    found: dict[str, int] = {}
    first = False
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith((ROW, CELL)):
            first = line.startswith(ROW)
        alone = re.fullmatch(r" *(?:\* - )?``(.+)``" if first else r"\* ``(.+)``", line)
        if alone:
            found.setdefault(alone[1], number)
    return found


def differences(page: str, sentences: Sequence[Sentence]) -> list[str]:
    """Return what is to be done so that ``page`` has all ``sentences`` and no other."""
    on_page = listed(page)
    missing = [one for one in sentences if one.text not in on_page]
    stale = sorted(set(on_page) - {one.text for one in sentences}, key=on_page.__getitem__)
    near: dict[str, int] = {}
    for one in reversed(sentences):
        near[one.path] = on_page.get(one.text, near.get(one.path, 0))
    reports = []
    for old in stale:
        new = difflib.get_close_matches(old, [one.text for one in missing], n=1)
        missing = [one for one in missing if one.text not in new]
        todo = f"replace it by\n``{new[0]}``" if new else "take it out: the source has it no more"
        reports.append(f"{PAGE.name}:{on_page[old]}: ``{old}``\n{todo}")
    for one in missing:
        place = f" Other sentences of this file begin at line {near[one.path]}." if near[one.path] else ""
        reports.append(f"{one.path}: add this sentence to a row, or a row for it.{place}\n{ROW}``{one.text}``")
    return reports


def main() -> int:
    reports = differences(PAGE.read_text(encoding="utf-8"), collect())
    sys.stdout.write("".join(f"{report}\n\n" for report in reports))
    return 1 if reports else 0


if __name__ == "__main__":
    sys.exit(main())
