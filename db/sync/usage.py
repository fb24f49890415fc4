"""Usage: of which customers it is to be read and when, and what was read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from billing.kinds.catalogue import Meter
from billing.usage import CustomerUsage
from db.columns import arrays_of, columns_of, names_of, parameters_of, values_of
from db.connection import Connection
from db.keys import CustomerKey, Scope, columns_of_keys

USAGE_COLUMNS = columns_of(CustomerUsage)

# Which customers' usage is read

# A customer that has a metered subscription again after it had none is due at once.
ENLIST_METERED = """
insert into sync.usage as u (account_id, live_mode, customer_id)
select account_id, live_mode, customer_id
from unnest($1::text[], $2::boolean[], $3::text[]) as new (account_id, live_mode, customer_id)
order by 1, 2, 3
on conflict (account_id, live_mode, customer_id) do update set due_at = now()
where u.due_at = 'infinity'
"""


async def enlist_metered(connection: Connection, customers: Sequence[CustomerKey]) -> None:
    """Read the usage of these customers, which have a metered subscription, from now on."""
    await connection.execute(
        ENLIST_METERED,
        *columns_of_keys(CustomerKey, customers),
    )


# The earliest of all appointments: a customer that somebody waits for goes first.
ASK_FOR_USAGE = """
insert into sync.usage as u (account_id, live_mode, customer_id, due_at, asked)
values ($1, $2, $3, to_timestamp(0), 1)
on conflict (account_id, live_mode, customer_id) do update set
  due_at = to_timestamp(0), asked = u.asked + 1, attempts = 0, error = null
returning asked
"""


async def ask_for_usage(connection: Connection, key: CustomerKey) -> int:
    """Ask for a read of one customer's usage now; returns the number of the question, which its answer will bear."""
    asked: int = await connection.fetchval(ASK_FOR_USAGE, *key)
    return asked


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageState:
    """How far a question is. The error of an answered one says what Stripe refused to answer."""

    answered: bool
    error: str | None


SELECT_USAGE_STATE = """
select answered >= $4 as answered, error
from sync.usage
where account_id = $1 and live_mode = $2 and customer_id = $3
"""


async def select_usage_state(connection: Connection, key: CustomerKey, asked: int) -> UsageState:
    """Whether a question is answered."""
    row = await connection.fetchrow(SELECT_USAGE_STATE, *key, asked)
    return UsageState(answered=False, error=None) if row is None else UsageState(**row)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueUsage:
    """A customer whose usage is to be read now."""

    key: CustomerKey
    asked: int
    attempts: int
    leased_until: datetime


def _claim(where: str) -> str:
    return f"""
with next as (
  select account_id, live_mode, customer_id
  from sync.usage
  where due_at <= now() and live_mode = $1{where}
  order by due_at
  limit $2
  for no key update skip locked
)
update sync.usage u
set due_at = now() + $3, attempts = u.attempts + 1
from next n
where (u.account_id, u.live_mode, u.customer_id) = (n.account_id, n.live_mode, n.customer_id)
returning u.account_id, u.live_mode, u.customer_id, u.asked, u.attempts, u.due_at
"""


CLAIM_USAGE = _claim("")
CLAIM_ASKED_USAGE = _claim(" and asked > answered")


async def claim_usage(
    connection: Connection, *, live_mode: bool, limit: int, lease: timedelta, asked_only: bool
) -> list[DueUsage]:
    """Lease the customers whose usage has been due longest, those that were asked for before all others."""
    statement = CLAIM_ASKED_USAGE if asked_only else CLAIM_USAGE
    return [
        DueUsage(key=CustomerKey(row[0], row[1], row[2]), asked=row[3], attempts=row[4], leased_until=row[5])
        for row in await connection.fetch(statement, live_mode, limit, lease)
    ]


# A worker whose lease was lost changes nothing; a question that came during the read keeps its place in front.
POSTPONE_USAGE = """
update sync.usage set due_at = now() + $4, error = $5
where account_id = $1 and live_mode = $2 and customer_id = $3 and due_at = $6
"""


async def postpone_usage(
    connection: Connection, due: DueUsage, *, error: str, retry_after: timedelta
) -> None:
    """Note why the usage was not read, and when to try again."""
    await connection.execute(POSTPONE_USAGE, *due.key, retry_after, error, due.leased_until)


# The same; but while the later question waits, this answer is better than none.
FINISH_USAGE = """
update sync.usage u
set answered = greatest(u.answered, $4), read_at = now(), attempts = 0, error = $6,
  due_at = case
    when u.asked > $4 then to_timestamp(0) when $5::interval is null then 'infinity' else now() + $5
  end
where account_id = $1 and live_mode = $2 and customer_id = $3 and (due_at = $7 or asked > $4 and due_at <= now())
returning true
"""


# What was read

SELECT_METERS = f"""
select {names_of(columns_of(Meter))}
from stripe.meters
where account_id = $1 and live_mode = $2 and id = any ($3::text[])
"""


async def select_meters(connection: Connection, scope: Scope, meter_ids: Sequence[str]) -> dict[str, Meter]:
    """Those of these meters that are known, by id."""
    rows = await connection.fetch(SELECT_METERS, *scope, meter_ids)
    return {row["id"]: Meter(**row) for row in rows}


WRITE_USAGE = f"""
insert into billing.customer_usage ({names_of(USAGE_COLUMNS)})
select {values_of(USAGE_COLUMNS)}
from unnest({parameters_of(USAGE_COLUMNS, first=1)}) as new ({names_of(USAGE_COLUMNS)})
order by new.stripe_subscription_id, new.meter_id
on conflict (account_id, live_mode, stripe_customer_id, stripe_subscription_id, meter_id) do update set
  {", ".join(f"{column.name} = excluded.{column.name}" for column in USAGE_COLUMNS)}
"""

# A customer may have been forgotten during the read.
REMOVE_OTHER_USAGE = """
delete from billing.customer_usage u
where u.account_id = $1 and u.live_mode = $2 and u.stripe_customer_id = $3
  and (
    not (u.stripe_subscription_id, u.meter_id) in (select * from unnest($4::text[], $5::text[]))
    or exists (
      select from sync.forgotten f
      where f.account_id = $1 and f.live_mode = $2 and f.customer_id = $3
    )
  )
"""


async def store_usage(
    connection: Connection,
    due: DueUsage,
    usage: Sequence[CustomerUsage],
    *,
    next_after: timedelta | None,
    error: str | None,
) -> None:
    """Make this the customer's only usage, and the question answered, in one transaction. Does nothing if the lease
    was lost and another worker's answer is younger, or if the customer was forgotten.

    `next_after`: when to read it again; None for a customer that has no metered subscription now. `error`: what Stripe
    refused to answer.
    """
    async with connection.transaction():
        finish = (*due.key, due.asked, next_after, error, due.leased_until)
        if not await connection.fetchval(FINISH_USAGE, *finish):
            return
        if usage:
            await connection.execute(WRITE_USAGE, *arrays_of(USAGE_COLUMNS, usage))
        await connection.execute(
            REMOVE_OTHER_USAGE,
            *due.key,
            [row.stripe_subscription_id for row in usage],
            [row.meter_id for row in usage],
        )


_AND_JOINED = """stripe_customer_id = any (array(
  select $3
  union all
  select stripe_customer_id
  from billing.joined_customers
  where account_id = $1 and live_mode = $2 and main_stripe_customer_id = $3
))"""

SELECT_USAGE = f"""
select coalesce(jsonb_agg(to_jsonb(u) order by u.stripe_subscription_id, u.meter_id), '[]')
from billing.customer_usage u
where u.account_id = $1 and u.live_mode = $2 and u.{_AND_JOINED}
"""


async def select_usage(connection: Connection, key: CustomerKey) -> list[dict[str, Any]]:
    """The usage of a customer, and of those that are joined to it, as it was last read, as JSON objects."""
    found: str = await connection.fetchval(SELECT_USAGE, *key)
    return msgspec.json.decode(found, type=list[dict[str, Any]])


SELECT_USAGE_ROWS = f"""
select {names_of(USAGE_COLUMNS)}
from billing.customer_usage
where account_id = $1 and live_mode = $2 and {_AND_JOINED}
order by stripe_subscription_id, meter_id
"""


async def select_usage_rows(connection: Connection, key: CustomerKey) -> list[CustomerUsage]:
    """The usage of a customer, and of those that are joined to it, as it was last read."""
    return [CustomerUsage(**row) for row in await connection.fetch(SELECT_USAGE_ROWS, *key)]
