# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reversible edits of OpenNebula's own sections and attributes in its configuration files.

``conf.set_section`` writes the sections of this collection. OpenNebula's own content is changed in three ways only:

* a word is added to the list of an option: ``ARGUMENTS = "-t 15 -d dummy,shared"`` -> ``-d dummy,shared,eh``;
* a stock section that is commented out is uncommented;
* a single attribute gets another value.

The last two put a comment line with ``MARK`` above the edited line. The comment holds the earlier content, so that the
reverse edit needs no other record, and reverses nothing but an edit of this module.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from . import conf
from .conf import ConfError, Document, Item, Span

MARK = "opennebula.elastichosts"
_SWITCHED_ON = f"# {MARK}: switched on"
_ADDED = f"# {MARK}: added"
_WAS = f"# {MARK}: was "
_LONGEST_BLOCK = 60
"""lines of a commented-out section at most"""

Words = Mapping[str, Mapping[str, Sequence[str]]]
"""attribute -> option -> words of the option's comma-separated list"""


@dataclass(frozen=True)
class Edit:
    """The desired state of one section or attribute of a file."""

    kind: str
    """name of the section (``VM_MAD``) or, with ``value``, of the single attribute"""
    name: Optional[str] = None
    """NAME of the section; None: the only section of its kind without NAME"""
    attributes: Mapping[str, Optional[str]] = field(default_factory=dict)
    """attributes of the section to set; None removes an attribute"""
    exclusive: bool = False
    """whether other attributes of the section are removed"""
    words: Words = field(default_factory=dict)
    """words to add to lists, or to remove from them"""
    stock: bool = False
    """whether the section is OpenNebula's own: an existing one is not changed"""
    value: Optional[str] = None
    """value of the single attribute ``kind``"""
    least: bool = False
    """whether a number larger than ``value`` is kept"""
    present: bool = True
    """false: reverse the edit"""

    @property
    def label(self) -> str:
        return self.kind.upper() + (f" {self.name}" if self.name else "")


def apply(text: str, edit: Edit) -> str:
    """Return the text of a configuration file after an edit.

    :raises ConfSyntaxError: the text is no configuration
    :raises ConfError: the edit cannot be made; ``str()`` is one sentence
    """
    document = conf.parse(text)
    if edit.value is not None:
        return _set_value(document, edit) if edit.present else _restore_value(document, edit)
    if edit.stock:
        return _switch_on(document, edit) if edit.present else _switch_off(document, edit)
    if edit.words:
        return _set_words(document, edit)
    if edit.name is None:
        raise ConfError(f"{edit.kind} without a name can only get words: give the name of the section")
    if edit.present:
        return conf.set_section(document, edit.kind, edit.name, edit.attributes, exclusive=edit.exclusive)
    return conf.remove_section(document, edit.kind, edit.name)


def shown(document: Document, edit: Edit) -> str:
    """Return the current text of the sections or attributes that an edit concerns, for a diff."""
    spans = [item.span for item in _subjects(document, edit)]
    lines = [document.text[span.start : span.end] for span in spans]
    return "".join(line + "\n" for line in lines)


def _subjects(document: Document, edit: Edit) -> Tuple[Item, ...]:
    if edit.value is not None:
        return tuple(item for item in document.items if item.name == edit.kind.upper() and not item.is_vector)
    if edit.name is not None:
        return document.named(edit.kind, edit.name)
    return tuple(item for item in document.sections(edit.kind) if item.get("NAME") is None)


def only(document: Document, edit: Edit) -> Optional[Item]:
    """Return the section that an edit concerns; None if there is none.

    :raises ConfError: there are several
    """
    if edit.name is not None:
        return document.section(edit.kind, edit.name)
    found = _subjects(document, edit)
    if len(found) > 1:
        lines = " and ".join(str(conf.position(document.text, item.span.start)[0]) for item in found)
        raise ConfError(f"{edit.kind.upper()} stands more than once, at lines {lines}: keep one of them")
    return found[0] if found else None


# --- words ------------------------------------------------------------------------------------------------------------


def _set_words(document: Document, edit: Edit) -> str:
    """Add words to the lists of options, or remove them.

    Missing options are not added: without them OpenNebula's drivers accept every word.
    """
    section = only(document, edit)
    if section is None:
        if edit.present:
            raise ConfError(f"there is no {edit.label} section, which every OpenNebula of this release has: restore it")
        return document.text
    changes: List[Tuple[Span, str]] = []
    for name, options in edit.words.items():
        attribute = section.attribute(name)
        if attribute is None:
            continue
        start, end = attribute.value_span
        raw = document.text[start:end]
        changes.append((attribute.value_span, _with_words(raw, options, edit.present)))
    text = document.text
    for span, new in sorted(changes, reverse=True):
        text = text[: span.start] + new + text[span.end :]
    return text


def _with_words(raw: str, options: Mapping[str, Sequence[str]], present: bool) -> str:
    """Return the raw value of an attribute with the words added to its options' lists, or removed from them."""
    for option, words in options.items():
        found = re.search(rf'(?:^"?|(?<=\s)){re.escape(option)}[ \t]+([^\s"\\]+)', raw)
        if not found:
            continue
        listed = found.group(1).split(",")
        if present:
            listed += [word for word in words if word not in listed]
        else:
            listed = [word for word in listed if word not in words]
        raw = raw[: found.start(1)] + ",".join(listed) + raw[found.end(1) :]
    return raw


# --- a stock section --------------------------------------------------------------------------------------------------


class _Line(NamedTuple):
    start: int
    text: str

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def _switch_on(document: Document, edit: Edit) -> str:
    name = _name_of(edit)
    if document.section(edit.kind, name) is not None:
        return document.text
    found = _commented(document, edit.kind, name)
    if found is None:
        wanted: Dict[str, Optional[str]] = {"NAME": name, **edit.attributes}
        return conf.appended(document, _ADDED + document.newline + conf.block(document.newline, edit.kind, wanted))
    uncommented = "".join(line.text[1:] for line in found)
    text = document.text
    return text[: found[0].start] + _SWITCHED_ON + document.newline + uncommented + text[found[-1].end :]


def _switch_off(document: Document, edit: Edit) -> str:
    name = _name_of(edit)
    section = document.section(edit.kind, name)
    if section is None:
        return document.text
    mark = _line_above(document.text, section.span.start)
    if mark.text.strip() == _ADDED:
        return conf.remove_section(conf.parse(_without(document.text, mark)), edit.kind, name)
    if mark.text.strip() != _SWITCHED_ON:
        return document.text
    end = document.text.find("\n", section.span.end)
    end = len(document.text) if end < 0 else end + 1
    commented = re.sub(r"^(?=.)", "#", document.text[mark.end : end], flags=re.MULTILINE | re.DOTALL)
    return document.text[: mark.start] + commented + document.text[end:]


def _name_of(edit: Edit) -> str:
    """:raises ConfError: the edit has no name"""
    if edit.name is None:
        raise ConfError(f"a stock section has a name: give that of the {edit.kind}")
    return edit.name


def _commented(document: Document, kind: str, name: str) -> Optional[List[_Line]]:
    """Return the lines of a commented-out section that parses once the leading ``#`` of each line is removed."""
    starts = [item.span.start for item in document.items]
    opening = re.compile(rf"^#[ \t]*{re.escape(kind)}[ \t]*=", re.IGNORECASE | re.MULTILINE)
    for match in opening.finditer(document.text):
        before = bisect_right(starts, match.start()) - 1
        if before >= 0 and document.items[before].span.end > match.start():
            continue  # inside a value of several lines
        found = _block_at(document.text, match.start(), kind, name)
        if found:
            return found
    return None


def _block_at(text: str, start: int, kind: str, name: str) -> Optional[List[_Line]]:
    """Return the lines of the commented-out section that begins at the offset ``start``; None if there is none."""
    lines: List[_Line] = []
    while len(lines) < _LONGEST_BLOCK and text.startswith("#", start):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end + 1
        lines.append(_Line(start, text[start:end]))
        start = end
        if "]" not in lines[-1].text:
            continue
        try:
            items = conf.parse("".join(line.text[1:] for line in lines)).items
        except ConfError:
            continue
        matches = len(items) == 1 and items[0].is_vector and items[0].get("NAME") == name
        return lines if matches and items[0].name == kind.upper() else None
    return None


# --- a single attribute -----------------------------------------------------------------------------------------------


def _set_value(document: Document, edit: Edit) -> str:
    """Set a single attribute; if it is repeated, the first, which is the one that the core uses."""
    value = _written(edit.value or "")
    text, newline = document.text, document.newline
    found = _subjects(document, edit)
    if not found:
        return conf.appended(document, f"{_ADDED}{newline}{edit.kind.upper()} = {value}")
    item = found[0]
    if item.value == edit.value or (edit.least and _number(item.value) >= _number(edit.value)):
        return text
    start, end = item.value_span
    line = text.rfind("\n", 0, item.span.start) + 1
    if "\n" in text[start:end] or any(other.span.start < line < other.span.end for other in document.items):
        raise ConfError(f"{item.name} shares its lines with another value: put it on a line of its own")
    marked = _line_above(text, item.span.start).text.startswith(_WAS)
    mark = "" if marked else f"{_WAS}{item.name} = {text[start:end]}".rstrip() + newline
    return text[:line] + mark + text[line:start] + value + text[end:]


def _number(text: Optional[str]) -> int:
    """Return a number of digits only; -1 for any other text."""
    return int(text) if text and re.fullmatch(r"[0-9]+", text) else -1


def _restore_value(document: Document, edit: Edit) -> str:
    """Reverse :func:`_set_value`, if the comment line above the attribute says that it was set."""
    text = document.text
    found = _subjects(document, edit)
    if not found:
        return text
    mark = _line_above(text, found[0].span.start)
    if mark.text.strip() == _ADDED:
        bare = conf.parse(_without(text, mark))
        return _cut(bare, _subjects(bare, edit)[0].span)
    was = re.fullmatch(rf"{re.escape(_WAS)}{found[0].name} =(?: (.*?))?\s*", mark.text)
    if not was:
        return text
    start, end = found[0].value_span
    return text[: mark.start] + text[mark.end : start] + (was.group(1) or "") + text[end:]


def _cut(document: Document, span: Span) -> str:
    cut = conf.cut_of(document.text, span, document.newline)
    return document.text[: cut.start] + document.text[cut.end :]


def _written(value: str) -> str:
    return value if re.fullmatch(r"[A-Za-z0-9_./:-]+", value) else conf.quote(value)


# --- lines ------------------------------------------------------------------------------------------------------------


def _line_above(text: str, offset: int) -> _Line:
    """Return the line above the line of ``offset``; empty if there is none."""
    end = text.rfind("\n", 0, offset) + 1
    if end == 0:
        return _Line(0, "")
    start = text.rfind("\n", 0, end - 1) + 1
    return _Line(start, text[start:end])


def _without(text: str, line: _Line) -> str:
    return text[: line.start] + text[line.end :]
