# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role changes in the configuration files of a release, from its own table of edits and by its own module."""

from __future__ import annotations

import difflib
import functools
from pathlib import Path
from typing import Any

from tests.docs.blocks import ROOT
from tests.front_ends import RELEASES, SAMPLES

ROLE = ROOT / "roles" / "one_eh_driver"


@functools.cache
def table(release: str) -> dict[str, list[dict[str, Any]]]:
    """The edits of a release by file, as the role works them out."""
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar

    loader = DataLoader()
    files = (ROLE / "defaults" / "main.yml", ROLE / "vars" / "main.yml")
    variables: dict[str, Any] = {}
    for file in files:
        variables |= loader.load_from_file(str(file), trusted_as_template=True)
    folders = {"etc": "/etc/one", "var": "/var/lib/one", "mads": "/usr/lib/one/mads", "python": "/usr/lib/one/python"}
    found = {"one_eh_driver__found": {"release": RELEASES[release], "folders": folders, "scheduler_file": ""}}
    rows = Templar(loader=loader, variables={**variables, **found}).template(variables["one_eh_driver__wanted_edits"])
    by_file: dict[str, list[dict[str, Any]]] = {}
    for edit in rows:
        by_file.setdefault(Path(edit["path"]).name, []).append(edit)
    return by_file


def difference(release: str, name: str) -> list[str]:
    """The lines, each with its + or -, by which the role changes the stock file ``name``."""
    from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.conf_edits import apply
    from ansible_collections.opennebula.elastichosts.plugins.modules.mad import EDIT, edit_of

    before = after = (SAMPLES / release / name).read_text()
    for edit in table(release).get(name, []):
        options = {key: rule.get("default") for key, rule in EDIT.items()}
        after = apply(after, edit_of({**options, **edit}))
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]
