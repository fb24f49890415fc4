"""Heartbeats of worker processes."""

import json

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
    """Note that this worker ended in good order."""
    await connection.execute(LEAVE, worker_id)
