"""Heavy customers: those that a line of its own derives, one at a time."""

from collections.abc import Sequence
from datetime import timedelta

from db.connection import Connection
from db.keys import CustomerKey, columns_of_keys
from db.sync.customers import StaleCustomer, claimed_of

# What was tried before failed by the size, which the ordinary line is not made for: here it has all its chances.
PUT_OVER = """
with heavy as (
  select account_id, live_mode, customer_id, attempts
  from unnest($1::text[], $2::boolean[], $3::text[], $4::integer[]) as k (account_id, live_mode, customer_id, attempts)
  order by 1, 2, 3
), noted as (
  insert into sync.heavy (account_id, live_mode, customer_id)
  select account_id, live_mode, customer_id from heavy
  on conflict do nothing
)
update sync.customers c
set attempts = 0, leased_until = null
from heavy h
where (c.account_id, c.live_mode, c.customer_id, c.attempts) = (h.account_id, h.live_mode, h.customer_id, h.attempts)
"""


async def put_over(connection: Connection, customers: Sequence[StaleCustomer]) -> None:
    """Give up the claims of these customers, because they are heavy: from now on their own line claims them."""
    await connection.execute(
        PUT_OVER,
        *columns_of_keys(CustomerKey, [customer.key for customer in customers]),
        [customer.attempts for customer in customers],
    )


# `offset 0` keeps the lookup by key: there are few heavy customers, whatever a planner without statistics estimates.
CLAIM_HEAVY = """
with waiting as materialized (
  select c.account_id, c.live_mode, c.customer_id
  from sync.heavy h
  join lateral (
    select *
    from sync.customers c
    where (c.account_id, c.live_mode, c.customer_id) = (h.account_id, h.live_mode, h.customer_id)
    offset 0
  ) c on true
  where c.stale > c.derived and c.parked_at is null and (c.leased_until is null or c.leased_until < now())
  order by c.stale_since
), next as (
  -- The first whose row nobody has locked. One that an event has locked is claimed by the next sweep.
  select free.account_id, free.live_mode, free.customer_id
  from waiting w
  cross join lateral (
    select c.account_id, c.live_mode, c.customer_id
    from sync.customers c
    where (c.account_id, c.live_mode, c.customer_id) = (w.account_id, w.live_mode, w.customer_id)
      and c.stale > c.derived and c.parked_at is null and (c.leased_until is null or c.leased_until < now())
    for no key update skip locked
  ) free
  limit 1
)
update sync.customers c
set attempts = c.attempts + 1, leased_until = now() + $1
from next n
where (c.account_id, c.live_mode, c.customer_id) = (n.account_id, n.live_mode, n.customer_id)
returning c.account_id, c.live_mode, c.customer_id, c.stale, c.complete, c.attempts, now() as as_of
"""


async def claim_heavy(connection: Connection, *, lease: timedelta) -> StaleCustomer | None:
    """Lease the heavy customer that has been stale longest, counting the attempt; None: none is stale, or other
    transactions have locked all that are.
    """
    row = await connection.fetchrow(CLAIM_HEAVY, lease)
    return None if row is None else claimed_of(row)


KEEP_LEASE = """
update sync.customers
set leased_until = now() + $5
where (account_id, live_mode, customer_id) = ($1, $2, $3) and attempts = $4 and leased_until is not null
"""


async def keep_lease(connection: Connection, customer: StaleCustomer, *, lease: timedelta) -> None:
    """Prolong a lease from now on, unless another worker has the customer by now, or it was derived."""
    await connection.execute(KEEP_LEASE, *customer.key, customer.attempts, lease)


TAKE_BACK = """
with light as (
  delete from sync.heavy where (account_id, live_mode, customer_id) = ($1, $2, $3)
)
update sync.customers
set attempts = attempts - 1, leased_until = null
where (account_id, live_mode, customer_id) = ($1, $2, $3) and attempts = $4
"""


async def take_back(connection: Connection, customer: StaleCustomer) -> None:
    """Give up the claim of a customer that is no longer heavy: from now on it is claimed with all others."""
    await connection.execute(TAKE_BACK, *customer.key, customer.attempts)
