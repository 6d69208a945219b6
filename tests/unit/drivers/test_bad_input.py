# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each mistake: one clear sentence that names the thing and what to do, nothing changed, and the driver goes on."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from tests.core import Core, Vm
from tests.unit.drivers.conftest import DRIVER_PYTHON, VNC_SECRET, Site, until
from tests.unit.drivers.proxy import Proxy

RELEASES = ("2.0.1", "7.4.0")
NO_DRIVE = "00000000-1111-4222-8333-444444444444"


def failed(core: Core, vm: Vm) -> str:
    """The reason that the core was given for a DEPLOY."""
    host = next(iter(core.model.hosts.values()), None) or core.create_host("eh")
    core.deploy(vm, host)
    core.wait(vm, "BOOT_FAILURE" if core.release.boot_failure else "FAILED")
    return vm.log[-1]


@pytest.fixture(params=RELEASES)
def core(site: Site, request: pytest.FixtureRequest) -> Core:
    core = site.core(request.param)
    core.start_vmm()
    return core


def still_serving(core: Core, site: Site) -> None:
    """The driver deploys as before, made nothing else, and the core found no fault with any line."""
    assert site.servers() == []
    with core:
        vm = site.running(core)
        assert site.states() == {vm.deploy_id: "active"}


SETTINGS = [
    (
        {"EHAUTH": ""},
        (
            "Set EHAUTH in vmm_ehrc: it is not set for host 'eh'",
            "write EHAUTH=<user uuid>:<secret API key> into",
            "vmm_ehrc",
        ),
    ),
    ({"EHAUTH": "nonsense"}, ("EHAUTH", "<user uuid>:<secret API key>")),
    ({"EHAUTH": "11111111-2222-4333-8444-555555555555:wrong-key"}, ("refused user 11111111", "Check EHAUTH")),
    ({"EHURI": ""}, ("Set EHURI in vmm_ehrc",)),
    ({"EHURI": "http://127.0.0.1:9"}, ("127.0.0.1:9", "refused")),
    ({"EHURI": "http://no-such-host.invalid"}, ("no-such-host.invalid",)),
    ({"EHCLOUD": ""}, ("Set EHCLOUD in vmm_ehrc", "the same on all its front-ends")),
    ({"CPU_MHZ": "fast"}, ("Correct CPU_MHZ", "'fast'", "not a number of MHz", "vmm_ehrc")),
    ({"API_TIMEOUT": "-3"}, ("Correct API_TIMEOUT", "'-3'", "seconds")),
]


def test_a_setting_that_is_missing_or_wrong_is_named_and_put_right_without_a_restart(site: Site, core: Core) -> None:
    template = {key: value for key, value in site.template().items() if key != "CPUMHZ"}
    good = site.settings
    for settings, words in SETTINGS:
        site.settings = {**good, **settings}
        site.configure()
        reason = failed(core, core.create_vm(template))
        assert [word for word in words if word not in reason] == [], reason
        assert "wrong-key" not in reason
    site.settings = good
    site.configure()
    still_serving(core, site)


TEMPLATES = [
    ({"DRIVE": f"ide:0:0 {NO_DRIVE}"}, (NO_DRIVE, "missing")),
    ({"DRIVE": "ide:0:0 my-disk"}, ('Correct DRIVE of EH=[...]: "ide:0:0 my-disk"', "DEVICE UUID")),
    ({"CPUMHZ": "fast"}, ('Correct CPUMHZ of EH=[...]: "fast"', "whole number of MHz")),
    ({"MEMORY": "-1"}, ('Correct MEMORY of EH=[...]: "-1"', "whole number of MB")),
    ({"NICDHCP": "auto"}, ("NICDHCP", "nic:0:dhcp auto")),
    ({"VNCPASSWORD": VNC_SECRET}, ("VNCPASSWORD", "vnc:password SECRET")),
    ({"COLOUR": "blue"}, ("COLOUR", "is not known")),
    ({"CPUMHZ": "50"}, ("cpu", "50")),
    ({"HOST": "elsewhere"}, ("Add an EH=[...]", "'eh'", "elsewhere")),
]


def test_a_template_that_is_wrong_is_explained(site: Site, core: Core) -> None:
    for change, words in TEMPLATES:
        reason = failed(core, core.create_vm({**site.template(), **change}))
        assert [word for word in words if word not in reason] == [], reason
        assert VNC_SECRET not in reason
    still_serving(core, site)


def test_a_vm_without_a_vector_is_refused_with_an_example(site: Site, core: Core) -> None:
    reason = failed(core, core.create_vm('DISK=[IMAGE="x"]'))
    assert "has none to run on host 'eh'; the form is EH=[NAME=\"bitrot\"" in reason
    reason = failed(core, core.create_vm('EH="ide:0:0"'))
    assert "Write EH as a vector, EH=[...]: in the template of VM 1 it is plain text" in reason
    still_serving(core, site)


def test_a_size_that_is_nowhere_is_asked_for(site: Site, core: Core) -> None:
    for lacking in ("CPUMHZ", "MEMORY"):
        template = {key: value for key, value in site.template().items() if key != lacking}
        reason = failed(core, core.create_vm(template, cpu=None, memory=None))
        assert f"neither {lacking} there" in reason
        assert f"Add {lacking}=" in reason
    still_serving(core, site)


def test_a_size_that_eh_leaves_out_is_the_vm_s_own(site: Site, core: Core) -> None:
    template = {key: value for key, value in site.template().items() if key not in ("CPUMHZ", "MEMORY")}
    with core:
        site.running(core, template, cpu=1.5, memory=768)
        assert [(s["cpu"], s["mem"]) for s in site.servers()] == [(3000, 768)]


def test_a_drive_that_another_server_uses_is_named_and_no_half_server_stays(site: Site, core: Core) -> None:
    with core:
        first = site.running(core)
        reason = failed(core, core.create_vm(site.template()))
        assert site.drive in reason
        assert "busy" in reason
        assert site.states() == {first.deploy_id: "active"}


BAD_LINES = (
    b"DEPLOY",
    b"DEPLOY x eh /a -",
    b"\xff\xfe\x00 nonsense",
    b"",
    b"deploy 0 eh /a -",
    b"SHUTDOWN 99999999999999999999 eh x -",
    b"A" * 3_000_000,
)


def test_a_line_that_cannot_be_read_is_logged_and_the_driver_goes_on(site: Site, core: Core) -> None:
    for line in BAD_LINES:
        core.say("vmm", line)
    still_serving(core, site)


def test_a_cut_line_whose_id_can_be_read_is_answered_with_failure(site: Site, core: Core) -> None:
    for cut in (b"DEPLOY 7 eh", b"DEPLOY  7 PFZNTV9EUklWRVJfQUNU", b"SHUTDOWN  7 AAAA"):
        core.say("vmm", cut, answer=(cut.split()[0].decode(), 7))
        core.answered()
        assert "cannot be understood" in core.answers[-1].text
    still_serving(core, site)


def test_a_payload_with_a_document_type_is_refused(site: Site) -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><VMM_DRIVER_ACTION_DATA>&b;</VMM_DRIVER_ACTION_DATA>'
    core = site.core("7.4.0")
    core.start_vmm()
    core.say("vmm", b"DEPLOY  7 " + base64.b64encode(bomb), answer=("DEPLOY", 7))
    core.answered()
    assert "document type" in core.answers[-1].text
    still_serving(core, site)


def payload(number: int, template: str, host: str = "eh") -> bytes:
    vm = (
        f"<VM><ID>{number}</ID><STATE>3</STATE><LCM_STATE>2</LCM_STATE><TEMPLATE><CPU>1</CPU>{template}</TEMPLATE></VM>"
    )
    document = f"<VMM_DRIVER_ACTION_DATA><HOST>{host}</HOST>{vm}</VMM_DRIVER_ACTION_DATA>"
    return base64.b64encode(document.encode())


def test_a_payload_of_ten_megabytes_is_read_and_one_of_nothing_but_tags_is_refused(site: Site) -> None:
    core = site.core("7.4.0")
    core.start_vmm()
    large = payload(7, f"<DESCRIPTION>{'x' * 10_000_000}</DESCRIPTION>")
    tags = payload(8, "<A/>" * 2_500_000)
    deep = payload(9, "<A>" * 200_000 + "</A>" * 200_000)
    for number, content, says in ((7, large, "Add EH=[...]"), (8, tags, "more than"), (9, deep, "nested")):
        core.say("vmm", b"DEPLOY  %d %b" % (number, content), answer=("DEPLOY", number))
        core.answered(60)
        assert says in core.answers[-1].text
    still_serving(core, site)


def test_an_id_that_nobody_has_and_a_nul_byte_are_answered_for_no_other(site: Site) -> None:
    core = site.core("7.4.0")
    core.start_vmm()
    core.say("vmm", b"RESET  4711 " + payload(4711, ""), answer=("RESET", 4711))
    core.answered()
    assert "the server of VM 4711 is not at" in core.answers[-1].text
    core.say("vmm", b"RESET  12 " + payload(13, ""), answer=("RESET", 12))
    core.answered()
    assert "it describes VM 13" in core.answers[-1].text
    core.say("vmm", b"RESET  14 AAAA\0" + payload(14, ""), answer=("RESET", 14))
    core.answered()
    assert "NUL" in core.answers[-1].text
    still_serving(core, site)


def test_a_cloud_that_repeats_the_key_or_a_password_is_not_quoted(site: Site) -> None:
    with Proxy(site.endpoint.url) as proxy, site.core("7.4.0") as core:
        site.configure(EHURI=proxy.url)
        body = f"bad: {site.endpoint.key} {site.endpoint.auth} {VNC_SECRET} {core.release.name}"
        proxy.fault("POST /servers/create", status=400, code="usage", body=body)
        core.start_vmm()
        reason = failed(core, core.create_vm(site.template()))
        assert "bad: [hidden]" in reason
        for text in (reason, site.log(), "\n".join(core.said())):
            assert site.endpoint.key not in text
            assert VNC_SECRET not in text


def test_a_deployment_file_that_is_missing_or_empty_is_named(site: Site) -> None:
    core = site.core("2.0.1")
    core.start_vmm()
    core.say("vmm", b"DEPLOY 7 eh /srv/one/var//7/images/deployment.0 -", answer=("DEPLOY", 7))
    core.answered()
    assert f"{site.installation.var}/7/deployment.0 cannot be read (No such file" in core.answers[-1].text
    (site.installation.var / "7").mkdir()
    (site.installation.var / "7" / "deployment.0").touch()
    core.say("vmm", b"DEPLOY 7 eh /srv/one/var//7/images/deployment.0 -", answer=("DEPLOY", 7))
    core.answered()
    assert "the deployment file of VM 7 cannot be used, it is empty" in core.answers[-1].text
    still_serving(core, site)


def test_a_deploy_is_refused_when_the_journal_cannot_be_written(site: Site, core: Core) -> None:
    site.installation.journal.unlink(missing_ok=True)
    site.installation.journal.mkdir()
    try:
        reason = failed(core, core.create_vm(site.template()))
    finally:
        site.installation.journal.rmdir()
    assert (
        f"Make room on the disk of the journal, and make it writable: {site.installation.journal} cannot be used"
        in reason
    )
    still_serving(core, site)


def test_other_actions_go_on_without_a_journal(site: Site, core: Core) -> None:
    with core:
        vm = site.running(core)
        for file in site.installation.var.glob("eh_journal*"):
            file.unlink()
        site.installation.journal.mkdir()
        core.terminate(vm)
        core.wait(vm, "DONE")
        assert site.servers() == []


def test_a_broken_vmm_eh_conf_is_named_with_its_place(site: Site, core: Core) -> None:
    conf = site.installation.etc / "vmm_eh" / "vmm_eh.conf"
    conf.write_text('# defaults\nEH=[ NICMODEL="nic:0:model virtio"\n')
    reason = failed(core, core.create_vm(site.template()))
    assert str(conf) in reason
    assert "line " in reason
    conf.write_text('EH=[ NICMODEL="nic:0:model virtio", MEMORY="999" ]\n')
    template = {key: value for key, value in site.template().items() if key != "NICMODEL"}
    with core:
        site.running(core, template)
        assert [(s["nic:0:model"], s["mem"]) for s in site.servers()] == [("virtio", 500)]


@pytest.mark.parametrize(
    "rc",
    [
        "exit 3\n",
        "if then fi (\n",
        "echo noise; cat >/dev/null\n",
        "unset PATH\n",
        "while :; do :; done\n",
        "exec sleep 600\n",
        "PATH=/nowhere\nLD_PRELOAD=/nowhere/lib.so\nLD_LIBRARY_PATH=/nowhere\n",
        "PYTHONHOME=/nowhere\nexport PYTHONPATH=/nowhere PYTHONSTARTUP=x\n",
    ],
)
@pytest.mark.parametrize("name", ["defaultrc", "vmm_eh/vmm_ehrc"])
def test_no_settings_file_keeps_the_driver_from_starting(site: Site, name: str, rc: str) -> None:
    file = site.installation.etc / name
    file.write_text(rc + (file.read_text() if file.exists() else ""))
    core = site.core("7.4.0")
    core.start_vmm()
    still_serving(core, site)


def test_a_named_pipe_in_the_place_of_a_settings_file_is_refused_and_not_waited_for(site: Site) -> None:
    os.mkfifo(site.installation.etc / "defaultrc")
    os.mkfifo(site.installation.etc / "im_eh" / "im_ehrc")
    with site.core("7.4.0") as core:
        core.start_vmm()
        assert "im_ehrc cannot be read (Not a regular file)" in failed(core, core.create_vm(site.template()))


def test_nothing_in_the_environment_keeps_the_driver_from_starting(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken").mkdir()
    for module in ("os", "encodings", "requests", "sitecustomize"):
        (tmp_path / "broken" / f"{module}.py").write_text("raise SystemExit(7)\n")
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    core = site.core("7.4.0")
    core.start_vmm()
    still_serving(core, site)


def test_what_a_settings_file_assigns_is_the_environment_also_in_defaultrc(site: Site) -> None:
    """A proxy that nobody answers behind, as the libraries below the driver know it."""
    (site.installation.etc / "defaultrc").write_text("export http_proxy='http://127.0.0.1:9' # all drivers\n")
    with site.core("7.4.0") as core:
        core.start_vmm()
        assert "proxy" in failed(core, core.create_vm(site.template()))
    site.configure(no_proxy="127.0.0.1")
    core = site.core("7.4.0")
    core.start_vmm()
    still_serving(core, site)


def test_a_value_that_takes_a_shell_is_named_and_a_file_with_the_account_takes_its_place(site: Site) -> None:
    file = site.installation.etc / "vmm_eh" / "vmm_ehrc"
    key = site.installation.root / "key"
    key.write_text(f"{site.endpoint.auth}\n")
    key.chmod(0o600)
    text = file.read_text().replace(f"EHAUTH='{site.endpoint.auth}'", "")
    file.write_text(f'{text}\nexport EHAUTH="$(cat {key})"\n')
    wanted = f"no shell works out what {file} says, or set EHAUTH_FILE to a file with the account in it"
    with site.core("7.4.0") as core:
        core.start_vmm()
        core.start_im()
        host = core.create_host("eh")
        core.wait_host(host, "ERROR")
        assert host.error.startswith("Write EHAUTH without $, backquotes and bare blanks: ")
        assert wanted in host.error
        vm = core.create_vm(site.template())
        assert wanted in failed(core, vm)
        assert any(wanted in text for text in core.logs())
        file.write_text(f"{text}\nEHAUTH=\nEHAUTH_FILE={key}\n")
        core.wait_host(host, "MONITORED")
        core.retry(vm)
        core.wait(vm, "RUNNING")


def test_a_value_that_takes_a_shell_and_is_not_ours_is_shown_at_the_host_until_it_is_gone(site: Site) -> None:
    default = site.installation.etc / "defaultrc"
    default.write_text("SITE=here\nPROXY_OF_THE_SITE=`cat proxy`\n")
    with site.core("7.4.0") as core:
        core.start_im()
        host = core.create_host("eh")
        core.wait_host(host, "MONITORED")
        until(lambda: "EH_SETTINGS" in host.facts, "the notice")
        assert host.facts["EH_SETTINGS"].startswith("Write PROXY_OF_THE_SITE without $")
        default.write_text("SITE=here\n")
        until(lambda: host.facts["EH_SETTINGS"] == "", "its end")


def test_without_requests_init_is_answered_and_every_action_hears_what_to_install(site: Site) -> None:
    bare = site.installation.root / "python-without-packages"
    bare.write_text(f'#!/bin/sh\nexec {DRIVER_PYTHON} -S "$@"\n')
    bare.chmod(0o755)
    for wrapper in (site.installation.vmm, site.installation.im):
        wrapper.write_text(wrapper.read_text().replace(DRIVER_PYTHON, str(bare)))
    with site.core("7.4.0") as core:
        core.start_vmm()
        core.start_im()
        host = core.create_host("eh")
        core.wait_host(host, "ERROR")
        assert "install python3-requests" in host.error
        assert "install python3-requests" in failed(core, core.create_vm(site.template()))


def test_the_host_s_own_file_outranks_the_common_one(site: Site) -> None:
    own = site.installation.etc / "vmm_eh" / "hosts" / "ehrc"
    own.write_text(f"EHURI={site.endpoint.url}\n")
    site.configure(EHURI="http://127.0.0.1:9")
    core = site.core("7.4.0")
    core.start_vmm()
    still_serving(core, site)


def test_a_file_with_the_key_that_everybody_can_read_is_warned_about_once(site: Site) -> None:
    (site.installation.etc / "vmm_eh" / "vmm_ehrc").chmod(0o644)
    with site.core("7.4.0") as core:
        core.start_vmm()
        site.running(core)
        site.running(core, site.template(site.new_drive()))
        warnings = [text for text in core.logs() if "every user can read it" in text]
        assert len(warnings) == 1
        assert "chmod 600" in warnings[0]


def test_no_secret_is_in_any_line_file_or_process(site: Site, core: Core) -> None:
    core.start_im()
    with core:
        host = core.create_host("eh")
        core.wait_host(host, "MONITORED")
        vm = site.running(core)
        failed(core, core.create_vm(site.template()))
        for driver in (core.vmm, core.im):
            assert driver is not None
            for name in ("cmdline", "environ"):
                assert site.endpoint.key.encode() not in Path(f"/proc/{driver.pid}/{name}").read_bytes()
        core.terminate(vm)
        core.wait(vm, "DONE")
        said = "\n".join(core.said())
    written = [path for path in site.installation.var.rglob("*") if path.is_file() and "deployment" not in path.name]
    texts = [said.encode(), *(path.read_bytes() for path in written)]
    assert len(written) >= 3
    for text in texts:
        assert site.endpoint.key.encode() not in text
        assert VNC_SECRET.encode() not in text
    assert site.installation.journal.stat().st_mode & 0o777 == 0o600


def test_a_changed_file_is_seen_without_a_restart(site: Site) -> None:
    core = site.core("7.4.0")
    core.start_vmm()
    core.start_im()
    with core:
        host = core.create_host("eh")
        core.wait_host(host, "MONITORED")
        rc = site.installation.etc / "im_eh" / "im_ehrc"
        rc.write_text("TOTAL_MEMORY=4096 # MB\nTOTAL_CPU=3\n")
        until(lambda: host.facts["TOTALMEMORY"] == str(4096 * 1024), "the new memory")
        assert host.facts["TOTALCPU"] == "300"


def test_settings_that_the_driver_may_not_read_are_told_by_name_until_it_may(site: Site, tmp_path: Path) -> None:
    """As for a user that is not root: root without the right to read everything."""
    file = site.installation.etc / "vmm_eh" / "vmm_ehrc"
    executable = tmp_path / "as_a_user"
    rights = "setpriv --bounding-set=-dac_override,-dac_read_search " if os.geteuid() == 0 else ""
    executable.write_text(f'#!/bin/sh\nexec {rights}"{site.installation.vmm}" "$@"\n')
    executable.chmod(0o755)
    file.chmod(0)
    with site.core("7.4.0") as core:
        core.start_vmm(executable)
        vm = core.create_vm(site.template())
        core.deploy(vm, core.create_host("eh"))
        core.wait(vm, "BOOT_FAILURE")
        assert vm.error.startswith("DEPLOY: Make the settings readable for the user that runs OpenNebula: ")
        assert f"{file} cannot be read (Permission denied)" in vm.log[-1]
        assert site.servers() == []
        file.chmod(0o600)
        core.retry(vm)
        core.wait(vm, "RUNNING")
