"""Histories: what happened to a customer before its first event reached us, read from Stripe's lists.

A page draws its tick before its request, as any read does, and its objects pass the same fence. Only when every list
was read to its end is the customer complete.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import quote

import structlog

from billing.kinds.checkout import CheckoutSession
from billing.kinds.payments import Charge, PaymentIntent
from billing.kinds.registry import KINDS, LIST_CONFIRMED
from db.connection import Pool, PostgresAway
from db.keys import Key
from db.sync.accounts import clear_alarms
from db.sync.entitlements import has_features
from db.sync.histories import (
    DueHistory,
    claim_histories,
    drop_unknown,
    finish_histories,
    postpone_history,
    release_histories,
)
from db.sync.objects import mark_objects
from db.sync.refusals import WHOLE_ACCOUNT, is_deleted, select_refusals
from runtime.payload import said_by
from runtime.retry import backoff_seconds, retry_conflicts
from runtime.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable
from worker.leases import Held, holding
from worker.live.answers import Answered
from worker.live.closed import kind_refused, say_closed, say_forbidden
from worker.live.fence import ask_again, store_safely
from worker.live.marks import bare_mark
from worker.live.pages import each_page
from worker.live.reads import read_of, read_whole

BATCH = 16
LEASE = timedelta(minutes=5)
STORED_AT_ONCE = 100
"""Of one history: how many objects are kept in memory before they are stored."""
CLOSED_AGAIN_AFTER = timedelta(hours=1)
"""Of an account that has taken its access back; once it can be read again, they are due at once."""

ACCOUNT_PREFIX = "acct_"
"""How the id of an Account (v2) begins, which may stand where a customer's would."""

log = structlog.get_logger()

# What a customer's record depends on and a list of the customer holds. Nested lists that Stripe cuts are read by id.
LISTS = (
    *("subscription", "subscription_schedule", "invoice", "charge", "credit_note", "checkout_session"),
    "payment_intent",
)


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
        store = _Store(pool)
        pulls = [asyncio.create_task(_pull_safely(pool, stripe, history, store)) for history in asked]
        try:
            pulled = sum(await asyncio.gather(*pulls))
        finally:
            # A pull whose lease is given back must not run on.
            for pull in pulls:
                pull.cancel()
            await asyncio.gather(*pulls, return_exceptions=True)
    if asked:
        log.info("histories pulled", customers=pulled, failed=len(asked) - pulled)
    return len(due)


async def _pull_safely(pool: Pool, stripe: StripeApi, history: DueHistory, store: "_Store") -> bool:
    """Whether it was read to its end; why not is stored with the customer."""
    seconds = backoff_seconds(history.attempts, longest=3600.0)
    try:
        return await _pull(pool, stripe, history, store)
    except PostgresAway:
        raise  # it is given back
    except Exception as error:  # noqa: BLE001 - one customer's failure must never stop another (I7)
        if not isinstance(error, StripeUnavailable):
            seconds = max(seconds, 600.0)
        said = said_by(error)
        log.warning("history not pulled", account=history.key.account_id, customer=history.key.id, error=said)
        async with pool.acquire() as connection:
            if history.key.account_id and isinstance(error, StripeRefused) and error.account_is_closed:
                await say_closed(connection, history.key.scope, object_id=history.key.id, error=said)
            if isinstance(error, StripeMissing) and await drop_unknown(connection, history.key):
                return False
            await postpone_history(connection, history, error=said, retry_after=timedelta(seconds=seconds))
        return False


async def _pull(pool: Pool, stripe: StripeApi, history: DueHistory, store: "_Store") -> bool:
    """Read every list of one customer through the fence, then call it complete; False if it has to be begun again.

    Raises StripeError and UnknownShape; what was read until then is stored.
    """
    pull = _Pull(pool, stripe, history, store)
    try:
        await pull.read_everything()
    except PostgresAway:
        raise
    except Exception:
        await pull.store()
        raise
    return await pull.end()


@dataclass(slots=True)
class _Found:
    """What a pull has read and is not stored yet."""

    owner: str
    """The customer."""
    answers: list[Answered] = field(default_factory=list)
    unread: set[Key] = field(default_factory=set)
    """What is left to reads by ids, since it cannot be stored as it came."""
    readable: set[str] = field(default_factory=set)
    """Alarms about rights that the key has."""
    ends: DueHistory | None = None
    """The history, if this is the last of it."""


class _Store:
    """Stores what pulls have read, and ends them: what comes while a transaction is under way goes together into the
    next one.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: list[tuple[_Found, asyncio.Future[bool]]] = []
        self._turn = asyncio.Lock()

    async def put(self, found: _Found) -> bool:
        """Return when it is stored; False if it was to end a history that has to be begun again."""
        stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((found, stored))
        async with self._turn:
            if not stored.done():
                waiting, self._waiting = self._waiting, []
                await self._store_safely(waiting)
        return await stored

    async def _store_safely(self, waiting: Sequence[tuple[_Found, asyncio.Future[bool]]]) -> None:
        """Store all of it together; if that fails, each by itself, so that who waits gets no error but its own."""
        try:
            again = await self._store([found for found, _ in waiting])
        except Exception as error:  # noqa: BLE001 - one customer's failure must never stop another (I7)
            if len(waiting) > 1 and not isinstance(error, PostgresAway):
                for each in waiting:
                    await self._store_safely([each])
                return
            for _, stored in waiting:
                stored.set_exception(error)
        except BaseException:
            for _, stored in waiting:
                stored.cancel()
            raise
        else:
            for found, stored in waiting:
                stored.set_result(found.ends not in again)

    async def _store(self, groups: Sequence[_Found]) -> Sequence[DueHistory | None]:
        """Returns the histories that were to end, and have to be begun again."""
        answers = [answer for found in groups for answer in found.answers]
        owners = {answer.key: found.owner for found in groups for answer in found.answers}
        owners |= {key: found.owner for found in groups for key in found.unread}
        ending = [found.ends for found in groups if found.ends is not None]
        async with self._pool.acquire() as connection:
            failures = await store_safely(connection, answers, source="backfill")
            await ask_again(connection, [each for each in failures if each.answered])
            left = {key for found in groups for key in found.unread}
            left |= {each.key for each in failures if not each.answered}
            if left:
                # They belong to these customers: until they are read, those are not exact.
                marks = [
                    bare_mark(key, source="backfill", customer_id=owners.get(key)) for key in sorted(left)
                ]
                await mark_objects(connection, marks)
            if readable := {name for found in groups for name in found.readable}:
                await clear_alarms(connection, readable)
            if not ending:
                return []
            ended = await retry_conflicts(lambda: finish_histories(connection, ending))
            # What began in another incarnation of the database is begun again.
            again = [history for history in ending if history.key not in ended]
            if again:
                await release_histories(connection, again)
            return again


class _Pull:
    """The pull of one history.

    Its tick is the one with which it was claimed, before its first request; only further pages draw their own. What it
    reads is stored together: a transaction costs more than the few objects of a list.
    """

    def __init__(self, pool: Pool, stripe: StripeApi, history: DueHistory, store: _Store) -> None:
        self._pool = pool
        self._stripe = stripe
        self._history = history
        self._store = store
        self._found = _Found(history.key.id)
        self._disputed: list[str] = []
        """Charges."""
        self._charged: set[str | None] = set()
        """PaymentIntents of charges."""
        self._paid: set[str] = set()
        """PaymentIntents of completed Checkout sessions, and those that have a charge."""

    async def read_everything(self) -> None:
        """The customer, if it is not read yet, and all its lists. Raises StripeError and UnknownShape."""
        customer_id = self._history.key.id
        if customer_id.startswith(ACCOUNT_PREFIX):
            await self._read_lists_of_account()
            return
        # Who has asked for a history wants the customer as it is now.
        is_read = self._history.is_read and not self._history.asked
        deleted = not is_read and await self._read_customer()
        try:
            await self._read_lists()
        except (StripeMissing, StripeRefused) as refused:
            deleted = deleted or (is_read and await self._read_customer())
            # Stripe may know nothing more of a deleted customer: then there is nothing more to be read.
            if not deleted or (isinstance(refused, StripeRefused) and refused.status != 400):
                raise
            log.info("a deleted customer has no lists", customer=customer_id, error=str(refused))

    async def store(self) -> None:
        """Store what was read since the last time, and take back alarms about what could be read."""
        found, self._found = self._found, _Found(self._history.key.id)
        await self._store.put(found)

    async def end(self) -> bool:
        """Store the rest, and call the customer complete; False if its history has to be begun again."""
        self._found.ends = self._history
        return await self._store.put(self._found)

    async def _read_lists(self) -> None:
        key = self._history.key
        for kind in LISTS:
            try:
                await self._read_list(kind, f"customer={quote(key.id, safe='')}")
            except StripeRefused as refused:
                closed = key.account_id and refused.account_is_closed
                # As in a backfill: an alarm, and what nothing but such an object names is not known.
                if closed or not refused.forbidden or kind not in LIST_CONFIRMED:
                    raise
        await self._read_charges_of_intents()
        await self._read_disputes()
        async with self._pool.acquire() as connection:
            entitles = await has_features(connection, self._history.key.scope)
        if entitles:
            await self._read_by_id("active_entitlement_summary")

    async def _read_lists_of_account(self) -> None:
        """The lists of a customer that is an Account (v2): there is no customer to be read, and its charges are listed
        by their payment intents only.
        """
        whose = f"customer_account={quote(self._history.key.id, safe='')}"
        for kind in LISTS:
            if kind != "charge":
                await self._read_list(kind, whose)
        await self._read_charges_of_intents()
        await self._read_disputes()

    async def _read_charges_of_intents(self) -> None:
        """A guest's charge names no customer and is in none of its lists: its session or PaymentIntent leads to it."""
        for intent_id in sorted(self._paid - self._charged):
            await self._read_list("charge", f"payment_intent={quote(intent_id, safe='')}")

    async def _read_disputes(self) -> None:
        for charge_id in self._disputed:
            await self._read_list("dispute", f"charge={quote(charge_id, safe='')}")

    async def _read_customer(self) -> bool:
        """Read the customer itself; True if it is deleted, also if Stripe has forgotten it since."""
        key = self._history.key
        try:
            return await self._read_by_id("customer")
        except StripeMissing:
            async with self._pool.acquire() as connection:
                if not await is_deleted(connection, Key(*key.scope, "customer", key.id)):
                    raise
            return True

    async def _read_by_id(self, kind: str) -> bool:
        """Read one object; True if Stripe says that it is deleted."""
        key = Key(*self._history.key.scope, kind, self._history.key.id)
        async with self._saying_forbidden(kind):
            answer = await read_whole(self._stripe, read_of(key, tick=self._history.tick))
        self._found.answers.append(answer)
        return answer.parsed.deleted

    async def _read_list(self, kind: str, whose: str) -> None:
        """Read a list to its end, noting what its objects name. An object that cannot be stored as it came is left to a
        read by its id.
        """
        account_id, live_mode, _ = self._history.key
        pages = each_page(
            self._pool,
            self._stripe,
            KINDS[kind],
            account_id=account_id,
            live_mode=live_mode,
            variant=whose,
            tick=self._history.tick,
        )
        async with self._saying_forbidden(kind):
            async for page in pages:
                for each in (*page.answers, *page.cut):
                    self._note(each.parsed.facts)
                self._paid |= {each.id for each in page.unreadable if each.kind == "payment_intent"}
                self._found.answers += page.answers
                self._found.unread |= {*page.unreadable, *(each.key for each in page.cut)}
                if len(self._found.answers) >= STORED_AT_ONCE:
                    await self.store()

    def _note(self, facts: object) -> None:
        match facts:
            case Charge():
                self._charged.add(facts.payment_intent_id)
                if facts.disputed:
                    self._disputed.append(facts.id)
            case CheckoutSession(status="complete", payment_intent_id=str(intent_id)):
                self._paid.add(intent_id)
            case PaymentIntent(latest_charge_id=str()):
                self._paid.add(facts.id)
            case _:
                pass

    @asynccontextmanager
    async def _saying_forbidden(self, kind: str) -> AsyncIterator[None]:
        """Alarm if the key lacks the right to read this kind, and have the alarm taken back once it has it."""
        key = Key(*self._history.key.scope, kind, self._history.key.id)
        try:
            yield
        except StripeRefused as refused:
            if refused.forbidden and not (key.account_id and refused.account_is_closed):
                async with self._pool.acquire() as connection:
                    await say_forbidden(connection, key, error=said_by(refused))
            raise
        self._found.readable.add(kind_refused(key))
