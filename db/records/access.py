"""What a customer may use: one row of billing.access, found with the customer."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from db.connection import Connection
from db.keys import CustomerKey, Scope
from db.records.full import uid_in
from db.records.joins import select_main_of
from db.records.merges import leads_to_sql
from db.records.tracking import SEEN_EVERY, Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Whether a customer may use something, and why."""

    allowed: bool
    reason: str
    status: str | None
    until: datetime | None
    balance: Decimal | None
    exact: bool


_LEADS_TO = leads_to_sql("$4")


def _check(things: str, column: str) -> str:
    """Of several rows (of entities, and of the whole customer) the best one counts, with the sum of their balances."""
    return f"""
select best.allowed, best.reason, case when best.allowed is null then meant.status else best.status end as status,
  best.until, best.left_over, meant.exact, meant.uid, meant.stripe_customer_id,
  coalesce(meant.last_seen < now() - $7::interval, true) as seen_again, now() as seen_at
from (
  select uid, status, exact, stripe_customer_id, last_seen
  from (
    select uid, status, exact, stripe_customer_id, last_seen, 1 as rank
    from billing.customers where uid = coalesce(({_LEADS_TO}), $4) and account_id = $1 and live_mode = $2
    union all
    select uid, status, exact, stripe_customer_id, last_seen, 2
    from billing.customers where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
    union all
    select uid, status, exact, stripe_customer_id, last_seen, 3
    from billing.customers where account_id = $1 and live_mode = $2 and custom_uid = $3
      and ($4 is null or ({_LEADS_TO}) is null)
  ) named
  order by rank
  limit 1
) meant
left join lateral (
  select a.allowed, a.reason, a.status, a.until,
    case
      when bool_or(a.allowed and a.balance is null) over () then null
      when bool_or(a.allowed) over () then sum(a.balance) filter (where a.allowed) over ()
      else max(a.balance) filter (where a.reason = 'balance') over ()
    end as left_over
  from billing.access_to_{things} a
  where a.customer_uid = meant.uid and a.{column} = $5
    and ($6::text is null or a.entity_id is null or a.entity_id = $6)
  order by a.allowed desc, a.until desc nulls first
  limit 1
) best on true
"""


CHECK_PRODUCT = _check("products", "product_id")
CHECK_FEATURE = _check("features", "feature_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found of a customer."""

    access: Access
    seen: Seen | None
    """The customer, if its last_seen is to move."""


async def check_product(
    connection: Connection, scope: Scope, name: str, product_id: str, entity_id: str | None
) -> Checked | None:
    """Whether the customer with this uid, Stripe id or custom_uid may use a product: for this entity, else for any. A
    uid that was merged, and a Stripe id that is joined, stand for the customer to which they lead. None if it has no
    record.
    """
    return await _asked(connection, CHECK_PRODUCT, scope, name, product_id, entity_id)


async def check_feature(
    connection: Connection, scope: Scope, name: str, feature_id: str, entity_id: str | None
) -> Checked | None:
    """The same of a feature."""
    return await _asked(connection, CHECK_FEATURE, scope, name, feature_id, entity_id)


async def _asked(
    connection: Connection, statement: str, scope: Scope, name: str, thing: str, entity_id: str | None
) -> Checked | None:
    row = await connection.fetchrow(statement, *scope, name, uid_in(name), thing, entity_id, SEEN_EVERY)
    # Looked up apart, for the few that are joined. A custom_uid may be anything, even such a Stripe id.
    if name.startswith("cus_") and (row is None or row["stripe_customer_id"] != name):
        main = await select_main_of(connection, CustomerKey(*scope, name))
        if main.id != name:
            return await _asked(connection, statement, scope, main.id, thing, entity_id)
    if row is None:
        return None
    allowed, reason, status, until, balance, exact, uid, stripe_customer_id, seen_again, seen_at = row
    access = Access(
        allowed=bool(allowed),
        reason=reason or "not_bought",
        status=status,
        until=until,
        balance=balance,
        exact=exact,
    )
    seen = None
    if seen_again:
        seen = Seen(
            customer_uid=uid,
            account_id=scope.account_id,
            live_mode=scope.live_mode,
            stripe_customer_id=stripe_customer_id,
            seen_at=seen_at,
        )
    return Checked(access=access, seen=seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureAccess:
    """Whether a customer, or one of its entities, may use a feature, and how much of it is left."""

    feature_id: str
    entity_id: str | None
    allowed: bool
    reason: str
    until: datetime | None
    granted: Decimal | None
    used: Decimal | None
    balance: Decimal | None


SELECT_FEATURE_ACCESS = """
select feature_id, entity_id, allowed, reason, until, granted, used, balance
from billing.access_to_features
where customer_uid = $1
order by feature_id, entity_id nulls first
"""


async def select_feature_access(connection: Connection, uid: UUID) -> list[FeatureAccess]:
    """Every feature that the customer has or had, as checks answer it."""
    return [FeatureAccess(**row) for row in await connection.fetch(SELECT_FEATURE_ACCESS, uid)]
