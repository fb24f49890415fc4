"""The whole in a few numbers: what the table of `subledger up` shows."""

from collections.abc import Mapping
from dataclasses import dataclass

from db.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All accounts and modes together."""

    customers: Mapping[str | None, int]
    """Customers that are not deleted, by status; None: no subscription that ever started."""
    exact: int
    """How many of those have a record that is complete and confirmed."""
    net_minor: Mapping[str, int]
    """Net revenue in minor units, by currency."""
    events: int
    pending: int
    oldest_pending_seconds: float
    """How long the oldest event that is not applied has waited; 0 when none waits."""


COUNT_CUSTOMERS = """
select status, count(*) as customers, count(*) filter (where exact) as exact
from billing.customers
where deleted_at is null
group by status
"""

SUM_REVENUE = """
select currency, sum(net)::bigint as net
from billing.customer_revenue
group by currency
order by sum(gross + out_of_band) desc, currency
"""

COUNT_EVENTS = """
select
  (select count(*) from sync.events) as events,
  pending,
  coalesce(extract(epoch from now() - oldest_pending_at), 0)::float8 as oldest_pending_seconds
from billing.freshness
"""


async def read_overview(connection: Connection) -> Overview:
    """Count everything; the time it takes grows with the number of rows."""
    customers = await connection.fetch(COUNT_CUSTOMERS)
    revenue = await connection.fetch(SUM_REVENUE)
    events = await connection.fetchrow(COUNT_EVENTS)
    if events is None:
        raise LookupError("billing.freshness has no row: run `subledger migrate`")
    return Overview(
        customers={row["status"]: row["customers"] for row in customers},
        exact=sum(row["exact"] for row in customers),
        net_minor={row["currency"]: row["net"] for row in revenue},
        **events,
    )
