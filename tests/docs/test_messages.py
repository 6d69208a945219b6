# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of error sentences has all that the source can say, and nothing else."""

from __future__ import annotations

import pytest

from tests.docs.sentences import PAGE, SECTIONS, collect, written


def test_the_page_has_every_sentence_of_the_source() -> None:
    page = PAGE.read_text(encoding="utf-8")
    missing = [f"{one.path}: {one.text}" for one in collect() if f"* ``{one.text}``\n" not in page]
    assert not missing, "run python -m tests.docs.sentences:\n" + "\n".join(missing)
    assert written(page) == page, "the page has sentences that the source has no more: python -m tests.docs.sentences"


@pytest.mark.parametrize("section", SECTIONS)
def test_every_part_of_the_page_has_sentences(section: str) -> None:
    assert any(one.section == section for one in collect())


def test_a_new_sentence_is_found_however_it_is_put_together() -> None:
    texts = {one.text for one in collect()}
    assert "The answer to a create call was lost; server … was made." in texts  # an f-string
    assert (
        "check EHAUTH or auth, <user uuid>:<secret API key>, and that the endpoint is the zone of this account" in texts
    )
    assert any(text.startswith("Servers of this OpenNebula cloud are still at ElasticHosts") for text in texts)  # YAML
