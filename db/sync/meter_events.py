"""Meter events: the queue of what is to be told to Stripe's meters.

Sent at least once: an event may be sent again as long as Stripe knows its identifier (24 hours at least), and counts
once. What Stripe may have, and can no longer recognise, is never sent again by itself.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from db.connection import Connection

RECOGNISED = timedelta(hours=23)
"""How long after an attempt without an answer the same identifier is sent again: Stripe recognises it for 24 hours."""
TAKEN = timedelta(days=35) - timedelta(hours=1)
"""How old use may be that is sent: Stripe takes 35 calendar days. The API takes 34: there is a day to send it in."""
UNLINKED_RETRY = timedelta(minutes=5)
UNLINKED_NEW = timedelta(hours=1)
"""Whoever used something before a link is often linked soon, or its record comes ..."""
UNLINKED_REST = timedelta(days=1)
"""... and else perhaps never. A link makes it due (sync.identities_linked): this is for one that was made just now."""
ENDED_KEPT = timedelta(days=3)

# The customer that Stripe knows may come later: what was used before is sent then.
CLAIM_METER_EVENTS = """
with due as materialized (
  select id, account_id, live_mode, customer_uid, event_name, used_at, unsure_since, queued_at
  from sync.meter_events
  where state = 'queued' and live_mode = $1 and due_at <= now() and account_id <> all ($9::text[])
  order by due_at, id
  limit $2
  for no key update skip locked
), judged as materialized (
  select e.id, e.unsure_since, coalesce(billed.stripe_customer_id, c.stripe_customer_id, i.stripe_customer_id)
      as stripe_customer_id,
    coalesce(meter.customer_key, 'stripe_customer_id') as customer_key,
    coalesce(meter.value_key, 'value') as value_key,
    case
      when c.deleted_at is not null then 'refused'
      when e.unsure_since < now() - $4::interval then 'undecided'
      when e.used_at >= now() - $5::interval then 'queued'
      -- Nobody whom Stripe knows has used it: nobody pays for it, and nothing is to be decided.
      when coalesce(c.stripe_customer_id, i.stripe_customer_id) is null and e.unsure_since is null then 'refused'
      else 'expired'
    end as state,
    case when e.queued_at > now() - $7::interval then $6::interval else $8::interval end as unlinked_wait
  from due e
  left join billing.customers c on c.uid = e.customer_uid
  left join billing.identities i on i.uid = e.customer_uid
  left join lateral (
    -- Of several that share the record, the one that pays for it: to another one it would never be billed.
    select j.id as stripe_customer_id
    from (
      select i.stripe_customer_id as id, 0 as rank
      union all
      select stripe_customer_id, 1
      from billing.joined_customers
      where account_id = e.account_id and live_mode = e.live_mode and main_stripe_customer_id = i.stripe_customer_id
    ) j
    left join stripe.customers k on k.account_id = e.account_id and k.live_mode = e.live_mode and k.id = j.id
    where exists (
      select from billing.joined_customers
      where account_id = e.account_id and live_mode = e.live_mode and main_stripe_customer_id = i.stripe_customer_id
    )
    order by k.deleted_at is not null, not exists (
      select
      from stripe.subscriptions s
      join stripe.subscription_items t
        on t.account_id = s.account_id and t.live_mode = s.live_mode and t.subscription_id = s.id
      join stripe.prices p on p.account_id = t.account_id and p.live_mode = t.live_mode and p.id = t.price_id
      join stripe.meters m on m.account_id = p.account_id and m.live_mode = p.live_mode and m.id = p.meter_id
      where s.account_id = e.account_id and s.live_mode = e.live_mode and s.customer_id = j.id
        and s.status in ('trialing', 'active', 'past_due', 'unpaid', 'paused') and s.deleted_at is null
        and m.event_name = e.event_name
    ), j.rank, j.id
    limit 1
  ) billed on true
  left join lateral (
    select m.raw -> 'customer_mapping' ->> 'event_payload_key' as customer_key,
      m.raw -> 'value_settings' ->> 'event_payload_key' as value_key
    from stripe.meters m
    where m.account_id = e.account_id and m.live_mode = e.live_mode and m.event_name = e.event_name
    order by (m.status is not distinct from 'inactive'), m.id
    limit 1
  ) meter on true
)
update sync.meter_events e
set state = j.state,
  ended_at = case when j.state <> 'queued' then now() end,
  due_at = now() + case when j.stripe_customer_id is null then j.unlinked_wait else $3::interval end,
  attempts = e.attempts + (j.state = 'queued' and j.stripe_customer_id is not null)::int,
  unsure_since = case
    when j.state = 'queued' and j.stripe_customer_id is not null then coalesce(e.unsure_since, now())
    else e.unsure_since
  end,
  error = case j.state
    when 'refused' then case
      when j.stripe_customer_id is null then 'Stripe did not know the customer'
      else 'the customer was deleted at Stripe'
    end
    when 'undecided' then 'Stripe may have it, and no longer recognises it: ' || coalesce(e.error, 'no answer came')
    when 'expired' then 'Stripe takes nothing so old: ' || coalesce(e.error, 'no worker has sent it')
    else e.error
  end
from judged j
where e.id = j.id
returning e.id, e.account_id, j.stripe_customer_id, e.event_name, e.value, e.used_at, e.identifier, e.attempts,
  j.unsure_since as unsure_before, e.state, e.due_at as leased_until, j.customer_key, j.value_key
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueMeterEvent:
    """A meter event that is to be sent now."""

    id: int
    account_id: str
    stripe_customer_id: str
    event_name: str
    value: Decimal
    used_at: datetime
    identifier: str
    attempts: int
    unsure_before: datetime | None
    """When Stripe may first have got it, before this attempt."""
    leased_until: datetime
    customer_key: str
    """Under which name the meter wants the customer in the payload ..."""
    value_key: str
    """... and the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedMeterEvents:
    """What a claim has found."""

    found: int
    due: Sequence[DueMeterEvent]
    given_up: int
    """How many can no longer be sent."""


async def claim_meter_events(
    connection: Connection, *, live_mode: bool, limit: int, lease: timedelta, but: Collection[str] = ()
) -> ClaimedMeterEvents:
    """Lease the meter events that have been due longest, but those of some accounts. From its commit on Stripe may have
    them, whatever becomes of this process.
    """
    rows = await connection.fetch(
        CLAIM_METER_EVENTS,
        live_mode,
        limit,
        lease,
        RECOGNISED,
        TAKEN,
        UNLINKED_RETRY,
        UNLINKED_NEW,
        UNLINKED_REST,
        sorted(but),
    )
    due = []
    for row in sorted(rows, key=lambda row: (row["used_at"], row["id"])):
        if row["state"] == "queued" and row["stripe_customer_id"] is not None:
            values = dict(row)
            del values["state"]
            due.append(DueMeterEvent(**values))
    given_up = sum(row["state"] in ("undecided", "expired") for row in rows)
    return ClaimedMeterEvents(found=len(rows), due=due, given_up=given_up)


FINISH_METER_EVENTS = """
update sync.meter_events
set state = 'sent', ended_at = now(), error = null
where id = any ($1::bigint[]) and state = 'queued'
"""


async def finish_meter_events(connection: Connection, ids: Collection[int]) -> None:
    """Note that Stripe has these."""
    await connection.execute(FINISH_METER_EVENTS, sorted(ids))


# A worker that has lost its lease changes nothing.
POSTPONE_METER_EVENTS = """
update sync.meter_events e
set due_at = now() + late.wait, error = late.error,
  unsure_since = case when late.unsure then e.unsure_since else late.unsure_before end
from unnest($1::bigint[], $2::timestamptz[], $3::interval[], $4::text[], $5::boolean[], $6::timestamptz[])
  as late (id, leased_until, wait, error, unsure, unsure_before)
where e.id = late.id and e.state = 'queued' and e.due_at = late.leased_until
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Postponed:
    """A meter event that Stripe has not taken, or perhaps not."""

    event: DueMeterEvent
    error: str
    wait: timedelta
    unsure: bool
    """Whether Stripe may have got it by this attempt."""


async def postpone_meter_events(connection: Connection, late: Sequence[Postponed]) -> None:
    """Note why these were not sent, and when to try again."""
    await connection.execute(
        POSTPONE_METER_EVENTS,
        [each.event.id for each in late],
        [each.event.leased_until for each in late],
        [each.wait for each in late],
        [each.error for each in late],
        [each.unsure for each in late],
        [each.event.unsure_before for each in late],
    )


COUNT_GIVEN_UP = """
select state, count(*) from sync.meter_events where state in ('undecided', 'expired') group by state
"""


async def count_given_up(connection: Connection) -> dict[str, int]:
    """How many meter events somebody must decide on, by state."""
    return {row[0]: row[1] for row in await connection.fetch(COUNT_GIVEN_UP)}


ANY_REFUSED = """
select exists (
  select from sync.meter_events where state = 'queued' and attempts > 0 and unsure_since is null and due_at > now()
)
"""


async def any_refused(connection: Connection) -> bool:
    """Whether an event waits that Stripe has certainly not taken."""
    found: bool = await connection.fetchval(ANY_REFUSED)
    return found


# Each alarm waits for an event that was tried and still waits: of its account, or of any if it names none.
CLEAR_WHAT_NOBODY_WAITS_FOR = """
delete from sync.alarms a
where (a.name = any ($1::text[]) or split_part(a.name, ' acct_', 1) = any ($1::text[])) and not exists (
  select from sync.meter_events e
  where e.state = 'queued' and e.live_mode = $2 and e.attempts > 0 and a.account_id in ('', e.account_id)
)
"""


async def clear_what_nobody_waits_for(
    connection: Connection, names: Collection[str], *, live_mode: bool
) -> None:
    """Take back alarms of these names, of every account, about what Stripe was not told, once no meter event waits that
    was tried: their customers were deleted or forgotten, or they were given up.
    """
    await connection.execute(CLEAR_WHAT_NOBODY_WAITS_FOR, sorted(names), live_mode)


TRIM_METER_EVENTS = """
delete from sync.meter_events
where id = any (array(
  select id from sync.meter_events where state in ('sent', 'refused') and ended_at < now() - $1::interval limit $2
))
"""


async def trim_meter_events(connection: Connection, *, limit: int) -> int:
    """Remove what has ended long ago; returns how many."""
    done = await connection.execute(TRIM_METER_EVENTS, ENDED_KEPT, limit)
    return int(done.rpartition(" ")[2])
