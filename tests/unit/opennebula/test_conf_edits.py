# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits of what is OpenNebula's own in its configuration: one place each, and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula import conf
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.conf_edits import Edit, apply
from tests.unit.opennebula.test_conf_properties import File, blanks, files

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
TM = Edit("TM_MAD", words={"ARGUMENTS": {"-d": ["eh"]}})
DATASTORE = Edit("DATASTORE_MAD", words={"ARGUMENTS": {"-s": ["eh"], "-d": ["eh"]}})
DUMMY = Edit("TM_MAD", "tm_dummy", {"executable": "one_tm", "arguments": "tm_dummy/tm_dummy.conf"}, stock=True)
tails = files().map(lambda file: File(file.text.lstrip("\ufeff"), file.meaning))
LIMIT = Edit("MAX_HOST", value="30")


def gone(edit: Edit) -> Edit:
    return Edit(**{**edit.__dict__, "present": False})


def there_and_back(text: str, edit: Edit) -> str:
    """The edited text, after it has been seen that a second run changes nothing and the inverse gives `text` back."""
    edited = apply(text, edit)
    conf.parse(edited)
    assert apply(edited, edit) == edited
    assert apply(edited, gone(edit)) == text
    assert apply(text, gone(edit)) == text
    return edited


LINE_ENDS = pytest.mark.parametrize(
    "spelled",
    [
        pytest.param(lambda text: text, id="as it is"),
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(lambda text: text.rstrip("\n"), id="no last newline"),
    ],
)


class TestWords:
    def test_a_word_joins_the_list_behind_its_option(self) -> None:
        text = 'TM_MAD = [ EXECUTABLE = "one_tm", ARGUMENTS = "-t 15 -d dummy,ssh" ] # here\n'
        assert there_and_back(text, TM) == text.replace("dummy,ssh", "dummy,ssh,eh")

    def test_several_options_of_one_attribute(self) -> None:
        text = 'DATASTORE_MAD=[ARGUMENTS="-t 15 -d fs -s shared,ssh"]\n'
        assert there_and_back(text, DATASTORE) == 'DATASTORE_MAD=[ARGUMENTS="-t 15 -d fs,eh -s shared,ssh,eh"]\n'

    @pytest.mark.parametrize("arguments", ["-t 15", "-t 15 -dx dummy", "--d dummy", "x-d dummy"])
    def test_an_option_that_is_not_there_stays_away(self, arguments: str) -> None:
        text = f'TM_MAD = [ ARGUMENTS = "{arguments}" ]\n'
        assert there_and_back(text, TM) == text

    def test_a_word_that_is_there_is_not_added_again(self) -> None:
        text = 'TM_MAD = [ ARGUMENTS = "-d eh,ssh" ]\n'
        assert apply(text, TM) == text

    def test_other_values_with_escaped_quotation_marks_stay(self) -> None:
        text = 'TM_MAD = [ A = "say \\"-d x\\"", ARGUMENTS = "-d ssh -p \\"q\\"" ]\n'
        assert there_and_back(text, TM) == text.replace("-d ssh", "-d ssh,eh")

    def test_a_section_that_every_release_has_and_this_file_has_not(self) -> None:
        with pytest.raises(conf.ConfError, match="there is no TM_MAD section"):
            apply("PORT = 1\n", TM)

    def test_two_of_them(self) -> None:
        with pytest.raises(conf.ConfError, match="TM_MAD stands more than once, at lines 1 and 2"):
            apply("TM_MAD=[A=1]\nTM_MAD=[A=1]\n", TM)


class TestStockSections:
    @LINE_ENDS
    def test_the_commented_block_of_2_0_is_switched_on_and_off_again(self, spelled: object) -> None:
        text = spelled((SAMPLES / "2.0/oned.conf").read_text())  # type: ignore[operator]
        edited = there_and_back(text, DUMMY)
        section = conf.parse(edited).section("TM_MAD", "tm_dummy")
        assert section is not None
        assert section.mapping() == {"NAME": "tm_dummy", "EXECUTABLE": "one_tm", "ARGUMENTS": "tm_dummy/tm_dummy.conf"}
        assert len(edited) == len(text) - 4 + len("# opennebula.elastichosts: switched on") + len(
            conf.parse(text).newline
        )

    @LINE_ENDS
    def test_without_such_a_block_the_section_is_appended_and_taken_out_again(self, spelled: object) -> None:
        text = spelled("PORT = 2633\n# the end\n")  # type: ignore[operator]
        edited = there_and_back(text, DUMMY)
        assert edited.startswith(text)
        assert conf.parse(edited).section("TM_MAD", "tm_dummy") is not None

    def test_a_section_that_the_administrator_switched_on_is_nobody_elses(self) -> None:
        text = 'TM_MAD = [ name = "tm_dummy", executable = "mine" ]\n#TM_MAD = [ name = "tm_dummy" ]\n'
        assert there_and_back(text, DUMMY) == text

    @pytest.mark.parametrize(
        "block",
        [
            '#TM_MAD = [ name = "tm_dummy"\n',
            '#TM_MAD = [ name = "tm_ssh" ]\n',
            '# a TM_MAD = [ name = "tm_dummy" ]\n',
            '#TM_MAD = [ name = "tm_dummy",\n executable = "one_tm" ]\n',
            '#TM_MAD = [ name = "tm_dummy" ] PORT = 1\n',
            'A = "\n#TM_MAD = [ name = tm_dummy ]\n"\n',
        ],
    )
    def test_what_only_looks_like_that_block_is_left_alone(self, block: str) -> None:
        if "\n executable" in block:
            with pytest.raises(conf.ConfSyntaxError):
                apply(block, DUMMY)
            return
        assert there_and_back(block, DUMMY).startswith(block)

    def test_attributes_added_by_hand_meanwhile_are_kept_in_the_comment(self) -> None:
        edited = apply('#TM_MAD = [ name = "tm_dummy",\n#  executable = "one_tm" ]\n', DUMMY)
        by_hand = edited.replace('"one_tm"', '"one_tm", owner = "me"')
        assert apply(by_hand, gone(DUMMY)) == (
            '#TM_MAD = [ name = "tm_dummy",\n#  executable = "one_tm", owner = "me" ]\n'
        )

    @given(before=files(), behind=tails, indent=blanks)
    def test_in_any_file_the_inverse_gives_it_back(self, before: File, behind: File, indent: str) -> None:
        block = f'#{indent}TM_MAD=[ name = "tm_dummy" ,\n#{indent}# so\n#\texecutable=one_tm ]\n'
        text = f"{before.text}\n{block}{behind.text}"
        edited = there_and_back(text, DUMMY)
        assert conf.parse(edited).section("TM_MAD", "tm_dummy") is not None


class TestSingleAttributes:
    @LINE_ENDS
    @pytest.mark.parametrize("line", ["MAX_HOST     = 1 # per cycle", "max_host=1", 'MAX_HOST = "1"', "MAX_HOST ="])
    def test_the_value_is_changed_and_the_old_one_remembered_above(self, line: str, spelled: object) -> None:
        text = spelled(f"A = 1\n{line}\nB = 2\n")  # type: ignore[operator]
        edited = there_and_back(text, LIMIT)
        assert [item.value for item in conf.parse(edited).items] == ["1", "30", "2"]

    @LINE_ENDS
    def test_a_missing_one_is_appended(self, spelled: object) -> None:
        text = spelled("A = 1\n")  # type: ignore[operator]
        assert [item.value for item in conf.parse(there_and_back(text, LIMIT)).items] == ["1", "30"]

    def test_a_second_change_keeps_the_first_old_value(self) -> None:
        twice = apply(apply("MAX_HOST = 1\n", LIMIT), Edit("MAX_HOST", value="50"))
        assert apply(twice, gone(LIMIT)) == "MAX_HOST = 1\n"

    def test_a_value_that_was_right_from_the_beginning_stays_at_the_end(self) -> None:
        assert there_and_back("MAX_HOST = 30\n", LIMIT) == "MAX_HOST = 30\n"

    def test_one_that_begins_on_the_last_line_of_another_value_is_refused(self) -> None:
        with pytest.raises(conf.ConfError, match="put it on a line of its own"):
            apply('A = "x\ny" MAX_HOST = 1\n', LIMIT)

    @given(before=files(), behind=tails)
    def test_in_any_file_the_inverse_gives_it_back(self, before: File, behind: File) -> None:
        there_and_back(f"{before.text}\nMAX_LIMIT = 7 # so\n{behind.text}", Edit("MAX_LIMIT", value="30"))
        there_and_back(f"{before.text}\n{behind.text}", Edit("ANOTHER_LIMIT", value="30"))


def test_a_section_without_a_name_needs_words() -> None:
    with pytest.raises(conf.ConfError, match="give the name of the section"):
        apply("", Edit("TM_MAD", attributes={"A": "1"}))


@given(file=files(), word=st.sampled_from(["eh", "a-b"]))
def test_words_in_any_file(file: File, word: str) -> None:
    there_and_back(
        f'{file.text}\nLAST_MAD=[X=1,ARGUMENTS="-d a"]', Edit("LAST_MAD", words={"ARGUMENTS": {"-d": [word]}})
    )
