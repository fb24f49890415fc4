"""Audits: what differs between Stripe's lists and the mirror, and between the mirror and the records."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from subledger.billing.facts import Part
from subledger.billing.lists import THROUGH
from subledger.billing.record import (
    CustomerEntity,
    CustomerFeature,
    CustomerMrr,
    CustomerProduct,
    CustomerRecord,
    Revenue,
)
from subledger.billing.registry import KINDS, Kind
from subledger.db.connection import Connection
from subledger.db.queries.backfills import Scan, select_scan
from subledger.db.queries.columns import Column, arrays_of, columns_of, names_of, parameters_of
from subledger.db.queries.customers import CustomerKey
from subledger.db.queries.mirror import MIRROR, PARTS, PartStatements, told_since
from subledger.db.queries.objects import Key

RECORD = "record"
"""The kind, in sync.drift, of what is derived."""

Scope = tuple[str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Something that does not agree with Stripe."""

    kind: str
    id: str
    what: str
    fields: tuple[str, ...] = ()
    currency: str | None = None
    amount: int = 0
    said: str | None = None


# What is being marked, read or written just now is no drift: the fence will see to it. `surplus` and `lacking` are
# what a list says; a read by id decides.
SUSPECT = """
insert into sync.drift (scan_id, kind, id, what)
select $1::bigint, s.kind, s.id, s.what
from unnest($4::text[], $5::text[], $6::text[]) as s (kind, id, what)
left join sync.objects o on o.account_id = $2 and o.live_mode = $3 and o.kind = s.kind and o.id = s.id
where (
    o.id is null
    or (o.confirmed < $7 and (o.dirty < o.confirmed or o.missing_since is not null or o.parked_at is not null))
  )
  -- Of a customer who is forgotten nothing is asked any more.
  and not exists (
    select from sync.forgotten f
    where f.account_id = $2 and f.live_mode = $3 and f.customer_id = o.customer_id
  )
order by 1, 2, 3
on conflict do nothing
"""


async def suspect(connection: Connection, scan: Scan, suspects: Mapping[Key, str], *, tick: int) -> None:
    """Note what a list of this tick says otherwise (key -> what), unless it is in motion."""
    if suspects:
        await connection.execute(
            SUSPECT,
            scan.id,
            scan.account_id,
            scan.live_mode,
            [key[2] for key in suspects],
            [key[3] for key in suspects],
            list(suspects.values()),
            tick,
        )


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
    return {(*scope, kind, row[0]): row[1] for row in rows}


SELECT_SUSPECTS = """
select kind, id, what
from sync.drift
where scan_id = $1 and not verified and (kind = $2) = $3
order by kind, id
limit $4
"""


async def select_suspects(
    connection: Connection, scan: Scan, *, records: bool, limit: int
) -> list[tuple[str, str, str]]:
    """What waits for its verification (kind, id, what): records, or mirrored objects."""
    rows = await connection.fetch(SELECT_SUSPECTS, scan.id, RECORD, records, limit)
    return [(row[0], row[1], row[2]) for row in rows]


COUNT_SUSPECTS = "select count(*) from sync.drift where scan_id = $1 and not verified and kind <> $2"


async def count_suspects(connection: Connection, scan: Scan) -> int:
    """How many mirrored objects wait for their verification."""
    count: int = await connection.fetchval(COUNT_SUSPECTS, scan.id, RECORD)
    return count


# Stripe's lists leave out, by their own rules, prices that were made in the middle of something else, and customers and
# subscriptions on test clocks: they are read by id like any other, but that they are not listed is no sign of damage.
COUNT_UNEXPLAINED = """
select count(*)
from sync.drift d
where d.scan_id = $1 and not d.verified and d.kind <> $2 and not (
  d.what = 'surplus' and (
    d.kind = 'price'
    or d.kind = 'customer' and exists (
      select from stripe.customers t
      where t.account_id = $3 and t.live_mode = $4 and t.id = d.id and t.test_clock is not null
    )
    or d.kind = 'subscription' and exists (
      select from stripe.subscriptions t
      where t.account_id = $3 and t.live_mode = $4 and t.id = d.id and t.test_clock is not null
    )
  )
)
"""


async def count_unexplained(connection: Connection, scan: Scan) -> int:
    """How many of the suspects are none that Stripe's lists leave out by their own rules."""
    count: int = await connection.fetchval(
        COUNT_UNEXPLAINED, scan.id, RECORD, scan.account_id, scan.live_mode
    )
    return count


DISMISS = """
delete from sync.drift
where scan_id = $1 and (kind, id) in (select * from unnest($2::text[], $3::text[]))
"""


async def dismiss(connection: Connection, scan: Scan, agreed: Sequence[tuple[str, str]]) -> None:
    """These (kind, id) agree after all."""
    await connection.execute(DISMISS, scan.id, [kind for kind, _ in agreed], [named for _, named in agreed])


NOTE_DRIFT = """
insert into sync.drift (scan_id, kind, id, what, fields, currency, amount, said, verified)
select $1::bigint, kind, id, what, array(select jsonb_array_elements_text(fields::jsonb)), currency, amount,
  said::json, $9
from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[])
  as new (kind, id, what, fields, currency, amount, said)
order by kind, id
on conflict (scan_id, kind, id) do update set
  what = excluded.what, fields = excluded.fields, currency = excluded.currency, amount = excluded.amount,
  said = excluded.said, verified = excluded.verified
"""


async def note_drift(connection: Connection, scan: Scan, drift: Sequence[Drift], *, verified: bool) -> None:
    """What was found; `verified` by a read by id, or by a second derivation."""
    await connection.execute(
        NOTE_DRIFT,
        scan.id,
        [each.kind for each in drift],
        [each.id for each in drift],
        [each.what for each in drift],
        [msgspec.json.encode(each.fields).decode() for each in drift],
        [each.currency for each in drift],
        [each.amount for each in drift],
        [each.said for each in drift],
        verified,
    )


SELECT_DRIFT = """
select kind, id, what, fields, currency, amount, said::text
from sync.drift
where scan_id = $1 and verified
order by kind, id
limit $2
"""


async def select_drift(connection: Connection, scan: Scan, *, limit: int) -> list[Drift]:
    """What was found and verified."""
    rows = await connection.fetch(SELECT_DRIFT, scan.id, limit)
    return [Drift(**{**row, "fields": tuple(row["fields"])}) for row in rows]


SELECT_MOTION = """
select kind, id,
  confirmed >= tick or told >= tick or (dirty >= confirmed and missing_since is null and parked_at is null) as moving
from sync.objects
join unnest($3::text[], $4::text[], $5::bigint[]) as k (kind, id, tick) using (kind, id)
where account_id = $1 and live_mode = $2
"""


async def select_motion(
    connection: Connection, scope: Scope, reads: Sequence[tuple[str, str, int]]
) -> dict[tuple[str, str], bool]:
    """Which of these (kind, id, tick of our read) were marked or read by others meanwhile; absent: never heard of."""
    rows = await connection.fetch(
        SELECT_MOTION, *scope, [r[0] for r in reads], [r[1] for r in reads], [r[2] for r in reads]
    )
    return {(row[0], row[1]): row[2] for row in rows}


SELECT_WAITING = """
select kind, id
from sync.objects
join unnest($3::text[], $4::text[]) as k (kind, id) using (kind, id)
where account_id = $1 and live_mode = $2 and dirty >= confirmed and not tombstone and missing_since is null
  and parked_at is null
"""


async def select_waiting(
    connection: Connection, scope: Scope, objects: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Which of these (kind, id) are marked and have not been read since."""
    rows = await connection.fetch(SELECT_WAITING, *scope, [o[0] for o in objects], [o[1] for o in objects])
    return [(row[0], row[1]) for row in rows]


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


REMOVE_ROWS: Mapping[str, str] = {
    kind.name: f"delete from {kind.table} where account_id = $1 and live_mode = $2 and id = any ($3::text[])"
    for kind in KINDS.values()
}
"""Per kind: takes rows away that nothing ever told of."""

REMOVE_PARTS: Mapping[str, str] = {
    kind: f"delete from {parts.table} where account_id = $1 and live_mode = $2 and {parts.owner} = any ($3::text[])"
    for kind, parts in PARTS.items()
}
"""Per kind with parts: takes the parts of such rows away."""


async def remove_rows(connection: Connection, scope: Scope, kind: str, ids: Sequence[str]) -> None:
    """Take mirror rows away: only those that Stripe does not know and that no event or read ever told of."""
    await connection.execute(REMOVE_ROWS[kind], *scope, ids)
    if kind in PARTS:
        await connection.execute(REMOVE_PARTS[kind], *scope, ids)


RAISE_TOMBSTONES = """
update sync.objects o
set tombstone = false
from unnest($3::text[], $4::text[]) as k (kind, id)
where o.account_id = $1 and o.live_mode = $2 and o.kind = k.kind and o.id = k.id and o.tombstone
"""


async def raise_tombstones(connection: Connection, scope: Scope, refs: Sequence[tuple[str, str]]) -> None:
    """Let a read write again what was deleted and has lost its row, or is taken for deleted and is not."""
    await connection.execute(RAISE_TOMBSTONES, *scope, [r[0] for r in refs], [r[1] for r in refs])


MARK_REPAIRED = (
    "update sync.drift set repaired = true where scan_id = $1 and kind = $2 and id = any ($3::text[])"
)


async def mark_repaired(connection: Connection, scan: Scan, kind: str, ids: Sequence[str]) -> None:
    """These are marked: confirm and derive mend them."""
    await connection.execute(MARK_REPAIRED, scan.id, kind, ids)


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


COUNT_UNRESOLVED = "select count(*) from sync.objects where touched > resolved"


async def count_unresolved(connection: Connection) -> int:
    """Rows whose concerned customers have yet to be marked."""
    count: int = await connection.fetchval(COUNT_UNRESOLVED)
    return count


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


RENAME_RECORDS = """
update billing.customers r
set stripe_customer_id = k.customer_id
from unnest($3::uuid[], $4::text[]) as k (uid, customer_id)
where r.account_id = $1 and r.live_mode = $2 and r.uid = k.uid and r.stripe_customer_id is distinct from k.customer_id
"""


async def rename_records(connection: Connection, scope: Scope, names: Mapping[UUID, str]) -> None:
    """Give records (uid -> Stripe customer id) the customer back whose they are: others are found by that name."""
    await connection.execute(RENAME_RECORDS, *scope, list(names), list(names.values()))


REMOVE_RECORDS = "delete from billing.customers where uid = any ($1::uuid[])"
REMOVE_RECORD_PRODUCTS = "delete from billing.customer_products where customer_uid = any ($1::uuid[])"
REMOVE_RECORD_REVENUE = "delete from billing.customer_revenue where customer_uid = any ($1::uuid[])"
REMOVE_RECORD_FEATURES = "delete from billing.customer_features where customer_uid = any ($1::uuid[])"
REMOVE_RECORD_ENTITIES = "delete from billing.subscription_entities where customer_uid = any ($1::uuid[])"
REMOVE_RECORD_MRR = "delete from billing.customer_mrr where customer_uid = any ($1::uuid[])"


async def remove_records(connection: Connection, uids: Sequence[UUID]) -> None:
    """Take records of nobody away, with their parts."""
    await connection.execute(REMOVE_RECORD_PRODUCTS, uids)
    await connection.execute(REMOVE_RECORD_REVENUE, uids)
    await connection.execute(REMOVE_RECORD_FEATURES, uids)
    await connection.execute(REMOVE_RECORD_ENTITIES, uids)
    await connection.execute(REMOVE_RECORD_MRR, uids)
    await connection.execute(REMOVE_RECORDS, uids)


# Results


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftOfKind:
    """How much of one kind does not agree."""

    object: str
    differs: int
    lacking: int
    surplus: int
    repaired: int
    amounts: Mapping[str, int]
    """Minor units by currency: what is right minus what is stored, each difference counted by its size."""


SELECT_DRIFT_BY_KIND = """
select kind, count(*) filter (where what = 'differs') as differs, count(*) filter (where what = 'lacking') as lacking,
  count(*) filter (where what = 'surplus') as surplus, count(*) filter (where repaired) as repaired
from sync.drift
where scan_id = $1
group by kind
"""

SELECT_DRIFT_AMOUNTS = """
select kind, currency, sum(abs(amount))::bigint as amount
from sync.drift
where scan_id = $1 and currency is not null and amount <> 0
group by kind, currency
order by kind, currency
"""


async def select_drift_by_kind(connection: Connection, scan_id: int) -> list[DriftOfKind]:
    """The result of an audit, in the registry's order, the records last."""
    amounts: dict[str, dict[str, int]] = {}
    for row in await connection.fetch(SELECT_DRIFT_AMOUNTS, scan_id):
        amounts.setdefault(row["kind"], {})[row["currency"]] = row["amount"]
    rows = {row["kind"]: row for row in await connection.fetch(SELECT_DRIFT_BY_KIND, scan_id)}
    return [
        DriftOfKind(
            object=kind,
            amounts=amounts.get(kind, {}),
            **{name: rows[kind][name] for name in ("differs", "lacking", "surplus", "repaired")},
        )
        for kind in (*KINDS, RECORD)
        if kind in rows
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """An audit as operators are told of it."""

    id: int
    status: str
    account: str
    live_mode: bool
    since: datetime | None
    repair: bool
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    step: str
    error: str | None
    objects_compared: int
    drift: int
    by_object: tuple[DriftOfKind, ...]


COUNT_COMPARED = "select coalesce(sum(objects), 0)::bigint from sync.scan_windows where scan_id = $1"


async def report_audit(connection: Connection, scan: Scan) -> AuditReport:
    """How far an audit is, and what it has found."""
    by_object = tuple(await select_drift_by_kind(connection, scan.id))
    return AuditReport(
        id=scan.id,
        status=scan.status,
        account=scan.account_id,
        live_mode=scan.live_mode,
        since=scan.since,
        repair=scan.repair,
        requested_at=scan.requested_at,
        started_at=scan.started_at,
        finished_at=scan.finished_at,
        step=scan.step,
        error=scan.error,
        objects_compared=await connection.fetchval(COUNT_COMPARED, scan.id),
        drift=sum(each.differs + each.lacking + each.surplus for each in by_object),
        by_object=by_object,
    )


# Bodies were kept to compare with; they tell who customers are, and belong nowhere but into the mirror.
DROP_SAID = "update sync.drift set said = null where scan_id = $1 and said is not null"

FORGET_OLD_AUDITS = """
delete from sync.scans
where purpose = 'audit' and finished_at is not null and id not in (
  select id from sync.scans where purpose = 'audit' order by id desc limit $1
)
"""


async def close_audit(connection: Connection, scan: Scan, *, keep: int) -> None:
    """Keep of this audit what was found and not what Stripe said, and only the latest audits."""
    await connection.execute(DROP_SAID, scan.id)
    await connection.execute(FORGET_OLD_AUDITS, keep)


LOCK_SCHEDULE = "select pg_advisory_xact_lock($1)"
SCHEDULE_LOCK = 0x5B1ED6E5

IS_AUDIT_DUE = """
select extract(hour from now() at time zone 'UTC') = $2
  and exists (
    select from sync.scans where purpose = 'backfill' and whole and status = 'complete' and live_mode = $1
      and account_id = ''
  )
  and not exists (
    select from sync.scans
    where purpose = 'audit' and live_mode = $1 and account_id = '' and requested_at > now() - interval '12 hours'
  )
"""


async def is_audit_due(connection: Connection, *, live_mode: bool, hour: int) -> bool:
    """Whether the nightly audit is to be asked for now. In the transaction that asks, so that nobody asks twice.

    Only where a whole backfill has ended: before, everything that the lists hold would be drift.
    """
    await connection.execute(LOCK_SCHEDULE, SCHEDULE_LOCK)
    due: bool = await connection.fetchval(IS_AUDIT_DUE, live_mode, hour)
    return due


SELECT_LAST_AUDIT = """
select id from sync.scans where purpose = 'audit' and status in ('complete', 'partial') order by id desc limit 1
"""


async def select_last_audit(connection: Connection) -> AuditReport | None:
    """The latest audit that came to an end; None where there was none yet."""
    scan_id = await connection.fetchval(SELECT_LAST_AUDIT)
    scan = None if scan_id is None else await select_scan(connection, scan_id, "audit")
    return None if scan is None else await report_audit(connection, scan)


def keys_of(scope: Scope, ids: Sequence[str]) -> list[CustomerKey]:
    """The keys of these customers of one account and mode."""
    return [(*scope, customer_id) for customer_id in ids]


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
