"""Twins: a thin event and the snapshot event about the same change, which may come in any order, or alone."""

from collections.abc import Mapping, Sequence

from db.connection import Connection
from db.keys import EventKey, columns_of_keys

# Locked after events and before objects, in the order of the keys.
REMEMBER_TWINS = """
insert into sync.twins (account_id, live_mode, event_id, twin_id, tick)
select account_id, live_mode, event_id, twin_id, nextval('sync.tick')
from unnest($1::text[], $2::boolean[], $3::text[], $4::text[]) as new (account_id, live_mode, event_id, twin_id)
order by account_id, live_mode, event_id
on conflict (account_id, live_mode, event_id) do update set tick = coalesce(twins.tick, excluded.tick)
"""

SELECT_APPLIED = """
select account_id, live_mode, event_id
from sync.events
join unnest($1::text[], $2::boolean[], $3::text[]) as k (account_id, live_mode, event_id)
  using (account_id, live_mode, event_id)
where state = 'applied'
"""


async def remember_twins(connection: Connection, twins: Mapping[EventKey, str]) -> set[EventKey]:
    """Note that these thin events are being applied, each with its twin's id; returns those whose twin was applied
    already, in this transaction or an earlier one.
    """
    if not twins:
        return set()
    await connection.execute(REMEMBER_TWINS, *columns_of_keys(EventKey, twins), list(twins.values()))
    of_twins = {event: EventKey(*event.scope, twin_id) for event, twin_id in twins.items()}
    rows = await connection.fetch(SELECT_APPLIED, *columns_of_keys(EventKey, set(of_twins.values())))
    applied = {EventKey(row[0], row[1], row[2]) for row in rows}
    return {event for event, twin in of_twins.items() if twin in applied}


SELECT_KNOWN_SINCE = """
select account_id, live_mode, twin_id, min(tick)
from sync.twins
join unnest($1::text[], $2::boolean[], $3::text[]) as k (account_id, live_mode, twin_id)
  using (account_id, live_mode, twin_id)
group by account_id, live_mode, twin_id
"""


async def select_known_since(connection: Connection, snapshots: Sequence[EventKey]) -> dict[EventKey, int]:
    """Of the changes that these snapshot events are about, those that a thin event has told, each with its tick."""
    rows = await connection.fetch(SELECT_KNOWN_SINCE, *columns_of_keys(EventKey, snapshots))
    return {EventKey(row[0], row[1], row[2]): row[3] for row in rows if row[3] is not None}


TELL_ANEW = """
with chosen as (
  select account_id, live_mode, event_id
  from sync.twins
  join unnest($1::text[], $2::boolean[], $3::text[]) as k (account_id, live_mode, event_id)
    using (account_id, live_mode, event_id)
  union
  select account_id, live_mode, event_id
  from sync.twins
  join unnest($1::text[], $2::boolean[], $3::text[]) as k (account_id, live_mode, twin_id)
    using (account_id, live_mode, twin_id)
)
update sync.twins t
set tick = null
from chosen c
where (t.account_id, t.live_mode, t.event_id) = (c.account_id, c.live_mode, c.event_id)
returning t.account_id, t.live_mode, t.twin_id
"""


async def tell_anew(connection: Connection, events: Sequence[EventKey]) -> list[EventKey]:
    """Let these events tell their changes anew; returns the snapshot twins of the thin ones among their changes."""
    rows = await connection.fetch(TELL_ANEW, *columns_of_keys(EventKey, events))
    return [EventKey(row[0], row[1], row[2]) for row in rows]
