# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The blocks of README and guides, and the mark that says of each what the tests do with it.

A mark is a comment right before its block, so a reader of the page never sees it: ``<!-- run -->`` in Markdown,
``.. run`` in reStructuredText. One more, ``world``, stands once in a page and says what its commands find.

=================  ====================================================================================================
world: PARTS       what the page's scratch folder has (see ``world.py``); without it an empty folder and an endpoint
run                shell commands, each of which must succeed; exports and folders last until the end of the page
run, fails         the same, but the last command must fail
start              a command that goes on in the background; it has started when it prints its first line
prints             lines that the commands before have printed, in this order; ``...`` stands for anything
file: NAME         the text of a file that the reader is told to write; the tests write it
in: NAME           lines that stand in a file of the scratch folder, one under the other; ``...`` stands for anything
edits: REL NAME    how the role changes the stock configuration file NAME of a release (other lines: context)
asked              how the role called the programs of OpenNebula since the page began; ``...`` stands for anything
deploy             a VM template: written to a file and deployed by the real driver until the VM is RUNNING
on the server      keys and values that the server of the last ``deploy`` has in the cloud
demo               the table that the demo prints, but for its times
not run: REASON    a block that cannot run, and why
=================  ====================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
ALONE = ("run", "run, fails", "start", "prints", "deploy", "on the server", "asked", "demo")
WITH_WORDS = ("file", "in", "edits", "not run")
_MARKDOWN_MARK = re.compile(r"<!-- (.+) -->")
_RST_MARK = re.compile(r"\.\. ([a-z][a-z ,]*(?:: .+)?)")
_RST_BLOCK = re.compile(r"(\s*)(?:\.\. (?:code-block|code|parsed-literal|literalinclude)::.*|(?!\.\. ).*::)")


class Block(NamedTuple):
    """A block of a page, or its ``world``, which has no text."""

    path: Path
    line: int
    mark: str
    """``run``, ``file`` ...; empty where there is none"""
    words: str
    """what follows the colon"""
    text: str

    @property
    def place(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """README, CONTRIBUTING, the README of each role, and the guides; docs/reference shows formats, no commands."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("roles/*/README.md"), *ROOT.glob("docs/*.rst")]
    return sorted(found)


def blocks(path: Path) -> list[Block]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return list(_markdown(path, lines) if path.suffix == ".md" else _rst(path, lines))


def _split(mark: str) -> tuple[str, str]:
    name, _colon, words = mark.partition(":")
    return name.strip(), words.strip()


def _markdown(path: Path, lines: list[str]) -> Iterator[Block]:
    number, mark = 0, ""
    while number < len(lines):
        line = lines[number]
        found = _MARKDOWN_MARK.fullmatch(line.strip())
        fence = re.match(r"(\s*)(`{3,})", line)
        if fence:
            end = [line.strip() for line in lines].index(fence[2], number + 1)
            indent = len(fence[1])
            text = "".join(f"{inside[indent:]}\n" for inside in lines[number + 1 : end])
            yield Block(path, number + 1, *_split(mark), text)
            number, mark = end, ""
        elif found and _split(found[1])[0] == "world":
            yield Block(path, number + 1, *_split(found[1]), "")
        elif line.strip():
            mark = found[1] if found else ""
        number += 1


def _rst(path: Path, lines: list[str]) -> Iterator[Block]:
    number, mark = 0, ""
    while number < len(lines):
        line = lines[number]
        found = _RST_MARK.fullmatch(line.strip())
        begins = _RST_BLOCK.fullmatch(line)
        if begins and not found:
            last = _end_of_literal(lines, number, len(begins[1]))
            inside = lines[number + 1 : last]
            while inside and (not inside[0].strip() or re.match(r"\s+:[\w-]+:", inside[0])):
                inside = inside[1:]
            indent = min((len(row) - len(row.lstrip()) for row in inside if row.strip()), default=0)
            yield Block(
                path, number + 1, *_split(mark), "".join(f"{row[indent:]}\n" for row in inside).strip("\n") + "\n"
            )
            number, mark = last - 1, ""
        elif found and _split(found[1])[0] == "world":
            yield Block(path, number + 1, *_split(found[1]), "")
        elif line.strip():
            mark = found[1] if found else ""
        number += 1


def _end_of_literal(lines: list[str], begin: int, indent: int) -> int:
    """The first line after ``begin`` that is no more indented than it."""
    for number in range(begin + 1, len(lines)):
        row = lines[number]
        if row.strip() and len(row) - len(row.lstrip()) <= indent:
            return number
    return len(lines)


def complaint(block: Block) -> str:
    """What is wrong with the mark of a block; empty where it is right."""
    if block.mark == "world" or (block.mark in ALONE and not block.words):
        return ""
    if block.mark == "not run" and len(block.words.split()) < 3:
        return f"{block.place}: say why the block is not run."
    if block.mark in WITH_WORDS and block.words:
        return ""
    known = ", ".join((*ALONE, *(f"{mark}: ..." for mark in WITH_WORDS)))
    return f"{block.place}: the block has {block.mark or 'no mark'!r} before it where one of these belongs: {known}."
