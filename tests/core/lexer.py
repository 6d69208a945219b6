# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the core reads a configuration file, token by token (opennebula-drivers 5.5).

In each state the lexer takes the longest match, of two equal ones the first of the table. A byte that no row matches is
skipped, as flex does without a rule for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .grammar import GrammarError, Item, Vector

_ROWS = {
    "INITIAL": [
        ("", rb"[ \t]*#[^\n]*\n"),
        ("", rb"[ \t\n]+"),
        ("VARIABLE", rb"[A-Za-z0-9_]+"),
        ("EQUAL", rb"[ \t]*=[ \t]*"),
        ("EQUAL_EMPTY", rb"[ \t]*=[ \t]*\n"),
        ("COMMA", rb"[ \t\n]*,[ \t\n]*"),
        ("CBRACKET", rb"[ \t\n]*\][ \t\n]*"),
    ],
    "VALUE": [
        ("OBRACKET", rb"[ \t]*\[[ \t\n]*"),
        ("CCDATA", rb"[^\n]*\]\]>[^\n]*"),
        ("STRING", rb'"((?:\\"|[^"])*)"'),
        ("STRING", rb"[^=#\[\], \t\n]+"),
    ],
}
_TABLE = {state: [(kind, re.compile(row)) for kind, row in rows] for state, rows in _ROWS.items()}
_NEXT = {"EQUAL": "VALUE", "OBRACKET": "INITIAL", "CCDATA": "INITIAL", "STRING": "INITIAL"}


def tokens(content: bytes) -> Iterator[tuple[str, str]]:
    """The kind and the text of each token; that of a quoted value without its quotation marks."""
    at, state = 0, "INITIAL"
    while at < len(content):
        found = [(match.end(), kind, match) for kind, row in _TABLE[state] if (match := row.match(content, at))]
        at, kind, match = max(found, key=lambda row: row[0], default=(at + 1, "", None))
        if kind and match:
            state = _NEXT.get(kind, state)
            yield kind, (match[1] if match.lastindex else match[0]).decode("utf-8", "surrogateescape")


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.stream = iter([*tokens(content), ("END", "")])

    def take(self, *wanted: str) -> tuple[str, str]:
        kind, text = next(self.stream)
        if kind not in wanted:
            raise GrammarError(f"{' or '.join(wanted)} expected, not {kind} {text!r}")
        return kind, text.upper() if kind == "VARIABLE" else text.replace('\\"', '"')

    def vector(self) -> Vector:
        vector: Vector = {}
        kind, name = self.take("VARIABLE", "CBRACKET")
        while kind != "CBRACKET":
            self.take("EQUAL")
            vector.setdefault(name, self.take("STRING")[1])
            kind, _text = self.take("COMMA", "CBRACKET")
            if kind == "COMMA":
                _kind, name = self.take("VARIABLE")
        return vector


def read(content: bytes) -> list[Item]:
    """Every attribute in order, as a core of 5.4.10 or later has it (an empty vector is one); names in upper case.

    :raises GrammarError: the core would not start with this file
    """
    reader, items = _Reader(content), []
    kind, name = reader.take("VARIABLE", "END")
    while kind != "END":
        item: str | Vector = ""
        if reader.take("EQUAL", "EQUAL_EMPTY")[0] == "EQUAL":
            kind, item = reader.take("STRING", "OBRACKET")
            item = reader.vector() if kind == "OBRACKET" else item
        items.append((name, item))
        kind, name = reader.take("VARIABLE", "END")
    return items
