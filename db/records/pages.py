"""Customers by the page: in the order of their uids, or of their last changes.

A page goes through a bounded number of records, whatever is looked for: so one that finds little may be short, or
empty, and more may follow it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import msgspec

from db.columns import columns_of, names_of
from db.connection import Connection
from db.keys import Scope
from db.records.customer import StoredCustomer, read_rows

WALKED_MAX = 10_000
"""Records that one page goes through."""
NO_STATUS = "none"
"""The status that is asked for where customers have none."""

_COLUMNS = columns_of(StoredCustomer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which customers are listed; None: whatever they have."""

    email: str | None = None
    status: str | None = None
    product_id: str | None = None
    has_access: bool | None = None
    metadata: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some customers."""

    customers: list[StoredCustomer]
    reached: UUID | int | None
    """Up to where the records were gone through, by uid or change; None: none was left."""
    more: bool
    """Whether more may follow."""


def _page(key: str, type_name: str, walked: str) -> str:
    walk = f"""from billing.customers
  where {key} > $1::{type_name} and {walked}
  order by {key}
  limit $2"""
    # The walk ends with the last customer of the page. Only a page that is not full goes through all of it, and counts.
    return f"""
with matching as materialized (
  select *
  from (select * {walk}) walked
  where account_id = $3 and live_mode = $4
    and ($5::text is null or status is not distinct from nullif($5, '{NO_STATUS}'))
    and ($6::text is null or product_id = $6)
    and ($7::boolean is null or has_access = $7)
    and ($8::text is null or metadata @> $8::jsonb)
    and ($9::text is null or email in ($9, lower($9)))
  order by {key}
  limit $10
), walked as materialized (
  select {key} {walk}
)
select {names_of(_COLUMNS, prefix="m.")}, w.walked, w.reached
from (
  select count(*) as walked,
    (select {key} from walked where (select count(*) from matching) < $10 order by {key} desc limit 1) as reached
  from walked
  where (select count(*) from matching) < $10
) w
left join matching m on true
order by m.{key}
"""


PAGE_BY_UID = _page("uid", "uuid", "true")
PAGE_BY_EMAIL = _page("uid", "uuid", "email in ($9, lower($9)) and account_id = $3 and live_mode = $4")
PAGE_BY_CHANGE = _page("change", "bigint", "true")


async def select_page(
    connection: Connection, scope: Scope, wanted: Wanted, *, after: UUID | None, limit: int
) -> Page:
    """The next customers after this uid, in the order of uids."""
    statement = PAGE_BY_UID if wanted.email is None else PAGE_BY_EMAIL
    rows = await _fetch(connection, statement, scope, wanted, after or UUID(int=0), limit)
    return _page_of(rows, limit, lambda record: record.uid)


async def select_changed(
    connection: Connection, scope: Scope, wanted: Wanted, *, after: int, limit: int
) -> Page:
    """The customers that changed after this number of `change`, in the order of their last changes."""
    rows = await _fetch(connection, PAGE_BY_CHANGE, scope, wanted, after, limit)
    return _page_of(rows, limit, lambda record: record.change)


async def _fetch(
    connection: Connection, statement: str, scope: Scope, wanted: Wanted, after: UUID | int, limit: int
) -> list[asyncpg.Record]:
    metadata = None if not wanted.metadata else msgspec.json.encode(wanted.metadata).decode()
    rows: list[asyncpg.Record] = await connection.fetch(
        statement,
        after,
        WALKED_MAX,
        *scope,
        wanted.status,
        wanted.product_id,
        wanted.has_access,
        metadata,
        wanted.email,
        limit,
    )
    return rows


def _page_of(rows: list[asyncpg.Record], limit: int, key: Callable[[StoredCustomer], UUID | int]) -> Page:
    found = [row for row in rows if row["uid"] is not None]
    columns = [column.name for column in _COLUMNS]
    customers = read_rows(StoredCustomer, [{name: row[name] for name in columns} for row in found])
    walked, reached = rows[0]["walked"], rows[0]["reached"]
    if len(customers) == limit:
        return Page(customers=customers, reached=key(customers[-1]), more=True)
    return Page(customers=customers, reached=reached, more=walked == WALKED_MAX)
