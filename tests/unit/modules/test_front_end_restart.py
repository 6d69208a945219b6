# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""front_end_restart: nothing is stopped that cannot be shown to start, and a start that fails is tried once more."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.opennebula.elastichosts.plugins.module_utils import front_end as machine
from ansible_collections.opennebula.elastichosts.plugins.modules import front_end_restart
from tests.front_ends import FrontEnd, namespaces_work
from tests.front_ends.core import run_inside

Run = Callable[..., dict[str, Any]]
# Runs inside the namespace.
RESTART = """
import sys
from tests.support.collection import COLLECTIONS

sys.path.insert(0, str(COLLECTIONS))
from ansible_collections.opennebula.elastichosts.plugins.module_utils.front_end import FrontEnd
from ansible_collections.opennebula.elastichosts.plugins.module_utils.front_end_service import Service

print(Service(FrontEnd("", sys.argv[1])).restart(False, 5) or "''")
"""
TWICE = ["one stop", "one start", "one start"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_module(where: FrontEnd, **options: Any) -> dict[str, Any]:
        given = {"one_location": str(where.root), "owner": "", "timeout": 5, **options}
        with patch_module_args(given), pytest.raises(SystemExit):
            front_end_restart.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_module


@pytest.mark.parametrize("release", ["2.0", "3.8", "5.12", "7.4"])
def test_a_self_contained_installation_is_stopped_and_started_with_what_its_programs_load_by(
    run: Run, tmp_path: Path, release: str
) -> None:
    where = FrontEnd(tmp_path / "one", release)
    assert run(where) == {**run(where), "changed": True, "running": True, "service": "one"}
    assert where.state()["running"]
    assert where.calls() == ["one stop", "one start"] * 2


def test_what_the_owner_loads_by_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUBYLIB", "/opt/ruby")
    monkeypatch.setenv("GEM_HOME", "/opt/gems")
    environment = machine.FrontEnd(f"{tmp_path}/", "").as_owner()["env"]
    assert (environment["RUBYLIB"], environment["GEM_HOME"]) == (f"{tmp_path}/lib/ruby:/opt/ruby", "/opt/gems")
    assert machine.FrontEnd("", "").as_owner()["env"]["RUBYLIB"] == "/opt/ruby"


def without_gem(where: FrontEnd) -> str:
    where.write_state({**where.state(), "missing_gem": "nokogiri"})
    return r"bin/onehost list fails: .*: cannot load such file -- nokogiri \(LoadError\)\. Put that right"


def without_core(where: FrontEnd) -> str:
    (where.folders["bin"] / "oned").write_text("#!/bin/sh\necho 'libxmlrpc.so.3: not found' >&2\nexit 127\n")
    return r"bin/oned -v fails: libxmlrpc\.so\.3: not found\."


def without_ruby(where: FrontEnd) -> str:
    (where.folders["bin"] / "onehost").write_text("#!/nowhere/ruby\n")
    return r"bin/onehost list fails: .*No such file or directory\."


def without_script(where: FrontEnd) -> str:
    (where.folders["bin"] / "one").chmod(0o644)
    return r"bin/one is not there, or no program\."


@pytest.mark.parametrize("spoil", [without_gem, without_core, without_ruby, without_script])
def test_what_cannot_be_shown_to_start_is_not_stopped(
    run: Run, tmp_path: Path, spoil: Callable[[FrontEnd], str]
) -> None:
    where = FrontEnd(tmp_path / "one", "7.4")
    words = spoil(where)
    result = run(where, service="one")
    assert result["failed"]
    assert result["msg"].startswith("OpenNebula was not stopped, because it would not start again: ")
    assert re.search(words, result["msg"])
    assert where.calls() == []
    assert where.state()["running"]


def test_an_installation_without_the_command_line_needs_no_ruby(run: Run, tmp_path: Path) -> None:
    where = FrontEnd(tmp_path / "one", "2.0")
    (where.folders["bin"] / "onehost").unlink()
    assert run(where)["changed"]


def test_a_command_line_that_loads_and_is_refused_is_no_hindrance(run: Run, tmp_path: Path) -> None:
    where = FrontEnd(tmp_path / "one", "5.10")
    where.write_state({**where.state(), "running": False})  # the process is there, and does not answer
    assert run(where)["changed"]
    assert where.calls() == ["one stop", "one start"]


def test_a_start_that_fails_is_tried_once_more(run: Run, tmp_path: Path) -> None:
    where = FrontEnd(tmp_path / "one", "7.4")
    where.write_state({**where.state(), "failing_starts": 1})
    assert run(where)["changed"]
    assert where.calls() == TWICE
    assert where.state()["running"]


@pytest.mark.parametrize(
    ("release", "init", "tried"),
    [
        ("7.4", "systemd", ["systemctl restart opennebula", "systemctl start opennebula"]),
        ("3.8", "sysv", ["opennebula restart", "opennebula start"]),
    ],
)
@pytest.mark.parametrize("failing", [1, 2])
def test_packages_are_started_twice_by_the_init_system(
    readable: Path, release: str, init: str, tried: list[str], failing: int
) -> None:
    if not namespaces_work(readable):
        pytest.skip("this machine gives us no mount namespace with overlays (unshare --mount)")
    where = FrontEnd(readable / f"{release}-{failing}", release, system_wide=True, init=init)
    where.write_state({**where.state(), "failing_starts": failing})
    said = run_inside(where, RESTART, where.owner)
    assert where.calls() == tried, said
    assert where.state()["running"] == (failing == 1)
    command = {"systemd": "systemctl start opennebula", "sysv": "/etc/init.d/opennebula start"}[init]
    assert said.strip().endswith(f"and start it as root with: {command}" if failing == 2 else "''")


def test_the_command_that_starts_opennebula_is_named_when_two_starts_failed(run: Run, tmp_path: Path) -> None:
    where = FrontEnd(tmp_path / "one two", "7.4")
    where.write_state({**where.state(), "failing_starts": 2})
    message = run(where)["msg"]
    assert where.calls() == TWICE
    said, _sign, command = message.partition(" with: ")
    assert said.startswith("OpenNebula was stopped, and two starts failed (one): oned failed to start. Look into ")
    assert command == f"ONE_LOCATION='{where.root}' RUBYLIB='{where.root}/lib/ruby' '{where.root}/bin/one' start"
    bare = {name: value for name, value in os.environ.items() if name not in ("ONE_LOCATION", "RUBYLIB")}
    subprocess.run(["sh", "-c", command], env=bare, check=True)
    assert where.state()["running"]


def test_warnings_of_ruby_are_not_the_reason() -> None:
    said = "/gems/a.rb:3: warning: URI.escape is obsolete\n[HostPoolInfo] User couldn't be authenticated.\n"
    assert machine.CommandResult(255, "", said).reason == "[HostPoolInfo] User couldn't be authenticated"
    assert machine.CommandResult(3, "", "").reason == "exit status 3"
    assert machine.CommandResult(1, "", "Traceback (most recent call last):\nModuleNotFoundError: x\n").conclusion == (
        "ModuleNotFoundError: x"
    )


def wrapped(where: FrontEnd, program: str, script: str) -> None:
    """Put a shell script before a program; `REAL` in it is the program."""
    path = where.folders["bin"] / program
    path.rename(path.with_name(f"{program}.real"))
    path.write_text("#!/bin/sh\n" + script.replace("REAL", f"'{path}.real'"))
    path.chmod(0o755)


def test_a_core_that_hangs_is_restarted(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command line has loaded, and waits for an answer: nothing but a restart helps."""
    monkeypatch.setattr(machine.FrontEnd.call, "__kwdefaults__", {"text": "", "seconds": 2})
    where = FrontEnd(tmp_path / "one", "7.4")
    hangs = tmp_path / "hangs"
    hangs.touch()
    wrapped(where, "onehost", f"[ -e '{hangs}' ] && exec sleep 600\nexec REAL \"$@\"\n")
    wrapped(where, "one", f"rm -f '{hangs}'\nexec REAL \"$@\"\n")
    result = run(where)
    assert (result["changed"], result.get("msg")) == (True, None)
    assert where.state()["running"]


def runs(process: str) -> bool:
    """Whether a process runs; one that ended and is not waited for does not."""
    try:
        return Path("/proc", process, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_a_start_that_hangs_has_begun_does_not_run_beside_the_next(run: Run, tmp_path: Path) -> None:
    where = FrontEnd(tmp_path / "one", "7.4")
    begun = tmp_path / "begun"
    wrapped(where, "one", f'[ "$1" = start ] || exec REAL "$@"\nsleep 600 &\necho $! >> \'{begun}\'\nwait\n')
    assert "two starts failed" in run(where, timeout=1)["msg"]
    processes = begun.read_text().split()
    assert len(processes) == 2
    assert [one for one in processes if runs(one)] == []


def test_a_stop_that_fails_is_no_restart(run: Run, tmp_path: Path) -> None:
    where = FrontEnd(tmp_path / "one", "7.4")
    where.write_state({**where.state(), "stop_fails": True})
    result = run(where)
    assert "The restart of OpenNebula failed (one): oned still running, not stopping" in result["msg"]
    assert where.calls() == ["one stop"]
