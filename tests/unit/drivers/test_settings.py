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


@pytest.mark.parametrize(
    "line",
    ["A=$B", 'A="$(cat x)"', "A=`date`", "A=b c", "if true; then", "A='open", "A=b; rm x", "# A=b", "A+=b", "A=b|c"],
)
def test_what_takes_a_shell_is_left_to_the_shell(line: str) -> None:
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


def test_a_removed_line_is_gone_although_the_wrapper_exported_it(tmp_path: Path) -> None:
    settings_in(tmp_path)
    rc = tmp_path / "etc/vmm_eh/vmm_ehrc"
    rc.write_text("EHAUTH=u:k\n")
    settings = settings_in(tmp_path, EHAUTH="u:k")
    assert settings.host("eh").auth == "u:k"
    rc.write_text("# nothing\n")
    with pytest.raises(SettingsError, match="Set EHAUTH in vmm_ehrc: it is not set for host 'eh'"):
        _unused = settings.host("eh").auth


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


def test_settings_show_no_secret(tmp_path: Path) -> None:
    assert "k3y" not in repr(settings_in(tmp_path, EHAUTH="u:k3y").host("eh"))
