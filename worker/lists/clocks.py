"""Test clocks: Stripe's lists of customers and subscriptions leave out what is on one, unless that clock is named.

So a backfill and an audit of test mode ask for the clocks, and for what is on each. A clock holds a few customers at
most, and is deleted with them after 30 days.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import quote

import structlog

from billing.kinds.registry import KINDS
from db.sync.histories import want_clock_histories
from db.sync.objects import mark_objects, postpone_reads
from db.sync.scans import Scan, move_scan
from runtime.stripe_api import StripeMissing, StripeRefused
from worker.lists.pages import PAGE, Page, each_page
from worker.lists.steps import HOLD, Helpers
from worker.live.fence import store_answers
from worker.live.marks import bare_mark
from worker.live.reads import read_rest
from worker.retry import retry_conflicts

STEP = "clocks"
LIST_PATH = "/v1/test_helpers/test_clocks"

log = structlog.get_logger()


async def clocks_of(helpers: Helpers, scan: Scan) -> tuple[list[str], str | None]:
    """The test clocks of the account, and what Stripe said where it does not tell them; live mode has none.

    Raises StripeUnavailable and NotJson.
    """
    if scan.live_mode:
        return [], None
    try:
        clocks = await read_rest(helpers.stripe, LIST_PATH, None, account_id=scan.account_id)
    except (StripeMissing, StripeRefused) as refused:
        log.warning("test clocks are not told", scan=scan.id, error=str(refused))
        return [], f"customers on test clocks were not asked for: {refused}"
    return sorted(str(each["id"]) for each in clocks), None


async def each_clock(
    helpers: Helpers, scan: Scan, do: Callable[[str], Awaitable[None]], *, then: str
) -> bool:
    """Do something with every clock, while there is time; True once all are done and the scan is at the step `then`."""
    after = scan.step_cursor if scan.step == STEP else ""
    clocks, _ = await clocks_of(helpers, scan)
    left = [clock for clock in clocks if clock > after]
    for place, clock in enumerate(left, start=1):
        await do(clock)
        wait = {} if helpers.over() else {"wait": HOLD}
        async with helpers.pool.acquire() as connection:
            await move_scan(connection, scan.id, step=STEP, cursor=clock, **wait)
        if not wait and place < len(left):
            return False
    async with helpers.pool.acquire() as connection:
        await move_scan(connection, scan.id, step=then)
    return True


async def pages_of(helpers: Helpers, scan: Scan, clock: str, kind: str) -> list[Page]:
    """What of a kind is on a clock; nothing where the clock has been deleted meanwhile.

    Raises what StripeApi.read raises, and NotJson.
    """
    pages: list[Page] = []
    try:
        async for page in each_page(
            helpers.pool,
            helpers.stripe,
            KINDS[kind],
            account_id=scan.account_id,
            live_mode=scan.live_mode,
            variant=f"test_clock={quote(clock, safe='')}",
            cut_lists_max=PAGE,
        ):
            unread = {**page.unreadable, **{each.key: each.parsed.customer_id for each in page.cut}}
            if unread:
                marks = [bare_mark(key, source=scan.purpose, customer_id=unread[key]) for key in unread]
                async with helpers.pool.acquire() as connection:
                    await mark_objects(connection, marks)
            pages.append(page)
    except (StripeMissing, StripeRefused) as refused:
        if isinstance(refused, StripeRefused) and refused.status != 400:
            raise
        log.info("test clock is gone", clock=clock, error=str(refused))
    return pages


async def fill_clocks(helpers: Helpers, scan: Scan, *, then: str) -> None:
    """Store who is on the account's test clocks, and then go to the step `then`. Safe to do again.

    What else is theirs comes with their histories, which are pulled also of those who were complete before.
    """

    async def fill(clock: str) -> None:
        for page in await pages_of(helpers, scan, clock, "customer"):
            if not page.answers:
                continue
            answers = list(page.answers)
            async with helpers.pool.acquire() as connection:
                doubted = await retry_conflicts(
                    lambda: store_answers(connection, answers, source="backfill", of_whole=scan.whole)  # noqa: B023
                )
                if doubted:
                    await postpone_reads(connection, doubted)

    if await each_clock(helpers, scan, fill, then=then):
        async with helpers.pool.acquire() as connection:
            await want_clock_histories(connection, scan.account_id, live_mode=scan.live_mode)
