"""What a backfill has covered: holes in its lists, objects that only references name, and customers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.kinds.registry import KINDS, FetchedReference, fetched_references
from db.columns import columns_of
from db.connection import Connection
from db.keys import CustomerKey, columns_of_keys
from db.sync.scans import Scan, readings_of

# A window that begins where no other ends, or ends where no other begins, leaves a hole. Every variant of a list must
# be free of holes: half of it is not the list.
SELECT_HOLES = """
with tiles as (
  select kind, variant, low, high, state, error,
    lag(high) over (partition by kind, variant order by high) as reached
  from sync.scan_windows
  where scan_id = $1
), ends as (
  select wanted.kind, min(t.low) as low, max(t.high) as high
  from unnest($2::text[], $3::text[]) as wanted (kind, variant)
  left join tiles t using (kind, variant)
  group by wanted.kind, wanted.variant
)
select kind, low, high, error from tiles where state <> 'done'
union all
select kind, reached, low, 'this stretch was never read' from tiles where reached <> low
union all
select kind, $4, $5, 'not all of it was read' from ends where low is distinct from $4 or high is distinct from $5
order by 1, 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """A stretch of one kind that was not read to its end."""

    kind: str
    low: datetime
    high: datetime
    error: str | None


async def select_holes(connection: Connection, scan: Scan, *, low: datetime, high: datetime) -> list[Hole]:
    """The stretches of [low, high) that no window has read to its end; empty: there are none."""
    rows = await connection.fetch(SELECT_HOLES, scan.id, *readings_of(scan), low, high)
    return [Hole(**row) for row in rows]


def _mark_references(reference: FetchedReference) -> str:
    """The statement that marks the objects that a column names and that are still unknown.

    Its customer is the row's, if rows of both kinds name one.
    """
    owner = "null::text"
    if KINDS[reference.kind].names_customer and any(
        column.name == "customer_id" for column in columns_of(reference.facts)
    ):
        owner = f"t.{reference.column}" if reference.kind == "customer" else "t.customer_id"
    return f"""
insert into sync.objects (account_id, live_mode, kind, id, customer_id, source, dirty, first_marked_at, read_at)
select $1, $2, '{reference.kind}', id, customer_id, 'backfill', nextval('sync.tick'), now(), now()
from (
  select t.{reference.column} as id, min({owner}) as customer_id
  from {reference.table} t
  where t.account_id = $1 and t.live_mode = $2 and t.{reference.column} is not null
    and not exists (
      select from sync.objects o
      where o.account_id = $1 and o.live_mode = $2 and o.kind = '{reference.kind}' and o.id = t.{reference.column}
    )
  group by t.{reference.column}
  order by t.{reference.column}
) as unknown
on conflict do nothing
"""


MARK_REFERENCES: Mapping[str, str] = {
    name: _mark_references(reference)
    for name, reference in sorted((f"{each.holder}.{each.column}", each) for each in fetched_references())
}
"""By the column that names other objects: marks those that no read and no event has reported, so that they are read."""


async def mark_references(connection: Connection, column: str, *, account_id: str, live_mode: bool) -> None:
    """Mark the objects that a column names and no list held (a deleted customer is in none): they are read by id."""
    await connection.execute(MARK_REFERENCES[column], account_id, live_mode)


# A customer younger than the horizon is not covered by the scan: its customer.created makes it complete. The lists
# leave out objects of customers on test clocks: these are covered by their own histories.
COVER_CUSTOMERS = """
with next as (
  select o.id, coalesce(c.created, o.event_created, '-infinity') <= $4
    and (c.id is not null or o.source = 'backfill') and c.test_clock is null as covered
  from sync.objects o
  left join stripe.customers c on c.account_id = o.account_id and c.live_mode = o.live_mode and c.id = o.id
  where o.account_id = $1 and o.live_mode = $2 and o.kind = 'customer' and o.id > $3
  order by o.id
  limit $6
), written as (
  insert into sync.customers as k (account_id, live_mode, customer_id, stale, stale_since, complete, history_at)
  select $1, $2, id, 1, now(), covered and $5, case when not (covered and $5) then now() end
  from next
  order by id
  on conflict (account_id, live_mode, customer_id) do update set
    stale = k.stale + 1,
    stale_since = case when k.stale > k.derived then k.stale_since else now() end,
    complete = k.complete or excluded.complete,
    history_at = case
      when excluded.complete and k.history_asked = 0 then null
      when k.complete then k.history_at
      else coalesce(k.history_at, excluded.history_at)
    end,
    history_error = case when not excluded.complete then k.history_error end,
    attempts = case when k.parked_at is null then k.attempts else 0 end,
    parked_at = null
)
select max(id) from next
"""


async def cover_customers(
    connection: Connection, scan: Scan, *, complete: bool, after: str, limit: int
) -> str | None:
    """Mark the customers after an id to be derived: as complete if every list was read to its end, else with their
    histories to be pulled. Returns the last id, None when there were none.
    """
    last: str | None = await connection.fetchval(
        COVER_CUSTOMERS, scan.account_id, scan.live_mode, after, scan.horizon, complete, limit
    )
    return last


MARK_KNOWN_STALE = """
with known as (
  select account_id, live_mode, customer_id
  from sync.customers
  join unnest($1::text[], $2::boolean[], $3::text[]) as new (account_id, live_mode, customer_id)
    using (account_id, live_mode, customer_id)
  where complete
  order by 1, 2, 3
  for no key update of customers
)
update sync.customers c
set stale = c.stale + 1, stale_since = case when c.stale > c.derived then c.stale_since else now() end
from known k
where (c.account_id, c.live_mode, c.customer_id) = (k.account_id, k.live_mode, k.customer_id)
"""


async def mark_known_stale(connection: Connection, customers: Sequence[CustomerKey]) -> None:
    """Raise `stale` of those customers that are complete already. The others are derived once they are complete: in the
    middle of a backfill they would get a status that they never had.
    """
    await connection.execute(
        MARK_KNOWN_STALE,
        *columns_of_keys(CustomerKey, customers),
    )


SELECT_HISTORY = """
select history_at is not null as wanted, history_attempts, history_error
from sync.customers
where account_id = $1 and live_mode = $2 and customer_id = $3
"""


async def select_history(connection: Connection, key: CustomerKey) -> tuple[bool, int, str | None]:
    """Whether a customer's history is still to be pulled, how often a pull was begun, and the last error."""
    row = await connection.fetchrow(SELECT_HISTORY, *key)
    return (False, 0, None) if row is None else (row[0], row[1], row[2])
