# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""IMAGE: a copy of a drive per VM, made before its server and gone after it, whatever happens between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import ElasticHosts
from tests.core import Core, Vm
from tests.unit.drivers.conftest import Site, until
from tests.unit.drivers.proxy import Proxy

MARK = b"golden image " * 40


class Shop:
    """A site whose account has an image to copy."""

    def __init__(self, site: Site, proxy: Proxy) -> None:
        self.site = site
        self.proxy = proxy
        self.image = site.endpoint.call("/drives/create", {"name": "golden", "size": "8M"}).json()["drive"]
        self.write(self.image, MARK)

    def template(self, image: str = "ide:0:0 golden", **more: str) -> dict[str, str]:
        return {
            "NAME": "bitrot",
            "CPUMHZ": "500",
            "MEMORY": "500",
            "IMAGE": image,
            "NICDHCP": "nic:0:dhcp auto",
            **more,
        }

    def copies(self) -> dict[str, dict[str, Any]]:
        """The drives that are no image."""
        found = self.site.endpoint.call("/drives/info").json()
        return {drive["drive"]: drive for drive in found if drive.get("user:one-vm")}

    def write(self, drive: str, data: bytes) -> None:
        endpoint = self.site.endpoint
        with ElasticHosts(endpoint.url, endpoint.auth) as client:
            client.drives.write(drive, 0, data)

    def content(self, drive: str) -> bytes:
        answer = self.site.endpoint.call(f"/drives/{drive}/read/0/{len(MARK)}", method="GET")
        return answer.content

    def begin(self, core: Core, template: dict[str, str] | None = None) -> Vm:
        host = next(iter(core.model.hosts.values()), None) or core.create_host("eh")
        vm = core.create_vm(template or self.template())
        core.deploy(vm, host)
        return vm

    def off(self, core: Core) -> tuple[Vm, str]:
        """A VM that is powered off, and its copy."""
        vm = self.begin(core)
        core.wait(vm, "RUNNING")
        (drive,) = self.copies()
        core.poweroff(vm, hard=True)
        core.wait(vm, "POWEROFF")
        return vm, drive


@pytest.fixture
def shop(site: Site) -> Iterator[Shop]:
    for drive in site.endpoint.call("/drives/info").json():
        site.endpoint.call(f"/drives/{drive['drive']}/destroy")
    with Proxy(site.endpoint.url) as proxy:
        site.configure(EHURI=proxy.url)
        yield Shop(site, proxy)


def test_each_vm_gets_a_copy_of_its_own_that_carries_its_keys_and_goes_with_it(shop: Shop) -> None:
    with shop.site.core("7.4.0") as core:
        core.start_vmm()
        first, second = shop.begin(core), shop.begin(core)
        core.wait(first, "RUNNING")
        core.wait(second, "RUNNING")
        by_vm = {drive["user:one-vm"]: drive for drive in shop.copies().values()}
        assert set(by_vm) == {str(first.id), str(second.id)}
        for server in shop.site.servers():
            drive = by_vm[server["user:one-vm"]]
            assert server["ide:0:0"] == drive["drive"]
            assert server["boot"] == "ide:0:0"
            assert (drive["user:one-cloud"], drive["size"]) == (shop.site.cloud, 8 << 20)
            assert shop.content(drive["drive"]) == MARK
        core.terminate(first)
        core.wait(first, "DONE")
        assert {drive["user:one-vm"] for drive in shop.copies().values()} == {str(second.id)}
        core.delete(second)
        core.wait(second, "DONE")
        assert shop.copies() == {}
        assert shop.content(shop.image) == MARK


@pytest.mark.parametrize("release", ["2.0.1", "3.8.5"])
def test_old_releases_have_images_too(shop: Shop, release: str) -> None:
    with shop.site.core(release) as core:
        core.start_vmm()
        vm = shop.begin(core)
        core.wait(vm, "RUNNING")
        assert len(shop.copies()) == 1
        core.terminate(vm)
        core.wait(vm, "DONE")
        assert shop.copies() == {}


def test_size_tier_and_several_images_reach_the_cloud(shop: Shop) -> None:
    with shop.site.core("7.4.0") as core:
        core.start_vmm()
        template = shop.template(f"block:0 golden 20M, block:1 {shop.image}", TIER="ssd", TAGS="web blue")
        vm = shop.begin(core, template)
        core.wait(vm, "RUNNING")
        (server,) = shop.site.servers()
        drives = shop.copies()
        assert drives[server["block:0"]]["size"] == 20 << 20
        assert drives[server["block:1"]]["size"] == 8 << 20
        assert {drive["tier"] for drive in drives.values()} == {"ssd"}
        assert server["boot"] == "block:0"
        assert set(server["tags"].split()) == {"web", "blue"}


def test_what_cannot_be_copied_is_said_in_a_sentence_and_makes_nothing(shop: Shop) -> None:
    with shop.site.core("7.4.0") as core:
        core.start_vmm()
        for image, sentence in (
            ("ide:0:0 nowhere", "no drive 'nowhere' to copy from"),
            ("ide:0:0 golden 4M", "needs 8388608 bytes"),
            ("sda golden", 'it must be "DEVICE SOURCE [SIZE]"'),
        ):
            vm = shop.begin(core, shop.template(image))
            core.wait(vm, "BOOT_FAILURE")
            assert sentence in vm.log[-1]
        assert shop.copies() == {}
        assert shop.site.servers() == []
        assert shop.proxy.count("POST") == 0


def test_a_server_that_cannot_be_made_leaves_no_drive(shop: Shop) -> None:
    with shop.site.core("7.4.0") as core:
        core.start_vmm()
        shop.proxy.fault("POST /servers/create", status=402, code="billing")
        vm = shop.begin(core)
        core.wait(vm, "BOOT_FAILURE")
        assert "402" in vm.log[-1]
        assert shop.copies() == {}
        core.retry(vm)
        core.wait(vm, "RUNNING")
        assert len(shop.copies()) == 1


def test_power_off_keeps_the_copy_with_what_is_on_it(shop: Shop) -> None:
    with shop.site.core("7.4.0") as core:
        core.start_vmm()
        vm, drive = shop.off(core)
        shop.write(drive, b"mine")
        core.resume(vm)
        core.wait(vm, "RUNNING")
        assert set(shop.copies()) == {drive}
        assert shop.content(drive)[:4] == b"mine"


def test_drives_that_the_template_gains_or_loses_while_off_are_there_or_gone_at_the_next_start(shop: Shop) -> None:
    with shop.site.core("7.4.0") as core:
        core.start_vmm()
        data = shop.site.new_drive()
        vm = shop.begin(core, shop.template(DRIVE=f"ide:0:1 {data}"))
        core.wait(vm, "RUNNING")
        (drive,) = shop.copies()
        core.poweroff(vm, hard=True)
        core.wait(vm, "POWEROFF")
        vm.template = tuple(
            (k, {**shop.template("ide:0:0 golden, ide:1:0 golden"), "BOOT": "ide:0:0"}) if k == "EH" else (k, v)
            for k, v in vm.template
        )
        core.resume(vm)
        core.wait(vm, "RUNNING")
        (server,) = shop.site.servers()
        assert "ide:0:1" not in server
        assert server["ide:0:0"] == drive
        assert set(shop.copies()) == {drive, server["ide:1:0"]}
        core.terminate(vm)
        core.wait(vm, "DONE")
        assert shop.copies() == {}
        assert shop.site.endpoint.call(f"/drives/{data}/info", method="GET").ok, "a drive of DRIVE is the user's"


def test_a_start_that_another_driver_does_as_well_leaves_one_copy_at_each_device(shop: Shop) -> None:
    with shop.site.core("7.4.0") as core:
        core.start_vmm()
        vm, drive = shop.off(core)
        two = shop.template("ide:0:0 golden, ide:1:0 golden")
        vm.template = tuple((k, {**two, "BOOT": "ide:0:0"}) if k == "EH" else (k, v) for k, v in vm.template)
        keys = {"user:one-cloud": shop.site.cloud, "user:one-vm": str(vm.id), "user:one-device": "ide:1:0"}
        made = {"name": "of another driver", "size": "8M", **keys}

        def another() -> None:
            theirs = shop.site.endpoint.call("/drives/create", made).json()["drive"]
            shop.site.endpoint.call(f"/servers/{vm.deploy_id}/set", {"ide:1:0": theirs})

        shop.proxy.fault("/image/", meanwhile=another)
        core.resume(vm)
        core.wait(vm, "RUNNING")
        (server,) = shop.site.servers()
        copies = shop.copies()
        assert server["ide:0:0"] == drive
        assert copies[server["ide:1:0"]]["name"] == "of another driver"
        assert set(copies) == {drive, server["ide:1:0"]}, "its own copy is gone"


@pytest.mark.parametrize("call", ["POST /drives/create", "/image/", "POST /servers/create"])
def test_a_delete_while_the_copy_is_made_leaves_nothing(shop: Shop, call: str) -> None:
    with shop.site.core("7.4.0") as core:
        core.start_vmm()
        shop.proxy.fault(call, after=0.5)
        vm = shop.begin(core)
        until(lambda: shop.proxy.count(call), call)
        time.sleep(0.1)
        core.delete(vm)
        core.wait(vm, "DONE")
        core.answered()
        until(lambda: not shop.copies() and not shop.site.servers(), "that nothing is left")


def test_a_drive_that_another_server_uses_is_kept(shop: Shop) -> None:
    with shop.site.core("7.4.0") as core:
        core.start_vmm()
        vm = shop.begin(core)
        core.wait(vm, "RUNNING")
        (drive,) = shop.copies()
        shop.site.endpoint.call(
            "/servers/create/stopped",
            {"name": "rescue", "cpu": 500, "mem": 256, "persistent": "true", "ide:0:1": drive},
        )
        core.terminate(vm, hard=True)
        core.wait(vm, "DONE")
        assert set(shop.copies()) == {drive}
        assert any("is named by another server, so it was kept" in text for text in core.logs())


# --- a source in use


def test_a_source_that_a_running_server_uses_is_refused_unless_the_settings_allow_it(shop: Shop) -> None:
    running = shop.site.endpoint.call(
        "/servers/create", {"name": "golden", "cpu": 500, "mem": 256, "persistent": "true", "ide:0:0": shop.image}
    ).json()["server"]
    with shop.site.core("7.4.0") as core:
        core.start_vmm()
        vm = shop.begin(core)
        core.wait(vm, "BOOT_FAILURE")
        assert vm.error.startswith(
            "DEPLOY: Stop the server that uses the source of IMAGE, or set SOURCE_IN_USE=allow: "
        )
        assert f"is in use by {running}, and may change while it is copied." in vm.log[-1]
        assert shop.copies() == {}
        assert shop.proxy.count("POST") == 0
        shop.site.configure(SOURCE_IN_USE="perhaps")
        core.retry(vm)
        core.wait(vm, "BOOT_FAILURE")
        assert "Correct SOURCE_IN_USE in the settings: 'perhaps' in " in vm.log[-1]
        assert "is none of refuse, allow; write SOURCE_IN_USE=refuse." in vm.log[-1]
        shop.site.configure(SOURCE_IN_USE="allow")
        core.retry(vm)
        core.wait(vm, "RUNNING")
        assert len(shop.copies()) == 1
        shop.site.configure(SOURCE_IN_USE="refuse")
        shop.site.endpoint.call(f"/servers/{running}/stop")
        core.wait(shop.begin(core), "RUNNING")
