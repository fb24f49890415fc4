"""Test clocks: Stripe's lists of customers and subscriptions leave out those on a clock, unless that clock is named.

So a backfill and an audit of test mode list the clocks, and the objects on each. A clock holds a few customers at
most, and is deleted with them after 30 days.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from urllib.parse import quote

import structlog

from billing.kinds.registry import KINDS
from db.sync.histories import want_clock_histories
from db.sync.objects import mark_objects
from db.sync.scans import Scan
from runtime.retry import retry_conflicts
from runtime.stripe_api import StripeMissing, StripeRefused
from worker.lists.steps import HOLD, Turn
from worker.live.fence import ask_again, store_answers
from worker.live.marks import bare_mark
from worker.live.pages import PAGE, Page, each_page
from worker.live.reads import read_rest

LIST_PATH = "/v1/test_helpers/test_clocks"

log = structlog.get_logger()


async def clocks_of(turn: Turn, scan: Scan) -> tuple[list[str], str | None]:
    """The test clocks of the account, and why Stripe does not list them if it refuses; live mode has none.

    Raises StripeUnavailable and NotJson.
    """
    if scan.live_mode:
        return [], None
    try:
        clocks = await read_rest(turn.stripe, LIST_PATH, None, account_id=scan.account_id)
    except (StripeMissing, StripeRefused) as refused:
        log.warning("test clocks refused", scan=scan.id, error=str(refused))
        return [], f"customers on test clocks were not asked for: {refused}"
    return sorted(str(each["id"]) for each in clocks), None


async def each_clock(
    turn: Turn,
    scan: Scan,
    do: Callable[[str], Awaitable[None]],
    *,
    refused: Callable[[str], Awaitable[None]] | None = None,
) -> bool:
    """Call `do` with every clock, while there is time; True once all are done and the scan is at its next step.

    `refused` is called with the reason if Stripe does not list the clocks.
    """
    after = scan.step_cursor
    clocks, withheld = await clocks_of(turn, scan)
    if withheld is not None and refused is not None:
        await refused(withheld)
    left = [clock for clock in clocks if clock > after]
    for place, clock in enumerate(left, start=1):
        await do(clock)
        over = turn.over()
        await turn.stay(scan, cursor=clock, wait=timedelta(0) if over else HOLD)
        if over and place < len(left):
            return False
    await turn.go_on(scan)
    return True


async def pages_of(turn: Turn, scan: Scan, clock: str, kind: str) -> list[Page]:
    """The objects of a kind on a clock; none if the clock has been deleted meanwhile.

    Raises StripeError.
    """
    pages: list[Page] = []
    try:
        async for page in each_page(
            turn.pool,
            turn.stripe,
            KINDS[kind],
            account_id=scan.account_id,
            live_mode=scan.live_mode,
            variant=f"test_clock={quote(clock, safe='')}",
            cut_lists_max=PAGE,
        ):
            unread = {**page.unreadable, **{each.key: each.parsed.customer_id for each in page.cut}}
            if unread:
                marks = [bare_mark(key, source=scan.purpose, customer_id=unread[key]) for key in unread]
                async with turn.pool.acquire() as connection:
                    await mark_objects(connection, marks)
            pages.append(page)
    except (StripeMissing, StripeRefused) as refused:
        if (isinstance(refused, StripeRefused) and refused.status != 400) or not await _is_gone(
            turn, scan, clock
        ):
            raise
        log.info("test clock is gone", clock=clock, error=str(refused))
    return pages


async def _is_gone(turn: Turn, scan: Scan, clock: str) -> bool:
    """Whether Stripe no longer lists a clock: only then does its refusal to list the objects on it prove anything."""
    clocks, withheld = await clocks_of(turn, scan)
    return withheld is None and clock not in clocks


async def fill_clocks(turn: Turn, scan: Scan) -> None:
    """Store the customers on the account's test clocks, and then go to the next step. Safe to do again.

    Their other objects come with their histories, which are pulled even for customers that were complete before.
    """

    async def fill(clock: str) -> None:
        for page in await pages_of(turn, scan, clock, "customer"):
            if not page.answers:
                continue
            answers = list(page.answers)
            async with turn.pool.acquire() as connection:
                doubted = await retry_conflicts(
                    lambda: store_answers(connection, answers, source="backfill", of_whole=scan.whole)  # noqa: B023
                )
                await ask_again(connection, doubted)

    if await each_clock(turn, scan, fill):
        async with turn.pool.acquire() as connection:
            await want_clock_histories(connection, scan.account_id, live_mode=scan.live_mode)
