# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a FAILURE says first what to do, within what OpenNebula 6.6 and later shows of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers import answers, job_queue, vm_driver
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.answers import (
    REMEDIES,
    details,
    sentence,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.create_server import LIMITS, SWITCH
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.settings import CHOICES, NUMBERS, TEXTS
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.unsupported import INSTEAD, refusal
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import errors
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.eh_template import ROWS
from tests.docs.sentences import FILLED, text_of
from tests.unit.drivers.conftest import ROOT, Site

SHOWN = 100
"""characters of ERROR"""
ROOM = SHOWN - len("DEPLOY: ")
"""SHUTDOWN is the longest name of an action that can fail for any reason, by two letters"""
MOST = 80
KINDS = ("ActionFailed", "TemplateError", "SettingsError", "JournalError", "MalformedLine", "DocumentError")
"""errors whose text is an answer"""
OF_A_HOST = ("monitor_driver.py", "host_monitor.py")
"""files whose sentences are shown of a host, not of a VM"""
BOUNDED = {
    "Add … to EH=[...]": ('CPUMHZ="500" (MHz)',),
    "Correct … in the settings": (*NUMBERS, *CHOICES),
    "Correct … of EH=[...]": tuple(ROWS),
    "Set … in vmm_ehrc": TEXTS,
    "Raise …, which is 0, to have new servers": (SWITCH,),
    "Terminate a VM, or raise … in the settings": tuple(limit.setting for limit in LIMITS),
}
"""what is filled in before the colon comes from a table"""
IMPERATIVES = {
    "Add", "Change", "Check", "Choose", "Correct", "Deploy", "Detach", "Free", "Give", "Keep", "Log", "Look",
    "Make", "Name", "Power", "Raise", "Read", "Recover", "Repeat", "Report", "See", "Set", "Stop", "Take",
    "Terminate", "Try", "Use", "Write",
}  # fmt: skip


def raised() -> Iterator[tuple[str, str]]:
    """File and text of each error in the drivers' source whose text is an answer."""
    for package in ("drivers", "opennebula"):
        for path in sorted((ROOT / "plugins" / "module_utils" / package).glob("*.py")):
            for node in () if path.name in OF_A_HOST else ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in KINDS and node.args:
                    text = text_of(node.args[0])
                    # A DocumentError may be the reason alone, which another sentence takes up.
                    if text is not None and not text.startswith(("it ", "its ")):
                        yield str(path.relative_to(ROOT)), text


ANSWERS = [
    *raised(),
    *(("unsupported.py", refusal(action)) for action in (*INSTEAD, "TELEPORT")),
    ("job_queue.py", job_queue.NO_ANSWER),
    ("job_queue.py", job_queue.STOPPING),
    ("answers.py", answers.internal_error(ValueError())),
    ("vm_driver.py", vm_driver.GIVEN_UP),
    ("vm_driver.py", vm_driver.LATE),
    *(("answers.py", f"{remedy}: …") for remedy in REMEDIES.values()),
]


def test_there_are_answers_to_look_at() -> None:
    files = {Path(path).name for path, _text in ANSWERS}
    assert {
        "actions.py", "action_context.py", "create_server.py", "settings.py", "eh_template.py",
        "driver_requests.py",
    } <= files  # fmt: skip


@pytest.mark.parametrize(("path", "text"), ANSWERS)
def test_an_answer_begins_with_what_to_do(path: str, text: str) -> None:
    first = re.split(r"[:.] ", text, maxsplit=1)[0]
    assert first.split()[0] in IMPERATIVES, f"{path}: {text}"
    if FILLED in first:
        assert first in BOUNDED, f"{path} has something of any length before the colon: {first}"
        first = first.replace(FILLED, max(BOUNDED[first], key=len))
    assert len(first) <= MOST, f"{path}: {first} has {len(first)} characters"


@pytest.mark.parametrize("action", sorted(INSTEAD))
def test_a_refusal_s_remedy_fits_behind_the_action_s_name(action: str) -> None:
    assert len(f"{action}: {refusal(action).partition(': ')[0]}") <= SHOWN
    assert action not in refusal(action), "the core writes the name itself"


def kinds(base: type[errors.ElasticHostsError]) -> Iterator[type[errors.ElasticHostsError]]:
    """Yield the client's own errors: those of the modules, which another test may have loaded, reach no driver."""
    yield base
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from kinds(kind)


@pytest.mark.parametrize("kind", sorted(set(kinds(errors.ElasticHostsError)), key=lambda kind: kind.__name__))
def test_an_error_of_the_api_s_client_says_what_to_do_once(kind: type[errors.ElasticHostsError]) -> None:
    what = f"POST /servers/create: the endpoint http://cloud answered 4711 (so it is, and {'so ' * 30})"
    advice = errors.ADVICE.get(kind, "")  # type: ignore[call-overload]
    text = sentence(kind(f"{what}: {advice}" if advice else what))
    assert text.endswith(f": {what}.")
    assert len(text) - len(what) <= ROOM


def test_a_short_text_is_shown_whole_as_it_is() -> None:
    error = errors.ConfigurationError("the Python library requests is missing here: install python3-requests")
    assert sentence(error) == "The Python library requests is missing here: install python3-requests"
    assert details(ValueError()) == ""


@pytest.mark.parametrize(("release", "cut"), [("6.4.0", False), ("6.6.0", True), ("7.4.0", True)])
def test_opennebula_shows_100_characters_of_it_from_6_6_on_and_the_rest_in_the_vm_s_log(
    site: Site, release: str, cut: bool
) -> None:
    with site.core(release) as core:
        core.start_vmm()
        vm = core.create_vm({**site.template(), "CPUMHZ": "fast" * 30})
        core.deploy(vm, core.create_host("eh"))
        core.wait(vm, "BOOT_FAILURE")
        assert "Correct CPUMHZ of EH=[...]: " in vm.error
        assert vm.error.endswith("... see more details in VM log") is cut
        assert "a whole number of MHz, for example 500" in vm.log[-1]
