"""Merging: what is known of one customer is given to another one, and the first is no more."""

from collections.abc import Sequence
from enum import StrEnum
from uuid import UUID

from billing.facts import unlinked_key
from db.connection import Connection
from db.keys import Scope
from db.records.identities import StoredIdentity, lock_uid
from db.records.joins import JOINED_MAX, main_of_sql, select_joins
from db.records.moved import MOVE_USAGE, hold_usage
from db.sync.customers import lock_customers

SELECT_MERGED_INTO = """
select into_uid from billing.merges where account_id = $1 and live_mode = $2 and merged_uid = $3
"""


async def select_merged_into(connection: Connection, scope: Scope, uid: UUID) -> UUID | None:
    """The customer into which the one with this uid was merged."""
    found: UUID | None = await connection.fetchval(SELECT_MERGED_INTO, *scope, uid)
    return found


def leads_to_sql(uid: str) -> str:
    """The customer to which a uid leads since a merge, as a subquery. $1 and $2 are account and mode."""
    # A service that writes identities by SQL may have used a merged uid again.
    return f"""
select into_uid from billing.merges
where account_id = $1 and live_mode = $2 and merged_uid = {uid}
  and not exists (
    select from billing.identities i
    where i.account_id = $1 and i.live_mode = $2 and i.uid = {uid} and {main_of_sql("i.stripe_customer_id")} is null
  )
"""


LEADS_TO = leads_to_sql("$3")


async def leads_to(connection: Connection, scope: Scope, uid: UUID) -> UUID | None:
    """The customer to which this uid leads since a merge, whether or not a worker has derived the records anew."""
    found: UUID | None = await connection.fetchval(LEADS_TO, *scope, uid)
    return found


LOCK_IDENTITIES = """
select uid, stripe_customer_id
from billing.identities
where account_id = $1 and live_mode = $2 and uid = any ($3::uuid[])
order by uid
for no key update
"""

SELECT_STANDING = """
select r.exact, r.deleted_at is not null or exists (
  select from sync.forgotten f
  where f.account_id = $1 and f.live_mode = $2 and f.customer_id = k.id
) as gone
from unnest($3::text[]) as k (id)
left join billing.customers r on r.account_id = $1 and r.live_mode = $2 and r.stripe_customer_id = k.id
"""

MOVE_JOINS = """
update billing.joined_customers set main_stripe_customer_id = $4
where account_id = $1 and live_mode = $2 and main_stripe_customer_id = $3
"""

JOIN_CUSTOMER = """
insert into billing.joined_customers (account_id, live_mode, stripe_customer_id, main_stripe_customer_id)
values ($1, $2, $3, $4)
"""

# They go with the identity that is linked to the main one, and come again once another identity is.
SELECT_JOINED = """
select stripe_customer_id, main_stripe_customer_id, joined_at, customer_uid
from billing.joined_customers
where account_id = $1 and live_mode = $2 and main_stripe_customer_id = $3
order by stripe_customer_id
"""

RESTORE_JOIN = """
insert into billing.joined_customers
  (account_id, live_mode, stripe_customer_id, main_stripe_customer_id, joined_at, customer_uid)
values ($1, $2, $3, $4, $5, $6)
"""

# It keeps its link: so its customer of Stripe's is nobody else's.
EMPTY_JOINED = """
update billing.identities
set custom_uid = null, name = null, email = null, description = null, fingerprint = null, send_email_receipts = null,
  metadata = '{}', sandbox_product_id = null, sandbox_end = null, last_seen = null
where account_id = $1 and live_mode = $2 and uid = $3
"""

SELECT_MERGED = """
select stripe_customer_id, custom_uid, name, email, description, fingerprint, send_email_receipts, metadata,
  sandbox_product_id, sandbox_end, last_seen, created_at
from billing.identities
where account_id = $1 and live_mode = $2 and uid = $3
"""

# Gone first: two identities cannot be linked to one customer of Stripe's.
REMOVE_MERGED = """
delete from billing.identities
where account_id = $1 and live_mode = $2 and uid = $3
returning stripe_customer_id, custom_uid, name, email, description, fingerprint, send_email_receipts, metadata,
  sandbox_product_id, sandbox_end, last_seen, created_at
"""

# What the remaining customer says counts; of two grants the one that lasts longer.
TAKE_OVER = """
update billing.identities i
set
  stripe_customer_id = coalesce(i.stripe_customer_id, $4),
  name = coalesce(i.name, $5),
  email = coalesce(i.email, $6),
  description = coalesce(i.description, $7),
  fingerprint = coalesce(i.fingerprint, $8),
  send_email_receipts = coalesce(i.send_email_receipts, $9),
  metadata = case when jsonb_typeof($10::jsonb) = 'object' then $10::jsonb else '{}' end
    || case when jsonb_typeof(i.metadata) = 'object' then i.metadata else '{}' end,
  sandbox_product_id = case
    when $12::timestamptz > coalesce(i.sandbox_end, '-infinity') then $11 else i.sandbox_product_id
  end,
  sandbox_end = greatest(i.sandbox_end, $12),
  last_seen = greatest(i.last_seen, $13),
  created_at = least(i.created_at, $14)
where i.account_id = $1 and i.live_mode = $2 and i.uid = $3
"""

MOVE_ENTITIES = """
update billing.local_entities e
set customer_uid = $2
where e.customer_uid = $1 and not exists (
  select from billing.local_entities other where other.customer_uid = $2 and other.id = e.id
)
"""

REMOVE_ENTITIES = "delete from billing.local_entities where customer_uid = $1"

RECORD_MERGE = """
insert into billing.merges
  (account_id, live_mode, merged_uid, into_uid, merged_stripe_customer_id, merged_custom_uid)
values ($1, $2, $3, $4, $5, $6)
on conflict (merged_uid) do update set
  into_uid = excluded.into_uid,
  merged_stripe_customer_id = coalesce(excluded.merged_stripe_customer_id, merges.merged_stripe_customer_id),
  merged_custom_uid = coalesce(excluded.merged_custom_uid, merges.merged_custom_uid),
  merged_at = excluded.merged_at
"""

FOLLOW_MERGE = """
update billing.merges set into_uid = $4 where account_id = $1 and live_mode = $2 and into_uid = $3
"""


class JoinRefusal(StrEnum):
    """Why two customers that both have one at Stripe are not joined."""

    DELETED = "deleted"
    """One of them was deleted at Stripe, or is forgotten."""
    NOT_SETTLED = "not settled"
    """One of them has facts that are not confirmed yet, so its history is not: it may be joined a little later."""
    TOO_MANY = "too many"
    """More than JOINED_MAX customers would be joined to one."""


class JoinRefused(Exception):
    """Two customers of Stripe's that do not become one now; nothing is done."""

    def __init__(self, why: JoinRefusal) -> None:
        super().__init__(why.value)
        self.why = why


async def _require_joinable(
    connection: Connection, scope: Scope, customers: Sequence[str], joined_count: int
) -> None:
    """Return if these two may be joined, to which so many others are joined already. Raises JoinRefused."""
    rows = await connection.fetch(SELECT_STANDING, *scope, customers)
    if any(row["gone"] for row in rows):
        raise JoinRefused(JoinRefusal.DELETED)
    if not all(row["exact"] for row in rows):
        raise JoinRefused(JoinRefusal.NOT_SETTLED)
    if joined_count >= JOINED_MAX:
        raise JoinRefused(JoinRefusal.TOO_MANY)


async def merge_identities(
    connection: Connection, scope: Scope, merged: StoredIdentity, into: StoredIdentity
) -> bool:
    """Give everything of one identity to another one, which keeps its uid and its name. In a transaction, which has
    called hold_usage before it made or locked any identity. False, and nothing is done, if one of them is gone, or
    joined to another customer. If both are linked to customers of Stripe's, that of the first is joined to that of the
    other one. Raises JoinRefused.

    Both records are derived after this: the parts of the first one's follow its Stripe customer, and what the record of
    a joined one has is taken over by the other one.
    """
    await hold_usage(connection)
    await lock_uid(connection, merged.uid)
    rows = await connection.fetch(LOCK_IDENTITIES, *scope, [merged.uid, into.uid])
    if len(rows) != 2:
        return False
    linked = {row["uid"]: row["stripe_customer_id"] for row in rows}
    joins = await select_joins(connection, scope, [each for each in linked.values() if each is not None])
    if any(each in joins.mains for each in linked.values()):
        return False
    joined, main = linked[merged.uid], linked[into.uid]
    follow = [] if main is not None else await connection.fetch(SELECT_JOINED, *scope, joined)
    # What follows marks these customers, one after the other, and a derivation locks them in the order of their keys.
    keys = [linked[uid] or unlinked_key(uid) for uid in linked]
    await lock_customers(connection, scope, [*keys, *joins.mains])
    if joined is not None and main is not None:
        await _require_joinable(connection, scope, [joined, main], len(joins.mains))
        found = await connection.fetchrow(SELECT_MERGED, *scope, merged.uid)
        await connection.execute(EMPTY_JOINED, *scope, merged.uid)
    else:
        found = await connection.fetchrow(REMOVE_MERGED, *scope, merged.uid)
    if found is None:
        return False
    stripe_customer_id, custom_uid, *rest = found
    await connection.execute(TAKE_OVER, *scope, into.uid, stripe_customer_id, *rest)
    if joined is not None and main is not None:
        await connection.execute(MOVE_JOINS, *scope, joined, main)
        await connection.execute(JOIN_CUSTOMER, *scope, joined, main)
    for join in follow:
        await connection.execute(RESTORE_JOIN, *scope, *join)
    await connection.execute(MOVE_ENTITIES, merged.uid, into.uid)
    await connection.execute(REMOVE_ENTITIES, merged.uid)
    for statement in MOVE_USAGE:
        await connection.execute(statement, [merged.uid], [into.uid])
    await connection.execute(RECORD_MERGE, *scope, merged.uid, into.uid, stripe_customer_id, custom_uid)
    await connection.execute(FOLLOW_MERGE, *scope, merged.uid, into.uid)
    return True
