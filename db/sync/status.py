"""How far the records are behind: what /status and `subledger status` show."""

from dataclasses import dataclass
from datetime import datetime

from billing.kinds.registry import HINTED
from db.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What is still to be done. With the first three at 0 (or None), the records are settled."""

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
    problems: int

    @property
    def settled(self) -> bool:
        """Whether every event received has reached its record, and every record is as exact as it can be."""
        return not (self.pending_events or self.stale_customers or self.unconfirmed_objects)


# Kinds that no event has read do not count: when one of theirs is read all the same, no record waits for it.
# A touched row whose customers are not marked yet counts as one stale customer: they are about to be.
SELECT_BACKLOG = """
select
  f.pending as pending_events,
  (select count(*) from sync.customers where stale > derived and parked_at is null)
    + (select count(*) from sync.objects where touched > resolved) as stale_customers,
  (
    select count(*)
    from sync.objects
    where read_at is not null and not tombstone and dirty >= confirmed and missing_since is null and parked_at is null
      and live_mode = $1 and kind <> all ($2::text[])
  ) + (
    select count(*)
    from sync.customers
    where history_at is not null and history_attempts < 5 and live_mode = $1
  ) as unconfirmed_objects,
  (
    select count(*) from sync.objects
    where unsettled and missing_since is not null and kind <> all ($2::text[])
  ) as missing_objects,
  (select count(*) from sync.events where state = 'parked')
    + (select count(*) from sync.objects where unsettled and parked_at is not null)
    + (select count(*) from sync.customers where parked_at is not null) as parked,
  extract(epoch from now() - f.oldest_pending_at)::float8 as oldest_pending_seconds,
  f.last_event_received_at as last_event_at,
  f.last_gap_fill_at,
  (select array_agg(name || ': ' || detail order by name) from sync.alarms) as alarms,
  (select count(*) from sync.events where state = 'quarantined') as quarantined_events,
  (select count(*) from sync.problems) as problems
from billing.freshness f
"""


async def select_backlog(connection: Connection, *, live_mode: bool | None) -> Backlog:
    """Count what is to be done; `live_mode` is that of the API key, None without one."""
    row = await connection.fetchrow(SELECT_BACKLOG, live_mode, list(HINTED))
    if row is None:
        raise LookupError("billing.freshness has no row: run `subledger migrate`")
    values = dict(row)
    values["alarms"] = tuple(values["alarms"] or ())
    if live_mode is None:
        values["unconfirmed_objects"] = None
    return Backlog(**values)


PING = "select 1 from sync.milestones limit 1"


async def ping(connection: Connection) -> None:
    """Raise when Postgres does not answer or has not been migrated."""
    await connection.execute(PING)
