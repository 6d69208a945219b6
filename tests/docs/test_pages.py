# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every block of README and guides does what the page says: blocks run in order, against a real endpoint."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.eh_template import ROWS
from tests.docs.blocks import ROOT, Block, blocks, complaint, pages
from tests.docs.edits import difference
from tests.docs.world import Drivers, World
from tests.front_ends import namespaces_work

PAGES = pages()
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
LONG = ("docs/install_2.rst", "docs/install_4.rst", "docs/zones.rst")
RUN = [
    pytest.param(page, id=name, marks=pytest.mark.whole if name in LONG else ())
    for page, name in zip(PAGES, NAMES, strict=True)
]


def found_in(wanted: str, text: str, *, adjacent: bool) -> str:
    """The first line of ``wanted`` that ``text`` does not have; empty when it has all of them in this order.

    ``...`` stands for anything, in a line or as a line of its own.

    :param adjacent: whether they have to stand one under the other
    """
    lines, position, free = text.splitlines(), 0, not adjacent
    begun = False
    for row in wanted.splitlines():
        if row.strip() == "...":
            free = True
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in row.rstrip().split("...")))
        reach = range(position, len(lines)) if free or not begun else range(position, min(position + 1, len(lines)))
        position = next((number + 1 for number in reach if pattern.fullmatch(lines[number].rstrip())), -1)
        if position < 0:
            return row or "(an empty line)"
        begun, free = True, not adjacent
    return ""


class Page:
    """Runs the blocks of a page, one after the other."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.printed = ""
        self._ways: dict[str, Callable[[Block], None]] = {
            "run": self._run,
            "run, fails": self._run,
            "start": self._start,
            "prints": self._prints,
            "file": self._file,
            "in": self._in,
            "edits": self._edits,
            "asked": self._asked,
            "deploy": self._deploy,
            "on the server": self._on_the_server,
            "demo": lambda block: demo_table(block.text),
            "not run": lambda _block: None,
        }

    def take(self, block: Block) -> None:
        self._ways[block.mark](block)

    def _run(self, block: Block) -> None:
        fails = block.mark == "run, fails"
        said = self.world.shell.run(self.world.meant(block.text), fails=fails)
        self.printed = said.output
        assert said.status is not None, f"{block.place} failed:\n{said.output}"
        assert fails == (said.status != 0), f"{block.place} ended with {said.status}:\n{said.output}"

    def _start(self, block: Block) -> None:
        self.printed = self.world.shell.start(self.world.meant(block.text))
        assert self.printed, f"{block.place} printed nothing"

    def _prints(self, block: Block) -> None:
        missing = found_in(self.world.meant(block.text), self.printed, adjacent=False)
        assert not missing, f"{block.place}: the line «{missing}» is not among what was printed:\n{self.printed}"

    def _file(self, block: Block) -> None:
        path = self.world.path(block.words)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.world.meant(block.text))

    def _in(self, block: Block) -> None:
        text = self.world.path(block.words).read_text()
        missing = found_in(self.world.meant(block.text), text, adjacent=True)
        assert not missing, f"{block.place}: the line «{missing}» is not in {block.words}:\n{text}"

    def _edits(self, block: Block) -> None:
        changed = difference(*block.words.split())
        wanted = [line.rstrip() for line in block.text.splitlines() if line.startswith(("+", "-"))]
        assert wanted == changed, f"{block.place}: the difference is:\n" + "\n".join(changed)

    def _asked(self, block: Block) -> None:
        assert self.world.front_end is not None
        calls = "\n".join(self.world.front_end.calls())
        missing = found_in(block.text, calls, adjacent=True)
        assert not missing, f"{block.place}: «{missing}» was not asked:\n{calls}"

    def _deploy(self, block: Block) -> None:
        sized = re.search(r"^CPU\s*=", block.text, re.MULTILINE)
        problem = self.world.deploy(block.text if sized else f'CPU = "1"\nMEMORY = "512"\n{block.text}')
        assert not problem, f"{block.place}: {problem}"

    def _on_the_server(self, block: Block) -> None:
        server = self.world.server_of_last()
        for line in self.world.meant(block.text).splitlines():
            key, _blank, value = line.partition(" ")
            pattern = ".*".join(re.escape(part) for part in value.strip().split("..."))
            assert re.fullmatch(pattern, server.get(key, "(nothing)")), f"{block.place}: {key} is {server.get(key)!r}"


def demo_table(text: str) -> None:
    """The rows of the demo's table, from its source, but for the seconds."""
    tree = ast.parse((ROOT / "tests/demo/steps.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    steps = [[ast.literal_eval(word) for word in call.args] for call in calls if ast.unparse(call.func) == "story.step"]
    shown = {re.sub(r"^\d+\. |\s{2,}[\d.]+$", "", line) for line in text.splitlines()}
    for name, brief in steps:
        assert re.sub(r"\s+", " ", f"{name} {brief}") in {re.sub(r"\s+", " ", line) for line in shown}, (name, brief)


@pytest.fixture(scope="session")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Drivers:
    return Drivers(tmp_path_factory.mktemp("drivers"))


@pytest.fixture
def new_world(tmp_path: Path, drivers: Drivers) -> Iterator[Callable[[str], World]]:
    worlds: list[World] = []

    def make(parts: str) -> World:
        worlds.append(World(tmp_path, parts, drivers))
        return worlds[0]

    yield make
    for world in worlds:
        world.close()


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_every_block_says_what_is_done_with_it(path: Path) -> None:
    assert not [sentence for sentence in map(complaint, blocks(path)) if sentence]


@pytest.mark.parametrize("path", RUN)
def test_the_blocks_of_the_page_do_what_it_says(path: Path, tmp_path: Path, new_world: Callable[[str], World]) -> None:
    found = blocks(path)
    todo = [block for block in found if block.mark != "world"]
    if all(block.mark == "not run" for block in todo):
        return
    parts = ", ".join(block.words for block in found if block.mark == "world")
    if "system-wide" in parts and not namespaces_work(tmp_path / "namespace"):
        pytest.skip("this machine lets nobody have mount namespaces, and the page is about /etc/one")
    page = Page(new_world(parts))
    for block in todo:
        page.take(block)


def test_the_template_reference_deploys_every_attribute() -> None:
    reference = blocks(ROOT / "docs" / "template.rst")
    deployed = {word for block in reference if block.mark == "deploy" for word in re.findall(r"\w+(?= *=)", block.text)}
    assert {*ROWS, "HOST"} <= deployed
