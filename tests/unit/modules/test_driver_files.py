# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What driver_files does to files that stand already: lines of settings, packages in use, trees of programs."""

from __future__ import annotations

import json
import re
import resource
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.opennebula.elastichosts.plugins.modules import driver_files

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_module(**options: Any) -> dict[str, Any]:
        with patch_module_args({"library": str(tmp_path / "python/one_eh"), **options}), pytest.raises(SystemExit):
            driver_files.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_module


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", "A='b c'\n"),
        ("A=\n", "A='b c'\n"),
        ("# A=x\nA=1\nB=2", "# A=x\nA='b c'\nB=2"),
        ("A=1\nexport A=2\n", "A=1\nA='b c'\n"),
        ('A="b c"  # as it is\n', 'A="b c"  # as it is\n'),
        ("AA=1", "AA=1\nA='b c'\n"),
    ],
)
def test_a_line_of_settings_is_edited_in_place_or_added(text: str, result: str) -> None:
    assert driver_files.with_line(text, "A", "b c") == result


def settings(path: Path, **lines: dict[str, str]) -> list[dict[str, Any]]:
    return [{"path": str(path), "content": "EHURI=\nEHCLOUD=\n", "mode": "0600", "keep": True, **lines}]


def test_settings_are_made_once_and_then_only_what_is_given_changes(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "vmm_ehrc"
    given = {
        "values": {"EHURI": "http://a", "NONE": ""},
        "secrets": {"EHAUTH": "u:geheim"},
        "defaults": {"EHCLOUD": "1"},
    }
    first = run(files=settings(path, **given), _ansible_diff=True)
    assert path.read_text() == "EHURI=http://a\nEHCLOUD=1\nEHAUTH=u:geheim\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "geheim" not in json.dumps(first)
    path.write_text("# mine\nEHCLOUD=2\nEHURI=http://a\nEHAUTH=u:geheim\n")
    assert not run(files=settings(path, **given))["changed"]
    again = run(files=settings(path, **{**given, "secrets": {"EHAUTH": "u:strenggeheim"}}), _ansible_diff=True)
    assert again["changed"]
    assert not again["programs_changed"]
    assert "geheim" not in json.dumps(again)
    assert path.read_text() == "# mine\nEHCLOUD=2\nEHURI=http://a\nEHAUTH=u:strenggeheim\n"


def visible(folder: Path) -> list[str]:
    """What is in the folder of the packages, without the note that the module made it."""
    return [entry.name for entry in folder.iterdir() if entry.name != driver_files.MADE]


def test_no_server_at_all_is_a_number_that_is_written(run: Run, tmp_path: Path) -> None:
    rc = tmp_path / "im_ehrc"
    run(
        files=settings(rc, values={"MAX_SERVERS": 0}),
        zones=[{"name": "eh-london", "max_servers": 0}, {"name": "eh-sanjose", "max_servers": 12}, {"name": "eh"}],
        zones_folder=str(tmp_path / "hosts"),
    )
    assert "\nMAX_SERVERS=0\n" in rc.read_text()
    written = {path.name: path.read_text().splitlines()[1:] for path in (tmp_path / "hosts").iterdir()}
    assert written == {"eh-londonrc": ["MAX_SERVERS=0"], "eh-sanjoserc": ["MAX_SERVERS=12"], "ehrc": []}
    run(files=settings(rc, values={"MAX_SERVERS": ""}))
    assert "\nMAX_SERVERS=0\n" in rc.read_text()


def test_a_folder_that_was_there_before_the_packages_stays_even_if_it_is_empty(run: Run, tmp_path: Path) -> None:
    (tmp_path / "python").mkdir()
    run()
    assert [entry.name for entry in (tmp_path / "python").iterdir()] == ["one_eh"]
    run(state="absent")
    assert list((tmp_path / "python").iterdir()) == []


def test_a_folder_that_was_made_for_the_packages_goes_with_them_unless_it_holds_something_else(
    run: Run, tmp_path: Path
) -> None:
    run()
    run(state="absent")
    assert not (tmp_path / "python").exists()
    run()
    (tmp_path / "python/theirs.py").write_text("")
    run(state="absent")
    assert visible(tmp_path / "python") == ["theirs.py"]


def test_packages_are_exchanged_as_a_whole_and_never_missing_meanwhile(run: Run, tmp_path: Path) -> None:
    library = tmp_path / "python/one_eh"
    run(python=sys.executable)
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
    result = run(python=sys.executable)
    over.set()
    watcher.join()
    assert len(seen) > 10
    assert all(seen)
    assert result["programs_changed"]
    assert library.stat().st_ino != old
    assert visible(library.parent) == ["one_eh"]
    assert not (library / "drivers/gone.py").exists()
    assert "answer_init" in (library / "drivers/bootstrap.py").read_text()
    assert not run(python=sys.executable)["changed"]


def test_the_diff_tells_the_files_of_the_packages_that_come_change_and_go(run: Run, tmp_path: Path) -> None:
    library = tmp_path / "python/one_eh"
    fresh = run(_ansible_check_mode=True)["diff"][-1]
    assert (fresh["before"], f"{library}/drivers/vm_driver.py" in fresh["after"].splitlines()) == ("", True)
    run()
    (library / "drivers/bootstrap.py").write_text("# older\n")
    (library / "drivers/gone.py").write_text("")
    diff = run()["diff"][-1]
    assert diff["before"] == f"{library}/drivers/bootstrap.py\n{library}/drivers/gone.py\n"
    assert diff["after"] == f"{library}/drivers/bootstrap.py (new content)\n"


def test_what_is_compiled_names_the_place_where_it_is(run: Run, tmp_path: Path) -> None:
    run(python=sys.executable)
    compiled = next((tmp_path / "python/one_eh/drivers/__pycache__").glob("bootstrap.*.pyc"))
    assert str(tmp_path / "python/one_eh/drivers/bootstrap.py").encode() in compiled.read_bytes()


def test_what_a_run_that_was_broken_off_has_left_is_removed(run: Run, tmp_path: Path) -> None:
    run(python=sys.executable)
    left = tmp_path / "python/.one_eh.new-k1ll3d99"
    (left / "bursting").mkdir(parents=True)
    assert run(python=sys.executable)["changed_paths"] == [str(left)]
    assert not left.exists()
    left.mkdir()
    assert str(left) in run(state="absent")["changed_paths"]
    assert not left.parent.exists()


def test_half_of_a_file_that_a_killed_run_has_left_is_removed_and_nothing_that_looks_like_it(
    run: Run, tmp_path: Path
) -> None:
    files = settings(tmp_path / "vmm_ehrc")
    run(files=files)
    mine = [tmp_path / name for name in (".vmm_ehrc.new-of-mine", ".vmm_ehrc.swp", ".other.new-k1ll3d99")]
    left = tmp_path / ".vmm_ehrc.new-k1ll3d99"
    for path in (*mine, left):
        path.write_text("EHAUTH=u:gehe")
    result = run(files=files)
    assert (result["changed_paths"], result["programs_changed"]) == ([str(left)], False)
    left.write_text("EHAUTH=u:gehe")
    assert str(left) in run(files=files, state="absent")["changed_paths"]
    assert sorted(tmp_path.iterdir()) == sorted(mine)


def test_a_full_disk_is_named_with_the_file_and_leaves_the_old_packages(run: Run, tmp_path: Path) -> None:
    """The system itself says so to whoever writes more than RLIMIT_FSIZE lets it."""
    run()
    older = tmp_path / "python/one_eh/drivers/bootstrap.py"
    older.write_text("# older\n")
    before, usual = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        message = run()["msg"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, usual)
    assert re.search(r"/python/one_eh/\S+\.py: File too large\. Make room and run the task again", message)
    assert older.read_text() == "# older\n"
    assert visible(tmp_path / "python") == ["one_eh"]


def test_a_tree_holds_its_files_and_no_others(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "tm/eh"
    tree = {"path": str(folder), "files": {"delete": "#!/bin/sh\n", "ln": "#!/bin/sh\nexit 0\n"}}
    assert run(tree=tree)["changed"]
    (folder / "old").write_text("")
    assert str(folder / "old") in run(tree=tree)["changed_paths"]
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {"delete": 0o755, "ln": 0o755}
    run(tree=tree, state="absent")
    assert not folder.exists()


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
    run: Run, tmp_path: Path, body: str | None, words: str
) -> None:
    driver = tmp_path / "one_vmm_eh"
    if body is not None:
        driver.write_text(f"#!/bin/sh\n{body}\n")
        driver.chmod(0o755)
    message = run(start=[str(driver)])["msg"]
    assert f"{driver} does not answer INIT: {words}" in message
    assert message.endswith("Put that right and run the play again.")


def test_a_driver_that_answers_is_ended_at_once(run: Run, tmp_path: Path) -> None:
    driver = tmp_path / "one_vmm_eh"
    driver.write_text(f"#!/bin/sh\nread line\necho INIT SUCCESS\nsleep 1\ntouch {tmp_path}/too-long\nsleep 60\n")
    driver.chmod(0o755)
    assert "msg" not in run(start=[str(driver)])
    assert not (tmp_path / "too-long").exists()


def wheel_of_requests(folder: Path) -> Path:
    """The least that pip takes for the package requests."""
    path = folder / "requests-9.0-py3-none-any.whl"
    name = "requests-9.0.dist-info"
    files = {
        "requests.py": "",
        f"{name}/METADATA": "Metadata-Version: 2.1\nName: requests\nVersion: 9.0\n",
        f"{name}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for file, content in files.items():
            wheel.writestr(file, content)
        wheel.writestr(f"{name}/RECORD", "".join(f"{file},,\n" for file in [*files, f"{name}/RECORD"]))
    return path


def test_a_virtual_environment_is_made_or_leaves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = tmp_path / "python/eh_venv"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    broken = tmp_path / "python-without-pip"
    broken.write_text('#!/bin/sh\nmkdir -p "$3"\necho No module named ensurepip >&2\nexit 1\n')
    broken.chmod(0o755)
    message = run(venv=str(venv), venv_base=str(broken))["msg"]
    assert f"The virtual environment {venv} could not be made: No module named ensurepip. See whether pip" in message
    assert not venv.exists()
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel_of_requests(tmp_path).parent))
    assert run(venv=str(venv), venv_base=sys.executable)["programs_changed"]
    subprocess.run([venv / "bin/python", "-c", "import requests"], check=True)
    assert str(venv) in run(venv=str(venv), state="absent")["changed_paths"]
    assert not venv.exists()
