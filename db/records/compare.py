"""Records, as an audit compares them with what the mirror implies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from billing.record import CustomerRecord, Derived
from db.columns import columns_of, decoded, differing, names_of
from db.connection import Connection
from db.keys import Scope
from db.records.joins import select_joins
from db.records.parts import RECORD_PARTS

SELECT_CUSTOMERS_AFTER = """
select customer_id, complete, stale > derived and parked_at is null as moving
from sync.customers
where account_id = $1 and live_mode = $2 and customer_id > $3
order by customer_id
limit $4
"""

SELECT_CUSTOMERS_BY_ID = """
select customer_id, complete, stale > derived and parked_at is null as moving
from sync.customers
where account_id = $1 and live_mode = $2 and customer_id = any ($3::text[])
order by customer_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedCustomer:
    """A customer whose record is compared; while it is moving, or one that is joined to it, its record may be older
    than its facts. One that is joined itself has none.
    """

    id: str
    complete: bool
    moving: bool
    is_joined: bool = False


async def select_customers_after(
    connection: Connection, scope: Scope, after: str, *, limit: int
) -> list[AuditedCustomer]:
    """The customers after an id, in the order of ids."""
    rows = await connection.fetch(SELECT_CUSTOMERS_AFTER, *scope, after, limit)
    return [AuditedCustomer(id=row[0], complete=row[1], moving=row[2]) for row in rows]


async def select_customers_by_id(
    connection: Connection, scope: Scope, ids: Sequence[str]
) -> list[AuditedCustomer]:
    """These customers."""
    rows = await connection.fetch(SELECT_CUSTOMERS_BY_ID, *scope, ids)
    return [AuditedCustomer(id=row[0], complete=row[1], moving=row[2]) for row in rows]


async def with_joined(
    connection: Connection, scope: Scope, customers: Sequence[AuditedCustomer]
) -> tuple[list[AuditedCustomer], dict[str, list[AuditedCustomer]]]:
    """The same, now with what follows from joins; and by id, who is joined to each."""
    joins = await select_joins(connection, scope, [each.id for each in customers])
    if not joins.mains:
        return list(customers), {}
    joined: dict[str, list[AuditedCustomer]] = {}
    for other in await select_customers_by_id(connection, scope, list(joins.mains)):
        joined.setdefault(joins.main_of(other.id), []).append(other)
    known = [
        replace(
            each,
            # Of one that is joined nothing is said here: its main one is looked at.
            moving=not joins.is_joined(each.id)
            and (each.moving or any(other.moving for other in joined.get(each.id, ()))),
            is_joined=joins.is_joined(each.id),
        )
        for each in customers
    ]
    return known, joined


COUNT_UNRESOLVED = """
select count(*) from sync.objects where touched > resolved and account_id = $1 and live_mode = $2
"""


async def count_unresolved(connection: Connection, scope: Scope) -> int:
    """Rows whose customers are not marked yet."""
    count: int = await connection.fetchval(COUNT_UNRESOLVED, *scope)
    return count


SELECT_SNAPSHOT_TIME = "select now()"


async def select_snapshot_time(connection: Connection) -> datetime:
    """When this transaction began, by the clock that says when records are due to be derived again."""
    now: datetime = await connection.fetchval(SELECT_SNAPSHOT_TIME)
    return now


_RECORD_COLUMNS = columns_of(CustomerRecord)

SELECT_RECORDS = f"select {names_of(_RECORD_COLUMNS)} from billing.customers where uid = any ($1::uuid[])"

SELECT_PARTS: Mapping[str, str] = {
    name: f"select {names_of(part.columns)} from {part.table} where customer_uid = any ($1::uuid[])"
    for name, part in RECORD_PARTS.items()
}
"""The stored rows of each part, by its field of `Derived`."""


@dataclass(slots=True, kw_only=True)
class StoredWhole:
    """A record as it is stored, with its parts; each row a mapping of columns."""

    record: dict[str, Any] | None
    parts: dict[str, dict[tuple[object, ...], dict[str, Any]]]
    """Per part, its rows by their identity."""


async def select_whole_records(connection: Connection, uids: Sequence[UUID]) -> dict[UUID, StoredWhole]:
    """The stored records and their parts, by uid; a customer without any is there too."""
    stored = {uid: StoredWhole(record=None, parts={name: {} for name in RECORD_PARTS}) for uid in uids}
    for row in await connection.fetch(SELECT_RECORDS, uids):
        stored[row["uid"]].record = decoded(_RECORD_COLUMNS, row)
    for name, part in RECORD_PARTS.items():
        for row in await connection.fetch(SELECT_PARTS[name], uids):
            identity = tuple(row[column] for column in part.identity)
            stored[row["customer_uid"]].parts[name][identity] = decoded(part.columns, row)
    return stored


def differing_parts(derived: Derived, stored: StoredWhole) -> list[str]:
    """The parts whose rows differ from what was derived, by the names that readers know."""
    found = []
    for name, part in RECORD_PARTS.items():
        wanted = {part.identity_of(row): row for row in part.rows_of(derived)}
        rows = stored.parts[name]
        if wanted.keys() != rows.keys() or any(differing(row, rows[key]) for key, row in wanted.items()):
            found.append(part.relation.removeprefix("billing."))
    return found


SELECT_SURPLUS_RECORDS = """
select r.uid, r.stripe_customer_id
from billing.customers r
where r.account_id = $1 and r.live_mode = $2 and r.stripe_customer_id is not null
  and not exists (
    select from sync.customers c
    where c.account_id = r.account_id and c.live_mode = r.live_mode and c.customer_id = r.stripe_customer_id
  )
  and not exists (select from billing.identities i where i.uid = r.uid)
union all
select r.uid, j.stripe_customer_id
from billing.joined_customers j
join billing.customers r
  on r.account_id = j.account_id and r.live_mode = j.live_mode and r.stripe_customer_id = j.stripe_customer_id
join sync.customers main
  on main.account_id = j.account_id and main.live_mode = j.live_mode
    and main.customer_id = j.main_stripe_customer_id
where j.account_id = $1 and j.live_mode = $2 and main.stale <= main.derived
order by 2
"""


async def select_surplus_records(connection: Connection, scope: Scope) -> dict[str, UUID]:
    """Records of Stripe customers that no event or read has named, and of customers that are joined to others which
    should have taken them over: Stripe id -> uid.
    """
    return {row[1]: row[0] for row in await connection.fetch(SELECT_SURPLUS_RECORDS, *scope)}
