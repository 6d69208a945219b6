# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Properties of the oned.conf editor that hold for any text of the grammar (opennebula-drivers 5.5)."""

from __future__ import annotations

import string
from typing import NamedTuple, Optional

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula import conf
from tests.core.grammar import GrammarError
from tests.core.lexer import read as read_as_core

WORDS = string.ascii_letters + string.digits + "_"
OURS = ("VM_MAD", "vmm_eh", {"EXECUTABLE": "one_vmm_eh", "TYPE": "xml"})
ALSO_OURS = ("IM_MAD", "im_eh", {"executable": "one_im_eh"})

names = st.text(WORDS, min_size=1, max_size=8) | st.sampled_from(["VM_MAD", "im_mad", "NAME", "Executable"])
blanks = st.text(" \t", max_size=3)
comments = st.text(st.characters(blacklist_characters="\n", blacklist_categories=["Cs"]), max_size=12).map("#{}".format)


@st.composite
def gaps(draw: st.DrawFn) -> str:
    """Blanks, line ends and comments; a comment ends with its line."""
    pieces = draw(st.lists(blanks | st.sampled_from(["\n", "\r\n"]) | comments.map("{}\n".format), max_size=3))
    return "".join(pieces)


class Spelled(NamedTuple):
    """A piece of text and what it means."""

    text: str
    meaning: str


def no_stop(value: str) -> bool:
    return "]]>" not in value


bare_first = st.characters(blacklist_characters='=#,[]" \t\r\n\0', blacklist_categories=["Cs"])
bare_rest = st.text(st.characters(blacklist_characters="=#,[] \t\r\n\0", blacklist_categories=["Cs"]), max_size=8)
bares = st.builds(lambda first, rest: Spelled(first + rest, first + rest), bare_first, bare_rest)
# A backslash may stand anywhere but before a quotation mark, where it would make that one literal.
quoted_parts = st.text(st.characters(blacklist_characters='\\"\0', blacklist_categories=["Cs"]), max_size=6)
quoteds = (
    st.lists(quoted_parts | st.sampled_from(['"', "\\n", "\\a"]), max_size=4)
    .map("".join)
    .filter(no_stop)
    .map(lambda value: Spelled('"' + value.replace('"', '\\"') + '"', value))
)
values = bares | quoteds


@st.composite
def attributes(draw: st.DrawFn) -> tuple[str, str, str]:
    """(text, NAME, value) of one NAME = value."""
    name, before, value = draw(names), draw(gaps()), draw(values)
    return f"{name}{before}={draw(blanks)}{value.text}", name.upper(), value.meaning


@st.composite
def vectors(draw: st.DrawFn) -> tuple[str, str, dict[str, str]]:
    name = draw(names)
    pairs = draw(st.lists(attributes(), max_size=4))
    meaning: dict[str, str] = {}
    for _text, key, value in pairs:
        meaning.setdefault(key, value)
    inside = ",".join(f"{draw(gaps())}{text}{draw(gaps())}" for text, _key, _value in pairs) or draw(gaps())
    return f"{name}{draw(gaps())}={draw(blanks)}[{inside}]", name.upper(), meaning


class File(NamedTuple):
    text: str
    meaning: list[tuple[str, object]]


@st.composite
def files(draw: st.DrawFn) -> File:
    """Any text of the grammar, with what it means; with or without a last line end."""
    text = draw(st.sampled_from(["", "\ufeff"])) + draw(gaps())
    meaning: list[tuple[str, object]] = []
    for item in draw(st.lists(attributes() | vectors() | names, max_size=6)):
        if isinstance(item, str):  # NAME = and nothing
            text += f"{item}={draw(blanks)}\n"
            meaning.append((item.upper(), ""))
        else:
            text += item[0] + draw(st.sampled_from([" ", "\n", "\r\n", "\t# why\n"])) + draw(gaps())
            meaning.append((item[1], item[2]))
    text += draw(st.just("") | comments | st.just("\r"))
    if draw(st.booleans()) and not meaning:
        text = text.rstrip("\r\n")
    return File(text, meaning)


def meaning_of(text: str) -> list[tuple[str, object]]:
    return [(item.name, item.mapping() if item.is_vector else item.value) for item in conf.parse(text).items]


def set_section(text: str, kind: str, name: str, wanted: dict[str, str]) -> str:
    return conf.set_section(conf.parse(text), kind, name, dict(wanted))


def remove_section(text: str, kind: str, name: str) -> str:
    return conf.remove_section(conf.parse(text), kind, name)


def stands(text: str, kind: str, name: str) -> bool:
    return bool(conf.parse(text).named(kind, name))


@given(files())
def test_any_text_of_the_grammar_is_read_as_it_was_meant(file: File) -> None:
    assert meaning_of(file.text) == file.meaning


@given(files())
def test_spans_hold_the_items_in_order_and_only_gaps_between_them(file: File) -> None:
    end = 0
    for item in conf.parse(file.text).items:
        assert item.span.start >= end
        assert conf.parse(file.text[end : item.span.start] + "\n").items == ()
        end = item.span.end


@given(files())
def test_setting_a_section_adds_that_section_and_keeps_all_other_characters(file: File) -> None:
    text = set_section(file.text, *OURS)
    assert text.startswith(file.text)
    assert meaning_of(text) == [*file.meaning, ("VM_MAD", {"NAME": "vmm_eh", **OURS[2]})]


@given(files())
def test_setting_twice_is_setting_once(file: File) -> None:
    once = set_section(file.text, *OURS)
    assert set_section(once, *OURS) == once


@given(files(), st.permutations([OURS, ALSO_OURS]))
def test_removing_what_was_set_gives_the_file_back_in_whatever_order(
    file: File, order: list[tuple[str, str, dict[str, str]]]
) -> None:
    text = set_section(set_section(file.text, *OURS), *ALSO_OURS)
    for kind, name, _wanted in order:
        text = remove_section(text, kind, name)
    assert text == file.text


@given(files(), names, st.dictionaries(names.map(str.upper), st.none() | st.sampled_from(["x", 'a "b" c']), max_size=4))
def test_editing_a_section_that_stands_changes_its_meaning_and_nothing_else(
    file: File, key: str, changes: dict[str, Optional[str]]
) -> None:
    changes.pop("NAME", None)
    document = conf.parse(
        f"{file.text}\nA_SECTION_OF_THE_TEST = [ {key}_1 = a, # c\n NAME = n, TYPE = kvm ] ZZ_Z = 1\n"
    )
    text = conf.set_section(document, "A_SECTION_OF_THE_TEST", "n", changes)
    before, after = meaning_of(document.text), meaning_of(text)
    assert [item for item in after if item[0] != "A_SECTION_OF_THE_TEST"] == [
        item for item in before if item[0] != "A_SECTION_OF_THE_TEST"
    ]
    expected = {f"{key.upper()}_1": "a", "NAME": "n", "TYPE": "kvm"}
    expected.update({name: value for name, value in changes.items() if value is not None})
    for name in [name for name, value in changes.items() if value is None]:
        expected.pop(name, None)
    assert conf.parse(text).sections("A_SECTION_OF_THE_TEST")[0].mapping() == expected
    assert conf.set_section(conf.parse(text), "A_SECTION_OF_THE_TEST", "n", changes) == text


@given(files())
def test_removing_any_section_leaves_all_others_as_they_were(file: File) -> None:
    for item in conf.parse(file.text).items:
        name = item.get("NAME") if item.is_vector else None
        if name is not None:
            rest = meaning_of(remove_section(file.text, item.name, name))
            assert rest == [
                (kind, value)
                for kind, value in file.meaning
                if not (kind == item.name and isinstance(value, dict) and value.get("NAME") == name)
            ]


@given(st.text(max_size=60) | st.text('AB=[]", #\n\\\r', max_size=40))
def test_any_text_at_all_is_read_or_refused_with_a_place_inside_it(text: str) -> None:
    try:
        conf.parse(text)
    except conf.ConfSyntaxError as error:
        assert 1 <= error.line <= text.count("\n") + 1
        assert 1 <= error.column <= len(text.split("\n")[error.line - 1]) + 1


REFUSED_ON_PURPOSE = ("expected a value for", "before the comment", "has no value", "is never closed")
"""a core reads these, but not as they were meant, or it would draw into a value what is appended to the file"""


@given(st.text('AB=[]", #;.<\n\0\\\xa0\ufeff\xe9\udcff', max_size=40).map("{}\n".format))
def test_any_text_is_read_as_the_core_reads_it(text: str) -> None:
    try:
        expected = read_as_core(conf.encode(text))
    except GrammarError:
        expected = None
    try:
        assert meaning_of(text) == expected
    except conf.ConfSyntaxError as error:
        deliberate = any(words in error.sentence for words in REFUSED_ON_PURPOSE) or "NUL" in error.sentence
        assert expected is None or deliberate or text.count('"') % 2 or '\\"' in text


@given(st.binary(max_size=60))
def test_any_bytes_come_back_from_decoding(content: bytes) -> None:
    assert conf.encode(conf.decode(content)) == content
