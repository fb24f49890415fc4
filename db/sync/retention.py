"""The end of old events: what has been applied, is old enough, and is cited nowhere."""

from dataclasses import dataclass
from datetime import timedelta

from db.connection import Connection

# Events are locked before anything else, and none that somebody else is at; twins after them. Twins go when the second
# of the two events does: until then one may still come after the other. All by keys, whatever the planner estimates.
TRIM_EVENTS = """
with seen as (
  select account_id, live_mode, event_id, seq, state, received_at < now() - $2::interval as is_old
  from sync.events
  where seq > $1
  order by seq
  limit $3
), old as (
  select e.account_id, e.live_mode, e.event_id
  from seen s
  join sync.events e using (account_id, live_mode, event_id)
  where s.is_old and e.state in ('applied', 'ignored') and e.applied_at < now() - $2::interval
    and not exists (select from billing.status_changes c where c.event_id = e.event_id)
  order by 1, 2, 3
  for update of e skip locked
), trimmed as (
  delete from sync.events e
  using old o
  where (e.account_id, e.live_mode, e.event_id) = (o.account_id, o.live_mode, o.event_id)
  returning e.account_id, e.live_mode, e.event_id
), pairs as (
  select t.account_id, t.live_mode, t.event_id, t.twin_id
  from trimmed e
  join lateral (
    select t.* from sync.twins t
    where t.account_id = e.account_id and t.live_mode = e.live_mode and t.event_id = e.event_id
    union
    select t.* from sync.twins t
    where t.account_id = e.account_id and t.live_mode = e.live_mode and t.twin_id = e.event_id
  ) t on true
), parted as (
  delete from sync.twins t
  using pairs p
  where (t.account_id, t.live_mode, t.event_id) = (p.account_id, p.live_mode, p.event_id)
    and not exists (
      select from sync.events e
      where e.account_id = p.account_id and e.live_mode = p.live_mode and e.event_id in (p.event_id, p.twin_id)
        -- `not in`: hashed once, and no column of it is ever null.
        and (e.account_id, e.live_mode, e.event_id) not in (select account_id, live_mode, event_id from old)
      offset 0
    )
)
select
  (select max(seq) from seen where is_old) as last_seq,
  (select count(*) from seen where is_old) as seen,
  (select count(*) from trimmed) as trimmed
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trim:
    """What one batch has done."""

    last_seq: int | None
    """The inbox number up to which it has looked; None: everything behind the one before is younger."""
    seen: int
    trimmed: int


async def trim_events(connection: Connection, *, after: int, age: timedelta, limit: int) -> Trim:
    """Delete, of the next events by inbox number, those that came and were applied or ignored longer ago than this, and
    that no status change cites. Pending, parked and quarantined ones stay. With the second of two twins, forget that
    they are twins.
    """
    row = await connection.fetchrow(TRIM_EVENTS, after, age, limit)
    return Trim(last_seq=None, seen=0, trimmed=0) if row is None else Trim(**row)
