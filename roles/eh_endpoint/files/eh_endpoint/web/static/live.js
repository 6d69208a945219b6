// SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
// SPDX-License-Identifier: GPL-3.0-or-later
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
