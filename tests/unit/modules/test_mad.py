# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mad module on real files: what it writes, says, keeps and refuses."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.opennebula.elastichosts.plugins.modules import mad
from tests.support.collection import COLLECTIONS

STOCK = 'DB = [ backend = "mysql", passwd = "geheim" ]\n\nVM_MAD = [ NAME = "kvm", TYPE = "kvm" ]  # local\n'
SECTION = {"kind": "VM_MAD", "name": "vmm_eh", "attributes": {"EXECUTABLE": "one_vmm_eh", "TYPE": "xml"}}
NOBODY = 65534

Mad = Callable[..., dict[str, Any]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "oned.conf"
    path.write_text(STOCK)
    return path


@pytest.fixture
def run(file: Path, capsys: pytest.CaptureFixture[str]) -> Mad:
    """Runs the module in this process, as Ansible calls it; the result is what it printed."""

    def run_module(**options: Any) -> dict[str, Any]:
        merged = {"path": str(file), **SECTION, **options}
        arguments = {name: value for name, value in merged.items() if value is not None}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            mad.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_module


@pytest.fixture
def closed_file() -> Iterator[Path]:
    """A file that all may read, in a folder that nobody may write."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "oned.conf"
        path.write_text(STOCK)
        path.chmod(0o644)
        Path(folder).chmod(0o555)
        yield path
        Path(folder).chmod(0o755)


@pytest.fixture
def without_privileges(run: Mad, closed_file: Path) -> Iterator[None]:
    """Root may write everywhere: as root, be somebody else for a while."""
    if os.getuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_a_section_is_added_and_the_second_run_changes_nothing(run: Mad, file: Path) -> None:
    first = run()
    assert first["changed"]
    assert first["section"] == {"NAME": "vmm_eh", "EXECUTABLE": "one_vmm_eh", "TYPE": "xml"}
    content = file.read_text()
    assert content.startswith(STOCK)
    inode = file.stat().st_ino
    second = run()
    assert not second["changed"]
    assert (file.read_text(), file.stat().st_ino) == (content, inode)


def test_removing_it_gives_the_file_back_and_the_second_removal_changes_nothing(run: Mad, file: Path) -> None:
    run()
    assert run(state="absent")["changed"]
    assert file.read_text() == STOCK
    assert not run(state="absent")["changed"]


def test_check_mode_says_what_the_run_then_does_and_writes_nothing(run: Mad, file: Path) -> None:
    foretold = run(_ansible_check_mode=True)
    assert file.read_text() == STOCK
    assert [entry.name for entry in file.parent.iterdir()] == ["oned.conf"]
    done = run()
    assert [foretold[key] for key in ("changed", "path", "section", "diff")] == [
        done[key] for key in ("changed", "path", "section", "diff")
    ]


def test_the_diff_shows_the_section_and_no_password_of_another_one(run: Mad) -> None:
    diff = run()["diff"]
    assert diff["before"] == ""
    assert 'NAME       = "vmm_eh"' in diff["after"]
    assert "geheim" not in json.dumps(run(attributes={"TYPE": "kvm"}))


def test_numbers_and_truth_values_are_written_as_opennebula_writes_them(run: Mad, file: Path) -> None:
    run(attributes={"THREADS": 0, "KEEP_SNAPSHOTS": False, "CPU": 1.5})
    assert run()["section"]["THREADS"] == "0"
    assert 'KEEP_SNAPSHOTS = "no"' in file.read_text()


def test_an_attribute_of_null_goes_and_the_others_stay(run: Mad) -> None:
    run()
    assert run(attributes={"TYPE": None})["section"] == {"NAME": "vmm_eh", "EXECUTABLE": "one_vmm_eh"}


def test_exclusive_takes_out_what_is_not_named(run: Mad) -> None:
    run()
    assert run(attributes={"TYPE": "xml"}, exclusive=True)["section"] == {"NAME": "vmm_eh", "TYPE": "xml"}


def test_mode_and_owner_stay_and_a_symbolic_link_stays_a_link(run: Mad, file: Path) -> None:
    file.chmod(0o640)
    if os.getuid() == 0:
        os.chown(file, NOBODY, NOBODY)
    before = file.stat()
    link = file.parent / "link.conf"
    link.symlink_to(file)
    assert run(path=str(link))["path"] == str(file)
    after = file.stat()
    assert link.is_symlink()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert "vmm_eh" in file.read_text()


def test_a_backup_holds_the_file_as_it_was_and_is_made_only_for_a_change(run: Mad, file: Path) -> None:
    result = run(backup=True)
    assert Path(result["backup_file"]).read_text() == STOCK
    assert "backup_file" not in run(backup=True)
    assert len(list(file.parent.iterdir())) == 2


def test_bytes_that_are_no_utf8_are_kept(run: Mad, file: Path) -> None:
    file.write_bytes(b"# caf\xe9\r\nA = 1\r\n")
    run()
    assert file.read_bytes().startswith(b"# caf\xe9\r\nA = 1\r\n\r\nVM_MAD = [\r\n")


def test_removing_from_a_file_that_does_not_exist_is_no_change(run: Mad, tmp_path: Path) -> None:
    assert not run(path=str(tmp_path / "none.conf"), state="absent")["changed"]


OWN_PARTS = {
    "edits": [
        {"kind": "VM_MAD", "name": "vmm_eh", "attributes": {"TYPE": "xml"}},
        {"kind": "TM_MAD", "words": {"ARGUMENTS": {"-d": ["eh"]}}},
        {"kind": "MAX_HOST", "value": "30"},
        {"kind": "TM_MAD", "name": "tm_dummy", "stock": True, "attributes": {"EXECUTABLE": "one_tm"}},
    ],
    "kind": None,
    "name": None,
    "attributes": {},
}
ALL_OF_THEM = ["VM_MAD vmm_eh", "TM_MAD", "MAX_HOST", "TM_MAD tm_dummy"]


def test_several_edits_are_one_replacement_and_their_inverses_give_the_file_back(run: Mad, file: Path) -> None:
    before = STOCK + 'TM_MAD=[ARGUMENTS="-d ssh"]\nMAX_HOST = 1\n#TM_MAD=[NAME=tm_dummy]'
    file.write_text(before)
    foretold = run(**OWN_PARTS, _ansible_check_mode=True)
    assert foretold.get("changed_edits") == ALL_OF_THEM, foretold
    first = run(**OWN_PARTS, backup=True)
    assert first["changed_edits"] == ALL_OF_THEM
    assert len(list(file.parent.iterdir())) == 2
    assert 'ARGUMENTS="-d ssh,eh"' in first["diff"]["after"]
    assert "geheim" not in json.dumps(first)
    assert not run(**OWN_PARTS)["changed"]
    inverse = [{**edit, "state": "absent"} for edit in OWN_PARTS["edits"] or []]
    assert run(**{**OWN_PARTS, "edits": inverse})["changed"]
    assert file.read_text() == before


def test_nothing_of_several_edits_is_done_when_one_cannot_be(run: Mad, file: Path) -> None:
    message = run(**OWN_PARTS)["msg"]
    assert "there is no TM_MAD section" in message
    assert file.read_text() == STOCK


def two_files(first: Path, second: Path) -> dict[str, Any]:
    own = {"path": str(second), "kind": "IM_MAD", "name": "im_eh", "attributes": {"EXECUTABLE": "one_im_eh"}}
    given = {"path": str(first), "kind": "VM_MAD", "name": "vmm_eh", "attributes": {"TYPE": "xml"}}
    return {"edits": [given, own], "path": None, "kind": None, "name": None, "attributes": None}


def test_edits_of_several_files_are_all_done(run: Mad, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "monitord.conf"
    other.write_text("A = 1\n")
    result = run(**two_files(file, other), backup=True)
    assert result["changed_files"] == [str(file), str(other)]
    assert [part["before_header"] for part in result["diff"]] == [f"{file} (VM_MAD vmm_eh)", f"{other} (IM_MAD im_eh)"]
    assert [Path(path).read_text() for path in result["backup_files"]] == [STOCK, "A = 1\n"]
    assert ("vmm_eh" in file.read_text(), "im_eh" in other.read_text()) == (True, True)
    assert not run(**two_files(file, other))["changed"]


def test_no_file_is_changed_when_an_edit_of_another_one_cannot_be_made(run: Mad, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "monitord.conf"
    other.write_text("A =\nB")
    message = run(**two_files(file, other))["msg"]
    assert message.startswith(f"{other}: line 2, column 2: expected = after B")
    assert message.endswith("No configuration file was changed.")
    assert file.read_text() == STOCK


def test_a_full_disk_changes_no_file_and_leaves_nothing(
    run: Mad, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two files finds no room, as the disk says it to whoever writes (RLIMIT_FSIZE does so for real)."""
    other = tmp_path / "monitord.conf"
    other.write_text("#" * 20000 + "\n")
    monkeypatch.setattr(mad, "save", limited(mad.save))
    message = run(**two_files(file, other))["msg"]
    assert f"{other}: it cannot be written: File too large" in message
    assert file.read_text() == STOCK
    assert {entry.name for entry in tmp_path.iterdir()} == {"oned.conf", "monitord.conf"}


def limited(save: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """With room for 10 kB in any one file."""

    def within_limits(*arguments: Any) -> list[str]:
        before, usual = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        try:
            return save(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, usual)

    return within_limits


@pytest.mark.parametrize("state", ["present", "absent"])
def test_what_a_killed_run_has_left_beside_the_file_is_removed(run: Mad, file: Path, state: str) -> None:
    run()
    left = file.with_name(".oned.conf.new-k1ll3d99")
    left.write_text(STOCK)
    run(state=state, _ansible_check_mode=True)
    assert left.exists()
    run(state=state)
    assert [path.name for path in file.parent.iterdir()] == ["oned.conf"]


# Runs in a namespace where the last of its files is a mount of its own, so that nothing can take its place.
MOUNTED = """
import json, subprocess, sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.opennebula.elastichosts.plugins.modules import mad
options = json.load(sys.stdin)
subprocess.run(["mount", "--bind", sys.argv[1], sys.argv[1]], check=True)
with patch_module_args(options):
    mad.main()
"""


def test_a_file_that_cannot_be_replaced_leaves_all_of_them_as_they_were(file: Path, tmp_path: Path) -> None:
    mounted = tmp_path / "monitord.conf"
    mounted.write_text(STOCK)
    edits = [{**SECTION, "path": str(path)} for path in (file, mounted)]
    own_users = [] if os.geteuid() == 0 else ["--map-root-user", "--user"]
    command = ["unshare", "--mount", *own_users, sys.executable, "-c", MOUNTED, str(mounted)]
    done = subprocess.run(
        command,
        input=json.dumps({"edits": edits}),
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("this machine gives us no mount namespace (unshare --mount)")
    message = json.loads(done.stdout)["msg"]
    assert f"{mounted}: it cannot be written: Device or resource busy. It is a mount of its own" in message
    assert message.endswith("unmount it first. No configuration file was changed.")
    assert (file.read_text(), mounted.read_text()) == (STOCK, STOCK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["monitord.conf", "oned.conf"]


def test_an_immutable_file_is_noticed_before_any_is_changed(run: Mad, file: Path) -> None:
    if os.geteuid() != 0 or subprocess.run(["chattr", "+i", file], capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can make a file immutable, and not on every file system")
    try:
        message = run(_ansible_check_mode=True)["msg"]
    finally:
        subprocess.run(["chattr", "-i", file], check=True)
    assert message == f"{file}: it is immutable, so that root cannot replace it: see lsattr, and chattr -i. " + (
        "No configuration file was changed."
    )


def test_an_edit_needs_a_file(run: Mad) -> None:
    message = run(edits=[{"kind": "VM_MAD", "name": "a"}], path=None, kind=None, name=None, attributes=None)["msg"]
    assert "the edit of VM_MAD has no path: name its file" in message


class TestRefusals:
    def refused(self, file: Path, result: dict[str, Any], content: str = STOCK) -> str:
        assert result["failed"]
        assert file.read_text() == content
        assert len(list(file.parent.iterdir())) == 1
        message: str = result["msg"]
        assert str(file) in message
        assert message.endswith("No configuration file was changed.")
        return message

    def test_a_file_that_does_not_parse_is_named_with_line_and_column(self, run: Mad, file: Path) -> None:
        file.write_text("A = 1\nB = [ C = 1\n")
        message = self.refused(file, run(backup=True), "A = 1\nB = [ C = 1\n")
        assert "line 2, column 5: the [ of B is never closed" in message

    def test_a_section_that_stands_twice_is_named_with_its_lines(self, run: Mad, file: Path) -> None:
        text = "VM_MAD=[NAME=vmm_eh]\nVM_MAD=[NAME=vmm_eh]\n"
        file.write_text(text)
        assert "at lines 1 and 2" in self.refused(file, run(), text)

    @pytest.mark.parametrize("words", [{"ARGUMENTS": ["eh"]}, {"ARGUMENTS": {"-d": "eh"}}])
    def test_words_that_are_no_lists_by_option(self, run: Mad, file: Path, words: object) -> None:
        message = self.refused(file, run(attributes=None, name=None, words=words))
        assert "the words of ARGUMENTS have to be lists by option, for example -d: [eh]" in message

    @pytest.mark.parametrize("value", [["a"], {"a": "b"}])
    def test_a_list_or_dictionary_as_a_value(self, run: Mad, file: Path, value: object) -> None:
        assert "the attribute TYPE has to be a text or a number" in self.refused(file, run(attributes={"TYPE": value}))

    def test_a_file_that_is_not_there(self, run: Mad, tmp_path: Path) -> None:
        message = run(path=str(tmp_path / "none.conf"))["msg"]
        assert "none.conf: the file cannot be read: No such file or directory" in message

    @pytest.mark.parametrize("check", [True, False])
    @pytest.mark.parametrize("linked", [True, False])
    def test_a_pipe_or_a_device_is_neither_read_nor_replaced(
        self, run: Mad, tmp_path: Path, check: bool, linked: bool
    ) -> None:
        pipe, socket = tmp_path / "pipe", tmp_path / "socket"
        os.mkfifo(pipe)
        os.mknod(socket, stat.S_IFSOCK)
        (tmp_path / "link").symlink_to(pipe)
        before = sorted(path.name for path in tmp_path.iterdir())
        for path in (tmp_path / "link" if linked else pipe, socket):
            for state in ("present", "absent"):
                message = run(path=str(path), state=state, _ansible_check_mode=check)["msg"]
                assert message.endswith(": Not a regular file. No configuration file was changed.")
        assert sorted(path.name for path in tmp_path.iterdir()) == before
        assert pipe.is_fifo()
        assert socket.is_socket()

    @pytest.mark.usefixtures("without_privileges")
    @pytest.mark.parametrize("check", [True, False])
    def test_a_folder_that_cannot_be_written(self, closed_file: Path, run: Mad, check: bool) -> None:
        message = self.refused(closed_file, run(path=str(closed_file), _ansible_check_mode=check))
        assert f"the folder {closed_file.parent} is not writable for this user" in message
