# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in's own judgement: recorded drivers pass, every bad line is refused, states follow as recorded."""

from __future__ import annotations

import base64
import zlib

import pytest

from tests.core.grammar import GrammarError, parse_template
from tests.core.judge import Answer, Verdict, judge_im, judge_vmm
from tests.core.model import Host, Model, Vm
from tests.core.releases import release
from tests.core.replay import judge_recordings, recordings

REFUSED = {
    "2.0": {"STATE=x", "'-'", "WITHQUOTE", "32 bits", "STATE=active"},
    "3.8": set(),
    "5.10": {"'-'"},
    "7.4": {"object's id does not come first"},
}
"""what the recording driver said wrong on purpose"""
FACTS = "HYPERVISOR=eh,TOTALCPU=200,FREECPU=200,USEDCPU=0,TOTALMEMORY=2097152,FREEMEMORY=2097152,USEDMEMORY=0"
DISK = "DS_LOCATION_TOTAL_MB=9,DS_LOCATION_USED_MB=0,DS_LOCATION_FREE_MB=9"
LINES = FACTS.replace(",", "\n") + "\n"
STAMP = 1795355063
RUNNING = 'VM=[ID="1", DEPLOY_ID="x", STATE="RUNNING"]\n'
POWEROFF = RUNNING.replace("RUNNING", "POWEROFF")


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode())).decode()


@pytest.mark.parametrize(("folder", "least"), [("2.0", 90), ("3.8", 50), ("5.10", 70), ("7.4", 70)])
def test_recorded_drivers_pass_and_the_states_are_the_recorded_ones(folder: str, least: int) -> None:
    report = judge_recordings(recordings(folder))
    assert report.lines >= least
    assert report.states > 20
    assert report.mismatches == []
    unexplained = [why for why in report.refused if not any(word in why for word in REFUSED[folder])]
    assert unexplained == []
    assert all(any(word in why for why in report.refused) for word in REFUSED[folder])


@pytest.mark.parametrize("name", ["2.0.1", "3.8.5", "5.10.5", "7.4.0"])
@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" DEPLOY SUCCESS 1 x",
        b"deploy SUCCESS 1 x",
        b"DEPLOY success 1 x",
        b"DEPLOY DONE 1 x",
        b"DEPLOY SUCCESS",
        b"DEPLOY SUCCESS one x",
        b"DEPLOY SUCCESS -1 x",
        b"DEPLOY SUCCESS 1",
        b"DEPLOY SUCCESS 1 two words",
        b"DEPLOY SUCCESS 1 -",
        b"DEPLOY FAILURE 1",
        b"DEPLOY FAILURE 1 ",
        b"DEPLOY FAILURE 1 - no drive",
        b"DEPLOY FAILURE 1 no\0drive",
        b"DEPLOY FAILURE 1 no\rdrive",
        b"DEPLOY FAILURE 1 no \x1b[1mdrive",
        b"DEPLOY FAILURE 1 \xff\xfe",
        "DEPLOY FAILURE 1 a\u2028b".encode(),
        "DEPLOY FAILURE 1 \ufffe".encode(),
        b"DEPLOY  SUCCESS 1 x",
        b"TELEPORT SUCCESS 1 x",
        b"UPDATENIC SUCCESS 1 -",
        b"UPDATESG FAILURE 1 it failed",
        b"SNAPSHOTCREATE SUCCESS 1 -",
        b"LOG I 1",
        b"LOG X 1 text",
        b"LOG I one text",
        b"Traceback (most recent call last):",
    ],
)
def test_a_vmm_line_that_no_release_takes_is_refused(name: str, line: bytes) -> None:
    with pytest.raises(Verdict):
        judge_vmm(release(name), line)


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("2.0.1", b"POLL SUCCESS 1 STATE=a CPU=3", "would replace the VM template's CPU"),
        ("2.0.1", b"POLL SUCCESS 1 STATE=r", "says nothing"),
        ("2.0.1", b"POLL SUCCESS 1 USEDMEMORY=99999999999", "32 bits"),
        ("2.0.1", b"POLL SUCCESS 1 -", "KEY=VALUE"),
        ("3.8.5", b"POLL SUCCESS 1 STATE=a IP=", "KEY=VALUE"),
        ("3.8.5", b"POLL SUCCESS 1", "no token"),
        ("5.10.5", b"POLL SUCCESS 1 STATE=a CPU=high", "no number"),
        ("5.10.5", b"POLL SUCCESS 1 STATE=a GUEST_IP_ADDRESSES=192.0.2.1,192.0.2.2", "sample is dropped"),
        ("5.12.0", b"POLL SUCCESS 1 STATE=a", "no action"),
        ("7.4.0", b"POLL SUCCESS 1 STATE=a", "no action"),
        ("7.4.0", b"LOG I - text", "VM 0"),
        ("5.10.5", b"LOG I -1 text", "lost"),
        ("2.0.1", b"SAVE FAILURE 1 " + b"x" * 70000, "pipe"),
    ],
)
def test_a_vmm_line_is_judged_by_its_release(name: str, line: bytes, says: str) -> None:
    with pytest.raises(Verdict, match=says):
        judge_vmm(release(name), line)


def test_a_vmm_line_of_the_other_code_may_be_long() -> None:
    assert judge_vmm(release("7.4.0"), b"SAVE FAILURE 1 " + b"x" * 70000).ok is False


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("2.0.1", f"MONITOR SUCCESS {FACTS}", "id text"),
        ("2.0.1", "MONITOR SUCCESS 0 HYPERVISOR=eh", "TOTALCPU is missing"),
        ("2.0.1", f"MONITOR SUCCESS 0 {FACTS},VM=[ID=1,DEPLOY_ID=x]", "between two commas"),
        ("2.0.1", f'MONITOR SUCCESS 0 {FACTS},MODELNAME="a,b"', "between two commas"),
        ("2.0.1", f"MONITOR SUCCESS 0 {FACTS},MODELNAME=a b", "between two commas"),
        ("2.0.1", f"MONITOR SUCCESS 0 {FACTS},", "between two commas"),
        ("2.0.1", "MONITOR SUCCESS 0 " + FACTS.replace("USEDCPU=0", "USEDCPU=-5"), "negative"),
        ("2.0.1", "MONITOR SUCCESS 0 " + FACTS.replace("2097152", "3000000000"), "32 bits"),
        ("2.0.1", "MONITOR FAILURE 0", "reason"),
        ("2.0.1", "STOPMONITOR SUCCESS 0 -", "no STOPMONITOR"),
        ("2.0.1", "LOG I - text", "without a number"),
        ("5.10.5", f"MONITOR SUCCESS 0 {FACTS}", "base64"),
        ("5.10.5", f"MONITOR SUCCESS 0 {b64(FACTS)}", "template text"),
        ("5.10.5", "MONITOR SUCCESS 0", "empty"),
        ("5.10.5", "MONITOR FAILURE 0 it failed!", "base64"),
        (
            "5.10.5",
            "MONITOR SUCCESS 0 " + b64(LINES + 'VM=[ID=1,DEPLOY_ID=x,POLL="STATE=a"]'),
            "VM_POLL",
        ),
        (
            "5.10.5",
            "MONITOR SUCCESS 0 " + b64(LINES + 'VM_POLL=YES\nVM=[ID=1,POLL="STATE=a"]'),
            "DEPLOY_ID",
        ),
        ("7.4.0", f"MONITOR SUCCESS 0 {FACTS}", "TYPE SUCCESS"),
        ("7.4.0", f"BEACON_HOST SUCCESS 0 {STAMP}", "dropped"),
        ("7.4.0", f"SYSTEM_HOST SUCCESS 0 {b64('TOTALCPU=1')}", "TYPE SUCCESS"),
        ("7.4.0", f"SYSTEM_HOST SUCCESS 0 {STAMP} {b64('TOTALCPU=1')}", "not zlib"),
        ("7.4.0", f"SYSTEM_HOST SUCCESS 0 {STAMP} {packed('TOTALCPU=100')}", "TOTALMEMORY is missing"),
        ("7.4.0", f"SYSTEM_HOST SUCCESS 0 {STAMP} {packed('TOTALCPU=100')} x", "TYPE SUCCESS"),
        ("7.4.0", f"SYSTEM_HOST FAILURE 0 {STAMP}", "reason"),
        ("7.4.0", f"MONITOR_HOST SUCCESS 0 {STAMP} {packed('USEDCPU=1')}", "FREECPU is missing"),
        ("7.4.0", f"STATE_VM SUCCESS 0 {STAMP} {packed('SYNC_STATE=yes')}", "together"),
        (
            "7.4.0",
            f"STATE_VM SUCCESS 0 {STAMP} {packed('SYNC_STATE=yes' + chr(10) + 'MISSING_STATE=GONE')}",
            "UNKNOWN or",
        ),
        ("7.4.0", f"STATE_VM SUCCESS 0 {STAMP} " + packed('VM=[ID="1", STATE="RUNNING"]'), "without DEPLOY_ID"),
        ("7.4.0", f"STATE_VM SUCCESS 0 {STAMP} " + packed('VM=[ID="1", DEPLOY_ID="x", STATE="active"]'), "ignored"),
        ("7.4.0", f"STATE_VM SUCCESS 0 {STAMP} " + packed('VM=[ID="-1", DEPLOY_ID="x", STATE="RUNNING"]'), "id -1"),
        (
            "7.4.0",
            f"STATE_VM SUCCESS 0 {STAMP} " + packed(RUNNING * 2),
            "twice",
        ),
        ("7.4.0", f"MONITOR_VM SUCCESS 0 {STAMP} " + packed('VM=[ID="1", DEPLOY_ID="x", MONITOR="no"]'), "base64"),
        ("7.4.0", "LOG I 0 text", "plain text is UNDEFINED"),
        ("3.8.5", f"MONITOR SUCCESS 0 {FACTS},{DISK}", "nothing before 4.4"),
        ("4.2.0", "MONITOR SUCCESS 0 " + b64(LINES + DISK.replace(",", "\n")), "nothing before 4.4"),
        ("4.14.2", "MONITOR SUCCESS 0 " + b64(LINES + "DS_LOCATION_FREE_MB=5"), "DS_LOCATION_TOTAL_MB is missing"),
        ("4.14.2", "MONITOR SUCCESS 0 " + b64(LINES + DISK.replace(",", "\n") + "M"), "no whole number"),
        ("5.0.2", "MONITOR SUCCESS 0 " + b64(LINES + DISK.replace(",", "\n")), "not shared"),
        (
            "7.4.0",
            f"SYSTEM_HOST SUCCESS 0 {STAMP} " + packed("TOTALCPU=1\nTOTALMEMORY=1\n" + DISK.replace(",", "\n")),
            "not shared",
        ),
    ],
)
def test_an_im_line_is_judged_by_its_release(name: str, line: str, says: str) -> None:
    with pytest.raises(Verdict, match=says):
        judge_im(release(name), line.encode())


@pytest.mark.parametrize(
    "text",
    ["A", "A=[B=1", "A=[B=1,]", "A=[]", 'A="open', "A=1 B=2", "A=[B=1 C=2]", "=1", "A=a=b", "A=[B\n=1]"],
)
def test_template_text_that_the_core_refuses_is_refused(text: str) -> None:
    with pytest.raises(GrammarError):
        parse_template(text)


def test_template_text_of_the_reference_is_read() -> None:
    text = '# a comment\nname = "a \\"b\\"" # another\nEMPTY =\nV = [ ID="1", # inside\n  X=y ]\n\n'
    assert parse_template(text) == [("NAME", 'a "b"'), ("EMPTY", ""), ("V", {"ID": "1", "X": "y"})]


class TestStates:
    """Effects that matter most to a driver, beside those that the recordings show."""

    def model(self, name: str = "7.4.0", state: str = "RUNNING", grace: float | None = None) -> Model:
        model = Model(release(name), grace)
        model.hosts[0] = Host(0, "eh", "MONITORED")
        model.vms[1] = Vm(1, "vm", state=state, deploy_id="x", host=model.hosts[0])
        return model

    def say(
        self, model: Model, text: str, now: float, kind: str = "STATE_VM", stamp: int = STAMP, ok: bool = True
    ) -> Vm:
        status = "SUCCESS" if ok else "FAILURE"
        model.im(judge_im(model.release, f"{kind} {status} 0 {stamp} {packed(text)}".encode()), now)
        return model.vms[1]

    def test_a_running_report_wakes_a_powered_off_vm(self) -> None:
        vm = self.say(self.model(state="POWEROFF"), RUNNING, 100.0)
        assert vm.state == "RUNNING"

    def test_reports_are_ignored_for_30_seconds_after_a_vm_began_to_run(self) -> None:
        model = self.model(state="BOOT")
        model.vmm(judge_vmm(model.release, b"DEPLOY SUCCESS 1 x"), 100.0)
        report = POWEROFF
        assert self.say(model, report, 129.0).state == "RUNNING"
        assert self.say(model, report, 131.0).state == "POWEROFF"

    def test_what_is_ignored_is_counted_whether_it_is_new_or_not_and_in_a_sync_too(self) -> None:
        model = self.model(state="BOOT")
        model.vmm(judge_vmm(model.release, b"DEPLOY SUCCESS 1 x"), 100.0)
        self.say(model, RUNNING, 101.0)
        self.say(model, "SYNC_STATE=yes\nMISSING_STATE=UNKNOWN\n" + RUNNING, 102.0)
        assert self.say(model, POWEROFF, 131.0).ignored == 2

    def test_a_vm_of_another_host_and_one_that_is_on_none_are_zombies(self) -> None:
        model = self.model()
        model.hosts[1] = Host(1, "other", "MONITORED")
        for state, host, zombies in (
            ("RUNNING", 0, ()),
            ("POWEROFF", 0, ()),
            ("RUNNING", 1, ("x",)),
            ("UNDEPLOYED", 0, ("x",)),
            ("DONE", 0, ("x",)),
        ):
            model.vms[1].state, model.vms[1].host = state, model.hosts[host]
            self.say(model, "SYNC_STATE=yes\nMISSING_STATE=UNKNOWN\n" + RUNNING, 100.0)
            assert model.hosts[0].zombies == zombies, state

    def test_a_missing_vm_has_no_such_grace(self) -> None:
        model = self.model(state="BOOT")
        model.vmm(judge_vmm(model.release, b"DEPLOY SUCCESS 1 x"), 100.0)
        assert self.say(model, "SYNC_STATE=yes\nMISSING_STATE=UNKNOWN\n", 101.0).state == "UNKNOWN"

    def test_a_power_off_report_completes_an_unanswered_shutdown(self) -> None:
        vm = self.say(self.model(state="SHUTDOWN"), POWEROFF, 100.0)
        assert vm.state == "DONE"

    def test_a_host_in_error_makes_its_vms_unknown_and_a_system_message_mends_the_host_alone(self) -> None:
        model = self.model()
        assert self.say(model, "the cloud is away", 100.0, "SYSTEM_HOST", ok=False).state == "UNKNOWN"
        assert (model.hosts[0].state, model.hosts[0].error) == ("ERROR", "the cloud is away")
        vm = self.say(model, "TOTALCPU=1\nTOTALMEMORY=1\n", 101.0, "SYSTEM_HOST")
        assert (model.hosts[0].state, vm.state) == ("MONITORED", "UNKNOWN")

    def test_a_message_from_the_past_changes_nothing(self) -> None:
        model = self.model()
        self.say(model, "\n", 100.0)
        assert self.say(model, POWEROFF, 101.0, stamp=STAMP - 1).state == "RUNNING"

    def test_in_2_0_a_monitored_host_needs_one_answer(self) -> None:
        model = self.model("2.0.1")
        model.hosts[0].state = "INIT"
        model.im(judge_im(model.release, f"MONITOR SUCCESS 0 {FACTS}".encode()), 1.0)
        assert model.hosts[0].state == "MONITORED"
        model.im(Answer("reply", "MONITOR", False, 0, "away"), 2.0)
        assert (model.hosts[0].state, model.vms[1].state) == ("ERROR", "RUNNING")

    def test_a_late_shutdown_answer_ends_nothing_in_7_4(self) -> None:
        model = self.model()
        model.vmm(judge_vmm(model.release, b"SHUTDOWN SUCCESS 1 -"), 1.0)
        assert model.vms[1].state == "RUNNING"
