"""The second witnesses of reads: what the newest events say of objects while reads may still be late for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.kinds.registry import KINDS
from db.connection import Connection
from db.keys import Key, columns_of_keys
from db.sync.objects import LATE_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """The newest event that says what an object is, while reads may still be late for it."""

    key: Key
    deleted: bool  # it says that the object is deleted
    payload: bytes  # of the newest event with a payload; empty if there is none, or it was erased
    changed_since: bool  # the newest is a thin event, and is later than what is stored
    api_version: str | None
    doubts: int
    told_by: str | None = (
        None  # nothing is stored, or several thin events have told since it was: the newest one's type
    )
    doubted_as: str | None = None  # then, what the last read said
    payload_created: datetime | None = None
    tied: tuple[int, ...] = ()  # inbox numbers of other payloads of its second
    told_often: bool = False  # by several thin events since what is stored


# A read that began later than $6 after the event needs no witness.
SELECT_WITNESSES = """
select o.account_id, o.live_mode, o.kind, o.id, o.doubts, events.payload, events.api_version, events.type,
  o.deleted_event_at, o.deleted_event_at > coalesce(o.payload_created, '-infinity') as deleted_later,
  o.deleted_event_at = o.payload_created as deleted_then,
  -- Of one second, the tick says which came later: the thin event, or the read that is stored.
  o.payload_seq = 0 and (
    o.shown_created < o.payload_created or (o.shown_created = o.payload_created and o.thin_tick > o.confirmed)
  ) as changed_since,
  case when o.payload_seq = 0 and o.payload_created is not null
      and ((o.confirmed = 0 and o.shown_seq = 0) or o.thins > 1)
    then coalesce((
      select e.type from sync.events e
      where e.account_id = o.account_id and e.live_mode = o.live_mode and e.event_id = o.event_id
    ), '')
  end as told_by, o.doubted_as, o.payload_created, o.tied, o.thins > 1 as told_often
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
            api_version=row["api_version"],
            doubts=row["doubts"],
            told_by=row["told_by"],
            doubted_as=row["doubted_as"],
            payload_created=row["payload_created"],
            tied=tuple(row["tied"] or ()),
            told_often=row["told_often"],
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


async def select_tied(connection: Connection, witnesses: Sequence[Witness]) -> dict[int, Tied]:
    """The events that witnesses are tied with, by their inbox numbers; without those that the inbox has no more."""
    numbers = [seq for each in witnesses for seq in each.tied]
    if not numbers:
        return {}
    rows = await connection.fetch(SELECT_TIED, numbers)
    return {row[0]: Tied(type=row[1], payload=row[2], api_version=row[3]) for row in rows}
