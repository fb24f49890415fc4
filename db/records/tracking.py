"""What customers use of features, as it is tracked: one insert for each call, and one set of sums for a whole batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from db.connection import Connection
from db.keys import Scope
from db.records.full import uid_in
from db.records.joins import main_of_sql
from db.records.moved import take_turn


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent:
    """What a caller says was used."""

    idempotency_key: str
    feature_id: str
    entity_id: str | None
    value: int
    used_at: datetime | None
    """None: when the call comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredUsageEvent:
    """A row of billing.usage_events, as far as callers see it."""

    customer_uid: UUID
    feature_id: str
    entity_id: str | None
    value: int
    used_at: datetime
    states_time: bool

    def is_the_same(self, event: UsageEvent, customer_uid: UUID) -> bool:
        """Whether a later call with its key says what the first one said."""
        said = (self.customer_uid, self.feature_id, self.entity_id, self.value)
        time = self.used_at if self.states_time else None
        return (
            said == (customer_uid, event.feature_id, event.entity_id, event.value) and time == event.used_at
        )


_STORED = "customer_uid, feature_id, entity_id, value, used_at, states_time"

# Found and stored in one statement. A second call with the key waits until the first one is committed.
TRACK = f"""
with meant as (
  select uid
  from (
    select uid, stripe_customer_id, 1 as rank
    from billing.customers where uid = $4 and account_id = $1 and live_mode = $2
    union all
    select uid, stripe_customer_id, case when stripe_customer_id = $3 then 3 else 2 end
    from billing.customers
    where account_id = $1 and live_mode = $2 and stripe_customer_id in ($3, {main_of_sql("$3")})
    union all
    -- What a buyer wrote into a payment link names nobody.
    select c.uid, c.stripe_customer_id, 4
    from billing.customers c
    where c.account_id = $1 and c.live_mode = $2 and c.custom_uid = $3 and not exists (
      select from sync.uid_claims n
      where n.account_id = $1 and n.live_mode = $2 and n.customer_id = c.stripe_customer_id and n.source = 'page'
    )
    union all
    -- It is no more if the customer was forgotten a moment ago.
    select uid, stripe_customer_id, 5
    from billing.identities where uid = $10 and account_id = $1 and live_mode = $2
  ) named
  -- The record of a forgotten customer goes on without what says who it was, and what it used is part of that.
  where not exists (
    select from sync.forgotten f
    where f.account_id = $1 and f.live_mode = $2 and f.customer_id = named.stripe_customer_id
  )
  order by rank
  limit 1
), stored as (
  insert into billing.usage_events
    (account_id, live_mode, idempotency_key, customer_uid, feature_id, entity_id, value, used_at, states_time)
  select $1, $2, $5, uid, $6, $7, $8, coalesce($9::timestamptz, now()), $9::timestamptz is not null from meant
  on conflict (account_id, live_mode, idempotency_key) do nothing
  returning {_STORED}
)
select meant.uid, stored.*
from meant
left join stored on true
"""

SELECT_USAGE_EVENT = f"""
select {_STORED}
from billing.usage_events
where account_id = $1 and live_mode = $2 and idempotency_key = $3
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """What came of a call."""

    customer_uid: UUID
    """Whom it is about."""
    event: StoredUsageEvent
    first: bool
    """Whether it counts. False: a call with its key did already, perhaps with another body."""


async def track(
    connection: Connection, scope: Scope, name: str, event: UsageEvent, *, known_uid: UUID | None = None
) -> Tracked | None:
    """Count what the customer with this uid, Stripe id or custom_uid has used. None if it has no record, or is
    forgotten; `known_uid`: the uid that its record will have.

    Not in a transaction: what another call has stored under the key meanwhile must be visible.
    """
    row = await connection.fetchrow(
        TRACK,
        *scope,
        name,
        uid_in(name),
        event.idempotency_key,
        event.feature_id,
        event.entity_id,
        event.value,
        event.used_at,
        known_uid,
    )
    if row is None:
        return None
    uid, *stored = row
    if stored[0] is not None:
        return Tracked(customer_uid=uid, event=_event(stored), first=True)
    known = await connection.fetchrow(SELECT_USAGE_EVENT, *scope, event.idempotency_key)
    if known is None:  # it has gone meanwhile, with its customer or after 40 days
        return await track(connection, scope, name, event, known_uid=known_uid)
    return Tracked(customer_uid=uid, event=_event([*known]), first=False)


def _event(values: list[object]) -> StoredUsageEvent:
    return StoredUsageEvent(**dict(zip(_STORED.split(", "), values, strict=True)))  # type: ignore[arg-type]


# Adding up

SEEN_EVERY = timedelta(minutes=15)
"""last_seen moves no more often than this: each move derives the customer's record anew."""

# One batch: its events leave the queue, their minutes grow, and what a meter counts is queued for Stripe. The meter of
# a feature is the one that its metadata name, else the one by which a price with this feature_id is charged: of several
# the one that the customer's own subscriptions are charged by.
ADD_USAGE = """
with batch as materialized (
  update billing.usage_events e
  set pending = false,
    -- It may have been stored while its customer got another uid.
    customer_uid = coalesce((select f.after from sync.former_uids f where f.before = e.customer_uid), e.customer_uid)
  -- `array`: looked up once. A semi join looks them up again for each row if hardly any was pending when the planner
  -- learnt of the table: 2,000 rows took two seconds.
  where e.pending and e.id = any (array(select id from billing.usage_events where pending order by id limit $1))
  returning e.account_id, e.live_mode, e.idempotency_key, e.customer_uid, e.feature_id, e.entity_id, e.value, e.used_at
), added as (
  insert into billing.usage_minutes as m (customer_uid, feature_id, entity_id, minute, value)
  select customer_uid, feature_id, entity_id, date_trunc('minute', used_at), sum(value)
  from batch
  group by 1, 2, 3, 4
  order by 1, 2, 4, 3
  on conflict (customer_uid, feature_id, minute, md5(entity_id)) do update set value = m.value + excluded.value
), features as materialized (
  select distinct account_id, live_mode, feature_id from batch
), sold as materialized (
  -- All metered prices are gone through once, and not once for each feature: there may be one for each customer.
  select distinct p.account_id, p.live_mode, p.meter_id,
    coalesce(nullif(p.metadata ->> 'feature_id', ''), s.metadata ->> 'feature_id') as feature_id
  from stripe.prices p
  left join stripe.products s
    on s.account_id = p.account_id and s.live_mode = p.live_mode and s.id = p.product_id
  where p.meter_id is not null and exists (select from features)
    and (p.account_id, p.live_mode) in (select account_id, live_mode from features)
), possible as materialized (
  select f.account_id, f.live_mode, f.feature_id, null as meter_id, named.metadata ->> 'meter' as event_name, m.formula,
    1 as rank
  from features f
  join stripe.features named
    on named.account_id = f.account_id and named.live_mode = f.live_mode
      and (named.lookup_key = f.feature_id or named.id = f.feature_id) and named.metadata ->> 'meter' <> ''
  left join stripe.meters m
    on m.account_id = f.account_id and m.live_mode = f.live_mode and m.event_name = named.metadata ->> 'meter'
      and m.status is distinct from 'inactive'
  union all
  select f.account_id, f.live_mode, f.feature_id, m.id, m.event_name, m.formula, 4
  from features f
  join sold on sold.account_id = f.account_id and sold.live_mode = f.live_mode and sold.feature_id = f.feature_id
  join stripe.meters m
    on m.account_id = sold.account_id and m.live_mode = sold.live_mode and m.id = sold.meter_id
      and m.status is distinct from 'inactive' and m.event_name is not null
), metered as materialized (
  select distinct on (b.customer_uid, b.feature_id)
    b.account_id, b.live_mode, b.customer_uid, b.feature_id, p.event_name, p.formula
  from (select distinct account_id, live_mode, customer_uid, feature_id from batch) b
  join possible p using (account_id, live_mode, feature_id)
  order by b.customer_uid, b.feature_id, coalesce(
      (
        -- By what was sold, and not by what meters were read for: that comes later, or never.
        select min(case when s.status = 'ended' then 3 else 2 end)
        from billing.customer_products s
        join stripe.subscription_items i
          on i.account_id = s.account_id and i.live_mode = s.live_mode and i.subscription_id = s.stripe_subscription_id
        join stripe.prices c on c.account_id = i.account_id and c.live_mode = i.live_mode and c.id = i.price_id
        where s.customer_uid = b.customer_uid and c.meter_id = p.meter_id
      ),
      p.rank
    ), p.event_name
), queued as (
  insert into sync.meter_events (account_id, live_mode, customer_uid, event_name, value, used_at)
  select b.account_id, b.live_mode, b.customer_uid, m.event_name, sum(b.value), date_trunc('second', b.used_at)
  from batch b
  join metered m using (account_id, live_mode, customer_uid, feature_id)
  -- Only of a meter that adds values up, the sum of several is the same.
  group by 1, 2, 3, 4, date_trunc('second', b.used_at),
    case when m.formula is distinct from 'sum' then b.idempotency_key end
  having sum(b.value) <> 0 or min(m.formula) is distinct from 'sum'
  order by 3, 4, 6
), seen as (
  select b.customer_uid, max(least(b.used_at, now())) as seen_at from batch b group by 1
)
select seen.customer_uid, c.account_id, c.live_mode, c.stripe_customer_id, seen.seen_at, batch.count
from (select count(*) from batch) batch
left join (
  seen join billing.customers c
    on c.uid = seen.customer_uid and (c.last_seen is null or c.last_seen <= seen.seen_at - $2::interval)
) on true
order by 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """When a customer was seen last."""

    customer_uid: UUID
    account_id: str
    live_mode: bool
    stripe_customer_id: str | None
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What was added up."""

    count: int
    seen: Sequence[Seen]
    """The customers whose last_seen is to move."""


async def add_usage(connection: Connection, *, limit: int) -> Added | None:
    """Add up a batch of what was tracked, and queue it for Stripe's meters. In a transaction. None: another worker is
    about it.
    """
    if not await take_turn(connection):
        return None
    rows = await connection.fetch(ADD_USAGE, limit, SEEN_EVERY)
    return Added(
        count=rows[0][-1],
        seen=[Seen(**dict(list(row.items())[:-1])) for row in rows if row[0] is not None],
    )


MOVE_LAST_SEEN = """
update billing.identities i
set last_seen = later.seen_at
from (
  select known.uid, seen.seen_at
  from unnest($1::uuid[], $2::timestamptz[]) as seen (uid, seen_at)
  join billing.identities known using (uid)
  where (known.last_seen is null or known.last_seen < seen.seen_at) and not exists (
    select from sync.forgotten f
    where f.account_id = known.account_id and f.live_mode = known.live_mode
      and f.customer_id = known.stripe_customer_id
  )
  order by known.uid
  for no key update of known
) later
where i.uid = later.uid
"""

# A customer of Stripe's gets its identity under the uid that it has, unless it was forgotten.
BEGIN_LAST_SEEN = """
insert into billing.identities (uid, account_id, live_mode, stripe_customer_id, last_seen)
select uid, account_id, live_mode, stripe_customer_id, seen_at
from unnest($1::uuid[], $2::text[], $3::boolean[], $4::text[], $5::timestamptz[])
  as seen (uid, account_id, live_mode, stripe_customer_id, seen_at)
where stripe_customer_id is not null and not exists (select from billing.identities i where i.uid = seen.uid)
  and not exists (
    select from sync.forgotten f
    where f.account_id = seen.account_id and f.live_mode = seen.live_mode and f.customer_id = seen.stripe_customer_id
  )
order by uid
on conflict do nothing
"""


async def move_last_seen(connection: Connection, seen: Sequence[Seen]) -> None:
    """Note when these customers were seen last; a worker then derives their records."""
    if not seen:
        return
    uids, times = [each.customer_uid for each in seen], [each.seen_at for each in seen]
    await connection.execute(MOVE_LAST_SEEN, uids, times)
    await connection.execute(
        BEGIN_LAST_SEEN,
        uids,
        [each.account_id for each in seen],
        [each.live_mode for each in seen],
        [each.stripe_customer_id for each in seen],
        times,
    )


# An insert of theirs may come a moment late, so the time that keys are kept leaves room.
KEPT = timedelta(days=40)
"""How long a key counts once: Stripe takes no use older than 35 days, and neither does the API."""

TRIM_USAGE_EVENTS = """
delete from billing.usage_events
where ctid = any (array(
  select ctid from billing.usage_events where not pending and received_at < now() - $1::interval limit $2
))
"""


async def trim_usage_events(connection: Connection, *, limit: int) -> int:
    """Forget keys that are old; returns how many. Their use stays counted."""
    done = await connection.execute(TRIM_USAGE_EVENTS, KEPT, limit)
    return int(done.rpartition(" ")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """A place in the order of billing.usage_minutes."""

    customer_uid: UUID
    feature_id: str
    minute: datetime | None
    """None: before all of the feature's."""
    entity: str | None
    """A digest of the entity; None: of no entity, after all others."""


BEFORE_ALL = Minute(customer_uid=UUID(int=0), feature_id="", minute=None, entity="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Months:
    """What one batch has done."""

    last: Minute | None
    """The last minute that it has looked at; None: there is none behind the one before."""
    seen: int
    added_up: int


# A month is added up if it lies before the period of every subscription that has not ended: so no sum over a period
# changes, nor any over all time.
ADD_UP_MONTHS = """
with seen as materialized (
  select m.ctid, m.customer_uid, m.feature_id, m.minute, md5(m.entity_id) as entity
  from billing.usage_minutes m
  where (m.customer_uid, m.feature_id, m.minute) >= ($1, $2, coalesce($3::timestamptz, '-infinity'))
    and (
      (m.customer_uid, m.feature_id, m.minute) > ($1, $2, coalesce($3::timestamptz, '-infinity'))
      or md5(m.entity_id) > $4 or (m.entity_id is null and $4 is not null)
    )
  -- The order of an index: the limit ends its scan.
  order by m.customer_uid, m.feature_id, m.minute, md5(m.entity_id)
  limit $5
), customers as materialized (
  select whose.customer_uid, date_trunc('month', least(now() - $6::interval, began.at), 'UTC') as kept_from
  from (select distinct customer_uid from seen) whose
  cross join lateral (
    select min(coalesce(p.current_period_start, p.starts_at)) as at
    from billing.customer_products p
    where p.customer_uid = whose.customer_uid and p.status is distinct from 'ended'
  ) began
), left_behind as (
  delete from billing.usage_minutes
  where ctid = any (array(
    select s.ctid
    from seen s
    join customers c using (customer_uid)
    where s.minute < c.kept_from and s.minute <> date_trunc('month', s.minute, 'UTC')
  ))
  returning customer_uid, feature_id, entity_id, date_trunc('month', minute, 'UTC') as month, value
), added as (
  insert into billing.usage_minutes as m (customer_uid, feature_id, entity_id, minute, value)
  select customer_uid, feature_id, entity_id, month, sum(value)
  from left_behind
  group by 1, 2, 3, 4
  order by 1, 2, 4, 3
  on conflict (customer_uid, feature_id, minute, md5(entity_id)) do update set value = m.value + excluded.value
)
select last.*, (select count(*) from seen) as seen, (select count(*) from left_behind) as added_up
from (select 1) always
left join (
  select customer_uid, feature_id, minute, entity
  from seen
  order by customer_uid desc, feature_id desc, minute desc, entity desc nulls first
  limit 1
) last on true
"""


async def add_up_months(
    connection: Connection, *, after: Minute, age: timedelta, limit: int
) -> Months | None:
    """Of the next minutes, add up those that are older than this by month, each at the month's begin (UTC), unless a
    subscription's current period has begun by then. In a transaction. None: another worker adds up just now.
    """
    if not await take_turn(connection):
        return None
    row = await connection.fetchrow(
        ADD_UP_MONTHS, after.customer_uid, after.feature_id, after.minute, after.entity, limit, age
    )
    if row is None or row["customer_uid"] is None:
        return Months(last=None, seen=0, added_up=0)
    *last, seen, added_up = row
    customer_uid, feature_id, minute, entity = last
    return Months(
        last=Minute(customer_uid=customer_uid, feature_id=feature_id, minute=minute, entity=entity),
        seen=seen,
        added_up=added_up,
    )
