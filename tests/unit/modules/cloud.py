# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs modules as Ansible calls them, against a real endpoint whose log of requests is read back."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from tests.support.endpoint import Endpoint

Result = dict[str, Any]
MODULES = "ansible_collections.opennebula.elastichosts.plugins.modules."


class Cloud:
    """An account at an endpoint, and the modules that work on it."""

    def __init__(self, endpoint: Endpoint, log: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.endpoint = endpoint
        self._log = log
        self._begin = len(log.read_bytes())
        self._capture = capture

    def run(self, module: str, *, check: bool = False, **options: Any) -> Result:
        """The result that the module prints; `failed` and all. An option that is `...` is left out."""
        arguments = {
            "endpoint": self.endpoint.url,
            "auth": self.endpoint.auth,
            "_ansible_check_mode": check,
            "_ansible_diff": True,
            **options,
        }
        arguments = {key: value for key, value in arguments.items() if value is not ...}
        self._capture.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            importlib.import_module(MODULES + module).main()
        printed = self._capture.readouterr()
        result: Result = json.loads(printed.out)
        # Once a test in this process has loaded Ansible's controller side, warnings go to its display on stderr.
        result["warnings"] = [*result.get("warnings", []), " ".join(printed.err.split())]
        return result

    def server(self, **options: Any) -> Result:
        return self.run("server", **options)

    def drive(self, **options: Any) -> Result:
        return self.run("drive", **options)

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Method and path of all calls of this test so far."""
        lines = [json.loads(line) for line in self._log.read_bytes()[self._begin :].splitlines()]
        return [(line["method"], line["path"]) for line in lines]

    @property
    def changes(self) -> list[str]:
        """Paths of the changing calls so far."""
        return [path for method, path in self.calls if method == "POST"]

    def thrice(self, module: str, **options: Any) -> Result:
        """In check mode, for real, and again: the first two say the same, the third has nothing to do."""
        before = self.changes
        checked = self.run(module, check=True, **options)
        assert self.changes == before, "check mode made a changing call"
        done = self.run(module, **options)
        assert not done.get("failed"), done
        between = self.changes
        again = self.run(module, **options)
        assert checked["changed"] is True
        assert done["changed"] is True
        assert checked["diff"] == done["diff"]
        assert checked.get("actions") == done.get("actions")
        assert again["changed"] is False
        assert again["diff"]["before"] == again["diff"]["after"] == {}
        assert self.changes == between, "the second run made a changing call"
        return done
