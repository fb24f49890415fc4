"""Where due reads lie: how many rows the mirror has around them in a list, and which other read confirms them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.kinds.kind import Kind
from billing.kinds.registry import KINDS
from db.connection import Connection
from db.keys import Key, Scope, columns_of_keys
from db.sync.objects import QUIET_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """The objects that are to be read and lie in one second of a list, and how many others lie around them."""

    begins: datetime
    ids: tuple[str, ...]
    rows: int
    """Of this second, these included. Not counted further than reading them by their ids would cost."""
    rows_after: int
    """Between this second and the next one that holds an object to read. Not counted further than it matters."""
    guessed: bool = False
    """Whether it holds objects that thin events have told of and that nobody has read yet: it is the second of their
    latest event, and if that was their creation, they lie there or a little before.
    """


# What Stripe's lists leave out is never looked for there: deleted objects, and what lives on a test clock.
def _seconds(kind: Kind, along: str) -> str:
    listed = "t.deleted_at is null"
    if "test_clock" in kind.facts.__dataclass_fields__:
        listed += " and t.test_clock is null"
    of_scope = f"from {kind.table} t where t.account_id = $1 and t.live_mode = $2"
    return f"""
with due as (
  select date_trunc('second', coalesce(t.{along}, o.event_created)) as begins, array_agg(k.id) as ids,
    count(*) filter (where t.id is null) as guessed
  from unnest($3::text[]) as k (id)
  left join {kind.table} t on t.account_id = $1 and t.live_mode = $2 and t.id = k.id
  left join sync.objects o
    on o.account_id = $1 and o.live_mode = $2 and o.kind = '{kind.name}' and o.id = k.id
      and t.id is null and o.confirmed = 0
  where coalesce(t.{along}, o.event_created) is not null and {listed}
  group by 1
), seconds as (
  select begins, ids, guessed, lead(begins) over (order by begins) as next from due
)
select
  begins, ids, guessed,
  guessed + (
    select count(*)
    from (
      select {of_scope} and t.{along} >= s.begins and t.{along} < s.begins + interval '1 second'
      limit $4 * cardinality(s.ids)
    ) t
  ) as rows,
  (
    select count(*)
    from (
      select {of_scope} and t.{along} >= s.begins + interval '1 second' and t.{along} < s.next
      limit $5
    ) t
  ) as rows_after
from seconds s
order by begins
"""


SELECT_SECONDS: Mapping[str, str] = {
    kind.name: _seconds(kind, kind.confirmed_along)
    for kind in KINDS.values()
    if kind.confirmed_along is not None
}


async def select_seconds(
    connection: Connection, scope: Scope, kind: str, ids: Sequence[str], *, page: int, rows_after_max: int
) -> list[Second]:
    """The seconds of the kind's list in which these objects lie, in their order. Objects of which the mirror does not
    know where they lie, or that are in no list, are left out; but where those that thin events have told of and nobody
    has read lie is guessed. `page`: objects in one page of the list. `rows_after_max`: how far rows after a second are
    counted.
    """
    rows = await connection.fetch(SELECT_SECONDS[kind], *scope, ids, page, rows_after_max)
    return [
        Second(
            begins=row["begins"],
            ids=tuple(row["ids"]),
            rows=row["rows"],
            rows_after=row["rows_after"],
            guessed=row["guessed"] > 0,
        )
        for row in rows
    ]


# By key for each: a planner without statistics compares each with all objects of the holder's kind (27 ms, not 1).
def _holders(kind: Kind, field: str, holder: str) -> str:
    return f"""
select t.id, t.{field},
  -- Later than any burst makes it: it is being read now, and what comes with it is settled in a moment; or its read has
  -- failed.
  case
    when o.unsettled and o.read_at <= now() + $4::interval then o.read_at
    when o.unsettled and o.read_at is not null and o.error is null then now() + interval '1 second'
  end
from unnest($3::text[]) as k (id)
join lateral (
  select t.id, t.{field}
  from {kind.table} t
  where t.account_id = $1 and t.live_mode = $2 and t.id = k.id and t.{field} is not null
  offset 0
) t on true
left join lateral (
  select o.unsettled, o.read_at, o.error
  from sync.objects o
  where o.account_id = $1 and o.live_mode = $2 and o.kind = '{holder}' and o.id = t.{field}
  offset 0
) o on true
"""


SELECT_HOLDERS: Mapping[str, str] = {
    kind.name: _holders(kind, *kind.confirmed_inside)
    for kind in KINDS.values()
    if kind.confirmed_inside is not None
}


async def select_holders(
    connection: Connection, scope: Scope, kind: str, ids: Sequence[str]
) -> dict[str, tuple[str, datetime | None]]:
    """By object: the id of the one whose read confirms it as well, and when that one is to be read, if that is soon, or
    will have been, if it is being read.
    """
    rows = await connection.fetch(SELECT_HOLDERS[kind], *scope, ids, QUIET_MAX)
    return {row[0]: (row[1], row[2]) for row in rows}


# By key for each object. `awaited` is asked outside: a planner that looked when nothing was unsettled would go through
# all that is, for each object (measured beside 1,000 unsettled ones: 530 ms instead of 9).
SELECT_AWAITED = """
select k.account_id, k.live_mode, k.kind, k.id
from unnest($1::text[], $2::boolean[], $3::text[], $4::text[]) as k (account_id, live_mode, kind, id)
join lateral (
  select o.unsettled and o.missing_since is null and o.parked_at is null and o.doubts + o.contradictions = 0
    and o.source is distinct from 'audit' as awaited
  from sync.objects o
  where (o.account_id, o.live_mode, o.kind, o.id) = (k.account_id, k.live_mode, k.kind, k.id)
  offset 0
) object on object.awaited
"""


async def select_awaited(connection: Connection, keys: Sequence[Key]) -> set[Key]:
    """Those of the objects that a read is to confirm, and of which no read was refused belief."""
    rows = await connection.fetch(SELECT_AWAITED, *columns_of_keys(Key, keys))
    return {Key(row[0], row[1], row[2], row[3]) for row in rows}


COUNT_PRICES = """
select count(*) from (select from stripe.prices where account_id = $1 and live_mode = $2 limit $3) known
"""


async def count_prices(connection: Connection, scope: Scope, *, up_to: int) -> int:
    """How many prices of an account the mirror has; not counted further than `up_to`."""
    count: int = await connection.fetchval(COUNT_PRICES, *scope, up_to)
    return count
