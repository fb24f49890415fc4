"""Customers with an object that could not be understood: no mirror row leads to them, only what the object names."""

from collections.abc import Sequence

from db.connection import Connection
from db.keys import Scope

# Nearly always there is none, and nothing else has to be asked.
HAS_NOT_UNDERSTOOD = (
    "select exists (select from sync.not_understood where account_id = $1 and live_mode = $2)"
)


async def has_not_understood(connection: Connection, scope: Scope) -> bool:
    """Whether there may be any in this account and mode."""
    some: bool = await connection.fetchval(HAS_NOT_UNDERSTOOD, *scope)
    return some


# `limit 1` also keeps the lookup by key, whatever a planner without statistics estimates.
_WAITING = """
  select
  from sync.not_understood u
  join sync.objects o on o.account_id = u.account_id and o.live_mode = u.live_mode and o.kind = u.kind and o.id = u.id
  where u.account_id = $1 and u.live_mode = $2 and o.unsettled
"""

SELECT_NOT_UNDERSTOOD = f"""
select named.id
from unnest($4::text[]) as named (id)
join lateral ({_WAITING} and u.named_kind = $3 and u.named_id = named.id limit 1) waiting on true
"""


async def select_not_understood(
    connection: Connection, scope: Scope, kind: str, ids: Sequence[str]
) -> list[str]:
    """Those of these charges or invoices that an object names which waits for a read, or was given up."""
    return [row[0] for row in await connection.fetch(SELECT_NOT_UNDERSTOOD, *scope, kind, ids)]


SELECT_NOT_UNDERSTOOD_INTENTS = f"""
select distinct n.customer_id
from stripe.payment_intents n
join lateral ({_WAITING} and u.named_kind = 'payment_intent' and u.named_id = n.id limit 1) waiting on true
where n.account_id = $1 and n.live_mode = $2 and n.customer_id = any ($3::text[])
"""


async def select_not_understood_intents(
    connection: Connection, scope: Scope, customers: Sequence[str]
) -> set[str]:
    """The same of PaymentIntents: those of these customers that have one."""
    return {row[0] for row in await connection.fetch(SELECT_NOT_UNDERSTOOD_INTENTS, *scope, customers)}
