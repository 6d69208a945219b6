# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No other user can open a file that holds the key of an account: during an installation, an upgrade and a killed play.

A process of the user nobody looks at everything in the folder of the configuration, again and again, while a play runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.front_ends import FrontEnd
from tests.support.endpoint import Endpoint
from tests.support.plays import Plays
from tests.unit.role.test_role_killed import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a reader that is another user")

# Arguments: the folder, the key, a file that ends it. Also tries names that a folder which cannot be listed would hide.
READER = """
import json, os, sys, time
top, key, end = sys.argv[1:]
os.setgroups([]); os.setgid(65534); os.setuid(65534)
hidden = [f"{top}/vmm_eh/vmm_ehrc", f"{top}/vmm_eh/hosts/ownrc"]
looks, open_files, with_key = 0, set(), set()
print("looks", flush=True)
while not os.path.exists(end):
    looks += 1
    time.sleep(0.001)  # leaves the processor to the play
    found = [os.path.join(folder, name) for folder, _, names in os.walk(top) for name in names]
    for path in found + hidden:
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError:
            continue
        open_files.add(os.path.relpath(path, top))
        if key.encode() in content:
            with_key.add(os.path.relpath(path, top))
print(json.dumps([looks, sorted(open_files), sorted(with_key)]))
"""


class Site:
    """A front-end with a host that has an account of its own, and the plays for it."""

    def __init__(self, folder: Path, cloud: Endpoint) -> None:
        self.cloud = cloud
        self.front_end = FrontEnd(folder / "one", "7.4")
        self.etc = self.front_end.folders["etc"]
        host = {"name": "own", "auth": cloud.auth}
        self.plays = Plays(folder, cloud, {"one": self.front_end}, {"one": {"one_eh_driver_hosts": [host]}})
        self._end = folder / "end"

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Let nobody look as long as this lasts. Nobody can open what is public, and no file with the key."""
        command = [sys.executable, "-c", READER, str(self.etc), self.cloud.key, str(self._end)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdout
            assert reader.stdout.readline() == "looks\n"
            try:
                yield
            finally:
                self._end.touch()
            looks, open_files, with_key = json.loads(reader.stdout.read())
        self._end.unlink()
        assert looks > 10
        assert "oned.conf" in open_files
        assert with_key == []

    def modes(self) -> dict[str, int]:
        names = ("vmm_eh", "im_eh", "vmm_eh/hosts", "vmm_eh/vmm_ehrc", "vmm_eh/hosts/ownrc")
        return {name: (self.etc / name).stat().st_mode & 0o777 for name in names}

    def holds_the_key(self, name: str) -> bool:
        path = self.etc / "vmm_eh" / name
        return path.is_file() and self.cloud.key in path.read_text()


def end_workers(words: str) -> None:
    """Kill the workers of a play, which have these words in their command line, with what they have started.

    A worker whose play is gone waits for ever when its result is larger than a pipe.
    """
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if words.encode() in path.read_bytes():
                os.killpg(int(path.parent.name), signal.SIGKILL)


CLOSED = {
    **dict.fromkeys(("vmm_eh", "im_eh", "vmm_eh/hosts"), 0o750),
    **dict.fromkeys(("vmm_eh/vmm_ehrc", "vmm_eh/hosts/ownrc"), 0o600),
}
FILES = ("vmm_ehrc", "hosts/ownrc")


@pytest.fixture
def site(readable: Path, request: pytest.FixtureRequest, endpoint: Endpoint) -> Site:
    folder = readable / request.node.name.replace("[", "-").replace("]", "").replace(" ", "-")
    folder.mkdir(mode=0o755)
    return Site(folder, endpoint)


def test_during_an_installation_and_an_upgrade_that_closes_what_an_older_version_left_open(site: Site) -> None:
    with site.watched():
        assert site.plays.play("install_driver").failed("one") == 0
    assert [site.holds_the_key(name) for name in FILES] == [True, True]
    assert site.modes() == CLOSED
    rc = site.etc / "vmm_eh/vmm_ehrc"
    rc.write_text(rc.read_text().replace(site.cloud.auth, ""))
    (site.etc / "vmm_eh/hosts/ownrc").unlink()
    rc.chmod(0o644)
    for name in ("vmm_eh", "im_eh", "vmm_eh/hosts"):
        (site.etc / name).chmod(0o755)
    with site.watched():
        assert site.plays.play("install_driver").failed("one") == 0
    assert [site.holds_the_key(name) for name in FILES] == [True, True]
    assert site.modes() == CLOSED


@pytest.mark.parametrize("moment", [pytest.param("file", marks=pytest.mark.whole), "key"])
def test_after_a_play_that_was_killed(site: Site, moment: str) -> None:
    seen: dict[str, Callable[[], bool]] = {
        "file": (site.etc / "vmm_eh/vmm_ehrc").exists,
        "key": lambda: site.holds_the_key("vmm_ehrc"),
    }
    with site.watched():
        killed = site.plays.begin("install_driver")
        wait_until(seen[moment])
        killed.kill()
        killed.wait()
        end_workers(str(site.plays.inventory))
