"""Twins: a thin event and the snapshot event about the same change, which may come in any order, or alone."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from db.connection import Connection
from db.keys import EventKey, Scope, columns_of_keys
from db.sync.objects import UnreadTwin

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


WANT_TWINS = """
insert into sync.wanted_twins (account_id, live_mode, event_id, type, created)
select account_id, live_mode, event_id, type, created
from unnest($1::text[], $2::boolean[], $3::text[], $4::text[], $5::timestamptz[])
  as new (account_id, live_mode, event_id, type, created)
order by 1, 2, 3
on conflict (account_id, live_mode, event_id) do nothing
"""


async def note_wanted(connection: Connection, twins: Mapping[Scope, Collection[UnreadTwin]]) -> None:
    """Have these snapshot events asked for."""
    rows = sorted({(*scope, each.event_id): each for scope, some in twins.items() for each in some}.items())
    await connection.execute(
        WANT_TWINS,
        [key[0] for key, _ in rows],
        [key[1] for key, _ in rows],
        [key[2] for key, _ in rows],
        [each.type for _, each in rows],
        [each.created for _, each in rows],
    )


WANTED_TRIES = 12
"""Over more than an hour: a fill of gaps has brought it by then, if anything can."""

# The appointment is the lease as well: the answer comes, or a minute has passed at least.
CLAIM_WANTED = """
with due as (
  select account_id, live_mode, event_id
  from sync.wanted_twins
  where live_mode = $1 and due_at <= now()
  order by due_at
  limit $2
  for update skip locked
), done as (
  delete from sync.wanted_twins w
  using due d
  where (w.account_id, w.live_mode, w.event_id) = (d.account_id, d.live_mode, d.event_id) and (w.attempts >= $3 or (
    select true from sync.events e
    where e.account_id = d.account_id and e.live_mode = d.live_mode and e.event_id = d.event_id
  ))
  returning w.account_id, w.live_mode, w.event_id
)
update sync.wanted_twins w
set attempts = w.attempts + 1, due_at = now() + least(interval '1 minute' * 2 ^ w.attempts, interval '10 minutes')
from due d
where (w.account_id, w.live_mode, w.event_id) = (d.account_id, d.live_mode, d.event_id)
  and not exists (
    select from done
    where (done.account_id, done.live_mode, done.event_id) = (w.account_id, w.live_mode, w.event_id)
  )
returning w.account_id, w.live_mode, w.event_id, w.type, w.created
"""


async def claim_wanted(
    connection: Connection, *, live_mode: bool, limit: int
) -> dict[Scope, list[UnreadTwin]]:
    """What is to be asked for now. What has come meanwhile, or never does, is forgotten."""
    rows = await connection.fetch(CLAIM_WANTED, live_mode, limit, WANTED_TRIES)
    found: defaultdict[Scope, list[UnreadTwin]] = defaultdict(list)
    for row in rows:
        twin = UnreadTwin(event_id=row["event_id"], type=row["type"], created=row["created"])
        found[Scope(row["account_id"], row["live_mode"])].append(twin)
    return found


DROP_WANTED = """
delete from sync.wanted_twins w
using unnest($1::text[], $2::boolean[], $3::text[]) as k (account_id, live_mode, event_id)
where (w.account_id, w.live_mode, w.event_id) = (k.account_id, k.live_mode, k.event_id)
"""


async def drop_wanted(connection: Connection, twins: Collection[EventKey]) -> None:
    """They have come."""
    await connection.execute(DROP_WANTED, *columns_of_keys(EventKey, sorted(twins)))
