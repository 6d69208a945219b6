# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is released: the same bytes from every clone, one version everywhere, and nothing that only developers need."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.docs.blocks import ROOT

GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text())
RELEASES = yaml.safe_load((ROOT / "changelogs" / "changelog.yaml").read_text())["releases"]


def clone_and_build(folder: Path, umask: int) -> Path:
    """The tarball of a clone that was made under another umask, now."""
    # A clone without history: the time of the last commit is all that it needs.
    subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{ROOT}", str(folder)], check=True, umask=umask)
    command = [sys.executable, str(folder / "tests/tools/build_tarball.py"), str(folder / "out")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, umask=umask)
    return next((folder / "out").glob("*.tar.gz"))


@pytest.fixture(scope="module")
def tarballs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clones")
    first = clone_and_build(folder / "first", 0o022)
    os.utime(folder / "first" / "README.md", (0, 0))
    return [first, clone_and_build(folder / "second", 0o077)]


def test_two_clones_build_the_same_bytes(tarballs: list[Path]) -> None:
    assert tarballs[0].read_bytes() == tarballs[1].read_bytes()


def test_the_tarball_has_what_users_need_and_no_more(tarballs: list[Path]) -> None:
    with tarfile.open(tarballs[0]) as tarball:
        entries = tarball.getmembers()
    names = {entry.name for entry in entries}
    assert {"README.md", "docs/install_5_12.rst", "meta/runtime.yml", "plugins/modules/server.py"} <= names
    assert not [name for name in names if re.match(r"tests|Makefile|\.|pyproject|.*\.pyc|extensions/molecule/", name)]
    assert {(entry.uid, entry.gid) for entry in entries} == {(0, 0)}


def test_there_is_one_version() -> None:
    from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.http_client import VERSION

    newest = max(RELEASES, key=lambda text: tuple(map(int, text.split("."))))
    assert GALAXY["version"] == VERSION == newest


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("plugins/*/*.py")) + sorted(ROOT.glob("roles/*/meta/arg*.yml")), ids=str
)
def test_what_says_since_when_it_is_there_names_a_release(path: Path) -> None:
    for version in re.findall(r"^ *version_added: (\S+)$", path.read_text(), re.MULTILINE):
        assert version in RELEASES
