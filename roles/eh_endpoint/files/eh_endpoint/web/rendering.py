# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Jinja2 templates of the pages, and the filters with which they format values."""

from __future__ import annotations

import time
from pathlib import Path

import jinja2

GIB = 1 << 30
MIB = 1 << 20


def _size(size: int) -> str:
    return f"{size / GIB:g} GiB" if size >= GIB else f"{size // MIB} MiB"


def _number(value: object) -> object:
    return f"{value:,}" if isinstance(value, int) else "" if value == "auto" else value


def _time(seconds: float, form: str = "%Y-%m-%d %H:%M UTC") -> str:
    return time.strftime(form, time.gmtime(seconds))


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
ENVIRONMENT.filters.update(amount=lambda number: f"{number:,g}", number=_number, size=_size, time=_time)
