"""The mirror: rows of the stripe schema, written set-wise, one statement per table, generated from the registry.

A kind's columns are the fields of its facts, in their order, so one registry entry and one migration make a new kind.
Only names from our own source go into these statements; every value is a parameter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.kinds.found import Facts, Part
from billing.kinds.kind import Kind, PartKind
from billing.kinds.monotone import MONOTONE
from billing.kinds.registry import KINDS
from db.columns import Column, arrays_of, columns_of, names_of, parameters_of, values_of
from db.connection import Connection
from db.keys import Key, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorStatements:
    """The statements of one mirror table. $1 and $2 are accounts and modes, then one array per fact."""

    columns: tuple[Column, ...]
    write: str
    bury: str
    select_changed: str


def _statements(kind: Kind) -> MirrorStatements:
    columns = columns_of(kind.facts)
    names, values = names_of(columns), values_of(columns)
    others = [column for column in columns if column.name != "id"]
    source = f"unnest($1::text[], $2::boolean[], {parameters_of(columns, first=3)}"
    raw, confirmed = len(columns) + 3, len(columns) + 4

    def written(name: str) -> str:
        if name not in kind.read_only_fields:
            return f"excluded.{name}"
        kept = latest_known(name, f"excluded.{name}", f"mirror.{name}")
        told = f"${confirmed}::boolean"
        if (
            kind.id_is_chosen
        ):  # what a read has said of an earlier object of this id does not hold for this one
            told = f"{told} or excluded.created is distinct from mirror.created"
        return f"case when {told} then excluded.{name} else {kept} end"

    def merged(column: Column) -> str:
        kept = latest_known(column.name, column.value, f"old.{column.name}")
        return kept if column.name in kind.read_only_fields else column.value

    assignments = ", ".join(f"{column.name} = {written(column.name)}" for column in others)
    if kind.keeps_former:
        earlier = ", ".join(f"'{column.name}', mirror.{column.name}" for column in columns)
        assignments += (
            ", former = case when mirror.created < excluded.created "
            f"then coalesce(mirror.former, '[]') || jsonb_build_object({earlier}) else mirror.former end"
        )
    compared = [column for column in others if column.name not in kind.eventless_fields]
    new_values = ", ".join(merged(column) for column in compared)
    return MirrorStatements(
        columns=columns,
        # A payload does not clear a known deletion; a read that finds the object alive does.
        write=f"""
insert into {kind.table} as mirror (account_id, live_mode, {names}, raw)
select new.account_id, new.live_mode, {values}, new.raw::json
from {source}, ${raw}::text[]) as new (account_id, live_mode, {names}, raw)
order by new.account_id, new.live_mode, new.id
on conflict (account_id, live_mode, id) do update set {assignments}, raw = excluded.raw,
  deleted_at = case when ${confirmed}::boolean then null else mirror.deleted_at end
""",
        # The last full body stays: a tombstone adds the time and removes nothing.
        bury=f"""
insert into {kind.table} as mirror (account_id, live_mode, id, deleted_at)
select *
from unnest($1::text[], $2::boolean[], $3::text[], $4::timestamptz[]) as new (account_id, live_mode, id, deleted_at)
order by account_id, live_mode, id
on conflict (account_id, live_mode, id) do update
set deleted_at = case
  when $5::boolean then excluded.deleted_at else coalesce(mirror.deleted_at, excluded.deleted_at)
end
""",
        select_changed=f"""
select new.account_id, new.live_mode, new.id
from {source}) as new (account_id, live_mode, {names})
left join {kind.table} old
  on old.account_id = new.account_id and old.live_mode = new.live_mode and old.id = new.id
where old.id is null or ({names_of(compared, prefix="old.")}) is distinct from ({new_values})
""",
    )


def latest_known(name: str, new: str, old: str, *, in_part: bool = False) -> str:
    """An expression for a fact that only reads give: the new value if there is one, else the old one.

    Discounts without amounts still have ids, and stored amounts hold for the same ids only. Of a part's discounts,
    even a read gives no more than the coupon.
    """
    if name != "discounts":
        return f"coalesce({new}, {old})"
    named_only = "@.coupon_id == null"
    says_nothing = named_only if in_part else "@.percent_off == null && @.amount_off == null"
    ids = "'$[*].id'"
    return (
        f"case when jsonb_path_exists({new}, '$[*] ? ({says_nothing})') "
        f"and jsonb_path_query_array({new}, {ids}) = jsonb_path_query_array({old}, {ids}) "
        f"and not jsonb_path_exists({old}, '$[*] ? ({named_only})') "
        f"then {old} else {new} end"
    )


MIRROR: Mapping[str, MirrorStatements] = {kind.name: _statements(kind) for kind in KINDS.values()}
"""The statements of each kind's table, by the kind's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorRow:
    """One object to write: its facts, and its JSON as Stripe sent it (cleaned of what Postgres refuses)."""

    account_id: str
    live_mode: bool
    facts: Facts
    raw: str


async def write_rows(
    connection: Connection, kind: str, rows: Sequence[MirrorRow], *, confirmed: bool
) -> None:
    """Write the rows of one kind in one statement. The caller holds the locks of their objects."""
    statements = MIRROR[kind]
    await connection.execute(
        statements.write, *_arrays(statements.columns, rows), [row.raw for row in rows], confirmed
    )


async def select_changed(connection: Connection, kind: str, rows: Sequence[MirrorRow]) -> list[Key]:
    """The keys among `rows` that are not stored or differ from the stored facts, `Kind.eventless_fields` aside."""
    statements = MIRROR[kind]
    changed = await connection.fetch(statements.select_changed, *_arrays(statements.columns, rows))
    return [Key(row[0], row[1], kind, row[2]) for row in changed]


SELECT_MONOTONE: Mapping[str, str] = {
    kind: f"""
select mirror.account_id, mirror.live_mode, mirror.id, mirror.{column}
from {KINDS[kind].table} mirror
join unnest($1::text[], $2::boolean[], $3::text[]) as k (account_id, live_mode, id) using (account_id, live_mode, id)
"""
    for kind, column in MONOTONE.items()
}
"""Per kind: the stored value of the fact that Stripe never takes back (billing/kinds/monotone.py)."""


async def select_monotone(
    connection: Connection, kind: str, keys: Sequence[Key]
) -> dict[Key, Mapping[str, object]]:
    """What is stored of the fact that Stripe never takes back, by key; empty for kinds without one."""
    if kind not in SELECT_MONOTONE:
        return {}
    rows = await connection.fetch(
        SELECT_MONOTONE[kind],
        [key.account_id for key in keys],
        [key.live_mode for key in keys],
        [key.id for key in keys],
    )
    return {Key(row[0], row[1], kind, row[2]): {MONOTONE[kind]: row[3]} for row in rows}


SELECT_RAW: Mapping[str, str] = {
    kind.name: f"""
select account_id, live_mode, id, raw::text
from {kind.table}
join unnest($1::text[], $2::boolean[], $3::text[]) as k (account_id, live_mode, id) using (account_id, live_mode, id)
where raw is not null
"""
    for kind in KINDS.values()
}
"""Per kind: its objects as Stripe last sent them."""


async def select_raw(connection: Connection, keys: Sequence[Key]) -> dict[Key, str]:
    """These objects as Stripe last sent them, by payload or read, as JSON; without those that are not stored."""
    found = {}
    for kind in sorted({key.kind for key in keys}):
        of_kind = [key for key in keys if key.kind == kind]
        rows = await connection.fetch(
            SELECT_RAW[kind],
            [key.account_id for key in of_kind],
            [key.live_mode for key in of_kind],
            [key.id for key in of_kind],
        )
        found.update({Key(row[0], row[1], kind, row[2]): row[3] for row in rows})
    return found


async def bury_rows(connection: Connection, deletions: Mapping[Key, datetime], *, by_event: bool) -> None:
    """Note when objects were deleted. An event gives the moment; a read only shows that it has passed."""
    for kind in KINDS:
        keys = sorted(key for key in deletions if key.kind == kind)
        if keys:
            await connection.execute(
                MIRROR[kind].bury,
                [key.account_id for key in keys],
                [key.live_mode for key in keys],
                [key.id for key in keys],
                [deletions[key] for key in keys],
                by_event,
            )


# Parts: entries of lists inside an object, with rows of their own.


@dataclass(frozen=True, slots=True, kw_only=True)
class PartStatements:
    """The statements of one table of parts; `owner` is its column that names the object which holds them."""

    table: str
    owner: str
    columns: tuple[Column, ...]
    read_only_fields: tuple[str, ...]  # as in Kind
    write: str
    remove_others: str


def _part_statements(part: PartKind) -> PartStatements:
    table, owner = part.table, part.owner
    columns = columns_of(part.facts)
    names = names_of(columns)

    def written(name: str) -> str:
        kept = latest_known(name, f"excluded.{name}", f"part.{name}", in_part=True)
        return kept if name in part.read_only_fields else f"excluded.{name}"

    others = ", ".join(f"{c.name} = {written(c.name)}" for c in columns if c.name not in ("id", owner))
    return PartStatements(
        table=table,
        owner=owner,
        columns=columns,
        read_only_fields=part.read_only_fields,
        write=f"""
insert into {table} as part (account_id, live_mode, {names})
select new.account_id, new.live_mode, {values_of(columns)}
from unnest($1::text[], $2::boolean[], {parameters_of(columns, first=3)}) as new (account_id, live_mode, {names})
order by new.account_id, new.live_mode, new.{owner}, new.id
on conflict (account_id, live_mode, {owner}, id) do update set {others}
""",
        remove_others=f"""
delete from {table} part
using unnest($1::text[], $2::boolean[], $3::text[]) as whole (account_id, live_mode, owner)
where (part.account_id, part.live_mode, part.{owner}) = (whole.account_id, whole.live_mode, whole.owner)
  and not exists (
    select from unnest($4::text[], $5::boolean[], $6::text[], $7::text[]) as kept (account_id, live_mode, owner, id)
    where (kept.account_id, kept.live_mode, kept.owner, kept.id)
      = (part.account_id, part.live_mode, part.{owner}, part.id)
  )
""",
    )


PARTS: Mapping[str, PartStatements] = {
    kind.name: _part_statements(kind.part) for kind in KINDS.values() if kind.part is not None
}
"""The statements of the parts of each kind that has any, by the kind's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldParts:
    """The parts of one object; a cut list adds and changes parts but never removes one."""

    account_id: str
    live_mode: bool
    owner_id: str
    parts: tuple[Part, ...]
    cut: bool


async def write_parts(connection: Connection, kind: str, lists: Sequence[HeldParts]) -> None:
    """Write the parts of objects of one kind, which the caller has locked."""
    statements = PARTS[kind]
    flat = [(each.account_id, each.live_mode, part) for each in lists for part in each.parts]
    if flat:
        await connection.execute(
            statements.write,
            [account_id for account_id, _, _ in flat],
            [live_mode for _, live_mode, _ in flat],
            *arrays_of(statements.columns, [part for _, _, part in flat]),
        )
    whole = [each for each in lists if not each.cut]
    if whole:
        await connection.execute(
            statements.remove_others,
            [each.account_id for each in whole],
            [each.live_mode for each in whole],
            [each.owner_id for each in whole],
            [each.account_id for each in whole for _ in each.parts],
            [each.live_mode for each in whole for _ in each.parts],
            [each.owner_id for each in whole for _ in each.parts],
            [part.id for each in whole for part in each.parts],
        )


REMOVE_ROWS: Mapping[str, str] = {
    kind.name: f"delete from {kind.table} where account_id = $1 and live_mode = $2 and id = any ($3::text[])"
    for kind in KINDS.values()
}
"""Per kind: removes rows that nothing ever reported."""

REMOVE_PARTS: Mapping[str, str] = {
    kind: f"delete from {parts.table} where account_id = $1 and live_mode = $2 and {parts.owner} = any ($3::text[])"
    for kind, parts in PARTS.items()
}
"""Per kind with parts: removes the parts of such rows."""


async def remove_rows(connection: Connection, scope: Scope, kind: str, ids: Sequence[str]) -> None:
    """Remove mirror rows: only those that Stripe does not know and that no event or read ever reported."""
    await connection.execute(REMOVE_ROWS[kind], *scope, ids)
    if kind in PARTS:
        await connection.execute(REMOVE_PARTS[kind], *scope, ids)


def _arrays(columns: tuple[Column, ...], rows: Sequence[MirrorRow]) -> list[list[object]]:
    return [
        [row.account_id for row in rows],
        [row.live_mode for row in rows],
        *arrays_of(columns, [row.facts for row in rows]),
    ]
