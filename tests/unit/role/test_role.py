# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role one_eh_driver through the whole life of front-ends of six releases, 2.0 to 7.4; of four in `make test`.

Self-contained ones are real folders. System-wide ones (/usr/lib/one, /etc/one, /var/lib/one) are at their real paths,
each in a mount namespace, with the user of the packages; there the stand-in for the core also starts what was
installed, and deploys.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula import conf
from tests.front_ends import ONEADMIN, RELEASES, FrontEnd, namespaces_work, version
from tests.front_ends.core import run_inside
from tests.support.endpoint import Endpoint
from tests.support.extent import WHOLE
from tests.support.plays import Played, Plays

ROOT = Path(__file__).resolve().parents[3]
UTILS = ROOT / "plugins" / "module_utils"
FILES = {
    "lib/mads/one_vmm_eh": 0o755,
    "lib/mads/one_vmm_eh.py": 0o644,
    "lib/mads/one_im_eh": 0o755,
    "lib/mads/one_im_eh.py": 0o644,
    "etc/vmm_eh": 0o750,
    "etc/vmm_eh/vmm_ehrc": 0o600,
    "etc/vmm_eh/vmm_eh.conf": 0o640,
    "etc/vmm_eh/hosts": 0o750,
    "etc/vmm_eh/hosts/eh-londonrc": 0o600,
    "etc/vmm_eh/hosts/eh-sanjoserc": 0o600,
    "etc/im_eh": 0o750,
    "etc/im_eh/im_ehrc": 0o640,
    "etc/im_eh/im_eh.conf": 0o640,
}
ZONES = [{"name": "eh-london", "total_memory": 8192}, {"name": "eh-sanjose", "total_cpu": 4.5, "cpu_mhz": 2500}]
TRANSFER = {path.name: path.read_bytes() for path in (ROOT / "roles/one_eh_driver/files/tm_eh").iterdir()}
SPELLED = {"2.0": "\r\n", "5.10": ""}
"""releases whose oned.conf is spelled otherwise: with CRLF, without a last newline"""
FORETOLD = ("2.0", "7.4")
ROLLED_OUT = [release for release in RELEASES if WHOLE or release not in ("3.8", "6.10")]
SYSTEM_WIDE = {"3.8": "sysv", "7.4": "systemd"} if WHOLE else {"7.4": "systemd"}
"""releases that are installed system-wide as well, and how they are started there"""
BUSY = ("one-7.4", "one-5.12")
"""front-ends that cannot be removed: one has servers at ElasticHosts, one has machines on its hosts"""
LEFT = "one-5.10"
"""a front-end with a server whose VM its OpenNebula no longer knows"""
TWICE = ("one-2.0", "one-6.10") if WHOLE else ("one-2.0",)
"""front-ends whose removal is foretold first, and done again when it is forced for those that are busy"""
DISPATCH = 20
LIMITS = ("MAX_HOST", "MAX_DISPATCH", "MAX_ACTIONS_PER_HOST", "MAX_ACTIONS_PER_CLUSTER")
# Runs inside the namespace.
BURST = """
import sys
from tests.front_ends.core import SystemWide

release, scratch, drive = sys.argv[1:]
with SystemWide(release, scratch) as core:
    core.start_drivers()
    host = core.create_host("eh")
    core.wait_host(host, "MONITORED")
    vm = core.create_vm(f'EH=[NAME="burst", CPUMHZ="500", MEMORY="500", DRIVE="ide:0:0 {drive}", BOOT="ide:0:0"]')
    core.deploy(vm, host)
    core.wait(vm, "RUNNING")
    print("running as", vm.deploy_id)
    core.terminate(vm)
    core.wait(vm, "DONE")
    print("done")
"""
OURS = "# of the administrator\nTOTAL_MEMORY=65536\nCPU_MHZ='2500'\n"
STANDING = 'vm_mad=[sunstone_name="Cloud",executable="one_vmm_old" , name="vmm_eh"] # by hand\n'

State = dict[str, dict[str, tuple[int, bytes]]]


class Story(NamedTuple):
    """One front-end of each release through its whole life; each step is one play for all of them."""

    hosts: dict[str, FrontEnd]
    stock: State
    foretold: Played
    after_foretelling: State
    first: Played
    installed: State
    owners: dict[str, dict[str, tuple[int, int]]]
    first_calls: dict[str, list[str]]
    callers: dict[str, set[int]]
    states: dict[str, list[str]]
    sources: dict[str, bytes]
    bursts: dict[str, str]
    second: Played
    second_calls: dict[str, list[str]]
    edited: State
    servers: dict[str, str]
    removal_foretold: Played
    after_foretelling_removal: State
    removed: Played
    removal_calls: dict[str, list[str]]
    after_removal: State
    removed_again: Played
    at_the_end: State


def name_of(release: str) -> str:
    return f"one-{release}"


def system_name_of(release: str) -> str:
    return f"system-{release}"


def front_ends(folder: Path, readable: Path) -> dict[str, FrontEnd]:
    hosts = {name_of(release): FrontEnd(folder / f"one {release}", release) for release in ROLLED_OUT}
    for release, end in SPELLED.items():
        oned = hosts[name_of(release)].folders["etc"] / "oned.conf"
        content = oned.read_bytes()
        oned.write_bytes(content.replace(b"\n", b"\r\n") if end else content.rstrip(b"\n"))
    if namespaces_work(folder):
        for release, init in SYSTEM_WIDE.items():
            hosts[system_name_of(release)] = FrontEnd(readable / release, release, system_wide=True, init=init)
    return hosts


def variables(front_end: FrontEnd, cloud: Endpoint) -> dict[str, object]:
    """The self-contained ones stand for two zones, one of them with an account of its own; the others for one."""
    if front_end.system_wide:
        return {}
    zones = [ZONES[0], {**ZONES[1], "auth": cloud.auth}]
    limits = {} if front_end.release == "2.0" else {"one_eh_driver_dispatch_per_cycle": DISPATCH}
    return {"one_eh_driver_hosts": zones, "one_eh_driver_wait": 20, **limits}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, readable: Path, endpoint: Endpoint) -> Story:
    folder = tmp_path_factory.mktemp("front-ends")
    hosts = front_ends(folder, readable)
    own = {name: variables(one, endpoint) for name, one in hosts.items()}
    plays = Plays(folder, endpoint, hosts, own)

    def state() -> State:
        return {host: front_end.files() for host, front_end in hosts.items()}

    def calls() -> dict[str, list[str]]:
        found = {host: front_end.calls() for host, front_end in hosts.items()}
        for front_end in hosts.values():
            front_end.forget_calls()
        return found

    stock = state()
    # Words like false from the command line are texts until the role makes truth values of them.
    words = ("-e", "one_eh_driver_backup=false", "-e", "one_eh_driver_force=false", "-e", "one_eh_driver_preflight=yes")
    oldest_and_newest = ",".join(name_of(release) for release in FORETOLD)
    foretold = plays.play("install_driver", "--check", "--diff", "--limit", oldest_and_newest)
    after_foretelling = state()
    assert not any(calls().values())
    first, installed = plays.play("install_driver", "--diff", "-vvv", *words), state()
    owners = {host: front_end.owners() for host, front_end in hosts.items()}
    callers = {host: front_end.callers("onehost") for host, front_end in hosts.items()}
    first_calls = calls()
    states = {host: [one["name"] for one in front_end.state()["hosts"]] for host, front_end in hosts.items()}
    sources = {str(path.relative_to(UTILS)): path.read_bytes() for path in UTILS.glob("*/*.py")}
    bursts = {host: burst(one, folder / "scratch" / host, endpoint) for host, one in hosts.items() if one.system_wide}
    for front_end in hosts.values():
        (front_end.folders["etc"] / "im_eh/im_ehrc").write_text(OURS)
    second, edited, second_calls = plays.play("install_driver", *words), state(), calls()
    servers = make_busy(hosts, installed, endpoint)
    twice = ("--limit", ",".join(TWICE))
    removal_foretold, after_foretelling_removal = plays.play("remove_driver", "--check", *twice), state()
    assert not any(calls().values())
    removed, after_removal, removal_calls = plays.play("remove_driver", *words), state(), calls()
    forced = {name: {**own[name], "one_eh_driver_force": "true"} for name in BUSY}
    rest = Plays(folder, endpoint, {name: hosts[name] for name in (*TWICE, *BUSY)}, {**own, **forced})
    removed_again, at_the_end, last_calls = rest.play("remove_driver"), state(), calls()
    assert not any(last_calls[name] for name in TWICE)
    return Story(
        hosts=hosts,
        stock=stock,
        foretold=foretold,
        after_foretelling=after_foretelling,
        first=first,
        installed=installed,
        owners=owners,
        first_calls=first_calls,
        callers=callers,
        states=states,
        sources=sources,
        bursts=bursts,
        second=second,
        second_calls=second_calls,
        edited=edited,
        servers=servers,
        removal_foretold=removal_foretold,
        after_foretelling_removal=after_foretelling_removal,
        removed=removed,
        removal_calls=removal_calls,
        after_removal=after_removal,
        removed_again=removed_again,
        at_the_end=at_the_end,
    )


def burst(front_end: FrontEnd, scratch: Path, cloud: Endpoint) -> str:
    """The stand-in for the core starts the installed drivers at their real paths, and deploys."""
    drive = cloud.call("/drives/create", {"name": f"disk-{front_end.release}", "size": "4194304"}).json()["drive"]
    return run_inside(front_end, BURST, RELEASES[front_end.release], str(scratch), drive)


def make_busy(hosts: dict[str, FrontEnd], installed: State, cloud: Endpoint) -> dict[str, str]:
    """Servers of two OpenNebulas, by VM, and machines that a third has on its hosts.

    Of the VMs of the first one, one runs and one is off; one is done, and one is not known to it. The second one has
    only a server that it no longer knows of.
    """
    with_servers, machines = BUSY
    busy = hosts[machines].state()
    busy["hosts"][0]["vms"] = 2
    hosts[machines].write_state(busy)
    core = hosts[with_servers].state()
    hosts[with_servers].write_state(
        {**core, "virtual_machines": {"23": {"state": 3}, "24": {"state": 8}, "25": {"state": 6}}}
    )
    found = {vm: server_of(cloud, installed[with_servers], vm) for vm in ("23", "24", "25", "26")}
    assert cloud.call(f"/servers/{found['23']}/start", {}).ok
    return {**found, "27": server_of(cloud, installed[LEFT], "27")}


def server_of(cloud: Endpoint, installed: dict[str, tuple[int, bytes]], vm: str) -> str:
    """A new server, stopped, with the mark of an OpenNebula cloud."""
    cloud_id = re.search(rb"^EHCLOUD=(.+)$", installed["etc/vmm_eh/vmm_ehrc"][1], re.MULTILINE)
    assert cloud_id
    mark = {"user:one-cloud": cloud_id.group(1).decode(), "user:one-vm": vm}
    made = cloud.call("/servers/create/stopped", {"name": "burst", "cpu": 500, "mem": 256, **mark})
    return str(made.json()["server"])


every_release = pytest.mark.parametrize("release", ROLLED_OUT)


@pytest.mark.parametrize("release", FORETOLD)
def test_check_mode_on_a_fresh_tree_foretells_the_same_changes_and_makes_none(story: Story, release: str) -> None:
    host = name_of(release)
    assert story.after_foretelling[host] == story.stock[host]
    assert story.foretold.recap(host) == story.first.recap(host)
    assert story.first.changed(host) > 0
    assert story.first.failed(host) == 0


@every_release
def test_the_files_are_there_with_their_modes_and_no_others(story: Story, release: str) -> None:
    host = name_of(release)
    new = {name: mode & 0o777 for name, (mode, _c) in story.installed[host].items() if name not in story.stock[host]}
    # The journal is made by the drivers that OpenNebula has started by now.
    others = ("lib/python", "var/remotes/tm/eh", "var/eh_journal.sqlite")
    assert {name: mode for name, mode in new.items() if not name.startswith(others)} == FILES


@every_release
def test_the_packages_are_the_ones_of_the_collection_and_compiled(story: Story, release: str) -> None:
    installed = story.installed[name_of(release)]
    found = [name for name in installed if re.match(r"lib/python/one_eh/\w+/\w+\.py$", name)]
    assert {"drivers", "elastichosts", "opennebula"} == {name.split("/")[3] for name in found}
    for name in found:
        assert installed[name][1] == story.sources[name.removeprefix("lib/python/one_eh/")]
    assert len([name for name in installed if name.endswith(".pyc")]) == len(found) + 1
    # From 7.0 on the folder is OpenNebula's own; before, the role notes that it made it.
    made = set() if version(release) >= (7, 0) else {".made_for_one_eh"}
    assert {name.split("/")[2] for name in installed if name.startswith("lib/python/")} == {"one_eh", *made}


@every_release
def test_the_settings_hold_account_limits_and_a_file_for_each_zone(
    story: Story, release: str, endpoint: Endpoint
) -> None:
    installed = story.installed[name_of(release)]
    vmm = installed["etc/vmm_eh/vmm_ehrc"][1].decode()
    lines = dict(re.findall(r"^(\w+)=(.+)$", vmm, re.MULTILINE))
    assert (lines["EHURI"], lines["EHAUTH"]) == (endpoint.url, endpoint.auth)
    assert re.fullmatch("[0-9a-f]{12}", lines["EHCLOUD"])
    assert "\nTOTAL_MEMORY=2048\nTOTAL_CPU=2\n" in installed["etc/im_eh/im_ehrc"][1].decode()
    zones = [installed[f"etc/vmm_eh/hosts/{zone['name']}rc"][1].decode().splitlines()[1:] for zone in ZONES]
    assert zones == [["TOTAL_MEMORY=8192"], [f"EHAUTH={endpoint.auth}", "TOTAL_CPU=4.5", "CPU_MHZ=2500"]]


def test_no_two_clouds_have_the_same_id(story: Story) -> None:
    texts = [story.installed[name_of(release)]["etc/vmm_eh/vmm_ehrc"][1].decode() for release in ROLLED_OUT]
    assert len({line for text in texts for line in text.splitlines() if line.startswith("EHCLOUD=")}) == len(texts)


def document(story: Story, release: str, file: str) -> conf.Document:
    return conf.parse(conf.decode(story.installed[name_of(release)][f"etc/{file}"][1]))


def ours(story: Story, release: str, file: str, kind: str, name: str) -> dict[str, str]:
    section = document(story, release, file).section(kind, name)
    return section.mapping() if section else {}


@every_release
def test_the_virtual_machine_driver_is_in_oned_conf_in_the_form_of_its_release(story: Story, release: str) -> None:
    section = ours(story, release, "oned.conf", "VM_MAD", "vmm_eh")
    assert (section["EXECUTABLE"], section["TYPE"]) == ("one_vmm_eh", "xml")
    assert ("SUNSTONE_NAME" in section) == (version(release) >= (5, 0))
    assert ("IMPORTED_VMS_ACTIONS" in section) == ((5, 0) <= version(release) < (7, 0))
    assert section.get("THREADS") == ("0" if version(release) >= (6, 0) else None)
    assert section.get("COLD_NIC_ATTACH") == ("yes" if version(release) >= (5, 12) else None)
    assert section.get("LIVE_RESIZE") == ("yes" if version(release) >= (6, 0) else None)


@every_release
def test_the_information_driver_is_where_the_release_looks_for_it(story: Story, release: str) -> None:
    new = version(release) >= (5, 12)
    assert ours(story, release, "monitord.conf" if new else "oned.conf", "IM_MAD", "im_eh")["EXECUTABLE"] == "one_im_eh"
    if new:
        names = [section.get("NAME") for section in document(story, release, "oned.conf").sections("IM_MAD")]
        assert names == ["monitord"]


def test_2_0_gets_its_commented_transfer_driver_switched_on(story: Story) -> None:
    section = ours(story, "2.0", "oned.conf", "TM_MAD", "tm_dummy")
    assert section == {"NAME": "tm_dummy", "EXECUTABLE": "one_tm", "ARGUMENTS": "tm_dummy/tm_dummy.conf"}
    stock = story.stock[name_of("2.0")]["etc/oned.conf"][1]
    assert stock.count(b"tm_dummy") == story.installed[name_of("2.0")]["etc/oned.conf"][1].count(b"tm_dummy")


@pytest.mark.parametrize("release", [release for release in ROLLED_OUT if version(release) >= (3, 6)])
def test_the_transfer_driver_is_there_and_in_the_lists_of_its_release(story: Story, release: str) -> None:
    folder = "var/remotes/tm/eh/"
    found = {name: what for name, what in story.installed[name_of(release)].items() if name.startswith(folder)}
    assert {name.removeprefix(folder): content for name, (_mode, content) in found.items()} == TRANSFER
    assert {mode & 0o777 for mode, _content in found.values()} == {0o755}
    read = document(story, release, "oned.conf")
    transfer = read.sections("TM_MAD")[0].get("ARGUMENTS")
    assert transfer is not None
    assert transfer.endswith(",eh")
    assert bool(read.named("TM_MAD_CONF", "eh")) == (version(release) >= (4, 4))
    arguments = read.sections("DATASTORE_MAD")[0].get("ARGUMENTS")
    assert arguments is not None
    assert arguments.endswith(",eh") == (version(release) >= (5, 0))


LIMITS_BY_RELEASE = [
    ("3.8", "sched.conf", "MAX_HOST", "MAX_DISPATCH"),
    ("5.10", "sched.conf", "MAX_HOST", "MAX_DISPATCH"),
    ("6.10", "sched.conf", "MAX_HOST", "MAX_DISPATCH"),
    ("7.4", "oned.conf", "MAX_ACTIONS_PER_HOST", "MAX_ACTIONS_PER_CLUSTER"),
]


@pytest.mark.parametrize(
    ("release", "file", "of_a_host", "of_all"), [row for row in LIMITS_BY_RELEASE if row[0] in ROLLED_OUT]
)
def test_the_scheduler_may_start_more_than_one_machine_in_a_round(
    story: Story, release: str, file: str, of_a_host: str, of_all: str
) -> None:
    items = document(story, release, file).items
    limits = {item.name: item.value for item in items if item.name in (of_a_host, of_all)}
    assert limits == {of_a_host: str(DISPATCH), of_all: str(DISPATCH * len(ZONES))}


@every_release
def test_nothing_else_in_the_configuration_has_another_meaning(story: Story, release: str) -> None:
    """Items in their order, without what is ours; lists of transfer drivers and limits aside."""
    host = name_of(release)

    def rest(content: bytes) -> list[object]:
        return [
            (item.name, item.mapping() or item.value)
            for item in conf.parse(conf.decode(content)).items
            if item.get("NAME") not in ("im_eh", "vmm_eh", "eh", "tm_dummy")
            and item.name not in ("DATASTORE_MAD", *LIMITS)
            and not (item.name == "TM_MAD" and item.get("NAME") is None)
        ]

    for name, (mode, stock) in story.stock[host].items():
        if name.endswith(".conf"):
            assert story.installed[host][name][0] == mode
            assert rest(story.installed[host][name][1]) == rest(stock)


CREATED = {
    "2.0": "onehost create {name} im_eh vmm_eh tm_dummy",
    "3.8": "onehost create {name} -i im_eh -v vmm_eh -n dummy -c eh",
    "5.10": "onehost create {name} -i im_eh -v vmm_eh -c eh",
}


@every_release
def test_opennebula_is_restarted_once_and_told_of_the_hosts_in_the_form_of_its_release(
    story: Story, release: str
) -> None:
    calls = story.first_calls[name_of(release)]
    assert calls[:2] == ["one stop", "one start"]
    form = CREATED.get(release, CREATED["5.10"])
    assert calls[-2:] == [form.format(name=zone["name"]) for zone in ZONES]
    between = [re.sub(r"\S+\.template", "FILE", call) for call in calls[2:-2]]
    grouped = ["onecluster create eh", "onedatastore create FILE -c eh"] if version(release) >= (3, 6) else []
    named = ["onecluster update eh FILE"] if version(release) == (3, 8) else []
    assert between == grouped + named
    assert story.states[name_of(release)] == ["eh-london", "eh-sanjose"]


@every_release
def test_the_second_run_changes_nothing_and_settings_made_by_hand_stay(story: Story, release: str) -> None:
    host = name_of(release)
    assert (story.second.changed(host), story.second.failed(host)) == (0, 0)
    assert story.second_calls[host] == []
    expected = dict(story.installed[host])
    expected["etc/im_eh/im_ehrc"] = (expected["etc/im_eh/im_ehrc"][0], OURS.encode())
    assert story.edited[host] == expected


@pytest.mark.parametrize("host", TWICE)
def test_a_removal_is_foretold_and_a_second_one_changes_nothing(story: Story, host: str) -> None:
    assert story.after_foretelling_removal[host] == story.edited[host]
    assert story.removal_foretold.failed(host) == 0
    assert story.removal_foretold.changed(host) > 0
    assert (story.removed_again.changed(host), story.removed_again.failed(host)) == (0, 0)
    assert story.at_the_end[host] == story.after_removal[host]


def given_back(story: Story, host: str) -> None:
    front_end = story.hosts[host]
    assert story.removed.failed(host) == 0
    # The core keeps the deployment files of its machines.
    vms = str((front_end.folders["var"] / "vms").relative_to(front_end.root))
    assert {name: what for name, what in story.after_removal[host].items() if not name.startswith(vms)} == (
        story.stock[host]
    )
    assert front_end.state()["hosts"] == []
    clusters = [one["name"] for one in front_end.state()["clusters"]]
    assert clusters == (["default"] if version(front_end.release) >= (5, 0) else [])


@pytest.mark.parametrize("release", [release for release in ROLLED_OUT if name_of(release) not in BUSY])
def test_absent_gives_the_tree_back_byte_for_byte(story: Story, release: str) -> None:
    host = name_of(release)
    given_back(story, host)
    calls = story.removal_calls[host]
    assert calls[:2] == ["onehost delete eh-london", "onehost delete eh-sanjose"]
    assert calls[-2:] == ["one stop", "one start"]


def test_removal_is_refused_while_servers_of_this_cloud_run(story: Story) -> None:
    host, _machines = BUSY
    message = story.removed.message(host)
    of = story.servers
    kept = sorted([f"{of['23']} (VM 23, runs)", f"{of['24']} (VM 24, stopped)"])
    assert f"Servers of this OpenNebula cloud are still at ElasticHosts: {', '.join(kept)}. Terminate their" in message
    gone = sorted([f"{of['25']} (VM 25, stopped)", f"{of['26']} (VM 26, stopped)"])
    assert (
        f"OpenNebula no longer has the virtual machines of these servers: {', '.join(gone)}. The VM driver" in message
    )
    assert (story.removed.failed(host), story.removed.changed(host)) == (1, 0)
    assert story.after_removal[host] == story.edited[host]


def test_a_server_whose_machine_is_no_longer_known_is_told_of_and_does_not_keep_from_a_removal(story: Story) -> None:
    assert story.removed.failed(LEFT) == 0
    said = " ".join(story.removed.output.split())
    left = f"{story.servers['27']} (VM 27, stopped)"
    assert f"OpenNebula no longer has the virtual machines of these servers: {left}. The VM driver" in said
    assert "Destroy those that are still there when the drivers are gone." in said


def test_removal_is_refused_while_opennebula_has_machines_there(story: Story) -> None:
    _servers, machines = BUSY
    message = story.removed.message(machines)
    assert "Virtual machines still run on the OpenNebula hosts that burst to ElasticHosts: eh-london (2)." in message
    assert (story.removed.failed(machines), story.removed.changed(machines)) == (1, 0)
    assert story.after_removal[machines] == story.edited[machines]


@pytest.mark.parametrize("host", BUSY)
def test_a_forced_removal_takes_drivers_and_sections_and_leaves_the_busy_host(story: Story, host: str) -> None:
    servers, machines = BUSY
    assert story.removed_again.failed(host) == 0
    left = {name for name, what in story.at_the_end[host].items() if what != story.stock[host].get(name)}
    assert left <= {"var/eh_journal.sqlite"}
    hosts = [one["name"] for one in story.hosts[host].state()["hosts"]]
    assert hosts == {servers: [], machines: ["eh-london"]}[host]
    stay = "OpenNebula hosts with virtual machines stay, without drivers: eh-london (2)."
    assert stay in " ".join(story.removed_again.output.split())


class TestSystemWide:
    @pytest.fixture(params=list(SYSTEM_WIDE))
    def host(self, request: pytest.FixtureRequest, story: Story) -> str:
        name = system_name_of(request.param)
        if name not in story.hosts:
            pytest.skip("this machine gives us no mount namespace with overlays (unshare --mount)")
        return name

    def test_the_files_are_at_their_places(self, story: Story, host: str) -> None:
        assert story.first.failed(host) == 0
        new = set(story.installed[host]) - set(story.stock[host])
        assert {name for name in new if name.startswith("usr/lib/one/mads")} == {
            f"usr/lib/one/mads/one_{driver}_eh{end}" for driver in ("vmm", "im") for end in ("", ".py")
        }
        assert {
            "etc/one/vmm_eh/vmm_ehrc",
            "etc/one/im_eh/im_ehrc",
            "usr/lib/one/python/one_eh/drivers/vm_driver.py",
        } <= new
        assert "var/lib/one/remotes/tm/eh/delete" in new
        assert story.installed[host]["etc/one/vmm_eh/vmm_ehrc"][0] & 0o777 == 0o600

    def test_programs_belong_to_root_and_settings_to_the_user_of_opennebula(self, story: Story, host: str) -> None:
        if story.hosts[host].owner == "root":
            pytest.skip("only root can give files to another user, who has to be able to run this interpreter")
        new = set(story.installed[host]) - set(story.stock[host])
        of_oneadmin = {name for name in new if story.owners[host][name] == (ONEADMIN, ONEADMIN)}
        assert {name for name in new - of_oneadmin if story.owners[host][name] != (0, 0)} == set()
        prefixes = ("etc/one/vmm_eh", "etc/one/im_eh", "var/lib/one/")
        assert of_oneadmin == {name for name in new if name.startswith(prefixes)}
        assert story.callers[host] == {ONEADMIN}

    def test_the_init_system_restarts_opennebula_once_and_the_host_is_created(self, story: Story, host: str) -> None:
        calls = story.first_calls[host]
        restart = {"systemd": "systemctl restart opennebula", "sysv": "opennebula restart"}
        assert calls[0] == restart[story.hosts[host].init]
        assert calls[-1].startswith("onehost create eh -i im_eh -v vmm_eh")
        assert sum(" restart" in call for call in calls) == 1

    def test_the_installed_drivers_deploy_and_destroy_a_virtual_machine(self, story: Story, host: str) -> None:
        assert re.search(r"running as [0-9a-f-]{36}\ndone\n$", story.bursts[host]), story.bursts[host]

    def test_the_second_run_changes_nothing_and_absent_gives_the_tree_back(self, story: Story, host: str) -> None:
        assert (story.second.changed(host), story.second.failed(host)) == (0, 0)
        given_back(story, host)
