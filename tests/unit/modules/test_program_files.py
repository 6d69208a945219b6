# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What program_files does with folders of programs: exchanged as a whole, file by file, or made when missing."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.opennebula.elastichosts.plugins.module_utils.file_trees import MADE
from ansible_collections.opennebula.elastichosts.plugins.modules import program_files

Run = Callable[..., dict[str, Any]]
"""runs the module on one tree, the program greeter or the one that is given; options of the module begin with _ or are
state, trial or trees"""


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_module(**options: Any) -> dict[str, Any]:
        own = {
            name: options.pop(name) for name in list(options) if name[0] == "_" or name in ("state", "trial", "trees")
        }
        own.setdefault("trees", [{"path": str(tmp_path / "opt/greeter"), **options}])
        with patch_module_args(own), pytest.raises(SystemExit):
            program_files.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_module


@pytest.fixture
def packages(run: Run, tmp_path: Path) -> Run:
    """Runs the module on the drivers' packages."""

    def run_module(**options: Any) -> dict[str, Any]:
        return run(path=str(tmp_path / "python/one_eh"), drivers=True, **options)

    return run_module


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")}


def visible(folder: Path) -> list[str]:
    """What is in a folder, without the note that the module made it."""
    return [entry.name for entry in folder.iterdir() if entry.name != MADE]


def test_a_program_comes_stays_and_goes(run: Run, tmp_path: Path) -> None:
    made = [str(tmp_path / name) for name in ("opt/greeter", "opt/greeter/greet.py")]
    given: dict[str, Any] = {"files": {"greet.py": "print()\n"}, "mode": "0640"}
    assert run(**given)["changed_paths"] == made
    assert modes(tmp_path / "opt/greeter") == {"greet.py": 0o640}
    assert (tmp_path / "opt/greeter").stat().st_mode & 0o777 == 0o755
    assert not run(**given)["changed"]
    (tmp_path / "opt/greeter").chmod(0o700)
    (tmp_path / "opt/greeter/greet.py").chmod(0o666)
    assert run(**given)["changed_paths"] == made
    assert modes(tmp_path / "opt/greeter") == {"greet.py": 0o640}
    assert run(**given, state="absent")["changed_paths"] == made[:1]
    assert modes(tmp_path) == {}
    assert not run(**given, state="absent")["changed"]


@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize("check", [True, False])
def test_a_pipe_or_a_device_is_not_replaced(run: Run, tmp_path: Path, state: str, check: bool) -> None:
    pipe, mask = tmp_path / "pipe", tmp_path / "mask"
    os.mkfifo(pipe)
    mask.symlink_to(pipe)
    mode = pipe.stat().st_mode
    first = {"path": str(tmp_path / "first"), "files": {"a.py": ""}}
    for tree, sentence in (
        (
            {"path": str(tmp_path), "files": {"pipe": "x"}, "replace": "files"},
            f"{pipe}: Not a regular file. Put that right",
        ),
        (
            {"path": str(tmp_path), "files": {"mask": "x"}, "replace": "missing"},
            f"{mask}: Not a regular file. Put that",
        ),
        ({"path": str(pipe), "files": {"a.py": ""}}, f"{pipe}: Not a regular file. Put that right"),
    ):
        assert sentence in run(trees=[first, tree], state=state, _ansible_check_mode=check)["msg"]
    assert (mask.is_symlink(), pipe.stat().st_mode) == (True, mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask", "pipe"]


def test_check_mode_foretells_what_comes_changes_and_goes(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "opt/greeter"
    run(files={"a.py": "A = 1\n", "old.py": ""})
    (folder / "__pycache__").mkdir()
    (folder.parent / ".greeter.new-k1ll3d99").mkdir()
    now = {"files": {"a.py": "A = 2\n"}}
    foretold = run(**now, _ansible_check_mode=True, _ansible_diff=True)
    assert foretold["changed_paths"] == [f"{folder}/a.py", f"{folder}/old.py", f"{folder.parent}/.greeter.new-k1ll3d99"]
    assert [(one["before"], one["after"]) for one in foretold["diff"]] == [
        ("A = 1\n", "A = 2\n"),
        (f"{folder.parent}/.greeter.new-k1ll3d99\n{folder}/old.py\n", ""),
    ]
    assert (folder / "a.py").read_text() == "A = 1\n"
    assert run(**now)["changed_paths"] == foretold["changed_paths"]
    assert [path.name for path in folder.iterdir()] == ["a.py"]
    assert visible(folder.parent) == ["greeter"]


def test_sub_folders_come_and_those_of_an_older_version_go(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "opt/greeter"
    run(files={"greet.py": "", "pages.py": "", "old/deep/page.py": "", "web/old.html": ""})
    for compiled in ("__pycache__/greet.pyc", "web/__pycache__/x.pyc"):
        (folder / compiled).parent.mkdir(exist_ok=True)
        (folder / compiled).write_text("")
    assert not run(files={"greet.py": "", "pages.py": "", "old/deep/page.py": "", "web/old.html": ""})["changed"]
    now = {"files": {"greet.py": "", "web/page.html": "<p>", "web/static/page.css": "p {}"}}
    changed = [f"{folder}/{name}" for name in ("web/static", "web/page.html", "web/static/page.css")]
    changed += [f"{folder}/{name}" for name in ("old", "pages.py", "web/old.html")]
    assert run(**now, _ansible_check_mode=True)["changed_paths"] == changed
    assert run(**now)["changed_paths"] == changed
    assert modes(folder) == {
        **dict.fromkeys(("web", "web/static"), 0o755),
        **dict.fromkeys(("greet.py", "web/page.html", "web/static/page.css"), 0o644),
    }
    assert not run(**now)["changed"]


def test_a_file_in_the_place_of_the_folder_is_exchanged_for_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt/greeter").write_text("")
    run(files={"greet.py": ""})
    assert sorted(modes(tmp_path)) == ["opt", "opt/greeter", "opt/greeter/greet.py"]


def test_files_among_files_of_others_are_replaced_one_by_one(run: Run, tmp_path: Path) -> None:
    mads = tmp_path / "mads"
    mads.mkdir()
    theirs, left = mads / "one_vmm_exec", mads / ".one_vmm_eh.new-k1ll3d99"
    given: dict[str, Any] = {
        "path": str(mads),
        "replace": "files",
        "files": {"one_vmm_eh": "#!/bin/sh\n"},
        "mode": "0755",
    }
    for path in (theirs, left, mads / "one_vmm_eh"):
        path.write_text("")
    result = run(**given)
    assert (result["changed_paths"], result["programs_changed"]) == ([f"{mads}/one_vmm_eh", str(left)], True)
    assert modes(mads) == {"one_vmm_exec": theirs.stat().st_mode & 0o777, "one_vmm_eh": 0o755}
    assert not run(**given)["changed"]
    assert run(**given, state="absent")["changed_paths"] == [f"{mads}/one_vmm_eh"]
    assert list(mads.iterdir()) == [theirs]


def test_a_folder_in_the_place_of_a_file_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "opt/greeter/a.py").mkdir(parents=True)
    assert run(files={"a.py": ""}, replace="files")["msg"] == f"{tmp_path}/opt/greeter/a.py: Is a directory. " + (
        "Put that right and run the task again."
    )
    assert sorted(modes(tmp_path)) == ["opt", "opt/greeter", "opt/greeter/a.py"]


def test_a_file_that_is_only_to_be_there_keeps_its_content_and_gets_its_mode(run: Run, tmp_path: Path) -> None:
    given: dict[str, Any] = {"path": str(tmp_path), "replace": "missing", "files": {"rc": "A=1\n"}, "mode": "0600"}
    first = run(**given)
    assert (first["changed_paths"], first["programs_changed"]) == ([f"{tmp_path}/rc"], False)
    assert modes(tmp_path) == {"rc": 0o600}
    (tmp_path / "rc").write_text("A=2\n")
    assert not run(**given)["changed"]
    (tmp_path / "rc").chmod(0o644)
    again = run(**given, _ansible_diff=True)
    assert (again["changed_paths"], again["programs_changed"], again["diff"]) == ([f"{tmp_path}/rc"], False, [])
    assert (modes(tmp_path), (tmp_path / "rc").read_text()) == ({"rc": 0o600}, "A=2\n")


def test_what_killed_runs_have_left_of_settings_is_removed_and_nothing_that_looks_like_it(
    run: Run, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"path": str(tmp_path), "replace": "missing", "files": {"vmm_ehrc": ""}}
    run(**given)
    mine = [tmp_path / name for name in (".vmm_ehrc.new-of-mine", ".vmm_ehrc.swp", ".other.new-k1ll3d99")]
    left = [tmp_path / name for name in (".ansible_tmpk1ll3d99vmm_ehrc", ".vmm_ehrc.new-k1ll3d99")]
    for path in (*mine, *left):
        path.write_text("EHAUTH=u:gehe")
    result = run(**given, _ansible_diff=True)
    assert (result["changed_paths"], result["programs_changed"]) == ([str(path) for path in left], False)
    assert "gehe" not in json.dumps(result)
    assert sorted(tmp_path.iterdir()) == sorted([*mine, tmp_path / "vmm_ehrc"])


def test_a_folder_that_was_there_before_the_packages_stays_even_if_it_is_empty(packages: Run, tmp_path: Path) -> None:
    (tmp_path / "python").mkdir()
    packages()
    assert [entry.name for entry in (tmp_path / "python").iterdir()] == ["one_eh"]
    packages(state="absent")
    assert list((tmp_path / "python").iterdir()) == []


def test_a_folder_that_was_made_for_the_packages_goes_with_them_unless_it_holds_something_else(
    packages: Run, tmp_path: Path
) -> None:
    packages()
    packages(state="absent")
    assert not (tmp_path / "python").exists()
    packages()
    (tmp_path / "python/theirs.py").write_text("")
    packages(state="absent")
    assert visible(tmp_path / "python") == ["theirs.py"]


def test_packages_are_exchanged_as_a_whole_and_never_missing_meanwhile(packages: Run, tmp_path: Path) -> None:
    library = tmp_path / "python/one_eh"
    packages(python=sys.executable)
    old = library.stat().st_ino
    (library / "drivers/bootstrap.py").write_text("# older\n")
    (library / "drivers/gone.py").write_text("# not ours any more\n")
    seen: list[bool] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            seen.append((library / "drivers/vm_driver.py").is_file())

    watcher = threading.Thread(target=watch)
    watcher.start()
    result = packages(python=sys.executable)
    over.set()
    watcher.join()
    assert len(seen) > 10
    assert all(seen)
    assert result["programs_changed"]
    assert library.stat().st_ino != old
    assert visible(library.parent) == ["one_eh"]
    assert not (library / "drivers/gone.py").exists()
    assert "answer_init" in (library / "drivers/bootstrap.py").read_text()
    assert not packages(python=sys.executable)["changed"]


def test_the_diff_tells_the_files_of_the_packages_that_come_change_and_go(packages: Run, tmp_path: Path) -> None:
    library = tmp_path / "python/one_eh"
    fresh = packages(_ansible_check_mode=True)["diff"][-1]
    assert (fresh["before"], f"{library}/drivers/vm_driver.py" in fresh["after"].splitlines()) == ("", True)
    packages()
    (library / "drivers/bootstrap.py").write_text("# older\n")
    (library / "drivers/gone.py").write_text("")
    diff = packages()["diff"][-1]
    assert diff["before"] == f"{library}/drivers/bootstrap.py\n{library}/drivers/gone.py\n"
    assert diff["after"] == f"{library}/drivers/bootstrap.py (new content)\n"


def test_what_is_compiled_names_the_place_where_it_is(packages: Run, tmp_path: Path) -> None:
    packages(python=sys.executable)
    compiled = next((tmp_path / "python/one_eh/drivers/__pycache__").glob("bootstrap.*.pyc"))
    assert str(tmp_path / "python/one_eh/drivers/bootstrap.py").encode() in compiled.read_bytes()


def test_what_a_run_that_was_broken_off_has_left_is_removed(packages: Run, tmp_path: Path) -> None:
    packages(python=sys.executable)
    left = tmp_path / "python/.one_eh.new-k1ll3d99"
    (left / "bursting").mkdir(parents=True)
    assert packages(python=sys.executable)["changed_paths"] == [str(left)]
    assert not left.exists()
    left.mkdir()
    assert str(left) in packages(state="absent")["changed_paths"]
    assert not left.parent.exists()


def test_a_full_disk_is_named_with_the_file_and_leaves_the_old_packages(packages: Run, tmp_path: Path) -> None:
    """The system itself says so to whoever writes more than RLIMIT_FSIZE lets it."""
    packages()
    older = tmp_path / "python/one_eh/drivers/bootstrap.py"
    older.write_text("# older\n")
    before, usual = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        message = packages()["msg"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, usual)
    assert re.search(r"/python/one_eh/\S+\.py: File too large\. Make room and run the task again", message)
    assert older.read_text() == "# older\n"
    assert visible(tmp_path / "python") == ["one_eh"]


def trial(driver: Path) -> dict[str, Any]:
    return {"drivers": [str(driver)], "python": sys.executable, "owner": "", "one_location": "", "always": True}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("exit 3", "it said nothing"),
        ("echo hello", "it said 'hello"),
        ("read line; echo INIT FAILURE no", "it said 'INIT FAILURE no"),
        (None, "it cannot be started"),
    ],
)
def test_a_driver_that_would_stop_opennebula_is_a_failure(
    packages: Run, tmp_path: Path, body: str | None, words: str
) -> None:
    driver = tmp_path / "one_vmm_eh"
    if body is not None:
        driver.write_text(f"#!/bin/sh\n{body}\n")
        driver.chmod(0o755)
    message = packages(trial=trial(driver))["msg"]
    assert f"{driver} does not answer INIT: {words}" in message
    assert message.endswith("Put that right and run the play again.")


def test_a_driver_that_answers_is_ended_at_once(packages: Run, tmp_path: Path) -> None:
    driver = tmp_path / "one_vmm_eh"
    driver.write_text(f"#!/bin/sh\nread line\necho INIT SUCCESS\nsleep 1\ntouch {tmp_path}/too-long\nsleep 60\n")
    driver.chmod(0o755)
    assert "msg" not in packages(trial=trial(driver))
    assert not (tmp_path / "too-long").exists()
