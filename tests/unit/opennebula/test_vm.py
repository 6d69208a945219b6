# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VM document, the vector that is meant for a host, and what an action means in a state."""

from __future__ import annotations

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.action_table import Purpose, purpose
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.driver_requests import parse_vmm
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.errors import DocumentError
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.layout import deployment_file, layout
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.vm import (
    TemplateError,
    VirtualMachine,
    device_of,
    eh_vector,
    from_deployment_file,
    from_payload,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.xml import parse_xml
from tests.core.replay import recordings


def vm(inner: str, root: str = "USER_TEMPLATE") -> VirtualMachine:
    return from_payload(f"<VM><ID>7</ID><STATE>3</STATE><LCM_STATE>2</LCM_STATE><{root}>{inner}</{root}></VM>")


def vector(name: str, **more: str) -> str:
    return "<EH>" + "".join(f"<{key}>{value}</{key}>" for key, value in {"NAME": name, **more}.items()) + "</EH>"


class TestTheDocument:
    def test_a_payload_of_7_4_tells_everything(self) -> None:
        for event in next(r for r in recordings("7.4") if "resume-from-poweroff" in r.path.name).events:
            if event.kind == "core" and event.text.startswith("DEPLOY"):
                machine = parse_vmm(event.text.encode()).vm
                break
        assert machine is not None
        assert (machine.id, machine.name, machine.lcm_state) == (0, "vm-deploy", 20)
        assert (machine.cpu, machine.memory, machine.vcpu) == (0.5, 500, 1)
        assert (machine.history_host, machine.imported, machine.monitoring) == ("eh01", False, True)
        assert machine.deploy_id == "rec-0"
        assert machine.eh[0]["DRIVE"] == "ide:0:0 0a1b2c3d-1111-2222-3333-444455556666"

    def test_the_deployment_files_of_2_0_hold_the_template_alone(self) -> None:
        for event in recordings("2.0")[2].events:
            if event.kind == "file" and event.text.startswith("<TEMPLATE>"):
                machine = from_deployment_file(event.text, 0)
                assert (machine.id, machine.name, machine.lcm_state) == (0, "ehvm", None)
                assert machine.eh[0]["NAME"] == "bitrot"
                return
        pytest.fail("the recording has no deployment file")

    def test_a_deployment_file_of_a_later_release_holds_the_vm(self) -> None:
        text = "<VM><ID>9</ID><STATE>3</STATE><TEMPLATE><CPU>2</CPU></TEMPLATE></VM>"
        assert from_deployment_file(text, 9).cpu == 2.0

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "empty"),
            ("\n", "empty"),
            ("<TEMPLATE><EH>", "not well-formed"),
            ("<domain/>", "<domain>"),
            ("<!DOCTYPE a><TEMPLATE/>", "document type"),
            ("<VM><ID>8</ID></VM>", "describes VM 8"),
        ],
    )
    def test_a_deployment_file_that_cannot_be_used_says_where_to_look(self, text: str, says: str) -> None:
        with pytest.raises(DocumentError) as caught:
            from_deployment_file(text, 7)
        assert says in str(caught.value)
        assert "VM 7" in str(caught.value)
        assert "']]>'" in str(caught.value)

    @pytest.mark.parametrize("root", ["USER_TEMPLATE", "TEMPLATE"])
    def test_eh_is_found_in_the_users_template_and_in_the_vms(self, root: str) -> None:
        assert vm(vector("a"), root).eh == ({"NAME": "a"},)

    def test_the_users_template_comes_first(self) -> None:
        both = from_payload(
            f"<VM><ID>7</ID><TEMPLATE>{vector('old')}</TEMPLATE><USER_TEMPLATE>{vector('new')}</USER_TEMPLATE></VM>"
        )
        assert eh_vector(both, "eh")["NAME"] == "new"

    def test_names_are_upper_case_a_repeated_one_keeps_the_first_and_two_quotation_marks_are_empty(self) -> None:
        machine = vm('<eh><name>a</name><NAME>b</NAME><SMP>""</SMP></eh>')
        assert machine.eh == ({"NAME": "a", "SMP": ""},)

    def test_an_imported_vm_is_known_by_its_template_from_4_14_on(self) -> None:
        """Before, the core sets no IMPORTED: a user did. MONITORING came with 4.14."""
        document = "<VM><ID>7</ID><DEPLOY_ID>wild-1</DEPLOY_ID>{}<TEMPLATE><IMPORTED>YES</IMPORTED></TEMPLATE></VM>"
        assert from_payload(document.format("<MONITORING/>")).imported
        assert not from_payload(document.format("")).imported
        assert from_payload(document.format("<MONITORING/>")).deploy_id == "wild-1"

    @pytest.mark.parametrize("text", ["<VM/>", "<VM><ID>a</ID></VM>", "<HOST/>", "", "<a>" * 100, "<VM>\x01</VM>"])
    def test_what_is_no_vm_is_refused(self, text: str) -> None:
        with pytest.raises(DocumentError):
            from_payload(text)

    def test_entities_are_refused_even_the_harmless(self) -> None:
        with pytest.raises(DocumentError, match="document type"):
            parse_xml('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')

    def test_a_template_may_hold_a_web_page(self) -> None:
        assert parse_xml("<a><![CDATA[<!DOCTYPE html><p>]]></a>").text == "<!DOCTYPE html><p>"

    @pytest.mark.parametrize("prologue", ['<?xml version="1.0"?>', "<!-- > -->", "\ufeff", "<?a ?><!----> \n"])
    def test_no_prologue_hides_a_document_type(self, prologue: str) -> None:
        with pytest.raises(DocumentError, match="document type"):
            parse_xml(f'{prologue}<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>')

    def test_a_document_of_a_million_tags_is_refused_before_it_is_read(self) -> None:
        with pytest.raises(DocumentError, match="more than 1000000 tags"):
            parse_xml(b"<a>" + b"<b/>" * 1_000_000 + b"</a>")


class TestTheVectorOfAHost:
    def test_the_only_vector_without_a_host_is_for_every_host(self) -> None:
        assert eh_vector(vm(vector("a")), "eh")["NAME"] == "a"

    @pytest.mark.parametrize("key", ["HOST", "CLOUD"])
    def test_a_vector_that_names_the_host_goes_before_the_general_one(self, key: str) -> None:
        machine = vm(vector("general") + vector("lon", **{key: "EH-Lon"}))
        assert eh_vector(machine, "eh-lon")["NAME"] == "lon"
        assert eh_vector(machine, "eh-ams")["NAME"] == "general"

    @pytest.mark.parametrize(
        ("inner", "says"),
        [
            ("", "VM 7 has none"),
            ("<EH>bitrot</EH>", "plain text"),
            (vector("a") + vector("b"), "has 2 that fit"),
            (vector("a", HOST="x") + vector("b", HOST="X"), "only for X, x|2 EH"),
            (vector("a", HOST="lon"), "only for lon"),
        ],
    )
    def test_no_or_more_than_one_vector_is_one_sentence_that_names_the_vm_and_the_host(
        self, inner: str, says: str
    ) -> None:
        with pytest.raises(TemplateError, match=says) as caught:
            eh_vector(vm(inner), "eh")
        assert "VM 7" in str(caught.value)


class TestPurpose:
    @pytest.mark.parametrize(
        ("action", "generation", "lcm_state", "meaning"),
        [
            ("DEPLOY", "2.0-3.0", None, Purpose.CREATE),
            ("DEPLOY", "6.0-7.4", 2, Purpose.CREATE),
            ("DEPLOY", "6.0-7.4", 36, Purpose.CREATE),
            ("DEPLOY", "6.0-7.4", 19, Purpose.START),
            ("DEPLOY", "6.0-7.4", 20, Purpose.START),
            ("DEPLOY", "6.0-7.4", 32, Purpose.START),
            ("SHUTDOWN", "2.0-3.0", None, Purpose.TERMINATE),
            ("SHUTDOWN", "6.0-7.4", 12, Purpose.TERMINATE),
            ("SHUTDOWN", "3.2-5.12", 18, Purpose.SHUTDOWN),
            ("SHUTDOWN", "6.0-7.4", 29, Purpose.SHUTDOWN),
            ("SHUTDOWN", "6.0-7.4", 7, Purpose.SAVE_AWAY),
            ("CANCEL", "2.0-3.0", None, Purpose.DESTROY),
            ("CANCEL", "3.2-5.12", 13, Purpose.DESTROY),
            ("CANCEL", "3.2-5.12", 15, Purpose.DESTROY),
            ("CANCEL", "3.2-5.12", 0, Purpose.DESTROY),
            ("CANCEL", "6.0-7.4", 12, Purpose.DESTROY),
            ("CANCEL", "6.0-7.4", 18, Purpose.STOP),
            ("CANCEL", "6.0-7.4", 7, Purpose.STOP_AWAY),
            ("CANCEL", "6.0-7.4", 29, Purpose.STOP),
            ("CLEANUP", "6.0-7.4", 23, Purpose.DESTROY),
            ("CLEANUP", "6.0-7.4", 15, Purpose.DESTROY),
            ("SAVE", "6.0-7.4", 6, Purpose.SAVE),
            ("SAVE", "6.0-7.4", 5, Purpose.SAVE),
            ("SAVE", "6.0-7.4", 7, Purpose.SAVE_AWAY),
            ("RESTORE", "6.0-7.4", 21, Purpose.RESTORE),
            ("REBOOT", "6.0-7.4", 3, Purpose.REBOOT),
            ("RESET", "6.0-7.4", 3, Purpose.RESET),
            ("RESIZE", "6.0-7.4", 62, Purpose.RESIZE),
            ("POLL", "2.0-3.0", None, Purpose.POLL),
            ("DRIVER_CANCEL", "6.0-7.4", None, Purpose.ABORT),
            ("UPDATECONF", "6.0-7.4", 3, Purpose.ACCEPT),
            ("MIGRATE", "2.0-3.0", None, Purpose.MIGRATE),
            ("ATTACHDISK", "6.0-7.4", 17, Purpose.ATTACH),
            ("DETACHDISK", "3.2-5.12", 17, Purpose.DETACH),
            ("ATTACHNIC", "6.0-7.4", 25, Purpose.REFUSE),
            ("TELEPORT", "6.0-7.4", 3, Purpose.REFUSE),
        ],
    )
    def test_the_meaning_of_an_action_is_that_of_the_reference(
        self, action: str, generation: str, lcm_state: int | None, meaning: Purpose
    ) -> None:
        assert purpose(action, generation, lcm_state) is meaning

    @pytest.mark.parametrize("action", ["SHUTDOWN", "CANCEL"])
    @pytest.mark.parametrize("lcm_state", [None, *range(1, 100)])
    def test_a_power_off_is_never_taken_for_an_end(self, action: str, lcm_state: int | None) -> None:
        if lcm_state not in (12, 13, 15, 23):
            assert purpose(action, "6.0-7.4", lcm_state) not in (Purpose.DESTROY, Purpose.TERMINATE)


class TestLayout:
    def test_self_contained_and_system_wide(self) -> None:
        inside = layout("/srv/one/")
        assert (inside.mads, inside.etc, inside.var, inside.log) == (
            "/srv/one/lib/mads",
            "/srv/one/etc",
            "/srv/one/var",
            "/srv/one/var",
        )
        system = layout()
        assert (system.mads, system.etc, system.var, system.log) == (
            "/usr/lib/one/mads",
            "/etc/one",
            "/var/lib/one",
            "/var/log/one",
        )

    def test_the_deployment_file_of_2_0_is_not_where_the_line_says(self) -> None:
        where = deployment_file("/srv/one/var/", "/srv/one/var//7/images/deployment.3")
        assert where == "/srv/one/var/7/deployment.3"

    @pytest.mark.parametrize("path", ["", "/srv/one/var/7/deployment.0", "/x/7/images/deployment", "/x/../images/y"])
    def test_another_path_is_refused_by_name(self, path: str) -> None:
        with pytest.raises(DocumentError, match=r"VM_DIR"):
            deployment_file("/srv/one/var", path)


@pytest.mark.parametrize(
    ("target", "device"),
    [("hda", "ide:0:0"), ("hdd", "ide:1:1"), ("hde", ""), ("sda", "scsi:0:0"), ("sdh", "scsi:0:7"), ("VDC", "block:2"),
     ("vdi", ""), ("", ""), ("xvda", ""), ("hd1", "")],
)  # fmt: skip
def test_a_disk_target_names_a_device_of_the_cloud(target: str, device: str) -> None:
    assert device_of(target) == device
