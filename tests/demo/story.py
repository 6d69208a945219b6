# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo did, as rows of a table: the step, what was seen, how long it took."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass


class NotSeen(Exception):
    """A step did not show what it must show; the text says what was seen instead."""


@dataclass
class Step:
    name: str
    brief: str
    """what the table says was seen, once the step is over"""
    seconds: float = 0.0

    def saw(self, text: str) -> None:
        """Show one thing that was really seen, as it happens."""
        print(f"   {text}", flush=True)

    def expect(self, true: bool, text: str, instead: object = "") -> None:
        """Show `text` when it is true; stop the demo when it is not."""
        if not true:
            raise NotSeen(f"{self.name}: expected to see «{text}»" + (f"; saw instead:\n{instead}" if instead else ""))
        self.saw(text)


class Story:
    def __init__(self) -> None:
        self.steps: list[Step] = []

    @contextlib.contextmanager
    def step(self, name: str, brief: str) -> Iterator[Step]:
        step = Step(name, brief)
        self.steps.append(step)
        print(f"\n{len(self.steps)}. {name}", flush=True)
        begun = time.monotonic()
        yield step
        step.seconds = time.monotonic() - begun

    def table(self) -> str:
        """The steps that were taken, a line each; every one was seen to be true."""
        rows = [(f"{number}. {step.name}", step.brief, step.seconds) for number, step in enumerate(self.steps, 1)]
        rows.append(("all of it", "as expected, nothing left behind", sum(step.seconds for step in self.steps)))
        name, brief = (max(len(row[column]) for row in rows) for column in (0, 1))
        lines = [f"{'step':{name}}  {'seen':{brief}}  seconds", "-" * (name + brief + 11)]
        lines += [f"{row[0]:{name}}  {row[1]:{brief}}  {row[2]:7.1f}" for row in rows]
        return "\n".join(lines)
