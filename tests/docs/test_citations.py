# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every citation of a reference, such as ``opennebula-drivers 7.9``, names a section that docs/reference has.

A section is what has a label there: a heading or a numbered point. A number without its document is no citation that a
reader could follow, so parentheses that hold nothing but section numbers are refused in comments, docstrings and
messages. A release whose number is that of a section is written with its name, such as "OpenNebula 7.4".
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

REFERENCE = ROOT / "docs" / "reference"
DOCUMENTS = ("elastichosts-api", "opennebula-drivers", "transfer-modes")
SECTIONS = {
    document: frozenset(
        re.findall(rf"^\.\. _{document}-([\d.]+):$", (REFERENCE / f"{document}.rst").read_text(), re.MULTILINE)
    )
    for document in DOCUMENTS
}
NUMBER = r"\d{1,2}(?:\.\d{1,2})?"
NUMBERS = rf"{NUMBER}(?:(?:,\s+|\s+and\s+|\s+to\s+|-){NUMBER})*"
# A line may end inside a citation, in a comment as well.
CITATION = re.compile(rf"({'|'.join(DOCUMENTS)})\s+(?:#\s+)?({NUMBERS})")
# A digit in parentheses right behind a word is a page of a manual, such as systemd.service(5), or code.
BARE = re.compile(rf"(?<![\w)])\((?:see )?({NUMBERS})\)")
SUFFIXES = {".py", ".rst", ".md", ".yml", ".yaml", ".j2", ".sh", ".conf", ""}
NOT_OURS = ("tests/core/transcripts/", "tests/samples/")


def sources() -> Iterator[Path]:
    """Yield every text file of ours that can cite: code, tests, roles and documentation."""
    yield from (ROOT / "README.md", ROOT / "CONTRIBUTING.md")
    for folder in ("plugins", "roles", "playbooks", "tests", "docs"):
        for path in sorted((ROOT / folder).rglob("*")):
            name = str(path.relative_to(ROOT))
            if path.is_file() and path.suffix in SUFFIXES and not name.startswith(NOT_OURS):
                yield path


def citations(text: str) -> Iterator[tuple[str, str]]:
    """Yield (document, section) of each citation in ``text``; a list of sections gives one pair for each."""
    for document, numbers in CITATION.findall(text):
        for number in re.findall(NUMBER, numbers):
            yield document, number


def texts(source: str) -> Iterator[tuple[int, str, bool]]:
    """Yield (line, text, whether it is a comment or docstring) of each comment and string of a Python file."""
    docstrings = {
        statement.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(body := getattr(node, "body", None), list)
        for statement in body
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    }
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        if kind in ("COMMENT", "STRING", "FSTRING_MIDDLE"):
            yield token.start[0], token.string, kind == "COMMENT" or token.start[0] in docstrings


def bare_citations(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, citation) of each citation in a Python file that does not name its document."""
    known = frozenset().union(*SECTIONS.values())
    if not BARE.search(source):
        return
    for line, text, prose in texts(source):
        for found in BARE.finditer(text):
            numbers = re.findall(NUMBER, found[1])
            # Digits alone are a citation only where prose has them: (0 to 1) is a range, (5, 10) a release.
            alone = all(len(number) == 1 and number != "0" for number in numbers)
            if known.issuperset(numbers) and (any("." in number for number in numbers) or (prose and alone)):
                yield line + text[: found.start()].count("\n"), found[0]


def test_every_citation_names_a_section_that_exists() -> None:
    found = {(path, *pair) for path in sources() for pair in citations(path.read_text(encoding="utf-8"))}
    missing = [
        f"{path.relative_to(ROOT)}: {document} has no section {number}"
        for path, document, number in sorted(found)
        if number not in SECTIONS[document]
    ]
    assert not missing, "\n".join(missing)
    assert {document for _path, document, _number in found} == set(DOCUMENTS)


@pytest.mark.parametrize(
    ("document", "numbers"),
    [
        ("opennebula-drivers", ("1.1", "2.8", "7.1", "7.22", "8.1", "8.20", "9.5", "10")),
        ("elastichosts-api", ("0", "2.6", "3", "4.10", "5.8", "7.1", "7.20", "9")),
        ("transfer-modes", ("0.1", "0.10", "1", "9")),
    ],
)
def test_the_references_have_all_their_sections(document: str, numbers: tuple[str, ...]) -> None:
    assert set(numbers) <= SECTIONS[document]


def test_a_list_of_sections_is_read_to_its_end_across_lines() -> None:
    text = "see opennebula-drivers 1.2-1.4, 8\n    and 9.1; elastichosts-api\n# 2.1"
    assert list(citations(text)) == [
        ("opennebula-drivers", "1.2"),
        ("opennebula-drivers", "1.4"),
        ("opennebula-drivers", "8"),
        ("opennebula-drivers", "9.1"),
        ("elastichosts-api", "2.1"),
    ]


def test_no_citation_leaves_its_document_out() -> None:
    missing = [
        f"{path.relative_to(ROOT)}:{line}: write the document, such as opennebula-drivers, into {bare}"
        for path in sources()
        if path.suffix == ".py"
        for line, bare in bare_citations(path.read_text(encoding="utf-8"))
    ]
    assert not missing, "\n".join(missing)


def test_releases_ranges_and_pages_of_manuals_are_no_citations() -> None:
    section, point = "2.7", "7.16"
    bad = f'# one ({section})\nX = "two ({section}, {point})"\n"""three (4)"""\n'
    assert list(bare_citations(bad)) == [(1, f"({section})"), (2, f"({section}, {point})"), (3, "(4)")]
    good = '# OpenNebula 7.4 (4.14 to 5.10), systemd.service(5), (0 to 1)\nX = "(5, 10) (2)"\nY = (2.7, 3.25)\n'
    assert not list(bare_citations(good))
