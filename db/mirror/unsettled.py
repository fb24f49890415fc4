"""What is not settled: objects whose read is pending, or that are missing or parked. Their customers are not exact."""

from collections.abc import Sequence

from billing.kinds.registry import LIST_CONFIRMED
from db.connection import Connection
from db.keys import Scope

# Catalogue objects do not count: a price that waits for its read makes no customer inexact. Nor do kinds that only
# lists confirm, although they name their customer. Of an account that took its access back, nothing is settled.
SELECT_UNSETTLED_CUSTOMERS = """
select distinct o.customer_id
from sync.objects o
where o.account_id = $1 and o.live_mode = $2 and o.customer_id = any ($3::text[]) and o.unsettled
  and o.kind <> all ($4::text[])
union
select c.id
from sync.refusals r, unnest($3::text[]) as c (id)
where r.account_id = $1 and r.live_mode = $2 and r.kind = ''
"""


async def select_unsettled_customers(connection: Connection, scope: Scope, ids: Sequence[str]) -> set[str]:
    """Those of the customers that an unsettled object names."""
    rows = await connection.fetch(SELECT_UNSETTLED_CUSTOMERS, *scope, ids, list(LIST_CONFIRMED))
    return {row[0] for row in rows}


# By key among what is unsettled, which mostly is little, and not in the table of all objects: the statements name the
# predicate of `objects_unsettled_by_key`. `offset 0`: for each, whatever a planner without statistics estimates.
SELECT_UNSETTLED_OBJECTS = """
select k.id
from unnest($4::text[]) as k (id)
join lateral (
  select
  from sync.objects o
  where o.account_id = $1 and o.live_mode = $2 and o.kind = $3 and o.id = k.id and coalesce(o.unsettled, false)
  offset 0
) waiting on true
"""


async def select_unsettled_objects(
    connection: Connection, scope: Scope, kind: str, ids: Sequence[str]
) -> set[str]:
    """Those of the objects that are unsettled: charges, disputes, payments of invoices or refunds."""
    return {row[0] for row in await connection.fetch(SELECT_UNSETTLED_OBJECTS, *scope, kind, ids)}


SELECT_UNSETTLED_INVOICES = """
select distinct p.invoice_id
from stripe.invoice_payments p
join lateral (
  select
  from sync.objects o
  where o.account_id = $1 and o.live_mode = $2 and o.kind = 'invoice_payment' and o.id = p.id
    and coalesce(o.unsettled, false)
  offset 0
) waiting on true
where p.account_id = $1 and p.live_mode = $2 and p.invoice_id = any ($3::text[])
"""


async def select_unsettled_invoices(connection: Connection, scope: Scope, ids: Sequence[str]) -> set[str]:
    """Those of the invoices that have an unsettled payment."""
    return {row[0] for row in await connection.fetch(SELECT_UNSETTLED_INVOICES, *scope, ids)}


# Deleted before anybody read them: only events still say who they were. If none has told of a customer, none is on its
# way either.
SELECT_UNTOLD = """
select o.id
from sync.objects o
left join sync.accounts a on a.account_id = $1 and a.live_mode = $2
where o.account_id = $1 and o.live_mode = $2 and o.kind = 'customer' and o.id = any ($3::text[])
  and o.tombstone and o.event_id is not null and o.dirty >= coalesce(a.filled_tick, 0)
"""


async def select_untold(connection: Connection, scope: Scope, ids: Sequence[str]) -> set[str]:
    """Those of these customers without a body that are deleted, and whose events the next fill of gaps may bring."""
    return {row[0] for row in await connection.fetch(SELECT_UNTOLD, *scope, ids)}
