# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible Galaxy and other users of the collection look for, beyond what ansible-test and antsibull-docs check."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.docs.blocks import ROOT

GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text())
MODULES = sorted(ROOT.glob("plugins/modules/*.py"))


def test_the_licence_is_at_the_root_as_well() -> None:
    assert (ROOT / "LICENSE").read_bytes() == (ROOT / "LICENSES" / "GPL-3.0-or-later.txt").read_bytes()
    assert GALAXY["license"] == ["GPL-3.0-or-later"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_mitogen_recognises_each_module_by_an_absolute_import(path: Path) -> None:
    assert re.search(r"^from ansible(\.module_utils|_collections)\.", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_each_module_says_which_python_it_needs(path: Path) -> None:
    documentation = yaml.safe_load(path.read_text().split('"""')[1])
    fragments = documentation.get("extends_documentation_fragment", [])
    shared = yaml.safe_load((ROOT / "plugins/doc_fragments/connection.py").read_text().split('"""')[1])
    inherited = shared["requirements"] if "opennebula.elastichosts.connection" in fragments else []
    assert "python >= 3.9" in documentation.get("requirements", inherited)


def test_the_readme_tells_conduct_support_releases_and_what_is_private() -> None:
    text = (ROOT / "README.md").read_text()
    for word in ("code_of_conduct.html", "**Support**", "**Releases**", "`plugins/module_utils`", "are private"):
        assert word in text
