"""How many rows of the mirror a customer's record is computed from, counted only as far as it matters."""

from collections.abc import Sequence

from db.connection import Connection
from db.keys import Scope

# What names its customer. Items, refunds and disputes belong to one of these.
_TABLES = ("charges", "invoices", "checkout_sessions", "credit_notes", "subscriptions")

_COUNT_OF_ALL = " + ".join(
    f"""(
  select count(*)
  from (
    select from stripe.{table} t
    where t.account_id = $1 and t.live_mode = $2 and t.customer_id = any ($3::text[])
    limit $4
  ) t
)"""
    for table in _TABLES
)

COUNT_ROWS = f"select {_COUNT_OF_ALL}"

_COUNT_OF_EACH = " + ".join(
    f"""(
  select count(*)
  from (
    select from stripe.{table} t
    where t.account_id = $1 and t.live_mode = $2 and t.customer_id = c.id
    limit $4
  ) t
)"""
    for table in _TABLES
)

SELECT_SIZES = f"""
select c.id, {_COUNT_OF_EACH}
from unnest($3::text[]) as c (id)
"""


async def have_more_rows(connection: Connection, scope: Scope, customers: Sequence[str], than: int) -> bool:
    """Whether these customers of one account and mode have more rows than that, all together."""
    rows: int = await connection.fetchval(COUNT_ROWS, *scope, customers, than + 1)
    return rows > than


async def select_sizes(
    connection: Connection, scope: Scope, customers: Sequence[str], *, up_to: int
) -> dict[str, int]:
    """How many rows each of these customers has; where it has more of one kind, `up_to` of that are counted."""
    rows = await connection.fetch(SELECT_SIZES, *scope, customers, up_to)
    return {row[0]: row[1] for row in rows}
