# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No module without its documentation, its place in the action group and its integration target."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent.parent
FILES = sorted((ROOT / "plugins" / "modules").glob("*.py"))
TARGETS = ROOT / "tests" / "integration" / "targets"
GROUP = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]["elastichosts"]
COLLECTION = "ansible_collections.opennebula.elastichosts.plugins"
CONNECTION = "opennebula.elastichosts.connection"
VERSION = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]

every_module = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])


def block(path: Path, name: str) -> Any:
    """What the constant `name` of a module says, as YAML."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return yaml.safe_load(ast.literal_eval(node.value))
    raise AssertionError(f"{path.name} has no {name}")


def calls_the_cloud(path: Path) -> bool:
    return CONNECTION in block(path, "DOCUMENTATION")["extends_documentation_fragment"]


def tasks(path: Path) -> list[dict[str, Any]]:
    """All tasks of a module's integration target that call the module, those in blocks as well."""
    found: list[dict[str, Any]] = []

    def collect(items: list[dict[str, Any]]) -> None:
        for item in items:
            for part in ("block", "rescue", "always"):
                collect(item.get(part) or [])
            if f"opennebula.elastichosts.{path.stem}" in item:
                found.append(item)

    for file in sorted((TARGETS / path.stem / "tasks").glob("*.yml")):
        collect(yaml.safe_load(file.read_text()) or [])
    return found


@every_module
def test_a_module_says_what_it_is_in_every_respect(path: Path) -> None:
    documentation = block(path, "DOCUMENTATION")
    assert documentation["module"] == path.stem
    assert tuple(map(int, str(documentation["version_added"]).split("."))) <= tuple(map(int, VERSION.split(".")))
    assert block(path, "EXAMPLES")
    assert block(path, "RETURN")
    fragments = documentation["extends_documentation_fragment"]
    known = set(documentation.get("attributes", {}))
    for fragment, attributes in (
        ("changes", ("check_mode", "diff_mode")),
        ("info_module", ("check_mode", "idempotent")),
    ):
        if f"opennebula.elastichosts.attributes.{fragment}" in fragments:
            known.update(attributes)
    assert {"check_mode", "idempotent"} <= known


def test_the_action_group_is_the_modules_that_call_the_cloud() -> None:
    callers = sorted(path.stem for path in FILES if calls_the_cloud(path))
    assert sorted(GROUP) == callers
    for path in FILES:
        fragments = block(path, "DOCUMENTATION")["extends_documentation_fragment"]
        assert ("opennebula.elastichosts.attributes.action_group" in fragments) == calls_the_cloud(path)


@every_module
def test_a_module_has_an_integration_target_with_a_check_mode_run(path: Path) -> None:
    assert any(task.get("check_mode") is True for task in tasks(path)), f"no check_mode task in {TARGETS / path.stem}"


@every_module
def test_a_module_is_run_twice_the_same_in_its_integration_target(path: Path) -> None:
    """The same options twice, in real runs, and an assertion that the second did not change anything."""
    key = f"opennebula.elastichosts.{path.stem}"
    real = [repr(task[key]) for task in tasks(path) if task.get("check_mode") is not True]
    assert len(real) > len(set(real)), f"no task of {TARGETS / path.stem} is run again"
    texts = "".join(file.read_text() for file in (TARGETS / path.stem / "tasks").glob("*.yml"))
    assert re.search(r"_again(\.results)? is not changed|_again\.\w+ ==|not \w+_again", texts)


def fragment_options(path: Path) -> set[str]:
    """The options that a module's documentation takes from fragments of this collection."""
    found: set[str] = set()
    for fragment in block(path, "DOCUMENTATION").get("extends_documentation_fragment", []):
        name, _dot, section = fragment.removeprefix("opennebula.elastichosts.").partition(".")
        file = ROOT / "plugins" / "doc_fragments" / f"{name}.py"
        fragments = importlib.import_module(f"{COLLECTION}.doc_fragments.{file.stem}").ModuleDocFragment
        text = getattr(fragments, (section or "documentation").upper())
        found |= set(yaml.safe_load(text).get("options") or {})
    return found


@every_module
def test_every_option_of_a_module_is_documented_and_every_documented_one_is_there(path: Path) -> None:
    if not calls_the_cloud(path):
        return
    definition = importlib.import_module(f"{COLLECTION}.modules.{path.stem}").DEFINITION
    own = set(block(path, "DOCUMENTATION").get("options") or {})
    assert own | fragment_options(path) == set(definition.argument_spec)


@every_module
def test_a_module_that_calls_the_cloud_has_an_action_plugin_of_the_same_definition(path: Path) -> None:
    action = ROOT / "plugins" / "action" / path.name
    assert action.exists() == calls_the_cloud(path)
    if action.exists():
        plugin = importlib.import_module(f"{COLLECTION}.action.{path.stem}")
        module = importlib.import_module(f"{COLLECTION}.modules.{path.stem}")
        assert plugin.ActionModule.definition is module.DEFINITION


@every_module
def test_a_module_that_changes_something_is_compared_with_its_check_mode(path: Path) -> None:
    """In its target: what check mode said is what was done, and check mode made no changing call."""
    if not calls_the_cloud(path) or path.stem.endswith("_info"):
        return
    texts = "".join(file.read_text() for file in (TARGETS / path.stem / "tasks").glob("*.yml"))
    assert re.search(rf"{path.stem}_checked\.diff == {path.stem}_\w+\.diff", texts)
    assert "Check mode made no changing call" in texts


@every_module
def test_every_example_names_a_module_by_its_full_name_and_options_that_exist(path: Path) -> None:
    examples = block(path, "EXAMPLES")
    options = set(block(path, "DOCUMENTATION").get("options", {})) | fragment_options(path)
    for task in examples:
        used = [key for key in task if "." in key]
        assert used, f"{task['name']!r} calls no module"
        if used[0] == f"opennebula.elastichosts.{path.stem}":
            assert set(task[used[0]] or {}) <= options
