# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the grammar of oned.conf allows and refuses, and what an edit leaves alone (opennebula-drivers 5.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula import conf

GUIDE = """\
# drivers
IM_MAD = [ name = "im_kvm", executable = "one_im_ssh" ]   # the stock one

VM_MAD = [
    name       = "vmm_kvm",  # local
    executable = one_vmm_ssh,
    arguments  = "vmm_kvm/vmm_kvmrc",
    type       = "kvm" ]
"""

EH = {"executable": "one_vmm_eh", "type": "xml"}


def set_in(text: str, kind: str, name: str, wanted: Mapping[str, Optional[str]], **options: bool) -> str:
    return conf.set_section(conf.parse(text), kind, name, wanted, **options)


def removed(text: str, kind: str, name: str) -> str:
    return conf.remove_section(conf.parse(text), kind, name)


class TestReading:
    def test_single_attributes_vectors_and_empty_values_are_items_in_order(self) -> None:
        document = conf.parse(
            'PORT=2633\nDEBUG_LEVEL = "3"\nDB = [ backend = sqlite, q = "x" ]\nVM_DIR =\nNONE = [ ]\n'
        )
        assert [(i.name, i.value, i.mapping()) for i in document.items] == [
            ("PORT", "2633", {}),
            ("DEBUG_LEVEL", "3", {}),
            ("DB", None, {"BACKEND": "sqlite", "Q": "x"}),
            ("VM_DIR", "", {}),
            ("NONE", None, {}),
        ]

    def test_names_are_read_in_any_case_and_values_as_they_are(self) -> None:
        section = conf.parse(GUIDE).section("vm_mad", "vmm_kvm")
        assert section is not None
        assert section.get("Executable") == "one_vmm_ssh"

    def test_the_span_of_an_item_is_exactly_its_text(self) -> None:
        document = conf.parse(GUIDE)
        spans = [GUIDE[item.span.start : item.span.end] for item in document.items]
        assert spans[0] == 'IM_MAD = [ name = "im_kvm", executable = "one_im_ssh" ]'
        assert spans[1].startswith("VM_MAD = [\n") and spans[1].endswith('"kvm" ]')

    def test_quoted_values_run_over_lines_and_hold_every_sign(self) -> None:
        value = conf.parse('A = "x, [y] = # no comment\n  \\"z\\" \\n \'single\'"\nB=1\n').items[0].value
        assert value == "x, [y] = # no comment\n  \"z\" \\n 'single'"

    def test_comments_stand_between_the_items_of_a_vector_and_after_values(self) -> None:
        text = "V = [ # a\n # b, [\n A = 1 # c ]\n , # d\n B = 2 # e\n ] # f\n#g"
        assert conf.parse(text).items[0].mapping() == {"A": "1", "B": "2"}

    def test_commented_stock_blocks_are_comments(self) -> None:
        assert conf.parse('#TM_MAD = [\n#    name = "tm_dummy",\n#    executable = "one_tm" ]\n').items == ()

    def test_of_a_repeated_name_in_a_vector_the_first_counts(self) -> None:
        assert conf.parse("V = [ A = 1, a = 2 ]\n").items[0].mapping() == {"A": "1"}

    def test_carriage_returns_are_blanks_and_no_part_of_a_value(self) -> None:
        document = conf.parse("A = x\r\nB =\r\nC = [ D = y,\r\n E = z ]\r\n")
        assert [item.value for item in document.items] == ["x", "", None]
        assert document.items[2].mapping() == {"D": "y", "E": "z"}
        assert document.newline == "\r\n"

    def test_a_byte_order_mark_is_passed_over(self) -> None:
        assert conf.parse(conf.decode(b"\xef\xbb\xbfA=1\n")).items[0].name == "A"

    def test_bytes_that_are_no_utf8_survive(self) -> None:
        content = b'# caf\xe9\nA = "\xff"\n'
        assert conf.encode(conf.parse(conf.decode(content)).text) == content

    @pytest.mark.parametrize(
        "stray", ["\xa0", "\u2003", ";", " .", "<", "[", '"', "; # why\n", "\udcff", "\xe9", "\0", "\f"]
    )
    def test_signs_that_the_core_skips_between_items_are_skipped(self, stray: str) -> None:
        text = f"{stray}A {stray}= x {stray}\nV = [{stray}NAME = n {stray}, B = 1 {stray}] {stray}\n"
        assert [(i.name, i.value, i.mapping()) for i in conf.parse(text).items] == [
            ("A", "x", {}),
            ("V", None, {"NAME": "n", "B": "1"}),
        ]
        assert removed(set_in(text, "VM_MAD", "vmm_eh", EH), "VM_MAD", "vmm_eh") == text
        assert set_in(text, "V", "n", {"B": "2"}) == text.replace("B = 1", 'B = "2"')

    def test_a_sign_that_touches_a_closing_quotation_mark_makes_both_part_of_the_value(self) -> None:
        items = conf.parse('A = "x";\nB = "x y";\nC = x\\"y\n').items
        assert [item.value for item in items] == ['"x";', "x y", 'x"y']

    @pytest.mark.parametrize("text", ["", "\n", "# only a comment", "   \t\n"])
    def test_a_file_without_items_is_a_file(self, text: str) -> None:
        assert conf.parse(text).items == ()


class TestRefusing:
    @pytest.mark.parametrize(
        ("text", "line", "column", "words"),
        [
            ("A\n", 2, 1, "expected = after A, found the end of the file"),
            ("A = 1\nB 2\n", 2, 3, "expected = after B, found '2'"),
            ("= 3\n", 1, 1, "expected a name, found '='"),
            ("A = 1 ]\n", 1, 7, "expected a name, found ']'"),
            ("A = , \n", 1, 5, "expected a value for A, found ','"),
            ("A = # none\n", 1, 5, "A has no value before the comment"),
            ("A =\n [ B = 1 ]\n", 2, 2, "expected a name, found '['"),
            ("A = [ B = 1\nC = 2 ]\n", 2, 1, "expected , or ] in A, found 'C'"),
            ("A = [ B = 1, ]\n", 1, 14, "expected the name of an attribute of A, found ']'"),
            ("A = [ B = ]\n", 1, 11, "B of A has no value"),
            ("A = [ B =\n 1 ]\n", 1, 10, "B of A has no value: give one on this line"),
            ("A = [ B = 1\n", 1, 5, "the [ of A is never closed"),
            ('X = 1\nA = "abc\nB = 2\n', 2, 5, "the quotation mark that opens the value of A is never closed"),
            ('A = "b\\"\n', 1, 5, "the quotation mark that opens the value of A is never closed"),
            ('A = "b]]>c"\n', 1, 5, "the value of A contains ]]>"),
            ("A = b\0c\n", 1, 5, "the value of A contains a NUL character"),
            ('A = "b\0c"\n', 1, 5, "the value of A contains a NUL character"),
        ],
    )
    def test_an_error_names_line_column_and_reason(self, text: str, line: int, column: int, words: str) -> None:
        with pytest.raises(conf.ConfSyntaxError) as caught:
            conf.parse(text)
        assert (caught.value.line, caught.value.column) == (line, column)
        assert words in caught.value.sentence
        assert str(caught.value) == f"line {line}, column {column}: {caught.value.sentence}"

    def test_a_forgotten_quotation_mark_is_suspected_where_it_was_opened(self) -> None:
        with pytest.raises(conf.ConfSyntaxError, match=r"opened at line 2 .* closing quotation mark missing"):
            conf.parse('X = 1\nA = "abc\nB = "2"\n')

    @pytest.mark.parametrize(
        ("text", "column"), [('A = "C:\\"\n', 5), ('V = [ A = "C:\\", B = 2 ]\n', 11), ('A = "C:\\"\nB = "2"\n', 1)]
    )
    def test_a_backslash_before_a_closing_quotation_mark_is_named_with_its_line(self, text: str, column: int) -> None:
        with pytest.raises(
            conf.ConfSyntaxError, match="at line 1 a backslash makes a quotation mark part of"
        ) as caught:
            conf.parse(text)
        assert caught.value.column == column


class TestSetting:
    def test_a_missing_section_is_appended_after_an_empty_line_and_nothing_else_changes(self) -> None:
        assert set_in(GUIDE, "VM_MAD", "vmm_eh", EH) == GUIDE + (
            '\nVM_MAD = [\n    name       = "vmm_eh",\n    executable = "one_vmm_eh",\n    type       = "xml" ]\n'
        )

    def test_a_file_with_crlf_gets_crlf(self) -> None:
        text = set_in("A=1\r\n", "IM_MAD", "im_eh", {"EXECUTABLE": "one_im_eh"})
        assert text == 'A=1\r\n\r\nIM_MAD = [\r\n    NAME       = "im_eh",\r\n    EXECUTABLE = "one_im_eh" ]\r\n'

    def test_a_last_line_without_line_end_is_not_joined_and_a_comment_does_not_swallow_the_section(self) -> None:
        text = set_in("A=1\n# end", "IM_MAD", "im_eh", {"EXECUTABLE": "one_im_eh"})
        assert text.startswith("A=1\n# end\n\nIM_MAD = [") and not text.endswith("\n")
        assert conf.parse(text).section("IM_MAD", "im_eh") is not None

    def test_the_same_section_in_another_spelling_is_left_as_it_is(self) -> None:
        text = 'vm_mad=[TYPE=xml,Name=vmm_eh # ours\n, executable="one_vmm_eh"]\n'
        assert set_in(text, "VM_MAD", "vmm_eh", EH) == text

    def test_only_the_value_that_differs_is_replaced(self) -> None:
        text = set_in(GUIDE, "VM_MAD", "vmm_kvm", {"TYPE": "xml", "executable": "one_vmm_ssh"})
        assert text == GUIDE.replace('type       = "kvm"', 'type       = "xml"')

    def test_a_new_attribute_follows_the_layout_of_the_last_one(self) -> None:
        text = set_in(GUIDE, "VM_MAD", "vmm_kvm", {"KEEP_SNAPSHOTS": "no"})
        assert text == GUIDE.replace('"kvm" ]', '"kvm",\n    KEEP_SNAPSHOTS = "no" ]')

    def test_an_attribute_of_none_is_taken_out_with_its_comma(self) -> None:
        assert set_in("V=[A=1, NAME=n, B=2]\n", "V", "n", {"A": None}) == "V=[NAME=n, B=2]\n"
        assert set_in("V=[A=1, NAME=n, B=2]\n", "V", "n", {"B": None}) == "V=[A=1, NAME=n]\n"
        assert set_in("V=[NAME=n, A=1, B=2]\n", "V", "n", {"a": None, "B": "3"}) == 'V=[NAME=n, B="3"]\n'

    def test_attributes_that_are_not_named_stay_unless_the_section_is_exclusive(self) -> None:
        text = 'VM_MAD=[NAME=vmm_eh, ARGUMENTS="-t 30", TYPE=kvm]\n'
        assert set_in(text, "VM_MAD", "vmm_eh", {"TYPE": "xml"}) == text.replace("TYPE=kvm", 'TYPE="xml"')
        exclusive = set_in(text, "VM_MAD", "vmm_eh", {"TYPE": "xml"}, exclusive=True)
        assert exclusive == 'VM_MAD=[NAME=vmm_eh, TYPE="xml"]\n'

    def test_a_commented_block_of_that_name_is_not_touched(self) -> None:
        text = '#IM_MAD = [ name = "im_eh", executable = "old" ]\n'
        assert set_in(text, "IM_MAD", "im_eh", {"executable": "one_im_eh"}).startswith(text)

    def test_a_name_that_stands_twice_is_refused_with_its_lines(self) -> None:
        with pytest.raises(conf.ConfError, match=r'VM_MAD "vmm_eh" stands more than once, at lines 1 and 3'):
            set_in("VM_MAD=[NAME=vmm_eh]\n\nVM_MAD=[NAME=vmm_eh]\n", "VM_MAD", "vmm_eh", EH)

    def test_the_same_name_in_another_kind_is_another_section(self) -> None:
        text = set_in("IM_MAD=[NAME=eh]\n", "VM_MAD", "eh", EH)
        assert [item.name for item in conf.parse(text).items] == ["IM_MAD", "VM_MAD"]

    @pytest.mark.parametrize("value", ["", "a\\", 'a\\"b', "a]]>b", "a\0b"])
    def test_a_value_that_cannot_be_written_is_refused(self, value: str) -> None:
        with pytest.raises(conf.ConfError, match="ARGUMENTS of VM_MAD: the value"):
            set_in("", "VM_MAD", "vmm_eh", {"ARGUMENTS": value})

    @pytest.mark.parametrize(("kind", "key"), [("VM MAD", "TYPE"), ("VM_MAD", "TY-PE"), ("", "TYPE")])
    def test_a_name_outside_the_grammar_is_refused(self, kind: str, key: str) -> None:
        with pytest.raises(conf.ConfError, match="is not a name: use letters, digits and _"):
            set_in("", kind, "vmm_eh", {key: "x"})

    def test_an_attribute_given_twice_is_refused(self) -> None:
        with pytest.raises(conf.ConfError, match="given twice"):
            set_in("", "VM_MAD", "vmm_eh", {"TYPE": "xml", "type": "kvm"})


class TestRemoving:
    def test_a_section_set_apart_by_an_empty_line_goes_with_that_line(self) -> None:
        assert removed("A=1\n\nV=[NAME=n]\n\nB=1\n", "V", "n") == "A=1\n\nB=1\n"

    def test_lines_of_others_around_it_stay(self) -> None:
        assert removed("A=1\n# mine\n  V=[NAME=n]\nB=1\n", "V", "n") == "A=1\n# mine\nB=1\n"

    @pytest.mark.parametrize("text", ["", "\n", "A=1", "A=1\r", "A=1\r\n", "A=1\n\n", "# x", "A=\n  ", "\ufeff", GUIDE])
    def test_what_was_set_is_removed_without_a_trace_however_the_file_ends(self, text: str) -> None:
        both = set_in(set_in(text, "VM_MAD", "vmm_eh", EH), "IM_MAD", "im_eh", EH)
        assert removed(removed(both, "VM_MAD", "vmm_eh"), "IM_MAD", "im_eh") == text
        assert removed(removed(both, "IM_MAD", "im_eh"), "VM_MAD", "vmm_eh") == text

    def test_an_empty_line_that_sets_the_next_lines_apart_stays(self) -> None:
        assert removed("A=1\n\nV=[NAME=n]\nB=1\n", "V", "n") == "A=1\n\nB=1\n"

    def test_what_stands_on_its_line_stays(self) -> None:
        assert removed("A=1 V=[NAME=n] # why\nB=1\n", "V", "n") == "A=1  # why\nB=1\n"

    def test_a_section_that_is_not_there_changes_nothing(self) -> None:
        assert removed(GUIDE, "VM_MAD", "vmm_eh") == GUIDE

    def test_a_section_that_stands_twice_goes_twice(self) -> None:
        assert removed("V=[NAME=n]\nA=1\nV=[name=n]\n", "V", "n") == "A=1\n"
