"""What was set here of customers that Stripe knows, and is on its way there (worker/live/push.py)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec

from billing.pushes import METADATA_KEYS_MAX, joined, names_of
from db.connection import Connection
from db.keys import CustomerKey, Scope, columns_of_keys


def _join(earlier: str, later: str) -> str:
    """Both stages as one: the later one counts, field by field and key by key."""
    return f"""coalesce({earlier}, '{{}}') || coalesce({later}, '{{}}') || case
      when {earlier} ? 'metadata' or {later} ? 'metadata' then jsonb_build_object(
        'metadata', coalesce({earlier} -> 'metadata', '{{}}') || coalesce({later} -> 'metadata', '{{}}')
      ) else '{{}}'
    end"""


WANT_PUSH = f"""
insert into sync.pushes as p (account_id, live_mode, customer_id, wanted, wanted_since, due_at)
values ($1, $2, $3, $4::jsonb, now(), now())
on conflict (account_id, live_mode, customer_id) do update set
  wanted = {_join("p.wanted", "excluded.wanted")},
  wanted_since = coalesce(p.wanted_since, now()),
  -- A request under way keeps its lease, one that waits its turn.
  due_at = coalesce(p.due_at, now())
"""


async def want_push(connection: Connection, key: CustomerKey, fields: Mapping[str, object]) -> None:
    """Send these fields to Stripe, in the transaction that sets them here and before it marks the customer."""
    await connection.execute(WANT_PUSH, *key, msgspec.json.encode(fields).decode())


@dataclass(frozen=True, slots=True, kw_only=True)
class DuePush:
    """A request to be sent now."""

    key: CustomerKey
    fields: Mapping[str, object]
    request: UUID
    attempts: int


# What is sent is fixed here, and only one worker has it; what is set meanwhile is another request.
CLAIM_PUSHES = """
with next as (
  select account_id, live_mode, customer_id
  from sync.pushes
  where due_at <= now() and live_mode = $1 and account_id <> all ($2::text[]) and account_id = coalesce($5, account_id)
  order by due_at
  limit $3
  for no key update skip locked
)
update sync.pushes p
set sending = coalesce(p.sending, p.wanted), request = coalesce(p.request, gen_random_uuid()),
  since = case when p.sending is null then p.wanted_since else p.since end,
  wanted = case when p.sending is not null then p.wanted end,
  wanted_since = case when p.sending is not null then p.wanted_since end,
  attempts = p.attempts + 1, due_at = now() + $4
from next n
where (p.account_id, p.live_mode, p.customer_id) = (n.account_id, n.live_mode, n.customer_id)
returning p.account_id, p.live_mode, p.customer_id, p.sending, p.request, p.attempts
"""


async def claim_pushes(
    connection: Connection,
    *,
    live_mode: bool,
    limit: int,
    lease: timedelta,
    but: Collection[str] = (),
    only: str | None = None,
) -> list[DuePush]:
    """Lease the pushes that have been due longest, of one account, or of all but some, counting the attempt. Must be
    committed before any request.
    """
    return [
        DuePush(
            key=CustomerKey(row[0], row[1], row[2]),
            fields=msgspec.json.decode(row["sending"]),
            request=row["request"],
            attempts=row["attempts"],
        )
        for row in await connection.fetch(CLAIM_PUSHES, live_mode, list(but), limit, lease, only)
    ]


ANY_PUSH_WAITS = """
select exists (select from sync.pushes where account_id = $1 and live_mode = $2 and due_at is not null)
"""


async def any_push_waits(connection: Connection, scope: Scope) -> bool:
    """Whether something is on its way to customers of this account."""
    waits: bool = await connection.fetchval(ANY_PUSH_WAITS, *scope)
    return waits


RELEASE_PUSHES = """
with held as (
  select account_id, live_mode, customer_id
  from sync.pushes p
  join unnest($1::text[], $2::boolean[], $3::text[], $4::uuid[], $5::integer[])
    as k (account_id, live_mode, customer_id, request, attempts)
    using (account_id, live_mode, customer_id, request, attempts)
  order by 1, 2, 3
  for no key update of p
)
update sync.pushes p
set attempts = p.attempts - 1, due_at = now()
from held h
where (p.account_id, p.live_mode, p.customer_id) = (h.account_id, h.live_mode, h.customer_id)
"""


async def release_pushes(connection: Connection, pushes: Sequence[DuePush]) -> None:
    """Undo their claims, if they were not sent after all and no other worker has claimed them since."""
    await connection.execute(
        RELEASE_PUSHES,
        *columns_of_keys(CustomerKey, [push.key for push in pushes]),
        [push.request for push in pushes],
        [push.attempts for push in pushes],
    )


# What Stripe has refused of other fields it still has not.
_STILL_REFUSED = "nullif(p.refused - array(select jsonb_object_keys(p.sending)), '{}')"

FINISH_PUSH = f"""
update sync.pushes p
set sent = {_join("p.sent", "p.sending")}, sent_tick = o.dirty, sending = null, request = null,
  refused = {_STILL_REFUSED}, refused_error = case when {_STILL_REFUSED} is not null then p.refused_error end,
  attempts = 0, error = null, since = null, due_at = case when p.wanted is not null then now() end
from sync.objects o
where p.account_id = $1 and p.live_mode = $2 and p.customer_id = $3 and p.request = $4
  and o.account_id = $1 and o.live_mode = $2 and o.kind = 'customer' and o.id = $3
returning true
"""


async def finish_push(connection: Connection, push: DuePush) -> bool:
    """Stripe has got it. In a transaction that has marked the customer, so that a read is to say what Stripe has made
    of it; False if another worker has noted that before.
    """
    return bool(await connection.fetchval(FINISH_PUSH, *push.key, push.request))


POSTPONE_PUSH = """
update sync.pushes
set error = $5, due_at = now() + $6, request = case when $7 then gen_random_uuid() else request end
where account_id = $1 and live_mode = $2 and customer_id = $3 and request = $4
"""


async def postpone_push(
    connection: Connection, push: DuePush, *, error: str, retry_after: timedelta, anew: bool = False
) -> None:
    """Note why Stripe has not got it, and when to send it again: as the same request, or, with `anew`, as another
    one.
    """
    await connection.execute(POSTPONE_PUSH, *push.key, push.request, error, retry_after, anew)


REFUSE_PUSH = f"""
update sync.pushes p
set refused = {_join("p.refused", "$6::jsonb")}, refused_error = $5, sending = $7::jsonb,
  request = case when $7::jsonb is not null then gen_random_uuid() end, attempts = 0, error = null,
  since = case when $7::jsonb is not null then p.since end,
  due_at = case when coalesce($7::jsonb, p.wanted) is not null then now() end
where account_id = $1 and live_mode = $2 and customer_id = $3 and request = $4
returning true
"""


async def refuse_push(
    connection: Connection,
    push: DuePush,
    *,
    error: str,
    refused: Mapping[str, object],
    rest: Mapping[str, object],
) -> bool:
    """Stripe does not take these of its fields: note them and why, and do not send them again. The rest is another
    request, due now.
    """
    left = msgspec.json.encode(rest).decode() if rest else None
    said = msgspec.json.encode(refused).decode()
    return bool(await connection.fetchval(REFUSE_PUSH, *push.key, push.request, error, said, left))


WAKE_PUSHES = """
with waiting as (
  select account_id, live_mode, customer_id
  from sync.pushes
  where account_id = $1 and live_mode = $2 and due_at > now()
  order by 1, 2, 3
  for no key update skip locked
)
update sync.pushes p
set due_at = now()
from waiting w
where (p.account_id, p.live_mode, p.customer_id) = (w.account_id, w.live_mode, w.customer_id)
"""


async def wake_pushes(connection: Connection, account_id: str, *, live_mode: bool) -> None:
    """What waited in this account is due: its customers can be written again. A request that is under way may be sent
    twice, which Stripe takes for one.
    """
    await connection.execute(WAKE_PUSHES, account_id, live_mode)


# Of a customer whose every change is confirmed: only then is it known what Stripe lacks.
SELECT_OFFERED = """
select p.account_id, p.live_mode, p.customer_id
from sync.pushes p
where p.offered and p.live_mode = $1 and exists (
  select from sync.objects o
  where o.account_id = p.account_id and o.live_mode = p.live_mode and o.kind = 'customer' and o.id = p.customer_id
    and (o.confirmed > o.dirty or o.tombstone)
  offset 0
)
order by 1, 2, 3
limit $2
"""


async def select_offered(connection: Connection, *, live_mode: bool, limit: int) -> list[CustomerKey]:
    """Customers that were linked, and of which Stripe has said since what it has."""
    return [
        CustomerKey(row[0], row[1], row[2])
        for row in await connection.fetch(SELECT_OFFERED, live_mode, limit)
    ]


# Locks as everywhere: identity, push, customer.
LOCK_OFFERING = """
select from billing.identities where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
for no key update
"""

SEND_LACKING = f"""
with offer as (
  select jsonb_strip_nulls(jsonb_build_object(
    'name', case when c.name is null then i.name end,
    'email', case when c.email is null then i.email end,
    'description', case when c.description is null then i.description end,
    -- One key too many, and Stripe would take nothing of it all. What does not fit stays here.
    'metadata', (
      select jsonb_object_agg(fits.key, fits.value)
      from (
        select own.key, own.value
        from jsonb_each(case when jsonb_typeof(i.metadata) = 'object' then i.metadata else '{{}}' end) own
        where jsonb_typeof(own.value) = 'string' and not c.metadata ? own.key
        order by own.key
        limit greatest({METADATA_KEYS_MAX} - (select count(*) from jsonb_object_keys(c.metadata)), 0)
      ) fits
    )
  )) as lacking
  from billing.identities i
  join stripe.customers c on c.account_id = i.account_id and c.live_mode = i.live_mode and c.id = i.stripe_customer_id
  where i.account_id = $1 and i.live_mode = $2 and i.stripe_customer_id = $3 and c.deleted_at is null
), lacks as (
  select lacking from offer where lacking <> '{{}}'
)
update sync.pushes p
set offered = false,
  wanted = case
    when exists (select from lacks) then {_join("(select lacking from lacks)", "p.wanted")} else p.wanted
  end,
  wanted_since = case
    when exists (select from lacks) then coalesce(p.wanted_since, now()) else p.wanted_since
  end,
  due_at = case when exists (select from lacks) then coalesce(p.due_at, now()) else p.due_at end
where p.account_id = $1 and p.live_mode = $2 and p.customer_id = $3 and p.offered
returning (select lacking from lacks) as lacking
"""

# What is sent, or is the same there, was set here once: from now on what Stripe says counts. What differs stays.
GIVE_UP_OFFERED = """
update billing.identities i
set name = case when $4::jsonb ? 'name' or i.name = c.name then null else i.name end,
  email = case when $4::jsonb ? 'email' or i.email = c.email then null else i.email end,
  description = case
    when $4::jsonb ? 'description' or i.description = c.description then null else i.description
  end,
  metadata = case when jsonb_typeof(i.metadata) = 'object' then i.metadata - array(
    select own.key
    from jsonb_each(i.metadata) own
    where $4::jsonb -> 'metadata' ? own.key or c.metadata -> own.key = own.value
  ) else i.metadata end
from stripe.customers c
where i.account_id = $1 and i.live_mode = $2 and i.stripe_customer_id = $3
  and c.account_id = $1 and c.live_mode = $2 and c.id = $3 and c.deleted_at is null
"""

FORGET_OFFER = """
delete from sync.pushes
where account_id = $1 and live_mode = $2 and customer_id = $3
  and due_at is null and sent is null and refused is null and not offered
"""


async def send_what_stripe_lacks(connection: Connection, key: CustomerKey) -> None:
    """Send what was set of this customer before it was linked, so far as Stripe has none of it. In a transaction."""
    await connection.execute(LOCK_OFFERING, *key)
    row = await connection.fetchrow(SEND_LACKING, *key)
    if row is not None:
        await connection.execute(GIVE_UP_OFFERED, *key, row["lacking"] or "{}")
    await connection.execute(FORGET_OFFER, *key)


# It has done its part once a read that began afterwards is stored: from then on what that says counts.
CLEAR_SENT = """
with seen as (
  select account_id, live_mode, customer_id
  from sync.pushes p
  where p.sent is not null and p.live_mode = $1 and exists (
    select from sync.objects o
    where o.account_id = p.account_id and o.live_mode = p.live_mode and o.kind = 'customer' and o.id = p.customer_id
      and (o.confirmed > p.sent_tick or o.tombstone)
    offset 0
  )
  order by 1, 2, 3
  limit $2
  for no key update skip locked
), cleared as (
  update sync.pushes p
  set sent = null, sent_tick = null
  from seen s
  where (p.account_id, p.live_mode, p.customer_id) = (s.account_id, s.live_mode, s.customer_id)
    and (p.due_at is not null or p.refused is not null or p.offered)
)
delete from sync.pushes p
using seen s
where (p.account_id, p.live_mode, p.customer_id) = (s.account_id, s.live_mode, s.customer_id)
  and p.due_at is null and p.refused is null and not p.offered
"""


async def clear_sent(connection: Connection, *, live_mode: bool, limit: int) -> None:
    """Forget what Stripe has got and a later read has shown: the records show what that said already."""
    await connection.execute(CLEAR_SENT, live_mode, limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """What of a customer is on its way to Stripe, as the API shows it."""

    fields: tuple[str, ...]
    """What Stripe has not got yet: email, metadata.plan. Empty: nothing waits."""
    since: datetime | None
    """When the oldest of it was set."""
    attempts: int
    """Requests begun for it."""
    refused: tuple[str, ...]
    """What Stripe has not taken, and is not sent again."""
    error: str | None
    """Why the latest request failed, or else why fields were refused."""


# Of several customers that share a record: the first that waits, or else was refused something; the main one first.
SELECT_PUSHES = """
with main as (
  select * from unnest($1::text[], $2::boolean[], $3::text[]) as k (account_id, live_mode, customer_id)
), asked as (
  select account_id, live_mode, customer_id, customer_id as main_id from main
  union all
  select j.account_id, j.live_mode, j.stripe_customer_id, m.customer_id
  from main m
  join billing.joined_customers j
    on j.account_id = m.account_id and j.live_mode = m.live_mode and j.main_stripe_customer_id = m.customer_id
)
select distinct on (account_id, live_mode, main_id)
  account_id, live_mode, main_id, wanted, sending, refused, coalesce(since, wanted_since) as since, attempts,
  coalesce(error, refused_error) as error
from sync.pushes
join asked using (account_id, live_mode, customer_id)
where due_at is not null or refused is not null
order by account_id, live_mode, main_id, due_at is null, customer_id <> main_id, customer_id
"""


async def select_pushes(connection: Connection, keys: Collection[CustomerKey]) -> dict[CustomerKey, Push]:
    """What is on its way of these customers, or of those that are joined to them: of nearly all nothing."""
    if not keys:
        return {}
    rows = await connection.fetch(SELECT_PUSHES, *columns_of_keys(CustomerKey, keys))
    return {CustomerKey(row[0], row[1], row[2]): _push(row) for row in rows}


def _push(row: asyncpg.Record) -> Push:
    waiting = joined([_decoded(row["sending"]), _decoded(row["wanted"])])
    return Push(
        fields=names_of(waiting),
        since=row["since"],
        attempts=row["attempts"],
        refused=names_of(_decoded(row["refused"]) or {}),
        error=row["error"],
    )


def _decoded(stage: str | None) -> Mapping[str, object] | None:
    return None if stage is None else msgspec.json.decode(stage, type=dict[str, object])
