# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""libcloud 3.7.0 and pyeh 0.1.6, unmodified, against real guests. Nothing boots from the images that they look for,
which are placeholders: so nobody hears the power button."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.kvm.box import Box, until, virsh
from tests.old_clients.conftest import Run, old_python, run

__all__ = ["old_python", "run"]


def test_libcloud_makes_and_destroys_real_nodes(run: Run, box: Box) -> None:
    seen = run("libcloud_life.py", "SERVERLOVE", str(box.port), box.user, box.key, "auto")
    assert {state for _name, state, *_rest in seen["nodes"]} == {"running"}
    assert seen["destroyed"] and all(seen["destroyed"])
    assert seen["reboot"] and seen["configured"] and seen["shutdown"]
    (left,) = box.servers()
    assert box.domains() == [left], "the node whose power button was pressed runs on"
    assert box.call(f"/servers/{left}/destroy").status_code == 204
    assert box.domains() == []


def obey(box: Box) -> None:
    """The client waits until the guest has obeyed the power button: libvirt ends it in its system's place."""
    presses = len(box.logged("/shutdown 204"))
    until(lambda: len(box.logged("/shutdown 204")) > presses, "the power button is pressed")
    (uuid,) = box.domains()
    virsh("destroy", f"{box.zone}-{uuid}")


def test_pyeh_takes_a_real_instance_through_its_life(run: Run, box: Box) -> None:
    before = {one["uuid"] for one in box.call("/drives/list").json()}
    with ThreadPoolExecutor(1) as threads:
        obeyed = threads.submit(obey, box)
        seen = run("pyeh_life.py", box.url, box.user, box.key, "vm", "ubuntu")
        obeyed.result()
    made = seen["made"]
    assert (made["name"], made["type"], made["status"], made["cpu"]) == ("web", "vm", "active", 500)
    assert made["ip"].startswith("10.177.0.")
    assert seen["got"] == made
    assert (seen["shutdown"], seen["stopped"], seen["cut"]) == (True, "stopped", "stopped")
    assert seen["gone"] is None
    assert seen["fleeting"] == ["false", None]
    assert box.domains() == box.servers() == []
    assert {one["uuid"] for one in box.call("/drives/list").json()} == before
