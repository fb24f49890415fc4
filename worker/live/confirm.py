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
from db.sync.accounts import clear_alarms, clear_key_alarms, raise_alarm
from db.sync.customers import mark_stale
from db.sync.objects import (
    DueRead,
    FailedRead,
    claim_reads,
    postpone_reads,
)
from runtime.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable
from worker.leases import Held, holding
from worker.live.answers import Answered
from worker.live.fence import judge_absence, store_safely
from worker.live.reads import read_whole
from worker.retry import backoff_seconds, retry_conflicts

BATCH = 200
LEASE = timedelta(seconds=90)

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
    with holding(held, due):
        refused = await _make_reads(pool, stripe, due, stored)
    return len(due), refused


async def _make_reads(
    pool: Pool, stripe: StripeApi, due: Sequence[DueRead], stored: Callable[[], None]
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
                failures += await store_safely(connection, answers, source="event")
                if failures:
                    await retry_conflicts(lambda: _postpone(connection, failures))  # noqa: B023
                await _say_refused(connection, answers, failures)
            stored()
    finally:
        for task in reads:
            task.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
    return refused


async def _say_refused(connection: Connection, answers: list[Answered], failures: list[FailedRead]) -> None:
    """Alarm about kinds that the key may not read, and take the alarm back once it may."""
    readable = {answer.key.kind for answer in answers}
    await clear_alarms(connection, [f"reads of {kind} refused" for kind in readable])
    if answers:
        await clear_key_alarms(connection)
    for kind, error in {each.key.kind: each.error for each in failures if each.refused}.items():
        follows = "its rows stay as they are" if kind in LIST_CONFIRMED else "its customers stay inexact"
        detail = f"give the API key the right to read {_path_of(KINDS[kind])}, or {follows} ({error})"
        await raise_alarm(connection, f"reads of {kind} refused", detail)


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
            retry_after=timedelta(minutes=min(due.attempts, 10)),
            refused=refused.status in (401, 403),
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
