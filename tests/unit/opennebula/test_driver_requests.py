# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests from the core: every wire generation, and every way a line can be broken."""

from __future__ import annotations

import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.driver_requests import (
    parse_im,
    parse_vmm,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.errors import MalformedLine
from tests.core.replay import recordings

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"]), max_size=12)


def payload(inner: str = "<HOST>eh</HOST><VM><ID>5</ID><STATE>3</STATE><LCM_STATE>2</LCM_STATE></VM>") -> str:
    document = f"<VMM_DRIVER_ACTION_DATA>{inner}</VMM_DRIVER_ACTION_DATA>"
    return base64.b64encode(document.encode()).decode()


def start_monitor(document: str) -> bytes:
    return b"START_MONITOR - 3 0 " + base64.b64encode(zlib.compress(document.encode()))


@pytest.mark.parametrize(
    ("folder", "generation"), [("2.0", "2.0-3.0"), ("3.8", "3.2-5.12"), ("5.10", "3.2-5.12"), ("7.4", "6.0-7.4")]
)
def test_every_recorded_vmm_request_is_understood(folder: str, generation: str) -> None:
    count = 0
    for recording in recordings(folder):
        for event in recording.events:
            if event.kind != "core" or event.role != "vmm":
                continue
            request = parse_vmm(event.text.encode())
            words = event.text.split()
            assert request.action == words[0]
            if words[0] in ("INIT", "FINALIZE"):
                continue
            assert request.id == int(words[1])
            if words[0] != "DRIVER_CANCEL":
                assert request.protocol == generation
                assert request.host in ("localhost", "eh01")
                assert (request.vm is None) is (generation == "2.0-3.0")
            count += 1
    assert count > 20


@pytest.mark.parametrize("folder", ["2.0", "3.8", "5.10", "7.4"])
def test_every_recorded_im_request_is_understood(folder: str) -> None:
    for recording in recordings(folder):
        for event in recording.events:
            if event.kind == "core" and event.role == "im":
                request = parse_im(event.text.encode(), lambda: "2.0-3.8")
                wanted = {"2.0": "2.0-3.8", "3.8": "2.0-3.8", "5.10": "4.4-5.10", "7.4": "5.12-7.4"}[folder]
                assert request.protocol == ("" if request.id < 0 else wanted)
                assert request.id < 0 or request.host in ("localhost", "eh01", "gone")


class TestPlainFieldsOfV1:
    def test_an_empty_deploy_id_is_two_blanks(self) -> None:
        request = parse_vmm(b"CANCEL 5 localhost  -\n")
        assert (request.host, request.deploy_id) == ("localhost", "")

    def test_a_deploy_id_that_is_left_out_altogether_is_empty(self) -> None:
        assert parse_vmm(b"CANCEL 5 localhost -").deploy_id == ""

    def test_a_host_may_contain_blanks(self) -> None:
        request = parse_vmm(b"SHUTDOWN 5 my old host 0a1b -")
        assert (request.host, request.deploy_id) == ("my old host", "0a1b")

    def test_a_host_may_be_empty(self) -> None:
        request = parse_vmm(b"DEPLOY 5  /srv/one/var//5/images/deployment.0 -")
        assert (request.host, request.file) == ("", "/srv/one/var//5/images/deployment.0")

    def test_save_names_the_deploy_id_before_the_checkpoint(self) -> None:
        request = parse_vmm(b"SAVE 1 localhost one-1 /srv/one/var//1/images/checkpoint")
        assert (request.deploy_id, request.file) == ("one-1", "/srv/one/var//1/images/checkpoint")

    def test_migrate_names_both_hosts(self) -> None:
        request = parse_vmm(b"MIGRATE 1 here one-1 there")
        assert (request.host, request.deploy_id, request.fields["MIGR_HOST"]) == ("here", "one-1", "there")

    def test_an_unknown_action_can_still_be_answered(self) -> None:
        request = parse_vmm(b"TELEPORT 4 a b c d")
        assert (request.action, request.id, request.protocol) == ("TELEPORT", 4, "2.0-3.0")

    @given(host=NAMES, deploy_id=NAMES, vm=st.integers(0, 2**31 - 1))
    def test_any_host_and_deploy_id_come_back(self, host: str, deploy_id: str, vm: int) -> None:
        request = parse_vmm(f"POLL {vm} {host} {deploy_id} -\n".encode())
        assert (request.id, request.host, request.deploy_id) == (vm, host, deploy_id)


class TestPayloads:
    def test_one_blank_is_v2_and_two_are_v3(self) -> None:
        assert parse_vmm(f"REBOOT 5 {payload()}".encode()).protocol == "3.2-5.12"
        assert parse_vmm(f"REBOOT  5 {payload()}".encode()).protocol == "6.0-7.4"

    def test_driver_cancel_has_no_payload(self) -> None:
        assert parse_vmm(b"DRIVER_CANCEL  8 ").protocol == "6.0-7.4"
        assert parse_vmm(b"DRIVER_CANCEL 8").id == 8

    @pytest.mark.parametrize("host", ["R&D", "a<b", "R&amp;D", "plain", "<![CDATA[R&D]]>"])
    def test_hosts_and_paths_are_taken_as_the_core_writes_them_unescaped(self, host: str) -> None:
        line = payload(
            f"<HOST>{host}</HOST><LOCAL_DEPLOYMENT_FILE>/srv/R&D/0</LOCAL_DEPLOYMENT_FILE><VM><ID>5</ID></VM>"
        )
        request = parse_vmm(f"DEPLOY  5 {line}".encode())
        assert request.host == {"a<b": "a<b", "plain": "plain"}.get(host, "R&D")
        assert request.fields["LOCAL_DEPLOYMENT_FILE"] == "/srv/R&D/0"

    @pytest.mark.parametrize("host", ["a<b/>c", "a<b>c</b>", "a<!-- b -->c"])
    def test_a_host_that_is_called_like_markup_is_called_so(self, host: str) -> None:
        line = payload(f"<HOST>{host}</HOST><VM><ID>5</ID></VM>")
        assert parse_vmm(f"DEPLOY  5 {line}".encode()).host == host

    @given(host=NAMES.filter(lambda name: "&" not in name or ";" not in name))
    def test_any_host_is_taken_as_it_is_written(self, host: str) -> None:
        line = payload(f"<HOST>{host}</HOST><VM><ID>5</ID></VM>")
        assert parse_vmm(f"DEPLOY  5 {line}".encode()).host == host

    def test_ten_megabytes_are_nothing_special(self) -> None:
        line = payload(f"<HOST>eh</HOST><VM><ID>5</ID><NAME>{'x' * 10_000_000}</NAME></VM>")
        vm = parse_vmm(f"DEPLOY  5 {line}".encode()).vm
        assert vm is not None
        assert len(vm.name) == 10_000_000

    def test_the_reply_prefix_is_the_object_that_must_come_first(self) -> None:
        line = payload("<HOST>eh</HOST><VIRTUAL_NETWORK_ID>2</VIRTUAL_NETWORK_ID><VM><ID>5</ID></VM>")
        assert parse_vmm(f"UPDATENIC  5 {line}".encode()).reply_prefix == "2 "
        assert parse_vmm(f"REBOOT  5 {line}".encode()).reply_prefix == ""


BOMB = "<!DOCTYPE a [<!ENTITY b 'c'>]><VMM_DRIVER_ACTION_DATA><HOST>&b;</HOST></VMM_DRIVER_ACTION_DATA>"


class TestBrokenLines:
    @pytest.mark.parametrize(
        ("line", "action", "number", "says"),
        [
            (b"", "", None, "empty"),
            (b"   ", "", None, "empty"),
            (b"DEPLOY", "DEPLOY", None, "before the id"),
            (b"DEPLOY x localhost /a/1/images/deployment.0 -", "DEPLOY", None, "'x' is no id"),
            (b"DEPLOY -1 localhost /a/1/images/deployment.0 -", "DEPLOY", None, "no id"),
            (b"DEPLOY 99999999999 localhost /a/1/images/deployment.0 -", "DEPLOY", None, "no id"),
            (b"deploy 5 localhost /a/5/images/deployment.0 -", "", None, "no action"),
            (b"DEPLOY 5 localhost /a/5/images/deployment.0", "DEPLOY", 5, "3 belong"),
            (b"DEPLOY 5 my host /a/5/images/deployment.0", "DEPLOY", 5, "last word"),
            (b"DEPLOY 5 localhost deployment.0 -", "DEPLOY", 5, "absolute path"),
            (b"SAVE 5 localhost one-5", "SAVE", 5, "3 belong"),
            (b"SAVE 5 localhost one-5 ", "SAVE", 5, "last word"),
            (b"SHUTDOWN 5 my host one-5", "SHUTDOWN", 5, "last word"),
            (b"DEPLOY 5 loc\0alhost /a/5/images/deployment.0 -", "DEPLOY", 5, "NUL"),
            (b"DEPLOY 5", "DEPLOY", 5, "0 words"),
            (b"DEPLOY  5", "DEPLOY", 5, "0 words"),
            (b"DEPLOY  5 a b", "DEPLOY", 5, "2 words"),
            (b"DEPLOY  5 %%%%", "DEPLOY", 5, "base64"),
            (f"DEPLOY  5 {payload()[:-3]}".encode(), "DEPLOY", 5, "cut off"),
            (f"DEPLOY  5 {payload()[:-8]}".encode(), "DEPLOY", 5, "well-formed"),
            (f"DEPLOY  6 {payload()}".encode(), "DEPLOY", 6, "describes VM 5"),
            (f"DEPLOY  5 {payload('<VM><ID>x</ID></VM>')}".encode(), "DEPLOY", 5, "numeric"),
            (b"DEPLOY  5 " + base64.b64encode(b"<VM/>"), "DEPLOY", 5, "<VMM_DRIVER_ACTION_DATA>"),
            (b"DEPLOY  5 " + base64.b64encode(b"<a>\xff</a>"), "DEPLOY", 5, "UTF-8"),
            (b"DEPLOY  5 " + base64.b64encode(BOMB.encode()), "DEPLOY", 5, "document type"),
            (b"DEPLOY  5 " + base64.b64encode(b"<a>" * 500 + b"</a>" * 500), "DEPLOY", 5, "nested"),
        ],
    )
    def test_a_broken_vmm_line_says_what_is_wrong_and_whom_to_answer(
        self, line: bytes, action: str, number: int | None, says: str
    ) -> None:
        with pytest.raises(MalformedLine) as caught:
            parse_vmm(line)
        assert (caught.value.action, caught.value.id) == (action, number)
        assert says in caught.value.sentence
        assert "\n" not in caught.value.sentence

    @pytest.mark.parametrize(
        ("line", "number", "says"),
        [
            (b"MONITOR", None, "before the id"),
            (b"MONITOR a host 1", None, "no id"),
            (b"MONITOR 3 host", 3, "not 'MONITOR"),
            (b"MONITOR 3 host 7", 3, "not 'MONITOR"),
            (b"MONITOR 3 host 1", 3, "nothing tells which"),
            (b"START_MONITOR - x 0 eJ", None, "not 'START_MONITOR"),
            (b"START_MONITOR - 3 0", 3, "4 words"),
            (b"START_MONITOR - 3 0 ????", 3, "base64"),
            (b"START_MONITOR - 3 0 " + base64.b64encode(b"no zlib"), 3, "zlib"),
            (b"START_MONITOR - 3 0 " + base64.b64encode(zlib.compress(b"<a/>" * 99)[:10]), 3, "cut off"),
            (start_monitor("<a/>"), 3, "<MONITOR_DRIVER_ACTION>"),
        ],
    )
    def test_a_broken_im_line_says_what_is_wrong(self, line: bytes, number: int | None, says: str) -> None:
        with pytest.raises(MalformedLine) as caught:
            parse_im(line)
        assert caught.value.id == number
        assert says in caught.value.sentence

    def test_a_zlib_bomb_is_refused(self) -> None:
        bomb = base64.b64encode(zlib.compress(b"<a>" + b" " * (70 * 1024 * 1024) + b"</a>"))
        with pytest.raises(MalformedLine, match="too large"):
            parse_im(b"START_MONITOR - 3 0 " + bomb)

    @given(st.binary(max_size=200))
    def test_no_line_whatever_brings_another_exception(self, line: bytes) -> None:
        for parse in (parse_vmm, parse_im):
            try:
                parse(line)
            except MalformedLine as error:
                assert error.sentence

    @given(st.integers(0, len(f"DEPLOY  5 {payload()}") - 1))
    def test_a_line_cut_anywhere_is_never_taken_for_a_whole_one(self, length: int) -> None:
        with pytest.raises(MalformedLine) as caught:
            parse_vmm(f"DEPLOY  5 {payload()}".encode()[:length])
        assert caught.value.id in (None, 5)


class TestMonitoring:
    def test_start_monitor_brings_the_periods_and_the_interval_in_seconds(self) -> None:
        document = (
            "<MONITOR_DRIVER_ACTION><HOST><ID>3</ID><NAME>eh</NAME></HOST><MONITOR_CONFIGURATION>"
            "<MONITORING_INTERVAL_HOST>20</MONITORING_INTERVAL_HOST>"
            "<PROBES_PERIOD><STATE_VM>2</STATE_VM><MONITOR_VM>none</MONITOR_VM></PROBES_PERIOD>"
            "</MONITOR_CONFIGURATION></MONITOR_DRIVER_ACTION>"
        )
        request = parse_im(start_monitor(document))
        assert (request.id, request.host, request.interval) == (3, "eh", 20)
        assert request.periods["STATE_VM"] == 2
        assert request.periods["MONITOR_VM"] == 30, "what is missing or no number has the core's default"

    def test_a_host_that_is_called_like_a_number_keeps_its_name(self) -> None:
        document = "<MONITOR_DRIVER_ACTION><HOST><ID>3</ID><NAME>007</NAME></HOST></MONITOR_DRIVER_ACTION>"
        assert parse_im(start_monitor(document)).host == "007"

    def test_three_fields_alone_cannot_tell_i1_from_i2(self) -> None:
        with pytest.raises(MalformedLine, match=r"add --one-version X\.Y to the ARGUMENTS"):
            parse_im(b"MONITOR 0 localhost 1")
        assert parse_im(b"MONITOR 0 localhost 1", lambda: "4.0-4.2").protocol == "4.0-4.2"

    def test_the_form_of_a_line_outranks_what_was_believed(self) -> None:
        assert parse_im(b"MONITOR 0 localhost /var/lib/one//datastores 1", lambda: "2.0-3.8").protocol == "4.4-5.10"

    def test_a_host_with_blanks_or_none_at_all_is_read_from_both_ends(self) -> None:
        assert parse_im(b"MONITOR 0 my old host 1", lambda: "2.0-3.8").host == "my old host"
        assert parse_im(b"MONITOR 0  1", lambda: "2.0-3.8").host == ""
