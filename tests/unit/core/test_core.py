# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in starts, hears and stops drivers as the core does: good ones live, bad ones are caught."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.core import Core, CoreFailure, Vm
from tests.core.releases import release
from tests.core.replay import RECORDED_DRIVE, recordings, replay
from tests.core.scheduler import HostView, SystemDatastore, refusal_of

OLD_AND_NEW = pytest.mark.parametrize("name", ["2.0.1", "7.4.0"])
EH = {"NAME": "bitrot", "CPUMHZ": "500", "DRIVE": f"ide:0:0 {RECORDED_DRIVE}"}

GOOD_VMM = """
import os, re, sys
status = open("/proc/self/status").read()
def say(text):
    os.write(1, (text + "\\n").encode())
for line in iter(sys.stdin.buffer.readline, b""):
    words = line.decode().split()
    if words[0] == "INIT":
        say("INIT SUCCESS")
    elif words[0] == "FINALIZE":
        break
    elif words[0] == "DEPLOY":
        say(f"DEPLOY SUCCESS {words[1]} server-{words[1]}")
    elif words[0] == "POLL":
        say(f"POLL SUCCESS {words[1]} STATE=a IP=192.0.2.7")
    elif words[0] == "WHO":
        blocked = re.search("SigBlk:\\\\s*(\\\\w+)", status)[1]
        say(f"LOG I {words[1]} {sys.argv[1:]!r} {os.getcwd()} {blocked} {os.environ.get('ONE_LOCATION')} {fds}")
    else:
        say(f"{words[0]} SUCCESS {words[1]} -")
"""
GOOD_IM = """
import base64, os, sys, time, zlib
def say(text):
    os.write(1, (text + "\\n").encode())
def packed(text):
    return base64.b64encode(zlib.compress(text.encode())).decode()
facts = "TOTALCPU=200,FREECPU=200,USEDCPU=0,TOTALMEMORY=9,FREEMEMORY=9,USEDMEMORY=0"
for line in iter(sys.stdin.buffer.readline, b""):
    words = line.decode().split()
    if words[0] == "INIT":
        say("INIT SUCCESS")
    elif words[0] == "FINALIZE":
        break
    elif words[0] == "MONITOR":
        say(f"MONITOR SUCCESS {words[1]} {facts}")
    elif words[0] == "START_MONITOR":
        now = int(time.time())
        say(f"START_MONITOR SUCCESS {words[2]} {now}")
        lines = facts.replace(",", "\\n")
        say(f"SYSTEM_HOST SUCCESS {words[2]} {now} {packed(lines)}")
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "lib" / "mads").mkdir(parents=True)
    return tmp_path


def install(place: Path, name: str, program: str) -> None:
    """A driver: Python when it says import, else a shell script."""
    first = f"#!{sys.executable} -ISE\n" if "import" in program else "#!/bin/sh\n"
    path = place / "lib" / "mads" / name
    path.write_text(first + program)
    path.chmod(0o755)


class TestAGoodDriver:
    @OLD_AND_NEW
    def test_a_vm_lives_and_dies(self, place: Path, name: str) -> None:
        install(place, "one_vmm_eh", GOOD_VMM)
        install(place, "one_im_eh", GOOD_IM)
        with Core(name, one_location=place) as core:
            core.start_vmm(arguments="-t 15 eh")
            core.start_im()
            host = core.wait_host(core.create_host("eh"), "MONITORED")
            assert host.facts["TOTALMEMORY"] == "9"
            vm = core.create_vm(EH)
            core.deploy(vm, host)
            assert core.wait(vm, "RUNNING").deploy_id == "server-0"
            core.suspend(vm)
            core.resume(core.wait(vm, "SUSPENDED"))
            core.wait(vm, "RUNNING")
            if name == "7.4.0":
                core.poweroff(vm, hard=True)
                core.resume(core.wait(vm, "POWEROFF"))
                core.reboot(core.wait(vm, "RUNNING"))
            else:
                core.poll(vm)
            core.answered()
            assert vm.address == ("192.0.2.7" if name == "2.0.1" else "")
            core.terminate(vm)
            core.wait(vm, "DONE")

    @pytest.mark.parametrize(
        ("name", "arguments", "argv"),
        [
            ("2.0.1", "-t 15 eh", ["-t 15 eh"]),
            ("7.4.0", "-t 15 eh", ["-t 15 eh"]),
            ("2.0.1", None, []),
            ("7.4.0", None, [""]),
        ],
    )
    def test_it_gets_its_arguments_descriptors_signals_and_folder_as_from_oned(
        self, place: Path, name: str, arguments: str | None, argv: list[str]
    ) -> None:
        # Looked at before Python opens anything, and without a substitution, whose pipe would become fd 2.
        shell = "for n in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$n ] && FDS=$FDS$n; done; export FDS\n"
        program = GOOD_VMM.replace("{fds}", "{os.environ['FDS']}")
        install(place, "inner", program)
        install(place, "one_vmm_eh", f'{shell}exec {place}/lib/mads/inner "$@"\n')
        with Core(name, one_location=place) as core:
            core.start_vmm(arguments=arguments)
            core.say("vmm", b"WHO 3")
            text = core.wait_for(core.logs, "what the driver sees")[0]
        shown, _bracket, rest = text.rpartition("]")
        folder, blocked, location, descriptors = rest.split()
        assert f"{shown}]" == repr(argv)
        assert folder == str(place / "var")
        assert location == str(place)
        assert descriptors == "01", "fd 2 is closed, and nothing else is inherited"
        mask = int(blocked, 16)
        assert all(mask >> (number - 1) & 1 for number in (1, 2, 10, 13, 14, 15, 17)), "HUP to CHLD are blocked"

    def test_a_recording_can_be_replayed_to_it(self, place: Path) -> None:
        install(place, "one_vmm_eh", GOOD_VMM)
        install(place, "one_im_eh", GOOD_IM)
        with Core("2.0.1", one_location=place) as core:
            core.start_vmm()
            core.start_im()
            report = replay(core, recordings("2.0"), drives=lambda vm: f"11111111-2222-3333-4444-{vm:012}")
            assert (place / "var" / "7" / "deployment.0").read_text().count("4444-000000000007]") == 1
            asked = [line for line in core.vmm.said if "core to vmm" in line] if core.vmm else []
            assert not any("one-3" in line for line in asked), "the driver's own deploy ids are put in"
        assert report.lines > 60
        assert report.states > 30
        assert report.mismatches == []

    def test_a_template_with_the_end_of_a_cdata_section_empties_the_file_of_2_0(self, place: Path) -> None:
        install(place, "one_vmm_eh", GOOD_VMM)
        with Core("2.0.1", one_location=place) as core:
            core.start_vmm()
            vm = core.create_vm({"NAME": "a]]>b"})
            core.deploy(vm, core.create_host("eh"))
            core.wait(vm, "RUNNING")
        assert (place / "var" / "0" / "deployment.0").read_text() == ""


def first_words(answer: str, *, then: str = "") -> str:
    return f"read init\nprintf '{answer}'\n{then}\nwhile read line; do [ \"$line\" = FINALIZE ] && exit; done\n"


class TestInit:
    @OLD_AND_NEW
    @pytest.mark.parametrize(
        ("program", "says"),
        [
            (first_words("Welcome to the driver\\n"), "where INIT SUCCESS is needed"),
            (first_words("INIT FAILURE no account\\n"), "where INIT SUCCESS is needed"),
            (first_words("LOG I - here\\nINIT SUCCESS\\n"), "INIT"),
            ("exit 3\n", "status 3"),
            ("read init\nkill -9 $$\n", "status -9"),
        ],
    )
    def test_a_driver_that_does_not_answer_init_is_not_loaded(
        self, place: Path, name: str, program: str, says: str
    ) -> None:
        install(place, "one_vmm_eh", program)
        with Core(name, one_location=place) as core, pytest.raises(CoreFailure, match=says):
            core.start_vmm()

    def test_what_comes_in_the_same_read_as_the_answer_is_lost_in_7_4(self, place: Path) -> None:
        install(place, "one_vmm_eh", first_words("INIT SUCCESS\\nLOG I -1 hello\\n"))
        with Core("7.4.0", one_location=place) as core, pytest.raises(CoreFailure, match="loses it"):
            core.start_vmm()

    def test_the_answer_to_init_must_come_in_one_read_in_7_4(self, place: Path) -> None:
        install(place, "one_vmm_eh", first_words("INIT SUC", then="sleep 1; printf 'CESS\\n'"))
        with Core("7.4.0", one_location=place) as core, pytest.raises(CoreFailure, match="INIT SUCCESS is needed"):
            core.start_vmm()

    def test_a_driver_without_the_right_to_be_run_is_named(self, place: Path) -> None:
        install(place, "one_vmm_eh", GOOD_VMM)
        (place / "lib" / "mads" / "one_vmm_eh").chmod(0o644)
        with Core("7.4.0", one_location=place) as core, pytest.raises(CoreFailure, match="not executable"):
            core.start_vmm()


def answers(*lines: str) -> str:
    """A driver that answers each request with the next of ``lines`` (a printf format; %s is the id)."""
    cases = "".join(f"{number}) printf '{line}' $id ;;\n" for number, line in enumerate(lines, start=1))
    return (
        "read init; echo INIT SUCCESS; n=0\n"
        'while read action id rest; do [ "$action" = FINALIZE ] && exit 0\n'
        f"n=$((n+1)); case $n in\n{cases}esac; done\n"
    )


def deployed(core: Core) -> None:
    vm = core.create_vm(EH)
    core.start_vmm()
    core.deploy(vm, core.create_host("eh"))
    core.wait(vm, "RUNNING")


class TestWhatTheCoreWouldNotBear:
    @OLD_AND_NEW
    @pytest.mark.parametrize(
        ("answer", "says"),
        [
            ("DEPLOY SUCCESS %s\\n", "one word"),
            ("DEPLOY SUCCESS 99 x\\n", "nobody asked"),
            ("SAVE SUCCESS %s -\\n", "nobody asked"),
            ("DEPLOY SUCCESS %s x\\nDEPLOY FAILURE 0 late\\n", "answered before"),
            ("DEPLOY FAILURE %s a\\nb\\n", "would not take"),
            ("debug: deploying\\nDEPLOY SUCCESS %s x\\n", "would not take"),
        ],
    )
    def test_a_bad_answer_is_a_failure_that_shows_both_sides(
        self, place: Path, name: str, answer: str, says: str
    ) -> None:
        install(place, "one_vmm_eh", answers(answer))
        with pytest.raises(CoreFailure, match=says) as caught, Core(name, one_location=place) as core:
            deployed(core)
            core.wait_for(lambda: len(core.answers) > 1, "a second answer")
        assert "core to vmm: b'DEPLOY" in str(caught.value)
        assert "vmm driver: b'" in str(caught.value)

    def test_half_a_line_and_a_pause_reload_the_driver_in_old_releases(self, place: Path) -> None:
        program = answers("DEPLOY SUCC").replace("esac;", "esac; sleep 0.4; echo ESS $id x;")
        install(place, "one_vmm_eh", program)
        core = Core("2.0.1", one_location=place)
        with pytest.raises(CoreFailure, match="half a line, b'DEPLOY SUCC', and paused"), core:
            deployed(core)

    def test_half_a_line_and_a_pause_are_borne_by_new_releases(self, place: Path) -> None:
        program = answers("DEPLOY SUCC").replace("esac;", "esac; sleep 0.4; echo ESS $id x;")
        install(place, "one_vmm_eh", program)
        with Core("7.4.0", one_location=place) as core:
            deployed(core)

    @OLD_AND_NEW
    def test_a_driver_that_dies_is_noticed(self, place: Path, name: str) -> None:
        install(place, "one_vmm_eh", "read init; echo INIT SUCCESS; read line; exit 1\n")
        core = Core(name, one_location=place)
        with pytest.raises(CoreFailure, match="closed its output"), core:
            deployed(core)

    @OLD_AND_NEW
    def test_a_missing_answer_is_named(self, place: Path, name: str) -> None:
        install(place, "one_vmm_eh", answers(""))
        core = Core(name, one_location=place)
        with pytest.raises(CoreFailure, match=r"without an answer: \[\('vmm', 'DEPLOY', 0\)\]"), core:
            vm = core.create_vm(EH)
            core.start_vmm()
            core.deploy(vm, core.create_host("eh"))
            core.answered(0.3)

    def test_a_state_that_does_not_come_is_told_with_the_reason_that_the_driver_gave(self, place: Path) -> None:
        install(place, "one_vmm_eh", answers("DEPLOY FAILURE %s no such drive\\n"))
        core = Core("7.4.0", one_location=place)
        with pytest.raises(CoreFailure, match="VM 0 is BOOT_FAILURE, ERROR 'DEPLOY: no such drive'"), core:
            vm = core.create_vm(EH)
            core.start_vmm()
            core.deploy(vm, core.create_host("eh"))
            core.wait(vm, "RUNNING", 0.5)

    def test_a_driver_that_outlives_the_core_is_killed_and_named(self, place: Path) -> None:
        install(place, "one_vmm_eh", "read init; echo INIT SUCCESS; exec sleep 60 <&- >&-\n")
        core = Core("2.0.1", one_location=place)
        core.start_vmm()
        assert core.vmm is not None
        with pytest.raises(CoreFailure, match=r"still ran 0.2 s after FINALIZE"):
            core.vmm.stop(0.2)
        assert core.vmm.exit_status == -9

    def test_a_timestamp_that_goes_back_and_another_deploy_id_are_failures(self, place: Path) -> None:
        program = GOOD_IM.replace("now)", "now)").replace(
            'say(f"SYSTEM_HOST SUCCESS {words[2]} {now} {packed(lines)}")',
            'say(f"SYSTEM_HOST SUCCESS {words[2]} {now} {packed(lines)}")\n'
            '        say(f"SYSTEM_HOST SUCCESS {words[2]} {now - 5} {packed(lines)}")\n',
        )
        install(place, "one_im_eh", program)
        core = Core("7.4.0", one_location=place)
        with pytest.raises(CoreFailure, match="out of order"), core:
            core.start_im()
            core.wait_host(core.create_host("eh"), "MONITORED")
            core.wait_for(lambda: False, "anything more", 1.0)


class TestTheAdministrator:
    def test_what_the_core_refuses_reaches_no_driver(self, place: Path) -> None:
        install(place, "one_vmm_eh", GOOD_VMM)
        with Core("2.0.1", one_location=place) as core:
            deployed(core)
            vm = core.model.vms[0]
            with pytest.raises(CoreFailure, match=r"poweroff of VM 0 is refused by OpenNebula 2.0.1"):
                core.poweroff(vm)
            with pytest.raises(CoreFailure, match="refused in RUNNING"):
                core.resume(vm)
            assert vm.state == "RUNNING"

    @pytest.mark.parametrize(("name", "last"), [("2.0.1", "CANCEL"), ("3.8.5", "CANCEL"), ("5.10.5", "CLEANUP")])
    def test_delete_cancels_first_and_cleans_up_then(self, place: Path, name: str, last: str) -> None:
        install(place, "one_vmm_eh", GOOD_VMM)
        with Core(name, one_location=place) as core:
            deployed(core)
            core.delete(core.model.vms[0])
            core.wait(core.model.vms[0], "DONE")
            core.answered()
            asked = [line.split("'")[1].split()[0] for line in core.said() if "core to vmm" in line]
            assert asked[-2:] == ["DRIVER_CANCEL", last]

    def test_terminate_of_a_powered_off_vm_tells_the_driver_nothing(self, place: Path) -> None:
        install(place, "one_vmm_eh", GOOD_VMM)
        with Core("7.4.0", one_location=place) as core:
            deployed(core)
            vm = core.model.vms[0]
            core.poweroff(vm)
            core.wait(vm, "POWEROFF")
            before = len(core.said())
            core.terminate(vm)
            assert (vm.state, len(core.said())) == ("DONE", before)

    def test_a_killed_driver_may_be_started_again_and_nothing_is_repeated(self, place: Path) -> None:
        install(place, "one_vmm_eh", GOOD_VMM)
        with Core("7.4.0", one_location=place) as core:
            deployed(core)
            core.kill("vmm")
            core.start_vmm()
            core.reboot(core.model.vms[0])
            core.answered()
            assert [answer.action for answer in core.answers] == ["DEPLOY", "REBOOT"]

    def test_a_broken_line_may_be_said_and_answered(self, place: Path) -> None:
        install(place, "one_vmm_eh", answers("DEPLOY FAILURE %s The line is cut off\\n"))
        with Core("7.4.0", one_location=place) as core:
            core.start_vmm()
            core.say("vmm", b"DEPLOY  5", answer=("DEPLOY", 5))
            core.answered()
            assert core.answers[0].text == "The line is cut off"


class TestMonitoringFrom512On:
    """GOOD_IM says something of a host only when START_MONITOR came."""

    def test_start_monitor_comes_at_once_for_a_new_host_and_for_one_that_is_enabled(self, place: Path) -> None:
        install(place, "one_im_eh", GOOD_IM)
        with Core("7.4.0", one_location=place) as core:
            core.start_im()
            host = core.wait_host(core.create_host("eh"), "MONITORED")
            core.offline(host)
            core.enable(host)
            core.wait_host(host, "MONITORED")

    def test_start_monitor_comes_when_nothing_was_heard_for_the_interval_and_not_sooner(self, place: Path) -> None:
        install(place, "one_im_eh", GOOD_IM)
        with Core("7.4.0", one_location=place, interval=3) as core:
            core.start_im()
            host = core.wait_host(core.create_host("eh"), "MONITORED")
            began = time.monotonic()
            with pytest.raises(CoreFailure, match="is not sent yet"):
                core.monitor(host)
            core.wait_for(lambda: sum(a.action == "START_MONITOR" for a in core.answers) == 2, "START_MONITOR again")
            assert time.monotonic() - began >= 2

    def test_neither_a_restart_nor_an_action_brings_start_monitor_but_they_put_it_off(self, place: Path) -> None:
        install(place, "one_vmm_eh", GOOD_VMM)
        install(place, "one_im_eh", GOOD_IM)
        with Core("7.4.0", one_location=place, interval=4) as core:
            core.start_vmm()
            core.start_im()
            host = core.wait_host(core.create_host("eh"), "MONITORED")
            time.sleep(2)
            core.restart()
            time.sleep(2)
            core.deploy(core.create_vm(EH), host)
            began = time.monotonic()
            before = len(core.answers)
            core.wait_for(lambda: any(a.action == "START_MONITOR" for a in core.answers[before:]), "START_MONITOR")
            assert time.monotonic() - began >= 3

    def test_a_message_for_a_host_that_the_core_has_not_is_put_aside(self, place: Path) -> None:
        install(place, "one_im_eh", GOOD_IM.replace("SYSTEM_HOST SUCCESS {words[2]}", "SYSTEM_HOST SUCCESS 77"))
        with Core("7.4.0", one_location=place) as core:
            core.start_im()
            host = core.create_host("eh")
            core.wait_for(lambda: core.ignored, "the warning")
            assert core.ignored == ["SYSTEM_HOST: message ignored for unknown host 77"]
            assert host.state == "INIT"

    @pytest.mark.parametrize(("fault", "says"), [("kvm", "has driver kvm"), ("follows", "does not lead")])
    def test_what_the_core_believes_to_nobody_s_good_is_a_failure(self, place: Path, fault: str, says: str) -> None:
        install(place, "one_im_eh", GOOD_IM)
        core = Core("7.4.0", one_location=place)
        with pytest.raises(CoreFailure, match=says), core:
            core.start_im()
            host = core.wait_host(core.create_host("eh"), "MONITORED")
            host.im_mad = "kvm" if fault == "kvm" else "im_eh"
            core.follows = fault == "follows"
            core.start_monitor(host)
            core.wait_for(lambda: False, "anything more", 3.0)


MONITORED = {"TOTALCPU": "200", "TOTALMEMORY": str(2048 * 1024)}
ROOM = {"DS_LOCATION_FREE_MB": "100"}


class TestTheScheduler:
    @pytest.mark.parametrize(
        ("name", "facts", "datastore", "disk", "says"),
        [
            ("2.0.1", {}, SystemDatastore(), 0, "not enough CPU"),
            ("2.0.1", {"TOTALCPU": "200"}, SystemDatastore(), 0, "not enough memory"),
            ("4.2.0", MONITORED, SystemDatastore(), 0, ""),
            ("4.4.1", MONITORED, SystemDatastore(), 0, "0 < 0 MB is not so"),
            ("4.14.2", MONITORED, SystemDatastore(numbers={"FREE_MB": 100}), 0, "0 < 0 MB is not so"),
            ("4.14.2", {**MONITORED, **ROOM}, SystemDatastore(), 0, ""),
            ("4.14.2", {**MONITORED, **ROOM}, SystemDatastore(), 100, "100 < 100 MB is not so"),
            ("5.0.2", {**MONITORED, **ROOM}, SystemDatastore(), 0, "not monitored"),
            ("5.0.2", MONITORED, SystemDatastore(numbers={"FREE_MB": 100}), 99, ""),
            ("7.4.0", MONITORED, SystemDatastore(numbers={"TOTAL_MB": 100, "FREE_MB": 0}), 0, ""),
            ("7.4.0", MONITORED, SystemDatastore(numbers={"FREE_MB": 100}), 100, "100 of 100 MB"),
            ("7.4.0", MONITORED, SystemDatastore(shared=False, numbers={"FREE_MB": 100}), 0, "0 < 0 MB is not so"),
            ("7.4.0", {**MONITORED, **ROOM}, SystemDatastore(shared=False), 99, ""),
        ],
    )
    def test_each_release_has_its_conditions(
        self, name: str, facts: dict[str, str], datastore: SystemDatastore, disk: int, says: str
    ) -> None:
        vm = Vm(0, "vm", (("CPU", "1"), ("MEMORY", "512")))
        reason = refusal_of(release(name), HostView("MONITORED", facts, []), vm, datastore, disk)
        assert says in reason
        assert bool(says) is bool(reason)

    def test_what_other_vms_were_given_is_taken(self) -> None:
        vm = Vm(0, "vm", (("CPU", "1.5"), ("MEMORY", "512")))
        host = HostView("MONITORED", MONITORED, [Vm(1, "other", vm.template, "RUNNING")])
        assert refusal_of(release("2.0.1"), host, vm, SystemDatastore(), 0) == "not enough CPU"
