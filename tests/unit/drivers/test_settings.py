# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the administrator wrote, and where it counts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.settings import (
    Settings,
    SettingsError,
    ShellText,
    fill_environment,
    parse_rc,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.translate import template_defaults
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.layout import layout


@pytest.mark.parametrize(
    "line",
    [
        "A=b",
        "A='b c'",
        'A="b c"',
        "export A=b",
        "A=b # comment",
        "A=b#c",
        "A=",
        "A= # nothing",
        "A=\\'b\\ c",
        "A=b'c d'\"e f\"",
        'A="b\\"c\\\\d\\e"',
        "A=x;",
        "  A=1:2/3@4",
        "A='#'",
    ],
)
def test_a_plain_line_means_what_the_shell_takes_it_for(line: str) -> None:
    shell = subprocess.run(["sh", "-c", f'{line}\nprintf %s "$A"'], capture_output=True, check=True, text=True)
    assert parse_rc(line) == {"A": shell.stdout}


@pytest.mark.parametrize("line", ["A=$B", 'A="$(cat x)"', "A=`date`", "A=b c", "A='open", "A=b; rm x", "A=b|c"])
def test_a_value_that_takes_a_shell_is_known_as_such(line: str) -> None:
    assert isinstance(parse_rc(f"A=plain\n{line}")["A"], ShellText)


@pytest.mark.parametrize("line", ["if true; then", "# A=b", "A+=b", ". other", "while :; do", "export A", "A = b"])
def test_what_is_no_assignment_is_left_out(line: str) -> None:
    assert parse_rc(line) == {}


def settings_in(root: Path, **environment: str) -> Settings:
    (root / "etc" / "vmm_eh" / "hosts").mkdir(parents=True, exist_ok=True)
    (root / "etc" / "im_eh").mkdir(exist_ok=True)
    return Settings(layout(str(root)), environment, template_defaults)


def test_a_later_source_outranks_an_earlier(tmp_path: Path) -> None:
    settings_in(tmp_path)
    (tmp_path / "etc/vmm_eh/vmm_ehrc").write_text("EHURI=http://file\nTOTAL_CPU=3\n")
    (tmp_path / "etc/im_eh/im_ehrc").write_text("TOTAL_CPU=4\n")
    (tmp_path / "etc/vmm_eh/hosts/ehrc").write_text("TOTAL_MEMORY=77\n")
    settings = settings_in(tmp_path, EHURI="http://environment", EHAUTH="u:k", OTHER="x")
    host = settings.host("eh")
    assert (host.endpoint, host.auth, host.total_cpu, host.total_memory) == ("http://file", "u:k", 4, 77)
    assert settings.host("another").total_memory == 2048


def test_the_environment_gets_what_the_files_assign_but_no_setting_and_nothing_that_decides_what_runs(
    tmp_path: Path,
) -> None:
    settings_in(tmp_path)
    (tmp_path / "etc/defaultrc").write_text("http_proxy=http://default\nPRIORITY=19\nLD_PRELOAD=x\nPATH=/x\nTZ=\0\n")
    (tmp_path / "etc/vmm_eh/vmm_ehrc").write_text("EHAUTH=u:k\nEHURI=http://x\nhttp_proxy='http://own'\nB=$HOME\n")
    (tmp_path / "etc/im_eh/im_ehrc").write_text("TOTAL_CPU=4\nPYTHONHOME=/x\nPYTHONPATH=/x\nONE_MAD_DEBUG=1\n")
    environment = {"PATH": "/bin"}
    fill_environment(layout(str(tmp_path)), environment)
    assert environment.pop("TZ", "\0") == "\0"
    assert environment == {"PATH": "/bin", "http_proxy": "http://own", "PRIORITY": "19", "ONE_MAD_DEBUG": "1"}


def test_a_removed_line_is_gone(tmp_path: Path) -> None:
    settings_in(tmp_path)
    rc = tmp_path / "etc/vmm_eh/vmm_ehrc"
    rc.write_text("EHAUTH=u:k\n")
    environment: dict[str, str] = {}
    fill_environment(layout(str(tmp_path)), environment)
    settings = settings_in(tmp_path, **environment)
    assert settings.host("eh").auth == "u:k"
    rc.write_text("# nothing\n")
    with pytest.raises(SettingsError, match="Set EHAUTH in vmm_ehrc: it is not set for host 'eh'"):
        _unused = settings.host("eh").auth


def test_the_account_leaves_the_environment_that_children_get(tmp_path: Path) -> None:
    settings_in(tmp_path)
    environment = {"EHAUTH": "u:k", "EHURI": "http://x"}
    settings = Settings(layout(str(tmp_path)), environment, template_defaults)
    assert (settings.host("eh").auth, environment) == ("u:k", {"EHURI": "http://x"})


ACCOUNTS = {
    "a later file takes the place of a key": ("EHAUTH=u:main", "EHAUTH_FILE={key}", "u:file"),
    "a later key takes the place of a file": ("EHAUTH_FILE={key}", "EHAUTH=u:own", "u:own"),
    "an empty key does not": ("EHAUTH_FILE={key}", "EHAUTH=", "u:file"),
    "in one file the key counts": ("EHAUTH_FILE={key}\nEHAUTH=u:main", "", "u:main"),
}


@pytest.mark.parametrize("name", list(ACCOUNTS))
def test_the_account_comes_from_the_last_file_that_gives_one(tmp_path: Path, name: str) -> None:
    main, own, auth = ACCOUNTS[name]
    settings = settings_in(tmp_path)
    key = tmp_path / "key"
    key.write_text("u:file\n")
    (tmp_path / "etc/vmm_eh/vmm_ehrc").write_text(main.format(key=key))
    (tmp_path / "etc/vmm_eh/hosts/ehrc").write_text(own.format(key=key))
    assert settings.host("eh").auth == auth


@pytest.mark.parametrize("path", ["key", "/nowhere/key", "/dev/null", "/"])
def test_a_file_without_an_account_is_named_with_who_names_it(tmp_path: Path, path: str) -> None:
    settings = settings_in(tmp_path)
    (tmp_path / "etc/vmm_eh/vmm_ehrc").write_text(f"EHAUTH_FILE={path}\n")
    with pytest.raises(SettingsError, match=rf"^Correct EHAUTH_FILE in the settings.*'{path}' in .*/vmm_ehrc"):
        _unused = settings.host("eh").auth


def test_a_number_that_takes_a_shell_is_not_taken_for_the_default(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    (tmp_path / "etc/im_eh/im_ehrc").write_text("MAX_SERVERS=$((2*2))\n")
    with pytest.raises(SettingsError, match=r"^Write MAX_SERVERS without \$, backquotes and bare blanks: .*/im_ehrc"):
        settings.host("eh").number("MAX_SERVERS")


def test_a_file_that_everybody_can_read_and_lines_that_take_a_shell_are_warned_about(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    key = tmp_path / "key"
    key.write_text("u:k\n")
    key.chmod(0o644)
    rc = tmp_path / "etc/vmm_eh/vmm_ehrc"
    rc.write_text(f"EHAUTH_FILE={key}\nX=$Y\n")
    rc.chmod(0o644)
    assert settings.warnings() == [
        f"{key} holds EHAUTH and every user can read it: chmod 600 {key}",
        "Write X without $, backquotes and bare blanks: settings are read as data and no shell works out what "
        f"{rc} says.",
    ]


def test_what_is_no_file_is_never_to_be_closed_to_others(tmp_path: Path) -> None:
    """Nobody may follow such an advice for /tmp or /dev/zero."""
    settings = settings_in(tmp_path)
    (tmp_path / "folder").mkdir(mode=0o755)
    for wrong in ("/dev/zero", tmp_path / "folder"):
        (tmp_path / "etc/vmm_eh/vmm_ehrc").write_text(f"EHAUTH_FILE={wrong}\n")
        assert settings.warnings() == []


@pytest.mark.parametrize("name", ["../vmm_ehrc", "a/b", "", ".hidden", "x\0y"])
def test_a_host_s_name_cannot_lead_to_another_file(tmp_path: Path, name: str) -> None:
    settings = settings_in(tmp_path)
    (tmp_path / "etc/vmm_eh/hosts/rc").write_text("EHURI=http://wrong\n")
    assert settings.host(name).optional("EHURI") == ""


@pytest.mark.parametrize("value", ["x", "-1", "nan", "inf", "1e99", "0"])
def test_a_number_that_is_none_is_named_with_its_file(tmp_path: Path, value: str) -> None:
    settings = settings_in(tmp_path)
    (tmp_path / "etc/im_eh/im_ehrc").write_text(f"TOTAL_MEMORY={value}\n")
    with pytest.raises(
        SettingsError,
        match=rf"Correct TOTAL_MEMORY in the settings: '{value}' in .*/im_ehrc is not a number of MB from 1 up",
    ):
        _unused = settings.host("eh").total_memory


@pytest.mark.parametrize("value", ["a\tb", "a\x00b", "a\udcffb"])
def test_an_id_of_the_cloud_that_the_api_would_refuse_is_named(tmp_path: Path, value: str) -> None:
    settings = settings_in(tmp_path)
    text = f"EHCLOUD='{value}'\n"
    (tmp_path / "etc/vmm_eh/vmm_ehrc").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError, match=r"Correct EHCLOUD in the settings: .*/vmm_ehrc has characters that"):
        _unused = settings.host("eh").cloud


def test_settings_show_no_secret(tmp_path: Path) -> None:
    assert "k3y" not in repr(settings_in(tmp_path, EHAUTH="u:k3y").host("eh"))
