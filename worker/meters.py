"""Meters: what was tracked is added up, and told to Stripe, at least once and counted once.

Adding up needs only Postgres. What is to be told is a queue there, too: while Stripe is away it grows, and nothing else
waits for it.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from db.connection import Pool
from db.keys import Scope
from db.records.moved import trim_former_uids
from db.records.tracking import add_usage, move_last_seen, trim_usage_events
from db.sync.accounts import clear_alarms, raise_alarm
from db.sync.meter_events import (
    ClaimedMeterEvents,
    DueMeterEvent,
    Postponed,
    any_refused,
    claim_meter_events,
    clear_what_nobody_waits_for,
    count_given_up,
    finish_meter_events,
    postpone_meter_events,
    trim_meter_events,
)
from db.sync.refusals import WHOLE_ACCOUNT, select_refusals
from runtime.payload import said_by
from runtime.retry import backoff_seconds, retry_conflicts
from runtime.stripe_api import (
    StripeApi,
    StripeError,
    StripeNotAsked,
    StripeRefused,
    StripeUnavailable,
)
from worker.live.closed import say_closed

PATH = "/v1/billing/meter_events"
ADDED_AT_ONCE = 2_000
TRIMMED_AT_ONCE = 5_000
SENT_AT_ONCE = 200
CONCURRENCY_MAX = 16
LEASE = timedelta(minutes=5)
RETRY_SECONDS_MAX = 600.0
KEY_RETRY = timedelta(minutes=5)
FAILURES_MAX = 8
"""So many requests of a batch that get no answer, and the rest of it waits."""
AWAY_RETRY = timedelta(seconds=30)
REFUSED_RETRY = timedelta(hours=1)

MAY_NOT_WRITE = "meter events forbidden"
NOT_TAKEN = "meter events refused"
GIVEN_UP = "meter events given up"

log = structlog.get_logger()


async def add_up(pool: Pool) -> bool:
    """Add up a batch of what was tracked; whether there may be more."""

    async def add() -> int | None:
        async with pool.acquire() as connection, connection.transaction():
            added = await add_usage(connection, limit=ADDED_AT_ONCE)
            if added is None:
                return None
            await move_last_seen(connection, added.seen)
            return added.count

    count = await retry_conflicts(add)
    if count:
        log.info("usage added up", count=count)
    return count == ADDED_AT_ONCE


async def trim_usage(pool: Pool) -> None:
    """Forget keys that are old, and meter events that have ended long ago."""
    for trim in (trim_usage_events, trim_meter_events, trim_former_uids):
        trimmed = TRIMMED_AT_ONCE
        while trimmed == TRIMMED_AT_ONCE:
            async with pool.acquire() as connection:
                trimmed = await trim(connection, limit=TRIMMED_AT_ONCE)


@dataclass(slots=True)
class _Outcome:
    """What came of a batch."""

    held_until: float
    """By time.monotonic: how long the leases are sure to hold."""
    sent: list[int] = field(default_factory=list)
    late: list[Postponed] = field(default_factory=list)
    forbidden: dict[str, str] = field(default_factory=dict)
    """By account: why the key may write none of it."""
    unknown_key: str | None = None
    """Why Stripe takes nothing by this key."""
    closed: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By account that has taken its access back: the customer, and why."""
    refused: str | None = None
    """Why Stripe does not take one of them."""
    failures: int = 0
    """How often Stripe gave no answer."""


async def send_meter_events(pool: Pool, own: StripeApi, connected: StripeApi, *, live_mode: bool) -> bool:
    """Send the meter events that have been due longest; whether there may be more to send at once.

    `own`, `connected`: the ways to Stripe for the key's own account and for others, whose limits differ.
    """
    async with pool.acquire() as connection:
        closed = {
            each.account_id
            for each in await select_refusals(connection, live_mode=live_mode)
            if each.kind == WHOLE_ACCOUNT
        }
        # From before the claim, so that it is no matter what Postgres' clock says.
        held_until = time.monotonic() + LEASE.total_seconds() * 4 / 5
        claimed = await claim_meter_events(
            connection, live_mode=live_mode, limit=SENT_AT_ONCE, lease=LEASE, but=closed
        )
    if not claimed.found:
        async with pool.acquire() as connection:
            await clear_what_nobody_waits_for(connection, [MAY_NOT_WRITE, NOT_TAKEN], live_mode=live_mode)
        return False
    outcome = await _send(own, connected, claimed.due, held_until=held_until)
    async with pool.acquire() as connection, connection.transaction():
        if outcome.sent:
            await finish_meter_events(connection, outcome.sent)
        if outcome.late:
            await postpone_meter_events(connection, outcome.late)
    await _say(pool, claimed, outcome, live_mode=live_mode)
    log.info("meter events sent", count=len(outcome.sent), postponed=len(outcome.late))
    return claimed.found == SENT_AT_ONCE and not outcome.late


async def _send(
    own: StripeApi, connected: StripeApi, due: Sequence[DueMeterEvent], *, held_until: float
) -> _Outcome:
    """Those of one customer and meter one after another: Stripe refuses two of them at once."""
    outcome = _Outcome(held_until=held_until)
    lines: defaultdict[tuple[str, str, str], list[DueMeterEvent]] = defaultdict(list)
    for event in due:
        lines[event.account_id, event.stripe_customer_id, event.event_name].append(event)
    turns = asyncio.Semaphore(CONCURRENCY_MAX)

    async def send_line(line: Sequence[DueMeterEvent]) -> None:
        async with turns:
            for place, event in enumerate(line):
                if (forbidden := outcome.unknown_key or outcome.forbidden.get(event.account_id)) is not None:
                    _wait(outcome, line[place:], forbidden, KEY_RETRY)
                    return
                if outcome.failures >= FAILURES_MAX:
                    _wait(outcome, line[place:], "Stripe is away", AWAY_RETRY)
                    return
                stripe = connected if event.account_id else own
                if not await _send_one(stripe, event, outcome):
                    wait = outcome.late[-1].wait
                    _wait(outcome, line[place + 1 :], outcome.late[-1].error, wait)
                    return

    await asyncio.gather(*map(send_line, lines.values()))
    return outcome


def _wait(outcome: _Outcome, events: Sequence[DueMeterEvent], error: str, wait: timedelta) -> None:
    """These were not sent at all."""
    outcome.late += [Postponed(event=event, error=error, wait=wait, unsure=False) for event in events]


async def _send_one(stripe: StripeApi, event: DueMeterEvent, outcome: _Outcome) -> bool:
    """Send one event; whether the next one of its customer may follow."""
    if time.monotonic() > outcome.held_until:
        _wait(outcome, [event], "its turn came too late", timedelta(0))
        return False
    wait = timedelta(seconds=backoff_seconds(event.attempts, longest=RETRY_SECONDS_MAX))
    try:
        await stripe.change(PATH, _form_of(event), account_id=event.account_id)
    except StripeRefused as refused:
        if _is_known(refused):
            outcome.sent.append(event.id)
            return True
        if refused.status in (401, 403):
            _forbid(outcome, event, refused)
            _wait(outcome, [event], said_by(refused), KEY_RETRY)
            return False
        outcome.refused = f"{event.event_name} of {event.stripe_customer_id}: {said_by(refused)}"
        _wait(outcome, [event], said_by(refused), REFUSED_RETRY)
        return True
    except StripeUnavailable as away:
        # What was one too many, or did not get there, was not counted. Of anything else nobody knows.
        unsure = away.limited_by is None and away.reached and not isinstance(away, StripeNotAsked)
        outcome.failures += away.limited_by is None
        outcome.late.append(Postponed(event=event, error=said_by(away), wait=wait, unsure=unsure))
        return False
    except StripeError as error:
        outcome.refused = f"{event.event_name} of {event.stripe_customer_id}: {said_by(error)}"
        _wait(outcome, [event], said_by(error), REFUSED_RETRY)
        return True
    outcome.sent.append(event.id)
    return True


def _forbid(outcome: _Outcome, event: DueMeterEvent, refused: StripeRefused) -> None:
    """One account that has taken its access back keeps no other one's events (I7)."""
    said = said_by(refused)
    if refused.status == 401:
        outcome.unknown_key = said
        return
    outcome.forbidden[event.account_id] = said
    if refused.account_is_closed and event.account_id:
        outcome.closed[event.account_id] = (event.stripe_customer_id, said)


def _form_of(event: DueMeterEvent) -> dict[str, str]:
    return {
        "event_name": event.event_name,
        "identifier": event.identifier,
        "timestamp": str(int(event.used_at.timestamp())),
        f"payload[{event.customer_key}]": event.stripe_customer_id,
        f"payload[{event.value_key}]": format(event.value, "f"),  # str() of ten thousand may be 1E+4
    }


def _is_known(refused: StripeRefused) -> bool:
    """Whether Stripe has counted an event with this identifier already: that is what was to be reached."""
    return refused.code == "duplicate_meter_event" or "already exists with identifier" in str(refused)


def may_not_write(account_id: str) -> str:
    """The name of the alarm that the key may not write meter events of this account."""
    return f"{MAY_NOT_WRITE} {account_id}".strip()


async def _say(pool: Pool, claimed: ClaimedMeterEvents, outcome: _Outcome, *, live_mode: bool) -> None:
    """Raise the alarms that follow, and take back those that no longer hold."""
    async with pool.acquire() as connection:
        for account_id, (customer_id, error) in outcome.closed.items():
            await say_closed(connection, Scope(account_id, live_mode), object_id=customer_id, error=error)
        forbidden = {
            account_id: error
            for account_id, error in outcome.forbidden.items()
            if account_id not in outcome.closed
        }
        if outcome.unknown_key is not None:
            # Of each account, so that what is taken of it later ends the alarm.
            forbidden |= {event.account_id: outcome.unknown_key for event in claimed.due}
        for account_id, error in forbidden.items():
            await raise_alarm(
                connection,
                may_not_write(account_id),
                f"usage is counted here, and Stripe's meters are not told ({error})",
                remedy="give the key of STRIPE_API_KEY the right to write meter events; what waits is then sent",
                account_id=account_id,
            )
        if outcome.refused is not None:
            await raise_alarm(
                connection,
                NOT_TAKEN,
                f"Stripe does not take what was used ({outcome.refused})",
                remedy="see that an active meter has this event name; it is sent again every hour",
            )
        if outcome.sent:
            taken = {event.account_id for event in claimed.due if event.id in set(outcome.sent)}
            await clear_alarms(connection, [may_not_write(account_id) for account_id in sorted(taken)])
            if outcome.refused is None and not await any_refused(connection):
                await clear_alarms(connection, [NOT_TAKEN])
        if claimed.given_up:
            counts = await count_given_up(connection)
            await raise_alarm(
                connection,
                GIVEN_UP,
                f"{sum(counts.values())} meter events are no longer sent "
                f"(undecided: {counts.get('undecided', 0)}, expired: {counts.get('expired', 0)})",
                remedy=(
                    "compare them with the meter's events at Stripe: they are in sync.meter_events with their state "
                    "(docs/api.md says how to go on)"
                ),
            )
