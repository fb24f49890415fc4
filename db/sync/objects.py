"""The fence: which Stripe objects have changed, and which read of them is stored (ARCHITECTURE.md, the fence).

One sequence, `sync.tick`, orders marks and reads. A mark draws its number when the change is already known; a read
draws its number before its request leaves. So a stored read whose number is greater than that of every mark has seen
every change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

import asyncpg

from billing.kinds.found import ObjectRef
from billing.kinds.parse import Parsed
from billing.kinds.registry import KINDS, LIST_CONFIRMED
from db.connection import Connection
from db.keys import CustomerKey, Key, columns_of_keys

QUIET = timedelta(seconds=1.5)
"""A burst of events about one object is read once: this long after its last event ..."""
QUIET_MAX = timedelta(seconds=5)
"""... but at most this long after its first."""
UNREADABLE_MAX = 5
"""Answers in a row that could not be understood, before an object is parked."""
CONTRADICTED_LONG = timedelta(hours=1)
"""Reads that agree for this long are believed even if they take back what Stripe never takes back."""
LATE_MAX = timedelta(seconds=30)
"""How far behind Stripe's events we take its reads and lists to be: a read that began later is believed."""
TIED_MAX = 9
"""Payloads about one object in one second, beside the newest: older ones are not compared any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One object that events of a batch concern, and the payload, if any, that may be shown for it meanwhile."""

    key: Key
    customer_id: str | None
    ownerless: bool  # of a kind whose rows name no customer: the customers concerned are resolved later
    event_id: str | None
    event_created: datetime | None
    source: str
    payload_created: datetime | None = None  # of the payload to show
    payload_seq: int = 0  # its inbox number; 0: there is none to show
    witness_created: datetime | None = None  # of the newest event that tells what the object is
    witness_seq: int = 0  # the inbox number of that event; 0: it is a thin one, or there is none
    witness_says: Parsed | None = None
    tied: tuple[int, ...] = ()  # inbox numbers of payloads of the same second, which say something else
    terminal: bool = False  # the payload's state is one that Stripe never leaves
    deleted_event_at: datetime | None = None
    asks: bool = True  # a read is to confirm it; False for events of kinds that are confirmed by lists only
    known_since: int | None = None  # the tick at which another event told the same change; None: none did
    thin: bool = False  # the event carries no state: a read is to tell what else it concerns
    tells: int = 0  # how many of these events say that it has changed
    thins: int = 0  # and how many of them are thin
    thin_seqs: tuple[int, ...] = ()  # inbox numbers of thin events of that time, whose twins say what it is


# A guest's charge may get a customer later: whoever had its money until then is concerned, too.
_TOUCHES = """greatest(excluded.touched, case
    when o.kind = 'charge' and excluded.customer_id is not null and o.customer_id is distinct from excluded.customer_id
      and (o.shown_seq > 0 or o.confirmed > 0)
    then 1 else 0
  end)"""

MARK_OBJECTS = f"""
insert into sync.objects as o (
  account_id, live_mode, kind, id, customer_id, event_id, event_created, source, shown_created, shown_seq, terminal,
  deleted_event_at, payload_created, payload_seq, touched, touched_at, dirty, told, first_marked_at, read_at, thin_tick,
  tied, thins, tells, thin_seqs
)
select
  account_id, live_mode, kind, id, customer_id, event_id, event_created, source,
  case when payload_seq > 0 then payload_created end, payload_seq, terminal,
  deleted_event_at, witness_created, witness_seq, ownerless::int, case when ownerless then now() end,
  -- Below every `confirmed`: nothing is asked of Stripe.
  case when asks then tick else -1 end, case when asks then 0 else tick end,
  case when asks then now() end, case when asks then now() + $13 end, case when thin then tick end, tied::bigint[],
  thins, tells, thin_seqs::bigint[]
from (
  select *, coalesce(known_since, nextval('sync.tick')) as tick
  from unnest(
    $1::text[], $2::boolean[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::text[], $8::timestamptz[],
    $9::text[], $10::timestamptz[], $11::bigint[], $12::boolean[], $14::timestamptz[], $16::boolean[], $17::bigint[],
    $18::boolean[], $19::timestamptz[], $20::bigint[], $21::text[], $23::integer[], $24::text[], $25::integer[]
  ) as mark (
    account_id, live_mode, kind, id, customer_id, ownerless, event_id, event_created, source, payload_created,
    payload_seq, terminal, deleted_event_at, asks, known_since, thin, witness_created, witness_seq, tied,
    thins, thin_seqs, tells
  )
) new
order by account_id, live_mode, kind, id
on conflict (account_id, live_mode, kind, id) do update set
  customer_id = coalesce(excluded.customer_id, o.customer_id),
  -- The number is drawn before the row lock is waited for: a late committer must not lower it. One from a sequence that
  -- was set back is below every read, and must announce the change all the same.
  dirty = greatest(o.dirty, excluded.dirty, case
    when excluded.dirty >= 0 and excluded.dirty < (select max(first_tick) from sync.epochs) then o.confirmed
  end),
  told = greatest(o.told, excluded.told),
  (first_marked_at, read_at, attempts, unreadable, parked_at) = (
    select
      -- An appointment further away than any that a burst makes is the lease of a read that has begun, or the wait
      -- after one that failed: this mark is no part of what that read was to see, and begins a burst of its own.
      case
        when not known.it and (o.first_marked_at is null or o.read_at > now() + $15)
        then coalesce(excluded.first_marked_at, o.first_marked_at) else o.first_marked_at
      end,
      case
        when o.tombstone or excluded.read_at is null or known.it then o.read_at
        when o.parked_at is not null or o.first_marked_at is null or o.read_at > now() + $15 then excluded.read_at
        else least(excluded.read_at, o.first_marked_at + $15)
      end,
      -- A parked object has another chance: the reason why Stripe could not answer may be gone.
      case
        when not known.it and (o.first_marked_at is null or (o.parked_at is not null and excluded.read_at is not null))
        then 0 else o.attempts
      end,
      case
        when not known.it and (o.first_marked_at is null or (o.parked_at is not null and excluded.read_at is not null))
        then 0 else o.unreadable
      end,
      case when o.tombstone or excluded.read_at is null or known.it then o.parked_at end
    from (
      -- A later mark, or a read that began later, has told this change already: it asks for nothing.
      select excluded.dirty
        between (select max(first_tick) from sync.epochs) and greatest(o.dirty, o.confirmed - 1) as it
    ) known
  ),
  thin_tick = greatest(o.thin_tick, excluded.thin_tick),
  thins = o.thins + case when excluded.dirty > o.confirmed then excluded.thins else 0 end,
  tells = o.tells + case when excluded.dirty > o.confirmed then excluded.tells else 0 end,
  event_id = case
    when excluded.event_created is null or o.event_created is null or excluded.event_created >= o.event_created
    then coalesce(excluded.event_id, o.event_id) else o.event_id
  end,
  event_created = greatest(o.event_created, excluded.event_created),
  source = excluded.source,
  deleted_event_at = greatest(o.deleted_event_at, excluded.deleted_event_at),
  touched = o.touched + {_TOUCHES},
  touched_at = case when o.touched <= o.resolved and {_TOUCHES} > 0 then now() else o.touched_at end,
  (payload_created, payload_seq, doubts, doubted_at, tied, thin_seqs) = (
    -- The second witness of reads: the newest payload, whether it is shown or not; or a thin event, which has none.
    select
      case when newer.it then excluded.payload_created else o.payload_created end,
      case when newer.it then excluded.payload_seq else o.payload_seq end,
      case when newer.it then 0 else o.doubts end,
      case when not newer.it then o.doubted_at end,
      case
        when excluded.payload_created = o.payload_created
          and excluded.payload_seq > 0 and o.payload_seq > 0 and excluded.payload_seq <> o.payload_seq
        then array(
          select distinct seq
          from unnest(o.tied || excluded.tied || least(o.payload_seq, excluded.payload_seq)) as seq
          order by seq desc
          limit $22
        )
        when newer.it then excluded.tied
        else o.tied
      end,
      case
        when excluded.payload_created = o.payload_created then nullif(array(
          select distinct seq
          from unnest(o.thin_seqs || excluded.thin_seqs) as seq
          order by seq desc
          limit $22
        ), '{{}}')
        when newer.it then excluded.thin_seqs
        else o.thin_seqs
      end
    from (
      select (excluded.payload_seq > 0 or excluded.payload_created is not null)
        and (coalesce(excluded.payload_created, '-infinity'), excluded.payload_seq)
          > (coalesce(o.payload_created, '-infinity'), o.payload_seq) as it
    ) newer
  ),
  (shown_created, shown_seq, terminal) = (
    -- The provisional rule: newer than what is shown, and no state left that Stripe never leaves. Such a state is shown
    -- however late it comes. A tombstone stays one, but may get its last full body from an older event: no read
    -- has it.
    select
      case when show.it then excluded.shown_created else o.shown_created end,
      case when show.it then excluded.shown_seq else o.shown_seq end,
      case when show.it then excluded.terminal else o.terminal end
    from (
      select excluded.shown_seq > 0
        and (not o.tombstone or excluded.shown_created <= coalesce(o.deleted_event_at, 'infinity'))
        -- A read that began after the change was told is newer than any payload about it, whatever clocks say.
        and (
          o.tombstone
          or not greatest(excluded.dirty, excluded.told)
            between (select max(first_tick) from sync.epochs) and o.confirmed - 1
        )
        and case
        when excluded.terminal = o.terminal then
          (coalesce(excluded.shown_created, '-infinity'), excluded.shown_seq)
            > (coalesce(o.shown_created, '-infinity'), o.shown_seq)
        else excluded.terminal
      end as it
    ) show
  )
returning o.account_id, o.live_mode, o.kind, o.id, o.shown_seq, o.customer_id,
  o.shown_seq = 0 and o.confirmed = 0 and not o.tombstone as unseen, o.payload_seq,
  o.confirmed > o.dirty and not o.tombstone as confirmed, o.shown_created
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """What the fence knows of an object once it is marked."""

    shown_seq: (
        int  # the inbox number of the payload to be shown from now on: the payload of this number is written
    )
    customer_id: str | None
    unseen: bool  # no payload of it was ever shown, and no read stored
    payload_seq: int  # the inbox number of the newest payload
    confirmed: bool  # a read that began after its latest mark is stored
    shown_created: datetime | None  # Stripe's time of the payload or read last shown


async def mark_objects(connection: Connection, marks: Sequence[Mark]) -> dict[Key, Marked]:
    """Mark the objects dirty, and decide by the provisional rule which payloads are to be shown."""
    rows = await connection.fetch(
        MARK_OBJECTS,
        *columns_of_keys(Key, [mark.key for mark in marks]),
        [mark.customer_id for mark in marks],
        [mark.ownerless for mark in marks],
        [mark.event_id for mark in marks],
        [mark.event_created for mark in marks],
        [mark.source for mark in marks],
        [mark.payload_created for mark in marks],
        [mark.payload_seq for mark in marks],
        [mark.terminal for mark in marks],
        QUIET,
        [mark.deleted_event_at for mark in marks],
        QUIET_MAX,
        [mark.asks for mark in marks],
        [mark.known_since for mark in marks],
        [mark.thin for mark in marks],
        [mark.witness_created for mark in marks],
        [mark.witness_seq for mark in marks],
        [_array(mark.tied) for mark in marks],
        TIED_MAX,
        [mark.thins for mark in marks],
        [_array(mark.thin_seqs) for mark in marks],
        [mark.tells for mark in marks],
    )
    return {
        Key(row[0], row[1], row[2], row[3]): Marked(
            shown_seq=row[4],
            customer_id=row[5],
            unseen=row[6],
            payload_seq=row[7],
            confirmed=row[8],
            shown_created=row[9],
        )
        for row in rows
    }


def _array(numbers: tuple[int, ...]) -> str | None:
    """As Postgres writes it: a parameter cannot be an array of arrays that differ in length."""
    return f"{{{','.join(map(str, numbers))}}}" if numbers else None


SELECT_KNOWN = """
select account_id, live_mode, kind, id
from sync.objects
join unnest($1::text[], $2::boolean[], $3::text[], $4::text[]) as k (account_id, live_mode, kind, id)
  using (account_id, live_mode, kind, id)
"""


async def select_unknown(
    connection: Connection, references: Mapping[Key, str | None]
) -> dict[Key, str | None]:
    """Those of the objects of which nothing is known yet, each with the customer that it probably belongs to.

    They are marked by the statement that locks everything else of their transaction, in one order: with a statement of
    their own, two transactions that had met each other's new objects would wait for each other.
    """
    if not references:
        return {}
    rows = await connection.fetch(SELECT_KNOWN, *columns_of_keys(Key, list(references)))
    known = {Key(row[0], row[1], row[2], row[3]) for row in rows}
    return {key: customer for key, customer in references.items() if key not in known}


TOUCH_OBJECTS = """
with touched as (
  select account_id, live_mode, kind, id
  from sync.objects
  join unnest($1::text[], $2::boolean[], $3::text[], $4::text[]) as k (account_id, live_mode, kind, id)
    using (account_id, live_mode, kind, id)
  order by 1, 2, 3, 4
  for no key update of objects
)
update sync.objects o
set touched = o.touched + 1, touched_at = case when o.touched > o.resolved then o.touched_at else now() end
from touched t
where (o.account_id, o.live_mode, o.kind, o.id) = (t.account_id, t.live_mode, t.kind, t.id)
"""


async def touch_objects(connection: Connection, keys: Sequence[Key]) -> None:
    """Note that rows which name no customer have changed. The caller holds their locks already."""
    await connection.execute(TOUCH_OBJECTS, *columns_of_keys(Key, keys))


DRAW_TICK = "select nextval('sync.tick')"


async def draw_tick(connection: Connection) -> int:
    """The tick of a read that is about to begin: drawn, and so older than any later mark, before its request."""
    tick: int = await connection.fetchval(DRAW_TICK)
    return tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the fence needs to know about one answer from Stripe."""

    key: Key
    tick: int
    read_at: datetime  # by Stripe's clock: when the request left
    customer_id: str | None
    ownerless: bool
    terminal: bool
    deleted: bool
    next_read: timedelta | None = None  # until its next deadline should have taken effect
    late_reads: int = 0


CONFIRM_OBJECTS = f"""
insert into sync.objects as o (
  account_id, live_mode, kind, id, confirmed, shown_created, customer_id, touched, touched_at, terminal, tombstone,
  source, read_at, late_reads, dirty, first_marked_at
)
select
  account_id, live_mode, kind, id, tick, case when not deleted then read_at end, customer_id, ownerless::int,
  case when ownerless then now() end, terminal, deleted, $10, now() + next_read, late_reads,
  -- An object that the answers only name has no tick. If it is known after all, `confirmed` keeps it as it is.
  case when tick = 0 then nextval('sync.tick') else 0 end, case when tick = 0 then now() end
from unnest(
  $1::text[], $2::boolean[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[], $7::text[], $8::boolean[],
  $9::boolean[], $11::boolean[], $12::interval[], $13::integer[]
) as new (
  account_id, live_mode, kind, id, tick, read_at, customer_id, ownerless, terminal, deleted, next_read, late_reads
)
order by account_id, live_mode, kind, id
on conflict (account_id, live_mode, kind, id) do update set
  confirmed = excluded.confirmed,
  tombstone = excluded.tombstone,
  terminal = excluded.terminal,
  customer_id = coalesce(excluded.customer_id, o.customer_id),
  -- A payload is shown over a read only when Stripe made it after the read began; over a deletion, which has no body,
  -- when it is newer than the last body.
  shown_created = coalesce(excluded.shown_created, o.shown_created),
  touched = o.touched + {_TOUCHES},
  touched_at = case when o.touched <= o.resolved and {_TOUCHES} > 0 then now() else o.touched_at end,
  attempts = 0, unreadable = 0, error = null, missing_since = null, parked_at = null,
  contradictions = 0, contradicted_at = null, doubts = 0, doubted_at = null,
  late_reads = excluded.late_reads,
  -- Told once: `returning` shows no former value.
  thin_tick = case
    when o.thin_tick > excluded.confirmed then o.thin_tick
    when o.thin_tick > 0 then -o.thin_tick
  end,
  thins = case when excluded.confirmed > o.dirty then 0 else o.thins end,
  tells = case when excluded.confirmed > o.dirty then 0 else o.tells end,
  -- A mark that came after the tick keeps its own appointment, but not the lease of a claim that found this read under
  -- way. An object that only lists confirm gets one where an event came after the tick: the next list may be far away.
  dirty = case when excluded.confirmed > o.told then o.dirty else greatest(o.dirty, o.told) end,
  first_marked_at = case
    when excluded.tombstone or excluded.confirmed > greatest(o.dirty, o.told) then null else o.first_marked_at
  end,
  read_at = case
    when excluded.tombstone then null
    when excluded.confirmed > greatest(o.dirty, o.told) then excluded.read_at
    else least(coalesce(o.read_at, now()), now() + interval '5 seconds')
  end
where o.confirmed < excluded.confirmed and not o.tombstone
returning o.account_id, o.live_mode, o.kind, o.id, o.deleted_event_at, o.customer_id, o.confirmed = 0 as named,
  case when o.thin_tick < 0 then -o.thin_tick end as thin_tick, o.payload_created, o.payload_seq, o.tied, o.thin_seqs
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """What the fence knew already of an object whose reading it let through."""

    deleted_event_at: datetime | None
    customer_id: str | None
    thin_tick: int | None = None  # of the thin event that this reading is the first to tell more of
    payload_created: datetime | None = None  # of the newest event that tells what it is
    told: tuple[object, ...] = ()  # as `told_of` says; its row is locked now


def told_of(row: asyncpg.Record) -> tuple[object, ...]:
    """What events have told of the object of this row, whatever reads have said of it."""
    return (
        row["payload_created"],
        row["payload_seq"],
        row["deleted_event_at"],
        tuple(row["tied"] or ()),
        tuple(row["thin_seqs"] or ()),
    )


async def confirm_objects(
    connection: Connection,
    readings: Sequence[Reading],
    *,
    source: str,
    named: Mapping[Key, str | None] = MappingProxyType({}),
) -> tuple[dict[Key, Confirmed], set[Key]]:
    """Pass the readings through the fence; the answers of the keys returned are to be stored. A reading that a later
    one has overtaken, or whose object is a tombstone, is not among them.

    Marks, in the same order of locks, the objects that the answers only name and that were unknown, each with the
    customer that it probably belongs to; returns those that no other transaction had marked meanwhile.
    """
    more = len(named)
    rows = await connection.fetch(
        CONFIRM_OBJECTS,
        *columns_of_keys(Key, [*(reading.key for reading in readings), *named]),
        [*(reading.tick for reading in readings), *[0] * more],
        [*(reading.read_at for reading in readings), *[None] * more],
        [*(reading.customer_id for reading in readings), *named.values()],
        [*(reading.ownerless for reading in readings), *[False] * more],
        [*(reading.terminal for reading in readings), *[False] * more],
        source,
        [*(reading.deleted for reading in readings), *[False] * more],
        [*(reading.next_read for reading in readings), *[QUIET] * more],
        [*(reading.late_reads for reading in readings), *[0] * more],
    )
    keys = [Key(row[0], row[1], row[2], row[3]) for row in rows]
    passed = {
        key: Confirmed(
            deleted_event_at=row[4],
            customer_id=row[5],
            thin_tick=row["thin_tick"],
            payload_created=row["payload_created"],
            told=told_of(row),
        )
        for key, row in zip(keys, rows, strict=True)
        if not row["named"]
    }
    return passed, {key for key, row in zip(keys, rows, strict=True) if row["named"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadTwin:
    """A snapshot event that a thin one has named, and that the inbox does not have."""

    event_id: str
    type: str
    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRead:
    """A read that gave no state, and when to try again."""

    key: Key
    tick: int  # of the read: it says nothing about what became known since
    error: str
    retry_after: timedelta
    missing: bool = False
    parked: bool = False
    contradicts: bool = False
    doubted: bool = False  # it differs from the newest payload, and may be late
    doubted_as: str | None = None  # a digest of what it said, if a second read is to say the same
    twins: tuple[UnreadTwin, ...] = ()  # what would say whether it is late
    customer_id: str | None = None  # the customer that it named, if nothing else has
    unreadable: bool = False  # an answer came and could not be understood
    refused: bool = False  # Stripe objects to the key, not to the object
    forbidden: bool = False  # the key lacks a right
    closed: bool = False  # the account has taken its access back
    absent: bool = False  # Stripe answered 404
    odd: bool = False  # Stripe objects to this very request
    owner: ObjectRef | None = None  # of what was not understood and names no customer: what leads to one

    @property
    def answered(self) -> bool:
        """Whether Stripe answered, and is only not believed yet."""
        return self.contradicts or self.doubted


POSTPONE_READS = """
with failed as (
  select
    account_id, live_mode, kind, id, new.error, new.retry_after, new.contradicts, new.unreadable, new.doubted, new.tick,
    -- An object that was marked since has its own appointment, and may exist, or be readable, by now.
    objects.dirty > new.tick as marked_since,
    objects.dirty <= new.tick and new.missing as missing, new.doubted_as, new.customer_id,
    objects.dirty <= new.tick and (new.parked or (new.unreadable and objects.unreadable + 1 >= $11)) as parked,
    -- Whose customers may be exact until now: nothing that is stored leads to them, or they were settled.
    new.ownerless and new.doubted and (not objects.unsettled or objects.confirmed = 0) as unsettles,
    new.ownerless
  from sync.objects
  join unnest(
    $1::text[], $2::boolean[], $3::text[], $4::text[], $5::text[], $6::interval[], $7::boolean[], $8::boolean[],
    $9::boolean[], $10::boolean[], $12::bigint[], $13::boolean[], $14::boolean[], $15::text[], $16::text[]
  ) as new (
    account_id, live_mode, kind, id, error, retry_after, missing, parked, contradicts, unreadable, tick, ownerless,
    doubted, doubted_as, customer_id
  ) using (account_id, live_mode, kind, id)
  cross join sync.current_incarnation current
  -- A later read has already said what it is, and a tombstone is never read again. A read that began in another
  -- incarnation says nothing: it is made again when its lease ends.
  where objects.confirmed < new.tick and not objects.tombstone
    and new.tick between current.first_tick and current.last_tick
  order by 1, 2, 3, 4
  for no key update of objects
)
update sync.objects o
set error = f.error,
  read_at = case
    when f.parked then null
    when f.marked_since then least(o.read_at, now() + f.retry_after)
    else now() + f.retry_after
  end,
  missing_since = case when f.missing then coalesce(o.missing_since, now()) else o.missing_since end,
  parked_at = case when f.parked then now() end,
  unreadable = o.unreadable + f.unreadable::int,
  -- Only a read that begins after the doubted one confirms it.
  dirty = case when f.doubted then greatest(o.dirty, f.tick) else o.dirty end,
  first_marked_at = case when f.doubted then coalesce(o.first_marked_at, now()) else o.first_marked_at end,
  doubts = o.doubts + f.doubted::int,
  doubted_at = case when f.doubted then coalesce(o.doubted_at, now()) else o.doubted_at end,
  doubted_as = coalesce(f.doubted_as, o.doubted_as),
  customer_id = coalesce(o.customer_id, f.customer_id),
  contradictions = o.contradictions + f.contradicts::int,
  contradicted_at = case when f.contradicts then coalesce(o.contradicted_at, now()) else o.contradicted_at end,
  touched = o.touched + f.touches::int,
  touched_at = case when f.touches and o.touched <= o.resolved then now() else o.touched_at end
from (select *, (ownerless and (missing or parked or unreadable)) or unsettles as touches from failed) f
where (o.account_id, o.live_mode, o.kind, o.id) = (f.account_id, f.live_mode, f.kind, f.id)
returning o.account_id, o.live_mode, o.customer_id, o.kind
"""


async def postpone_reads(connection: Connection, failures: Sequence[FailedRead]) -> list[CustomerKey]:
    """Keep the objects dirty and say when to read them again; returns the customers whose records this concerns.

    An object that was confirmed after the read began stays as it is, and one that was marked after it is not given up.
    After UNREADABLE_MAX answers that could not be understood, an object is parked; reads without an answer never count.
    """
    rows = await connection.fetch(
        POSTPONE_READS,
        *columns_of_keys(Key, [failure.key for failure in failures]),
        [failure.error for failure in failures],
        [failure.retry_after for failure in failures],
        [failure.missing for failure in failures],
        [failure.parked for failure in failures],
        [failure.contradicts for failure in failures],
        [failure.unreadable for failure in failures],
        UNREADABLE_MAX,
        [failure.tick for failure in failures],
        [KINDS[failure.key.kind].ownerless for failure in failures],
        [failure.doubted for failure in failures],
        [failure.doubted_as for failure in failures],
        [failure.customer_id for failure in failures],
    )
    return [
        CustomerKey(row[0], row[1], row[2])
        for row in rows
        if row[2] is not None and row[3] not in LIST_CONFIRMED
    ]
