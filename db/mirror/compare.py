"""What the database holds, as an audit compares it: mirror rows with what Stripe's lists and reads say, records with
what the mirror implies.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from billing.facts import Part
from billing.lists import THROUGH
from billing.record import (
    CustomerEntity,
    CustomerFeature,
    CustomerMrr,
    CustomerProduct,
    CustomerRecord,
    Revenue,
)
from billing.registry import KINDS, Kind
from db.columns import Column, arrays_of, columns_of, names_of, parameters_of
from db.connection import Connection
from db.keys import Key, Scope
from db.mirror.tables import MIRROR, PARTS, PartStatements, told_since


def _changed_parts(statements: PartStatements) -> str:
    table, owner, columns = statements.table, statements.owner, statements.columns
    others = [column for column in columns if column.name not in ("id", owner)]
    values = ", ".join(f"{column.value} as {column.name}" for column in columns)
    told = ", ".join(
        told_since(column.name, f"new.{column.name}", f"old.{column.name}", in_part=True)
        if column.name in statements.told_by_reads
        else f"new.{column.name}"
        for column in others
    )
    return f"""
with new as (
  select {values}
  from unnest({parameters_of(columns, first=4)}) as new ({names_of(columns)})
)
select new.{owner}
from new
left join {table} old
  on old.account_id = $1 and old.live_mode = $2 and old.{owner} = new.{owner} and old.id = new.id
where old.id is null or ({names_of(others, prefix="old.")}) is distinct from ({told})
union
select old.{owner}
from {table} old
where old.account_id = $1 and old.live_mode = $2 and old.{owner} = any ($3::text[])
  and not exists (select from new where new.{owner} = old.{owner} and new.id = old.id)
"""


SELECT_CHANGED_PARTS: Mapping[str, str] = {kind: _changed_parts(each) for kind, each in PARTS.items()}
"""Per kind with parts: the objects among $3 whose stored parts are not exactly those given."""


async def select_changed_parts(
    connection: Connection, scope: Scope, kind: str, owner_ids: Sequence[str], parts: Sequence[Part]
) -> list[str]:
    """The objects among these whose stored parts are not exactly these."""
    rows = await connection.fetch(
        SELECT_CHANGED_PARTS[kind], *scope, list(owner_ids), *arrays_of(PARTS[kind].columns, parts)
    )
    return [row[0] for row in rows]


SELECT_BURIED: Mapping[str, str] = {
    kind.name: f"""
select id from {kind.table}
where account_id = $1 and live_mode = $2 and id = any ($3::text[]) and deleted_at is not null
"""
    for kind in KINDS.values()
}
"""Per kind: which of these ids are rows that say they were deleted."""


async def select_buried(connection: Connection, scope: Scope, kind: str, ids: Sequence[str]) -> list[str]:
    """Which of these objects the mirror takes for deleted."""
    return [row[0] for row in await connection.fetch(SELECT_BURIED[kind], *scope, ids)]


def _of_half(kind: Kind) -> str:
    """Whether a row is of the half $6 of its kind's list; any row is where the list is one, $6 being NULL."""
    whole = "$6::boolean is null"
    return whole if kind.list_halves is None else f"({whole} or coalesce({kind.list_halves}, true) = $6)"


def _within(kind: Kind) -> str:
    """Whether a row is of the stretch [$3, $4) of `created`; any row is, of a kind that does not say it."""
    if kind.says_created:
        return "created >= $3 and created < $4"
    return "$3::timestamptz is not null and $4::timestamptz is not null"


SELECT_SURPLUS: Mapping[str, str] = {
    kind.name: f"""
select id from {kind.table}
where account_id = $1 and live_mode = $2 and {_within(kind)} and not id = any ($5::text[]) and deleted_at is null
  and {_of_half(kind)}
"""
    for kind in KINDS.values()
}
"""Per kind: the rows created in [$3, $4) that a list did not hold."""


async def select_surplus(
    connection: Connection,
    scope: Scope,
    kind: str,
    *,
    low: datetime,
    high: datetime,
    listed: Collection[str],
    variant: str,
) -> list[str]:
    """The rows created in [low, high) that are not among the listed ids; of kinds that do not say when, all others.

    `variant`: which reading of the kind's list it was; only rows that say they belong there are looked for.
    """
    half = variant.endswith("=true") if variant else None
    rows = await connection.fetch(SELECT_SURPLUS[kind], *scope, low, high, list(listed), half)
    return [row[0] for row in rows]


SELECT_SURPLUS_PARTS: Mapping[str, str] = {
    part: f"""
select id from {KINDS[part].table}
where account_id = $1 and live_mode = $2 and {parent}_id = any ($3::text[]) and not id = any ($4::text[])
  and deleted_at is null
"""
    for part, parent in THROUGH.items()
}
"""Per kind that is read with its parents: the rows of these parents that the parents did not hold."""


async def select_surplus_parts(
    connection: Connection, scope: Scope, part: str, *, parents: Sequence[str], listed: Collection[str]
) -> list[str]:
    """The rows of a kind that belong to these parents, and that the parents do not hold."""
    return [
        row[0] for row in await connection.fetch(SELECT_SURPLUS_PARTS[part], *scope, parents, list(listed))
    ]


def _unlisted() -> dict[str, str]:
    """Per kind: what no list can have met. Parameters: account, mode, low, high, tick of the beginning."""
    statements = {}
    for kind in KINDS.values():
        if kind.name in THROUGH:
            parent = THROUGH[kind.name]
            where = f"""not exists (
    select from {KINDS[parent].table} p
    where p.account_id = t.account_id and p.live_mode = t.live_mode and p.id = t.{parent}_id
  )"""
        elif not kind.list_holds_all:
            where = "false"
        elif kind.id_is_customers and kind.list_path is None:
            # Who is not asked for may have rows that nothing told of, or that are of somebody else.
            where = f"""(
    t.customer_id is distinct from t.id
    or not exists (
      select from sync.objects o
      where o.account_id = t.account_id and o.live_mode = t.live_mode and o.kind = '{kind.name}' and o.id = t.id
    )
  )"""
        elif kind.says_created:
            where = "(t.created is null or t.created < $3 or t.created >= $4)"
        else:
            where = "false"
        statements[kind.name] = f"""
select t.id, 'surplus' as what
from {kind.table} t
where t.account_id = $1 and t.live_mode = $2 and t.deleted_at is null and {where}
  and not exists (
    select from sync.objects o
    where o.account_id = t.account_id and o.live_mode = t.live_mode and o.kind = '{kind.name}' and o.id = t.id
      and (o.confirmed >= $5 or o.dirty >= $5 or o.told >= $5)
  )
union all
select o.id, 'lacking'
from sync.objects o
where o.account_id = $1 and o.live_mode = $2 and o.kind = '{kind.name}' and o.confirmed > 0 and o.confirmed < $5
  and $3::timestamptz is not null and $4::timestamptz is not null
  and not exists (
    select from {kind.table} t where t.account_id = o.account_id and t.live_mode = o.live_mode and t.id = o.id
  )
"""
    return statements


SELECT_UNLISTED: Mapping[str, str] = _unlisted()
"""Per kind: rows that no list can have met, and objects that were read and have no row."""


async def select_unlisted(
    connection: Connection, scope: Scope, kind: str, *, low: datetime, high: datetime, tick: int
) -> dict[Key, str]:
    """What no list can have met (key -> what): rows without a place in it, objects that were read and have no row."""
    rows = await connection.fetch(SELECT_UNLISTED[kind], *scope, low, high, tick)
    return {Key(*scope, kind, row[0]): row[1] for row in rows}


SELECT_STORED_FACTS: Mapping[str, str] = {
    kind.name: f"""
select {names_of(MIRROR[kind.name].columns)}, deleted_at
from {kind.table}
where account_id = $1 and live_mode = $2 and id = any ($3::text[])
"""
    for kind in KINDS.values()
}
"""Per kind: the stored facts of these ids, as they stand."""

SELECT_STORED_PARTS: Mapping[str, str] = {
    kind: f"""
select {names_of(parts.columns)}
from {parts.table}
where account_id = $1 and live_mode = $2 and {parts.owner} = any ($3::text[])
order by {parts.owner}, id
"""
    for kind, parts in PARTS.items()
}
"""Per kind with parts: the stored parts of these objects."""


async def select_stored_facts(
    connection: Connection, scope: Scope, kind: str, ids: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The stored columns of these objects, by id; of those that hold parts with `parts`, by their ids."""
    rows = await connection.fetch(SELECT_STORED_FACTS[kind], *scope, ids)
    columns = MIRROR[kind].columns
    stored = {row["id"]: {**_decoded(columns, row), "deleted_at": row["deleted_at"]} for row in rows}
    if kind in PARTS:
        parts = PARTS[kind]
        for each in stored.values():
            each["parts"] = []
        for row in await connection.fetch(SELECT_STORED_PARTS[kind], *scope, ids):
            if row[parts.owner] in stored:
                stored[row[parts.owner]]["parts"].append(_decoded(parts.columns, row))
    return stored


def _decoded(columns: Sequence[Column], row: asyncpg.Record) -> dict[str, Any]:
    return {
        column.name: msgspec.json.decode(row[column.name])
        if column.type == "jsonb" and row[column.name] is not None
        else row[column.name]
        for column in columns
    }


# Records

SELECT_SETTLED_CUSTOMERS = """
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
    """A customer whose record is compared; while it is moving, its record may be older than its facts."""

    id: str
    complete: bool
    moving: bool


async def select_customers_after(
    connection: Connection, scope: Scope, after: str, *, limit: int
) -> list[AuditedCustomer]:
    """The customers whose ids follow one."""
    rows = await connection.fetch(SELECT_SETTLED_CUSTOMERS, *scope, after, limit)
    return [AuditedCustomer(id=row[0], complete=row[1], moving=row[2]) for row in rows]


async def select_customers_by_id(
    connection: Connection, scope: Scope, ids: Sequence[str]
) -> list[AuditedCustomer]:
    """These customers."""
    rows = await connection.fetch(SELECT_CUSTOMERS_BY_ID, *scope, ids)
    return [AuditedCustomer(id=row[0], complete=row[1], moving=row[2]) for row in rows]


COUNT_UNRESOLVED = """
select count(*) from sync.objects where touched > resolved and account_id = $1 and live_mode = $2
"""


async def count_unresolved(connection: Connection, scope: Scope) -> int:
    """Rows whose concerned customers have yet to be marked."""
    count: int = await connection.fetchval(COUNT_UNRESOLVED, *scope)
    return count


SELECT_SNAPSHOT_TIME = "select now()"


async def select_snapshot_time(connection: Connection) -> datetime:
    """When this transaction began, by the clock that says when records are due to be derived again."""
    now: datetime = await connection.fetchval(SELECT_SNAPSHOT_TIME)
    return now


_RECORD_COLUMNS = columns_of(CustomerRecord)
_PRODUCT_COLUMNS = columns_of(CustomerProduct)
_REVENUE_COLUMNS = columns_of(Revenue)
_FEATURE_COLUMNS = columns_of(CustomerFeature)
_ENTITY_COLUMNS = columns_of(CustomerEntity)
_MRR_COLUMNS = columns_of(CustomerMrr)

SELECT_RECORDS = f"select {names_of(_RECORD_COLUMNS)} from billing.customers where uid = any ($1::uuid[])"
SELECT_PRODUCTS = f"""
select {names_of(_PRODUCT_COLUMNS)} from billing.customer_products where customer_uid = any ($1::uuid[])
"""
SELECT_REVENUE = f"""
select {names_of(_REVENUE_COLUMNS)} from billing.customer_revenue where customer_uid = any ($1::uuid[])
"""
SELECT_CUSTOMER_FEATURES = f"""
select {names_of(_FEATURE_COLUMNS)} from billing.customer_features where customer_uid = any ($1::uuid[])
"""
SELECT_ENTITIES = f"""
select {names_of(_ENTITY_COLUMNS)} from billing.subscription_entities where customer_uid = any ($1::uuid[])
"""
SELECT_CUSTOMER_MRR = f"""
select {names_of(_MRR_COLUMNS)} from billing.customer_mrr where customer_uid = any ($1::uuid[])
"""


@dataclass(slots=True, kw_only=True)
class StoredWhole:
    """A record as it is stored, with its parts; each row a mapping of columns."""

    record: dict[str, Any] | None
    products: dict[object, dict[str, Any]]
    revenue: dict[object, dict[str, Any]]
    features: dict[object, dict[str, Any]]
    entities: dict[object, dict[str, Any]]
    mrr: dict[object, dict[str, Any]]


async def select_whole_records(connection: Connection, uids: Sequence[UUID]) -> dict[UUID, StoredWhole]:
    """The stored records and their parts, by uid; a customer without any is there too."""
    stored = {
        uid: StoredWhole(record=None, products={}, revenue={}, features={}, entities={}, mrr={})
        for uid in uids
    }
    for row in await connection.fetch(SELECT_RECORDS, uids):
        stored[row["uid"]].record = _decoded(_RECORD_COLUMNS, row)
    for row in await connection.fetch(SELECT_PRODUCTS, uids):
        stored[row["customer_uid"]].products[row["id"]] = _decoded(_PRODUCT_COLUMNS, row)
    for row in await connection.fetch(SELECT_REVENUE, uids):
        stored[row["customer_uid"]].revenue[row["currency"]] = _decoded(_REVENUE_COLUMNS, row)
    for row in await connection.fetch(SELECT_CUSTOMER_FEATURES, uids):
        stored[row["customer_uid"]].features[row["feature_id"]] = _decoded(_FEATURE_COLUMNS, row)
    for row in await connection.fetch(SELECT_ENTITIES, uids):
        stored[row["customer_uid"]].entities[row["id"]] = _decoded(_ENTITY_COLUMNS, row)
    for row in await connection.fetch(SELECT_CUSTOMER_MRR, uids):
        stored[row["customer_uid"]].mrr[row["currency"]] = _decoded(_MRR_COLUMNS, row)
    return stored


SELECT_SURPLUS_RECORDS = """
select r.uid, r.stripe_customer_id
from billing.customers r
where r.account_id = $1 and r.live_mode = $2 and r.stripe_customer_id is not null
  and not exists (
    select from sync.customers c
    where c.account_id = r.account_id and c.live_mode = r.live_mode and c.customer_id = r.stripe_customer_id
  )
  and not exists (select from billing.identities i where i.uid = r.uid)
order by r.stripe_customer_id
"""


async def select_surplus_records(connection: Connection, scope: Scope) -> dict[str, UUID]:
    """Records of Stripe customers that nothing ever told of: Stripe id -> uid."""
    return {row[1]: row[0] for row in await connection.fetch(SELECT_SURPLUS_RECORDS, *scope)}


def differing(wanted: object, stored: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of a frozen value whose stored columns say something else."""
    return tuple(
        field.name
        for field in fields(wanted)  # type: ignore[arg-type]
        if _plain(getattr(wanted, field.name)) != _plain(stored[field.name])
    )


def _plain(value: object) -> object:
    # Lists of values with fields (the tiers of a price) come from the database as the JSON that they were stored as.
    return msgspec.json.decode(msgspec.json.encode(value)) if isinstance(value, (list, tuple)) else value
