# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A play of the role that is killed between its changes and the restart: the next one makes good."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.front_ends import FrontEnd
from tests.support.endpoint import Endpoint
from tests.support.plays import Plays


def wait_until(seen: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not seen():
        assert time.monotonic() < until
        time.sleep(0.01)


def still_run(words: str) -> bool:
    """Whether processes with these words in their command line are there: workers outlive ansible-playbook a little."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if words.encode() in path.read_bytes():
                return True
        except OSError:
            continue
    return False


def test_the_next_run_restarts_opennebula_and_registers(tmp_path: Path, endpoint: Endpoint) -> None:
    front_end = FrontEnd(tmp_path / "one", "3.8")
    oned = front_end.folders["etc"] / "oned.conf"
    plays = Plays(tmp_path, endpoint, {"one": front_end})
    killed = plays.begin("install_driver")
    wait_until(lambda: "vmm_eh" in oned.read_text())
    killed.kill()
    killed.wait()
    wait_until(lambda: not still_run(str(plays.inventory)))
    assert front_end.state()["hosts"] == []
    played = plays.play("install_driver")
    assert (played.failed("one"), played.changed("one") > 0) == (0, True)
    assert front_end.state()["loaded"] == ["im_eh", "vmm_eh"]
    assert [host["name"] for host in front_end.state()["hosts"]] == ["eh"]
