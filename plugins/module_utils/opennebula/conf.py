# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The grammar of oned.conf, monitord.conf and every other OpenNebula template (opennebula-drivers 5.5).

    file      = { NAME "=" ( value | vector | end of line ) }
    vector    = "[" [ NAME "=" value { "," NAME "=" value } ] "]"
    value     = a run without blanks and = # , [ ]   |   '"' anything, \\" for a quotation mark '"'
    comment   = "#" to the end of the line, wherever a NAME, a comma or a bracket may stand

Between these parts the core's lexer skips every character that begins none of them: a stray ``;``, a no-break space, an
opening bracket. So does ``parse``. Behind an ``=`` it refuses them: there the core takes the next word of the file for
the value, be it of a comment or of the next line.

``parse`` reads a text in linear time into items that know their place. The edits never print a file anew: they replace,
insert or cut the characters of one section and leave all others as they are.

What the edits promise:

* ``set_section`` twice is ``set_section`` once.
* A section that is missing is appended after one empty line, in the file's own line ends. A file without a last newline
  stays without one. ``remove_section`` is the exact inverse: afterwards the file is, byte for byte, what it was.
* A section that stands already, in whatever spelling, is edited in place: only the values that differ change, so
  comments and layout inside it survive.

Files are bytes; ``decode`` and ``encode`` turn any bytes into text and back without loss.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Iterator, List, Mapping, NamedTuple, NoReturn, Optional, Tuple

_GAP = re.compile(r"(?:[^A-Za-z0-9_=,\[\]#]+|#[^\n]*)*")
_BLANKS = re.compile(r"[ \t\r]*")
_NAME = re.compile(r"[A-Za-z0-9_]+")
_BARE = re.compile(r"[^=#,\[\] \t\r\n]+")
# A quotation mark behind a backslash never ends the value, so that nothing appended later can be drawn into it.
_QUOTED = re.compile(r'"([^"\\]*(?:\\(?:"|(?!"))[^"\\]*)*)"')
_QUOTE_BEHIND_BACKSLASH = re.compile(r'\\"[ \t\r]*(?:[,\]\n]|\Z)')
_LINE_END = re.compile(r"\r?\n")
_STOPS_THE_CORE = "]]>"


class ConfError(Exception):
    """An edit that cannot be made; the text says why and what to do."""


class ConfSyntaxError(ConfError):
    """The text is not in the grammar. ``line`` and ``column`` count from 1."""

    def __init__(self, line: int, column: int, sentence: str) -> None:
        super().__init__(f"line {line}, column {column}: {sentence}")
        self.line = line
        self.column = column
        self.sentence = sentence


class Span(NamedTuple):
    """A range of characters, the end not included."""

    start: int
    end: int


_NOWHERE = Span(0, 0)


@dataclass(frozen=True)
class Attribute:
    """One ``NAME = value`` of a vector; ``name`` in capitals, as the core keeps it."""

    name: str
    value: str
    span: Span
    value_span: Span


@dataclass(frozen=True)
class Item:
    """One item of the file: a single attribute (``value``) or a vector (``attributes``, ``value`` None)."""

    name: str
    value: Optional[str]
    attributes: Tuple[Attribute, ...]
    span: Span
    value_span: Span = _NOWHERE
    """where the value of a single attribute is written"""

    @property
    def is_vector(self) -> bool:
        return self.value is None

    def get(self, name: str) -> Optional[str]:
        """The value of a vector's attribute; of a repeated one the first, as the core reads it."""
        attribute = self.attribute(name)
        return attribute.value if attribute else None

    def attribute(self, name: str) -> Optional[Attribute]:
        wanted = name.upper()
        return next((attribute for attribute in self.attributes if attribute.name == wanted), None)

    def mapping(self) -> Dict[str, str]:
        """The vector as a dictionary, names in capitals."""
        result: Dict[str, str] = {}
        for attribute in self.attributes:
            result.setdefault(attribute.name, attribute.value)
        return result


@dataclass(frozen=True)
class Document:
    """A parsed text. ``items`` stand in the order of the file; ``text`` is the file itself."""

    text: str
    items: Tuple[Item, ...]

    def sections(self, kind: str) -> Tuple[Item, ...]:
        """All vectors of that name (``VM_MAD``, ``EH``), in any case."""
        wanted = kind.upper()
        return tuple(item for item in self.items if item.is_vector and item.name == wanted)

    def named(self, kind: str, name: str) -> Tuple[Item, ...]:
        """The vectors of that kind whose NAME is ``name``: none, one, or (an error of the file) several."""
        return tuple(item for item in self.sections(kind) if item.get("NAME") == name)

    def section(self, kind: str, name: str) -> Optional[Item]:
        """The one section of that name.

        Raises ConfError when there are two: the core does not start with them (opennebula-drivers 5.5), and nobody but
        the administrator knows which one is meant.
        """
        found = self.named(kind, name)
        if len(found) > 1:
            lines = " and ".join(str(position(self.text, item.span.start)[0]) for item in found)
            raise ConfError(
                f'{kind.upper()} "{name}" stands more than once, at lines {lines}: the core takes a driver name only'
                " once, so remove all but one of them"
            )
        return found[0] if found else None

    @property
    def newline(self) -> str:
        """The line end of the file: that of its first line."""
        first = _LINE_END.search(self.text)
        if first:
            return first.group()
        return "\r\n" if self.text.endswith("\r") else "\n"


def decode(content: bytes) -> str:
    """A file's bytes as text; bytes that are not UTF-8 come back unchanged from ``encode``."""
    return content.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def position(text: str, offset: int) -> Tuple[int, int]:
    """Line and column of a character, counted from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def parse(text: str) -> Document:
    """Read a text. Raises ConfSyntaxError with the place and one sentence."""
    return Document(text, tuple(_Parser(text).items()))


def set_section(
    document: Document,
    kind: str,
    name: str,
    attributes: Mapping[str, Optional[str]],
    *,
    exclusive: bool = False,
) -> str:
    """The text with that section in it, its attributes as given.

    A value of None takes the attribute out. Attributes that are not given stay as they are, unless ``exclusive``.
    Raises ConfError for a name or value that the grammar cannot hold, and when the section stands twice.
    """
    wanted = _wanted(kind, name, attributes)
    section = document.section(kind, name)
    if section is None:
        return appended(document, block(document.newline, kind, wanted))
    if exclusive:
        given = {key.upper() for key in wanted}
        wanted.update({key: None for key in section.mapping() if key not in given})
    return _edited(document.text, section, wanted, document.newline)


def remove_section(document: Document, kind: str, name: str) -> str:
    """The text without that section, and without the empty line that ``set_section`` put before it."""
    text = document.text
    for section in reversed(document.named(kind, name)):
        span = cut_of(text, section.span, document.newline)
        text = text[: span.start] + text[span.end :]
    return text


def quote(value: str) -> str:
    """A value in its written form.

    Raises ConfError for what no release reads back: an empty value (two quotation marks are the value itself before
    4.8), a backslash at the end or before a quotation mark, ``]]>`` (stops 4.8 and later), a NUL.
    """
    reason = ""
    if not value:
        reason = "is empty, which releases before 4.8 cannot read: leave the attribute out"
    elif value.endswith("\\") or '\\"' in value:
        reason = "has a backslash before a quotation mark, which cannot be written in a quoted value"
    elif _STOPS_THE_CORE in value or "\0" in value:
        reason = f"contains {_STOPS_THE_CORE} or a NUL character, on which the core stops"
    if reason:
        raise ConfError(f"the value {value!r} {reason}")
    return '"' + value.replace('"', '\\"') + '"'


class _Parser:
    """One walk over the text, from left to right, each character looked at a bounded number of times."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        # The last quoted value of several lines: when a sign is out of place behind it, its end is probably missing.
        self.long_value: Optional[Span] = None
        # The last [ that was skipped: when a ] is out of place behind it, the = of this vector is missing or too far.
        self.stray_bracket: Optional[int] = None

    def items(self) -> Iterator[Item]:
        self.gap()
        while self.at < len(self.text):
            yield self.item()
            self.gap()

    def item(self) -> Item:
        start = self.at
        name = self.name("a name")
        self.equals(name)
        sign, value_start = self.peek(), self.at
        if sign == "[":
            attributes = self.vector(name)
            return Item(name, None, attributes, Span(start, self.at))
        value = "" if sign in ("", "\n") else self.value(name)
        return Item(name, value, (), Span(start, self.at), Span(value_start, self.at))

    def vector(self, name: str) -> Tuple[Attribute, ...]:
        opened = self.at
        self.at += 1
        self.gap()
        if self.peek() == "]":
            self.at += 1
            return ()
        attributes: List[Attribute] = []
        while True:
            attributes.append(self.attribute(name))
            self.gap()
            sign = self.peek()
            if sign == "":
                self.fail(opened, f"the [ of {name} is never closed: add a ]")
            if sign not in ",]":
                self.fail(self.at, f"expected , or ] in {name}, found {self.found()}")
            self.at += 1
            if sign == "]":
                return tuple(attributes)
            self.gap()

    def attribute(self, vector: str) -> Attribute:
        start = self.at
        name = self.name(f"the name of an attribute of {vector}")
        self.equals(name)
        value_start = self.at
        if self.peek() in ("", "\n", ",", "]"):
            self.fail(self.at, f"{name} of {vector} has no value: give one on this line, or leave the attribute out")
        value = self.value(name)
        return Attribute(name, value, Span(start, self.at), Span(value_start, self.at))

    def name(self, what: str) -> str:
        match = _NAME.match(self.text, self.at)
        if not match:
            if self.peek() == "]" and self.stray_bracket is not None:
                self.fail(self.stray_bracket, f"expected {what}, found '[': put it on the line of its =")
            self.fail(self.at, f"expected {what}, found {self.found()}")
        self.at = match.end()
        return match.group().upper()

    def equals(self, name: str) -> None:
        self.gap()
        if self.peek() != "=":
            self.fail(self.at, f"expected = after {name}, found {self.found()}")
        self.at += 1
        # Line ends do not belong to this gap: a value stands on the line of its =.
        self.skip(_BLANKS)

    def value(self, name: str) -> str:
        start = self.at
        quoted = _QUOTED.match(self.text, start)
        bare = _BARE.match(self.text, start)
        if self.peek() == '"' and not quoted:
            hint = self.backslash_hint(Span(start, len(self.text)))
            self.fail(start, f"the quotation mark that opens the value of {name} is never closed{hint}")
        # The core's lexer takes the longer of the two: the value "x"; has its quotation marks in it.
        match = max((found for found in (quoted, bare) if found), key=re.Match.end, default=None)
        if not match:
            if self.peek() == "#":
                self.fail(start, f"{name} has no value before the comment: the core would take the comment for it")
            self.fail(start, f"expected a value for {name}, found {self.found()}")
        if _STOPS_THE_CORE in match.group():
            self.fail(start, f"the value of {name} contains {_STOPS_THE_CORE}, on which the core stops reading")
        if "\0" in match.group():
            self.fail(start, f"the value of {name} contains a NUL character")
        self.at = match.end()
        if "\n" in match.group():
            self.long_value = Span(start, self.at)
        return match.group(1 if match is quoted else 0).replace('\\"', '"')

    def gap(self) -> None:
        """Skip what the core's lexer skips between two parts of an item: blanks, comments, and every stray sign."""
        self.skip(_GAP)
        while self.peek() == "[":
            self.stray_bracket = self.at
            self.at += 1
            self.skip(_GAP)

    def skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        if match:
            self.at = match.end()

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def found(self) -> str:
        sign = self.peek()
        return {"": "the end of the file", "\n": "the end of the line"}.get(sign, repr(sign))

    def backslash_hint(self, span: Span) -> str:
        """What to say of a backslash that probably keeps a quotation mark from closing a value; empty without one."""
        found = _QUOTE_BEHIND_BACKSLASH.search(self.text, *span)
        if not found:
            return ""
        line = position(self.text, found.start())[0]
        return f": at line {line} a backslash makes a quotation mark part of the value, take the backslash away"

    def fail(self, offset: int, sentence: str) -> NoReturn:
        if self.long_value is not None:
            hint = self.backslash_hint(self.long_value) or ": is its closing quotation mark missing?"
            line = position(self.text, self.long_value.start)[0]
            sentence += f" (a value opened at line {line} runs over several lines{hint})"
        raise ConfSyntaxError(*position(self.text, offset), sentence)


def _wanted(kind: str, name: str, attributes: Mapping[str, Optional[str]]) -> Dict[str, Optional[str]]:
    """NAME first, then the attributes as given, each checked."""
    in_small_letters = bool(attributes) and all(key == key.lower() for key in attributes)
    wanted: Dict[str, Optional[str]] = {"name" if in_small_letters else "NAME": name}
    seen = {"NAME"}
    for key, value in attributes.items():
        if key.upper() in seen:
            raise ConfError(f"the attribute {key} of {kind} {name!r} is given twice (NAME is the section's own name)")
        seen.add(key.upper())
        wanted[key] = value
    for word in (kind, *wanted):
        if not _NAME.fullmatch(word):
            raise ConfError(f"{word!r} is not a name: use letters, digits and _")
    for key, value in wanted.items():
        try:
            quote(value if value is not None else "-")
        except ConfError as problem:
            raise ConfError(f"{key} of {kind}: {problem}") from None
    return wanted


def block(newline: str, kind: str, wanted: Mapping[str, Optional[str]]) -> str:
    """A section as it is written into a file that has none; without a line end."""
    width = max(len(key) for key in wanted)
    lines = [f"    {key:{width}} = {quote(value)}" for key, value in wanted.items() if value is not None]
    return f"{kind.upper()} = [{newline}" + f",{newline}".join(lines) + " ]"


def appended(document: Document, block: str) -> str:
    """The text with ``block`` behind it, set apart by an empty line."""
    text, newline = document.text, document.newline
    if not text:
        return block + newline
    if text.endswith("\n"):
        return text + newline + block + newline
    return text + newline + newline + block


def _edited(text: str, section: Item, wanted: Mapping[str, Optional[str]], newline: str) -> str:
    """Change values in place, cut what is not wanted, add what is missing behind the last attribute."""
    kept = [
        attribute
        for attribute in section.attributes
        if not any(key.upper() == attribute.name and value is None for key, value in wanted.items())
    ]
    changes: List[Tuple[Span, str]] = [(cut, "") for cut in _cuts(section.attributes, kept)]
    added = ""
    for key, value in wanted.items():
        attribute = section.attribute(key)
        if value is None:
            continue
        if attribute is None:
            added += "," + _gap_before_last(text, section, newline) + f"{key} = {quote(value)}"
        elif attribute.value != value:
            changes.append((attribute.value_span, quote(value)))
    if added:
        end = kept[-1].span.end
        changes.append((Span(end, end), added))
    for span, new in sorted(changes, reverse=True):
        text = text[: span.start] + new + text[span.end :]
    return text


def _cuts(attributes: Tuple[Attribute, ...], kept: List[Attribute]) -> Iterator[Span]:
    """What to cut so that only ``kept`` and the commas between them are left."""
    last_kept: Optional[Attribute] = None
    for index, attribute in enumerate(attributes):
        if attribute in kept:
            last_kept = attribute
        elif last_kept is not None:
            yield Span(attributes[index - 1].span.end, attribute.span.end)
        else:
            yield Span(attribute.span.start, attributes[index + 1].span.start)


def _gap_before_last(text: str, section: Item, newline: str) -> str:
    """The layout between the last comma and the last attribute, for one more attribute like it."""
    if len(section.attributes) == 1:
        return " "
    before, last = section.attributes[-2:]
    gap = text[before.span.end : last.span.start]
    blanks = gap[len(gap.rstrip(" \t\r\n")) :]
    return blanks if "\n" not in blanks else newline + blanks.rpartition("\n")[2]


def cut_of(text: str, span: Span, newline: str) -> Span:
    """What to cut with a section: its lines if they are all its own, and the empty line that set it apart."""
    start = len(text[: span.start].rstrip(" \t\r"))
    blanks = _BLANKS.match(text, span.end)
    end = blanks.end() if blanks else span.end
    own_lines = (start == 0 or text[start - 1] == "\n") and (end == len(text) or text[end] == "\n")
    if not own_lines:
        return span
    if end == len(text):
        start -= len(newline) if text.endswith(newline, 0, start) else 0
        return Span(start - len(newline) if text.endswith(newline, 0, start) else start, end)
    end += 1
    before = text[:start]
    above = before[: -len(newline)] if before.endswith(newline) else None
    apart = above is not None and (not above or above.endswith("\n"))
    follows = end == len(text) or text.startswith(newline, end)
    return Span(start - len(newline) if follows and apart else start, end)
