"""The ranks of prices among those of their products, counted in Postgres: a product may have one for each customer."""

from collections.abc import Sequence

from billing.kinds.catalogue import Price
from db.connection import Connection
from db.keys import Scope

# The order is that of `prices_rank`.
SELECT_RANKS = """
select id, rank
from (
  select p.id, row_number() over (partition by p.product_id order by p.created nulls first, p.id collate "C") as rank
  from stripe.prices p
  where p.account_id = $1 and p.live_mode = $2 and p.product_id = any ($3::text[]) and p.recurring
) ranked
where id = any ($4::text[])
"""

RANKS_COUNTED_MAX = 3
"""Prices of which each is counted for itself: all prices of their products are numbered in the time of so many."""
COUNT_RANKS = """
select p.id,
  (
    select count(*)
    from stripe.prices o
    where o.account_id = $1 and o.live_mode = $2 and o.product_id = p.product_id and o.recurring
      and (o.created, o.id collate "C") <= (p.created, p.id collate "C")
  ) + (
    select count(*)
    from stripe.prices o
    where o.account_id = $1 and o.live_mode = $2 and o.product_id = p.product_id and o.recurring
      and o.created is null and (p.created is not null or o.id collate "C" <= p.id collate "C")
  ) as rank
from stripe.prices p
where p.account_id = $1 and p.live_mode = $2 and p.id = any ($3::text[]) and p.recurring and p.product_id is not null
"""


async def select_ranks(connection: Connection, scope: Scope, prices: Sequence[Price]) -> dict[str, int]:
    """The ranks of these recurring prices, by id."""
    wanted = [price.id for price in prices]
    if len(wanted) <= RANKS_COUNTED_MAX:
        rows = await connection.fetch(COUNT_RANKS, *scope, wanted)
    else:
        of = {price.product_id for price in prices} - {None}
        rows = await connection.fetch(SELECT_RANKS, *scope, list(of), wanted)
    return {row["id"]: row["rank"] for row in rows}
