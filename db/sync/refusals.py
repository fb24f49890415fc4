"""What Stripe refuses to let us read: a connected account that took its access back, a kind that the key may not read.

Thousands of objects have then one and the same answer: one of them asks now and then, and the others wait for it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from db.connection import Connection
from db.keys import Key, Scope
from db.sync.customers import raising

WHOLE_ACCOUNT = ""
"""In place of a kind's name."""
PROBE_EVERY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One thing that is refused, and when one request may ask again."""

    account_id: str
    kind: str
    error: str
    probe_at: datetime
    seconds_to_probe: float

    def covers(self, key: Key) -> bool:
        return key.account_id == self.account_id and self.kind in (WHOLE_ACCOUNT, key.kind)


SELECT_REFUSALS = """
select account_id, kind, error, probe_at, extract(epoch from probe_at - now())::float8 as seconds_to_probe
from sync.refusals
where live_mode = $1
"""


async def select_refusals(connection: Connection, *, live_mode: bool) -> list[Refusal]:
    """What is refused in this mode; mostly nothing."""
    return [Refusal(**row) for row in await connection.fetch(SELECT_REFUSALS, live_mode)]


TAKE_PROBE = """
update sync.refusals set probe_at = now() + $4
where account_id = $1 and live_mode = $2 and kind = $3 and probe_at <= now()
returning true
"""


async def take_probe(connection: Connection, refusal: Refusal, *, live_mode: bool) -> bool:
    """Whether this caller is the one that may ask again now. Must be committed before the request."""
    parameters = (refusal.account_id, live_mode, refusal.kind, PROBE_EVERY)
    return bool(await connection.fetchval(TAKE_PROBE, *parameters))


# The first time, the next request that is due may ask again at once: the refusal may have been a whim.
NOTE_REFUSAL = """
insert into sync.refusals (account_id, live_mode, kind, object_id, error, probe_at)
values ($1, $2, $3, $4, $5, now())
on conflict (account_id, live_mode, kind) do update set
  error = excluded.error, probe_at = greatest(refusals.probe_at, now() + $6)
returning xmax = 0
"""

# In the order of all locks on customers.
MARK_ACCOUNT = raising(
    """account_id = $1 and live_mode = $2
  order by 1, 2, 3
  for no key update"""
)


async def note_refusal(
    connection: Connection, scope: Scope, *, kind: str, object_id: str, error: str
) -> None:
    """Nothing that this covers is asked for from now on, but for one request now and then. No record of an account that
    is closed as a whole is exact: Stripe sends no events of it any more.
    """
    async with connection.transaction():
        new = await connection.fetchval(NOTE_REFUSAL, *scope, kind, object_id, error, PROBE_EVERY)
        if new and kind == WHOLE_ACCOUNT:
            await connection.execute(MARK_ACCOUNT, *scope)


END_REFUSAL = (
    "delete from sync.refusals where account_id = $1 and live_mode = $2 and kind = $3 returning true"
)

# In the order of all locks on objects.
WAKE_OBJECTS = """
with waiting as (
  select account_id, live_mode, kind, id
  from sync.objects
  where unsettled and account_id = $1 and live_mode = $2 and ($3 = '' or kind = $3)
    and missing_since is null and parked_at is null and read_at > now()
  order by 1, 2, 3, 4
  for no key update
)
update sync.objects o
set read_at = now()
from waiting w
where (o.account_id, o.live_mode, o.kind, o.id) = (w.account_id, w.live_mode, w.kind, w.id)
"""

WAKE_HISTORIES = """
with waiting as (
  select account_id, live_mode, customer_id
  from sync.customers
  where account_id = $1 and live_mode = $2 and history_at > now()
  order by 1, 2, 3
  for no key update
)
update sync.customers c
set history_at = now(), history_attempts = 0
from waiting w
where (c.account_id, c.live_mode, c.customer_id) = (w.account_id, w.live_mode, w.customer_id)
"""


async def end_refusals(connection: Connection, scope: Scope, kinds: Collection[str]) -> list[str]:
    """One request was answered: what waited for it is due. Returns which of these were refused until now."""
    ended = [kind for kind in sorted(kinds) if await connection.fetchval(END_REFUSAL, *scope, kind)]
    for kind in ended:
        await connection.execute(WAKE_OBJECTS, *scope, kind)
        if kind == WHOLE_ACCOUNT:
            await connection.execute(WAKE_HISTORIES, *scope)
            await connection.execute(MARK_ACCOUNT, *scope)
    return ended


SELECT_OWNERS_DELETION = """
select o.account_id, o.live_mode, o.kind, o.id, c.tombstone, c.deleted_event_at
from sync.objects o
join unnest($1::text[], $2::boolean[], $3::text[], $4::text[]) as k (account_id, live_mode, kind, id)
  using (account_id, live_mode, kind, id)
join sync.objects c on c.account_id = o.account_id and c.live_mode = o.live_mode and c.kind = 'customer'
  and c.id = o.customer_id
where o.kind <> 'customer' and (c.tombstone or c.deleted_event_at is not null)
"""


async def select_owners_deletion(
    connection: Connection, keys: Sequence[Key]
) -> dict[Key, tuple[bool, datetime | None]]:
    """Of the objects whose customer is deleted: whether a read has proved that, and when its event says it was."""
    columns = [list(column) for column in zip(*keys, strict=True)]
    rows = await connection.fetch(SELECT_OWNERS_DELETION, *columns)
    return {Key(row[0], row[1], row[2], row[3]): (row[4], row[5]) for row in rows}


IS_DELETED = """
select coalesce((
  select tombstone from sync.objects where account_id = $1 and live_mode = $2 and kind = $3 and id = $4
), false)
"""


async def is_deleted(connection: Connection, key: Key) -> bool:
    """Whether a read has proved that the object is deleted."""
    deleted: bool = await connection.fetchval(IS_DELETED, *key)
    return deleted
