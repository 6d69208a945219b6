# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed information driver: what the core believes about hosts and VMs while the cloud lives its own life."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.core import Core, Host, Vm
from tests.core.rpc import FOLLOWER, LEADER
from tests.support.endpoint import Endpoint
from tests.unit.drivers.conftest import Installation, Site, until
from tests.unit.drivers.proxy import Proxy


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
    with site.core("6.10.5") as core:
        _host, vm = watched(core, site)
        site.endpoint.call(f"/servers/{vm.deploy_id}/stop")
        core.wait(vm, "POWEROFF")
        site.endpoint.call(f"/servers/{vm.deploy_id}/start")
        core.wait(vm, "RUNNING")
        site.endpoint.call(f"/servers/{vm.deploy_id}/destroy")
        core.wait(vm, "UNKNOWN")


def test_from_7_0_on_the_core_never_hears_what_it_ignores_and_misses_nothing(site: Site) -> None:
    """For 30 s after a VM began or ended running every state that is reported costs a line in the VM's log."""
    with site.core("7.4.0") as core:
        _host, vm = watched(core, site)
        site.endpoint.call(f"/servers/{vm.deploy_id}/stop")
        core.wait(vm, "POWEROFF")
        assert vm.ignored == 0
        core.resume(vm)
        core.wait(vm, "RUNNING")
        time.sleep(5)  # syncs are due every 2 s
        core.check()
        assert vm.ignored == 0


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
    with site.core("6.10.5") as core:
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
    with site.core("6.10.5") as core:
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
        time.sleep(1.5)  # what was under way
        before = len(core.ignored)
        time.sleep(2.5)  # a heartbeat is due every 2 s
        assert core.ignored[before:] == []


def known_hosts(site: Site) -> list[dict[str, Any]]:
    path = site.installation.var / "eh_hosts.json"
    assert path.stat().st_mode & 0o777 == 0o600
    found: list[dict[str, Any]] = json.loads(path.read_text())["hosts"]
    return found


def started(core: Core) -> int:
    """How often START_MONITOR was sent."""
    return sum("START_MONITOR -" in line for line in core.said() if "core to im" in line)


def test_a_driver_that_was_killed_goes_on_where_it_was(site: Site) -> None:
    """The core starts another one, and asks it about the host only when it has heard nothing for 180 s."""
    with site.core("7.4.0", interval=180) as core:
        core.listen()
        host, vm = watched(core, site)
        core.kill("im")
        count = len(core.answers)
        core.start_im()
        core.wait_for(lambda: any(a.action == "MONITOR_VM" for a in core.answers[count:]), "its facts again")
        assert (host.state, vm.state, started(core)) == ("MONITORED", "RUNNING", 0)


@pytest.mark.parametrize("release", ["5.12.0", "7.4.0"])
def test_after_a_restart_of_the_core_its_vms_are_looked_after_before_it_asks(site: Site, release: str) -> None:
    with site.core(release, interval=180) as core:
        core.listen()
        _host, vm = watched(core, site)
        gone = site.running(core, site.template(site.new_drive()))
        vm.monitoring.clear()
        site.endpoint.call(f"/servers/{gone.deploy_id}/destroy")
        core.restart()
        core.wait(gone, "UNKNOWN")
        core.wait_for(lambda: vm.monitoring.get("GUEST_IP"), "its address")
        assert started(core) == 0


def test_after_a_restart_a_host_that_is_renamed_is_spoken_of_by_its_new_name(site: Site) -> None:
    with site.core("7.4.0", interval=180) as core:
        core.listen()
        host, vm = watched(core, site)
        host.name = "burst"
        vm.monitoring.clear()
        core.restart()
        core.wait_for(lambda: host.facts["HOSTNAME"] == "burst", "the new name")
        core.wait_for(lambda: vm.monitoring.get("GUEST_IP"), "the address of its VM")
        until(lambda: known_hosts(site)[0]["former"] == ["eh"], "the new name on disk")


def test_after_a_restart_hosts_that_the_core_has_no_more_are_forgotten(site: Site) -> None:
    """One was deleted while the driver did not run, another's id is a host of another driver by now."""
    with site.core("7.4.0", interval=180) as core:
        core.listen()
        host, _vm = watched(core, site)
        deleted, other = core.create_host("deleted"), core.create_host("other")
        core.wait_host(deleted, "MONITORED")
        core.wait_host(other, "MONITORED")
        until(lambda: len(known_hosts(site)) == 3, "all three on disk")
        core.shut_down()
        del core.model.hosts[deleted.id]
        other.im_mad = "kvm"
        count = len(core.answers)
        core.restart()
        core.wait_for(lambda: any(a.action == "MONITOR_VM" for a in core.answers[count:]), "the first host")
        until(lambda: [one["id"] for one in known_hosts(site)] == [host.id], "the others are forgotten")
        assert core.ignored == []


@pytest.mark.parametrize("why", ["it cannot be asked", "it does not lead", "the host is offline"])
def test_after_a_restart_nothing_is_said_before_the_core_asks_where_it_does_not_want_to_know(
    site: Site, why: str
) -> None:
    with site.core("7.4.0", interval=180) as core:
        rpc = core.listen()
        host, _vm = watched(core, site)
        if why == "it cannot be asked":
            rpc.answer = lambda _method, _answer: [False, "User couldn't be authenticated, aborting call.", 0x100]
        elif why == "it does not lead":
            rpc.raft, core.follows = FOLLOWER, True
        else:
            core.offline(host)
            time.sleep(1.5)  # what was under way
        count = len(core.answers)
        asked = len(rpc.calls)
        core.restart()
        until(lambda: rpc.calls[asked:], "the question")
        time.sleep(3)
        assert [a for a in core.answers[count:] if a.kind == "message"] == []
        assert known_hosts(site)
        if why == "it does not lead":
            rpc.raft, core.follows = LEADER, False
            core.wait_for(lambda: any(a.action == "SYSTEM_HOST" for a in core.answers[count:]), "the new leader's host")
        if why == "the host is offline":
            core.enable(host)
            core.wait_host(host, "MONITORED")


@pytest.mark.parametrize(
    "content", ["", "{", '{"form": 1, "hosts": [{"id": "x"}]}', '{"form": 9}', "[" * 100_000, None]
)
def test_a_damaged_memory_of_hosts_harms_nobody(site: Site, content: str | None) -> None:
    """None: a pipe that nobody writes to stands in the file's place."""
    path = site.installation.var / "eh_hosts.json"
    if content is None:
        os.mkfifo(path)
    else:
        path.write_text(content)
    with site.core(
        "7.4.0",
    ) as core:
        core.listen()
        core.start_im()
        host = core.create_host("eh")
        core.wait_host(host, "MONITORED")
        until(lambda: known_hosts(site)[0]["name"] == "eh", "the host on disk")


def test_a_memory_of_hosts_that_cannot_be_written_harms_nobody(site: Site) -> None:
    path = site.installation.var / "eh_hosts.json"
    path.mkdir()
    (path / "in the way").touch()
    with site.core("7.4.0") as core:
        core.start_im()
        core.wait_host(core.create_host("eh"), "MONITORED")
        core.wait_for(lambda: any(a.action == "STATE_VM" for a in core.answers), "its VMs")
    assert "eh_hosts.json cannot be written" in site.log("im")
    assert [file.name for file in site.installation.var.glob("eh_hosts.json.*")] == []


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
    """Undeployed from one zone and resumed in another, which cannot work: the server is where it was.

    See opennebula-drivers 7.15.
    """
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


FAULTY = """
import os as _os

def _faulty(function):
    def call(*words, **more):
        if _os.path.exists({flag!r}):
            raise KeyError(open({flag!r}).read())
        return function(*words, **more)
    return call

{name} = _faulty({name})
"""


def breakable(site: Site, module: str, name: str) -> Path:
    """The driver's function raises an exception that nobody expects, while the file that is returned is there."""
    flag = site.installation.root / "broken"
    file = site.installation.root / "lib" / "python" / "one_eh" / "drivers" / f"{module}.py"
    with file.open("a") as source:
        source.write(FAULTY.format(flag=str(flag), name=name))
    return flag


OWN_FAULT = "the driver met a fault of its own (KeyError)"


@pytest.mark.parametrize("release", ["2.0.1", "3.8.4", "5.10.5", "6.10.5", "7.4.0"])
def test_a_fault_of_the_driver_is_the_host_s_error_while_no_vm_runs_there(site: Site, release: str) -> None:
    flag = breakable(site, "monitoring_facts", "host_facts")
    flag.write_text("s3cret")
    with site.core(release) as core:
        core.start_im()
        host = core.create_host("eh")
        core.wait_host(host, "ERROR")
        assert OWN_FAULT in host.error
        flag.unlink()
        core.start_monitor(host) if core.release.im == "5.12-7.4" else core.monitor(host)
        core.wait_host(host, "MONITORED")
        flag.write_text("s3cret")
        if core.release.im != "5.12-7.4":
            core.monitor(host)
        core.wait_host(host, "ERROR")
        assert "s3cret" not in host.error + site.log("im")


@pytest.mark.parametrize("release", ["2.0.1", "3.8.4", "5.10.5", "6.10.5", "7.4.0"])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_fault_of_the_driver_fails_no_host_that_has_vms(site: Site, release: str, restarted: bool) -> None:
    """Sites have hooks that make the VMs of a failed host anew."""
    flag = breakable(site, "monitoring_facts", "host_facts")
    with site.core(release) as core:
        pushes = core.release.im == "5.12-7.4"
        core.start_vmm()
        core.start_im()
        host = core.create_host("eh")
        core.wait_host(host, "MONITORED")
        vm = site.running(core)
        if not pushes:
            core.monitor(host)
        core.wait_for(lambda: not pushes or vm.address, "an address")
        core.answered()
        flag.write_text("s3cret")
        if restarted:
            core.kill("im")
            core.start_im()
            core.start_monitor(host) if pushes else None
        for _round in range(2):
            None if pushes else core.monitor(host)
            core.wait_for(lambda: any(OWN_FAULT in text for text in core.logs()), "a line in the core's log")
            core.answered()
        assert (host.state, vm.state) == ("MONITORED", "RUNNING")
        flag.unlink()
        site.endpoint.call(f"/servers/{vm.deploy_id}/stop")
        if pushes:
            core.wait(vm, "POWEROFF")


@pytest.mark.parametrize("release", ["2.0.1", "7.4.0"])
def test_a_request_that_meets_a_fault_of_the_vm_driver_is_answered(site: Site, release: str) -> None:
    flag = breakable(site, "vm_driver", "purpose")
    flag.write_text("s3cret")
    template = site.template()
    with site.core(release) as core:
        core.start_vmm()
        host = core.create_host("eh")
        vm = core.create_vm(template)
        core.deploy(vm, host)
        core.wait(vm, "BOOT_FAILURE" if core.release.boot_failure else "FAILED")
        assert OWN_FAULT in vm.log[-1]
        flag.unlink()
        site.running(core)


def test_a_host_whose_thread_cannot_begin_is_told_and_begins_with_the_next_request(site: Site) -> None:
    flag = breakable(site, "monitor_driver", "HostMonitorThread.start")
    flag.write_text("s3cret")
    with site.core("7.4.0") as core:
        core.start_im()
        host = core.create_host("eh")
        core.wait_host(host, "ERROR")
        assert any(OWN_FAULT in text for text in core.logs())
        flag.unlink()
        core.start_monitor(host)
        core.wait_host(host, "MONITORED")


@pytest.mark.parametrize("release", ["2.0.1", "5.10.5", "7.4.0"])
@pytest.mark.parametrize(
    "proxy", ["socks5h://me:proxypw@127.0.0.1:1", "ftp://me:proxypw@x", "http://[::1proxypw", "x:99999"]
)
def test_a_proxy_that_cannot_be_used_is_the_host_s_error_and_the_deploy_s(
    site: Site, release: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = site.template()
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with monkeypatch.context() as environment:
        environment.setenv("http_proxy", proxy)
        core = site.core(release)
    with core:
        core.start_im()
        core.start_vmm()
        host = core.create_host("eh")
        core.wait_host(host, "ERROR")
        assert "the proxy in the environment variable http_proxy" in host.error
        vm = core.create_vm(template)
        core.deploy(vm, host)
        core.wait(vm, "BOOT_FAILURE" if core.release.boot_failure else "FAILED")
        told = " ".join((*vm.log, *core.logs(), host.error, site.log("im"), site.log("vmm")))
        assert "variable http_proxy cannot be used" in " ".join(vm.log).lower()
        assert "proxypw" not in told and "Traceback" not in told


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
        core.start_monitor(host)
        core.answered()
        core.wait_for(lambda: not core.is_starting(host), "an answer to START_MONITOR")


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


def two_hosts(core: Core, site: Site) -> tuple[tuple[Host, Host], tuple[Vm, Vm]]:
    """Two hosts of one account, with a VM on each."""
    core.start_vmm()
    core.start_im()
    hosts = core.create_host("here"), core.create_host("there")
    for host in hosts:
        core.wait_host(host, "MONITORED")
    vms = core.create_vm(site.template(site.new_drive())), core.create_vm(site.template(site.new_drive()))
    for vm, host in zip(vms, hosts, strict=True):
        core.deploy(vm, host)
        core.wait(vm, "RUNNING")
    return hosts, vms


def monitored_alone(core: Core, host: Host) -> None:
    """The core has asked about this host only, and heard of its VMs."""
    count = len(core.answers)
    core.start_monitor(host)
    reply = "STATE_VM" if core.release.im == "5.12-7.4" else "MONITOR"
    core.wait_for(lambda: any(a.action == reply for a in core.answers[count:]), "its VMs")


def test_two_hosts_of_one_account_each_report_their_own_servers(site: Site) -> None:
    with site.core("7.4.0") as core:
        (here, there), vms = two_hosts(core, site)
        core.wait_for(lambda: all(vm.address for vm in vms), "both addresses")
        assert (here.zombies, there.zombies) == ((), ())


@pytest.mark.parametrize("release", ["4.4.0", "5.10.5", "6.10.5"])
def test_the_first_of_two_hosts_that_is_monitored_after_a_restart_leaves_the_other_s_servers_alone(
    site: Site, release: str
) -> None:
    with site.core(release) as core:
        (here, _there), _vms = two_hosts(core, site)
        core.restart()
        monitored_alone(core, here)
        assert here.zombies == ()


@pytest.mark.parametrize("release", ["5.10.5", "6.10.5"])
def test_without_a_memory_of_hosts_the_core_tells_whose_a_server_is(site: Site, release: str) -> None:
    with site.core(
        release,
    ) as core:
        core.listen()
        (here, _there), _vms = two_hosts(core, site)
        core.shut_down()
        (site.installation.var / "eh_hosts.json").unlink()
        core.restart()
        monitored_alone(core, here)
        assert here.zombies == ()


@pytest.mark.parametrize("release", ["5.10.5", "6.10.5"])
@pytest.mark.parametrize("asked", [True, False])
def test_a_renamed_host_keeps_the_servers_that_bear_its_old_name(site: Site, release: str, asked: bool) -> None:
    """Also when the core cannot be asked: a server that no host reports would be lost to the core."""
    with site.core(release) as core:
        if asked:
            core.listen()
        (here, _there), (vm, other) = two_hosts(core, site)
        core.shut_down()
        (site.installation.var / "eh_hosts.json").unlink()
        here.name = "renamed"
        vm.monitoring.clear()
        core.restart()
        core.start_monitor(here)
        core.wait_for(lambda: vm.monitoring.get("GUEST_IP"), "the address of its VM")
        assert here.zombies == () or not asked, "without the core nobody tells whose the other VM is"
        assert other.state == "RUNNING"


def test_limits_may_stand_in_im_eh_conf(site: Site) -> None:
    (site.installation.etc / "im_eh" / "im_eh.conf").write_text('# limits\nTOTAL_MEMORY = "4096"\nTOTAL_CPU=8\n')
    with site.core("7.4.0") as core:
        core.start_im()
        host = core.create_host("eh")
        core.wait_host(host, "MONITORED")
        assert (host.facts["TOTALCPU"], host.facts["TOTALMEMORY"]) == ("800", str(4096 * 1024))
