"""The console in a real browser: what an operator does there, on a phone, in the dark, by the keyboard alone.

One test, since a browser and a running system take seconds to start: its steps follow one another, and each is reported
by itself.
"""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.chromium import (
    MISSING,
    NARROW,
    PROGRAM,
    WIDE,
    faults,
    open_browser,
    open_page,
    overflow,
    resize,
)
from tests.browser.world import MEND, World, open_world
from tests.system import ADMIN_TOKEN

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=MISSING)

Step = Callable[[Page, World], Awaitable[None]]


async def pages_to_look_at(world: World) -> list[str]:
    """One address of each kind of page."""
    uid = await world.fetchval(
        "select uid from billing.customers where status = 'active' order by uid limit 1"
    )
    event_id = await world.fetchval("select event_id from sync.events order by seq desc limit 1")
    backfill = await world.fetchval("select max(id) from sync.scans where purpose = 'backfill'")
    audit = await world.fetchval("select max(id) from sync.scans where purpose = 'audit'")
    return [
        "/",
        "/console/customers",
        "/console/customers?q=nobody",
        f"/console/customers/{uid}",
        "/console/events",
        f"/console/events/{event_id}",
        "/console/replays?state=parked",
        "/console/backfills",
        f"/console/backfills/{backfill}",
        "/console/audits",
        f"/console/audits/{audit}",
        "/console/alarms",
        "/console/nowhere",
    ]


async def wrong_token_is_refused(page: Page, _: World) -> None:
    await page.goto("/")
    await page.get_by_label("Admin token").fill("not the token")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.get_by_label("Admin token")).to_have_value("")
    assert [] == await faults(page)


async def right_token_opens_the_overview(page: Page, _: World) -> None:
    await page.get_by_label("Admin token").fill(ADMIN_TOKEN)
    await page.get_by_label("Admin token").press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await expect(
        page.get_by_role("navigation", name="Console").get_by_role("link", name="Events")
    ).to_be_visible()
    (cookie,) = [each for each in await page.context.cookies() if "console" in str(each.get("name"))]
    assert (True, "Strict") == (cookie.get("httpOnly"), cookie.get("sameSite"))


async def search_finds_a_customer_with_its_timeline(page: Page, world: World) -> None:
    row = await world.fetchval(
        """
        select c.email || '|' || c.stripe_customer_id
        from billing.customers c
        join billing.status_changes s on s.customer_uid = c.uid and s.status_after = 'active' and s.event_id is not null
        where c.email is not null and c.status = 'active'
        order by c.uid limit 1
        """
    )
    email, stripe_id = str(row).split("|")
    await page.goto("/console/customers")
    await page.get_by_role("searchbox").fill(email)
    await page.get_by_role("searchbox").press("Enter")
    await expect(page.get_by_text(stripe_id).first).to_be_visible()
    await expect(page.locator("ol.timeline > li").first).to_be_visible()
    # Down to the event and its payload.
    await page.locator("ol.timeline a[href*='/console/events/']").first.click()
    await expect(page.get_by_role("heading", name="Payload")).to_be_visible()


async def parked_event_is_replayed(page: Page, world: World) -> None:
    await page.goto("/console/events?state=parked")
    row = page.get_by_role("row").filter(has_text=MEND)
    await row.get_by_role("link").first.click()
    await expect(page.get_by_text(MEND)).to_be_visible()
    await page.get_by_role("button", name=re.compile("^Replay evt_")).first.click()
    await expect(page.get_by_role("status").filter(has_text="1 event pending again")).to_be_visible()
    await world.system.settled()
    await page.reload()
    await expect(page.locator("dl.facts .badge")).to_have_text("applied")
    await page.goto("/console/events?state=parked")
    await expect(page.get_by_text("No such event.")).to_be_visible()


async def backfill_runs_to_its_end(page: Page, _: World) -> None:
    await page.goto("/console/backfills")
    await page.get_by_role("button", name="Start the backfill").click()
    await expect(page.get_by_role("status").filter(has_text="was requested")).to_be_visible()
    # Nobody reloads: the page follows by itself.
    await expect(page.locator("dl.facts .badge")).to_have_text("complete")
    await expect(page.locator("#said")).to_have_text(re.compile(r"Backfill \d+ is complete\."))
    await expect(
        page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="invoice", exact=True))
    ).to_contain_text("100 %")


async def audit_proves_equality(page: Page, _: World) -> None:
    await page.goto("/console/audits")
    await page.get_by_label("Repair what differs").check()
    await page.get_by_role("button", name="Start the audit").click()
    await expect(page.locator("dl.facts .badge")).to_have_text("complete")
    await expect(page.get_by_text("No drift")).to_be_visible()
    await page.goto("/console/audits")
    await expect(page.get_by_role("heading", name="The last one")).to_be_visible()


async def alarm_is_cleared(page: Page, world: World) -> None:
    await world.fetchval(
        "insert into sync.alarms (name, detail) values ('a test', 'it is wrong') returning name"
    )
    await page.goto("/console/alarms")
    await page.get_by_role("button", name="Clear a test").click()
    await expect(page.get_by_text("Cleared: a test.")).to_be_visible()


async def every_page_is_accessible(page: Page, world: World) -> None:
    found = {}
    for path in await pages_to_look_at(world):
        await page.emulate_media(color_scheme="light")
        await page.goto(path)
        light = await faults(page)
        await page.emulate_media(color_scheme="dark")
        found[path] = light + [f"dark: {each}" for each in await faults(page, rules=["color-contrast"])]
    await page.emulate_media(color_scheme="light")
    assert {} == {path: wrong for path, wrong in found.items() if wrong}


async def every_page_fits_a_phone(page: Page, world: World) -> None:
    await resize(page, NARROW)
    found = {}
    for path in await pages_to_look_at(world):
        await page.goto(path)
        found[path] = await overflow(page)
    await resize(page, WIDE)
    assert {} == {path: wide for path, wide in found.items() if wide}


async def dark_is_dark(page: Page, _: World) -> None:
    await page.goto("/")
    brightness = """() => getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).slice(0, 3)
        .reduce((sum, each) => sum + Number(each), 0)"""
    assert await page.evaluate(brightness) > 600
    await page.emulate_media(color_scheme="dark")
    assert await page.evaluate(brightness) < 150
    await page.emulate_media(color_scheme="light")


async def keyboard_is_enough(page: Page, _: World) -> None:
    focused = "() => (document.activeElement.textContent || document.activeElement.name || '').trim()"
    await page.goto("/")
    await page.keyboard.press("Tab")
    assert "Skip to the content" == await page.evaluate(focused)
    await expect(page.get_by_text("Skip to the content")).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await expect(page.locator("#content")).to_be_focused()
    await page.goto("/")
    passed = []
    while "Events" not in passed:
        await page.keyboard.press("Tab")
        passed.append(await page.evaluate(focused))
        assert len(passed) < 20, passed
    assert passed.index("Overview") < passed.index("Customers") < passed.index("Events")
    # Seen, too: what has the focus has an outline.
    assert "none" != await page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1, name="Events")).to_be_visible()
    for _tabs in range(40):
        await page.keyboard.press("Tab")
        if await page.evaluate("() => document.activeElement.name") == "text":
            break
    await page.keyboard.type("evt_nowhere")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("No such event.")).to_be_visible()
    assert "text=evt_nowhere" in page.url


async def logging_out_closes_it(page: Page, _: World) -> None:
    await page.goto("/console/events")
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_label("Admin token")).to_be_visible()
    await page.goto("/console/events")
    await expect(page.get_by_label("Admin token")).to_be_visible()


STEPS: tuple[Step, ...] = (
    wrong_token_is_refused,
    right_token_opens_the_overview,
    search_finds_a_customer_with_its_timeline,
    parked_event_is_replayed,
    backfill_runs_to_its_end,
    audit_proves_equality,
    alarm_is_cleared,
    every_page_is_accessible,
    every_page_fits_a_phone,
    dark_is_dark,
    keyboard_is_enough,
    logging_out_closes_it,
)


async def test_an_operators_day(
    database_url: str, redis_url: str, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """Each step does what it says, with the real web process and worker, before a sandbox account."""
    async with (
        open_world(
            database_url=database_url, redis_url=redis_url, folder=tmp_path, customers=0, stories_every=12
        ) as world,
        open_browser() as browser,
    ):
        page = await open_page(browser, world.system.base_url)
        for step in STEPS:
            with subtests.test(step.__name__):
                await step(page, world)
