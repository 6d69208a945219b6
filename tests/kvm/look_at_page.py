# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A person's look at the status page, in a headless Chromium; prints what was seen as JSON.

usage: look_at_page.py URL USER KEY VNC_PASSWORD (in the environment that has playwright)
"""

from __future__ import annotations

import json
import sys
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PAINTED = """() => {
  const canvas = document.querySelector('#screen canvas');
  if (!canvas || !canvas.width) return false;
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  for (let i = 0; i < pixels.length; i += 4) if (pixels[i] + pixels[i + 1] + pixels[i + 2] > 60) return true;
  return false;
}"""


def main(url: str, user: str, key: str, password: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        seen: dict[str, Any] = {"stranger": _stranger(browser, url)}
        context = browser.new_context(http_credentials={"username": user, "password": key})
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto(f"{url}/")
        page.locator("#bar").wait_for()
        seen["heading"] = page.get_by_role("heading", level=1).inner_text()
        seen["servers"] = page.locator("section[aria-labelledby=servers] tbody td").all_inner_texts()
        seen["drives"] = page.locator("section[aria-labelledby=drives] tbody td").all_inner_texts()
        seen["meters"] = page.get_by_role("meter").count()
        seen["buttons"] = page.locator("form, button, [type=submit]").count()
        seen["secret"] = password in page.content()
        seen["overflow"] = {width: _overflow(page, width) for width in (320, 390, 1280)}
        seen["sifted"] = _sifted(page)
        seen["refreshed"] = _refreshed(page)
        seen["console"] = _console(page, password)
        seen["problems"] = problems
        seen["other_site"] = _from_another_site(context, url)
        browser.close()
    print(json.dumps(seen))


def _stranger(browser: Browser, url: str) -> int:
    response = browser.new_context().request.get(f"{url}/")
    return response.status


def _from_another_site(context: BrowserContext, url: str) -> list[int]:
    """The answers to a form and to a link on the page of another site, in a browser that has the key."""
    page = context.new_page()
    form = f'<form method="post" enctype="text/plain" action="{url}/drives/create"><input name="size" value="4M">'
    html = f'{form}<button>Send</button></form><a href="{url}/">Look</a>'
    page.route("http://other.localhost/", lambda route: route.fulfill(content_type="text/html", body=html))
    statuses = []
    for control in (page.get_by_role("button"), page.get_by_role("link")):
        page.goto("http://other.localhost/")
        with page.expect_navigation() as navigation:
            control.click()
        statuses.append(navigation.value.status)
    return statuses


def _overflow(page: Page, width: int) -> int:
    """Pixels by which the page is wider than a screen of this width."""
    page.set_viewport_size({"width": width, "height": 700})
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def _sifted(page: Page) -> list[int]:
    """Rows that are shown for words that nothing has, and for none."""
    shown = []
    for words in ("no such thing", ""):
        page.get_by_role("searchbox").fill(words)
        shown.append(page.locator("tbody tr:visible").count())
    return shown


def _refreshed(page: Page) -> dict[str, bool]:
    """What the page brings by itself, without losing the place of who uses a keyboard."""
    link = page.get_by_role("link", name="Console of")
    link.focus()
    before = page.locator("#live time").inner_text()
    page.wait_for_function("before => document.querySelector('#live time').textContent !== before", arg=before)
    return {"focused": link.evaluate("link => link === document.activeElement")}


def _console(page: Page, password: str) -> dict[str, Any]:
    """By keyboard alone, from the top: to the link of the console, through the password, to the guest's screen."""
    page.reload()
    page.locator("#bar").wait_for()
    page.keyboard.press("Tab")
    first = page.evaluate("document.activeElement.textContent")
    for _unused in range(10):
        if "Console of" in page.evaluate("document.activeElement.getAttribute('aria-label') || ''"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/console/*")
    page.locator("#key:not([hidden])").wait_for(timeout=30000)
    page.keyboard.type(password)
    page.keyboard.press("Enter")
    page.get_by_text("connected, looking only").wait_for(timeout=30000)
    page.wait_for_function(PAINTED, timeout=30000)
    before = page.get_by_role("checkbox").is_checked()
    page.get_by_role("checkbox").focus()
    page.keyboard.press("Space")
    page.get_by_text("your keyboard and mouse go to the guest").wait_for()
    return {"first": first, "taken": before, "painted": True}


if __name__ == "__main__":
    main(*sys.argv[1:])
