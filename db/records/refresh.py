"""Refreshing one customer on demand: what a checkout success page asks for."""

from dataclasses import dataclass

from db.connection import Connection
from db.keys import CustomerKey
from db.records.joins import select_all_of

# The earliest possible time, so that a refresh goes first. A new customer is not stale; its record is created once
# Stripe confirms it, so that a wrong id creates none.
WANT_REFRESH = """
insert into sync.customers as c (account_id, live_mode, customer_id, stale, stale_since, history_at, history_asked)
values ($1, $2, $3, 0, now(), to_timestamp(0), 1)
on conflict (account_id, live_mode, customer_id) do update set
  stale = c.stale + 1,
  stale_since = case when c.stale > c.derived then c.stale_since else now() end,
  history_at = to_timestamp(0),
  history_attempts = 0,
  history_asked = c.history_asked + 1,
  history_error = null
"""

HURRY_READS = """
with waiting as (
  select account_id, live_mode, kind, id
  from sync.objects
  where account_id = $1 and live_mode = $2 and customer_id = $3 and unsettled and read_at > now()
  order by 1, 2, 3, 4
  for no key update
)
update sync.objects o
set read_at = now()
from waiting w
where (o.account_id, o.live_mode, o.kind, o.id) = (w.account_id, w.live_mode, w.kind, w.id)
"""


async def want_refresh(connection: Connection, key: CustomerKey) -> None:
    """Make the reads of the customer's lists due now, and those of its objects that wait for one; also of all others
    that share its record.
    """
    async with connection.transaction():
        keys = await select_all_of(connection, key)
        for statement in (HURRY_READS, WANT_REFRESH):
            for each in keys:
                await connection.execute(statement, *each)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshState:
    """How far a refresh is."""

    finished: bool
    error: str | None
    unknown: bool = False
    """Stripe knows no such customer, and no event has named it."""


# One record, once those that are joined have none of their own any more.
SELECT_REFRESH_STATE = """
select
  bool_and(c.history_at is null and c.stale <= c.derived)
    and count(record.uid) = 1 and bool_and(record.exact is not false) as finished,
  min(coalesce(c.history_error, c.error)) as error
from sync.customers c
left join billing.customers record
  on record.account_id = c.account_id and record.live_mode = c.live_mode and record.stripe_customer_id = c.customer_id
where c.account_id = $1 and c.live_mode = $2 and c.customer_id = any ($3::text[])
having count(*) > 0
"""


async def select_refresh_state(connection: Connection, key: CustomerKey) -> RefreshState:
    """Whether the record is exact and as of the refresh, of all who share it."""
    ids = [each.id for each in await select_all_of(connection, key)]
    row = await connection.fetchrow(SELECT_REFRESH_STATE, *key.scope, ids)
    if row is None:
        return RefreshState(finished=False, error=None, unknown=True)
    return RefreshState(finished=row["finished"], error=row["error"])
