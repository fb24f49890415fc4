"""Entitlements, read customer by customer by backfills and audits: Stripe has no list of them all."""

import asyncio
from collections.abc import Sequence

import structlog

from db.connection import Pool
from db.keys import Key
from db.sync.audits import Unread, note_unread
from db.sync.entitlements import select_entitled, select_unread_accounts
from db.sync.objects import mark_objects
from db.sync.scans import Scan
from runtime.payload import ReadFailures
from runtime.scan_requests import ask_for_scan, read_request
from runtime.stripe_api import StripeRefused, StripeUnavailable
from worker.lists.steps import HOLD, READS_AT_ONCE, Turn, stay
from worker.live.answers import Answered
from worker.live.fence import ask_again, store_safely
from worker.live.marks import bare_mark
from worker.live.reads import read_now

KIND = "active_entitlement_summary"
OUTAGE_TRIES = 6
"""How often the last few customers are tried again, for about a minute, while none of them is answered; then they are
only marked. A full round of them that is not answered counts as an outage every time, until the step is given up."""

log = structlog.get_logger()


async def ask_for_entitlements(pool: Pool, *, live_mode: bool) -> int:
    """Request backfills of entitlements for accounts that turn out to have features; returns how many were requested.

    Customers seen before the first feature were never asked about, and Stripe sends a summary only when it changes.
    """
    async with pool.acquire() as connection, connection.transaction():
        accounts = await select_unread_accounts(connection, live_mode=live_mode)
        for account_id in accounts:
            request = read_request({"objects": [KIND], "account": account_id})
            await ask_for_scan(connection, request, live_mode=live_mode)
    return len(accounts)


async def entitled_after(turn: Turn, scan: Scan, after: str) -> list[str]:
    """The next customers whose entitlements are to be read, at most as many as are read at once."""
    async with turn.pool.acquire() as connection:
        return await select_entitled(connection, scan.scope, after, limit=READS_AT_ONCE)


async def fill_entitlements(turn: Turn, scan: Scan) -> None:
    """Read all customers' entitlements through the fence, and then go to the next step. Safe to do again.

    They are read in the bulk lane, since an account may have very many: if they were marked, they would all be ahead of
    the marks of webhooks. Only one that cannot be read is marked, and its read by id then reports the error. Raises
    StripeUnavailable and StripeRefused if no customer's entitlements are answered.
    """
    after = scan.step_cursor
    while not turn.over():
        customers = await entitled_after(turn, scan, after)
        if not customers:
            await turn.go_on(scan)
            return
        found = await asyncio.gather(*(_read(turn, scan, customer_id) for customer_id in customers))
        answers = [each for each in found if isinstance(each, Answered)]
        errors = [each for each in found if not isinstance(each, Answered)]
        if not answers and _is_outage(errors, attempts=scan.attempts):
            raise errors[0]
        unread = [
            each for each, answer in zip(customers, found, strict=True) if not isinstance(answer, Answered)
        ]
        async with turn.pool.acquire() as connection:
            failures = await store_safely(connection, answers, source="backfill", of_whole=scan.whole)
            await ask_again(connection, [each for each in failures if each.answered])
            unread += [each.key.id for each in failures if not each.answered]
            if unread:
                scope = scan.scope
                marks = [
                    bare_mark(Key(*scope, KIND, customer_id), source="backfill") for customer_id in unread
                ]
                await mark_objects(connection, marks)
                await note_unread(connection, scan, [Unread(KIND, each, "not answered") for each in unread])
            after = customers[-1]
            await stay(connection, scan, cursor=after, wait=HOLD)
    await turn.stay(scan, cursor=after)


def _is_outage(errors: Sequence[Exception], *, attempts: int) -> bool:
    """Whether all these reads failed because of Stripe, or the key, and not because of these few customers."""
    if all(isinstance(each, StripeRefused) and each.status in (401, 403) for each in errors):
        return True
    if not all(isinstance(each, StripeUnavailable) for each in errors):
        return False
    busy = any(isinstance(each, StripeUnavailable) and each.limited_by is not None for each in errors)
    return busy or len(errors) == READS_AT_ONCE or attempts < OUTAGE_TRIES


async def _read(turn: Turn, scan: Scan, customer_id: str) -> Answered | Exception:
    """One customer's entitlements, or why they cannot be read, though others perhaps can."""
    try:
        return await read_now(turn.pool, turn.stripe, Key(*scan.scope, KIND, customer_id))
    except ReadFailures as error:
        log.warning("entitlements not read", customer=customer_id, error=str(error))
        return error
