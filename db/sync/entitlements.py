"""The customers whose active entitlements are to be read: no list of Stripe's holds them all."""

from db.connection import Connection
from db.keys import Scope
from db.sync.audits import LOCK_SCHEDULE

# If the account has no features, no customer is entitled to any. Each arm gives the first customers in its order, so
# the first of all together are among them.
SELECT_ENTITLED = """
select customer_id
from (
  (
    select distinct s.customer_id
    from stripe.subscriptions s
    where s.account_id = $1 and s.live_mode = $2 and s.customer_id > $3 and s.deleted_at is null
      and s.status not in ('canceled', 'incomplete_expired')
    order by s.customer_id
    limit $4
  )
  union
  (
    select distinct e.customer_id
    from stripe.active_entitlements e
    where e.account_id = $1 and e.live_mode = $2 and e.customer_id > $3
    order by e.customer_id
    limit $4
  )
  union
  (
    -- A subscription that no page could give is read later: it may be the only one that entitles.
    select distinct o.customer_id
    from sync.objects o
    where o.account_id = $1 and o.live_mode = $2 and o.customer_id > $3 and o.unsettled and o.kind = 'subscription'
    order by o.customer_id
    limit $4
  )
) as entitled
where exists (select from sync.objects o where o.account_id = $1 and o.live_mode = $2 and o.kind = 'feature')
  and not exists (
    select from sync.forgotten f
    where f.account_id = $1 and f.live_mode = $2 and f.customer_id = entitled.customer_id
  )
order by customer_id
limit $4
"""


async def select_entitled(connection: Connection, scope: Scope, after: str, *, limit: int) -> list[str]:
    """The first customers after an id that may be entitled to something: they have a subscription that has not ended,
    or one that is still to be read, or were entitled when they were last read. None if the account has no features.
    """
    return [row[0] for row in await connection.fetch(SELECT_ENTITLED, *scope, after, limit)]


SELECT_UNREAD_ACCOUNTS = """
select distinct f.account_id
from stripe.features f
where f.live_mode = $1
  and not exists (
    select from sync.scans s
    where s.purpose = 'backfill' and s.account_id = f.account_id and s.live_mode = f.live_mode
      and 'feature' = any (s.kinds)
  )
order by 1
"""


async def select_unread_accounts(connection: Connection, *, live_mode: bool) -> list[str]:
    """The accounts that turn out to have features although no backfill has read which customers are entitled to them.
    In the transaction that requests that backfill, so that none is requested twice.
    """
    await connection.execute(LOCK_SCHEDULE)
    return [row[0] for row in await connection.fetch(SELECT_UNREAD_ACCOUNTS, live_mode)]


HAS_FEATURES = """
select exists (select from sync.objects o where o.account_id = $1 and o.live_mode = $2 and o.kind = 'feature')
"""


async def has_features(connection: Connection, scope: Scope) -> bool:
    """Whether any feature of the account is known: without one, no customer is entitled to anything."""
    found: bool = await connection.fetchval(HAS_FEATURES, *scope)
    return found
