"""A real browser: Chromium as Debian packages it, driven by Playwright."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from playwright.async_api import Browser, Page, async_playwright, expect

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = "Chromium is not installed: run `make browser`, or install it"
PATIENCE_MS = 120_000
"""However busy this machine is."""
expect.set_options(timeout=PATIENCE_MS)

AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
GRAVE = ("serious", "critical")
WIDE, NARROW = (1280, 860), (390, 844)


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """The browser, without a window."""
    async with async_playwright() as playwright:
        # Chromium refuses to shut root into its sandbox; it sees our own pages only.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await playwright.chromium.launch(
            executable_path=PROGRAM,
            args=[*arguments, "--disable-gpu", "--disable-dev-shm-usage"],
            timeout=PATIENCE_MS,
        )
        try:
            yield browser
        finally:
            await browser.close()


async def open_page(browser: Browser, base_url: str, *, size: tuple[int, int] = WIDE) -> Page:
    """A page of somebody who has never been here, in a window of this size."""
    context = await browser.new_context(
        base_url=base_url, viewport={"width": size[0], "height": size[1]}, color_scheme="light", locale="en"
    )
    context.set_default_timeout(PATIENCE_MS)
    return await context.new_page()


async def resize(page: Page, size: tuple[int, int]) -> None:
    """Show the page in a window of this size."""
    await page.set_viewport_size({"width": size[0], "height": size[1]})


async def faults(page: Page, *, rules: list[str] | None = None) -> list[str]:
    """What axe finds on the page that is serious or critical, with the elements; `rules`: only by these."""
    if not await page.evaluate("() => 'axe' in window"):
        await page.evaluate(AXE)
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules is not None:
        options["runOnly"] = {"type": "rule", "values": rules}
    found = await page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{each['id']} ({each['impact']}): {each['help']}: {[node['html'][:200] for node in each['nodes'][:3]]}"
        for each in found["violations"]
        if each["impact"] in GRAVE
    ]


async def overflow(page: Page) -> list[str]:
    """The elements that make the page wider than its window; none if it need not be scrolled sideways."""
    found: list[str] = await page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth;
          if (document.documentElement.scrollWidth <= width) return [];
          const wide = [...document.querySelectorAll("body *")].filter(
            each => each.getBoundingClientRect().right > width + 1 && !each.closest(".scroll, nav, pre"));
          return [`needs ${document.documentElement.scrollWidth} of ${width}`,
                  ...wide.map(each => each.outerHTML.slice(0, 150))];
        }"""
    )
    return found
