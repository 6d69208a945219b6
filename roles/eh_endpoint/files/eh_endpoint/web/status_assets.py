# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The style of the pages for a person, and their scripts. Without scripts the status page is complete, but for the
consoles: they only look again by themselves, and sift."""

STYLE = """\
:root { color-scheme: light dark; --line: #d0d7de; --soft: #59636e; --good: #1a7f37; --warn: #9a6700; --page: #fff;
  --raised: #f6f8fa }
@media (prefers-color-scheme: dark) {
  :root { --line: #3d444d; --soft: #9198a1; --good: #3fb950; --warn: #d29922; --page: #0d1117; --raised: #151b23 }
}
body { background: var(--page); font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 80rem; padding: 1rem }
h1 { font-size: 1.3rem; margin: 0; overflow-wrap: anywhere } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
small, .soft, dt { color: var(--soft) } small { font-size: .8rem }
header p { margin: 0 }
a { color: light-dark(#0969da, #4493f8) }
a:focus-visible, button:focus-visible, input:focus-visible, #screen:focus-within {
  outline: 3px solid light-dark(#0969da, #4493f8); outline-offset: 2px }
.skip { position: absolute; left: -99rem } .skip:focus { position: static }
.bar { align-items: center; display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; margin: 1.25rem 0 0 }
.bar[hidden] { display: none }
label { align-items: center; display: inline-flex; gap: .5rem }
input[type=search] { font: inherit; min-width: 0; padding: .2rem .5rem; width: 16rem }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.75rem, 1fr)); gap: .75rem; margin: 1.25rem 0 0 }
dl div { background: var(--raised); border: 1px solid var(--line); border-radius: .4rem; padding: .5rem .75rem }
dt { font-size: .85rem } dd b { font-size: 1.15rem }
dd { margin: 0; white-space: nowrap; font-variant-numeric: tabular-nums }
meter { display: block; height: .7rem; margin-top: .25rem; width: 100% }
table { border-collapse: collapse; width: 100% }
thead th { background: var(--page); color: var(--soft); font-size: .85rem; font-weight: 600; position: sticky; top: 0 }
th, td { border-bottom: 1px solid var(--line); padding: .4rem .6rem; text-align: left; vertical-align: top;
  white-space: nowrap }
.name { overflow-wrap: anywhere; white-space: normal; width: 40% }
.name b { display: block } .name small { font-family: ui-monospace, monospace; white-space: nowrap }
.used { overflow-wrap: anywhere; white-space: normal }
.number { font-variant-numeric: tabular-nums; text-align: right }
tr:target { background: light-dark(#fff8c5, #342a0a) } tr[hidden] { display: none }
.state::before { content: "\\25cf  " } .active { color: var(--good) } .stopped { color: var(--soft) }
.paused, .dead, .dumped, .stale { color: var(--warn) }
.none { border: 1px dashed var(--line); border-radius: .4rem; color: var(--soft); margin: 0; padding: 1rem }
progress { vertical-align: middle; width: 5rem }
@media (max-width: 52rem) {
  thead { position: absolute; left: -99rem } table, tbody { display: block }
  dl { grid-template-columns: 1fr 1fr; gap: .5rem }
  tr { border: 1px solid var(--line); border-radius: .4rem; display: grid; grid-template-columns: 1fr 1fr;
    margin-bottom: .6rem; padding: .5rem .75rem }
  td, .number { border: 0; padding: .1rem 0; text-align: left; white-space: normal }
  td:empty { display: none } .name { grid-column: 1 / -1; width: auto }
  .used { grid-column: 1 / -1 } .name small { white-space: normal }
  td[data-label]::before { color: var(--soft); content: attr(data-label) " "; font-size: .85rem }
}
#screen { background: #000; height: 70vh; margin-top: .75rem } form { display: flex; flex-wrap: wrap; gap: .5rem }
"""

LIVE = """\
const SECONDS = 10;
const byId = (id) => document.getElementById(id);
const live = byId("live"), sieve = byId("sieve"), again = byId("again"), said = byId("said");
const sift = () => {
  const words = sieve.value.trim().toLowerCase();
  let hits = 0;
  for (const row of live.querySelectorAll("tbody tr")) {
    row.hidden = !row.textContent.toLowerCase().includes(words);
    hits += row.hidden ? 0 : 1;
  }
  said.textContent = words ? `${hits} found` : "";
};
const look = async () => {
  if (!again.checked || document.hidden) return;
  try {
    const answer = await fetch("/", { cache: "no-store" });
    if (!answer.ok) throw new Error(`the endpoint answers ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const focused = live.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    live.replaceChildren(...page.getElementById("live").childNodes);
    for (const link of live.querySelectorAll("a")) if (link.getAttribute("href") === focused) link.focus();
    sift();
    said.classList.remove("stale");
  } catch (error) {
    said.classList.add("stale");
    said.textContent = "The endpoint cannot be reached: this is how it was.";
  }
};
sieve.addEventListener("input", sift);
again.addEventListener("change", look);
document.addEventListener("visibilitychange", look);
byId("bar").hidden = false;
setInterval(look, SECONDS * 1000);
sift();
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
let refused = false;
const say = (text) => { state.textContent = text; };
rfb.addEventListener("connect", () => { form.hidden = true; take.disabled = false; say("connected, looking only"); });
rfb.addEventListener("disconnect", (event) => {
  take.disabled = true;
  form.hidden = true;
  if (!refused) say(event.detail.clean ? "disconnected" : "the connection broke: reload the page to try again");
});
rfb.addEventListener("credentialsrequired", () => {
  form.hidden = false;
  document.getElementById("password").focus();
  say("the guest's VNC password is needed");
});
rfb.addEventListener("securityfailure", () => {
  refused = true;
  say("the password is wrong: reload the page to try again");
});
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
