"""Heartbeats of worker processes, and the parts of Stripe's limits that they hold."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from db.connection import Connection

LOST_AFTER_SECONDS = 35.0
"""A worker beats every ten seconds; one that missed three beats counts as lost."""

BEAT = """
insert into sync.workers (id, detail) values ($1, $2::jsonb)
on conflict (id) do update set beat_at = now(), detail = excluded.detail
"""

FORGET_LOST = "delete from sync.workers where beat_at < now() - interval '1 day'"

LEAVE = "delete from sync.workers where id = $1"


async def beat(connection: Connection, worker_id: str, detail: dict[str, object]) -> None:
    """Note that this worker lives, and how it is."""
    await connection.execute(BEAT, worker_id, json.dumps(detail))
    await connection.execute(FORGET_LOST)


async def leave(connection: Connection, worker_id: str) -> None:
    """Note that this worker ended in good order; its part is free at once."""
    await connection.execute(LEAVE, worker_id)


# Parts of the limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A worker that holds, or wants, a part of Stripe's limits."""

    id: str
    part: float
    wants: int


# Two workers must not take the same part. Of the table and not an advisory lock, which any role could take.
LOCK_PARTS = "lock table sync.workers in share update exclusive mode"

# In the order of their starts: if there are more than parts, the oldest have them. The clock, not now(), since the
# transaction may have waited for the lock.
SELECT_HOLDERS = """
select id, part, wants
from sync.workers
where part_until > clock_timestamp()
order by started_at, id
"""

TAKE_PART = """
insert into sync.workers (id, part, wants, part_until) values ($1, $2, $3, clock_timestamp() + $4)
on conflict (id) do update set part = excluded.part, wants = excluded.wants, part_until = excluded.part_until
"""


async def select_holders(connection: Connection) -> Sequence[Holder]:
    """The workers whose parts hold, the oldest first; nobody takes a part until this transaction ends."""
    await connection.execute(LOCK_PARTS)
    return [Holder(**row) for row in await connection.fetch(SELECT_HOLDERS)]


async def take_part(connection: Connection, holder: Holder, *, holds: timedelta) -> None:
    """Note a worker's part in the transaction of `select_holders`, and for how long it holds."""
    await connection.execute(TAKE_PART, holder.id, holder.part, holder.wants, holds)
