"""Histories: what happened to a customer before its first event reached us, read from Stripe's lists.

A page draws its tick before its request, as any read does, and its objects pass the same fence. Only when every list
was read to its end is the customer complete.
"""

import asyncio
from collections.abc import Collection, Sequence
from datetime import timedelta
from urllib.parse import quote

import structlog

from billing.kinds.payments import Charge
from billing.kinds.registry import KINDS
from db.connection import Pool, PostgresAway
from db.keys import Key
from db.sync.entitlements import has_features
from db.sync.histories import DueHistory, claim_histories, drop_unknown, finish_history, postpone_history
from db.sync.objects import mark_objects
from runtime.stripe_api import StripeApi, StripeMissing, StripeUnavailable
from worker.leases import Held, holding
from worker.lists.pages import each_page
from worker.live.answers import Answered
from worker.live.fence import ask_again, store_safely
from worker.live.marks import bare_mark
from worker.live.reads import read_now
from worker.payload import said_by
from worker.retry import backoff_seconds

BATCH = 8
LEASE = timedelta(minutes=5)

log = structlog.get_logger()

# What a customer's record depends on and a list of the customer holds. Nested lists that Stripe cuts are read by id.
LISTS = ("subscription", "subscription_schedule", "invoice", "charge", "credit_note", "checkout_session")


async def pull_histories(
    pool: Pool, stripe: StripeApi, *, live_mode: bool, held: Held[DueHistory] | None = None
) -> int:
    """Pull the histories that are due; returns how many were begun. `held` notes them while they are."""
    async with pool.acquire() as connection:
        due = await claim_histories(connection, live_mode=live_mode, limit=BATCH, lease=LEASE)
    with holding(held, due):
        pulls = [asyncio.create_task(_pull_safely(pool, stripe, history)) for history in due]
        try:
            await asyncio.gather(*pulls)
        finally:
            # A pull whose lease is given back must not run on.
            for pull in pulls:
                pull.cancel()
            await asyncio.gather(*pulls, return_exceptions=True)
    return len(due)


async def _pull_safely(pool: Pool, stripe: StripeApi, history: DueHistory) -> None:
    seconds = backoff_seconds(history.attempts, longest=3600.0)
    try:
        await pull_history(pool, stripe, history)
    except PostgresAway:
        raise  # it is given back
    except Exception as error:  # noqa: BLE001 - one customer's failure must never stop another (I7)
        if not isinstance(error, StripeUnavailable):
            seconds = max(seconds, 600.0)
        said = said_by(error)
        log.warning("history not pulled", customer=history.key.id, error=said)
        async with pool.acquire() as connection:
            if isinstance(error, StripeMissing) and await drop_unknown(connection, history.key):
                return
            await postpone_history(connection, history, error=said, retry_after=timedelta(seconds=seconds))


async def pull_history(pool: Pool, stripe: StripeApi, history: DueHistory) -> None:
    """Read every list of one customer through the fence, then call it complete.

    Raises StripeError and UnknownShape; what was stored until then stays.
    """
    customer_id = history.key.id
    customer = quote(customer_id, safe="")
    disputed: list[str] = []
    await _read_by_id(pool, stripe, history, "customer")
    for kind in LISTS:
        disputed += await _read_list(pool, stripe, history, kind, f"customer={customer}")
    for charge_id in disputed:
        await _read_list(pool, stripe, history, "dispute", f"charge={quote(charge_id, safe='')}")
    async with pool.acquire() as connection:
        entitles = await has_features(connection, history.key.scope)
    if entitles:
        await _read_by_id(pool, stripe, history, "active_entitlement_summary")
    async with pool.acquire() as connection:
        await finish_history(connection, history)
    log.info("history pulled", customer=customer_id)


async def _read_list(pool: Pool, stripe: StripeApi, history: DueHistory, kind: str, whose: str) -> list[str]:
    """Read a list to its end, storing each page; returns the disputed charges among its objects. An object that cannot
    be stored as it came is left to a read by its id.
    """
    account_id, live_mode, customer_id = history.key
    disputed: list[str] = []
    pages = each_page(pool, stripe, KINDS[kind], account_id=account_id, live_mode=live_mode, variant=whose)
    async for page in pages:
        parsed = [each.parsed for each in (*page.answers, *page.cut)]
        disputed += [each.id for each in parsed if isinstance(each.facts, Charge) and each.facts.disputed]
        await _store(pool, page.answers, {*page.unreadable, *(each.key for each in page.cut)}, customer_id)
    return disputed


async def _store(pool: Pool, answers: Sequence[Answered], unread: Collection[Key], customer_id: str) -> None:
    async with pool.acquire() as connection:
        failures = await store_safely(connection, list(answers), source="backfill")
        await ask_again(connection, [each for each in failures if each.answered])
        marked = sorted({*unread, *(each.key for each in failures if not each.answered)})
        if marked:
            # They belong to this customer: until they are read, it is not exact.
            marks = [bare_mark(key, source="backfill", customer_id=customer_id) for key in marked]
            await mark_objects(connection, marks)


async def _read_by_id(pool: Pool, stripe: StripeApi, history: DueHistory, kind: str) -> None:
    answer = await read_now(pool, stripe, Key(*history.key.scope, kind, history.key.id))
    await _store(pool, [answer], (), history.key.id)
