"""How it is: the backlog that /status shows, the workers and problems that `subledger status` adds, and the overview of
`subledger up`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from billing.kinds.registry import LIST_CONFIRMED
from db.connection import ENCODING, Connection, NotMigrated, NotUtf8
from db.migrate import MIGRATIONS, MIGRATIONS_TABLE
from db.sync.histories import HISTORY_ATTEMPTS_MAX
from db.sync.workers import LOST_AFTER_SECONDS

# The backlog

COUNTED_MAX = 250_000
"""Where more is left to do, this many are said: to count them all would take longer than it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What is still to be done, each counted up to COUNTED_MAX. The records are settled with the first three at 0 (or
    None), unless an alarm stands or events of the mode that is served are quarantined.
    """

    pending_events: int
    stale_customers: int
    unconfirmed_objects: int | None
    """Objects whose read is due or on its way, and customers whose history is; None without an API key: then nothing
    is confirmed."""
    missing_objects: int
    parked: int
    oldest_pending_seconds: float | None
    last_event_at: datetime | None
    last_gap_fill_at: datetime | None
    alarms: tuple[str, ...]
    """What an operator must see, and what to do about it."""
    quarantined_events: int
    quarantined_of_served_mode: int
    """Those of them that are of the mode that this database serves: they belong into the records."""
    problems: int
    pending_pushes: int
    """Customers of whom something that was set here has not reached Stripe yet."""
    unsent_meter_events: int
    """What was tracked and Stripe's meters are to be told."""
    oldest_unsent_meter_event_seconds: float | None
    """How long the oldest of them has waited, if it was tried: those of customers that Stripe does not know are not."""
    behind: bool
    """As `billing.freshness.behind`: records, exact ones too, may be older than what Stripe has sent."""
    behind_because: str | None

    @property
    def settled(self) -> bool:
        """Whether every event received has reached its record, and every record is as exact as it can be."""
        left = self.pending_events or self.stale_customers or self.unconfirmed_objects
        return not (left or self.quarantined_of_served_mode or self.alarms)


# Kinds that only lists confirm do not count: no record waits for a read of them.
# A touched row whose customers are not marked yet counts as one stale customer: they are about to be.
SELECT_BACKLOG = f"""
-- Of an account that has taken its access back nothing is read, and nobody waits for it: an alarm says so.
with closed as (select account_id from sync.refusals where kind = '' and live_mode = $1)
select
  (select count(*) from (select from sync.events where state = 'pending' limit $3) counted) as pending_events,
  (select count(*) from (select from sync.customers where stale > derived and parked_at is null limit $3) counted)
    + (select count(*) from (select from sync.objects where touched > resolved limit $3) counted) as stale_customers,
  (
    select count(*)
    from (
      select from sync.objects
      -- That is: not a tombstone, and dirty >= confirmed. Many more have a read that is due at a deadline.
      where unsettled and read_at is not null and missing_since is null and parked_at is null
        and live_mode = $1 and kind <> all ($2::text[]) and account_id not in (select account_id from closed)
      limit $3
    ) counted
  ) + (
    select count(*)
    from (
      select from sync.customers
      where history_at is not null and history_attempts < {HISTORY_ATTEMPTS_MAX} and live_mode = $1
        and account_id not in (select account_id from closed)
      limit $3
    ) counted
  ) as unconfirmed_objects,
  (
    select count(*)
    from (
      select from sync.objects
      where unsettled and missing_since is not null and kind <> all ($2::text[])
      limit $3
    ) counted
  ) as missing_objects,
  (select count(*) from (select from sync.events where state = 'parked' limit $3) counted)
    + (select count(*) from (select from sync.objects where unsettled and parked_at is not null limit $3) counted)
    + (select count(*) from (select from sync.customers where parked_at is not null limit $3) counted) as parked,
  extract(epoch from now() - f.oldest_pending_at)::float8 as oldest_pending_seconds,
  f.last_event_received_at as last_event_at,
  f.last_gap_fill_at,
  (select array_agg(name || ': ' || detail order by name) from sync.alarms) as alarms,
  (select count(*) from (select from sync.events where state = 'quarantined' limit $3) counted) as quarantined_events,
  (
    select count(*)
    from (
      select from sync.events
      where state = 'quarantined' and live_mode = coalesce($1, (select live_mode from sync.key limit 1), live_mode)
      limit $3
    ) counted
  ) as quarantined_of_served_mode,
  (select count(*) from (select from sync.problems limit $3) counted) as problems,
  (select count(*) from (select from sync.pushes where due_at is not null limit $3) counted) as pending_pushes,
  (select count(*) from (select from sync.meter_events where state = 'queued' limit $3) counted) as unsent_meter_events,
  (
    select extract(epoch from now() - min(queued_at))::float8
    from sync.meter_events
    where state = 'queued' and attempts > 0
  ) as oldest_unsent_meter_event_seconds,
  f.behind,
  f.behind_because
from billing.freshness f
"""


# Everything that is counted is in an index of its own, and mostly there is little. But that a row's number is behind
# another is no statistic: the planner expects a third of the table, and would read all of it.
BY_INDEX = "set local enable_seqscan = off"


async def select_backlog(connection: Connection, *, live_mode: bool | None) -> Backlog:
    """Count what is to be done; `live_mode` is that of the API key, None without one."""
    async with connection.transaction():
        await connection.execute(BY_INDEX)
        row = await connection.fetchrow(SELECT_BACKLOG, live_mode, list(LIST_CONFIRMED), COUNTED_MAX)
    if row is None:
        raise LookupError("billing.freshness has no row: run `subledger migrate`")
    values = dict(row)
    values["alarms"] = tuple(values["alarms"] or ())
    if live_mode is None:
        values["unconfirmed_objects"] = None
    return Backlog(**values)


# The second part fails if the role may not read our tables.
SELECT_MIGRATED = f"select version, (select 1 from sync.milestones limit 1) from {MIGRATIONS_TABLE}"


async def require_migrated(connection: Connection) -> list[str]:
    """The migrations that only a newer version of Subledger can have made.

    Raises one of PostgresUnfit if the database lacks one that this version needs, or is not encoded in UTF8.
    """
    encoding: str = await connection.fetchval(ENCODING)
    if encoding != "UTF8":
        raise NotUtf8(encoding)
    versions = {row[0] for row in await connection.fetch(SELECT_MIGRATED)}
    needed = {file.name.partition("_")[0] for file in MIGRATIONS.glob("*.sql")}
    if lacking := needed - versions:
        raise NotMigrated(f"without {', '.join(sorted(lacking))}")
    return sorted(versions - needed)


# Workers and problems

LANES = ("live", "bulk")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSign:
    """A worker process, as of its last beat."""

    id: str
    started_at: datetime
    beat_at: datetime
    seconds_since_beat: float
    detail: Mapping[str, Any]
    """What it says about itself: the state of Redis, restarts."""

    @property
    def alive(self) -> bool:
        """Whether its last beat is recent enough."""
        return self.seconds_since_beat <= LOST_AFTER_SECONDS


SELECT_WORKERS = """
select id, started_at, beat_at, extract(epoch from now() - beat_at)::float8 as seconds_since_beat, detail
from sync.workers
order by started_at, id
"""


async def select_workers(connection: Connection) -> list[WorkerSign]:
    """Every worker that did not end in good order within the last day, the oldest first."""
    rows = await connection.fetch(SELECT_WORKERS)
    return [WorkerSign(**{**row, "detail": msgspec.json.decode(row["detail"])}) for row in rows]


def stripe_use(workers: Iterable[WorkerSign]) -> dict[str, Any] | None:
    """What all workers that live ask of Stripe together, as of their last beats; None if none of them has an API key.

    Requests and refusals are counted since the start of each worker, rates are those between two beats, per second.
    """
    uses = [each.detail["stripe"] for each in workers if each.alive and "stripe" in each.detail]
    if not uses:
        return None

    def sums(name: str) -> dict[str, Any]:
        return {lane: round(sum(use[name][lane] for use in uses), 1) for lane in LANES}

    refused: Counter[str] = Counter()
    for use in uses:
        refused.update(use["refused"])
    return {
        "workers": len(uses),
        "limits": uses[0]["limits"],
        "per_second": sums("per_second"),
        "requests": sums("requests"),
        "waiting": sums("waiting"),
        "refused": dict(sorted(refused.items())),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownProblem:
    """A row of sync.problems: what somebody should mend."""

    account_id: str
    live_mode: bool
    customer_id: str
    kind: str
    object_id: str
    detail: str
    first_seen_at: datetime


SELECT_PROBLEMS = """
select account_id, live_mode, customer_id, kind, object_id, detail, first_seen_at
from sync.problems
order by first_seen_at, account_id, live_mode, customer_id, kind, object_id
limit $1
"""


async def select_problems(connection: Connection, *, limit: int) -> list[KnownProblem]:
    """The problems of all customers, the oldest first."""
    return [KnownProblem(**row) for row in await connection.fetch(SELECT_PROBLEMS, limit)]


SELECT_PROBLEMS_OF_CUSTOMER = """
select account_id, live_mode, customer_id, kind, object_id, detail, first_seen_at
from sync.problems
where account_id = $1 and live_mode = $2 and customer_id = $3
order by first_seen_at, kind, object_id
"""


async def select_problems_of_customer(
    connection: Connection, account_id: str, live_mode: bool, customer_id: str
) -> list[KnownProblem]:
    """The problems of one customer, the oldest first."""
    rows = await connection.fetch(SELECT_PROBLEMS_OF_CUSTOMER, account_id, live_mode, customer_id)
    return [KnownProblem(**row) for row in rows]


# The overview


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All accounts and modes together."""

    customers: Mapping[str | None, int]
    """Customers that are not deleted, by status; None: no subscription that ever started."""
    exact: int
    """How many of those have a record that is complete and confirmed."""
    net_minor: Mapping[str, int | None]
    """Net revenue in minor units, by currency, the largest first; None: one customer's is larger than a bigint."""
    events: int
    pending: int
    oldest_pending_seconds: float
    """How long the oldest event that is not applied has waited; 0 when none waits."""
    alarms: tuple[str, ...] = ()
    """What an operator must see, and what to do about it."""


COUNT_CUSTOMERS = """
select status, count(*) as customers, count(*) filter (where exact) as exact
from billing.customers
where deleted_at is null
group by status
"""

SUM_REVENUE = """
select currency, case when count(net) = count(*) then sum(net) end as net
from billing.customer_revenue
group by currency
order by case when count(net) = count(*) then sum(gross::numeric + out_of_band) end desc nulls first, currency
"""

COUNT_EVENTS = """
select
  (select count(*) from sync.events) as events,
  pending,
  coalesce(extract(epoch from now() - oldest_pending_at), 0)::float8 as oldest_pending_seconds,
  (select array_agg(name || ': ' || detail order by name) from sync.alarms) as alarms
from billing.freshness
"""


COUNT_RECORDS = (
    "select exact, count(*) as records from billing.customers where deleted_at is null group by exact"
)


async def count_records(connection: Connection) -> dict[bool, int]:
    """How many customers that are not deleted have an exact record, and how many have not; reads all of them."""
    return {row["exact"]: row["records"] for row in await connection.fetch(COUNT_RECORDS)}


async def read_overview(connection: Connection) -> Overview:
    """Count everything; the time it takes grows with the number of rows."""
    customers = await connection.fetch(COUNT_CUSTOMERS)
    revenue = await connection.fetch(SUM_REVENUE)
    events = await connection.fetchrow(COUNT_EVENTS)
    if events is None:
        raise LookupError("billing.freshness has no row: run `subledger migrate`")
    return Overview(
        customers={row["status"]: row["customers"] for row in customers},
        exact=sum(row["exact"] for row in customers),
        net_minor={row["currency"]: None if row["net"] is None else int(row["net"]) for row in revenue},
        **{**events, "alarms": tuple(events["alarms"] or ())},
    )
