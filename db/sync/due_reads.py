"""Due reads: which objects are to be read from Stripe now, leased to one worker at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from db.connection import Connection
from db.keys import Key, columns_of_keys
from db.sync.objects import CONTRADICTED_LONG, LATE_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRead:
    """An object to read from Stripe now; `tick` was drawn before the request."""

    key: Key
    tick: int
    attempts: int
    never_read: bool
    deleted_event_at: datetime | None
    late_reads: int = 0
    contradictions: int = 0
    contradicted_long: bool = False
    audited: bool = False  # an audit has read it, and found that its row is wrong
    doubted_long: bool = False  # they have differed from the newest payload for as long as Stripe may be late
    leased_until: datetime | None = None
    doubted: bool = False  # a read before it was not believed
    missing: bool = False  # Stripe has answered 404

    @property
    def by_id_only(self) -> bool:
        """Whether only a read of this very object says more: lists lag, and leave out what is gone."""
        odd = self.doubted or self.missing or self.audited or self.deleted_event_at is not None
        return odd or self.attempts > ATTEMPTS_BY_LIST


ATTEMPTS_BY_LIST = 3
"""Reads of an object that failed or were lost, before it is asked for by its id."""

CLAIM_READS = """
with due as (
  select account_id, live_mode, kind, id
  from sync.objects
  where read_at <= now() and kind = any ($1::text[]) and live_mode = $2
  order by read_at
  limit $3
  for no key update skip locked
)
update sync.objects o
set read_at = now() + $4, attempts = o.attempts + 1,
  -- Nothing has marked it: time itself has.
  source = case when o.dirty < o.confirmed and o.missing_since is null then 'deadline' else o.source end
from due d
where (o.account_id, o.live_mode, o.kind, o.id) = (d.account_id, d.live_mode, d.kind, d.id)
returning
  o.account_id, o.live_mode, o.kind, o.id, o.attempts, o.confirmed = 0 as never_read, o.deleted_event_at,
  o.late_reads, o.contradictions, o.contradicted_at < now() - $5::interval as contradicted_long,
  o.source is not distinct from 'audit' as audited, o.doubted_at < now() - $6::interval as doubted_long,
  o.read_at as leased_until, o.doubts + o.contradictions > 0 as doubted, o.missing_since is not null as missing,
  nextval('sync.tick') as tick
"""


async def claim_reads(
    connection: Connection, *, kinds: Sequence[str], live_mode: bool, limit: int, lease: timedelta
) -> list[DueRead]:
    """Lease the objects whose read is due, drawing each one's tick. Must be committed before any request leaves."""
    rows = await connection.fetch(CLAIM_READS, kinds, live_mode, limit, lease, CONTRADICTED_LONG, LATE_MAX)
    return [
        DueRead(
            key=Key(row["account_id"], row["live_mode"], row["kind"], row["id"]),
            tick=row["tick"],
            attempts=row["attempts"],
            never_read=row["never_read"],
            deleted_event_at=row["deleted_event_at"],
            late_reads=row["late_reads"],
            contradictions=row["contradictions"],
            contradicted_long=bool(row["contradicted_long"]),
            audited=row["audited"],
            doubted_long=bool(row["doubted_long"]),
            leased_until=row["leased_until"],
            doubted=row["doubted"],
            missing=row["missing"],
        )
        for row in rows
    ]


# `read_at` is the lease, or an appointment that was made since.
RELEASE_READS = """
with held as (
  select account_id, live_mode, kind, id
  from sync.objects o
  join unnest($1::text[], $2::boolean[], $3::text[], $4::text[], $5::integer[], $6::timestamptz[])
    as k (account_id, live_mode, kind, id, attempts, read_at)
    using (account_id, live_mode, kind, id, attempts, read_at)
  order by 1, 2, 3, 4
  for no key update of o
)
update sync.objects o
set attempts = o.attempts - 1, read_at = now()
from held h
where (o.account_id, o.live_mode, o.kind, o.id) = (h.account_id, h.live_mode, h.kind, h.id)
"""


async def release_reads(connection: Connection, reads: Sequence[DueRead]) -> None:
    """Undo their claims, if no answer was stored and no other appointment was made since."""
    await connection.execute(
        RELEASE_READS,
        *columns_of_keys(Key, [read.key for read in reads]),
        [read.attempts for read in reads],
        [read.leased_until for read in reads],
    )


DEFER_READS = """
with held as (
  select account_id, live_mode, kind, id, k.until
  from sync.objects o
  join unnest($1::text[], $2::boolean[], $3::text[], $4::text[], $5::integer[], $6::timestamptz[], $7::timestamptz[])
    as k (account_id, live_mode, kind, id, attempts, read_at, until)
    using (account_id, live_mode, kind, id, attempts, read_at)
  order by 1, 2, 3, 4
  for no key update of o
)
update sync.objects o
set attempts = o.attempts - 1, read_at = h.until
from held h
where (o.account_id, o.live_mode, o.kind, o.id) = (h.account_id, h.live_mode, h.kind, h.id)
"""


async def defer_reads(connection: Connection, until: Sequence[tuple[DueRead, datetime]]) -> None:
    """Undo these claims, and have the objects read at these moments, if no other appointment was made since."""
    reads = [read for read, _ in until]
    await connection.execute(
        DEFER_READS,
        *columns_of_keys(Key, [read.key for read in reads]),
        [read.attempts for read in reads],
        [read.leased_until for read in reads],
        [moment for _, moment in until],
    )


SECONDS_TO_NEXT_READ = """
select extract(epoch from min(read_at) - now())::float8 from sync.objects where read_at is not null and live_mode = $1
"""


async def seconds_to_next_read(connection: Connection, *, live_mode: bool) -> float | None:
    """How long until the next read falls due, 0 or less when one is; None when none is appointed."""
    seconds: float | None = await connection.fetchval(SECONDS_TO_NEXT_READ, live_mode)
    return seconds
