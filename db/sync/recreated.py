"""Ids that people choose, and choose again once the object is deleted: what an earlier deletion proves no more."""

from collections.abc import Mapping
from datetime import datetime

from db.connection import Connection
from db.keys import Key, columns_of_keys

RAISE_RECREATED = """
with recreated as (
  select account_id, live_mode, kind, id, k.created_at
  from sync.objects o
  join unnest($1::text[], $2::boolean[], $3::text[], $4::text[], $5::timestamptz[])
    as k (account_id, live_mode, kind, id, created_at)
    using (account_id, live_mode, kind, id)
  where (o.tombstone and k.created_at >= coalesce(o.deleted_event_at, o.event_created))
    or o.deleted_event_at < k.created_at
  order by 1, 2, 3, 4
  for no key update of o
)
update sync.objects o
set tombstone = false,
  -- It proves nothing about the object that has the id now. In one second nobody knows which of the two came first.
  deleted_event_at = case when o.deleted_event_at >= r.created_at then o.deleted_event_at end
from recreated r
where (o.account_id, o.live_mode, o.kind, o.id) = (r.account_id, r.live_mode, r.kind, r.id)
"""


async def raise_recreated(connection: Connection, created_at: Mapping[Key, datetime]) -> None:
    """Take the tombstones, and what announced the deletions, off ids that were chosen again after they had been
    deleted: a read will say what they are now. (An event that comes late, of the object that was deleted, is older than
    its deletion.)
    """
    await connection.execute(
        RAISE_RECREATED, *columns_of_keys(Key, list(created_at)), list(created_at.values())
    )


OUTLIVE_DELETIONS = """
update sync.objects o
set deleted_event_at = null
from unnest($1::text[], $2::boolean[], $3::text[], $4::text[], $5::timestamptz[])
  as k (account_id, live_mode, kind, id, created_at)
where (o.account_id, o.live_mode, o.kind, o.id) = (k.account_id, k.live_mode, k.kind, k.id)
  and o.deleted_event_at <= k.created_at and o.confirmed > o.dirty
"""


async def outlive_deletions(connection: Connection, created_at: Mapping[Key, datetime]) -> None:
    """Forget the announced deletions of confirmed objects that were created after them, under the same id: another 404
    is no proof that these are deleted, too. The caller holds their locks.
    """
    await connection.execute(
        OUTLIVE_DELETIONS, *columns_of_keys(Key, list(created_at)), list(created_at.values())
    )
