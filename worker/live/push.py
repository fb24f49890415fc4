"""Push: name, email, description and metadata that were set here are sent to Stripe, for customers that it knows.

A push is a row (db/sync/pushes.py). Its request and the key by which Stripe knows it again are committed before it is
sent: whoever is interrupted, or gets no answer, sends the same once more, and Stripe does it once. Once Stripe has got
it, the customer is marked, and what the next read says counts; until then the record shows what was set here. Nothing
that comes from Stripe causes a push, so none causes another one.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote

import structlog

from billing.pushes import apart, names_of, parameters_of
from db.connection import Connection, Pool
from db.keys import CustomerKey, Key, Scope
from db.sync.accounts import clear_alarms, raise_alarm
from db.sync.customers import mark_stale
from db.sync.objects import mark_objects
from db.sync.pushes import (
    DuePush,
    any_push_waits,
    claim_pushes,
    clear_sent,
    finish_push,
    postpone_push,
    refuse_push,
    release_pushes,
    select_offered,
    send_what_stripe_lacks,
    wake_pushes,
)
from db.sync.refusals import WHOLE_ACCOUNT, Refusal, end_refusals, note_refusal, select_refusals, take_probe
from runtime.payload import said_by
from runtime.retry import backoff_seconds, retry_conflicts
from runtime.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable
from worker.leases import Held, holding
from worker.live.closed import say_closed
from worker.live.marks import bare_mark

BATCH = 8
LEASE = timedelta(seconds=90)
RETRY_SECONDS_MAX = 300.0
OFFERS_AT_ONCE = 100
CLEARED_AT_ONCE = 1_000
WRITES = "customer writes"
"""In place of a kind's name, where it is refused to write customers."""
REMEDY = "give STRIPE_API_KEY the right to write customers"

log = structlog.get_logger()


async def push_batch(
    pool: Pool, stripe: StripeApi, *, live_mode: bool, held: Held[DuePush] | None = None
) -> tuple[int, bool]:
    """Send the pushes that have been due longest; returns how many were begun, and whether Stripe refused the key or
    did not know a customer. `held` notes the pushes while they are under way.
    """
    async with pool.acquire() as connection:
        await clear_sent(connection, live_mode=live_mode, limit=CLEARED_AT_ONCE)
        await _make_offers(connection, live_mode=live_mode)
        refusals = [
            each for each in await select_refusals(connection, live_mode=live_mode) if _concerns_writes(each)
        ]
        due = await claim_pushes(
            connection,
            live_mode=live_mode,
            but={each.account_id for each in refusals},
            limit=BATCH,
            lease=LEASE,
        )
        due += await _probes(connection, refusals, live_mode=live_mode)
    if not due:
        return 0, False
    with holding(held, due):
        outcomes = await asyncio.gather(*(_send(stripe, each) for each in due))
        async with pool.acquire() as connection:
            for outcome in outcomes:
                await _note(connection, outcome, refusals)
    return len(due), any(outcome.doubtful for outcome in outcomes)


def _concerns_writes(refusal: Refusal) -> bool:
    return refusal.kind in (WRITES, WHOLE_ACCOUNT)


async def _make_offers(connection: Connection, *, live_mode: bool) -> None:
    """Customers that were linked: what was set before, and Stripe lacks, is sent, too."""

    async def offer(key: CustomerKey) -> None:
        async with connection.transaction():
            await send_what_stripe_lacks(connection, key)

    for key in await select_offered(connection, live_mode=live_mode, limit=OFFERS_AT_ONCE):
        await retry_conflicts(lambda: offer(key))  # noqa: B023


async def _probes(connection: Connection, refusals: Sequence[Refusal], *, live_mode: bool) -> list[DuePush]:
    """Where writing is refused, one push asks again now and then, and the others wait for its answer. Once none waits,
    since their customers were deleted or forgotten, nobody would ask: then it is over.
    """
    probes: list[DuePush] = []
    closed = {each.account_id for each in refusals if each.kind == WHOLE_ACCOUNT}
    for refusal in refusals:
        if refusal.account_id in closed or refusal.seconds_to_probe > 0:
            continue
        due = await claim_pushes(
            connection, live_mode=live_mode, only=refusal.account_id, limit=1, lease=LEASE
        )
        if due and await take_probe(connection, refusal, live_mode=live_mode):
            probes += due
        elif due:
            await release_pushes(connection, due)
        elif not await any_push_waits(connection, scope := Scope(refusal.account_id, live_mode)):
            await _end_refusal(connection, scope)
    return probes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What has become of a push."""

    push: DuePush
    error: Exception | None = None

    @property
    def doubtful(self) -> bool:
        """Whether the key is to be compared again."""
        refused = isinstance(self.error, StripeRefused) and self.error.status in (401, 403)
        return refused or isinstance(self.error, StripeMissing)


async def _send(stripe: StripeApi, push: DuePush) -> _Outcome:
    account_id, _, customer_id = push.key
    try:
        await stripe.create(
            f"/v1/customers/{quote(customer_id, safe='')}",
            parameters_of(push.fields),
            account_id=account_id,
            idempotency_key=f"subledger-push-{push.request}",
        )
    except Exception as error:  # noqa: BLE001 - one bad push must never stop another (I7)
        return _Outcome(push=push, error=error)
    return _Outcome(push=push)


async def _note(connection: Connection, outcome: _Outcome, refusals: Sequence[Refusal]) -> None:
    push, error = outcome.push, outcome.error
    match error:
        case None:
            await retry_conflicts(lambda: _finish(connection, push))
            await _end_refusal_by(connection, push, refusals)
            log.info(
                "customer written at stripe",
                account=push.key.account_id,
                customer=push.key.id,
                fields=names_of(push.fields),
            )
        case StripeMissing():
            await _refuse(connection, push, f"Stripe does not know the customer, or has deleted it ({error})")
        case StripeRefused(status=401):
            await _postpone(connection, push, error)
        case StripeRefused(forbidden=True):
            await _forbidden(connection, push, error)
        case StripeRefused():
            await _refuse(connection, push, f"Stripe refuses it ({error})", named=error.param)
            await _end_refusal_by(connection, push, refusals)
        case _:
            await _postpone(connection, push, error)


async def _finish(connection: Connection, push: DuePush) -> None:
    """Stripe has got it: what the next read says counts."""
    async with connection.transaction():
        await mark_objects(
            connection, [bare_mark(Key(*push.key.scope, "customer", push.key.id), source="event")]
        )
        if await finish_push(connection, push):
            await mark_stale(connection, [push.key])


async def _refuse(connection: Connection, push: DuePush, error: str, *, named: str | None = None) -> None:
    """It would be refused again: the record shows what Stripe says, and the API which fields were refused, and why. If
    Stripe has `named` one of several, the others are sent without it.
    """
    refused, rest = apart(push.fields, named)
    # Without Stripe's words: they repeat what was set, an email, say. The record has them.
    log.warning(
        "customer refused at stripe",
        account=push.key.account_id,
        customer=push.key.id,
        fields=names_of(refused),
    )

    async def refuse() -> None:
        async with connection.transaction():
            await mark_objects(
                connection, [bare_mark(Key(*push.key.scope, "customer", push.key.id), source="event")]
            )
            if await refuse_push(connection, push, error=error, refused=refused, rest=rest):
                await mark_stale(connection, [push.key])

    await retry_conflicts(refuse)


async def _postpone(connection: Connection, push: DuePush, error: Exception) -> None:
    """Send it again later. Stripe repeats an answer 5xx for the same key: then as another request."""
    said = said_by(error)
    log.warning(
        "customer not written at stripe yet", account=push.key.account_id, customer=push.key.id, error=said
    )
    await postpone_push(
        connection,
        push,
        error=said,
        retry_after=timedelta(seconds=backoff_seconds(push.attempts, first=0.5, longest=RETRY_SECONDS_MAX)),
        anew=isinstance(error, StripeUnavailable) and error.is_an_answer,
    )


async def _forbidden(connection: Connection, push: DuePush, error: StripeRefused) -> None:
    """The key may not write customers, or the account has taken its access back: one alarm, and one request now and
    then.
    """
    account_id, customer_id = push.key.account_id, push.key.id
    await _postpone(connection, push, error)
    if error.account_is_closed and account_id:
        await say_closed(connection, push.key.scope, object_id=customer_id, error=str(error))
        return
    said = f"{REMEDY}, or what is set here does not reach Stripe ({error})"
    await raise_alarm(connection, writes_refused(account_id), said, remedy=REMEDY, account_id=account_id)
    await note_refusal(connection, push.key.scope, kind=WRITES, object_id=customer_id, error=str(error))


async def _end_refusal_by(connection: Connection, push: DuePush, refusals: Sequence[Refusal]) -> None:
    """Customers can be written again, as this push has shown: what waited is due."""
    scope = push.key.scope
    if any(each.account_id == scope.account_id and each.kind == WRITES for each in refusals):
        await _end_refusal(connection, scope)


async def _end_refusal(connection: Connection, scope: Scope) -> None:
    """Nothing is refused any more."""

    async def end() -> None:
        async with connection.transaction():
            if await end_refusals(connection, scope, [WRITES]):
                await wake_pushes(connection, scope.account_id, live_mode=scope.live_mode)
                await clear_alarms(connection, [writes_refused(scope.account_id)])

    await retry_conflicts(end)


def writes_refused(account_id: str) -> str:
    """The name of the alarm that customers of this account may not be written."""
    return f"writes of customers refused {account_id}".strip()
