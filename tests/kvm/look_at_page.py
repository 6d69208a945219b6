# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A person's look at the status page, in a headless Chromium; prints what was seen as JSON.

usage: look_at_page.py URL USER KEY VNC_PASSWORD (in the environment that has playwright)
"""

from __future__ import annotations

import json
import sys
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

PAINTED = """() => {
  const canvas = document.querySelector('#screen canvas');
  if (!canvas || !canvas.width) return false;
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  for (let i = 0; i < pixels.length; i += 4) if (pixels[i] + pixels[i + 1] + pixels[i + 2] > 60) return true;
  return false;
}"""


def main(url: str, user: str, key: str, password: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        seen: dict[str, Any] = {"stranger": _stranger(browser, url)}
        context = browser.new_context(http_credentials={"username": user, "password": key})
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto(f"{url}/")
        seen["heading"] = page.get_by_role("heading", level=1).inner_text()
        seen["servers"] = page.locator("section[aria-labelledby=servers] tbody td > span").all_inner_texts()
        seen["drives"] = page.locator("section[aria-labelledby=drives] tbody td > span").all_inner_texts()
        seen["meters"] = page.get_by_role("meter").count()
        seen["forms"] = page.locator("form, button, input").count()
        seen["secret"] = password in page.content()
        seen["overflow"] = {width: _overflow(page, width) for width in (320, 1280)}
        seen["console"] = _console(page, password)
        seen["problems"] = problems
        browser.close()
    print(json.dumps(seen))


def _stranger(browser: Browser, url: str) -> int:
    response = browser.new_context().request.get(f"{url}/")
    return response.status


def _overflow(page: Page, width: int) -> int:
    """Pixels by which the page is wider than a screen of this width."""
    page.set_viewport_size({"width": width, "height": 700})
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def _console(page: Page, password: str) -> dict[str, Any]:
    """By keyboard alone: to the link of the console, through the password, to the guest's screen."""
    page.keyboard.press("Tab")
    first = page.evaluate("document.activeElement.textContent")
    for _unused in range(10):
        if "Console of" in page.evaluate("document.activeElement.textContent"):
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
