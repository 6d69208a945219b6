# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every citation of a reference, such as ``opennebula-drivers 7.9``, names a section that docs/reference has.

A section is what has a label there: a heading or a numbered point.
"""

from __future__ import annotations

import re
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
