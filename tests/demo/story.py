# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo did, as rows of a table: the step, what was seen, how long it took."""

from __future__ import annotations

import contextlib
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

STEP_WIDTH, SEEN_WIDTH = 24, 78


class NotSeen(Exception):
    """A step did not show what it must show; the text says what was seen instead."""


@dataclass
class Step:
    name: str
    seen: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def saw(self, text: str) -> None:
        """Record one thing that was really seen, and show it as it happens."""
        self.seen.append(text)
        print(f"   {text}", flush=True)

    def expect(self, true: bool, text: str, instead: object = "") -> None:
        """Record `text` when it is true; stop the demo when it is not."""
        if not true:
            raise NotSeen(f"{self.name}: expected to see «{text}»" + (f"; saw instead:\n{instead}" if instead else ""))
        self.saw(text)


class Story:
    def __init__(self) -> None:
        self.steps: list[Step] = []

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        step = Step(name)
        self.steps.append(step)
        print(f"\n{len(self.steps)}. {name}", flush=True)
        begun = time.monotonic()
        try:
            yield step
        finally:
            step.seconds = time.monotonic() - begun

    def table(self) -> str:
        lines = [f"{'step':{STEP_WIDTH}}  {'seen':{SEEN_WIDTH}}  seconds", "-" * (STEP_WIDTH + SEEN_WIDTH + 11)]
        for number, step in enumerate(self.steps, 1):
            name = textwrap.wrap(f"{number}. {step.name}", STEP_WIDTH, subsequent_indent="   ")
            seen = [line for text in step.seen for line in textwrap.wrap(text, SEEN_WIDTH, subsequent_indent="  ")]
            for row in range(max(len(name), len(seen))):
                left = name[row] if row < len(name) else ""
                right = seen[row] if row < len(seen) else ""
                seconds = f"{step.seconds:7.1f}" if row == 0 else ""
                lines.append(f"{left:{STEP_WIDTH}}  {right:{SEEN_WIDTH}}  {seconds}".rstrip())
        total = sum(step.seconds for step in self.steps)
        lines.append(f"{'all seen to be true':{STEP_WIDTH}}  {'':{SEEN_WIDTH}}  {total:7.1f}")
        return "\n".join(lines)
