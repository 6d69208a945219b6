# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures with the drivers installed below a temporary $ONE_LOCATION, as the role installs them."""

from __future__ import annotations

import compileall
import functools
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2
import pytest

from tests.core import Core, Vm
from tests.support.endpoint import Endpoint
from tests.unit.drivers.proxy import Proxy

ROOT = Path(__file__).resolve().parents[3]
FILES = ROOT / "roles" / "one_eh_driver" / "files"
DRIVER_PYTHON = os.environ.get("EH_DRIVER_PYTHON", sys.executable)
"""the interpreter of the drivers: that of an old front-end, to see that they run there"""
TEMPLATE = ROOT / "roles" / "one_eh_driver" / "templates" / "one_mad_eh.sh.j2"
VNC_SECRET = "hush-77x"
PACKAGES = ("elastichosts", "opennebula", "drivers")


def until(seen: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Poll ``seen()`` until it is true and return its value, for events without a line of the driver."""
    end = time.monotonic() + seconds
    while True:
        value = seen()
        if value:
            return value
        assert time.monotonic() < end, f"{what} was not seen within {seconds:g} s"
        time.sleep(0.02)


@functools.cache
def compiled(package: str) -> Path:
    """Compile a package as the role does, so that a driver starts in half the time; return its folder."""
    folder = ROOT / "plugins" / "module_utils" / package
    compileall.compile_dir(folder, quiet=2)
    return folder


class Installation:
    """A self-contained OpenNebula installation that contains only the drivers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mads = root / "lib" / "mads"
        self.etc = root / "etc"
        self.var = root / "var"
        for folder in (self.mads, self.etc / "vmm_eh" / "hosts", self.etc / "im_eh", self.var):
            folder.mkdir(parents=True)
        for package in PACKAGES:
            shutil.copytree(compiled(package), root / "lib" / "python" / "one_eh" / package)
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
        return template.render(driver=driver, python=DRIVER_PYTHON, one_location=str(self.root))

    @property
    def vmm(self) -> Path:
        return self.mads / "one_vmm_eh"

    @property
    def im(self) -> Path:
        return self.mads / "one_im_eh"

    @property
    def journal(self) -> Path:
        return self.var / "eh_journal.sqlite"

    def add_transfer_driver(self) -> None:
        """Install the scripts of the transfer driver as the role does."""
        shutil.copytree(FILES / "tm_eh", self.var / "remotes" / "tm" / "eh")

    def configure(self, **settings: object) -> None:
        """Replace vmm_ehrc."""
        file = self.etc / "vmm_eh" / "vmm_ehrc"
        file.write_text("".join(f"{name}='{value}'\n" for name, value in settings.items()))
        file.chmod(0o600)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "one")


class Site:
    """An installation that is configured for an endpoint, with helpers for both."""

    cloud = "cloud-of-the-tests"

    def __init__(self, installation: Installation, endpoint: Endpoint, **settings: object) -> None:
        self.installation = installation
        self.endpoint = endpoint
        self.settings: dict[str, object] = {
            "EHURI": endpoint.url,
            "EHAUTH": endpoint.auth,
            "EHCLOUD": self.cloud,
            "LISTING_PERIOD": 0.2,
            "ONE_MAD_DEBUG": 1,
            **settings,
        }
        self.configure()
        self._drive = ""

    def configure(self, **settings: object) -> None:
        self.settings.update(settings)
        self.installation.configure(**self.settings)

    def core(self, release: str, **options: Any) -> Core:
        return Core(release, one_location=self.installation.root, **options)

    @property
    def drive(self) -> str:
        """UUID of a drive to boot from."""
        self._drive = self._drive or self.new_drive()
        return self._drive

    def new_drive(self) -> str:
        uuid: str = self.endpoint.call("/drives/create", {"name": "boot", "size": "4M"}).json()["drive"]
        return uuid

    def template(self, drive: str = "") -> dict[str, str]:
        """Return EH=[...] as in the original guide."""
        return {
            "NAME": "bitrot",
            "CPUMHZ": "500",
            "MEMORY": "500",
            "DRIVE": f"ide:0:0 {drive or self.drive}",
            "NICMODEL": "nic:0:model e1000",
            "NICDHCP": "nic:0:dhcp auto",
            "VNCIP": "vnc:ip auto",
            "VNCPASSWORD": f"vnc:password {VNC_SECRET}",
            "BOOT": "ide:0:0",
        }

    def running(self, core: Core, template: Mapping[str, str] | str | None = None, **options: Any) -> Vm:
        """Deploy a VM and return it once it is RUNNING."""
        host = next(iter(core.model.hosts.values()), None) or core.create_host("eh")
        vm = core.create_vm(self.template() if template is None else template, **options)
        core.deploy(vm, host)
        return core.wait(vm, "RUNNING")

    def servers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.endpoint.call("/servers/info").json()
        return found

    def states(self) -> dict[str, str]:
        return {server["server"]: server["status"] for server in self.servers()}

    def log(self, driver: str = "vmm") -> str:
        return (self.installation.var / f"one_{driver}_eh.log").read_text()


@pytest.fixture(scope="module")
def quick_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """An endpoint whose guests shut down within 0.1 s, with a request log."""
    folder = tmp_path_factory.mktemp("quick")
    with Endpoint(folder / "state", "--acpi-delay", "0.1", "--request-log", str(folder / "requests")) as running:
        yield running


@pytest.fixture
def site(installation: Installation, quick_endpoint: Endpoint) -> Site:
    """A site that is configured for an endpoint without servers and copies: VM ids begin anew in each test."""
    for server in quick_endpoint.call("/servers/info").json():
        quick_endpoint.call(f"/servers/{server['server']}/destroy")
    for drive in quick_endpoint.call("/drives/info").json():
        if "user:one-vm" in drive:
            quick_endpoint.call(f"/drives/{drive['drive']}/destroy")
    return Site(installation, quick_endpoint)


@pytest.fixture
def proxy(site: Site) -> Iterator[Proxy]:
    """A proxy before the endpoint that can inject faults."""
    with Proxy(site.endpoint.url) as running:
        site.configure(EHURI=running.url)
        yield running


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Endpoint]:
    """An endpoint whose guests ignore the ACPI power button."""
    with Endpoint(tmp_path / "deaf", "--acpi-delay", "never") as running:
        yield running
