# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenNebula's template grammar, as the core reads it (opennebula-drivers 5.5)."""

from __future__ import annotations

import re

Vector = dict[str, str]
Item = tuple[str, "str | Vector"]

_NAME = re.compile(r"[A-Za-z0-9_]+")
_BARE = re.compile(r"[^\s=#,\[\]\"]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\"|\\(?!"))*)"')
_SPACE = re.compile(r"(?:\s|#[^\n]*\n)*")
_BLANKS = re.compile(r"[ \t]*")


class GrammarError(ValueError):
    """Text the core's parser would refuse."""


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def sign(self, sign: str) -> bool:
        if self.text.startswith(sign, self.at):
            self.at += len(sign)
            return True
        return False

    def fail(self, wanted: str) -> GrammarError:
        seen = self.text[self.at : self.at + 30] or "the end"
        return GrammarError(f"{wanted} expected at character {self.at}, before {seen!r}")

    def name(self) -> str:
        found = self.take(_NAME)
        if not found:
            raise self.fail("a name")
        self.skip(_BLANKS)
        if not self.sign("="):
            raise self.fail("'='")
        self.skip(_BLANKS)
        return found.group().upper()

    def value(self) -> str:
        quoted = self.take(_QUOTED)
        if quoted:
            return quoted.group(1).replace('\\"', '"')
        bare = self.take(_BARE)
        return bare.group() if bare else ""

    def vector(self) -> Vector:
        """After '[': items separated by commas; a repeated name keeps the first."""
        vector: Vector = {}
        while True:
            self.skip(_SPACE)
            name = self.name()
            vector.setdefault(name, self.value())
            self.skip(_SPACE)
            if self.sign("]"):
                return vector
            if not self.sign(","):
                raise self.fail("',' or ']'")


def parse_template(text: str) -> list[Item]:
    """Every attribute in order; names in upper case.

    :raises GrammarError: where the core would refuse the text
    """
    scanner, items = _Scanner(text), []
    scanner.skip(_SPACE)
    while scanner.at < len(text):
        name = scanner.name()
        item: str | Vector = scanner.vector() if scanner.sign("[") else scanner.value()
        items.append((name, item))
        end = scanner.at
        scanner.skip(_SPACE)
        if scanner.at < len(text) and "\n" not in text[end : scanner.at]:
            raise scanner.fail("the end of the line")
    return items


def single(items: list[Item]) -> dict[str, str]:
    """The single attributes; the first of a name counts."""
    found: dict[str, str] = {}
    for name, value in items:
        if isinstance(value, str):
            found.setdefault(name, value)
    return found


def vectors(items: list[Item], name: str) -> list[Vector]:
    return [value for key, value in items if key == name and isinstance(value, dict)]
