"""The inbox for operators: the events, parked objects and customers, and how they are replayed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing.kinds.registry import LIST_CONFIRMED
from db.columns import columns_of, names_of
from db.connection import Connection
from db.keys import CustomerKey, Key, columns_of_keys, in_each_scope
from db.sync.customers import mark_stale
from db.sync.inbox import ClaimedEvent
from db.sync.twins import tell_anew


class EventState(StrEnum):
    """sync.events.state."""

    PENDING = "pending"
    APPLIED = "applied"
    IGNORED = "ignored"
    PARKED = "parked"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxEntry:
    """An event of the inbox without its payload."""

    account_id: str
    live_mode: bool
    event_id: str
    seq: int
    type: str
    api_version: str | None
    created: datetime | None
    received_at: datetime
    state: str
    attempts: int
    leased_until: datetime | None
    applied_at: datetime | None
    error: str | None


_ENTRY = names_of(columns_of(InboxEntry))


def _of_type(given: str) -> str:
    """That an event is of the type which this parameter names; one that ends in * names all that begin so."""
    return (
        f"({given}::text is null or type = {given}"
        f" or (right({given}, 1) = '*' and starts_with(type, left({given}, -1))))"
    )


# What waits or was given up has indexes of its own; of the other states this looks at so many of the newest events.
_LOOKED_AT = """
  from sync.events
  where ($1::text is null or $1 in ('applied', 'ignored') or state = $1) and ($2::bigint is null or seq < $2)
  order by seq desc
"""

SELECT_EVENTS = f"""
select {_ENTRY}
from (select {_ENTRY} {_LOOKED_AT} limit $3) looked_at
where ($1::text is null or state = $1) and {_of_type("$4")}
  and ($5::text is null or account_id = $5)
  and ($6::text is null or strpos(lower(concat_ws(' ', event_id, type, error)), lower($6)) > 0)
order by seq desc
limit $7
"""


async def select_events(
    connection: Connection,
    *,
    state: EventState | None = None,
    event_type: str | None = None,
    account_id: str | None = None,
    text: str | None = None,
    before_seq: int | None = None,
    looked_at_max: int | None = None,
    limit: int,
) -> list[InboxEntry]:
    """The events received last, newest first.

    `event_type` may end in * for all types that begin with it; `account_id`: '' is the key's own; `text`: in the id,
    the type or the error, upper case or not; `before_seq`: only smaller inbox numbers; `looked_at_max`: so many events
    are looked at, the newest ones; None: all.
    """
    values = (state, before_seq, looked_at_max, event_type, account_id, text, limit)
    return [InboxEntry(**row) for row in await connection.fetch(SELECT_EVENTS, *values)]


SELECT_LAST_LOOKED_AT = f"select seq {_LOOKED_AT} offset $3 - 1 limit 1"


async def select_last_looked_at(
    connection: Connection, *, state: EventState | None, before_seq: int | None, looked_at_max: int
) -> int | None:
    """The inbox number of the last event that `select_events` looks at; None if it looks at all that there are."""
    seq: int | None = await connection.fetchval(SELECT_LAST_LOOKED_AT, state, before_seq, looked_at_max)
    return seq


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivedEvent:
    """An event that has come, with its payload."""

    account_id: str
    live_mode: bool
    event_id: str
    seq: int
    type: str
    created: datetime | None
    payload: bytes


SELECT_LAST_SEQ = "select coalesce(max(seq), 0) from sync.events"

SELECT_ARRIVED = """
select account_id, live_mode, event_id, seq, type, created, payload
from sync.events
where seq > $1 and seq <> all ($2::bigint[])
order by seq
limit $3
"""


async def select_last_seq(connection: Connection) -> int:
    """The number of the event that came last."""
    last: int = await connection.fetchval(SELECT_LAST_SEQ)
    return last


async def select_arrived(
    connection: Connection, *, after: int, known: Collection[int], limit: int
) -> list[ArrivedEvent]:
    """The events whose number is greater, but for those that are known, the oldest first."""
    rows = await connection.fetch(SELECT_ARRIVED, after, list(known), limit)
    return [ArrivedEvent(**row) for row in rows]


SELECT_EVENTS_BY_ID = f"""
with recursive {in_each_scope("sync.events", "event_id = $1")}
select {_ENTRY}, payload
from found
order by account_id, live_mode
"""


async def select_events_by_id(connection: Connection, event_id: str) -> list[tuple[InboxEntry, bytes]]:
    """The event of that id with its payload; more than one if accounts or modes share an id."""
    found = []
    for row in await connection.fetch(SELECT_EVENTS_BY_ID, event_id):
        values = dict(row)
        payload: bytes = values.pop("payload")
        found.append((InboxEntry(**values), payload))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeCount:
    """How many events of one type are in one state."""

    type: str
    state: str
    events: int
    last_received_at: datetime


COUNT_TYPES = """
select type, state, count(*) as events, max(received_at) as last_received_at
from (
  select type, state, received_at from sync.events where $1::text is null or state = $1 limit $2
) counted
group by type, state
order by type, state
"""


async def count_types(
    connection: Connection, state: EventState | None = None, *, counted_max: int | None = None
) -> list[TypeCount]:
    """What was received, by type and state. What waits or was given up has indexes. `counted_max`: so many events are
    counted, whichever; None: all.
    """
    return [TypeCount(**row) for row in await connection.fetch(COUNT_TYPES, state, counted_max)]


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceEntry:
    """What the fence knows of one object (sync.objects)."""

    account_id: str
    live_mode: bool
    kind: str
    id: str
    customer_id: str | None
    tombstone: bool
    unsettled: bool
    read_at: datetime | None
    attempts: int
    missing_since: datetime | None
    parked_at: datetime | None
    error: str | None

    @property
    def key(self) -> Key:
        return Key(self.account_id, self.live_mode, self.kind, self.id)


def standing(entry: FenceEntry | None) -> str:
    """The state of an object at the fence, in a few words."""
    match entry:
        case None:
            return "never marked"
        case FenceEntry(tombstone=True):
            return "deleted"
        case FenceEntry(parked_at=at) if at is not None:
            return "parked"
        case FenceEntry(missing_since=at) if at is not None:
            return "missing"
        case FenceEntry(unsettled=True):
            return "waits for a read"
        case FenceEntry(kind=kind) if kind in LIST_CONFIRMED:
            return "kept up by lists"
        case _:
            return "confirmed"


_FENCE = names_of(columns_of(FenceEntry))

SELECT_PARKED_OBJECTS = f"""
select {_FENCE}
from sync.objects
where unsettled and parked_at is not null and ($2::timestamptz is null or parked_at <= $2)
order by parked_at desc, account_id, live_mode, kind, id
limit $1
"""


async def select_parked_objects(
    connection: Connection, *, until: datetime | None = None, limit: int | None
) -> list[FenceEntry]:
    """The objects whose reads were given up, by that moment, the latest first; all of them without a limit."""
    return [FenceEntry(**row) for row in await connection.fetch(SELECT_PARKED_OBJECTS, limit, until)]


SELECT_OBJECTS_BY_ID = f"""
with recursive {in_each_scope("sync.objects", "id = any ($1::text[])", columns=("account_id", "live_mode", "kind"))}
select {_FENCE}
from found
order by account_id, live_mode, kind, id
"""


async def select_objects_by_id(connection: Connection, ids: Sequence[str]) -> list[FenceEntry]:
    """The objects of these Stripe ids, of whatever account, mode and kind."""
    return [FenceEntry(**row) for row in await connection.fetch(SELECT_OBJECTS_BY_ID, ids)]


SELECT_OBJECTS = f"""
select {_FENCE}
from sync.objects
join unnest($1::text[], $2::boolean[], $3::text[], $4::text[]) as k (account_id, live_mode, kind, id)
  using (account_id, live_mode, kind, id)
"""


async def select_objects(connection: Connection, keys: Sequence[Key]) -> dict[Key, FenceEntry]:
    """What the fence knows of these objects; unknown ones are left out."""
    rows = await connection.fetch(SELECT_OBJECTS, *columns_of_keys(Key, keys))
    entries = [FenceEntry(**row) for row in rows]
    return {entry.key: entry for entry in entries}


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerMark:
    """How far the derivation of one customer's record is (sync.customers)."""

    account_id: str
    live_mode: bool
    customer_id: str
    stale: int
    derived: int
    complete: bool
    attempts: int
    parked_at: datetime | None
    error: str | None
    history_at: datetime | None
    history_error: str | None

    @property
    def is_stale(self) -> bool:
        return self.stale > self.derived

    @property
    def key(self) -> CustomerKey:
        return CustomerKey(self.account_id, self.live_mode, self.customer_id)


_MARK = names_of(columns_of(CustomerMark))

SELECT_PARKED_CUSTOMERS = f"""
select {_MARK}
from sync.customers
where parked_at is not null and ($2::timestamptz is null or parked_at <= $2)
order by parked_at desc, account_id, live_mode, customer_id
limit $1
"""


async def select_parked_customers(
    connection: Connection, *, until: datetime | None = None, limit: int | None
) -> list[CustomerMark]:
    """The customers whose derivation was given up, by that moment, the latest first; all of them without a limit."""
    return [CustomerMark(**row) for row in await connection.fetch(SELECT_PARKED_CUSTOMERS, limit, until)]


SELECT_NOW = "select now()"


async def select_now(connection: Connection) -> datetime:
    """What time it is, by the clock that stamps what is parked."""
    now: datetime = await connection.fetchval(SELECT_NOW)
    return now


SELECT_MARKS_BY_ID = f"""
with recursive {in_each_scope("sync.customers", "customer_id = any ($1::text[])")}
select {_MARK}
from found
order by account_id, live_mode, customer_id
"""


async def select_marks_by_id(connection: Connection, ids: Sequence[str]) -> list[CustomerMark]:
    """How far the records of the customers with these Stripe ids are, in every account and mode."""
    return [CustomerMark(**row) for row in await connection.fetch(SELECT_MARKS_BY_ID, ids)]


# Replaying: events before objects before customers, as everywhere.

REPLAY_EVENTS = f"""
with recursive {in_each_scope("sync.events", "event_id = any ($1::text[])")}, chosen as (
  select e.account_id, e.live_mode, e.event_id
  from found
  join sync.events e using (account_id, live_mode, event_id)
  where e.state <> 'pending'
  order by e.account_id, e.live_mode, e.event_id
  for no key update of e
)
update sync.events e
set state = 'pending', attempts = 0, leased_until = null, applied_at = null, error = null
from chosen c
where (e.account_id, e.live_mode, e.event_id) = (c.account_id, c.live_mode, c.event_id)
returning e.account_id, e.live_mode, e.event_id, e.seq, e.type, e.created, e.payload, e.attempts
"""


async def replay_events(connection: Connection, event_ids: Sequence[str]) -> list[ClaimedEvent]:
    """Put these events back to pending, as if they had just come; returns those that were not pending already.

    With a thin event comes its snapshot twin, which says more; and neither counts as told already.
    """
    events = [ClaimedEvent(**row) for row in await connection.fetch(REPLAY_EVENTS, event_ids)]
    twins = {twin.id for twin in await tell_anew(connection, [event.key for event in events])}
    if more := sorted(twins - {event.event_id for event in events}):
        events += [ClaimedEvent(**row) for row in await connection.fetch(REPLAY_EVENTS, more)]
    return events


REPLAY_STATE = f"""
with next as (
  select account_id, live_mode, event_id
  from sync.events
  where state = $1 and {_of_type("$2")} and seq > $3
  order by seq
  limit $4
), chosen as (
  select account_id, live_mode, event_id
  from sync.events
  join next using (account_id, live_mode, event_id)
  where state = $1
  order by account_id, live_mode, event_id
  for no key update of events
)
update sync.events e
set state = 'pending', attempts = 0, leased_until = null, applied_at = null, error = null
from chosen c
where (e.account_id, e.live_mode, e.event_id) = (c.account_id, c.live_mode, c.event_id)
returning e.account_id, e.live_mode, e.event_id, e.seq, e.type, e.created, e.payload, e.attempts
"""


async def replay_state(
    connection: Connection, *, state: EventState, event_type: str | None, after_seq: int, limit: int
) -> list[ClaimedEvent]:
    """Put the next events of that state, by inbox number, back to pending, as if they had just come."""
    rows = await connection.fetch(REPLAY_STATE, state, event_type, after_seq, limit)
    events = [ClaimedEvent(**row) for row in rows]
    await tell_anew(connection, [event.key for event in events])
    return events


# Marked again, so that only a read that leaves from now on confirms it. Its customer was not exact, and stays so.
REPLAY_OBJECTS = """
with chosen as (
  select account_id, live_mode, kind, id
  from sync.objects
  join unnest($1::text[], $2::boolean[], $3::text[], $4::text[]) as k (account_id, live_mode, kind, id)
    using (account_id, live_mode, kind, id)
  where unsettled and (parked_at is not null or not $5)
  order by account_id, live_mode, kind, id
  for no key update of objects
)
update sync.objects o
set dirty = greatest(o.dirty, nextval('sync.tick')), first_marked_at = coalesce(o.first_marked_at, now()),
  read_at = now(), attempts = 0, unreadable = 0, parked_at = null, error = null
from chosen c
where (o.account_id, o.live_mode, o.kind, o.id) = (c.account_id, c.live_mode, c.kind, c.id)
returning o.account_id, o.live_mode, o.kind, o.id
"""


async def replay_objects(connection: Connection, keys: Sequence[Key], *, parked_only: bool) -> list[Key]:
    """Make a read of these objects due at once if they are parked, missing or waiting for one (with `parked_only`:
    only if they are parked); returns those.
    """
    rows = await connection.fetch(REPLAY_OBJECTS, *columns_of_keys(Key, keys), parked_only)
    return [Key(row[0], row[1], row[2], row[3]) for row in rows]


async def replay_customers(connection: Connection, customers: Sequence[CustomerMark]) -> list[CustomerKey]:
    """Let the records of the parked customers among these be derived again; returns them."""
    parked = sorted(customer.key for customer in customers if customer.parked_at is not None)
    if parked:
        await mark_stale(connection, parked)
    return parked
