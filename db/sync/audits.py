"""Audits: the differences found between Stripe, the mirror and the records, their repair, and the schedule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from billing.kinds.found import ObjectRef
from db.connection import Connection
from db.keys import CustomerKey, Key, Scope
from db.sync.objects import LATE_MAX
from db.sync.scans import Scan

RECORD = "record"
"""The kind, in sync.drift, of derived records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Something that does not agree with Stripe."""

    kind: str
    id: str
    what: str
    fields: tuple[str, ...] = ()
    currency: str | None = None
    amount: int = 0
    said: str | None = None


class Unread(NamedTuple):
    """A suspect that could not be verified, and why."""

    kind: str
    id: str
    error: str


class Suspect(NamedTuple):
    """An object or record that is to be verified, why, and the tick of the read that found it to differ, if one has."""

    kind: str
    id: str
    what: str
    read_tick: int | None

    @property
    def ref(self) -> ObjectRef:
        """Its kind and id."""
        return ObjectRef(self.kind, self.id)


class ReadAt(NamedTuple):
    """An object, and the tick of a read of it, which was answered then by Stripe's clock."""

    kind: str
    id: str
    tick: int
    answered_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mending:
    """A wrong row, and Stripe's answer about it (None: unknown to Stripe) to a read at `tick`."""

    kind: str
    id: str
    said: str | None
    tick: int


# Everything here is only a list's word; reads by id decide. An object that was read after the list is as that read
# says. One that is marked is a suspect too, since its own read may fail for ever: it cannot be judged before that read,
# and is no drift if that read puts it right.
SUSPECT = """
insert into sync.drift (scan_id, kind, id, what)
select $1::bigint, s.kind, s.id, s.what
from unnest($4::text[], $5::text[], $6::text[]) as s (kind, id, what)
left join sync.objects o on o.account_id = $2 and o.live_mode = $3 and o.kind = s.kind and o.id = s.id
where (o.id is null or o.confirmed < $7)
  -- Nothing is requested any more about a forgotten customer.
  and not exists (
    select from sync.forgotten f
    where f.account_id = $2 and f.live_mode = $3 and f.customer_id = o.customer_id
  )
order by 1, 2, 3
on conflict do nothing
"""


async def suspect(connection: Connection, scan: Scan, suspects: Mapping[Key, str], *, tick: int) -> None:
    """Note where a list of this tick differs (key -> what), except objects that have been read since."""
    if suspects:
        await connection.execute(
            SUSPECT,
            scan.id,
            scan.account_id,
            scan.live_mode,
            [key.kind for key in suspects],
            [key.id for key in suspects],
            list(suspects.values()),
            tick,
        )


SELECT_SUSPECTS = """
select kind, id, what, read_tick
from sync.drift
where scan_id = $1 and not verified and error is null and (kind = $2) = $3 and (kind, id) > ($4, $5)
order by kind, id
limit $6
"""


async def select_suspects(
    connection: Connection, scan: Scan, *, records: bool, after: ObjectRef, limit: int
) -> list[Suspect]:
    """The suspects after this one that wait to be verified: records, or mirrored objects."""
    rows = await connection.fetch(SELECT_SUSPECTS, scan.id, RECORD, records, *after, limit)
    return [Suspect(*row) for row in rows]


SELECT_UNSETTLED = """
select kind, id
from sync.objects
where account_id = $1 and live_mode = $2 and unsettled and (dirty <= $3 or error is not null)
"""


async def select_unsettled(connection: Connection, scan: Scan) -> list[ObjectRef]:
    """The objects that were marked before the audit began and have not been read since, or whose reads fail: parked and
    missing ones too. Not all of them are in a list.
    """
    rows = await connection.fetch(SELECT_UNSETTLED, *scan.scope, scan.begun_tick or 0)
    return [ObjectRef(*row) for row in rows]


DISMISS_SETTLED = """
delete from sync.drift d
using sync.objects o
where d.scan_id = $1 and d.what = 'unsettled' and not d.verified and d.error is null
  and o.account_id = $2 and o.live_mode = $3 and o.kind = d.kind and o.id = d.id
  and o.confirmed > $4 and not o.unsettled
"""


async def dismiss_settled(connection: Connection, scan: Scan) -> None:
    """Dismiss those that were suspected only because their own read had not come, and that have been read since."""
    await connection.execute(DISMISS_SETTLED, scan.id, *scan.scope, scan.begun_tick or 0)


COUNT_SUSPECTS = """
select count(*) from sync.drift where scan_id = $1 and not verified and error is null and (kind = $2) = $3
"""


async def count_suspects(connection: Connection, scan: Scan, *, records: bool) -> int:
    """How many records, or mirrored objects, wait to be verified."""
    count: int = await connection.fetchval(COUNT_SUSPECTS, scan.id, RECORD, records)
    return count


NOTE_UNREAD = """
insert into sync.drift (scan_id, kind, id, what, error)
select $1::bigint, kind, id, 'unread', error
from unnest($2::text[], $3::text[], $4::text[]) as new (kind, id, error)
order by kind, id
on conflict (scan_id, kind, id) do update set error = excluded.error
"""


async def note_unread(connection: Connection, scan: Scan, unread: Sequence[Unread]) -> None:
    """Give up verifying these: only why is noted. Of a backfill: what it could not read."""
    if unread:
        await connection.execute(
            NOTE_UNREAD,
            scan.id,
            [each.kind for each in unread],
            [each.id for each in unread],
            [each.error for each in unread],
        )


SELECT_UNREAD = """
select kind, id, error, count(*) over () as count
from sync.drift
where scan_id = $1 and not verified and error is not null
order by kind, id
limit $2
"""


async def select_unread(connection: Connection, scan: Scan, *, limit: int) -> tuple[int, list[Unread]]:
    """How many could not be verified, and the first of them."""
    rows = await connection.fetch(SELECT_UNREAD, scan.id, limit)
    return (rows[0]["count"] if rows else 0), [Unread(row["kind"], row["id"], row["error"]) for row in rows]


SELECT_UNDECIDED = """
select d.kind, d.id, coalesce(d.error, 'was changing until the end') as error
from sync.drift d
join sync.scans s on s.id = d.scan_id and s.finished_at is not null
where d.scan_id = $1 and not d.verified
order by d.error is null, d.kind, d.id
limit $2
"""


async def select_undecided(connection: Connection, scan: Scan, *, limit: int) -> list[Unread]:
    """What an audit that has ended could not decide, and why."""
    return [Unread(*row) for row in await connection.fetch(SELECT_UNDECIDED, scan.id, limit)]


_STILL_UNREAD = """
from sync.drift d
join sync.objects o
  on o.account_id = $2 and o.live_mode = $3 and o.kind = d.kind and o.id = d.id and o.unsettled
where d.scan_id = $1
"""

COUNT_PENDING_READS = f"""
select count(*)
{_STILL_UNREAD}
  and o.error is null and o.parked_at is null and o.missing_since is null and o.first_marked_at > now() - $4::interval
"""


async def count_pending_reads(connection: Connection, scan: Scan, *, within: timedelta) -> int:
    """How many of the objects that a backfill could not read are about to be read by their ids: marked so short a time
    ago, and not tried yet.
    """
    count: int = await connection.fetchval(COUNT_PENDING_READS, scan.id, *scan.scope, within)
    return count


SELECT_STILL_UNREAD = f"""
select d.kind, d.id, coalesce(o.error, d.error) as error, count(*) over () as count
{_STILL_UNREAD}
order by d.kind, d.id
limit $4
"""


async def select_still_unread(connection: Connection, scan: Scan, *, limit: int) -> tuple[int, list[Unread]]:
    """How many objects a backfill could not read, and no read since either; and the first of them."""
    rows = await connection.fetch(SELECT_STILL_UNREAD, scan.id, *scan.scope, limit)
    return (rows[0]["count"] if rows else 0), [Unread(row["kind"], row["id"], row["error"]) for row in rows]


EVENTS_WAIT = """
select exists (
  select from sync.events
  where state = 'pending' and account_id = $1 and live_mode = $2 and received_at < now() - interval '1 second'
)
"""


async def events_wait(connection: Connection, scope: Scope) -> bool:
    """Whether events wait to be applied, so that the mirror may be behind what has been received."""
    waiting: bool = await connection.fetchval(EVENTS_WAIT, *scope)
    return waiting


# By their own rules, Stripe's lists leave out prices that were created inside other objects, and customers and
# subscriptions on test clocks: these are read by id like any other suspect, but their absence is no sign of damage.
# Neither is a cut list inside an object, an object that is not understood, or one that is still to be read.
COUNT_UNEXPLAINED = """
select count(*)
from sync.drift d
where d.scan_id = $1 and not d.verified and d.error is null and d.kind <> $2
  and d.what not in ('cut', 'unread', 'unsettled') and not (
  d.what = 'surplus' and (
    d.kind = 'price'
    or d.kind = 'customer' and exists (
      select from stripe.customers t
      where t.account_id = $3 and t.live_mode = $4 and t.id = d.id and t.test_clock is not null
    )
    or d.kind = 'subscription' and exists (
      select from stripe.subscriptions t
      where t.account_id = $3 and t.live_mode = $4 and t.id = d.id and t.test_clock is not null
    )
  )
)
"""


async def count_unexplained(connection: Connection, scan: Scan) -> int:
    """How many suspects there are without those that Stripe's lists leave out by their own rules."""
    count: int = await connection.fetchval(
        COUNT_UNEXPLAINED, scan.id, RECORD, scan.account_id, scan.live_mode
    )
    return count


DISMISS = """
delete from sync.drift
where scan_id = $1 and (kind, id) in (select * from unnest($2::text[], $3::text[]))
"""


async def dismiss(connection: Connection, scan: Scan, agreed: Sequence[ObjectRef]) -> None:
    """These agree after all."""
    await connection.execute(DISMISS, scan.id, *_columns_of(agreed))


NOTE_DRIFT = """
insert into sync.drift (scan_id, kind, id, what, fields, currency, amount, said, verified, read_tick)
select $1::bigint, kind, id, what, array(select jsonb_array_elements_text(fields::jsonb)), currency, amount,
  said::json, $9, read_tick
from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $10::bigint[])
  as new (kind, id, what, fields, currency, amount, said, read_tick)
order by kind, id
on conflict (scan_id, kind, id) do update set
  what = excluded.what, fields = excluded.fields, currency = excluded.currency, amount = excluded.amount,
  said = excluded.said, verified = excluded.verified, read_tick = excluded.read_tick
"""


async def note_drift(
    connection: Connection,
    scan: Scan,
    drift: Sequence[Drift],
    *,
    verified: bool,
    ticks: Sequence[int] | None = None,
) -> None:
    """Note drift; `verified` by reads by id, each begun at its tick, or by a second derivation."""
    await connection.execute(
        NOTE_DRIFT,
        scan.id,
        [each.kind for each in drift],
        [each.id for each in drift],
        [each.what for each in drift],
        [msgspec.json.encode(each.fields).decode() for each in drift],
        [each.currency for each in drift],
        [each.amount for each in drift],
        [each.said for each in drift],
        verified,
        [None] * len(drift) if ticks is None else ticks,
    )


SELECT_DRIFT = """
select kind, id, what, fields, currency, amount, said::text
from sync.drift
where scan_id = $1 and verified
order by kind, id
limit $2
"""


async def select_drift(connection: Connection, scan: Scan, *, limit: int) -> list[Drift]:
    """The verified drift."""
    rows = await connection.fetch(SELECT_DRIFT, scan.id, limit)
    return [Drift(**{**row, "fields": tuple(row["fields"])}) for row in rows]


SELECT_MENDING = """
select kind, id, said::text, coalesce(read_tick, 9223372036854775807) as tick
from sync.drift
where scan_id = $1 and verified and kind <> $2
order by kind, id
limit $3
"""


async def select_mending(connection: Connection, scan: Scan, *, limit: int) -> list[Mending]:
    """Stripe's answers about the mirrored objects that differ."""
    return [Mending(**row) for row in await connection.fetch(SELECT_MENDING, scan.id, RECORD, limit)]


SELECT_MOTION = """
select kind, id,
  greatest(confirmed, told, dirty) >= tick
    or (dirty >= confirmed and missing_since is null and parked_at is null) as moving
from sync.objects
join unnest($3::text[], $4::text[], $5::bigint[]) as k (kind, id, tick) using (kind, id)
where account_id = $1 and live_mode = $2
"""


async def select_motion(
    connection: Connection, scope: Scope, reads: Sequence[ReadAt]
) -> dict[ObjectRef, bool]:
    """Whether others have marked or read these objects since our read; an object is absent if it is unknown."""
    rows = await connection.fetch(
        SELECT_MOTION,
        *scope,
        [each.kind for each in reads],
        [each.id for each in reads],
        [each.tick for each in reads],
    )
    return {ObjectRef(row["kind"], row["id"]): row["moving"] for row in rows}


SELECT_LATE = """
select kind, id
from sync.objects
join unnest($3::text[], $4::text[], $5::timestamptz[]) as k (kind, id, answered_at) using (kind, id)
where account_id = $1 and live_mode = $2
  and greatest(payload_created, deleted_event_at) > coalesce(answered_at, now()) - $6::interval
"""


async def select_late(connection: Connection, scope: Scope, reads: Sequence[ReadAt]) -> list[ObjectRef]:
    """Which of these reads may be late for an event, so that a difference proves nothing."""
    rows = await connection.fetch(
        SELECT_LATE,
        *scope,
        [each.kind for each in reads],
        [each.id for each in reads],
        [each.answered_at for each in reads],
        LATE_MAX,
    )
    return [ObjectRef(*row) for row in rows]


SELECT_DELETED = """
select kind, id
from sync.objects
join unnest($3::text[], $4::text[]) as k (kind, id) using (kind, id)
where account_id = $1 and live_mode = $2 and (tombstone or deleted_event_at is not null)
"""


async def select_deleted(
    connection: Connection, scope: Scope, objects: Sequence[ObjectRef]
) -> set[ObjectRef]:
    """Those of these objects whose deletion is known: by a read, or announced by an event."""
    rows = await connection.fetch(SELECT_DELETED, *scope, *_columns_of(objects))
    return {ObjectRef(*row) for row in rows}


SELECT_WAITING = """
select kind, id
from sync.objects
join unnest($3::text[], $4::text[]) as k (kind, id) using (kind, id)
where account_id = $1 and live_mode = $2 and dirty >= confirmed and not tombstone and missing_since is null
  and parked_at is null
"""


async def select_waiting(
    connection: Connection, scope: Scope, objects: Sequence[ObjectRef]
) -> list[ObjectRef]:
    """Which of these are marked and have not been read since."""
    rows = await connection.fetch(SELECT_WAITING, *scope, *_columns_of(objects))
    return [ObjectRef(*row) for row in rows]


RAISE_TOMBSTONES = """
update sync.objects o
set tombstone = false
from unnest($3::text[], $4::text[]) as k (kind, id)
where o.account_id = $1 and o.live_mode = $2 and o.kind = k.kind and o.id = k.id and o.tombstone
"""


async def raise_tombstones(connection: Connection, scope: Scope, refs: Sequence[ObjectRef]) -> None:
    """Let a read write objects again that were deleted and have lost their rows, or are wrongly taken for deleted."""
    await connection.execute(RAISE_TOMBSTONES, *scope, *_columns_of(refs))


MARK_REPAIRED = (
    "update sync.drift set repaired = true where scan_id = $1 and kind = $2 and id = any ($3::text[])"
)


async def mark_repaired(connection: Connection, scan: Scan, kind: str, ids: Sequence[str]) -> None:
    """Note that these are marked: confirm and derive mend them."""
    await connection.execute(MARK_REPAIRED, scan.id, kind, ids)


HAS_DRIFT = "select exists (select from sync.drift where scan_id = $1)"


async def has_drift(connection: Connection, scan: Scan) -> bool:
    """Whether anything that the audit suspected is still suspected, or was found to be wrong."""
    drift: bool = await connection.fetchval(HAS_DRIFT, scan.id)
    return drift


# Stripe's answers were kept to compare with; they hold personal data, which belongs only in the mirror.
DROP_SAID = "update sync.drift set said = null where scan_id = $1 and said is not null"

FORGET_OLD_AUDITS = """
delete from sync.scans
where purpose = 'audit' and account_id = $2 and live_mode = $3 and finished_at is not null and id not in (
  select id from sync.scans
  where purpose = 'audit' and account_id = $2 and live_mode = $3
  order by id desc
  limit $1
)
"""


async def close_audit(connection: Connection, scan: Scan, *, keep: int) -> None:
    """Drop Stripe's answers from this audit, and all but the latest `keep` audits of its account."""
    await connection.execute(DROP_SAID, scan.id)
    await connection.execute(FORGET_OLD_AUDITS, keep, *scan.scope)


# Of the table and not an advisory lock, which any role could take. It conflicts with itself, and with no writer.
LOCK_SCHEDULE = "lock table sync.scans in share update exclusive mode"

SELECT_AUDITS_DUE = """
with night as (
  select (
    date_trunc('day', now() at time zone 'UTC' - make_interval(hours => $2)) + make_interval(hours => $2)
  ) at time zone 'UTC' as began
)
select distinct account_id
from sync.scans filled, night
where purpose = 'backfill' and whole and status = 'complete' and live_mode = $1 and finished_at < night.began
  and not exists (
    select from sync.scans audited
    where audited.purpose = 'audit' and audited.whole and audited.repair and audited.live_mode = $1
      and audited.account_id = filled.account_id and audited.requested_at >= night.began
  )
order by account_id
"""


async def select_audits_due(connection: Connection, *, live_mode: bool, hour: int) -> list[str]:
    """The accounts whose nightly audit is to be requested now ('' is the key's own). In the transaction that requests
    them, so that only one does.

    Once after each time that the clock shows `hour`, UTC, however late. An audit that compares less or repairs nothing
    does not count. Only accounts of which a whole backfill has ended before that hour: otherwise everything in the
    lists would be drift.
    """
    await connection.execute(LOCK_SCHEDULE)
    return [row[0] for row in await connection.fetch(SELECT_AUDITS_DUE, live_mode, hour)]


def _columns_of(refs: Sequence[ObjectRef]) -> tuple[list[str], list[str]]:
    return [ref.kind for ref in refs], [ref.id for ref in refs]


def keys_of(scope: Scope, ids: Sequence[str]) -> list[CustomerKey]:
    """The keys of these customers of one account and mode."""
    return [CustomerKey(*scope, customer_id) for customer_id in ids]
