# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in's XML-RPC interface answers as each release does, and the drivers' own questions understand it."""

from __future__ import annotations

import hashlib
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.core_api import (
    CoreApi,
    CoreRefused,
    CoreSilent,
)
from tests.core import Core, CoreFailure
from tests.core.rpc import XmlRpc

RELEASES = ["2.0.1", "2.2.1", "3.0.0", "3.8.5", "4.14.2", "5.10.5", "6.10.0", "7.4.0"]


@pytest.fixture(params=RELEASES)
def core(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Core]:
    """Without drivers: a VM that was on two hosts."""
    with Core(request.param, one_location=tmp_path) as made:
        made.listen()
        vm = made.create_vm({"NAME": "bitrot"}, name="a <name>")
        for vm.host in (made.create_host("eh"), made.create_host("node1", vm_mad="vmm_kvm")):
            made._record(vm)
        made.model.turn(vm, "RUNNING", 0.0)
        vm.deploy_id = "0a1b2c3d-1111-4222-8333-444455556666"
        yield made


@pytest.fixture
def rpc(core: Core) -> XmlRpc:
    assert core.rpc is not None
    return core.rpc


@pytest.fixture
def api(rpc: XmlRpc) -> CoreApi:
    return CoreApi({"HOME": str(rpc.home)})


def plain(rpc: XmlRpc) -> Any:
    return xmlrpc.client.ServerProxy((rpc.home / ".one" / "one_endpoint").read_text().strip())


def test_a_session_has_the_password_in_the_form_of_the_release(core: Core, rpc: XmlRpc) -> None:
    forms = {"as it is": "secret", "hashed": hashlib.sha1(b"secret", usedforsecurity=False).hexdigest()}
    taken = [form for form, word in forms.items() if plain(rpc).one.vm.info(f"oneadmin:{word}", 0)[0]]
    assert taken == ["hashed" if core.release.name.startswith("2.") else "as it is"]


def test_a_vm_is_told_of_with_its_newest_history_record_also_when_it_has_ended(core: Core, api: CoreApi) -> None:
    vm = core.model.vms[0]
    for state, number in (("RUNNING", 3), ("DONE", 6)):
        core.model.turn(vm, state, 0.0)
        told = api.vm(0)
        assert (told.id, told.name, told.state, told.deploy_id) == (0, "a <name>", number, vm.deploy_id)
        assert (told.history_host, told.history_seq) == ("node1", 1)


def test_a_vm_that_is_not_known_is_refused_and_asks_once_when_the_session_is_known(
    core: Core, rpc: XmlRpc, api: CoreApi
) -> None:
    with pytest.raises(CoreRefused):
        api.vm(77)
    assert api.vm(0).id == 0
    asked = rpc.count("vm.info")
    with pytest.raises(CoreRefused):
        api.vm(77)
    assert rpc.count("vm.info") == asked + 1


def test_hosts_are_told_of_with_their_drivers(api: CoreApi) -> None:
    assert [(host.name, host.vm_driver) for host in api.hosts()] == [("eh", "vmm_eh"), ("node1", "vmm_kvm")]


def test_the_vms_that_have_not_ended_are_told_of_from_an_id_on(core: Core, api: CoreApi) -> None:
    if core.release.name.startswith("2."):
        with pytest.raises(CoreSilent):
            api.deploy_ids(0)
        return
    core.create_vm({"NAME": "second"})
    third = core.create_vm({"NAME": "third"})
    assert [vm for vm, _deploy_id in api.deploy_ids(0)] == [0, 1, 2]
    core.model.turn(third, "DONE", 0.0)
    assert api.deploy_ids(0) == [(0, core.model.vms[0].deploy_id), (1, "")]
    assert api.deploy_ids(1) == [(1, "")]


def test_without_a_session_or_a_core_nothing_is_told(rpc: XmlRpc, tmp_path: Path) -> None:
    with pytest.raises(CoreSilent, match="holds no user:password"):
        CoreApi({"HOME": str(tmp_path / "nobody")}).check()
    for address in (
        "http://127.0.0.1:9/RPC2",
        "http://me:s3cret@127.0.0.1:9/RPC2",
        "http://me:s3cret@[::1",
        "s3cret@x",
    ):
        with pytest.raises(CoreSilent, match="cannot be asked about VM 0") as caught:
            CoreApi({"HOME": str(rpc.home), "ONE_XMLRPC": address}).vm(0)
        assert "s3cret" not in str(caught.value)
    with pytest.raises(CoreSilent, match="the file that ONE_AUTH names holds no user:password") as caught:
        CoreApi({"HOME": str(rpc.home), "ONE_AUTH": "oneadmin:s3cret"}).vm(0)
    assert "s3cret" not in str(caught.value)


def test_importvm_and_a_silent_migration_exist_where_they_do(core: Core) -> None:
    version = tuple(int(part) for part in core.release.name.split(".")[:2])
    host, vm = core.model.hosts[0], core.model.vms[0]
    if (4, 14) <= version < (7, 0):
        assert core.importvm("0a1b2c3d-1111-4222-8333-444455557777", host).state == "RUNNING"
    else:
        with pytest.raises(CoreFailure):
            core.importvm("0a1b2c3d-1111-4222-8333-444455557777", host)
    if version < (3, 2):
        core.move(vm, host)
        assert vm.host is host
    else:
        with pytest.raises(CoreFailure):
            core.move(vm, host)
