# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers to the core: whatever is put in, the core of every release reads what was meant.

The judge of tests/core knows the core's own grammar and shares no code with the driver.
"""

from __future__ import annotations

import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.driver_replies import (
    INIT_REPLY,
    VmFacts,
    VmState,
    WildVm,
    im_host_failure,
    im_host_reply,
    im_log,
    im_message,
    monitor_vm_text,
    poll_data,
    template_text,
    vm_state_text,
    vmm_log,
    vmm_reply,
    wild_text,
)
from tests.core.grammar import parse_template, single, vectors
from tests.core.judge import judge_im, judge_vmm, monitor_facts
from tests.core.releases import Release, release

RELEASES = [release(name) for name in ("2.0.1", "3.8.5", "4.2.0", "4.12.0", "5.10.5", "5.12.0", "6.10.0", "7.4.0")]
IDS = st.integers(0, 2**31 - 1)
STAMPED = [row for row in RELEASES if row.im == "5.12-7.4"]
UNSTAMPED = [row for row in RELEASES if row.im != "5.12-7.4"]
# Also what must never reach the core: control characters, newlines of every kind, lone surrogates.
TEXTS = st.text(st.characters(), max_size=80)
FACTS = {
    "HYPERVISOR": "elastichosts",
    "HOSTNAME": "eh",
    "TOTALCPU": 200,
    "FREECPU": 150,
    "USEDCPU": 50,
    "TOTALMEMORY": 2097152,
    "FREEMEMORY": 2000000,
    "USEDMEMORY": 97152,
}


def body(line: bytes) -> bytes:
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return line[:-1]


def test_init_is_answered_by_the_words_every_release_wants() -> None:
    assert INIT_REPLY == b"INIT SUCCESS\n"


@pytest.mark.parametrize("row", RELEASES, ids=lambda row: row.name)
class TestVmmReplies:
    @given(text=TEXTS, number=IDS)
    def test_a_failure_is_one_line_with_a_reason_whatever_its_text(self, row: Release, text: str, number: int) -> None:
        answer = judge_vmm(row, body(vmm_reply("SHUTDOWN", False, number, text)))
        assert (answer.action, answer.ok, answer.id) == ("SHUTDOWN", False, number)

    @given(text=TEXTS, number=IDS)
    def test_a_success_is_one_line_whatever_its_text(self, row: Release, text: str, number: int) -> None:
        answer = judge_vmm(row, body(vmm_reply("CANCEL", True, number, text)))
        assert (answer.ok, answer.id) == (True, number)

    @given(text=TEXTS, number=st.integers(-1, 2**31 - 1), level=st.sampled_from(["E", "warning", "Info", "D", "", "x"]))
    def test_a_log_line_keeps_its_vm(self, row: Release, text: str, number: int, level: str) -> None:
        generation = row.vmm
        answer = judge_vmm(row, body(vmm_log(generation, level, number, f"About: {text}")))
        assert (answer.kind, answer.id) == ("log", number)

    def test_poll_data_speaks_the_words_of_the_release(self, row: Release) -> None:
        if not row.poll:
            return
        facts = {"STATE": "a", "CPU": 7, "MEMORY": 524288, "NETRX": 2**40, "GUEST_IP": "192.0.2.7"}
        text = poll_data(row.vmm, facts, monitoring=row.plain_words)
        seen = judge_vmm(row, body(vmm_reply("POLL", True, 3, text))).facts
        assert seen["STATE"] == "a"
        assert seen["CPU" if row.plain_words else "USEDCPU"] == "7"
        assert seen["MEMORY" if row.plain_words else "USEDMEMORY"] == "524288"
        assert seen["GUEST_IP"] == "192.0.2.7"


class TestWhatTheCoreWouldMisread:
    @pytest.mark.parametrize("deploy_id", ["", "a b", "-", "a\nb", "-x", "ä"])
    def test_a_deploy_id_that_is_not_one_word_is_refused_here_already(self, deploy_id: str) -> None:
        with pytest.raises(ValueError, match="not one word"):
            vmm_reply("DEPLOY", True, 3, deploy_id)

    @pytest.mark.parametrize(("action", "number"), [("DEPLOY x", 1), ("", 1), ("deploy", 1), ("SAVE", -1)])
    def test_a_reply_without_action_or_id_is_refused(self, action: str, number: int) -> None:
        with pytest.raises(ValueError, match="no reply"):
            vmm_reply(action, False, number, "x")

    def test_a_newline_cannot_smuggle_a_second_answer(self) -> None:
        line = vmm_reply("DEPLOY", False, 3, "a\nDEPLOY SUCCESS 3 x\r\u2028b\x85c")
        assert line == b"DEPLOY FAILURE 3 a; DEPLOY SUCCESS 3 x; b; c\n"

    def test_a_reason_does_not_begin_with_a_dash(self) -> None:
        assert vmm_reply("SAVE", False, 3, "- - it failed") == b"SAVE FAILURE 3 it failed\n"
        assert vmm_reply("SAVE", False, 3, "-") == b"SAVE FAILURE 3 No reason was given.\n"

    def test_a_long_reason_is_cut_far_below_the_capacity_of_a_pipe(self) -> None:
        assert len(vmm_reply("SAVE", False, 3, "ä" * 100_000)) < 4096

    def test_a_log_about_no_vm_has_the_id_that_the_release_wants(self) -> None:
        assert vmm_log("2.0-3.0", "E", -1, "x") == b"LOG E - x\n"
        assert vmm_log("6.0-7.4", "E", -1, "x") == b"LOG E -1 x\n"


class TestHostMessages:
    @pytest.mark.parametrize("row", UNSTAMPED, ids=lambda row: row.name)
    @given(text=TEXTS)
    def test_every_release_reads_the_facts_of_a_host(self, row: Release, text: str) -> None:
        answer = judge_im(row, body(im_host_reply(row.im, 3, {**FACTS, "MODELNAME": text})))
        assert answer.facts["TOTALMEMORY"] == "2097152"
        assert answer.facts["HYPERVISOR"] == "elastichosts"

    @pytest.mark.parametrize("row", UNSTAMPED, ids=lambda row: row.name)
    @given(text=TEXTS)
    def test_a_failed_host_has_a_reason(self, row: Release, text: str) -> None:
        assert judge_im(row, body(im_host_failure(row.im, 3, text))).ok is False

    @pytest.mark.parametrize("row", [row for row in UNSTAMPED if row.im != "2.0-3.8"], ids=lambda row: row.name)
    def test_vms_are_listed_from_4_0_on(self, row: Release) -> None:
        vms = [
            VmFacts(41, "uuid-41", {"STATE": "a", "CPU": 1, "MEMORY": 512}, 'na"me'),
            VmFacts(-1, "wild", {"STATE": "a"}),
        ]
        answer = judge_im(row, body(im_host_reply(row.im, 3, FACTS, vms, monitoring=row.plain_words)))
        assert answer.facts["VM_POLL"] == "YES"
        first, second = answer.vectors("VM")
        assert (first["ID"], first["DEPLOY_ID"], first["VM_NAME"]) == ("41", "uuid-41", 'na"me')
        assert first["POLL"] == ("STATE=a CPU=1 MEMORY=512" if row.plain_words else "STATE=a USEDCPU=1 USEDMEMORY=512")
        assert second["ID"] == "-1"

    def test_no_vm_is_mentioned_without_a_listing(self) -> None:
        answer = judge_im(release("5.10.5"), body(im_host_reply("4.4-5.10", 3, FACTS)))
        assert "VM_POLL" not in answer.facts

    @pytest.mark.parametrize("row", RELEASES, ids=lambda row: row.name)
    @given(text=TEXTS)
    def test_a_log_line_of_the_im_driver_is_read(self, row: Release, text: str) -> None:
        answer = judge_im(row, body(im_log(row.im, "E", -1, f"Trouble: {text}", 1795355063)))
        assert answer.text.startswith("Trouble:")

    def test_a_message_of_one_generation_cannot_be_made_for_another(self) -> None:
        with pytest.raises(ValueError, match=r"5\.12-7\.4"):
            im_host_reply("5.12-7.4", 3, FACTS)
        with pytest.raises(ValueError, match="I9"):
            im_host_failure("I9", 3, "x")


@pytest.mark.parametrize("row", STAMPED, ids=lambda row: row.name)
class TestStream:
    def test_an_empty_message_has_no_payload(self, row: Release) -> None:
        assert im_message("START_MONITOR", True, 5, 1795355063) == b"START_MONITOR SUCCESS 5 1795355063\n"
        assert judge_im(row, b"START_MONITOR SUCCESS 5 1795355063").timestamp == 1795355063

    @given(text=TEXTS)
    def test_a_failure_has_a_reason_of_one_line(self, row: Release, text: str) -> None:
        answer = judge_im(row, body(im_message("SYSTEM_HOST", False, 5, 7, text)))
        assert not answer.ok
        assert "\n" not in answer.text

    @given(text=TEXTS)
    def test_a_host_is_described_and_its_wild_servers_are_listed(self, row: Release, text: str) -> None:
        wild = wild_text([WildVm("uuid-w", f"w{text}", f'NAME="{text}"\nCPU=1')])
        answer = judge_im(row, body(im_message("SYSTEM_HOST", True, 5, 7, template_text(FACTS) + wild)))
        assert answer.facts["TOTALCPU"] == "200"
        assert [vm["DEPLOY_ID"] for vm in answer.vectors("VM")] == ["uuid-w"]

    def test_states_are_listed_completely(self, row: Release) -> None:
        text = vm_state_text([VmState(41, "uuid-41", "RUNNING"), VmState(42, "uuid-42", "POWEROFF")], sync=True)
        answer = judge_im(row, body(im_message("STATE_VM", True, 5, 7, text)))
        assert answer.facts == {"SYNC_STATE": "yes", "MISSING_STATE": "UNKNOWN"}
        assert [(vm["ID"], vm["STATE"]) for vm in answer.vectors("VM")] == [("41", "RUNNING"), ("42", "POWEROFF")]

    def test_an_incremental_report_does_not_speak_of_the_missing(self, row: Release) -> None:
        assert "SYNC" not in vm_state_text([VmState(41, "uuid-41", "RUNNING")])

    def test_facts_of_a_vm_arrive_inside_their_second_wrapping(self, row: Release) -> None:
        text = monitor_vm_text([VmFacts(41, "uuid-41", {"CPU": 1.5, "MEMORY": 512, "GUEST_IP": "192.0.2.7"})])
        answer = judge_im(row, body(im_message("MONITOR_VM", True, 5, 7, text)))
        assert monitor_facts(answer.vectors("VM")[0]) == {"CPU": "1.5", "MEMORY": "512", "GUEST_IP": "192.0.2.7"}

    def test_texts_are_zlib_inside_base64(self, row: Release) -> None:
        line = im_message("MONITOR_HOST", True, 5, 7, "USEDCPU=1\n")
        assert zlib.decompress(base64.b64decode(line.split()[-1])) == b"USEDCPU=1\n"


class TestTemplateText:
    @given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufffe\uffff\\]")))
    def test_a_value_comes_back_as_it_was(self, value: str) -> None:
        text = template_text({"KEY": value})
        assert single(parse_template(text))["KEY"] == value.strip()

    def test_what_stops_the_parser_of_the_core_is_broken_up(self) -> None:
        assert "]]>" not in template_text({"KEY": "a]]>b"})

    def test_a_vector_is_a_vector(self) -> None:
        items = parse_template(template_text({"VM": {"ID": 1, "NAME": 'a "b", c'}}))
        assert vectors(items, "VM") == [{"ID": "1", "NAME": 'a "b", c'}]

    def test_a_backslash_at_the_end_does_not_eat_the_quotation_mark(self) -> None:
        assert single(parse_template(template_text({"A": "x\\", "B": "y"})))["B"] == "y"
