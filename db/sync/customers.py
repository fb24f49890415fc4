"""Which customers' records are older than their facts, and which worker derives them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

import asyncpg

from db.connection import Connection
from db.keys import CustomerKey, Key, Scope, columns_of_keys
from db.sync.not_understood import select_named

FIRST_SIGHT = timedelta(seconds=10)
"""How long its customer.created may be late before a customer's history is pulled."""

MARK_STALE = """
insert into sync.customers as c (
  account_id, live_mode, customer_id, stale, stale_since, complete, known_from, history_at
)
select
  account_id, live_mode, customer_id, 1, now(), complete, known_from,
  case when not complete then now() + case when told then interval '0' else $5 end end
from unnest($1::text[], $2::boolean[], $3::text[], $4::boolean[], $6::timestamptz[], $7::boolean[])
  as new (account_id, live_mode, customer_id, complete, known_from, told)
order by account_id, live_mode, customer_id
-- `do nothing` would take no lock, and a derivation that is being stored right now would swallow this mark.
on conflict (account_id, live_mode, customer_id) do update set
  stale = c.stale + 1,
  stale_since = case when c.stale > c.derived then c.stale_since else now() end,
  complete = c.complete or excluded.complete,
  known_from = case when c.complete then c.known_from else excluded.known_from end,
  -- A customer known from its start needs no pull at first sight, but still one that somebody asked for.
  history_at = case
    when excluded.complete and c.history_asked = 0 then null
    when c.history_at > excluded.history_at and c.history_attempts = 0 then excluded.history_at
    else c.history_at
  end,
  -- New facts are a new chance for a customer that was given up.
  attempts = case when c.parked_at is null then c.attempts else 0 end,
  parked_at = null
"""


async def mark_stale(
    connection: Connection,
    customers: Sequence[CustomerKey],
    *,
    complete: Mapping[CustomerKey, datetime | None] = MappingProxyType({}),
    told: Collection[CustomerKey] = (),
) -> None:
    """Raise the customers' `stale`, in the transaction that writes their facts and after everything else in it.

    `complete`: the customers of which everything since their start is known, and when the event that says so was
    created. `told`: those whose customer.created has come. If that does not make one complete, no later event will, so
    its history is due at once.
    """
    await connection.execute(
        MARK_STALE,
        *columns_of_keys(CustomerKey, customers),
        [key in complete for key in customers],
        FIRST_SIGHT,
        [complete.get(key) for key in customers],
        [key in told for key in customers],
    )


def raising(selected: str, *, also: str = "") -> str:
    """The statement that raises `stale` of customers that exist: those that a selection takes and locks in order.
    `also` sets more of each, `c`.
    """
    return f"""
with selected as (
  select account_id, live_mode, customer_id
  from sync.customers
  where {selected}
)
update sync.customers c
set stale = c.stale + 1, stale_since = case when c.stale > c.derived then c.stale_since else now() end{also}
from selected s
where (c.account_id, c.live_mode, c.customer_id) = (s.account_id, s.live_mode, s.customer_id)
"""


DOUBT_STARTS = raising(
    """account_id = $1 and live_mode = $2 and complete and known_from < $3
  order by customer_id
  for no key update""",
    also=", complete = false, known_from = null, history_at = coalesce(c.history_at, now())",
)


async def doubt_starts(connection: Connection, account_id: str, *, live_mode: bool, since: datetime) -> None:
    """Schedule a pull of the histories of customers that an event from before `since` made complete: events in between
    may have been lost.
    """
    await connection.execute(DOUBT_STARTS, account_id, live_mode, since)


MARK_UNTOLD_STALE = """
with untold as (
  select c.account_id, c.live_mode, c.customer_id
  from sync.objects o
  join sync.customers c on c.account_id = $1 and c.live_mode = $2 and c.customer_id = o.id
  where o.account_id = $1 and o.live_mode = $2 and o.dirty >= coalesce($3::bigint, 0) and o.dirty < $4
    and o.kind = 'customer' and o.tombstone and o.shown_created is null and o.event_id is not null
  order by c.customer_id
  for no key update of c
)
update sync.customers c
set stale = c.stale + 1, stale_since = case when c.stale > c.derived then c.stale_since else now() end
from untold u
where (c.account_id, c.live_mode, c.customer_id) = (u.account_id, u.live_mode, u.customer_id)
"""


async def mark_untold_stale(
    connection: Connection, scope: Scope, *, after_tick: int | None, before_tick: int
) -> None:
    """A fill of gaps has ended, and the one before it began at `after_tick`: customers that were deleted before anybody
    read them may be exact now, whether it has brought what their events say or found none.
    """
    await connection.execute(MARK_UNTOLD_STALE, *scope, after_tick, before_tick)


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleCustomer:
    """A customer to derive; `stale` was read before any of its facts."""

    key: CustomerKey
    stale: int
    complete: bool
    attempts: int
    as_of: datetime


# Customers that were claimed before come first, one at a time: so attempts count only against those that a lost worker
# held. Heavy ones are claimed apart (db/sync/heavy.py).
CLAIM_STALE = """
-- Claims go by age, so customers that were claimed before are among those that have waited longest.
with head as (
  select account_id, live_mode, customer_id, attempts, leased_until
  from sync.customers
  where stale > derived and parked_at is null
  order by stale_since
  limit 4000
), suspect as (
  -- The first that nobody has locked, however long the transaction of whoever has locked another one stays open.
  select free.account_id, free.live_mode, free.customer_id
  from head h
  cross join lateral (
    select c.account_id, c.live_mode, c.customer_id
    from sync.customers c
    where (c.account_id, c.live_mode, c.customer_id) = (h.account_id, h.live_mode, h.customer_id)
      and c.stale > c.derived and (c.leased_until is null or c.leased_until < now())
    for no key update skip locked
  ) free
  where h.attempts > 0 and (h.leased_until is null or h.leased_until < now()) and not exists (
    select from sync.heavy y
    where (y.account_id, y.live_mode, y.customer_id) = (h.account_id, h.live_mode, h.customer_id)
    offset 0
  )
  limit 1
), fresh as (
  select account_id, live_mode, customer_id
  from sync.customers c
  where stale > derived and parked_at is null and attempts = 0 and (leased_until is null or leased_until < now())
    -- Or since a moment that is still to come: a clock that was set back must stop nobody.
    and (stale_since <= now() - $3::interval or stale_since > now())
    and not exists (select from suspect)
    -- `offset 0`: looked up for each, so that a planner without statistics does not read all that are stale.
    and not exists (
      select from sync.heavy y
      where (y.account_id, y.live_mode, y.customer_id) = (c.account_id, c.live_mode, c.customer_id)
      offset 0
    )
  order by stale_since
  limit $1
  for no key update skip locked
), next as (
  select * from suspect
  union all
  select * from fresh
)
update sync.customers c
set attempts = c.attempts + 1, leased_until = now() + $2
from next n
where (c.account_id, c.live_mode, c.customer_id) = (n.account_id, n.live_mode, n.customer_id)
returning c.account_id, c.live_mode, c.customer_id, c.stale, c.complete, c.attempts, now() as as_of
"""


async def claim_stale(
    connection: Connection, *, limit: int, lease: timedelta, since: timedelta = timedelta(0)
) -> list[StaleCustomer]:
    """Lease the customers that have been stale longest, and for so long at least, counting the attempt. Commit before
    reading facts.
    """
    return [claimed_of(row) for row in await connection.fetch(CLAIM_STALE, limit, lease, since)]


def claimed_of(row: asyncpg.Record) -> StaleCustomer:
    """The customer that a claim has returned."""
    return StaleCustomer(
        key=CustomerKey(row["account_id"], row["live_mode"], row["customer_id"]),
        stale=row["stale"],
        complete=row["complete"],
        attempts=row["attempts"],
        as_of=row["as_of"],
    )


_TAKE_BACK = """
with held as (
  select account_id, live_mode, customer_id
  from sync.customers c
  join unnest($1::text[], $2::boolean[], $3::text[], $4::integer[]) as k (account_id, live_mode, customer_id, attempts)
    using (account_id, live_mode, customer_id, attempts)
  order by 1, 2, 3
  for no key update of c
)
update sync.customers c
set {changes}
from held h
where (c.account_id, c.live_mode, c.customer_id) = (h.account_id, h.live_mode, h.customer_id)
"""
RELEASE_STALE = _TAKE_BACK.format(changes="attempts = c.attempts - 1, leased_until = null")
EXCUSE_STALE = _TAKE_BACK.format(changes="attempts = c.attempts - 1")


async def release_stale(connection: Connection, customers: Sequence[StaleCustomer]) -> None:
    """Undo their claims, if they were not derived after all and no other worker has claimed them since."""
    await connection.execute(
        RELEASE_STALE,
        *columns_of_keys(CustomerKey, [customer.key for customer in customers]),
        [customer.attempts for customer in customers],
    )


async def excuse_stale(connection: Connection, customers: Sequence[StaleCustomer]) -> None:
    """Count these attempts as none, if they are still the last ones. The leases run out."""
    await connection.execute(
        EXCUSE_STALE,
        *columns_of_keys(CustomerKey, [customer.key for customer in customers]),
        [customer.attempts for customer in customers],
    )


FINISH_DERIVED = """
with done as (
  select c.account_id, c.live_mode, c.customer_id, new.stale, new.rederive_at, new.as_of
  from sync.customers c
  join unnest($1::text[], $2::boolean[], $3::text[], $4::bigint[], $5::timestamptz[], $6::timestamptz[])
    as new (account_id, live_mode, customer_id, stale, rederive_at, as_of) using (account_id, live_mode, customer_id)
  where c.derived < new.stale
  order by 1, 2, 3
  for no key update of c
)
update sync.customers c
set derived = done.stale, rederive_at = done.rederive_at, leased_until = null, attempts = 0, error = null,
  -- What makes it stale still came after the claim: it has not waited longer.
  stale_since = case when c.stale > done.stale then greatest(c.stale_since, done.as_of) else c.stale_since end
from done
where (c.account_id, c.live_mode, c.customer_id) = (done.account_id, done.live_mode, done.customer_id)
  -- A statement that waited for the lock sees the row as it is now.
  and c.derived < done.stale
returning c.account_id, c.live_mode, c.customer_id
"""


async def finish_derived(
    connection: Connection, customers: Mapping[StaleCustomer, datetime | None]
) -> set[CustomerKey]:
    """Take the right to store these records; a customer that was derived from later facts is not returned.

    The value of each is when its record will change by time alone.
    """
    rows = await connection.fetch(
        FINISH_DERIVED,
        *columns_of_keys(CustomerKey, [customer.key for customer in customers]),
        [customer.stale for customer in customers],
        list(customers.values()),
        [customer.as_of for customer in customers],
    )
    return {CustomerKey(row[0], row[1], row[2]) for row in rows}


DERIVE_WITHIN = """
update sync.customers set rederive_at = least(rederive_at, now() + $4)
where account_id = $1 and live_mode = $2 and customer_id = any ($3::text[])
"""


async def derive_within(
    connection: Connection, scope: Scope, customers: Sequence[str], wait: timedelta
) -> None:
    """Have these customers, whose locks the caller holds, derived again after so long at the latest."""
    await connection.execute(DERIVE_WITHIN, *scope, customers, wait)


LOCK_CUSTOMERS = """
select customer_id, derived
from sync.customers
where account_id = $1 and live_mode = $2 and customer_id = any ($3::text[])
order by customer_id
for no key update
"""


async def lock_customers(
    connection: Connection, scope: Scope, customers: Collection[str]
) -> dict[CustomerKey, int]:
    """Lock these customers in the order of keys, for a transaction that writes some of them one after the other; up to
    which `stale` each is derived.
    """
    rows = await connection.fetch(LOCK_CUSTOMERS, *scope, list(customers))
    return {CustomerKey(*scope, row[0]): row[1] for row in rows}


SELECT_AS_STALE = """
select account_id, live_mode, customer_id, stale, complete, attempts, now() as as_of
from sync.customers
where account_id = $1 and live_mode = $2 and customer_id = any ($3::text[])
"""


async def select_as_stale(
    connection: Connection, scope: Scope, customers: Collection[str]
) -> dict[str, StaleCustomer]:
    """These customers as if they were claimed, in the snapshot in which their facts are loaded for another's record."""
    rows = await connection.fetch(SELECT_AS_STALE, *scope, list(customers))
    return {row["customer_id"]: claimed_of(row) for row in rows}


FORGET_UNLINKED = """
delete from sync.customers c
using unnest($1::text[], $2::boolean[], $3::text[], $4::bigint[]) as gone (account_id, live_mode, customer_id, stale)
where (c.account_id, c.live_mode, c.customer_id) = (gone.account_id, gone.live_mode, gone.customer_id)
  and c.stale = gone.stale
"""


async def forget_unlinked(connection: Connection, gone: Sequence[StaleCustomer]) -> None:
    """Derive these no more, unless they were marked since: customers without a Stripe customer, whose identity is not
    there any more. The caller has the right to store their records (`finish_derived`).
    """
    await connection.execute(
        FORGET_UNLINKED,
        *columns_of_keys(CustomerKey, [customer.key for customer in gone]),
        [customer.stale for customer in gone],
    )


MARK_OVERDUE = raising(
    """rederive_at <= now()
  order by rederive_at
  limit $1
  for no key update skip locked""",
    also=", rederive_at = null",
)


async def mark_overdue(connection: Connection, *, limit: int) -> int:
    """Mark the customers whose records time alone has changed, as a new fact would; returns how many."""
    done: str = await connection.execute(MARK_OVERDUE, limit)
    return int(done.split()[-1])


PARK_CUSTOMER = """
update sync.customers
set error = $4,
  leased_until = case
    when attempts >= $5 and stale = $6 then null
    else now() + least(attempts, 10) * interval '1 second'
  end,
  parked_at = case when attempts >= $5 and stale = $6 then now() end,
  -- Facts that came during the derivation are a new chance.
  attempts = case when attempts >= $5 and stale > $6 then 0 else attempts end
-- Another worker may have derived it after our lease ended.
where account_id = $1 and live_mode = $2 and customer_id = $3 and derived < $6
returning parked_at is not null
"""


async def park_customer(
    connection: Connection, customer: StaleCustomer, *, error: str, attempts_max: int
) -> bool:
    """Note why deriving failed: retried a little later, given up (until its next event) after `attempts_max`; returns
    whether it is given up now.
    """
    return bool(await connection.fetchval(PARK_CUSTOMER, *customer.key, error, attempts_max, customer.stale))


@dataclass(frozen=True, slots=True, kw_only=True)
class TouchedObject:
    """A row that names no customer and was written; `touched` was read before its customers were looked up."""

    key: Key
    touched: int


SELECT_TOUCHED = """
select account_id, live_mode, kind, id, touched
from sync.objects
where touched > resolved and kind <> all ($2::text[])
order by touched_at
limit $1
"""


async def select_touched(
    connection: Connection, *, limit: int, but: Collection[str] = ()
) -> list[TouchedObject]:
    """The objects, except those of some kinds, whose customers have yet to be marked, oldest first."""
    rows = await connection.fetch(SELECT_TOUCHED, limit, list(but))
    return [TouchedObject(key=Key(row[0], row[1], row[2], row[3]), touched=row[4]) for row in rows]


RESOLVE_OBJECTS = """
with resolved as (
  select account_id, live_mode, kind, id, new.touched
  from sync.objects
  join unnest($1::text[], $2::boolean[], $3::text[], $4::text[], $5::bigint[])
    as new (account_id, live_mode, kind, id, touched) using (account_id, live_mode, kind, id)
  order by 1, 2, 3, 4
  for no key update of objects
)
update sync.objects o
set resolved = greatest(o.resolved, r.touched)
from resolved r
where (o.account_id, o.live_mode, o.kind, o.id) = (r.account_id, r.live_mode, r.kind, r.id)
"""

SELECT_OWNERS_OF_CHARGES = """
select distinct o.customer_id
from sync.charge_owners o
where o.account_id = $1 and o.live_mode = $2 and o.charge_id = any (
  array(
    select unnest($3::text[])
    union
    select r.charge_id from stripe.refunds r where r.account_id = $1 and r.live_mode = $2 and r.id = any ($4::text[])
    union
    select d.charge_id from stripe.disputes d where d.account_id = $1 and d.live_mode = $2 and d.id = any ($5::text[])
  )
)
"""

# Whoever has, or had before it got a customer of its own, the money of a guest's charge.
SELECT_OWNERS_OF_GUESTS = """
with guest as materialized (
  select payment_intent_id
  from stripe.charges
  where account_id = $1 and live_mode = $2 and id = any ($3::text[]) and payment_intent_id is not null
)
select owner.customer_id
from guest g
cross join lateral (
  select s.customer_id
  from stripe.checkout_sessions s
  where s.account_id = $1 and s.live_mode = $2 and s.payment_intent_id = g.payment_intent_id
  union
  select n.customer_id
  from stripe.payment_intents n
  where n.account_id = $1 and n.live_mode = $2 and n.id = g.payment_intent_id
  union
  select i.customer_id
  from stripe.invoice_payments p
  join stripe.invoices i on i.account_id = $1 and i.live_mode = $2 and i.id = p.invoice_id
  where p.account_id = $1 and p.live_mode = $2 and p.payment_intent_id = g.payment_intent_id
  offset 0
) owner
where owner.customer_id is not null
"""

# Each step goes by a key: `offset 0` keeps a planner that has no statistics yet from joining in another order. On a
# fresh database that took 60 ms a call instead of 1.
SELECT_OWNERS_OF_PAYMENTS = """
select distinct invoice.customer_id
from stripe.invoice_payments p
join lateral (
  select i.customer_id
  from stripe.invoices i
  where i.account_id = $1 and i.live_mode = $2 and i.id = p.invoice_id and i.customer_id is not null
  offset 0
) invoice on true
where p.account_id = $1 and p.live_mode = $2 and p.id = any ($3::text[])
"""

SELECT_OWNERS_OF_INVOICES = """
select distinct customer_id
from stripe.invoices
where account_id = $1 and live_mode = $2 and id = any ($3::text[]) and customer_id is not null
"""

SELECT_OWNERS_OF_INTENTS = """
select distinct customer_id
from stripe.payment_intents
where account_id = $1 and live_mode = $2 and id = any ($3::text[]) and customer_id is not null
"""


async def resolve_touched(connection: Connection, touched: Sequence[TouchedObject]) -> None:
    """Mark the customers that the touched rows concern, from committed rows only (ARCHITECTURE.md, deriving).

    In one transaction, objects before customers; `touched` must have been read before it began. Rows that are not
    committed yet are not seen, and need not be: the transaction that commits them marks their customer, whose
    derivation begins after it and so sees the row that was touched here.
    """
    keys = [each.key for each in touched]
    columns = columns_of_keys(Key, keys)
    await connection.execute(RESOLVE_OBJECTS, *columns, [each.touched for each in touched])
    ids: dict[Scope, dict[str, list[str]]] = {}
    for account_id, live_mode, kind, object_id in keys:
        ids.setdefault(Scope(account_id, live_mode), {}).setdefault(kind, []).append(object_id)
    concerned: set[CustomerKey] = set()
    for scope, of in ids.items():
        charges, refunds, disputes = of.get("charge", []), of.get("refund", []), of.get("dispute", [])
        named: dict[str, list[str]] = {}
        for kind in ("refund", "dispute", "invoice_payment"):
            if kind in of:
                for ref in await select_named(connection, scope, kind, of[kind]):
                    named.setdefault(ref.kind, []).append(ref.id)
        if charges:
            rows = await connection.fetch(SELECT_OWNERS_OF_GUESTS, *scope, charges)
            concerned |= {CustomerKey(*scope, row[0]) for row in rows}
        charges = [*charges, *named.get("charge", ())]
        for statement, kind in (
            (SELECT_OWNERS_OF_INVOICES, "invoice"),
            (SELECT_OWNERS_OF_INTENTS, "payment_intent"),
        ):
            if kind in named:
                rows = await connection.fetch(statement, *scope, named[kind])
                concerned |= {CustomerKey(*scope, row[0]) for row in rows}
        if charges or refunds or disputes:
            rows = await connection.fetch(SELECT_OWNERS_OF_CHARGES, *scope, charges, refunds, disputes)
            concerned |= {CustomerKey(*scope, row[0]) for row in rows}
        if payments := of.get("invoice_payment"):
            rows = await connection.fetch(SELECT_OWNERS_OF_PAYMENTS, *scope, payments)
            concerned |= {CustomerKey(*scope, row[0]) for row in rows}
    if concerned:
        await mark_stale(connection, list(concerned))
