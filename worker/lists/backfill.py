"""Backfill: an account's lists, page by page, pass the fence into the mirror; customers are derived at the end.

A backfill of everything stores its pages and marks nothing else: an object that one page names comes with another
page. Only objects that were in no list are read by their ids afterwards. Then all customers are called complete and
derived, a few hundred at a time, so that webhooks never wait behind them.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote

import structlog

from billing.kinds.registry import KINDS, LIST_CONFIRMED
from db.connection import Connection
from db.keys import CustomerKey, Key
from db.sync.audits import Unread, count_pending_reads, note_unread, select_still_unread
from db.sync.coverage import (
    MARK_REFERENCES,
    Hole,
    cover_customers,
    mark_references,
    select_history,
    select_holes,
)
from db.sync.histories import HISTORY_ATTEMPTS_MAX, select_clock_histories, want_history
from db.sync.objects import mark_objects
from db.sync.scans import Scan, finish_scan
from runtime.retry import TryLater, retry_conflicts
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
from worker.live.fence import ask_again, store_answers
from worker.live.marks import bare_mark

NOT_UNDERSTOOD = "its shape in a list is not understood"
READ_WITHIN = timedelta(minutes=1)
"""So long a backfill waits, at its end, for the reads by id of what its lists could not tell."""

log = structlog.get_logger()


async def store_answers_of(
    connection: Connection, scan: Scan, answers: Sequence[Answered], *, singly: bool
) -> None:
    """Pass the objects of pages through the fence, in the caller's transaction. `singly`: one that cannot be stored
    costs only itself, and is left to a read by its id, which reports the error.
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
            log.error(
                "object not stored",
                account=answer.key.account_id,
                kind=answer.key.kind,
                id=answer.key.id,
                error=repr(error),
            )
            mark = bare_mark(answer.key, source="backfill", customer_id=answer.parsed.customer_id)
            await mark_objects(connection, [mark])
            await note_unread(connection, scan, [Unread(answer.key.kind, answer.key.id, repr(error))])


async def _store(connection: Connection, scan: Scan, answers: list[Answered]) -> None:
    if answers:
        strange: set[Key] = set()
        doubted = await store_answers(
            connection, answers, source="backfill", of_whole=scan.whole, not_understood=strange
        )
        await ask_again(connection, doubted)
        await note_unread(
            connection, scan, [Unread(key.kind, key.id, NOT_UNDERSTOOD) for key in sorted(strange)]
        )


async def step_backfill(turn: Turn, scan: Scan) -> None:
    """Do the scan's next step after its lists, bounded in time; each is safe to do again."""
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
            if not await _still_reading(turn, scan):
                await _finish(turn, scan, holes=await _holes(turn, scan))


async def _mark_references(turn: Turn, scan: Scan) -> None:
    """Mark the objects that are named and were in no list, to be read by their ids, one column after another."""
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
    """Call the customers complete, if every list that records depend on was read to its end, and derive them.

    Each batch is derived before the next is marked: a customer that a webhook marks meanwhile waits for one batch at
    most. If something is missing, each customer's own history is pulled instead.
    """
    holes = await _holes(turn, scan)
    read_all = scan.unread is None and all(hole.kind in LIST_CONFIRMED for hole in holes)
    complete = scan.status == "running" and read_all
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
            if not await _still_reading(turn, scan, cursor=after):
                await _finish(turn, scan, holes=holes)
            return
        after = last
    await turn.stay(scan, cursor=after)


async def _wait_for_clocks(turn: Turn, scan: Scan) -> None:
    """Wait for the customers on test clocks, which are read by their own lists: the backfill is complete when they are.

    Where other customers are incomplete anyway, the backfill does not wait for these.
    """
    async with turn.pool.acquire() as connection:
        wanted = await select_clock_histories(
            connection, scan.account_id, live_mode=scan.live_mode, limit=HOLES_NAMED_MAX
        )
        given_up = all(each.attempts >= HISTORY_ATTEMPTS_MAX and each.error for each in wanted)
        if scan.status == "running" and not given_up:
            await stay(connection, scan, wait=timedelta(seconds=1))
            return
    if await _still_reading(turn, scan):
        return
    unread = [f"customer {each.customer_id}, on a test clock: {each.error}" for each in wanted]
    _, withheld = await clocks_of(turn, scan)
    await _finish(turn, scan, holes=await _holes(turn, scan), unread=unread, withheld=withheld)


async def _wait_for_customer(turn: Turn, scan: Scan) -> None:
    """One customer is read as its history is: by its own lists."""
    if scan.customer_id is None:
        raise ValueError(f"scan {scan.id} is of no customer")
    key = CustomerKey(*scan.scope, scan.customer_id)
    if not scan.step_cursor and scan.status == "running":
        # The id was typed by hand: a typo must not create a customer that can never be read.
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


async def _still_reading(turn: Turn, scan: Scan, *, cursor: str = "") -> bool:
    """Whether an object that the lists could not tell is about to be read by its id; then the scan waits a second."""
    async with turn.pool.acquire() as connection:
        if scan.status != "running" or not await count_pending_reads(connection, scan, within=READ_WITHIN):
            return False
        await stay(connection, scan, cursor=cursor, wait=timedelta(seconds=1))
    return True


async def _finish(
    turn: Turn,
    scan: Scan,
    *,
    holes: list[Hole],
    unread: Sequence[str] = (),
    withheld: str | None = None,
) -> None:
    """`unread` customers make it partial, as holes do. What Stripe `withheld` is reported, and leaves it complete; so
    are objects that could not be read, whose customers are not exact.
    """
    async with turn.pool.acquire() as connection:
        count, objects = await select_still_unread(connection, scan, limit=HOLES_NAMED_MAX)
    notes = [*([say_holes(holes)] if holes else []), *unread, *([] if withheld is None else [withheld])]
    if count:
        notes.append(f"{count} objects could not be read, and their customers are not exact")
        notes += [f"{each.kind} {each.id}: {each.error}" for each in objects]
    if scan.unread is not None:
        notes.insert(0, scan.unread)
    error = "; ".join(notes) if notes and scan.status != "canceled" else None
    status = "partial" if holes or unread or scan.unread is not None else "complete"
    async with turn.pool.acquire() as connection:
        await finish_scan(connection, scan.id, status=status, error=error)
    log.info("backfill ended", scan=scan.id, canceled=scan.status == "canceled", holes=len(holes))
