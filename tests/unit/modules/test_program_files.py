# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What program_files does with the folder of a program and what belongs to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.opennebula.elastichosts.plugins.modules import program_files

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_module(**options: Any) -> dict[str, Any]:
        with patch_module_args({"path": str(tmp_path / "opt/greeter"), **options}), pytest.raises(SystemExit):
            program_files.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_module


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")}


def test_a_program_and_what_it_needs_come_stay_and_go(run: Run, tmp_path: Path) -> None:
    others = [
        {"path": str(tmp_path / "etc"), "mode": "0750"},
        {"path": str(tmp_path / "etc/greeter.conf"), "content": "name = you\n", "mode": "0640"},
    ]
    given: dict[str, Any] = {"files": {"greet.py": "print()\n"}, "mode": "0644", "others": others}
    made = [str(tmp_path / name) for name in ("etc", "etc/greeter.conf", "opt/greeter", "opt/greeter/greet.py")]
    assert run(**given)["changed_paths"] == made
    expected = {"etc": 0o750, "etc/greeter.conf": 0o640, "opt": 0o755, "opt/greeter": 0o755}
    assert modes(tmp_path) == {**expected, "opt/greeter/greet.py": 0o644}
    assert (tmp_path / "etc/greeter.conf").read_text() == "name = you\n"
    assert not run(**given)["changed"]
    (tmp_path / "etc").chmod(0o700)
    assert run(**given)["changed_paths"] == [str(tmp_path / "etc")]
    gone = run(**given, state="absent")
    assert gone["changed_paths"] == [made[2], made[1], made[0]]
    assert modes(tmp_path) == {"opt": 0o755}
    assert not run(**given, state="absent")["changed"]


def test_check_mode_foretells_what_comes_changes_and_goes(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "opt/greeter"
    run(files={"a.py": "A = 1\n", "old.py": ""})
    (folder / "__pycache__").mkdir()
    (folder / ".a.py.new-k1ll3d99").write_text("A =")
    now = {"files": {"a.py": "A = 2\n"}}
    foretold = run(**now, _ansible_check_mode=True, _ansible_diff=True)
    assert foretold["changed_paths"] == [f"{folder}/a.py", f"{folder}/.a.py.new-k1ll3d99", f"{folder}/old.py"]
    assert [(one["before"], one["after"]) for one in foretold["diff"]] == [
        ("A = 1\n", "A = 2\n"),
        (f"{folder}/.a.py.new-k1ll3d99\n{folder}/old.py\n", ""),
    ]
    assert (folder / "a.py").read_text() == "A = 1\n"
    assert run(**now)["changed_paths"] == foretold["changed_paths"]
    assert sorted(path.name for path in folder.iterdir()) == ["__pycache__", "a.py"]


def test_a_folder_in_the_place_of_a_file_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "opt/greeter/a.py").mkdir(parents=True)
    assert run(files={"a.py": ""})["msg"] == f"{tmp_path}/opt/greeter/a.py: Is a directory. " + (
        "Put that right and run the task again."
    )
    assert sorted(modes(tmp_path)) == ["opt", "opt/greeter", "opt/greeter/a.py"]


def test_sub_folders_come_and_those_of_an_older_version_go(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "opt/greeter"
    run(files={"greet.py": "", "pages.py": "", "old/deep/page.py": "", "web/old.html": ""}, mode="0644")
    for compiled in ("__pycache__/greet.pyc", "web/__pycache__/x.pyc", "old/__pycache__/y.pyc"):
        (folder / compiled).parent.mkdir(exist_ok=True)
        (folder / compiled).write_text("")
    now = {"files": {"greet.py": "", "web/page.html": "<p>", "web/static/page.css": "p {}"}, "mode": "0644"}
    changed = [f"{folder}/{name}" for name in ("web/static", "web/page.html", "web/static/page.css")]
    changed += [f"{folder}/{name}" for name in ("old", "pages.py", "web/old.html")]
    assert run(**now, _ansible_check_mode=True)["changed_paths"] == changed
    assert run(**now)["changed_paths"] == changed
    assert modes(folder) == {
        **dict.fromkeys(("__pycache__", "web", "web/__pycache__", "web/static"), 0o755),
        **dict.fromkeys(("greet.py", "web/page.html", "web/static/page.css"), 0o644),
        **{name: modes(folder)[name] for name in ("__pycache__/greet.pyc", "web/__pycache__/x.pyc")},
    }
    assert not run(**now)["changed"]
    run(**now, state="absent")
    assert not folder.exists()
