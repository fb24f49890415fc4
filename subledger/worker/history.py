"""History: what happened to a customer before we first heard of it, read from Stripe's lists.

A page draws its tick before its request, as any read does, and its objects pass the same fence. Only when every list
was read to its end is the customer complete.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import structlog

from subledger.billing.facts import Charge
from subledger.billing.parse import UnknownShape, nested_lists, parse_object
from subledger.billing.registry import KINDS
from subledger.db.connection import Connection, Pool, PostgresAway
from subledger.db.queries.entitlements import has_features
from subledger.db.queries.histories import (
    DueHistory,
    claim_histories,
    drop_unknown,
    finish_history,
    postpone_history,
)
from subledger.db.queries.objects import DueRead, Key, Mark, draw_tick, mark_objects, postpone_reads
from subledger.runtime.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable
from subledger.worker.confirm import Answered, read_whole, store_answers
from subledger.worker.in_hand import Held
from subledger.worker.pages import list_query
from subledger.worker.payload import NotJson, as_text, clean_json, read_object
from subledger.worker.retry import backoff_seconds, retry_conflicts

BATCH = 8
LEASE = timedelta(minutes=5)
PAGES_MAX = 10_000

log = structlog.get_logger()

# What a customer's record depends on and a list of the customer holds. Nested lists that Stripe cuts are read by id.
LISTS = ("subscription", "subscription_schedule", "invoice", "charge", "credit_note", "checkout_session")


async def pull_histories(
    pool: Pool, stripe: StripeApi, *, live_mode: bool, in_hand: Held[DueHistory] | None = None
) -> int:
    """Pull the histories that are due; returns how many were begun. `in_hand` notes them while they are."""
    async with pool.acquire() as connection:
        due = await claim_histories(connection, live_mode=live_mode, limit=BATCH, lease=LEASE)
    with (in_hand or Held()).holding(due):
        pulls = [asyncio.create_task(_pull_safely(pool, stripe, history)) for history in due]
        try:
            await asyncio.gather(*pulls)
        finally:
            # What is given back must not run on.
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
    except Exception as error:  # noqa: BLE001 - one customer whom we fail at must never stop another (I7)
        if not isinstance(error, StripeUnavailable):
            seconds = max(seconds, 600.0)
        known = isinstance(error, (StripeUnavailable, StripeMissing, StripeRefused, NotJson, UnknownShape))
        said = str(error) if known else f"an error of ours: {error!r}"
        log.warning("history not pulled", customer=history.key[2], error=said)
        async with pool.acquire() as connection:
            if isinstance(error, StripeMissing) and await drop_unknown(connection, history.key):
                return
            await postpone_history(connection, history, error=said, retry_after=timedelta(seconds=seconds))


async def pull_history(pool: Pool, stripe: StripeApi, history: DueHistory) -> None:
    """Read every list of one customer through the fence, then call it complete.

    Raises StripeUnavailable, StripeMissing or StripeRefused; what was stored until then stays.
    """
    account_id, live_mode, customer_id = history.key
    customer = quote(customer_id, safe="")
    disputed: list[str] = []
    await _read_by_id(pool, stripe, (account_id, live_mode, "customer", customer_id))
    for kind in LISTS:
        path = f"{KINDS[kind].list_path}?customer={customer}&limit=100{list_query(KINDS[kind])}"
        async for answers in _pages(pool, stripe, path, account_id, live_mode):
            disputed += [
                each.parsed.id
                for each in answers
                if isinstance(each.parsed.facts, Charge) and each.parsed.facts.disputed
            ]
    for charge_id in disputed:
        path = f"{KINDS['dispute'].list_path}?charge={quote(charge_id, safe='')}&limit=100"
        async for _ in _pages(pool, stripe, path, account_id, live_mode):
            pass
    async with pool.acquire() as connection:
        entitles = await has_features(connection, (account_id, live_mode))
    if entitles:
        await _read_by_id(pool, stripe, (account_id, live_mode, "active_entitlement_summary", customer_id))
    async with pool.acquire() as connection:
        await finish_history(connection, history)
    log.info("history pulled", customer=customer_id)


async def _pages(
    pool: Pool, stripe: StripeApi, path: str, account_id: str, live_mode: bool
) -> AsyncIterator[list[Answered]]:
    """Read a list to its end, storing each page."""
    after: str | None = None
    for _ in range(PAGES_MAX):
        async with pool.acquire() as connection:
            tick = await draw_tick(connection)
        page_path = path if after is None else f"{path}&starting_after={quote(after, safe='')}"
        answer = await stripe.read(page_path, account_id=account_id)
        page = read_object(clean_json(answer.body))
        data = page.get("data")
        if not isinstance(data, list):
            raise NotJson(f"{path} answered no list")
        answers: list[Answered] = []
        cut: dict[Key, str | None] = {}
        for body in data:
            parsed = parse_object(body)
            key = (account_id, live_mode, parsed.kind, parsed.id)
            if nested_lists(body):
                cut[key] = parsed.customer_id
                continue
            answers.append(
                Answered(key=key, tick=tick, parsed=parsed, raw=as_text(body), answered_at=answer.answered_at)
            )
        async with pool.acquire() as connection:
            await _store(connection, answers, cut)
        yield answers
        after = _last_id(data)
        if page.get("has_more") is not True or after is None:
            return
    raise NotJson(f"{path} did not end after {PAGES_MAX} pages")


async def _store(connection: Connection, answers: list[Answered], cut: Mapping[Key, str | None]) -> None:
    if answers:
        doubted = await retry_conflicts(lambda: store_answers(connection, answers, source="backfill"))
        if doubted:
            await postpone_reads(connection, doubted)
    if cut:
        await mark_objects(connection, [_bare_mark(key, customer_id) for key, customer_id in cut.items()])


async def _read_by_id(pool: Pool, stripe: StripeApi, key: Key) -> None:
    async with pool.acquire() as connection:
        tick = await draw_tick(connection)
    due = DueRead(key=key, tick=tick, attempts=1, never_read=False, deleted_event_at=None)
    answer = await read_whole(stripe, due)
    async with pool.acquire() as connection:
        await _store(connection, [answer], {})


def _bare_mark(key: Key, customer_id: str | None) -> Mark:
    """Wanted, and known to be this customer's: until it is read, the customer is not exact."""
    return Mark(
        key=key,
        customer_id=customer_id,
        nameless=False,
        event_id=None,
        event_created=None,
        source="backfill",
    )


def _last_id(data: list[Any]) -> str | None:
    last = data[-1].get("id") if data and isinstance(data[-1], dict) else None
    return last if isinstance(last, str) else None
