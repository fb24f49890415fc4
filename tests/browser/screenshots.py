"""Makes the pictures of docs/console.md: `python -m tests.browser.screenshots`."""

import asyncio
import sys
from pathlib import Path

from playwright.async_api import Page

from db.migrate import migrate
from local.clean import throwaway_home
from local.postgres import start_postgres
from local.valkey import start_valkey
from tests.browser.chromium import MISSING, NARROW, PROGRAM, open_browser, open_page, resize
from tests.browser.world import open_world
from tests.places import ROOT
from tests.system import ADMIN_TOKEN

IMAGES = ROOT / "docs/images"
CUSTOMERS = 250
TURNS = 12
BYTES_MAX = 150_000


async def take(database_url: str, redis_url: str, folder: Path) -> None:
    """Play an account, and take a picture of each kind of page."""
    async with (
        open_world(
            database_url=database_url,
            redis_url=redis_url,
            folder=folder,
            customers=CUSTOMERS,
            stories_every=1,
            turns=TURNS,
        ) as world,
        open_browser() as browser,
    ):
        page = await open_page(browser, world.system.base_url)
        await page.goto("/console/login")
        await page.get_by_label("Admin token").fill(ADMIN_TOKEN)
        await page.get_by_role("button", name="Log in").click()
        uid = await world.fetchval(
            """
            select customer_uid from billing.status_changes where event_id is not null
            group by customer_uid order by count(distinct status_after) desc, count(*), customer_uid limit 1
            """
        )
        await page.goto("/")
        await picture(page, "overview")
        await page.goto(f"/console/customers/{uid}")
        await picture(page, "customer")
        await page.goto("/")
        await page.emulate_media(color_scheme="dark")
        await page.locator("figure.chart").first.evaluate("chart => chart.scrollIntoView()")
        await picture(page, "dark")
        await page.emulate_media(color_scheme="light")
        await resize(page, NARROW)
        await page.goto("/")
        await picture(page, "narrow")


async def picture(page: Page, name: str) -> None:
    """Store what the window shows as docs/images/console-NAME.png."""
    content = await page.screenshot(path=IMAGES / f"console-{name}.png", scale="css")
    sys.stdout.write(f"docs/images/console-{name}.png: {len(content):,} bytes\n")
    if len(content) > BYTES_MAX:
        raise SystemExit(f"more than {BYTES_MAX:,} bytes: show less on it")


def main() -> None:
    """Start servers of our own, and take the pictures."""
    if PROGRAM is None:
        raise SystemExit(MISSING)
    IMAGES.mkdir(exist_ok=True)
    with (
        throwaway_home() as home,
        start_postgres(home) as postgres,
        start_valkey(home) as valkey,
    ):
        migrate(postgres.url)
        asyncio.run(take(postgres.url, valkey.url, home))


if __name__ == "__main__":
    main()
