# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drivers in their installed form, below a scratch $ONE_LOCATION, as the role puts them there."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import jinja2
import pytest

ROOT = Path(__file__).resolve().parents[3]
FILES = ROOT / "roles" / "one_eh_driver" / "files"
TEMPLATE = ROOT / "roles" / "one_eh_driver" / "templates" / "one_mad_eh.sh.j2"
PACKAGES = ("elastichosts", "opennebula", "bursting")


class Installation:
    """A self-contained OpenNebula with nothing in it but our drivers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mads = root / "lib" / "mads"
        self.etc = root / "etc"
        self.var = root / "var"
        for folder in (self.mads, self.etc / "vmm_eh" / "hosts", self.etc / "im_eh", self.var):
            folder.mkdir(parents=True)
        for package in PACKAGES:
            shutil.copytree(
                ROOT / "plugins" / "module_utils" / package,
                root / "lib" / "python" / "one_eh" / package,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        (root / "lib" / "python" / "one_eh" / "__init__.py").touch()
        for driver in ("vmm", "im"):
            shutil.copy(FILES / f"one_{driver}_eh.py", self.mads)
            wrapper = self.mads / f"one_{driver}_eh"
            wrapper.write_text(self._wrapper(driver))
            wrapper.chmod(0o755)

    def _wrapper(self, driver: str) -> str:
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
        environment.filters["quote"] = lambda text: f"'{text}'"
        template = environment.from_string(TEMPLATE.read_text())
        return template.render(driver=driver, python=sys.executable, one_location=str(self.root))

    @property
    def vmm(self) -> Path:
        return self.mads / "one_vmm_eh"

    @property
    def im(self) -> Path:
        return self.mads / "one_im_eh"

    @property
    def journal(self) -> Path:
        return self.var / "eh_journal.sqlite"

    def configure(self, **settings: object) -> None:
        """Write vmm_ehrc anew."""
        file = self.etc / "vmm_eh" / "vmm_ehrc"
        file.write_text("".join(f"{name}='{value}'\n" for name, value in settings.items()))
        file.chmod(0o600)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "one")
