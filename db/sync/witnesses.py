"""The second witnesses of reads: what the newest events say of objects while reads may still be late for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from billing.kinds.registry import KINDS
from billing.kinds.thin import snapshot_type
from db.connection import Connection
from db.keys import Key, columns_of_keys
from db.sync.objects import LATE_MAX, UnreadTwin, told_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """The newest event that says what an object is, while reads may still be late for it."""

    key: Key
    deleted: bool  # it says that the object is deleted
    payload: bytes  # of the newest event with a payload; empty if there is none, or it was erased
    changed_since: bool  # the newest is a thin event, and is later than what is stored
    # What is stored was read before the second of the newest event, and so long before this read that no replica shows
    # an older state.
    is_older: bool
    api_version: str | None
    doubts: int
    payload_seq: int = 0  # the inbox number of that event; 0: a thin one is newer, or there is none
    is_stored: bool = True  # a payload or a read of it
    deleted_at: datetime | None = None  # by the newest event that says so
    tells: int = 0  # events that have told of changes since the read that is stored
    thins: int = 0  # and how many of them were thin
    doubted_as: str | None = None  # what the last read said, if another one is to say the same
    payload_created: datetime | None = None  # of the newest event, thin or not
    tied: tuple[int, ...] = ()  # inbox numbers of other payloads of its second
    thin_seqs: tuple[int, ...] = ()  # and of the thin events of that second
    told: tuple[object, ...] = ()  # as `told_of` says


# A read that began later than $6 after the event needs no witness.
SELECT_WITNESSES = """
select o.account_id, o.live_mode, o.kind, o.id, o.doubts, events.payload, events.api_version, events.type,
  o.deleted_event_at, o.deleted_event_at > coalesce(o.payload_created, '-infinity') as deleted_later,
  o.deleted_event_at = o.payload_created as deleted_then,
  -- Of one second, the tick says which came later: the thin event, or the read that is stored.
  o.confirmed > 0 and o.shown_created < o.payload_created and o.shown_created <= k.read_at - $6::interval as is_older,
  o.payload_seq = 0 and (
    o.shown_created < o.payload_created or (o.shown_created = o.payload_created and o.thin_tick > o.confirmed)
  ) as changed_since,
  o.confirmed > 0 or o.shown_seq > 0 as is_stored, o.doubted_as, o.payload_created, o.payload_seq, o.tied, o.tells,
  o.thins, o.thin_seqs
from unnest($1::text[], $2::boolean[], $3::text[], $4::text[], $5::timestamptz[])
  as k (account_id, live_mode, kind, id, read_at)
join sync.objects o using (account_id, live_mode, kind, id)
left join sync.events on events.seq = o.payload_seq
where greatest(o.payload_created, o.deleted_event_at) > k.read_at - $6::interval and not o.tombstone
"""


async def select_witnesses(connection: Connection, read_at: Mapping[Key, datetime]) -> list[Witness]:
    """What events said of these objects, if the reads of them, at these moments by Stripe's clock, may be late."""
    rows = await connection.fetch(
        SELECT_WITNESSES, *columns_of_keys(Key, list(read_at)), list(read_at.values()), LATE_MAX
    )
    return [
        Witness(
            key=Key(row["account_id"], row["live_mode"], row["kind"], row["id"]),
            # Of one second, the deletion is the last event, if the id cannot have been chosen again.
            deleted=bool(row["deleted_later"])
            or (bool(row["deleted_then"]) and not KINDS[row["kind"]].id_is_chosen)
            or (row["deleted_event_at"] is not None and row["type"] == KINDS[row["kind"]].deleted_event),
            payload=row["payload"] or b"",
            changed_since=bool(row["changed_since"]),
            is_older=bool(row["is_older"]),
            api_version=row["api_version"],
            doubts=row["doubts"],
            payload_seq=row["payload_seq"],
            is_stored=row["is_stored"],
            deleted_at=row["deleted_event_at"],
            tells=row["tells"],
            thins=row["thins"],
            doubted_as=row["doubted_as"],
            payload_created=row["payload_created"],
            tied=tuple(row["tied"] or ()),
            thin_seqs=tuple(row["thin_seqs"] or ()),
            told=told_of(row),
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tied:
    """An event of the second of an object's newest one."""

    type: str
    payload: bytes
    api_version: str | None


SELECT_TIED = "select seq, type, payload, api_version from sync.events where seq = any ($1::bigint[])"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinTold:
    """A thin event of the second of an object's newest one."""

    type: str
    twin: Tied | None  # the snapshot event about the same change, if the inbox has it
    unread: UnreadTwin | None = None  # if not, what to ask for; None: it names none


SELECT_THIN_TOLD = """
select e.seq, e.type, e.created, t.twin_id, s.seq is not null as is_here, s.type as twin_type, s.payload, s.api_version
from sync.events e
-- It may have come before anybody knew that the account which it names is the key's own.
left join sync.twins t on t.live_mode = e.live_mode and t.event_id = e.event_id and t.account_id = case
  when e.account_id = (select k.account_id from sync.key k where k.account_id <> '') then '' else e.account_id
end
left join sync.events s on s.account_id = t.account_id and s.live_mode = e.live_mode and s.event_id = t.twin_id
where e.seq = any ($1::bigint[])
"""


async def select_thin_told(connection: Connection, witnesses: Sequence[Witness]) -> dict[int, ThinTold]:
    """The thin events of the second of these witnesses, by their inbox numbers, with what the inbox has of their twins;
    without those that the inbox has no more.
    """
    numbers = [seq for each in witnesses for seq in each.thin_seqs]
    if not numbers:
        return {}
    return {row["seq"]: _thin_told(row) for row in await connection.fetch(SELECT_THIN_TOLD, numbers)}


def _thin_told(row: asyncpg.Record) -> ThinTold:
    type_ = snapshot_type(row["type"])
    if row["is_here"]:
        twin = Tied(type=row["twin_type"], payload=row["payload"], api_version=row["api_version"])
        return ThinTold(type=type_, twin=twin)
    if row["twin_id"] is None or row["created"] is None:
        return ThinTold(type=type_, twin=None)
    unread = UnreadTwin(event_id=row["twin_id"], type=type_, created=row["created"])
    return ThinTold(type=type_, twin=None, unread=unread)


async def select_tied(connection: Connection, witnesses: Sequence[Witness]) -> dict[int, Tied]:
    """The events that witnesses are tied with, by their inbox numbers; without those that the inbox has no more."""
    numbers = [seq for each in witnesses for seq in each.tied]
    if not numbers:
        return {}
    rows = await connection.fetch(SELECT_TIED, numbers)
    return {row[0]: Tied(type=row[1], payload=row[2], api_version=row[3]) for row in rows}
