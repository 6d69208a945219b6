# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every sentence that a user can get from modules, plugins, drivers and roles, taken from the source.

    python -m tests.docs.sentences            writes the lists of docs/messages.rst anew

A sentence is whatever text of four words or more stands in the code and is no docstring, however it is put together
later; ``…`` stands for what is filled in. So a new one cannot be forgotten, and its fragments are found, too.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
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
"""SQL, programs, patterns, forms of objects for the debugger, what is written into files"""
SECTIONS = {
    "template": ("drivers/translate", "opennebula/eh_template", "opennebula/vm", "opennebula/layout"),
    "actions": (
        "drivers/answers",
        "drivers/image_drives",
        "drivers/create_server",
        "drivers/action_context",
        "drivers/unsupported",
        "drivers/transfer_driver",
        "drivers/actions",
        "drivers/vm_driver",
    ),
    "drivers": ("drivers/", "opennebula/xml", "opennebula/driver_requests", "opennebula/driver_replies"),
    "cloud": ("elastichosts/errors", "elastichosts/formats", "elastichosts/http_client"),
    "account": ("elastichosts/address", "elastichosts/identifiers", "client_from", "inventory_acc"),
    "images": ("elastichosts/local_files", "elastichosts/upload", "elastichosts/drive_copy", "elastichosts/download"),
    "changes": ("elastichosts/",),
    "inventory": ("inventory/", "lookup/", "plugin_utils/"),
    "role": ("front_end", "program_files", "atomic_", "modules/mad", "opennebula/conf", "host_commands", "roles/"),
    "options": ("module_utils/", "modules/", "action/"),
}
"""which part of the page has the sentences of a file: the first whose word is in the file's path"""


class Sentence(NamedTuple):
    section: str
    path: str
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


def _is_documentation(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id in DOCUMENTATION for target in node.targets)
    return isinstance(node, ast.Expr) and not isinstance(node.value, ast.Call)


def _of_python(node: ast.AST) -> Iterator[str]:
    if _is_documentation(node):
        return
    text = text_of(node)
    if text is not None:
        yield text
        return
    for child in ast.iter_child_nodes(node):
        yield from _of_python(child)


def _of_yaml(value: Any, key: str = "") -> Iterator[str]:
    """Texts of tasks and variables; of those that a template puts together, the quoted parts."""
    if isinstance(value, dict):
        for name, inside in value.items():
            yield from _of_yaml(inside, str(name))
    elif isinstance(value, list):
        for inside in value:
            yield from _of_yaml(inside, key)
    elif isinstance(value, str) and key not in ("name", "that", "when", "failed_when"):
        if value.startswith("{{"):
            yield from re.findall(r"'((?:[^'\\]|\\.)*)'", value)
        else:
            yield re.sub(r"\{\{.*?\}\}", FILLED, value, flags=re.DOTALL)


def _is_sentence(text: str) -> bool:
    words = [word for word in text.replace(FILLED, " ").split() if WORD.fullmatch(word)]
    return len(words) >= LEAST_WORDS and not NOT_FOR_USERS.search(text)


def section(path: str) -> str:
    return next(name for name, words in SECTIONS.items() if any(word in path for word in words))


@functools.cache
def collect() -> list[Sentence]:
    found: set[Sentence] = set()
    sources = [path for path in sorted((ROOT / "plugins").rglob("*.py")) if "doc_fragments" not in path.parts]
    tasks = [path for kind in ("tasks", "handlers") for path in sorted(ROOT.glob(f"roles/*/{kind}/*.yml"))]
    for path in [*sources, *tasks]:
        python = path.suffix == ".py"
        text = path.read_text(encoding="utf-8")
        texts = _of_python(ast.parse(text)) if python else _of_yaml(yaml.safe_load(text))
        name = str(path.relative_to(ROOT))
        found.update(Sentence(section(name), name, shown(one)) for one in texts if _is_sentence(one.strip()))
    return sorted(found)


def shown(text: str) -> str:
    """A sentence as the page has it: on one line, bounded."""
    return re.sub(rf"{FILLED}+", FILLED, " ".join(text.split())).replace("`", "'")


def listing(name: str) -> str:
    """The list of one section of the page."""
    texts = sorted(
        {one.text for one in collect() if one.section == name}, key=lambda text: (text.strip(f"{FILLED} :"), text)
    )
    return "".join(f"* ``{text}``\n" for text in texts)


def written(page: str) -> str:
    """The page with its lists as the source has them now."""
    for name in SECTIONS:
        begin = f".. sentences of {name}, from the source\n\n"
        before, mark, rest = page.partition(begin)
        assert mark, f"docs/messages.rst has no list for {name}"
        after = re.sub(r"\A(\* .*\n)*\n*", "", rest)
        page = f"{before}{begin}{listing(name)}\n{after}"
    return page


def main() -> int:
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
