"""Gap fill: /v1/events lists the events of the last 30 days, and so also those that were never delivered.

The fills overlap, and the inbox knows events by their ids: none that came by webhook is stored twice.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import quote

import msgspec
import structlog

from db.connection import Connection, Pool, PostgresAway
from db.keys import Scope
from db.sync.accounts import (
    CLOCKS_APART,
    DueGap,
    claim_gap,
    clear_alarms,
    clear_key_alarms,
    clear_settled_alarms,
    events_expired,
    finish_gap,
    postpone_gap,
    raise_alarm,
    see_accounts,
)
from db.sync.customers import doubt_starts, mark_untold_stale
from db.sync.inbox import SignedEvent, reach_milestone, record_events
from db.sync.refusals import WHOLE_ACCOUNT
from runtime.envelope import read_envelope
from runtime.metrics import count_received
from runtime.payload import NotJson, said_by
from runtime.retry import retry_conflicts
from runtime.stripe_api import StripeApi, StripeRefused
from worker.live.closed import end_refusal, events_refused, say_closed, say_events_forbidden

LEASE = timedelta(minutes=5)
OVERLAP = timedelta(minutes=10)
"""An event may appear in the list some time after its `created`."""
FIRST_LOOK_BACK = timedelta(hours=1)
"""How far the first fill of an account reaches back; older changes are left to the backfill."""
RETENTION = timedelta(days=30)
CLOSED_AGAIN_AFTER = timedelta(seconds=10)
"""An account that has taken its access back is probed by its fill: as often as others are filled, but no more."""
LOST = "Postgres lost transactions while the gap was filled: it is filled again"

log = structlog.get_logger()


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    has_more: bool = False


class _EventId(msgspec.Struct):
    id: str


_decode_page = msgspec.json.Decoder(_Page).decode
_decode_id = msgspec.json.Decoder(_EventId).decode


async def fill_due_gaps(pool: Pool, stripe: StripeApi, *, live_mode: bool, every: timedelta) -> int:
    """Fill the gaps of every account that is due; returns how many events no webhook had brought."""
    missed = 0
    async with pool.acquire() as connection:
        # The key's own account is filled even before any event has come: perhaps none can reach the endpoint.
        await see_accounts(connection, {Scope("", live_mode)})
    while True:
        async with pool.acquire() as connection:
            gap = await claim_gap(connection, live_mode=live_mode, lease=LEASE)
        if gap is None:
            return missed
        try:
            missed += await fill_gap(pool, stripe, gap, every=every)
        except PostgresAway:
            raise  # its lease runs out
        except Exception as error:  # noqa: BLE001 - one account that we fail at must never stop another (I7)
            said = said_by(error)
            log.warning("gap not filled", account=gap.account_id, error=said)
            closed = gap.account_id != "" and isinstance(error, StripeRefused) and error.account_is_closed
            again = max(every, CLOSED_AGAIN_AFTER) if closed else min(every, timedelta(seconds=30))
            async with pool.acquire() as connection:
                if closed:
                    await say_closed(connection, gap.scope, object_id="", error=said)
                elif isinstance(error, StripeRefused) and error.forbidden:
                    await say_events_forbidden(connection, gap.account_id, error=said)
                await postpone_gap(connection, gap, error=said, retry_after=again)


async def fill_gap(pool: Pool, stripe: StripeApi, gap: DueGap, *, every: timedelta) -> int:
    """Read one account's events from a little before its cursor up to now; returns how many were new.

    The cursor moves only after the last page is stored, and never further into the future than clocks are apart: one
    wrong Date would hide all events until then. Where it is there already, all events that Stripe keeps are read again.
    Raises StripeError.
    """
    latest = gap.claimed_at + CLOCKS_APART
    misled = gap.cursor_at is not None and gap.cursor_at > latest
    begun_at: datetime | None = None
    since = None if gap.cursor_at is None else gap.cursor_at - OVERLAP
    if misled:
        since = gap.claimed_at - RETENTION
    after: str | None = None
    missed = 0
    while True:
        if since is None:
            # Stripe's clock decides where to begin; the events themselves come with the next request.
            probe = await stripe.read("/v1/events?limit=1", account_id=gap.account_id)
            since = min(probe.answered_at, latest) - FIRST_LOOK_BACK
        path = f"/v1/events?limit=100&created[gte]={int(since.timestamp())}"
        if after is not None:
            path += f"&starting_after={quote(after, safe='')}"
        answer = await stripe.read(path, account_id=gap.account_id)
        if begun_at is None and answer.answered_at > latest:
            log.warning(
                "stripe's clock is ahead of postgres's", account=gap.account_id, says=answer.answered_at
            )
        begun_at = begun_at or min(answer.answered_at, latest)
        try:
            page = _decode_page(answer.body)
            after = _decode_id(page.data[-1]).id if page.data else None
        except msgspec.MsgspecError as error:
            raise NotJson(f"/v1/events answered no list of events: {error}") from None
        if page.data:
            async with pool.acquire() as connection:
                new = await record_events(connection, [_event(bytes(raw), gap) for raw in page.data])
            count_received("gap_fill", events=len(page.data), new=new)
            missed += new
        if not page.has_more or after is None:
            break
    kept_since = begun_at - RETENTION
    unknown = gap.events_since is None or misled or since < kept_since
    changed = max(since, kept_since) if unknown else None

    async def finish() -> None:
        async with pool.acquire() as connection, connection.transaction():
            await _say_expired(connection, gap, begun_at)
            if not await finish_gap(connection, gap, cursor_at=begun_at, next_fill=every, since=changed):
                await postpone_gap(connection, gap, error=LOST, retry_after=timedelta(seconds=1))
                return
            if gap.events_since is None and changed is not None:
                await doubt_starts(connection, gap.account_id, live_mode=gap.live_mode, since=changed)
            await mark_untold_stale(connection, gap.scope, after_tick=gap.filled_tick, before_tick=gap.tick)
            await clear_key_alarms(connection)
            await clear_alarms(connection, [events_refused(gap.account_id)])
            await clear_settled_alarms(connection, gap.scope)
            await reach_milestone(connection, "gap_fill")

    async def reopen() -> None:
        async with pool.acquire() as connection:
            await end_refusal(connection, gap.scope, WHOLE_ACCOUNT)

    await retry_conflicts(finish)
    if gap.account_id:
        await retry_conflicts(reopen)
    if missed:
        log.info("gap filled", account=gap.account_id, count=missed)
    return missed


def _event(body: bytes, gap: DueGap) -> SignedEvent:
    """The event as a webhook would have brought it. In a list of its account's, an event does not name the account."""
    event = read_envelope(body, live_mode_default=gap.live_mode)
    return replace(event, account_id=gap.account_id, live_mode=gap.live_mode)


async def _say_expired(connection: Connection, gap: DueGap, now: datetime) -> None:
    """Raise an alarm if the cursor is older than Stripe keeps events, or was in the future, nobody knows since when:
    only an audit can find what was missed.
    """
    if gap.cursor_at is None:
        return
    if gap.cursor_at > gap.claimed_at + CLOCKS_APART:
        read = f"events were looked for only after {gap.cursor_at:%Y-%m-%d %H:%M} UTC, which is still to come"
    elif now - gap.cursor_at > RETENTION:
        read = f"events were last read at {gap.cursor_at:%Y-%m-%d %H:%M} UTC"
    else:
        return
    name = events_expired(gap.account_id)
    account = f" --account {gap.account_id}" if gap.account_id else ""
    remedy = f"run `subledger audit --repair{account}`"
    detail = f"{read}, and Stripe keeps them for 30 days: some may be lost; {remedy}"
    log.error("events expired before they were read", account=gap.account_id)
    await raise_alarm(connection, name, detail, remedy=remedy, account_id=gap.account_id)
