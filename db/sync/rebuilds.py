"""Rebuilds: all customers in the order of their keys, and how far a rebuild has come."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from db.connection import Connection
from db.keys import CustomerKey
from db.sync.customers import StaleCustomer, claimed_of

# Of the table and not an advisory lock, which any role could take. It conflicts with itself, and with no writer. The
# transaction that has it does nothing else, and is to last as long as the rebuild.
LOCK_REBUILDS = "lock table sync.rebuilds in share update exclusive mode nowait"

BE_IDLE = "set local idle_in_transaction_session_timeout = 0"


async def lock_rebuilds(connection: Connection) -> bool:
    """Let no other session rebuild until this transaction ends; False if one does."""
    try:
        await connection.execute(LOCK_REBUILDS)
        await connection.execute(BE_IDLE)
    except asyncpg.LockNotAvailableError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """A rebuild that is not finished."""

    id: int
    started_at: datetime
    reached: CustomerKey  # the last customer that was derived
    derived: int
    changed: int


OPEN_REBUILD = """
insert into sync.rebuilds as r default values
-- Changes nothing: an unfinished one is to be returned, and `do nothing` returns nothing.
on conflict ((finished_at is null)) where finished_at is null do update set started_at = r.started_at
returning r.id, r.started_at, r.account_id, r.live_mode, r.customer_id, r.derived, r.changed
"""


async def open_rebuild(connection: Connection) -> Rebuild:
    """The rebuild that was cut short, or else a new one. The caller holds the lock."""
    (row,) = await connection.fetch(OPEN_REBUILD)
    return Rebuild(
        id=row["id"],
        started_at=row["started_at"],
        reached=CustomerKey(row["account_id"], row["live_mode"], row["customer_id"]),
        derived=row["derived"],
        changed=row["changed"],
    )


COUNT_LEFT = """
select count(*) from sync.customers where (account_id, live_mode, customer_id) > ($1, $2, $3)
"""


async def count_left(connection: Connection, reached: CustomerKey) -> int:
    """How many customers come after this one."""
    count: int = await connection.fetchval(COUNT_LEFT, *reached)
    return count


# If the rebuild dies, its customers stay stale, and any worker derives them when the lease ends.
CLAIM_NEXT = """
with next as (
  select account_id, live_mode, customer_id
  from sync.customers
  where (account_id, live_mode, customer_id) > ($1, $2, $3)
  order by account_id, live_mode, customer_id
  limit $4
  for no key update
)
update sync.customers c
set stale = c.stale + 1, stale_since = case when c.stale > c.derived then c.stale_since else now() end,
  leased_until = now() + $5, attempts = 1, parked_at = null
from next n
where (c.account_id, c.live_mode, c.customer_id) = (n.account_id, n.live_mode, n.customer_id)
returning c.account_id, c.live_mode, c.customer_id, c.stale, c.complete, c.attempts, now() as as_of
"""


async def claim_next(
    connection: Connection, reached: CustomerKey, *, limit: int, lease: timedelta
) -> list[StaleCustomer]:
    """Lease the customers after this one, in order, whether or not they are stale; commit before reading facts."""
    rows = await connection.fetch(CLAIM_NEXT, *reached, limit, lease)
    return sorted((claimed_of(row) for row in rows), key=lambda stale: stale.key)


CLAIM_ONE = """
update sync.customers
set stale = stale + 1, stale_since = case when stale > derived then stale_since else now() end,
  leased_until = now() + interval '1 minute', attempts = 1, parked_at = null
where account_id = $1 and live_mode = $2 and customer_id = $3
returning account_id, live_mode, customer_id, stale, complete, attempts, now() as as_of
"""


async def claim_one(connection: Connection, key: CustomerKey) -> list[StaleCustomer]:
    """Lease one customer, whether or not it is stale, if there is such a customer."""
    return [claimed_of(row) for row in await connection.fetch(CLAIM_ONE, *key)]


ADVANCE_REBUILD = """
update sync.rebuilds
set account_id = $2, live_mode = $3, customer_id = $4,
  derived = derived + $5, changed = changed + $6
where id = $1
"""


async def advance_rebuild(
    connection: Connection, rebuild_id: int, reached: CustomerKey, *, derived: int, changed: int
) -> None:
    """Note that every customer up to this one has been derived."""
    await connection.execute(ADVANCE_REBUILD, rebuild_id, *reached, derived, changed)


FINISH_REBUILD = "update sync.rebuilds set finished_at = now() where id = $1"


async def finish_rebuild(connection: Connection, rebuild_id: int) -> None:
    """Note that no customer is left."""
    await connection.execute(FINISH_REBUILD, rebuild_id)


COUNT_FAILED = """
select count(*) from sync.customers where stale > derived and error is not null
"""


async def count_failed(connection: Connection) -> int:
    """How many customers' records could not be derived: their `error` says why."""
    count: int = await connection.fetchval(COUNT_FAILED)
    return count
