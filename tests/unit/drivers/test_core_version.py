# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release it is, by each layer of the recipe (opennebula-drivers 1.7), and what depends on it."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.core_version import (
    CoreVersion,
    short_monitor_protocol,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.layout import layout
from tests.core.grammar import parse_template, vectors
from tests.unit.drivers.conftest import Site

EVERY_RELEASE = (
    "2.0.1", "2.2.1", "3.0.0", "3.2.1", "3.4.1", "3.6.0", "3.8.5", "4.0.1", "4.2.0", "4.4.1", "4.6.2", "4.8.0",
    "4.10.2", "4.12.3", "4.14.2", "5.0.2", "5.4.13", "5.8.5", "5.10.5", "5.12.0", "6.0.0", "6.2.0", "6.6.0", "6.10.5",
    "7.0.1", "7.4.0",
)  # fmt: skip
COPYRIGHT = "Copyright 2002-2013, OpenNebula Project (OpenNebula.org), C12G Labs\\n\\n"


class Traces:
    """What an OpenNebula leaves where a driver can look."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "one" / "var" / "remotes").mkdir(parents=True)
        self.process = root / "proc"
        self.process.mkdir()

    def program(self, name: str, says: str) -> None:
        file = self.root / name
        file.write_text(f"#!/bin/sh\n[ \"$1\" = -v ] && printf '{says}'\n")
        file.chmod(0o755)
        (self.process / "exe").symlink_to(file)

    def remotes(self, version: str) -> None:
        (self.root / "one" / "var" / "remotes" / "VERSION").write_text(version)

    def config(self, *keys: str) -> None:
        (self.root / "one" / "var" / "config").write_text("".join(f"{key}=60\n" for key in keys))

    def found(self, option: str = "", protocol: str = "") -> tuple[int, int] | None:
        return CoreVersion(layout(str(self.root / "one")), option, protocol, str(self.process))()


@pytest.fixture
def traces(tmp_path: Path) -> Traces:
    return Traces(tmp_path)


def test_arguments_outrank_the_program_it_the_remotes_and_they_the_configuration(traces: Traces) -> None:
    assert traces.found() is None
    traces.config("MANAGER_TIMER", "HOST_MONITORING_INTERVAL")
    assert traces.found() == (2, 0)
    traces.remotes("4.4.1\n")
    assert traces.found() == (4, 4)
    traces.program("oned", f"{COPYRIGHT}OpenNebula 4.2.0 is distributed and licensed\\n")
    assert traces.found() == (4, 2)
    assert traces.found(protocol="2.0-3.8") == (2, 0)
    assert traces.found("3.8", "4.0-4.2") == (3, 8)
    assert traces.found("three") == (4, 2), "an option that names no release says nothing"


def test_onemonitord_may_be_the_parent_and_any_other_program_is_not_run(traces: Traces, tmp_path: Path) -> None:
    traces.program("onemonitord", "OpenNebula 6.10.5 (abcdef)\\n")
    assert traces.found() == (6, 10)
    other = Traces(tmp_path / "other")
    other.program("python3", "OpenNebula 6.10.5\\n")
    assert other.found() is None


@pytest.mark.parametrize(
    ("keys", "first"),
    [
        (("HOST_MONITORING_INTERVAL", "VM_POLLING_INTERVAL", "VM_DIR"), (2, 0)),
        (("HOST_MONITORING_INTERVAL", "MONITORING_INTERVAL"), (4, 0)),  # the older one is left from an upgrade
        (("MONITORING_INTERVAL", "MONITORING_INTERVAL_HOST"), (5, 6)),
        (("MANAGER_TIMER",), None),
    ],
)
def test_of_the_dumped_configuration_the_newest_key_counts(
    traces: Traces, keys: tuple[str, ...], first: tuple[int, int] | None
) -> None:
    traces.config(*keys)
    assert traces.found() == first


@pytest.mark.parametrize(
    ("release", "generation"), [(None, ""), ((3, 8), "2.0-3.8"), ((4, 0), "4.0-4.2"), ((4, 2), "4.0-4.2")]
)
def test_a_monitor_of_three_words_is_i1_or_i2_or_nobody_knows(release: tuple[int, int] | None, generation: str) -> None:
    assert short_monitor_protocol(release) == generation


@pytest.mark.parametrize("release", EVERY_RELEASE)
def test_every_release_is_told_of_its_vms_in_its_own_words(site: Site, release: str) -> None:
    """The judge of the stand-in refuses what would harm: before 4.14 a word CPU would replace the template's CPU."""
    with site.core(release, grace=0.5) as core:
        core.start_vmm()
        core.start_im()
        host = core.create_host("eh")
        core.wait_host(host, "MONITORED")
        vm = site.running(core)
        (server,) = site.servers()
        if core.release.im != "5.12-7.4":
            core.monitor(host)
            core.answered()
        if core.release.poll:
            core.poll(vm)
            core.answered()
        else:
            core.wait_for(lambda: vm.address, "an address")
        memory = "MEMORY" if core.release.plain_words else "USEDMEMORY"
        assert vm.monitoring[memory] == str(500 * 1024)
        assert vm.monitoring["GUEST_IP"] == server["nic:0:ip"]
        assert (vm.monitoring["EH_UUID"], vm.monitoring["EH_ZONE"]) == (vm.deploy_id, "127.0.0.1")
        assert vm.monitoring["EH_VNC"] == server["vnc:ip"]
        assert ("DISKRDBYTES" in vm.monitoring) is core.release.plain_words
        core.terminate(vm)
        core.wait(vm, "DONE")
        assert site.servers() == []


def test_without_any_trace_a_host_is_refused_in_i1_and_i2_and_told_what_to_write(site: Site) -> None:
    with site.core("3.8.5") as core:
        (core.var / "config").unlink()
        core.start_im()
        host = core.wait_host(core.create_host("eh"), "ERROR")
        assert "add --one-version X.Y to the ARGUMENTS of the IM_MAD section" in host.error


@pytest.mark.parametrize("arguments", ["--one-version 4.2 eh", "--generation I2"])
def test_what_arguments_say_needs_no_trace(site: Site, arguments: str) -> None:
    with site.core("4.2.0") as core:
        shutil.rmtree(core.var / "remotes", ignore_errors=True)
        (core.var / "config").unlink()
        core.start_im(arguments=arguments)
        core.wait_host(core.create_host("eh"), "MONITORED")


def test_wild_servers_are_importable_from_4_14_on(site: Site) -> None:
    site.endpoint.call("/servers/create/stopped", {"name": "wild", "cpu": "500", "mem": "256", "persistent": "true"})
    offered = {}
    for release in ("4.2.0", "4.12.3", "4.14.2", "5.10.5"):
        with site.core(release) as core:
            core.start_im()
            core.wait_host(core.create_host("eh"), "MONITORED")
            (answer,) = [one for one in core.answers if one.action == "MONITOR"]
            (wild,) = vectors(list(answer.items), "VM")
            assert wild["ID"] == "-1"
            offered[release] = wild.get("IMPORT_TEMPLATE", "")
    assert [release for release, template in offered.items() if template] == ["4.14.2", "5.10.5"]
    assert parse_template(base64.b64decode(offered["4.14.2"]).decode())
