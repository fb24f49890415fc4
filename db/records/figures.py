"""All customers counted, and their money added up: what the console draws.

Each statement reads a whole table or more, and takes seconds where there are a million customers: nobody may run it for
each look at a page. Money of all accounts of a mode is added up together, each currency apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import asyncpg

from db.connection import Connection
from db.keys import Scope
from db.records.history import StatusChange


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusCount:
    """How many customers that are not deleted have a status, and how many of their records are exact."""

    live_mode: bool
    status: str | None
    customers: int
    exact: int


COUNT_BY_STATUS = """
select live_mode, status, count(*) as customers, count(*) filter (where exact) as exact
from billing.customers
where deleted_at is null
group by live_mode, status
"""


async def count_by_status(connection: Connection) -> list[StatusCount]:
    """Customers by mode and status."""
    return [StatusCount(**row) for row in await connection.fetch(COUNT_BY_STATUS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusFlow:
    """How many customers went from one status to another on a day (UTC)."""

    live_mode: bool
    day: date
    status_before: str | None
    status_after: str | None
    customers: int


COUNT_FLOWS = """
select c.live_mode, (s.changed_at at time zone 'UTC')::date as day, s.status_before, s.status_after,
  count(*) as customers
from billing.status_changes s
join billing.customers c on c.uid = s.customer_uid
group by 1, 2, 3, 4
order by 2
"""


async def count_flows(connection: Connection) -> list[StatusFlow]:
    """Every change of status, by day, the oldest day first."""
    return [StatusFlow(**row) for row in await connection.fetch(COUNT_FLOWS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class MrrNow:
    """What the customers of a mode bring in a month in one currency, minor units."""

    live_mode: bool
    currency: str
    mrr: int
    customers: int
    unknown: int
    """Customers whose MRR is not known, and so not in the sum."""


SUM_MRR = """
select live_mode, currency, coalesce(sum(mrr), 0)::text as mrr, count(*) as customers,
  count(*) filter (where mrr is null) as unknown
from billing.customer_mrr
group by live_mode, currency
order by count(*) desc, currency
"""


async def sum_mrr(connection: Connection) -> list[MrrNow]:
    """MRR by mode and currency; the currency of most customers first."""
    return [MrrNow(**{**row, "mrr": int(row["mrr"])}) for row in await connection.fetch(SUM_MRR)]


@dataclass(frozen=True, slots=True, kw_only=True)
class MrrMonth:
    """How MRR moved in a month (`billing.mrr_movements`), minor units; None: one account's cannot be stored."""

    live_mode: bool
    currency: str
    month: date
    new: int | None
    expansion: int | None
    contraction: int | None
    churn: int | None
    reactivation: int | None
    mrr_at_end: int | None


def _by_month(view: str, columns: Sequence[str]) -> str:
    """The sums of these columns by mode, currency and month, of all accounts; as text, since no integer holds any."""
    sums = (f"case when count({name}) = count(*) then sum({name}) end::text as {name}" for name in columns)
    return f"""
select live_mode, currency, month, {", ".join(sums)}
from {view}
where month >= $1
group by live_mode, currency, month
order by month, currency
"""


def _months(rows: Sequence[asyncpg.Record], columns: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {**row, **{name: None if row[name] is None else int(row[name]) for name in columns}} for row in rows
    ]


_MOVED = ("new", "expansion", "contraction", "churn", "reactivation", "mrr_at_end")

SUM_MRR_MONTHS = _by_month("billing.mrr_movements", _MOVED)


async def sum_mrr_months(connection: Connection, *, since: date) -> list[MrrMonth]:
    """The movements of MRR by month since then, the oldest first."""
    rows = await connection.fetch(SUM_MRR_MONTHS, since)
    return [MrrMonth(**month) for month in _months(rows, _MOVED)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RevenueMonth:
    """What customers paid in a month (`billing.monthly_revenue`), minor units; None: it cannot be stored."""

    live_mode: bool
    currency: str
    month: date
    gross: int | None
    refunded: int | None
    disputed: int | None
    out_of_band: int | None
    net: int | None


_PAID = ("gross", "refunded", "disputed", "out_of_band", "net")

SUM_REVENUE_MONTHS = _by_month("billing.monthly_revenue", _PAID)


async def sum_revenue_months(connection: Connection, *, since: date) -> list[RevenueMonth]:
    """Revenue by month since then, the oldest first."""
    rows = await connection.fetch(SUM_REVENUE_MONTHS, since)
    return [RevenueMonth(**month) for month in _months(rows, _PAID)]


# What came last, found by an index


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChange(StatusChange):
    """A change of status, and whose."""

    name: str | None
    email: str | None
    custom_uid: str | None
    stripe_customer_id: str | None


SELECT_NEWEST_CHANGES = """
select s.customer_uid, s.status_before, s.status_after, s.changed_at, s.exact, s.event_id, s.source,
  c.name, c.email, c.custom_uid, c.stripe_customer_id
from (select * from billing.status_changes order by id desc limit $1) s
left join billing.customers c on c.uid = s.customer_uid
order by s.id desc
"""


async def select_newest_changes(connection: Connection, *, limit: int) -> list[NewChange]:
    """The changes of status that were recorded last, the latest first."""
    return [NewChange(**row) for row in await connection.fetch(SELECT_NEWEST_CHANGES, limit)]


# In the life of an account that is simulated, or advanced by a test clock, now is another time than here.
SELECT_ACCOUNT_NOW = """
select least(max(created), now())
from (select created, received_at from sync.events order by seq desc limit $1) latest
where received_at > now() - interval '1 hour'
"""


async def select_account_now(connection: Connection, *, walked_max: int) -> datetime | None:
    """What time it is at Stripe, by the newest of the latest events, and not later than here; None: none came within
    the last hour.
    """
    now: datetime | None = await connection.fetchval(SELECT_ACCOUNT_NOW, walked_max)
    return now


# The inbox is walked from its end, and not far: at 1,000 events a second that is some seconds.
MEASURE_RATE = """
select count(*)::float8 / greatest(
    case when count(*) < $1::bigint then $2::float8 else extract(epoch from now() - min(received_at))::float8 end, 1
  ) as per_second
from (
  select received_at from (select received_at from sync.events order by seq desc limit $1::bigint) latest
  where received_at > now() - $2::float8 * interval '1 second'
) recent
"""


async def measure_rate(connection: Connection, *, walked_max: int, seconds: float) -> float:
    """Events received a second, over so many seconds, or as many of the latest events as may be walked through."""
    rate: float = await connection.fetchval(MEASURE_RATE, walked_max, seconds)
    return rate


@dataclass(frozen=True, slots=True, kw_only=True)
class CitedEvent:
    """An event that a change of status names."""

    event_id: str
    type: str
    created: datetime | None
    payload: bytes


SELECT_CITED_EVENTS = """
select event_id, type, created, case when octet_length(payload) <= $4 then payload else '' end as payload
from sync.events
where account_id = $1 and live_mode = $2 and event_id = any ($3::text[])
"""


async def select_cited_events(
    connection: Connection, scope: Scope, event_ids: Sequence[str], *, bytes_max: int
) -> dict[str, CitedEvent]:
    """These events, by id; those that the inbox does not have are left out, and of larger ones the payload is."""
    rows = await connection.fetch(SELECT_CITED_EVENTS, *scope, list(event_ids), bytes_max)
    return {row["event_id"]: CitedEvent(**row) for row in rows}
