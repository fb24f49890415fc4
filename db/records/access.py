"""What a customer may use: one row of billing.access, found with the customer."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from db.connection import Connection
from db.keys import Scope
from db.records.full import uid_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Whether a customer may use something, and why."""

    allowed: bool
    reason: str
    status: str | None
    until: datetime | None
    balance: Decimal | None
    exact: bool


def _check(column: str) -> str:
    """Of several rows (of entities, and of the whole customer) the best one counts, with the sum of their balances."""
    return f"""
select best.allowed, best.reason, case when best.allowed is null then meant.status else best.status end as status,
  best.until, best.total, meant.exact
from (
  select uid, status, exact
  from (
    select uid, status, exact, 1 as rank
    from billing.customers where uid = $4 and account_id = $1 and live_mode = $2
    union all
    select uid, status, exact, 2
    from billing.customers where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
    union all
    select uid, status, exact, 3
    from billing.customers where account_id = $1 and live_mode = $2 and custom_uid = $3
  ) named
  order by rank
  limit 1
) meant
left join lateral (
  select a.allowed, a.reason, a.status, a.until, sum(a.balance) filter (where a.allowed) over () as total
  from billing.access a
  where a.customer_uid = meant.uid and a.{column} = $5
    and ($6::text is null or a.entity_id is null or a.entity_id = $6)
  order by a.allowed desc, a.until desc nulls first
  limit 1
) best on true
"""


CHECK_PRODUCT = _check("product_id")
CHECK_FEATURE = _check("feature_id")


async def check_product(
    connection: Connection, scope: Scope, name: str, product_id: str, entity_id: str | None
) -> Access | None:
    """Whether the customer with this uid, Stripe id or custom_uid may use a product: for this entity, else for any.
    None if it has no record.
    """
    return await _asked(connection, CHECK_PRODUCT, scope, name, product_id, entity_id)


async def check_feature(
    connection: Connection, scope: Scope, name: str, feature_id: str, entity_id: str | None
) -> Access | None:
    """The same of a feature."""
    return await _asked(connection, CHECK_FEATURE, scope, name, feature_id, entity_id)


async def _asked(
    connection: Connection, statement: str, scope: Scope, name: str, thing: str, entity_id: str | None
) -> Access | None:
    uid: UUID | None = uid_in(name)
    row = await connection.fetchrow(statement, *scope, name, uid, thing, entity_id)
    if row is None:
        return None
    allowed, reason, status, until, balance, exact = row
    return Access(
        allowed=bool(allowed),
        reason=reason or "not_bought",
        status=status,
        until=until,
        balance=balance,
        exact=exact,
    )
