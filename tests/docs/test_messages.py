# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of error sentences has every sentence that the source can show, with cause and remedy, and no other."""

from __future__ import annotations

import re

from tests.docs.sentences import CELL, PAGE, ROW, Sentence, collect, differences, listed

TABLE = """\
.. list-table::

   * - What you see
     - Cause
     - What to do
   * - ``The disk … is full.``

       ``No room is left.``
     - ``df`` shows it.
     - ``make room``

* ``a whole number``
"""
SOURCE = [Sentence("a.py", text) for text in ("The disk … is full.", "No room is left.", "a whole number")]


def test_the_page_has_every_sentence_of_the_source_and_no_other() -> None:
    reports = differences(PAGE.read_text(encoding="utf-8"), collect())
    assert not reports, "run python -m tests.docs.sentences, and edit the page by hand:\n" + "\n".join(reports)


def test_every_sentence_has_a_cause_and_a_remedy() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = [row.split("\n\n   *")[0] for row in re.split(rf"^{re.escape(ROW)}", page, flags=re.MULTILINE)[1:]]
    cells = {row.split("\n")[0]: re.split(rf"^{re.escape(CELL)}", row, flags=re.MULTILINE)[1:] for row in rows}
    assert len(cells) > 100
    assert not [first for first, others in cells.items() if len(others) != 2 or not all(map(str.strip, others))]


def test_a_sentence_is_found_in_the_first_column_and_in_lists_only() -> None:
    assert listed(TABLE) == {"The disk … is full.": 6, "No room is left.": 8, "a whole number": 12}
    assert not differences(TABLE, SOURCE)


def test_a_new_sentence_is_reported_with_its_file_and_a_place_for_it() -> None:
    (report,) = differences(TABLE, [*SOURCE, Sentence("a.py", "The account … has no zone of its own.")])
    assert report.startswith("a.py: ")
    assert "line 6" in report
    assert report.endswith("\n   * - ``The account … has no zone of its own.``")


def test_a_changed_sentence_is_reported_with_its_line_and_its_new_words() -> None:
    (report,) = differences(TABLE, [Sentence("a.py", "The disk … is full now."), *SOURCE[1:]])
    assert report == "messages.rst:6: ``The disk … is full.``\nreplace it by\n``The disk … is full now.``"


def test_a_sentence_that_the_source_no_longer_has_is_reported_with_its_line() -> None:
    (report,) = differences(TABLE, SOURCE[1:])
    assert report.startswith("messages.rst:6: ")


def test_a_new_sentence_is_found_however_it_is_put_together() -> None:
    texts = {one.text for one in collect()}
    assert "The answer to a create call was lost; server … was made." in texts  # an f-string
    assert (
        "check EHAUTH or auth, <user uuid>:<secret API key>, and that the endpoint is the zone of this account" in texts
    )
    assert "It is destroyed if that is still so in … s." in texts  # str.format
    assert "…; trying again in … s" in texts  # a line of the log
    assert any(text.startswith("Servers of this OpenNebula cloud are still at ElasticHosts") for text in texts)  # YAML
    assert any(text.startswith("…/sched.conf does not exist, so the scheduler") for text in texts)  # YAML behind {{ }}


def test_what_only_a_fault_of_the_code_says_is_no_sentence_for_users() -> None:
    assert not [one for one in collect() if one.text == "the last attempt returns or raises"]
