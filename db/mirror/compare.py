"""Mirror rows, as an audit compares them with what Stripe's lists and reads say."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from billing.kinds.found import Part
from billing.kinds.kind import Kind
from billing.kinds.lists import THROUGH
from billing.kinds.registry import KINDS
from db.columns import arrays_of, decoded, names_of, parameters_of
from db.connection import Connection
from db.keys import Key, Scope
from db.mirror.tables import MIRROR, PARTS, PartStatements, latest_known


def _changed_parts(statements: PartStatements) -> str:
    table, owner, columns = statements.table, statements.owner, statements.columns
    others = [column for column in columns if column.name not in ("id", owner)]
    values = ", ".join(f"{column.value} as {column.name}" for column in columns)
    stated = ", ".join(
        latest_known(column.name, f"new.{column.name}", f"old.{column.name}", in_part=True)
        if column.name in statements.read_only_fields
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
where old.id is null or ({names_of(others, prefix="old.")}) is distinct from ({stated})
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
    """The objects among these whose stored parts differ from the given ones."""
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
"""Per kind: which of these ids have rows that say they were deleted."""


async def select_buried(connection: Connection, scope: Scope, kind: str, ids: Sequence[str]) -> list[str]:
    """Which of these objects are deleted according to the mirror."""
    return [row[0] for row in await connection.fetch(SELECT_BURIED[kind], *scope, ids)]


def _of_variant(kind: Kind) -> str:
    """Whether a row belongs to the variant $6 of its kind's list; NULL if the list has no variants: every row does."""
    whole = "$6::boolean is null"
    return (
        whole if kind.list_varies_by is None else f"({whole} or coalesce({kind.list_varies_by}, true) = $6)"
    )


def _within(kind: Kind) -> str:
    """Whether a row was created in [$3, $4); every row counts if the kind has no `created`."""
    if kind.says_created:
        return "created >= $3 and created < $4"
    return "$3::timestamptz is not null and $4::timestamptz is not null"


SELECT_SURPLUS: Mapping[str, str] = {
    kind.name: f"""
select id from {kind.table}
where account_id = $1 and live_mode = $2 and {_within(kind)} and not id = any ($5::text[]) and deleted_at is null
  and {_of_variant(kind)}
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
    """The rows created in [low, high) that are not among the listed ids; for kinds without `created`, all other rows.

    `variant`: which variant of the kind's list was read; only rows that say they belong there are looked for.
    """
    wanted = variant.endswith("=true") if variant else None
    rows = await connection.fetch(SELECT_SURPLUS[kind], *scope, low, high, list(listed), wanted)
    return [row[0] for row in rows]


SELECT_SURPLUS_PARTS: Mapping[str, str] = {
    part: f"""
select id from {KINDS[part].table}
where account_id = $1 and live_mode = $2 and {parent}_id = any ($3::text[]) and not id = any ($4::text[])
  and deleted_at is null
"""
    for part, parent in THROUGH.items()
}
"""Per kind that is read inside its parents: the rows of these parents that the parents did not hold."""


async def select_surplus_parts(
    connection: Connection, scope: Scope, part: str, *, parents: Sequence[str], listed: Collection[str]
) -> list[str]:
    """The rows of a kind that belong to these parents, and that the parents do not hold."""
    return [
        row[0] for row in await connection.fetch(SELECT_SURPLUS_PARTS[part], *scope, parents, list(listed))
    ]


def _unlisted() -> dict[str, str]:
    """Per kind: what no list can have held. Parameters: account, mode, low, high, tick of the beginning."""
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
            # Customers that are not asked about may have rows that nothing reported, or rows of another customer.
            where = f"""(
    t.customer_id is distinct from t.id
    or not exists (
      select from sync.objects o
      where o.account_id = $1 and o.live_mode = $2 and o.kind = '{kind.name}' and o.id = t.id
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
    where o.account_id = $1 and o.live_mode = $2 and o.kind = '{kind.name}' and o.id = t.id
      and (o.confirmed >= $5 or o.dirty >= $5 or o.told >= $5)
  )
union all
select o.id, 'lacking'
from sync.objects o
where o.account_id = $1 and o.live_mode = $2 and o.kind = '{kind.name}' and o.confirmed > 0 and o.confirmed < $5
  and $3::timestamptz is not null and $4::timestamptz is not null
  and not exists (
    select from {kind.table} t where t.account_id = $1 and t.live_mode = $2 and t.id = o.id
  )
"""
    return statements


SELECT_UNLISTED: Mapping[str, str] = _unlisted()
"""Per kind: rows that no list can have held, and objects that were read and have no row."""


async def select_unlisted(
    connection: Connection, scope: Scope, kind: str, *, low: datetime, high: datetime, tick: int
) -> dict[Key, str]:
    """What no list can have held (key -> what): rows without a place in it, objects that were read and have no row."""
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
"""Per kind: the stored facts of these ids."""

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
    stored = {row["id"]: {**decoded(columns, row), "deleted_at": row["deleted_at"]} for row in rows}
    if kind in PARTS:
        parts = PARTS[kind]
        for each in stored.values():
            each["parts"] = []
        for row in await connection.fetch(SELECT_STORED_PARTS[kind], *scope, ids):
            if row[parts.owner] in stored:
                stored[row[parts.owner]]["parts"].append(decoded(parts.columns, row))
    return stored
