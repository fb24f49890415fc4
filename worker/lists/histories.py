"""Histories: what happened to a customer before its first event reached us, read from Stripe's lists.

A page draws its tick before its request, as any read does, and its objects pass the same fence. Only when every list
was read to its end is the customer complete.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import quote

import structlog

from billing.kinds.checkout import CheckoutSession
from billing.kinds.payments import Charge
from billing.kinds.registry import KINDS
from db.connection import Pool, PostgresAway
from db.keys import Key
from db.sync.accounts import clear_alarms
from db.sync.entitlements import has_features
from db.sync.histories import (
    DueHistory,
    claim_histories,
    drop_unknown,
    finish_history,
    postpone_history,
    release_histories,
)
from db.sync.objects import mark_objects
from db.sync.refusals import WHOLE_ACCOUNT, is_deleted, select_refusals
from runtime.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable
from worker.leases import Held, holding
from worker.live.answers import Answered
from worker.live.closed import kind_refused, say_closed, say_forbidden
from worker.live.fence import ask_again, store_safely
from worker.live.marks import bare_mark
from worker.live.pages import each_page
from worker.live.reads import read_now, read_rest
from worker.payload import said_by
from worker.retry import backoff_seconds

BATCH = 8
LEASE = timedelta(minutes=5)
CLOSED_AGAIN_AFTER = timedelta(hours=1)
"""Of an account that has taken its access back; once it can be read again, they are due at once."""

ACCOUNT_PREFIX = "acct_"
"""How the id of an Account (v2) begins, which may stand where a customer's would."""

log = structlog.get_logger()

# What a customer's record depends on and a list of the customer holds. Nested lists that Stripe cuts are read by id.
LISTS = ("subscription", "subscription_schedule", "invoice", "charge", "credit_note", "checkout_session")


async def pull_histories(
    pool: Pool, stripe: StripeApi, *, live_mode: bool, held: Held[DueHistory] | None = None
) -> int:
    """Pull the histories that are due; returns how many were begun. `held` notes them while they are."""
    async with pool.acquire() as connection:
        due = await claim_histories(connection, live_mode=live_mode, limit=BATCH, lease=LEASE)
        closed = {
            each.account_id: each.error
            for each in await select_refusals(connection, live_mode=live_mode)
            if due and each.kind == WHOLE_ACCOUNT
        }
        for history in due:
            if said := closed.get(history.key.account_id):
                await postpone_history(connection, history, error=said, retry_after=CLOSED_AGAIN_AFTER)
    asked = [history for history in due if history.key.account_id not in closed]
    with holding(held, asked):
        pulls = [asyncio.create_task(_pull_safely(pool, stripe, history)) for history in asked]
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
            if history.key.account_id and isinstance(error, StripeRefused) and error.account_is_closed:
                await say_closed(connection, history.key.scope, object_id=history.key.id, error=said)
            if isinstance(error, StripeMissing) and await drop_unknown(connection, history.key):
                return
            await postpone_history(connection, history, error=said, retry_after=timedelta(seconds=seconds))


async def pull_history(pool: Pool, stripe: StripeApi, history: DueHistory) -> None:
    """Read every list of one customer through the fence, then call it complete.

    Raises StripeError and UnknownShape; what was stored until then stays.
    """
    customer_id = history.key.id
    if customer_id.startswith(ACCOUNT_PREFIX):
        await _pull_lists_of_account(pool, stripe, history)
    else:
        deleted = await _read_customer(pool, stripe, history)
        try:
            await _pull_lists(pool, stripe, history)
        except (StripeMissing, StripeRefused) as refused:
            # Stripe may know nothing more of a deleted customer: then there is nothing more to be read.
            if not deleted or (isinstance(refused, StripeRefused) and refused.status != 400):
                raise
            log.info("a deleted customer has no lists", customer=customer_id, error=str(refused))
    async with pool.acquire() as connection:
        if not await finish_history(connection, history):
            # It began in another incarnation of the database: it is begun again.
            await release_histories(connection, [history])
            return
    log.info("history pulled", customer=customer_id)


@dataclass(slots=True)
class _Seen:
    """What the lists of a customer have named."""

    disputed: list[str] = field(default_factory=list)
    """Charges."""
    charged: set[str | None] = field(default_factory=set)
    """PaymentIntents of charges."""
    checked_out: set[str] = field(default_factory=set)
    """PaymentIntents of completed Checkout sessions."""

    def note(self, facts: object) -> None:
        match facts:
            case Charge():
                self.charged.add(facts.payment_intent_id)
                if facts.disputed:
                    self.disputed.append(facts.id)
            case CheckoutSession(status="complete", payment_intent_id=str(intent_id)):
                self.checked_out.add(intent_id)
            case _:
                pass


async def _pull_lists(pool: Pool, stripe: StripeApi, history: DueHistory) -> None:
    seen = _Seen()
    for kind in LISTS:
        await _read_list(pool, stripe, history, kind, f"customer={quote(history.key.id, safe='')}", seen)
    # A guest's charge names no customer, so it is in none of the lists: its session does.
    for intent_id in sorted(seen.checked_out - seen.charged):
        await _read_charges_of(pool, stripe, history, intent_id, seen)
    await _read_disputes(pool, stripe, history, seen)
    async with pool.acquire() as connection:
        entitles = await has_features(connection, history.key.scope)
    if entitles:
        await _read_by_id(pool, stripe, history, "active_entitlement_summary")


async def _pull_lists_of_account(pool: Pool, stripe: StripeApi, history: DueHistory) -> None:
    """The lists of a customer that is an Account (v2): there is no customer to be read, and its charges are listed by
    their payment intents only.
    """
    whose = f"customer_account={quote(history.key.id, safe='')}"
    seen = _Seen()
    for kind in LISTS:
        if kind != "charge":
            await _read_list(pool, stripe, history, kind, whose, seen)
    path = f"{KINDS['payment_intent'].list_path}?{whose}"
    async with _saying_forbidden(pool, history, "payment_intent"):
        intents = await read_rest(stripe, path, None, account_id=history.key.account_id)
    for intent in intents:
        await _read_charges_of(pool, stripe, history, str(intent["id"]), seen)
    await _read_disputes(pool, stripe, history, seen)


async def _read_charges_of(
    pool: Pool, stripe: StripeApi, history: DueHistory, intent_id: str, seen: _Seen
) -> None:
    of_intent = f"payment_intent={quote(intent_id, safe='')}"
    await _read_list(pool, stripe, history, "charge", of_intent, seen)


async def _read_disputes(pool: Pool, stripe: StripeApi, history: DueHistory, seen: _Seen) -> None:
    for charge_id in seen.disputed:
        await _read_list(pool, stripe, history, "dispute", f"charge={quote(charge_id, safe='')}", seen)


async def _read_customer(pool: Pool, stripe: StripeApi, history: DueHistory) -> bool:
    """Read the customer itself; True if it is deleted, also if Stripe has forgotten it since."""
    try:
        return await _read_by_id(pool, stripe, history, "customer")
    except StripeMissing:
        async with pool.acquire() as connection:
            if not await is_deleted(connection, Key(*history.key.scope, "customer", history.key.id)):
                raise
        return True


@asynccontextmanager
async def _saying_forbidden(pool: Pool, history: DueHistory, kind: str) -> AsyncIterator[None]:
    """Alarm if the key lacks the right to read this kind, and take the alarm back once it has it."""
    key = Key(*history.key.scope, kind, history.key.id)
    try:
        yield
    except StripeRefused as refused:
        if refused.forbidden and not (key.account_id and refused.account_is_closed):
            async with pool.acquire() as connection:
                await say_forbidden(connection, key, error=said_by(refused))
        raise
    async with pool.acquire() as connection:
        await clear_alarms(connection, [kind_refused(key)])


async def _read_list(
    pool: Pool, stripe: StripeApi, history: DueHistory, kind: str, whose: str, seen: _Seen
) -> None:
    """Read a list to its end, storing each page and noting what its objects name. An object that cannot be stored as it
    came is left to a read by its id.
    """
    account_id, live_mode, customer_id = history.key
    pages = each_page(pool, stripe, KINDS[kind], account_id=account_id, live_mode=live_mode, variant=whose)
    async with _saying_forbidden(pool, history, kind):
        async for page in pages:
            for each in (*page.answers, *page.cut):
                seen.note(each.parsed.facts)
            await _store(
                pool, page.answers, {*page.unreadable, *(each.key for each in page.cut)}, customer_id
            )


async def _store(pool: Pool, answers: Sequence[Answered], unread: Collection[Key], customer_id: str) -> None:
    async with pool.acquire() as connection:
        failures = await store_safely(connection, list(answers), source="backfill")
        await ask_again(connection, [each for each in failures if each.answered])
        marked = sorted({*unread, *(each.key for each in failures if not each.answered)})
        if marked:
            # They belong to this customer: until they are read, it is not exact.
            marks = [bare_mark(key, source="backfill", customer_id=customer_id) for key in marked]
            await mark_objects(connection, marks)


async def _read_by_id(pool: Pool, stripe: StripeApi, history: DueHistory, kind: str) -> bool:
    """Read and store one object; True if Stripe says that it is deleted."""
    async with _saying_forbidden(pool, history, kind):
        answer = await read_now(pool, stripe, Key(*history.key.scope, kind, history.key.id))
    await _store(pool, [answer], (), history.key.id)
    return answer.parsed.deleted
