"""Backfill: an account's lists, page by page, pass the fence into the mirror; customers are derived at the end.

A backfill of everything stores what its pages hold and marks nothing beside them: what one page names comes with
another. Only what no list held is read by its id afterwards. Then all customers are called complete and derived, some
hundred at a time, so that webhooks never wait behind them.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote

import structlog

from billing.kinds.registry import KINDS, LIST_CONFIRMED
from db.connection import Connection
from db.keys import CustomerKey
from db.sync.coverage import (
    MARK_REFERENCES,
    Hole,
    cover_customers,
    mark_references,
    select_history,
    select_holes,
)
from db.sync.histories import HISTORY_ATTEMPTS_MAX, select_clock_histories, want_history
from db.sync.objects import mark_objects, postpone_reads
from db.sync.scans import Scan, finish_scan
from runtime.stripe_api import StripeMissing
from worker.lists.clocks import clocks_of, fill_clocks
from worker.lists.entitlements import fill_entitlements
from worker.lists.steps import (
    CUSTOMERS_AT_ONCE,
    HOLD,
    HOLES_NAMED_MAX,
    Step,
    Turn,
    bounds_of,
    next_step,
    say_holes,
    stay,
    step_of,
)
from worker.live.answers import Answered
from worker.live.fence import store_answers
from worker.live.marks import bare_mark
from worker.retry import TryLater, retry_conflicts

log = structlog.get_logger()


async def store_answers_of(
    connection: Connection, scan: Scan, answers: Sequence[Answered], *, singly: bool
) -> None:
    """Pass what pages hold through the fence, in the caller's transaction. `singly`: what cannot be stored costs only
    itself, and is left to be read by its id, which tells what is wrong with it.
    """
    if not singly:
        await _store(connection, scan, list(answers))
        return
    for answer in answers:
        try:
            async with connection.transaction():
                await _store(connection, scan, [answer])
        except TryLater:
            raise
        except Exception as error:  # noqa: BLE001 - one bad object must never stop another (I7)
            log.error("object not stored", kind=answer.key.kind, id=answer.key.id, error=repr(error))
            mark = bare_mark(answer.key, source="backfill", customer_id=answer.parsed.customer_id)
            await mark_objects(connection, [mark])


async def _store(connection: Connection, scan: Scan, answers: list[Answered]) -> None:
    if answers:
        doubted = await store_answers(connection, answers, source="backfill", of_whole=scan.whole)
        if doubted:
            await postpone_reads(connection, doubted)


async def step_backfill(turn: Turn, scan: Scan) -> None:
    """Do what comes after the lists, one bounded step a call; each is safe to do again."""
    step = step_of(scan)
    if step is not None and step != scan.step:  # it was canceled
        scan = replace(scan, step=step, step_cursor="")
    match step:
        case Step.CUSTOMER:
            await _wait_for_customer(turn, scan)
        case Step.LISTS if next_step(scan) is not None:
            await turn.go_on(scan)
        case Step.ENTITLEMENTS:
            await fill_entitlements(turn, scan)
        case Step.REFERENCES:
            await _mark_references(turn, scan)
        case Step.CLOCKS:
            await fill_clocks(turn, scan)
        case Step.CUSTOMERS:
            await _cover_customers(turn, scan)
        case Step.CLOCK_HISTORIES:
            await _wait_for_clocks(turn, scan)
        case _:
            await _finish(turn, scan, holes=await _holes(turn, scan))


async def _mark_references(turn: Turn, scan: Scan) -> None:
    """Have read by id what was named and in no list, one column after the other."""
    after = scan.step_cursor
    for column in MARK_REFERENCES:
        if column <= after:
            continue
        if turn.over():
            await turn.stay(scan, cursor=after)
            return
        async with turn.pool.acquire() as connection:
            await mark_references(connection, column, account_id=scan.account_id, live_mode=scan.live_mode)
            await stay(connection, scan, cursor=column, wait=HOLD)
        after = column
    await turn.go_on(scan)


async def _cover_customers(turn: Turn, scan: Scan) -> None:
    """Call the customers complete, where every list that records depend on was read to its end, and derive them.

    Some at a time, each part derived before the next is marked: who is marked by a webhook meanwhile waits for one
    part at most. Where something is missing, each customer's own history is pulled instead.
    """
    holes = await _holes(turn, scan)
    told_all = scan.unread is None and all(hole.kind in LIST_CONFIRMED for hole in holes)
    complete = scan.status == "running" and told_all
    after = scan.step_cursor
    while not turn.over():

        async def cover(after: str = after) -> str | None:
            async with turn.pool.acquire() as connection, connection.transaction():
                last = await cover_customers(
                    connection,
                    scan,
                    complete=complete,
                    after=after,
                    limit=CUSTOMERS_AT_ONCE,
                )
                if last is not None:
                    await stay(connection, scan, cursor=last, wait=HOLD)
                return last

        last = await retry_conflicts(cover)
        await turn.derive()
        if last is None and complete and next_step(scan) is not None:
            await turn.go_on(scan)
            return
        if last is None:
            await _finish(turn, scan, holes=holes)
            return
        after = last
    await turn.stay(scan, cursor=after)


async def _wait_for_clocks(turn: Turn, scan: Scan) -> None:
    """Whoever is on a test clock is read by its own lists: the backfill is complete when all of them are.

    Where others are incomplete anyway nobody waits for these.
    """
    async with turn.pool.acquire() as connection:
        wanted = await select_clock_histories(
            connection, scan.account_id, live_mode=scan.live_mode, limit=HOLES_NAMED_MAX
        )
        given_up = all(each.attempts >= HISTORY_ATTEMPTS_MAX and each.error for each in wanted)
        if scan.status == "running" and not given_up:
            await stay(connection, scan, wait=timedelta(seconds=1))
            return
    unread = [f"customer {each.customer_id}, on a test clock: {each.error}" for each in wanted]
    _, untold = await clocks_of(turn, scan)
    await _finish(turn, scan, holes=await _holes(turn, scan), unread=unread, untold=untold)


async def _wait_for_customer(turn: Turn, scan: Scan) -> None:
    """One customer is read as its history is: by its own lists."""
    if scan.customer_id is None:
        raise ValueError(f"scan {scan.id} is of no customer")
    key = CustomerKey(*scan.scope, scan.customer_id)
    if not scan.step_cursor and scan.status == "running":
        # Asked for by hand: a slip of the pen must not make a customer that nobody can ever read.
        path = KINDS["customer"].retrieve_path.format(id=quote(scan.customer_id, safe=""))
        try:
            await turn.stripe.read(path, account_id=scan.account_id)
        except StripeMissing:
            unknown = f"Stripe knows no customer {scan.customer_id} in this account and mode"
            async with turn.pool.acquire() as connection:
                await finish_scan(connection, scan.id, status="failed", error=unknown)
            return
    async with turn.pool.acquire() as connection:
        if not scan.step_cursor and scan.status == "running":
            await want_history(connection, key)
        wanted, attempts, error = await select_history(connection, key)
        if scan.status == "canceled" or not wanted:
            await finish_scan(connection, scan.id, status="complete", error=None)
        elif attempts >= HISTORY_ATTEMPTS_MAX and error is not None:
            await finish_scan(
                connection, scan.id, status="partial", error=f"customer {scan.customer_id}: {error}"
            )
        else:
            await stay(connection, scan, cursor="wanted", wait=timedelta(seconds=1))


async def _holes(turn: Turn, scan: Scan) -> list[Hole]:
    if scan.horizon is None:
        return []
    low, high = bounds_of(scan, scan.horizon)
    if low >= high:
        return []
    async with turn.pool.acquire() as connection:
        return await select_holes(connection, scan, low=low, high=high)


async def _finish(
    turn: Turn,
    scan: Scan,
    *,
    holes: list[Hole],
    unread: Sequence[str] = (),
    untold: str | None = None,
) -> None:
    """`unread` customers make it partial, as holes do; what is only `untold` is said, and leaves it complete."""
    told = [*([say_holes(holes)] if holes else []), *unread, *([] if untold is None else [untold])]
    if scan.unread is not None:
        told.insert(0, scan.unread)
    error = "; ".join(told) if told and scan.status != "canceled" else None
    status = "partial" if holes or unread or scan.unread is not None else "complete"
    async with turn.pool.acquire() as connection:
        await finish_scan(connection, scan.id, status=status, error=error)
    log.info("backfill ended", scan=scan.id, canceled=scan.status == "canceled", holes=len(holes))
