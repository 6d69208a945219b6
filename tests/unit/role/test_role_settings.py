# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that an administrator has edited, and the virtual environment of the drivers."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest
import requests

from tests.front_ends import FrontEnd
from tests.support.endpoint import Endpoint
from tests.support.plays import Plays

EDITED = {
    "vmm_eh/vmm_ehrc": "# EHURI=x\nEHURI=http://older\n export EHURI=http://old\nEHCLOUD='of mine'\nMINE=$(id)",
    "vmm_eh/hosts/ownrc": "EHAUTH=11111111-2222-4333-8444-555555555555:Geheimnis23\n",
    "im_eh/im_ehrc": 'TOTAL_MEMORY="4096"  # as it is\nTOTAL_CPU=3',
    "vmm_eh/vmm_eh.conf": "# mine\n",
}


def test_only_lines_that_are_given_and_differ_are_edited_and_no_key_is_shown(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    front_end = FrontEnd(tmp_path / "one", "7.4", running=False)
    etc = front_end.folders["etc"]
    (etc / "vmm_eh/hosts").mkdir(parents=True)
    (etc / "im_eh").mkdir()
    for name, text in EDITED.items():
        (etc / name).write_text(text)
    given = {
        "one_eh_driver_total_memory": 4096,
        "one_eh_driver_max_servers": 0,
        "one_eh_driver_source_in_use": "allow",
        "one_eh_driver_hosts": [
            {"name": "own", "auth": endpoint.auth, "cpu_mhz": 2500, "source_in_use": "refuse"},
            {"name": "new", "total_cpu": 4},
        ],
    }
    plays = Plays(tmp_path, endpoint, {"one": front_end}, {"one": given})
    played = plays.play("install_driver", "--diff", "-vvv")
    assert played.failed("one") == 0
    assert "Geheimnis23" not in played.output
    assert "Write MINE without $, backquotes and bare blanks" in " ".join(played.output.split())
    assert {name: (etc / name).read_text() for name in (*EDITED, "vmm_eh/hosts/newrc")} == {
        "vmm_eh/vmm_ehrc": f"# EHURI=x\nEHURI=http://older\nEHURI={endpoint.url}\nEHCLOUD='of mine'\nMINE=$(id)\n"
        "SOURCE_IN_USE=allow\n"
        f"EHAUTH={endpoint.auth}\n",
        "vmm_eh/hosts/ownrc": f"EHAUTH={endpoint.auth}\nCPU_MHZ=2500\nSOURCE_IN_USE=refuse\n",
        "im_eh/im_ehrc": 'TOTAL_MEMORY="4096"  # as it is\nTOTAL_CPU=3\nMAX_SERVERS=0\n',
        "vmm_eh/vmm_eh.conf": "# mine\n",
        "vmm_eh/hosts/newrc": "# Settings of one OpenNebula host, before those of vmm_ehrc and im_ehrc. It may hold a"
        " secret.\nTOTAL_CPU=4\n",
    }
    assert plays.play("install_driver").changed("one") == 0


def wheel_of_requests(folder: Path) -> Path:
    """The least that pip takes for the package requests: a path to the one that these tests run with."""
    folder.mkdir()
    path = folder / "requests-9.0-py3-none-any.whl"
    name = "requests-9.0.dist-info"
    files = {
        "requests_of_the_tests.pth": f"{Path(requests.__file__).parent.parent}\n",
        f"{name}/METADATA": "Metadata-Version: 2.1\nName: requests\nVersion: 9.0\n",
        f"{name}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for file, content in files.items():
            wheel.writestr(file, content)
        wheel.writestr(f"{name}/RECORD", "".join(f"{file},,\n" for file in [*files, f"{name}/RECORD"]))
    return path


@pytest.mark.whole  # four plays, two of which run pip
def test_a_virtual_environment_is_made_or_leaves_nothing(
    tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    front_end = FrontEnd(tmp_path / "one", "6.10", running=False)
    stock = front_end.files()
    plays = Plays(tmp_path, endpoint, {"one": front_end}, {"one": {"one_eh_driver_python": "venv"}})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    failed = plays.play("install_driver")
    venv = front_end.root / "lib/python/eh_venv"
    assert failed.failed("one") == 1
    said = " ".join(failed.output.split())
    assert f"The virtual environment {venv} could not be made: " in said
    assert "No matching distribution found for requests. See whether pip reaches an index" in said
    assert not (front_end.root / "lib/python").exists()
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel_of_requests(tmp_path / "wheels").parent))
    assert plays.play("install_driver").failed("one") == 0
    subprocess.run([venv / "bin/python", "-c", "import requests"], check=True)
    assert plays.play("install_driver").changed("one") == 0
    assert plays.play("remove_driver").failed("one") == 0
    assert front_end.files() == stock
