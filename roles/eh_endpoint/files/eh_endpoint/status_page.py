# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages for a person: what an account has, and the console of a guest. They change nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from html import escape
from typing import NamedTuple

from .formats import Properties

GIB = 1 << 30
MIB = 1 << 20
STYLE = """\
:root { color-scheme: light dark; --line: #8886; --good: #1a7f37; --off: #6e7781 }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.15rem; margin-top: 2rem }
a:focus-visible, button:focus-visible, input:focus-visible { outline: 3px solid #0969da; outline-offset: 2px }
.skip { position: absolute; left: -99rem } .skip:focus { position: static }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .75rem; margin: 0 }
dl div { border: 1px solid var(--line); border-radius: .4rem; padding: .5rem .75rem }
dd { margin: 0; font-variant-numeric: tabular-nums } meter { width: 100% }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid var(--line); padding: .4rem .5rem; text-align: left; overflow-wrap: anywhere }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
.active { color: var(--good); font-weight: 600 } .stopped { color: var(--off) }
@media (prefers-color-scheme: dark) { :root { --good: #3fb950; --off: #9198a1 } }
@media (max-width: 44rem) {
  thead { position: absolute; left: -99rem }
  tr { display: block; border: 1px solid var(--line); border-radius: .4rem; margin-bottom: .75rem }
  td, td.number { display: flex; justify-content: space-between; gap: 1rem; text-align: right }
  td::before { content: attr(data-label); text-align: left; font-weight: 600; overflow-wrap: normal }
}
#screen { height: 70vh; background: #000; margin-top: .75rem } form { display: flex; flex-wrap: wrap; gap: .5rem }
"""
CONSOLE = """\
import RFB from "/novnc/core/rfb.js";
const screen = document.getElementById("screen"), state = document.getElementById("state");
const form = document.getElementById("key"), take = document.getElementById("take");
const url = new URL(`${location.pathname}/socket`, location.href);
url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
const rfb = new RFB(screen, url.href, { wsProtocols: ["binary"] });
rfb.viewOnly = true;
rfb.scaleViewport = true;
const say = (text) => { state.textContent = text; };
rfb.addEventListener("connect", () => { form.hidden = true; take.disabled = false; say("connected, looking only"); });
rfb.addEventListener("disconnect", (event) => {
  take.disabled = true;
  say(event.detail.clean ? "disconnected" : "the connection broke: reload the page to try again");
});
rfb.addEventListener("credentialsrequired", () => {
  form.hidden = false;
  document.getElementById("password").focus();
  say("the guest's VNC password is needed");
});
rfb.addEventListener("securityfailure", () => say("the password is wrong: reload the page to try again"));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  rfb.sendCredentials({ password: document.getElementById("password").value });
});
take.addEventListener("change", () => {
  rfb.viewOnly = !take.checked;
  say(take.checked ? "connected, your keyboard and mouse go to the guest" : "connected, looking only");
  if (take.checked) rfb.focus();
});
"""


class Use(NamedTuple):
    """A row of what an account uses. limit: None where there is none."""

    name: str
    used: float
    limit: int | None


def overview(
    user: str, uses: Iterable[Use], servers: list[Properties], drives: list[Properties], consoles: bool
) -> str:
    """The page of an account. consoles: whether guests can be looked at."""
    name = escape(user)
    server_rows = [_server(server, consoles) for server in servers]
    drive_rows = [_drive(drive) for drive in drives]
    return _page(
        "Zone",
        f"""<h1>Account {name}</h1>
<section aria-labelledby="use"><h2 id="use">In use</h2><dl>{"".join(map(_use, uses))}</dl></section>
{_table("servers", "Servers", _SERVER, server_rows)}
{_table("drives", "Drives", _DRIVE, drive_rows)}
<p><a href="/">Look again</a>, as of <time>{time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())}</time></p>""",
    )


def console(server: Properties) -> str:
    """The page of a guest's screen."""
    return _page(
        "Console",
        f"""<h1>Console of {_text(server.get("name") or server["server"])}</h1>
<p><a href="/">Back to the account</a></p>
<p role="status" id="state">connecting</p>
<form id="key" hidden><label for="password">VNC password</label>
<input id="password" type="password" autocomplete="off" maxlength="8"><button>Connect</button></form>
<p><label><input type="checkbox" id="take" disabled> Use my keyboard and mouse there</label></p>
<div id="screen" aria-label="Screen of the guest" role="img"></div>
<script type="module" src="/status.js"></script>""",
    )


def refused(message: str) -> str:
    """The page for what cannot be shown."""
    return _page("Not here", f'<h1>Not here</h1><p>{escape(message)}</p><p><a href="/">Back to the account</a></p>')


_SERVER = (("Name", ""), ("State", ""), ("Address", ""), ("MHz", "number"), ("Cores", "number"), ("MB", "number"),
           ("Since", ""), ("Console", ""))  # fmt: skip
_DRIVE = (("Name", ""), ("Size", "number"), ("Tier", ""), ("State", ""), ("Used by", ""))


def _server(server: Properties, consoles: bool) -> list[str]:
    state = str(server["status"])
    started = server.get("started")
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(int(str(started)))) if started else ""
    shown = consoles and "vnc:port" in server
    link = f'<a href="/console/{server["server"]}">Console of {_text(server.get("name"))}</a>' if shown else ""
    return [
        _text(server.get("name") or server["server"]),
        f'<span class="{escape(state)}">{escape(state)}</span>',
        _text(server.get("nic:0:dhcp:ip") or server.get("nic:0:dhcp")),
        _text(server.get("cpu")),
        _text(server.get("smp:cores") or server.get("smp")),
        _text(server.get("mem")),
        since,
        link,
    ]


def _drive(drive: Properties) -> list[str]:
    imaging = drive.get("imaging")
    return [
        _text(drive.get("name") or drive["drive"]),
        _size(int(str(drive["size"]))),
        _text(drive.get("tier")),
        f"imaging {_text(imaging)}" if imaging is not None else _text(drive.get("status")),
        _text(drive.get("claimed")),
    ]


def _table(identity: str, title: str, columns: tuple[tuple[str, str], ...], rows: list[list[str]]) -> str:
    if not rows:
        return f'<section aria-labelledby="{identity}"><h2 id="{identity}">{title}</h2><p>None.</p></section>'
    head = "".join(f'<th scope="col" class="{kind}">{name}</th>' for name, kind in columns)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="{kind}" data-label="{name}"><span>{cell}</span></td>'
            for (name, kind), cell in zip(columns, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<section aria-labelledby="{identity}"><h2 id="{identity}">{title} ({len(rows)})</h2>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></section>"
    )


def _use(use: Use) -> str:
    if use.limit is None:
        return f"<div><dt>{use.name}</dt><dd>{use.used:g}</dd></div>"
    label = f"{use.used:g} of {use.limit}"
    meter = f'<meter min="0" max="{max(use.limit, 1)}" value="{use.used:g}" aria-label="{use.name}">{label}</meter>'
    return f"<div><dt>{use.name}</dt><dd>{label}{meter}</dd></div>"


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
