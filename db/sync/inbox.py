"""The inbox: each verified webhook once, from its receipt until it is applied."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from db.connection import Connection
from db.keys import EventKey, columns_of_keys


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedEvent:
    """A webhook whose signature was right, with as much of its envelope as could be read."""

    account_id: str
    live_mode: bool
    event_id: str
    type: str
    api_version: str | None
    created: datetime | None
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedEvent:
    """A pending event that this worker may apply until its lease ends."""

    account_id: str
    live_mode: bool
    event_id: str
    seq: int
    type: str
    created: datetime | None
    payload: bytes
    attempts: int
    of_own: bool = False  # it names the API key's own account, which was not known when it came

    @property
    def key(self) -> EventKey:
        """Its key in the inbox."""
        return EventKey(self.account_id, self.live_mode, self.event_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one claimed event: applied, ignored, parked or quarantined, and why."""

    key: EventKey
    state: str
    error: str | None = None


RECORD_EVENTS = """
insert into sync.events (account_id, live_mode, event_id, type, api_version, created, payload)
select *
from (
  select
    -- An event may name the account that the key belongs to: that is the same as naming none.
    case when exists (select from sync.key k where k.account_id = named.account_id) then '' else named.account_id end
      as account_id,
    live_mode, event_id, type, api_version, created, payload
  from unnest($1::text[], $2::boolean[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::bytea[])
    as named (account_id, live_mode, event_id, type, api_version, created, payload)
) new
-- `do nothing` alone waits for any transaction that is updating the row: a redelivery, and all events that share the
-- statement with it, would wait for the batch that applies its event.
where (
  select true
  from sync.events known
  where known.account_id = new.account_id and known.live_mode = new.live_mode and known.event_id = new.event_id
) is null
-- Two groups that share keys must wait for each other in one order.
order by account_id, live_mode, event_id
-- Named, because a number that is taken (the sequence was set back) must not pass for an event that is known.
on conflict (account_id, live_mode, event_id) do nothing
"""


async def record_events(connection: Connection, events: Sequence[SignedEvent]) -> int:
    """Store the events in one statement; those already stored stay as they are. Returns how many were new."""
    said = await connection.execute(
        RECORD_EVENTS,
        [event.account_id for event in events],
        [event.live_mode for event in events],
        [event.event_id for event in events],
        [event.type for event in events],
        [event.api_version for event in events],
        [event.created for event in events],
        [event.payload for event in events],
    )
    return int(said.rpartition(" ")[2])  # "INSERT 0 n"


CLAIM_BYTES_MAX = 16 * 1024 * 1024
"""Of the payloads of one claim together; the first is taken however large it is. A worker holds and parses them all."""

# Events that were claimed before come first, one at a time: so attempts count only against those that a lost worker
# held, and ATTEMPTS_MAX lost workers do not condemn a whole batch.
CLAIM_EVENTS = """
-- Claims go by age, so events that were claimed before are among the oldest: a backlog is not searched to its end.
with head as (
  select account_id, live_mode, event_id, attempts, leased_until
  from sync.events
  where state = 'pending' and ($3::boolean is null or live_mode = $3)
  order by seq
  limit 4000
), suspect as (
  -- The first that nobody has locked, however long the transaction of whoever has locked another one stays open.
  select free.account_id, free.live_mode, free.event_id
  from head h
  cross join lateral (
    select e.account_id, e.live_mode, e.event_id
    from sync.events e
    where (e.account_id, e.live_mode, e.event_id) = (h.account_id, h.live_mode, h.event_id)
      and e.state = 'pending' and (e.leased_until is null or e.leased_until < now())
    for no key update skip locked
  ) free
  where h.attempts > 0 and (h.leased_until is null or h.leased_until < now())
  limit 1
), fresh as (
  select account_id, live_mode, event_id, seq, octet_length(payload) as bytes
  from sync.events
  where state = 'pending' and attempts = 0 and leased_until is null and not exists (select from suspect)
    and ($3::boolean is null or live_mode = $3)
  order by seq
  limit $1
  for no key update skip locked
), bounded as (
  select account_id, live_mode, event_id, sum(bytes) over (order by seq) - bytes as bytes_before
  from fresh
), next as (
  select * from suspect
  union all
  select account_id, live_mode, event_id from bounded where bytes_before < $4
)
update sync.events e
set attempts = attempts + 1, leased_until = now() + $2
from next n
where (e.account_id, e.live_mode, e.event_id) = (n.account_id, n.live_mode, n.event_id)
returning e.account_id, e.live_mode, e.event_id, e.seq, e.type, e.created, e.payload, e.attempts,
  coalesce(e.account_id = (select k.account_id from sync.key k where k.account_id <> ''), false) as of_own
"""


async def claim_events(
    connection: Connection, *, limit: int, lease: timedelta, only_mode: bool | None = None
) -> list[ClaimedEvent]:
    """Lease the oldest pending events (of one mode, if one is given), counting the attempt. Must be committed before
    the work begins.

    Their payloads have CLAIM_BYTES_MAX together, and the last one may exceed it.
    """
    rows = await connection.fetch(CLAIM_EVENTS, limit, lease, only_mode, CLAIM_BYTES_MAX)
    events = [ClaimedEvent(**row) for row in rows]
    events.sort(key=lambda event: event.seq)
    return events


_TAKE_BACK = """
with held as (
  select account_id, live_mode, event_id
  from sync.events e
  join unnest($1::text[], $2::boolean[], $3::text[], $4::integer[]) as k (account_id, live_mode, event_id, attempts)
    using (account_id, live_mode, event_id, attempts)
  where e.state = 'pending'
  order by 1, 2, 3
  for no key update of e
)
update sync.events e
set {changes}
from held h
where (e.account_id, e.live_mode, e.event_id) = (h.account_id, h.live_mode, h.event_id)
"""
RELEASE_EVENTS = _TAKE_BACK.format(changes="attempts = e.attempts - 1, leased_until = null")
EXCUSE_EVENTS = _TAKE_BACK.format(changes="attempts = e.attempts - 1")


async def release_events(connection: Connection, events: Sequence[ClaimedEvent]) -> None:
    """Undo their claims, if they are still pending and no other worker has claimed them since."""
    await connection.execute(
        RELEASE_EVENTS,
        *columns_of_keys(EventKey, [event.key for event in events]),
        [event.attempts for event in events],
    )


async def excuse_events(connection: Connection, events: Sequence[ClaimedEvent]) -> None:
    """Count these attempts as none, if they are still the last ones. The leases run out."""
    await connection.execute(
        EXCUSE_EVENTS,
        *columns_of_keys(EventKey, [event.key for event in events]),
        [event.attempts for event in events],
    )


FINISH_EVENTS = """
with done as (
  select e.account_id, e.live_mode, e.event_id, new.state, new.error
  from sync.events e
  join unnest($1::text[], $2::boolean[], $3::text[], $4::text[], $5::text[])
    as new (account_id, live_mode, event_id, state, error) using (account_id, live_mode, event_id)
  where e.state = 'pending'
  order by 1, 2, 3
  for no key update of e
)
update sync.events e
set state = done.state, error = done.error, applied_at = now(), leased_until = null
from done
where (e.account_id, e.live_mode, e.event_id) = (done.account_id, done.live_mode, done.event_id)
"""


async def finish_events(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Take the events out of the pending state. First in its transaction: events are locked before objects."""
    await connection.execute(
        FINISH_EVENTS,
        *columns_of_keys(EventKey, [outcome.key for outcome in outcomes]),
        [outcome.state for outcome in outcomes],
        [outcome.error for outcome in outcomes],
    )


RELEASE_QUARANTINED = """
with next as (
  select account_id, live_mode, event_id
  from sync.events
  where state = 'quarantined' and live_mode = $1 and starts_with(error, 'the API key serves')
  order by seq
  limit $2
), chosen as (
  select account_id, live_mode, event_id
  from sync.events
  join next using (account_id, live_mode, event_id)
  where state = 'quarantined'
  order by account_id, live_mode, event_id
  for no key update of events
)
update sync.events e
set state = 'pending', attempts = 0, leased_until = null, applied_at = null, error = null
from chosen c
where (e.account_id, e.live_mode, e.event_id) = (c.account_id, c.live_mode, c.event_id)
returning e.seq
"""


async def release_quarantined(connection: Connection, *, live_mode: bool, limit: int) -> int:
    """Put events of the served mode back to pending that were quarantined as of the other one; returns how many."""
    return len(await connection.fetch(RELEASE_QUARANTINED, live_mode, limit))


REACH_MILESTONE = """
insert into sync.milestones (name, reached_at) values ($1, now())
on conflict (name) do update set reached_at = greatest(milestones.reached_at, excluded.reached_at)
"""


async def reach_milestone(connection: Connection, name: str) -> None:
    """Note that the work of that name was just done. Last in its transaction: every worker writes this row."""
    await connection.execute(REACH_MILESTONE, name)
