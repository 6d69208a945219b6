# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages for a person: what an account has, and the console of a guest. They change nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from html import escape
from typing import NamedTuple

from ..api.formats import Properties

GIB = 1 << 30
MIB = 1 << 20
FULL = 0.9
"""The part of a limit from which on a meter warns."""


class Use(NamedTuple):
    """A row of what an account uses. limit: None where there is none."""

    name: str
    used: float
    limit: int | None


def overview(
    user: str, uses: Iterable[Use], servers: list[Properties], drives: list[Properties], consoles: bool
) -> str:
    """The page of an account. consoles: whether guests can be looked at."""
    names = {str(thing.get("server") or thing.get("drive")): thing.get("name") for thing in (*servers, *drives)}
    columns = _SERVER if consoles else _SERVER[:-1]
    server_rows = {str(server["server"]): _server(server, consoles) for server in servers}
    drive_rows = {str(drive["drive"]): _drive(drive, names) for drive in drives}
    return _page(
        "Zone",
        f"""<header><p class="soft">ElasticHosts zone</p><h1>Account {escape(user)}</h1></header>
<p class="bar" id="bar" hidden><label>Find <input type="search" id="sieve" autocomplete="off"></label>
<label><input type="checkbox" id="again" checked> Look again every ten seconds</label>
<span id="said" role="status"></span></p>
<div id="live"><section aria-label="In use"><dl>{"".join(map(_use, uses))}</dl></section>
{_table("servers", "Servers", columns, server_rows, _NO_SERVERS)}
{_table("drives", "Drives", _DRIVE, drive_rows, _NO_DRIVES)}
<p class="soft">As of <time>{time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())}</time>.
This page changes nothing.</p></div>
<script type="module" src="/live.js"></script>""",
    )


def console(server: Properties) -> str:
    """The page of a guest's screen."""
    return _page(
        "Console",
        f"""<h1>Console of {_text(server.get("name") or server["server"])}</h1>
<p><a href="/">Back to the account</a> <small>{_text(server["server"])}</small></p>
<p role="status" id="state">connecting</p>
<form id="key" hidden><label for="password">VNC password</label>
<input id="password" type="password" autocomplete="off" maxlength="8"><button>Connect</button></form>
<p><label><input type="checkbox" id="take" disabled> Use my keyboard and mouse there</label></p>
<div id="screen" aria-label="Screen of the guest" role="img"></div>
<script type="module" src="/console.js"></script>""",
    )


def refused(message: str) -> str:
    """The page for what cannot be shown."""
    return _page("Not here", f'<h1>Not here</h1><p>{escape(message)}</p><p><a href="/">Back to the account</a></p>')


_NO_SERVERS = "No servers yet: they come from OpenNebula when it bursts, from a playbook, or from a call of the API."
_NO_DRIVES = "No drives yet: upload an image, or let a drive be copied."


class Column(NamedTuple):
    """A column of a table. kind: its CSS class."""

    title: str
    kind: str = ""


_SERVER = (Column("Name", "name"), Column("State"), Column("Address"), Column("MHz", "number"),
           Column("Cores", "number"), Column("MB", "number"), Column("Since"), Column("Console"))  # fmt: skip
_DRIVE = (Column("Name", "name"), Column("Size", "number"), Column("Tier"), Column("State"), Column("Used by", "used"))


def _server(server: Properties, consoles: bool) -> list[str]:
    started = server.get("started")
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(int(str(started)))) if started else ""
    shown = consoles and "vnc:port" in server
    uuid = _text(server["server"])
    label = f"Console of {_text(server.get('name') or uuid)}"
    link = f'<a href="/console/{uuid}" aria-label="{label}">Console</a>' if shown else ""
    address = server.get("nic:0:dhcp:ip") or server.get("nic:0:dhcp")
    cells = [
        _name(server.get("name"), uuid),
        _state(str(server["status"])),
        "" if address == "auto" else _text(address),
        _number(server.get("cpu")),
        _number(server.get("smp:cores") or server.get("smp")),
        _number(server.get("mem")),
        since,
    ]
    return [*cells, link] if consoles else cells


def _drive(drive: Properties, names: Mapping[str, object]) -> list[str]:
    claims = str(drive.get("claimed", "")).split()
    return [
        _name(drive.get("name"), _text(drive["drive"])),
        _size(int(str(drive["size"]))),
        _text(drive.get("tier")),
        _copying(str(drive["imaging"])) if "imaging" in drive else _text(drive.get("status")),
        ", ".join(
            f'<a href="#{escape(claim)}">{_text(names[claim] or claim)}</a>' if claim in names else escape(claim)
            for claim in claims
        ),
    ]


def _copying(imaging: str) -> str:
    percent = imaging.rstrip("%")
    if not percent.isdecimal():
        return f"copying, {escape(imaging)}"
    return f'<progress max="100" value="{percent}" aria-label="copying"></progress> {percent} %'


def _state(state: str) -> str:
    return f'<span class="state {escape(state)}">{escape(state)}</span>'


def _name(name: object, uuid: str) -> str:
    return f"<b>{_text(name) or 'without a name'}</b><small>{uuid}</small>"


def _number(number: object) -> str:
    return f"{number:,}" if isinstance(number, int) else "" if number == "auto" else _text(number)


def _table(identity: str, title: str, columns: tuple[Column, ...], rows: Mapping[str, list[str]], without: str) -> str:
    """without: what is said in place of a table without rows."""
    heading = f'<section aria-labelledby="{identity}"><h2 id="{identity}">{title} ({len(rows)})</h2>'
    if not rows:
        return f'{heading}<p class="none">{without}</p></section>'
    head = "".join(f'<th scope="col" class="{column.kind}">{column.title}</th>' for column in columns)
    body = "".join(
        f'<tr id="{escape(uuid)}">{"".join(map(_cell, columns, cells))}</tr>' for uuid, cells in rows.items()
    )
    return f"{heading}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></section>"


def _cell(column: Column, cell: str) -> str:
    label = "" if column.kind == "name" else f' data-label="{column.title}"'
    return f'<td class="{column.kind}"{label}>{cell}</td>'


def _use(use: Use) -> str:
    if use.limit is None:
        return f"<div><dt>{use.name}</dt><dd><b>{use.used:,g}</b> <small>no limit</small></dd></div>"
    label = f"{use.used:,g} of {use.limit:,}"
    most = max(use.limit, 1)
    meter = (
        f'<meter min="0" low="{most * FULL:g}" high="{most * FULL:g}" optimum="0" max="{most}" value="{use.used:g}" '
        f'aria-label="{use.name}">{label}</meter>'
    )
    return f"<div><dt>{use.name}</dt><dd><b>{use.used:,g}</b> of {use.limit:,}{meter}</dd></div>"


def _size(size: int) -> str:
    return f"{size / GIB:g} GiB" if size >= GIB else f"{size // MIB} MiB"


def _text(value: object) -> str:
    return escape("" if value is None else str(value))


def _page(title: str, body: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - ElasticHosts endpoint</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/status.css"></head>
<body><a class="skip" href="#main">To the content</a><main id="main" tabindex="-1">
{body}
</main></body></html>
"""


def uses(totals: Mapping[str, float], limits: Mapping[str, int]) -> list[Use]:
    """What an account uses, beside its limits."""
    names = {"servers": "Servers", "cores": "Cores", "mhz": "CPU, MHz", "mb": "Memory, MB", "gb": "Disk, GiB",
             "ips": "IP addresses", "vlans": "VLANs"}  # fmt: skip
    return [Use(label, round(totals.get(name, 0), 2), limits.get(name)) for name, label in names.items()]
