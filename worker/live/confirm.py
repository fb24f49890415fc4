"""Confirm: read from Stripe what is dirty, and store the answer through the fence.

The tick of a read is drawn, and committed with its lease, before its request leaves: so a stored answer was asked for
after every change that an older mark announced (ARCHITECTURE.md, the fence).
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog

from billing.kinds.kind import Kind
from billing.kinds.registry import KINDS, LIST_CONFIRMED
from db.connection import Connection, Pool
from db.keys import Key
from db.sync.accounts import clear_alarms, clear_key_alarms, raise_alarm
from db.sync.customers import mark_stale
from db.sync.due_reads import DueRead, claim_reads
from db.sync.objects import FailedRead, postpone_reads
from db.sync.refusals import Refusal, note_refusal, select_refusals, take_probe
from runtime.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable
from worker.leases import Held, holding
from worker.live.answers import Answered
from worker.live.closed import end_refusal, say_closed
from worker.live.fence import judge_absence, judge_absent, store_safely
from worker.live.reads import read_whole
from worker.retry import backoff_seconds, retry_conflicts

BATCH = 200
LEASE = timedelta(seconds=90)
ODD_ALARMS_AT_ONCE = 5
"""Of one group of answers: a kind whose every read is refused would bury the other alarms."""

log = structlog.get_logger()


async def confirm_batch(
    pool: Pool,
    stripe: StripeApi,
    *,
    live_mode: bool,
    limit: int = BATCH,
    stored: Callable[[], None] = lambda: None,
    held: Held[DueRead] | None = None,
) -> tuple[int, bool]:
    """Read what is due and store what came, in groups as the answers arrive; `stored` is called after each group.

    Returns how many reads were begun, and whether Stripe refused the key or did not know an object that we know.
    `held` notes the reads while they are under way.
    """
    async with pool.acquire() as connection:
        due = await claim_reads(connection, kinds=list(KINDS), live_mode=live_mode, limit=limit, lease=LEASE)
        refusals = await select_refusals(connection, live_mode=live_mode) if due else []
        asked = await _without_refused(connection, due, refusals, live_mode=live_mode) if refusals else due
    with holding(held, asked):
        refused = await _make_reads(pool, stripe, asked, refusals, stored)
    return len(due), refused


async def _without_refused(
    connection: Connection, due: Sequence[DueRead], refusals: Sequence[Refusal], *, live_mode: bool
) -> list[DueRead]:
    """The reads of which Stripe does not refuse everything, and now and then one of the others, to ask again. The rest
    wait for its answer.
    """
    asked, held, may_probe = [], [], {}
    for each in due:
        refusal = next((one for one in refusals if one.covers(each.key)), None)
        if refusal is None:
            asked.append(each)
            continue
        if refusal not in may_probe:
            may_probe[refusal] = await take_probe(connection, refusal, live_mode=live_mode)
        if may_probe[refusal]:
            may_probe[refusal] = False
            asked.append(each)
            continue
        wait = timedelta(seconds=max(refusal.seconds_to_probe, 5.0))
        held.append(FailedRead(key=each.key, tick=each.tick, error=refusal.error, retry_after=wait))
    if held:
        # Their customers are not exact already.
        await retry_conflicts(lambda: postpone_reads(connection, held))
    return asked


async def _make_reads(
    pool: Pool,
    stripe: StripeApi,
    due: Sequence[DueRead],
    refusals: Sequence[Refusal],
    stored: Callable[[], None],
) -> bool:
    refused = False
    reads = {asyncio.create_task(_read(stripe, each)) for each in due}
    try:
        while reads:
            done, reads = await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
            outcomes = [task.result() for task in done]
            answers = [each for each in outcomes if isinstance(each, Answered)]
            failures = [each for each in outcomes if isinstance(each, FailedRead)]
            refused = refused or any(failure.missing or failure.refused for failure in failures)
            async with pool.acquire() as connection:
                if any(failure.absent for failure in failures):
                    gone, failures = await judge_absent(connection, failures)
                    answers += gone
                failures += await store_safely(connection, answers, source="event")
                if failures:
                    await retry_conflicts(lambda: _postpone(connection, failures))  # noqa: B023
                await _say_refused(connection, answers, failures)
                if refusals:
                    await retry_conflicts(lambda: _say_readable(connection, answers, refusals))  # noqa: B023
            stored()
    finally:
        for task in reads:
            task.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
    return refused


async def _say_refused(connection: Connection, answers: list[Answered], failures: list[FailedRead]) -> None:
    """Alarm about what Stripe refuses, with the remedy, and take the alarms back once it does not."""
    if answers:
        names = {kind_refused(answer.key) for answer in answers if not answer.left_out}
        names |= {object_refused(answer.key) for answer in answers}
        names |= {expansion_refused(answer.key) for answer in answers if not answer.left_out}
        await clear_alarms(connection, names)
        await clear_key_alarms(connection)
    if gone := {object_refused(each.key) for each in failures if each.absent}:
        await clear_alarms(connection, gone)
    for answer in {expansion_refused(each.key): each for each in answers if each.left_out}.values():
        said = f"Stripe refuses {', '.join(answer.left_out)} of {answer.key.kind} {answer.key.id}: it is read without"
        remedy = "see that STRIPE_API_BASE is Stripe's API and that the key may read all that belongs to it"
        await raise_alarm(
            connection, expansion_refused(answer.key), said, remedy=remedy, account_id=answer.key.account_id
        )
    for failure in {kind_refused(each.key): each for each in failures if each.refused}.values():
        if failure.closed:
            await say_closed(connection, failure.key.scope, object_id=failure.key.id, error=failure.error)
            continue
        kind = KINDS[failure.key.kind]
        follows = "its rows stay as they are" if kind.name in LIST_CONFIRMED else "its customers stay inexact"
        remedy = f"give the API key the right to read {_path_of(kind)}"
        said = f"{remedy}, or {follows} ({failure.error})"
        account_id = failure.key.account_id
        await raise_alarm(connection, kind_refused(failure.key), said, remedy=remedy, account_id=account_id)
        if failure.forbidden:
            await note_refusal(
                connection, failure.key.scope, kind=kind.name, object_id=failure.key.id, error=failure.error
            )
    for failure in [each for each in failures if each.odd][:ODD_ALARMS_AT_ONCE]:
        key = failure.key
        said = f"Stripe refuses to answer about {key.kind} {key.id}, so its customer stays inexact ({failure.error})"
        remedy = f"look at it in Stripe's Dashboard, then `subledger events replay {key.id}`"
        await raise_alarm(connection, object_refused(key), said, remedy=remedy, account_id=key.account_id)


async def _say_readable(connection: Connection, answers: list[Answered], refusals: Sequence[Refusal]) -> None:
    """A probe was answered: what waited for it is due now."""
    for refusal in refusals:
        answered = [each.key for each in answers if refusal.covers(each.key)]
        if answered:
            await end_refusal(connection, answered[0].scope, refusal.kind)


def kind_refused(key: Key) -> str:
    return f"reads of {key.kind} refused {key.account_id}".strip()


def object_refused(key: Key) -> str:
    return f"read of {key.kind} {key.id} refused {key.account_id}".strip()


def expansion_refused(key: Key) -> str:
    return f"parts of {key.kind} refused {key.account_id}".strip()


def _path_of(kind: Kind) -> str:
    return kind.list_path or kind.retrieve_path.partition("?")[0]


async def _postpone(connection: Connection, failures: list[FailedRead]) -> None:
    async with connection.transaction():
        stale = await postpone_reads(connection, failures)
        if stale:
            await mark_stale(connection, list(set(stale)))


async def _read(stripe: StripeApi, due: DueRead) -> Answered | FailedRead:
    """One read, with its nested lists whole; a failure says when to try again, and never what the object is."""
    try:
        return await read_whole(stripe, due)
    except StripeMissing as missing:
        return judge_absence(due, str(missing))
    except StripeUnavailable as unavailable:
        seconds = backoff_seconds(due.attempts, first=0.5, longest=300.0)
        return FailedRead(
            key=due.key, tick=due.tick, error=str(unavailable), retry_after=timedelta(seconds=seconds)
        )
    except StripeRefused as refused:
        log.error("stripe refuses a read", kind=due.key.kind, id=due.key.id, error=str(refused))
        return FailedRead(
            key=due.key,
            tick=due.tick,
            error=str(refused),
            # Ever less often: nothing changes until somebody acts.
            retry_after=timedelta(minutes=min(4 ** min(due.attempts - 1, 5), 360)),
            refused=refused.status in (401, 403),
            forbidden=refused.status == 403,
            closed=refused.account_is_closed and due.key.account_id != "",
            odd=refused.status not in (401, 403),
        )
    except Exception as unreadable:  # noqa: BLE001 - one bad object must never stop another (I7)
        log.error("answer not understood", kind=due.key.kind, id=due.key.id, error=repr(unreadable))
        seconds = backoff_seconds(due.attempts, longest=300.0)
        return FailedRead(
            key=due.key,
            tick=due.tick,
            error=repr(unreadable),
            retry_after=timedelta(seconds=seconds),
            unreadable=True,
        )
