# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed information driver: what the core believes about hosts and VMs while the cloud lives its own life."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator

import pytest

from tests.core import Core, Host, Vm
from tests.support.endpoint import Endpoint
from tests.unit.bursting.conftest import Installation, Site, until
from tests.unit.bursting.proxy import Proxy


@pytest.fixture
def proxy(site: Site) -> Iterator[Proxy]:
    with Proxy(site.endpoint.url) as running:
        site.configure(EHURI=running.url)
        yield running


def watched(core: Core, site: Site) -> tuple[Host, Vm]:
    """A monitored host with a VM that runs, seen once by both drivers."""
    core.start_vmm()
    core.start_im()
    host = core.create_host("eh")
    core.wait_host(host, "MONITORED")
    vm = site.running(core)
    core.wait_for(lambda: vm.address, "an address")
    return host, vm


def test_what_happens_in_the_cloud_reaches_the_core(site: Site) -> None:
    with site.core("7.4.0", grace=0.5) as core:
        _host, vm = watched(core, site)
        site.endpoint.call(f"/servers/{vm.deploy_id}/stop")
        core.wait(vm, "POWEROFF")
        site.endpoint.call(f"/servers/{vm.deploy_id}/start")
        core.wait(vm, "RUNNING")
        site.endpoint.call(f"/servers/{vm.deploy_id}/destroy")
        core.wait(vm, "UNKNOWN")


def test_servers_of_others_are_listed_as_wild_and_use_capacity(site: Site) -> None:
    wild = site.endpoint.call("/servers/create", {"name": "mail", "cpu": 1000, "mem": 512}).json()["server"]
    with site.core("7.4.0") as core:
        host, _vm = watched(core, site)
        core.wait_for(lambda: host.facts.get("USEDCPU") == "75", "the use of both servers")
        assert host.wilds == (wild,)
        assert host.zombies == ()
        assert host.facts["FREEMEMORY"] == str((2048 - 512 - 500) * 1024)


def test_while_the_cloud_is_silent_no_vm_changes_and_then_the_host_fails_and_recovers(site: Site, proxy: Proxy) -> None:
    site.configure(GRACE=1)
    with site.core("7.4.0", grace=0.2) as core:
        host, vm = watched(core, site)
        proxy.fault("GET /servers/info", status=503, times=1000)
        began = time.monotonic()
        core.wait_host(host, "ERROR")
        assert time.monotonic() - began >= 1
        assert "503" in host.error
        assert vm.state == "UNKNOWN"  # the core's own doing
        proxy.faults.clear()
        core.wait_host(host, "MONITORED", 25)
        core.wait(vm, "RUNNING")


def test_a_short_silence_is_not_noticed(site: Site, proxy: Proxy) -> None:
    with site.core("7.4.0", grace=0.2) as core:
        host, vm = watched(core, site)
        proxy.fault("GET /servers/info", status=503, times=3)
        until(lambda: not proxy.faults[0].times, "the faults")
        time.sleep(1.0)
        core.check()
        assert (host.state, vm.state) == ("MONITORED", "RUNNING")


def test_one_call_per_round_for_any_number_of_vms(site: Site, proxy: Proxy) -> None:
    site.configure(LISTING_PERIOD=1)
    with site.core("7.4.0") as core:
        watched(core, site)
        for _unused in range(5):
            site.running(core, site.template(site.new_drive()))
        time.sleep(1.0)
        before, began = len(proxy.calls), time.monotonic()
        time.sleep(2)
        rounds = (time.monotonic() - began) / 1.0
        assert set(proxy.calls[before:]) == {"GET /servers/info"}
        assert len(proxy.calls) - before <= rounds + 1


def test_a_stopped_host_is_not_spoken_of_any_more(site: Site) -> None:
    with site.core("7.4.0") as core:
        core.start_vmm()
        core.start_im()
        host = core.create_host("eh")
        core.wait_for(lambda: any(a.action == "STATE_VM" for a in core.answers), "the end of the first round")
        core.delete_host(host)
        time.sleep(1.5)
        core.check()


def test_a_driver_that_was_killed_goes_on_where_it_was(site: Site) -> None:
    with site.core("7.4.0") as core:
        host, vm = watched(core, site)
        core.kill("im")
        core.start_im()
        core.monitor(host)
        count = len(core.answers)
        core.wait_for(lambda: any(a.action == "STATE_VM" for a in core.answers[count:]), "the state again")
        assert (host.state, vm.state) == ("MONITORED", "RUNNING")


def test_hosts_of_different_zones_are_kept_apart(installation: Installation, site: Site, deaf: Endpoint) -> None:
    (installation.etc / "vmm_eh" / "hosts" / "zone-brc").write_text(
        f"EHURI={deaf.url}\nTOTAL_CPU=7\nTOTAL_MEMORY=1000\n"
    )
    with site.core("7.4.0") as core:
        core.start_vmm()
        core.start_im()
        one, other = core.create_host("eh"), core.create_host("zone-b")
        core.wait_host(one, "MONITORED")
        core.wait_host(other, "MONITORED")
        assert (one.facts["TOTALCPU"], other.facts["TOTALCPU"]) == ("200", "700")
        vm = core.create_vm({key: value for key, value in site.template().items() if key not in ("DRIVE", "BOOT")})
        core.deploy(vm, other)
        core.wait(vm, "RUNNING")
        assert site.servers() == []
        core.wait_for(lambda: other.facts["USEDCPU"] == "25", "its use in the other zone")
        assert one.facts["USEDCPU"] == "0"


def test_a_server_that_a_move_left_at_another_account_is_named_and_goes_with_its_vm(
    installation: Installation, site: Site, quick_endpoint: Endpoint, deaf: Endpoint
) -> None:
    """Undeployed from one zone and resumed in another, which cannot work (pitfall 15): the server is where it was."""
    (installation.etc / "vmm_eh" / "hosts" / "zone-brc").write_text(f"EHURI={deaf.url}\n")
    with site.core("7.4.0") as core:
        core.start_vmm()
        here, there = core.create_host("eh"), core.create_host("zone-b")
        template = {key: value for key, value in site.template().items() if key not in ("DRIVE", "BOOT")}
        vm = core.create_vm({**template, "IMAGE": "ide:0:0 golden"})
        deaf.call("/drives/create", {"name": "golden", "size": "4M"})
        core.deploy(vm, there)
        core.wait(vm, "RUNNING")
        core.undeploy(vm, hard=True)
        core.wait(vm, "UNDEPLOYED")
        vm.host = here
        core.resume(vm)
        core.wait(vm, "BOOT_UNDEPLOY_FAILURE")
        assert f"is at another account ({deaf.url})" in vm.log[-1]
        assert "Its host is 'zone-b'" in vm.log[-1]
        core.delete(vm)
        core.wait(vm, "DONE")
    assert deaf.call("/servers/info").json() == []
    assert [drive["name"] for drive in deaf.call("/drives/info").json()] == ["golden"]


def test_under_2_0_monitor_is_answered_from_the_last_listing_while_the_cloud_is_silent(
    site: Site, proxy: Proxy
) -> None:
    with site.core("2.0.1") as core:
        core.start_im()
        host = core.create_host("eh")
        core.wait_host(host, "MONITORED")
        proxy.fault("GET /servers/info", status=503, times=1000)
        time.sleep(0.3)
        core.monitor(host)
        core.answered()
        assert host.state == "MONITORED"
        site.configure(GRACE=0)
        core.monitor(host)
        core.answered()
        assert host.state == "ERROR"
        assert "503" in host.error


def test_under_2_0_a_host_without_credentials_is_told_why(site: Site) -> None:
    site.configure(EHAUTH="")
    with site.core("2.0.1") as core:
        core.start_im()
        host = core.create_host("eh")
        core.wait_host(host, "ERROR")
        assert "Set EHAUTH in vmm_ehrc: it is not set for host 'eh'" in host.error
        site.configure(EHAUTH=site.endpoint.auth)
        core.monitor(host)
        core.wait_host(host, "MONITORED")


def test_under_7_4_a_new_host_without_credentials_is_told_why(site: Site) -> None:
    site.configure(EHAUTH="")
    with site.core("7.4.0") as core:
        core.start_im()
        host = core.create_host("eh")
        core.wait_host(host, "ERROR")
        assert "Set EHAUTH in vmm_ehrc: it is not set for host 'eh'" in host.error


@pytest.mark.parametrize("release", ["2.0.1", "5.10.5", "7.4.0"])
def test_a_line_that_cannot_be_read_is_logged_and_the_driver_goes_on(site: Site, release: str) -> None:
    with site.core(release) as core:
        core.start_im()
        host = core.create_host("eh")
        core.wait_host(host, "MONITORED")
        for line in (
            b"MONITOR",
            b"MONITOR x eh 0",
            b"START_MONITOR - x 0 eJ",
            b"nonsense 4",
            b"\x00\xff",
            b"",
            b"A" * 100_000,
        ):
            core.say("im", line)
        core.monitor(host)
        core.answered()
        core.check()


@pytest.mark.parametrize("release", ["5.10.5", "6.10.5"])
def test_a_wild_server_can_be_imported(site: Site, release: str) -> None:
    wild = site.endpoint.call("/servers/create", {"name": "mail", "cpu": 1000, "mem": 512}).json()["server"]
    with site.core(release) as core:
        core.start_im()
        host = core.create_host("eh")
        core.wait_for(lambda: host.wilds == (wild,), "the wild server")
        (line,) = [answer for answer in core.answers if answer.vectors("VM")][:1]
        (vector,) = line.vectors("VM")
        template = base64.b64decode(vector["IMPORT_TEMPLATE"]).decode()
        for words in (f'DEPLOY_ID="{wild}"', 'NAME="mail"', "MEMORY=512", "CPUMHZ=1000"):
            assert words in template


def test_two_hosts_of_one_account_each_report_their_own_servers(site: Site) -> None:
    with site.core("7.4.0", grace=0.0) as core:
        core.start_vmm()
        core.start_im()
        here, there = core.create_host("here"), core.create_host("there")
        vms = []
        for host in (here, there):
            vm = core.create_vm(site.template(site.new_drive()))
            core.deploy(vm, host)
            vms.append(core.wait(vm, "RUNNING"))
        core.wait_for(lambda: all(vm.address for vm in vms), "both addresses")
        assert (here.zombies, there.zombies) == ((), ())


def test_limits_may_stand_in_im_eh_conf(site: Site) -> None:
    (site.installation.etc / "im_eh" / "im_eh.conf").write_text('# limits\nTOTAL_MEMORY = "4096"\nTOTAL_CPU=8\n')
    with site.core("7.4.0") as core:
        core.start_im()
        host = core.create_host("eh")
        core.wait_host(host, "MONITORED")
        assert (host.facts["TOTALCPU"], host.facts["TOTALMEMORY"]) == ("800", str(4096 * 1024))
